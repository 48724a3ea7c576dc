//! Quantizing `f32` activations while a model runs, each sample by its own range.

use crate::multiversion::multiversion;
use crate::pool::DisjointSlice;
use crate::{Isa, ThreadPool};

use super::epilogue::{at_least, at_most, round_small};
use super::split::share;

/// How one sample was quantized: a value `x` becomes `clamp(round(x * factor) + zero_point, 0,
/// 255)`, the product in `f32`, rounding to the nearest with ties to even; a byte `q` stands for
/// `scale * (q - zero_point)`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SampleQuantization {
    /// Steps in a unit.
    pub factor: f32,
    /// Size of a step, `1 / factor`.
    pub scale: f32,
    /// The byte that stands for zero.
    pub zero_point: u8,
}

impl SampleQuantization {
    /// The quantization of a sample by its smallest and largest value (XNNPACK's rule).
    ///
    /// With `lo = min(0, smallest)` and `hi = max(0, largest)`, all in `f32`: the factor is
    /// `255 / (hi - lo)`, or 1 where both are 0. The zero point is `-128 - lo * factor` where
    /// `(-128 + lo * factor) + (127 + hi * factor)` is positive and `127 - hi * factor` otherwise,
    /// kept within -128 to 127, rounded to the nearest integer with ties to even, and moved by 128.
    ///
    /// So that no range leads to infinities, bounds, `hi - lo` and the factor stop at the largest
    /// finite `f32`.
    #[must_use]
    pub fn of_range(smallest: f32, largest: f32) -> SampleQuantization {
        let (lo, hi) = (at_most(smallest, 0.0).max(f32::MIN), at_least(largest, 0.0).min(f32::MAX));
        let factor = if lo == hi { 1.0 } else { (255.0 / (hi - lo).min(f32::MAX)).min(f32::MAX) };
        let errors = [-128.0 + lo * factor, 127.0 + hi * factor];
        let zero_point = if errors[0] + errors[1] > 0.0 { -128.0 - lo * factor } else { 127.0 - hi * factor };
        let zero_point = (zero_point.clamp(-128.0, 127.0).round_ties_even() + 128.0) as u8;
        SampleQuantization { factor, scale: 1.0 / factor, zero_point }
    }
}

/// Elements of a sample that one task takes.
const CHUNK: usize = 1 << 16;

/// Quantizes `input`, `batch` samples of equal length, into `output`, each by its own range, and
/// tells how.
///
/// The range of a sample leaves out values that are not numbers; they become 255.
///
/// # Panics
/// If the lengths differ or the batch does not divide them.
pub fn quantize_samples(
    isa: Isa,
    pool: &ThreadPool,
    input: &[f32],
    batch: usize,
    output: &mut [u8],
) -> Vec<SampleQuantization> {
    assert_eq!(input.len(), output.len(), "one byte for each value");
    if batch == 0 || input.is_empty() {
        assert!(input.is_empty(), "values without a sample");
        return vec![SampleQuantization::of_range(0.0, 0.0); batch];
    }
    assert!(input.len().is_multiple_of(batch), "samples of different lengths");
    let length = input.len() / batch;
    let chunks = length.div_ceil(CHUNK);
    let part = |task: usize| {
        let (sample, chunk) = (task / chunks, share(length, chunks, task % chunks));
        (sample, sample * length + chunk.start..sample * length + chunk.end)
    };

    let mut ranges = vec![[0.0_f32; 2]; batch * chunks];
    let found = DisjointSlice::new(&mut ranges);
    pool.run(batch * chunks, &|task| {
        // SAFETY: each task writes its own range.
        unsafe { found.piece(task..task + 1)[0] = range(isa, &input[part(task).1]) };
    });
    let samples: Vec<_> = ranges
        .chunks_exact(chunks)
        .map(|ranges| {
            let smallest = ranges.iter().fold(0.0, |low, range| at_most(range[0], low));
            let largest = ranges.iter().fold(0.0, |high, range| at_least(range[1], high));
            SampleQuantization::of_range(smallest, largest)
        })
        .collect();
    let target = DisjointSlice::new(output);
    pool.run(batch * chunks, &|task| {
        let (sample, part) = part(task);
        // SAFETY: each task writes its own part.
        let output = unsafe { target.piece(part.clone()) };
        quantize(isa, &input[part], samples[sample], output);
    });
    samples
}

multiversion! {
    /// The smallest and the largest value, zero counted in.
    fn range(values: &[f32]) -> [f32; 2] {
        const LANES: usize = 64;
        let (mut low, mut high) = ([0.0; LANES], [0.0; LANES]);
        let chunks = values.chunks_exact(LANES);
        let rest = chunks.remainder();
        for chunk in chunks {
            for lane in 0..LANES {
                low[lane] = at_most(chunk[lane], low[lane]);
                high[lane] = at_least(chunk[lane], high[lane]);
            }
        }
        let low = low.iter().chain(rest).fold(0.0, |low, &value| at_most(value, low));
        let high = high.iter().chain(rest).fold(0.0, |high, &value| at_least(value, high));
        [low, high]
    }
}

multiversion! {
    /// Quantizes values of one sample.
    fn quantize(values: &[f32], quantization: SampleQuantization, output: &mut [u8]) {
        let SampleQuantization { factor, zero_point, .. } = quantization;
        let (low, high) = (-f32::from(zero_point), 255.0 - f32::from(zero_point));
        for (out, &value) in output.iter_mut().zip(values) {
            let steps = at_least(at_most(value * factor, high), low);
            *out = (round_small(steps) + i32::from(zero_point)) as u8;
        }
    }
}
