//! Transposed convolution of 16-bit activations.

use super::conv::Conv2d;
use super::requantize::Requantize;
use crate::transposed::{Convolution, TransposeWindow, Transposed, of_each};
use crate::{Isa, ThreadPool};

/// A transposed convolution of 16-bit activations. The rule is that of [`Conv2d`]; equal to LiteRT in
/// every value.
pub type TransposeConv2d = Transposed<Conv2d>;

impl Convolution for Conv2d {
    type Element = i16;

    fn convolve(&self, pool: &ThreadPool, input: &[i16], shape: [usize; 3], output: &mut [i16]) {
        self.run(pool, input, shape, output);
    }
}

impl Transposed<Conv2d> {
    /// Packs weights `[out_channels, kernel height, kernel width, in_channels]`; `bias` has one value
    /// for each output channel, in units of input scale times weight scale.
    ///
    /// # Panics
    /// When the machine lacks `isa`, when a number of channels, a kernel size, stride or tail is 0,
    /// when a number of the window is 2^24 or more, when `weights` or `bias` has another length, or
    /// when scales are out of range.
    #[must_use]
    pub fn new(
        isa: Isa,
        window: TransposeWindow,
        channels: [usize; 2],
        weights: &[i8],
        bias: Option<&[i64]>,
        requantize: &Requantize,
    ) -> TransposeConv2d {
        Transposed::of_integers(window, channels, weights, 0, |dense, [inputs, times], own| {
            let requantize = Requantize { scale: of_each(&requantize.scale, times), ..requantize.clone() };
            let bias = bias.map(|bias| bias.repeat(times));
            Conv2d::new(isa, dense, 1, inputs, times * channels[1], own, bias.as_deref(), &requantize)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::Rule;
    use super::*;
    use crate::float::Clamp;
    use crate::reference::int16::requantized;
    use crate::reference::transposed::{TransposeShape, transpose_conv2d};

    #[test]
    fn every_level_equals_the_plain_loop() {
        let word = |i: usize| ((i * 40_503) >> 1) as i16;
        let input: Vec<i16> = (0..2 * 5 * 4 * 3).map(word).collect();
        let weights: Vec<i8> = (0..7 * 9 * 3).map(|i| (word(i) >> 8) as i8).collect();
        let bias: Vec<i64> = (0..7).map(|i| i64::from(word(i + 5)) * 300).collect();
        let requantize = Requantize { scale: vec![3e-3], rule: Rule::Reduced, min: -20_000, max: i16::MAX };
        let wide = |values: &[i16]| values.iter().map(|x| f64::from(*x)).collect::<Vec<f64>>();
        let wide_weights: Vec<f64> = weights.iter().map(|x| f64::from(*x)).collect();
        let wide_bias: Vec<f64> = bias.iter().map(|x| *x as f64).collect();
        // A stride beyond the kernel leaves pixels that only see the bias.
        for (stride, crop, tail) in
            [([1, 1], [1, 1], [2, 2]), ([2, 2], [0, 1], [3, 2]), ([4, 5], [0, 0], [3, 4])]
        {
            let window = TransposeWindow { kernel: [3, 3], stride, crop, tail };
            let shape = TransposeShape { input: [2, 5, 4], window, in_channels: 3, out_channels: 7 };
            let clamp = Clamp::NONE.widen();
            let sums = transpose_conv2d(&shape, &wide(&input), &wide_weights, Some(&wide_bias), clamp);
            let expected: Vec<i16> =
                sums.iter().map(|&sum| requantized(sum as i128, 3e-3, &requantize)).collect();
            for isa in Isa::available_levels() {
                let conv = TransposeConv2d::new(isa, window, [3, 7], &weights, Some(&bias), &requantize);
                let mut scratch = vec![0; conv.scratch([2, 5, 4])];
                let mut output = vec![0; expected.len()];
                conv.run(&ThreadPool::new(2), &input, [2, 5, 4], &mut scratch, &mut output);
                assert_eq!(output, expected, "{isa} {window:?}");
            }
        }
    }
}
