//! Residual connections: another tensor is added to a convolution's outputs where they are made.
//!
//! The outputs are those of the convolution and of a separate addition, bit for bit.

mod bytes;
mod floats;

use crate::elementwise::SumRule;

pub(super) use bytes::{Adding, ByteAdder};
pub(super) use floats::FloatAdder;

/// A tensor of a convolution's output's shape that is added to it, and by which rule.
#[derive(Clone, Copy, Debug)]
pub struct Addend<'a, T, S> {
    /// `None` stands for what the output holds beforehand.
    pub tensor: Option<&'a [T]>,
    /// The rule: a [`ByteSum`] or, of real numbers, the bounds of the sum.
    pub sum: S,
}

/// How bytes are added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ByteSum {
    /// The first operand is the convolution's output.
    pub rule: SumRule,
    /// Bounds of the sum.
    pub clamp: [u8; 2],
}

/// Where what is added to an output stands.
#[derive(Clone, Copy)]
pub(super) struct Places<'a, T> {
    tensor: Option<&'a [T]>,
    /// The address of the first output.
    first: usize,
}

impl<'a, T: Copy> Places<'a, T> {
    /// # Panics
    /// If the tensor has another length than the output.
    pub(super) fn new(tensor: Option<&'a [T]>, output: &[T]) -> Places<'a, T> {
        assert!(tensor.is_none_or(|tensor| tensor.len() == output.len()), "length of the addend");
        Places { tensor, first: output.as_ptr().addr() }
    }

    /// What is added to the output at `out`.
    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    fn at(&self, out: *mut T) -> *const T {
        match self.tensor {
            Some(tensor) => tensor.as_ptr().wrapping_byte_add(out.addr().wrapping_sub(self.first)),
            None => out,
        }
    }

    /// Brings what is added to some outputs where they will stand.
    #[inline(always)]
    fn bring(&self, out: &mut [T]) {
        if let Some(tensor) = self.tensor {
            let place = (out.as_ptr().addr() - self.first) / size_of::<T>();
            out.copy_from_slice(&tensor[place..][..out.len()]);
        }
    }
}

/// Outputs that are made at a time, where no vectors are.
const PIECE: usize = 32;

#[cfg(test)]
mod tests {
    use super::super::{Conv2d, HybridConv2d, QuantizedSamples, Requantize, Rescale, sample_ranges};
    use super::*;
    use crate::cases::machines;
    use crate::elementwise::Affine;
    use crate::float::Clamp;
    use crate::{ThreadPool, Window};

    const SAME: Window = Window { kernel: [3, 3], pad_before: [1, 1], pad_after: [1, 1], ..Window::POINT };

    /// Shape, window, input and output channels: panels of every width, tiles of every height.
    const LAYERS: [([usize; 3], Window, usize, usize); 5] = [
        ([2, 5, 6], Window::POINT, 8, 16),
        ([1, 7, 7], Window::POINT, 20, 100),
        ([3, 3, 3], SAME, 5, 37),
        ([1, 1, 1], Window::POINT, 70, 43),
        ([2, 15, 16], Window::POINT, 300, 272),
    ];

    fn bytes(count: usize, step: usize) -> Vec<u8> {
        (0..count).map(|i| (i * step + i / 251 * 7) as u8).collect()
    }

    fn weights(count: usize) -> Vec<i8> {
        bytes(count, 89).into_iter().map(|byte| byte as i8).collect()
    }

    #[test]
    fn sums_of_bytes_are_those_of_separate_steps() {
        let operand = Affine { scale: 0.021, zero_point: 119 };
        // Multipliers of every size, and sums far beyond the bounds.
        let scales = [(0.013, 0.027), (0.021, 0.9), (3.0, 1e-3), (1e-6, 0.02), (0.4, 1e-9)];
        for ((shape, window, in_channels, out_channels), index) in LAYERS.into_iter().zip(0..) {
            let (scale, output) = scales[index];
            let own = Affine { scale: 0.05, zero_point: 140 };
            // Sums with a zero point, with bounds, and with neither.
            let (zero_point, clamp) = [(9, [0, 255]), (9, [9, 200]), (0, [0, 255])][index % 3];
            let rule = SumRule::add([own, Affine { scale, ..operand }], Affine { scale: output, zero_point });
            let sum = ByteSum { rule, clamp };
            let input = bytes(shape.iter().product::<usize>() * in_channels, 37);
            let outputs = shape.iter().product::<usize>() * out_channels;
            let (others, weights) =
                (bytes(outputs, 101), weights(window.taps() * in_channels * out_channels));
            for (isa, pool) in machines() {
                let requantize = Requantize { scale: vec![1e-3], zero_point: 140, min: 3, max: 250 };
                let conv =
                    Conv2d::new(isa, window, 1, in_channels, out_channels, &weights, None, 119, requantize);
                let mut expected = vec![0; outputs];
                conv.run(&ThreadPool::new(1), &input, shape, &mut expected);
                for (own, other) in expected.iter_mut().zip(&others) {
                    *own = rule.value(*own, *other, sum.clamp);
                }
                let mut output = vec![0; outputs];
                conv.run_add(&pool, &input, shape, Addend { tensor: Some(&others), sum }, &mut output);
                assert_eq!(output, expected, "{isa}");
                output.copy_from_slice(&others);
                conv.run_add(&pool, &input, shape, Addend { tensor: None, sum }, &mut output);
                assert_eq!(output, expected, "{isa} in place");
            }
        }
    }

    #[test]
    fn sums_of_floats_are_those_of_separate_steps() {
        for (shape, window, in_channels, out_channels) in LAYERS {
            let floats =
                |count| bytes(count, 67).into_iter().map(|byte| f32::from(byte) / 7.0 - 11.0).collect();
            let input: Vec<f32> = floats(shape.iter().product::<usize>() * in_channels);
            let others: Vec<f32> = floats(shape.iter().product::<usize>() * out_channels);
            let weights = weights(window.taps() * in_channels * out_channels);
            for (isa, pool) in machines() {
                let rescale = Rescale { scale: vec![0.01], bias: None, clamp: Clamp::RELU6 };
                let conv = HybridConv2d::new(isa, window, 1, in_channels, out_channels, &weights, &rescale);
                let (mut expected, mut bytes) = (vec![0.0; others.len()], vec![0; input.len()]);
                let mut ranges = vec![[0.0; 2]; shape[0]];
                sample_ranges(isa, &pool, &input, &mut ranges);
                conv.run(&ThreadPool::new(1), &input, shape, &mut bytes, &mut expected);
                let samples = QuantizedSamples { bytes: &bytes, ranges: &ranges };
                let (mut sum_ranges, mut expected_ranges) = (ranges.clone(), ranges.clone());
                for (own, other) in expected.iter_mut().zip(&others) {
                    *own = Clamp::RELU.apply(*own + other);
                }
                sample_ranges(isa, &pool, &expected, &mut expected_ranges);
                let mut output = vec![0.0; others.len()];
                let addend = Addend { tensor: Some(&others[..]), sum: Clamp::RELU };
                conv.apply_add(&pool, samples, shape, addend, &mut output, Some(&mut sum_ranges));
                assert_eq!(output, expected, "{isa}");
                assert_eq!(sum_ranges, expected_ranges, "{isa}");
                output.copy_from_slice(&others);
                let addend = Addend { tensor: None, sum: Clamp::RELU };
                conv.apply_add(&pool, samples, shape, addend, &mut output, None);
                assert_eq!(output, expected, "{isa} in place");
            }
        }
    }
}
