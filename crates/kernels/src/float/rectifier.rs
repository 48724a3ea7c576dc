//! A parametric rectifier behind a layer: `x` where it is not below 0, else `x` times the slope of its channel.

use std::ops::Range;

use super::Clamp;
use crate::Isa;
use crate::elementwise::prelu;
use crate::multiversion::multiversion;
use crate::pool::DisjointSlice;

/// Numbers that are rectified at a time.
const BLOCK: usize = 256;
/// Slopes behind the last channel, at least: tiles read whole registers of them.
const MOST_LANES: usize = 32;

/// Slopes by channel that the outputs of a layer below 0 are multiplied by, behind the layer's own bounds, and
/// bounds of what comes of it. The bits are those of separate operators, but for the sign of a zero that meets
/// a bound of zero.
///
/// Most kernels rectify a number before they store it; some do so while it is still near the processor.
#[derive(Clone, Debug)]
pub struct Rectifier {
    isa: Isa,
    channels: usize,
    /// Those of all channels, several times over.
    slopes: Vec<f32>,
    bounds: Clamp,
}

impl Rectifier {
    /// A slope for each output channel.
    #[must_use]
    pub fn new(isa: Isa, slopes: &[f32]) -> Rectifier {
        let channels = slopes.len();
        let slopes = slopes.repeat((BLOCK + channels + MOST_LANES).div_ceil(channels.max(1)));
        Rectifier { isa, channels, slopes, bounds: Clamp::NONE }
    }

    /// The bounds of what has been multiplied: none at first.
    pub fn bounds_mut(&mut self) -> &mut Clamp {
        &mut self.bounds
    }

    /// Output channels of the layer.
    pub(super) fn channels(&self) -> usize {
        self.channels
    }

    /// The slopes from this channel on, [`MOST_LANES`] of them behind the last, and the bounds.
    pub(super) fn from(&self, channel: usize) -> (*const f32, Clamp) {
        (self.slopes[channel..][..self.channels - channel + MOST_LANES].as_ptr(), self.bounds)
    }

    /// Rectifies some channels of some pixels of an output whose channel 0 of pixel 0 is number `first`.
    ///
    /// # Safety
    /// No other thread uses them.
    ///
    /// # Panics
    /// When they are not all inside the output.
    pub(super) unsafe fn run(
        &self,
        output: &DisjointSlice<'_, f32>,
        first: usize,
        pixels: Range<usize>,
        channels: Range<usize>,
    ) {
        let at = |pixel: usize| first + pixel * self.channels;
        if channels.len() == self.channels {
            let whole = &self.slopes[..self.slopes.len() / self.channels * self.channels];
            // SAFETY: the caller's promise.
            let data = unsafe { output.piece(at(pixels.start)..at(pixels.end)) };
            data.chunks_mut(whole.len()).for_each(|data| self.rectify(whole, data));
            return;
        }
        for pixel in pixels {
            // SAFETY: as above.
            let data = unsafe { output.piece(at(pixel) + channels.start..at(pixel) + channels.end) };
            self.rectify(&self.slopes[channels.clone()], data);
        }
    }

    /// Rectifies numbers by the slopes of the same places. Without a copy the compiler would store only what
    /// a selection changes, which is slow on some machines.
    fn rectify(&self, slopes: &[f32], data: &mut [f32]) {
        let mut copy = [0.0; BLOCK];
        for (block, slopes) in data.chunks_mut(BLOCK).zip(slopes.chunks(BLOCK)) {
            let copy = &mut copy[..block.len()];
            copy.copy_from_slice(block);
            rectify_block(self.isa, copy, slopes, self.bounds, block);
        }
    }
}

multiversion! {
    fn rectify_block(input: &[f32], slopes: &[f32], bounds: Clamp, output: &mut [f32]) {
        for ((o, x), slope) in output.iter_mut().zip(input).zip(slopes) {
            *o = bounds.apply(prelu(*x, *slope));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cases::{for_cases, machines};
    use crate::elementwise::Binary;
    use crate::float::tests::{clamps, convolutions, numbers};
    use crate::float::{Conv2d, Depthwise, Form};

    const BOUNDS: Clamp = Clamp { min: -0.2, max: 0.8 };

    fn rectifier(isa: Isa, channels: usize) -> Rectifier {
        let mut rectifier = Rectifier::new(isa, &numbers(channels, 7));
        *rectifier.bounds_mut() = BOUNDS;
        rectifier
    }

    /// The operators one after the other, each by its value.
    fn expected(output: &[f32], channels: usize) -> Vec<f32> {
        let slopes = numbers(channels, 7);
        let rectified = |(index, x): (usize, &f32)| Binary::Prelu.value(*x, slopes[index % channels]);
        output.iter().enumerate().map(rectified).map(|x| BOUNDS.apply(x)).collect()
    }

    fn assert_bits(got: &[f32], expected: &[f32], what: &dyn std::fmt::Debug) {
        let differs = got.iter().zip(expected).position(|(a, b)| a.to_bits() != b.to_bits());
        assert_eq!((got.len(), differs), (expected.len(), None), "{what:?}");
    }

    #[test]
    fn behind_convolutions_of_every_form_it_has_the_bits_of_the_operators() {
        for_cases(60, (convolutions(), clamps()), |(shape, clamp)| {
            let [height, width] = shape.window.output([shape.input[1], shape.input[2]]);
            let (inputs, outputs, groups) = (shape.in_channels, shape.out_channels, shape.groups);
            let input = numbers(shape.input.iter().product::<usize>() * inputs, 1);
            let weights = numbers(outputs * shape.window.taps() * inputs / groups, 2);
            let addend = numbers(shape.input[0] * height * width * outputs, 3);
            let forms = [Form::Direct, Form::Winograd2, Form::Winograd4, Form::Blocks, Form::Scattered];
            for (isa, pool) in machines() {
                for form in forms.into_iter().filter(|form| form.fits(&shape.window, groups)) {
                    let conv = Conv2d::with_form(
                        form,
                        isa,
                        shape.window,
                        groups,
                        inputs,
                        outputs,
                        &weights,
                        None,
                        clamp,
                    );
                    let rectifier = rectifier(isa, outputs);
                    let mut output = vec![f32::NAN; addend.len()];
                    conv.run(&pool, &input, shape.input, &mut output);
                    let plain = expected(&output, outputs);
                    conv.run_rectified(&pool, &input, shape.input, None, Some(&rectifier), &mut output);
                    assert_bits(&output, &plain, &(form, isa, shape));

                    conv.run_sum(&pool, &input, shape.input, Some(&addend), Clamp::RELU, &mut output);
                    let summed = expected(&output, outputs);
                    output.copy_from_slice(&addend);
                    let sum = Some((None, Clamp::RELU));
                    conv.run_rectified(&pool, &input, shape.input, sum, Some(&rectifier), &mut output);
                    assert_bits(&output, &summed, &(form, isa, shape));
                }
            }
        });
    }

    #[test]
    fn behind_depthwise_convolutions_it_has_the_bits_of_the_operators() {
        for_cases(60, (convolutions(), 1usize..3, clamps()), |(shape, multiplier, clamp)| {
            let [height, width] = shape.window.output([shape.input[1], shape.input[2]]);
            let (inputs, outputs) = (shape.in_channels, shape.in_channels * multiplier);
            let input = numbers(shape.input.iter().product::<usize>() * inputs, 1);
            let weights = numbers(outputs * shape.window.taps(), 2);
            for (isa, pool) in machines() {
                let depthwise = Depthwise::new(isa, shape.window, inputs, multiplier, &weights, None, clamp);
                let mut output = vec![f32::NAN; shape.input[0] * height * width * outputs];
                depthwise.run(&pool, &input, shape.input, &mut output);
                let plain = expected(&output, outputs);
                let rectifier = rectifier(isa, outputs);
                depthwise.run_rectified(&pool, &input, shape.input, Some(&rectifier), &mut output);
                assert_bits(&output, &plain, &(isa, shape, multiplier));
            }
        });
    }

    /// Large enough for several tasks and weights that are not kept near the processor all at once; one row
    /// takes streams of weights.
    #[test]
    fn behind_large_layers_it_has_the_bits_of_the_operators() {
        for (pixels, inputs, outputs) in [(400, 64, 24), (40, 512, 700), (1, 300, 500)] {
            let (input, weights) = (numbers(pixels * inputs, 1), numbers(inputs * outputs, 2));
            for (isa, pool) in machines() {
                let dense = Conv2d::dense(isa, inputs, outputs, &weights, None, Clamp::NONE);
                let mut output = vec![f32::NAN; pixels * outputs];
                dense.run(&pool, &input, [pixels, 1, 1], &mut output);
                let plain = expected(&output, outputs);
                let rectifier = rectifier(isa, outputs);
                dense.run_rectified(&pool, &input, [pixels, 1, 1], None, Some(&rectifier), &mut output);
                assert_bits(&output, &plain, &(isa, pixels, inputs, outputs));
            }
        }
    }

    #[test]
    #[should_panic(expected = "slopes for other channels")]
    fn slopes_for_other_channels_are_refused() {
        let pool = crate::ThreadPool::new(1);
        let dense = Conv2d::dense(Isa::Portable, 1, 2, &[1.0; 2], None, Clamp::NONE);
        let rectifier = Rectifier::new(Isa::Portable, &[0.5; 3]);
        dense.run_rectified(&pool, &[1.0], [1, 1, 1], None, Some(&rectifier), &mut [0.0; 2]);
    }
}
