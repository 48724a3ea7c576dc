//! Convolution, depthwise convolution and matrix product, one output element at a time.
//!
//! Order of accumulation: a sum starts at the bias and adds the products of the taps from the top
//! left to the bottom right, within a tap of the input channels in order, each product and each
//! sum rounded once. Taps in the padding are left out.

use std::ops::{Add, Mul};

use crate::Window;
use crate::float::{Clamp, MatMul};

/// The arithmetic that plain float loops need: `f32`, or `f64` where a loop is to be exact.
pub trait Float: Copy + PartialOrd + Add<Output = Self> + Mul<Output = Self> {
    /// Zero.
    const ZERO: Self;
}

impl Float for f32 {
    const ZERO: f32 = 0.0;
}

impl Float for f64 {
    const ZERO: f64 = 0.0;
}

/// Shapes of a convolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConvShape {
    /// Batch, height and width of the input.
    pub input: [usize; 3],
    /// Kernel size, stride, dilation and padding.
    pub window: Window,
    /// Groups of channels that do not see each other.
    pub groups: usize,
    /// Input channels of all groups.
    pub in_channels: usize,
    /// Output channels of all groups.
    pub out_channels: usize,
}

impl ConvShape {
    /// Where tap `[row, column]` of output pixel `[y, x]` lies, `None` in the padding.
    fn tap(&self, pixel: [usize; 2], tap: [usize; 2]) -> Option<[usize; 2]> {
        let mut at = [0; 2];
        for i in 0..2 {
            at[i] = (pixel[i] * self.window.stride[i] + tap[i] * self.window.dilation[i])
                .checked_sub(self.window.pad_before[i])?;
            if at[i] >= self.input[i + 1] {
                return None;
            }
        }
        Some(at)
    }

    /// Calls `visit(tap, input index of the tap's first channel)` for every tap of an output
    /// pixel that is not in the padding.
    pub(super) fn taps(&self, [sample, y, x]: [usize; 3], mut visit: impl FnMut(usize, usize)) {
        let [_, height, width] = self.input;
        for row in 0..self.window.kernel[0] {
            for column in 0..self.window.kernel[1] {
                if let Some([at_y, at_x]) = self.tap([y, x], [row, column]) {
                    let pixel = (sample * height + at_y) * width + at_x;
                    visit(row * self.window.kernel[1] + column, pixel * self.in_channels);
                }
            }
        }
    }

    /// Calls `value([sample, y, x], output channel)` for every output element in order.
    fn outputs<T>(&self, mut value: impl FnMut([usize; 3], usize) -> T) -> Vec<T> {
        let [height, width] = self.window.output([self.input[1], self.input[2]]);
        let mut output = Vec::new();
        for pixel in 0..self.input[0] * height * width {
            let at = [pixel / width / height, pixel / width % height, pixel % width];
            output.extend((0..self.out_channels).map(|channel| value(at, channel)));
        }
        output
    }
}

/// Convolution with weights `[out_channels, kernel height, kernel width, in_channels / groups]`.
#[must_use]
pub fn conv2d<T: Float>(
    shape: &ConvShape,
    input: &[T],
    weights: &[T],
    bias: Option<&[T]>,
    clamp: Clamp<T>,
) -> Vec<T> {
    let depth = shape.in_channels / shape.groups;
    let out_per_group = shape.out_channels / shape.groups;
    shape.outputs(|pixel, channel| {
        let skip = channel / out_per_group * depth;
        let mut sum = bias.map_or(T::ZERO, |bias| bias[channel]);
        shape.taps(pixel, |tap, at| {
            for k in 0..depth {
                let weight = weights[(channel * shape.window.taps() + tap) * depth + k];
                sum = sum + input[at + skip + k] * weight;
            }
        });
        clamp.apply(sum)
    })
}

/// Depthwise convolution with weights `[1, kernel height, kernel width, out_channels]`, where
/// `out_channels` is a multiple `m` of `in_channels` and output channel `c` sees input channel
/// `c / m`. The shape's `groups` are not looked at.
#[must_use]
pub fn depthwise<T: Float>(
    shape: &ConvShape,
    input: &[T],
    weights: &[T],
    bias: Option<&[T]>,
    clamp: Clamp<T>,
) -> Vec<T> {
    let multiplier = shape.out_channels / shape.in_channels;
    shape.outputs(|pixel, channel| {
        let mut sum = bias.map_or(T::ZERO, |bias| bias[channel]);
        shape.taps(pixel, |tap, at| {
            sum = sum + input[at + channel / multiplier] * weights[tap * shape.out_channels + channel];
        });
        clamp.apply(sum)
    })
}

/// The product of two matrices.
#[must_use]
pub fn matmul<T: Float>(matrices: &MatMul, a: &[T], b: &[T]) -> Vec<T> {
    let &MatMul { rows, depth, columns, adjoint_a, adjoint_b } = matrices;
    let mut output = Vec::with_capacity(rows * columns);
    for row in 0..rows {
        for column in 0..columns {
            let mut sum = T::ZERO;
            for k in 0..depth {
                let left = a[if adjoint_a { k * rows + row } else { row * depth + k }];
                let right = b[if adjoint_b { column * depth + k } else { k * columns + column }];
                sum = sum + left * right;
            }
            output.push(sum);
        }
    }
    output
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_convolution_worked_by_hand() {
        let window = Window { kernel: [2, 2], pad_before: [1, 0], ..Window::POINT };
        let shape = ConvShape { input: [1, 2, 2], window, groups: 1, in_channels: 1, out_channels: 1 };
        let sums = conv2d(
            &shape,
            &[1.0, 2.0, 3.0, 4.0],
            &[1.0, 10.0, 100.0, 1000.0],
            Some(&[0.5]),
            Clamp { min: 0.0, max: 4000.0 },
        );
        // The upper output sees only its lower taps: 100 * 1 + 1000 * 2; the lower sees
        // 1 + 20 + 300 + 4000, which the bound cuts.
        assert_eq!(sums, [2100.5, 4000.0]);
    }

    #[test]
    fn depthwise_is_a_convolution_in_groups_of_one() {
        let window = Window { kernel: [1, 2], ..Window::POINT };
        let shape = ConvShape { input: [1, 1, 3], window, groups: 2, in_channels: 2, out_channels: 4 };
        let input: Vec<f64> = (0..6).map(f64::from).collect();
        let weights: Vec<f64> = (1..9).map(f64::from).collect();
        let by_channel: Vec<f64> = (0..4).flat_map(|c| [weights[c], weights[4 + c]]).collect();
        let clamp = Clamp { min: -1e9, max: 1e9 };
        let result = depthwise(&shape, &input, &weights, None, clamp);
        assert_eq!(result, conv2d(&shape, &input, &by_channel, None, clamp));
        assert_eq!(result[..2], [2.0 * 5.0, 2.0 * 6.0]);
    }

    #[test]
    fn matrices_multiply_in_either_storage() {
        let plain = MatMul { rows: 2, depth: 3, columns: 1, adjoint_a: false, adjoint_b: false };
        assert_eq!(matmul(&plain, &[1., 2., 3., 4., 5., 6.], &[1., 10., 100.]), [321., 654.]);
        let adjoint = MatMul { adjoint_a: true, adjoint_b: true, ..plain };
        assert_eq!(matmul(&adjoint, &[1., 4., 2., 5., 3., 6.], &[1., 10., 100.]), [321., 654.]);
    }
}
