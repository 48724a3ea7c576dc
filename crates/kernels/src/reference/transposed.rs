//! Transposed convolution, one output element at a time.
//!
//! A sum starts at the bias and adds, for the input pixels that reach it from the top left to the
//! bottom right, the products of their channels in order.

use super::convolution::Float;
use crate::float::Clamp;
use crate::quantized::{Requantize, Rescale, SampleQuantization};
use crate::transposed::TransposeWindow;

/// Shapes of a transposed convolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TransposeShape {
    /// Batch, height and width of the input.
    pub input: [usize; 3],
    /// Kernel size, stride and cropping.
    pub window: TransposeWindow,
    /// Input channels.
    pub in_channels: usize,
    /// Output channels.
    pub out_channels: usize,
}

impl TransposeShape {
    /// Number of outputs.
    #[must_use]
    pub fn outputs(&self) -> usize {
        let [batch, height, width] = self.input;
        batch * self.window.output([height, width]).iter().product::<usize>() * self.out_channels
    }

    /// Calls `visit(weight index, input index)` for the first channel of every input pixel that
    /// reaches an output.
    fn reaching(&self, output: usize, mut visit: impl FnMut(usize, usize)) {
        let [_, height, width] = self.input;
        let TransposeWindow { kernel, stride, crop, .. } = self.window;
        let [out_height, out_width] = self.window.output([height, width]);
        let (pixel, channel) = (output / self.out_channels, output % self.out_channels);
        let (row, x) = (pixel / out_width, pixel % out_width);
        let (sample, y) = (row / out_height, row % out_height);
        let place = |axis: usize, at: usize, input: usize| {
            (at + crop[axis]).checked_sub(input * stride[axis]).filter(|place| *place < kernel[axis])
        };
        for i in 0..height {
            for j in 0..width {
                if let (Some(down), Some(right)) = (place(0, y, i), place(1, x, j)) {
                    let tap = (channel * kernel[0] + down) * kernel[1] + right;
                    visit(tap * self.in_channels, ((sample * height + i) * width + j) * self.in_channels);
                }
            }
        }
    }

    /// The sum of `(input - zero point of its sample) * weight` of an output, cut to 32 bits.
    fn integer_sum(&self, output: usize, input: &[u8], zero_point: u8, weights: &[i8]) -> i32 {
        let mut sum = 0i64;
        self.reaching(output, |weight, at| {
            for k in 0..self.in_channels {
                let value = i64::from(input[at + k]) - i64::from(zero_point);
                sum += value * i64::from(weights[weight + k]);
            }
        });
        sum as i32
    }
}

/// Transposed convolution with weights `[out_channels, kernel height, kernel width, in_channels]`.
#[must_use]
pub fn transpose_conv2d<T: Float>(
    shape: &TransposeShape,
    input: &[T],
    weights: &[T],
    bias: Option<&[T]>,
    clamp: Clamp<T>,
) -> Vec<T> {
    let value = |output: usize| {
        let mut sum = bias.map_or(T::ZERO, |bias| bias[output % shape.out_channels]);
        shape.reaching(output, |weight, at| {
            for k in 0..shape.in_channels {
                sum = sum + input[at + k] * weights[weight + k];
            }
        });
        clamp.apply(sum)
    };
    (0..shape.outputs()).map(value).collect()
}

/// Transposed convolution of `u8` activations to `u8` activations.
#[must_use]
pub fn quantized(
    shape: &TransposeShape,
    input: &[u8],
    weights: &[i8],
    bias: Option<&[i32]>,
    zero_point: u8,
    requantize: &Requantize,
) -> Vec<u8> {
    let value = |output: usize| {
        let channel = output % shape.out_channels;
        let sum = shape.integer_sum(output, input, zero_point, weights);
        let sum = sum.wrapping_add(bias.map_or(0, |bias| bias[channel]));
        let rounded = (sum as f32 * requantize.scale_of(channel)).round_ties_even();
        let value = (rounded as i64).saturating_add(i64::from(requantize.zero_point));
        value.clamp(requantize.min.into(), requantize.max.into()) as u8
    };
    (0..shape.outputs()).map(value).collect()
}

/// Transposed convolution of activations that were quantized sample by sample, to `f32`.
#[must_use]
pub fn hybrid(
    shape: &TransposeShape,
    input: &[u8],
    samples: &[SampleQuantization],
    weights: &[i8],
    rescale: &Rescale,
) -> Vec<f32> {
    let per_sample = shape.outputs() / shape.input[0].max(1);
    let value = |output: usize| {
        let (sample, channel) = (samples[output / per_sample], output % shape.out_channels);
        let sum = shape.integer_sum(output, input, sample.zero_point, weights);
        let scaled = sum as f32 * (sample.scale * rescale.scale_of(channel));
        rescale.clamp.apply(scaled + rescale.bias_of(channel))
    };
    (0..shape.outputs()).map(value).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transposed_convolution_worked_by_hand() {
        let window = TransposeWindow { kernel: [1, 3], stride: [1, 2], crop: [0, 1], tail: [1, 3] };
        let shape = TransposeShape { input: [1, 1, 2], window, in_channels: 1, out_channels: 1 };
        // The whole result is 1 10 100 0 0 + 0 0 2 20 200; the first column is cut off and one behind
        // the last is added.
        let sums = transpose_conv2d(&shape, &[1.0, 2.0], &[1.0, 10.0, 100.0], Some(&[0.5]), Clamp::NONE);
        assert_eq!(sums, [10.5, 102.5, 20.5, 200.5, 0.5]);
    }
}
