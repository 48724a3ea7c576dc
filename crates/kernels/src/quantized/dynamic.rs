//! Quantizing `f32` activations while a model runs, each sample by its own range.

#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::*;

use crate::multiversion::multiversion;
use crate::pool::DisjointSlice;
use crate::{Isa, ThreadPool};

use super::epilogue::{at_least, at_most};
use super::range::SharedRange;
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

/// Activations whose samples have been quantized, each by its own range.
#[derive(Clone, Copy, Debug)]
pub struct QuantizedSamples<'a> {
    /// The samples, one after the other: see [`SampleQuantization`].
    pub bytes: &'a [u8],
    /// The smallest and the largest value of each sample, zero counted in.
    pub ranges: &'a [[f32; 2]],
}

impl QuantizedSamples<'_> {
    /// How each sample was quantized.
    pub(super) fn quantizations(&self) -> Vec<SampleQuantization> {
        self.ranges.iter().map(|[low, high]| SampleQuantization::of_range(*low, *high)).collect()
    }
}

/// Elements of a sample that one task takes.
const CHUNK: usize = 1 << 15;

/// Samples of equal length cut into tasks.
#[derive(Clone, Copy)]
pub(super) struct Parts {
    /// Elements of a sample, and tasks for each.
    length: usize,
    chunks: usize,
}

impl Parts {
    /// # Panics
    /// If the batch does not divide the elements.
    pub(super) fn new(elements: usize, batch: usize) -> Parts {
        assert!(elements.checked_rem(batch).unwrap_or(elements) == 0, "samples of different lengths");
        let length = elements.checked_div(batch).unwrap_or(0);
        Parts { length, chunks: length.div_ceil(CHUNK) }
    }

    /// The sample of a task and its elements.
    fn part(self, task: usize) -> (usize, std::ops::Range<usize>) {
        let (sample, chunk) = (task / self.chunks, share(self.length, self.chunks, task % self.chunks));
        (sample, sample * self.length + chunk.start..sample * self.length + chunk.end)
    }
}

/// Finds the smallest and the largest value, zero counted in, of each of the samples in `input`, of
/// which there are as many as `ranges`. Values that are not numbers are left out.
///
/// # Panics
/// If the samples are not of equal length.
pub fn sample_ranges(isa: Isa, pool: &ThreadPool, input: &[f32], ranges: &mut [[f32; 2]]) {
    let parts = Parts::new(input.len(), ranges.len());
    let shared = SharedRange::of_samples(ranges.len());
    pool.run(ranges.len() * parts.chunks, &|task| {
        let (sample, part) = parts.part(task);
        shared[sample].add(range(isa, &input[part]));
    });
    ranges.iter_mut().zip(&shared).for_each(|(range, shared)| *range = shared.get());
}

/// Quantizes the samples in `input` into `output`, each by its range. Values that are not numbers
/// become 255.
///
/// # Panics
/// If the lengths differ or the samples are not of equal length.
pub fn quantize_by_ranges(
    isa: Isa,
    pool: &ThreadPool,
    input: &[f32],
    ranges: &[[f32; 2]],
    output: &mut [u8],
) {
    assert_eq!(input.len(), output.len(), "one byte for each value");
    let parts = Parts::new(input.len(), ranges.len());
    let target = DisjointSlice::new(output);
    pool.run(ranges.len() * parts.chunks, &|task| {
        let (sample, part) = parts.part(task);
        let [low, high] = ranges[sample];
        // SAFETY: each task writes its own part.
        let output = unsafe { target.piece(part.clone()) };
        quantize(isa, &input[part], SampleQuantization::of_range(low, high), output);
    });
}

/// Quantizes every pixel of images, `[batch, height, width, channels]`, that lies a multiple of `step` rows
/// and columns from the first one: as [`quantize_by_ranges`] would, by the ranges of whole images.
///
/// # Panics
/// If there are no channels, a step is 0 or a length does not fit.
pub fn quantize_pixels(
    isa: Isa,
    pool: &ThreadPool,
    input: &[f32],
    [batch, height, width, channels]: [usize; 4],
    step: [usize; 2],
    ranges: &[[f32; 2]],
    output: &mut [u8],
) {
    let [rows, columns] = [height.div_ceil(step[0]), width.div_ceil(step[1])];
    let row_len = columns * channels;
    assert_eq!(input.len(), batch * height * width * channels, "the input must have its shape's length");
    assert_eq!((output.len(), ranges.len()), (batch * rows * row_len, batch), "one byte for each value");
    let target = DisjointSlice::new(output);
    pool.run(batch * rows, &|task| {
        let (sample, row) = (task / rows, task % rows);
        let [low, high] = ranges[sample];
        let quantization = SampleQuantization::of_range(low, high);
        // SAFETY: each task writes its own row.
        let output = unsafe { target.piece(task * row_len..(task + 1) * row_len) };
        let row = &input[(sample * height + row * step[0]) * width * channels..][..width * channels];
        for (pixel, output) in
            row.chunks_exact(channels).step_by(step[1]).zip(output.chunks_exact_mut(channels))
        {
            quantize(isa, pixel, quantization, output);
        }
    });
}

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
    let mut ranges = vec![[0.0; 2]; batch];
    sample_ranges(isa, pool, input, &mut ranges);
    quantize_by_ranges(isa, pool, input, &ranges, output);
    QuantizedSamples { bytes: output, ranges: &ranges }.quantizations()
}

multiversion! {
    /// The smallest and the largest value, zero counted in.
    pub(crate) fn range(values: &[f32]) -> [f32; 2] {
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

/// Quantizes values of one sample.
pub(super) fn quantize(isa: Isa, values: &[f32], quantization: SampleQuantization, output: &mut [u8]) {
    #[cfg(target_arch = "x86_64")]
    if isa >= Isa::Avx512 && Isa::Avx512.available() {
        // SAFETY: the machine has these instructions, as was just asked.
        let done = unsafe { quantize_vectors(values, quantization, output) };
        return quantize_plainly(isa, &values[done..], quantization, &mut output[done..]);
    }
    quantize_plainly(isa, values, quantization, output);
}

multiversion! {
    fn quantize_plainly(values: &[f32], quantization: SampleQuantization, output: &mut [u8]) {
        for (out, &value) in output.iter_mut().zip(values) {
            *out = quantization.byte(value);
        }
    }
}

/// Quantizes as many values as make whole groups of 64, and tells how many.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw")]
fn quantize_vectors(values: &[f32], quantization: SampleQuantization, output: &mut [u8]) -> usize {
    let SampleQuantization { factor, zero_point, .. } = quantization;
    let (factor, zero_point) = (_mm512_set1_ps(factor), i16::from(zero_point));
    let [low, high] = [_mm512_set1_ps(f32::from(-zero_point)), _mm512_set1_ps(f32::from(255 - zero_point))];
    let offset = _mm512_set1_epi16(zero_point);
    let steps = |values: &[f32]| {
        debug_assert!(values.len() == 16);
        // SAFETY: 16 values.
        let values = unsafe { _mm512_loadu_ps(values.as_ptr()) };
        // What is not a number, being first, gives way to the bound.
        let steps = _mm512_min_ps(_mm512_mul_ps(values, factor), high);
        _mm512_cvtps_epi32(_mm512_max_ps(steps, low))
    };
    // Packing works within 128 bits: each of these holds four values of every sixteen.
    let order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    for (values, output) in values.chunks_exact(64).zip(output.chunks_exact_mut(64)) {
        let first = _mm512_packs_epi32(steps(&values[..16]), steps(&values[16..32]));
        let second = _mm512_packs_epi32(steps(&values[32..48]), steps(&values[48..]));
        let [first, second] = [_mm512_add_epi16(first, offset), _mm512_add_epi16(second, offset)];
        let bytes = _mm512_permutexvar_epi32(order, _mm512_packus_epi16(first, second));
        // SAFETY: 64 bytes.
        unsafe { _mm512_storeu_si512(output.as_mut_ptr().cast(), bytes) };
    }
    values.len() / 64 * 64
}
