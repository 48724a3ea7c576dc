//! `x * weight + addend` by channel on real numbers, in one pass over memory.

use super::TASK_ELEMENTS;
use super::number::Ordered;
use crate::multiversion::multiversion;
use crate::{Isa, ThreadPool};

/// `within(within(x * weight) + addend)` by channel, the last axis: with the bits of a multiplication and
/// an addition one after the other.
#[derive(Clone, Debug, PartialEq)]
pub struct MultiplyAdd {
    /// One for each channel.
    pub weight: Vec<f32>,
    /// One for each channel.
    pub addend: Vec<f32>,
    /// Bounds of the product and of the sum.
    pub bounds: [[f32; 2]; 2],
}

impl MultiplyAdd {
    /// Maps `input` to `output`.
    ///
    /// # Panics
    /// When the lengths differ or are no whole number of pixels, or there are not as many addends as
    /// weights.
    pub fn apply(&self, isa: Isa, pool: &ThreadPool, input: &[f32], output: &mut [f32]) {
        assert_eq!(input.len(), output.len(), "input and output must have one length");
        let (channels, all) = (self.channels(), self.pixels(input));
        let pixels = pool.rows_per_task(all, TASK_ELEMENTS.div_ceil(channels));
        pool.run_rows(output, channels, pixels, |first, output| {
            self.map(isa, &input[first * channels..][..output.len()], output);
        });
    }

    /// Number of channels.
    pub(crate) fn channels(&self) -> usize {
        self.weight.len()
    }

    /// Number of pixels; panics unless they are whole and the constants fit each other.
    pub(crate) fn pixels(&self, input: &[f32]) -> usize {
        let channels = self.channels();
        assert!(channels > 0 && self.addend.len() == channels, "as many addends as weights");
        assert!(input.len().is_multiple_of(channels), "whole pixels");
        input.len() / channels
    }

    /// Maps some pixels.
    pub(crate) fn map(&self, isa: Isa, input: &[f32], output: &mut [f32]) {
        multiply_add_pixels(isa, input, &self.weight, &self.addend, self.bounds, output);
    }
}

multiversion! {
    fn multiply_add_pixels(
        input: &[f32],
        weight: &[f32],
        addend: &[f32],
        bounds: [[f32; 2]; 2],
        output: &mut [f32],
    ) {
        let channels = weight.len();
        for (output, input) in output.chunks_exact_mut(channels).zip(input.chunks_exact(channels)) {
            for ((out, &x), (&weight, &addend)) in output.iter_mut().zip(input).zip(weight.iter().zip(addend)) {
                *out = ((x * weight).within(bounds[0]) + addend).within(bounds[1]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cases::machines;

    #[test]
    fn one_pass_gives_the_bits_of_two() {
        for channels in [1, 7, 64, 100] {
            let odd = [f32::NAN, f32::INFINITY, -0.0, 1e38];
            let number = |i: usize| if i % 97 < 4 { odd[i % 97] } else { (i % 1009) as f32 * 0.37 - 180.0 };
            let input: Vec<f32> = (0..channels * (40_000 / channels)).map(number).collect();
            let weight: Vec<f32> = (0..channels).map(|c| number(c + 10) * 0.01).collect();
            let addend: Vec<f32> = (0..channels).map(|c| number(3 * c + 8)).collect();
            for bounds in [[f32::LOWEST, f32::HIGHEST], [0.0, f32::HIGHEST], [0.0, 6.0]] {
                let products =
                    input.iter().enumerate().map(|(i, x)| (x * weight[i % channels]).within(bounds));
                let sums = products.enumerate().map(|(i, x)| (x + addend[i % channels]).within([0.0, 6.0]));
                let expected: Vec<u32> = sums.map(f32::to_bits).collect();
                for (isa, pool) in machines() {
                    let mut output = vec![9.0; input.len()];
                    let map = MultiplyAdd {
                        weight: weight.clone(),
                        addend: addend.clone(),
                        bounds: [bounds, [0.0, 6.0]],
                    };
                    map.apply(isa, &pool, &input, &mut output);
                    let nan = |bits: &u32| f32::from_bits(*bits).is_nan();
                    let same =
                        output.iter().zip(&expected).all(|(a, b)| a.to_bits() == *b || a.is_nan() && nan(b));
                    assert!(same, "{channels} channels, {isa}");
                }
            }
        }
    }
}
