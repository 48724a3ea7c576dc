//! Samples that a map by channel makes, quantized without being written down as numbers.

use crate::elementwise::MultiplyAdd;
use crate::pool::DisjointSlice;
use crate::{Isa, ThreadPool};

use super::dynamic::{SampleQuantization, quantize, range};
use super::range::SharedRange;
use super::split::share;

/// Elements that are mapped at a time: they stay in the first-level cache.
const PIECE: usize = 2048;

/// Elements that are worth a task of their own.
const TASK: usize = 1 << 15;

/// Quantizes what `map` makes of the samples in `input`, each by its own range, as
/// [`quantize_samples`](super::quantize_samples) would do with its results. They are computed twice, the
/// first time for the ranges.
///
/// # Panics
/// If the lengths do not fit each other, or samples are no whole number of pixels.
pub fn map_samples(
    isa: Isa,
    pool: &ThreadPool,
    map: &MultiplyAdd,
    input: &[f32],
    ranges: &mut [[f32; 2]],
    output: &mut [u8],
) {
    assert_eq!(input.len(), output.len(), "one byte for each value");
    let (channels, pixels, batch) = (map.channels(), map.pixels(input), ranges.len());
    assert!(pixels.checked_rem(batch).unwrap_or(pixels) == 0, "samples of different lengths");
    let own = pixels.checked_div(batch).unwrap_or(0);
    let tasks = (own * channels).div_ceil(TASK).min(own);
    // The sample of a task, and its elements.
    let part = |task: usize| {
        let (sample, own_pixels) = (task / tasks, share(own, tasks, task % tasks));
        let first = sample * own;
        (sample, (first + own_pixels.start) * channels..(first + own_pixels.end) * channels)
    };
    // Whole pixels.
    let piece = (PIECE / channels).max(1) * channels;
    let shared = SharedRange::of_samples(batch);
    pool.run(batch * tasks, &|task| {
        let (sample, part) = part(task);
        let mut values = vec![0.0; piece];
        for input in input[part].chunks(piece) {
            let values = &mut values[..input.len()];
            map.map(isa, input, values);
            shared[sample].add(range(isa, values));
        }
    });
    ranges.iter_mut().zip(&shared).for_each(|(range, shared)| *range = shared.get());
    let target = DisjointSlice::new(output);
    pool.run(batch * tasks, &|task| {
        let (sample, part) = part(task);
        let [low, high] = ranges[sample];
        let quantization = SampleQuantization::of_range(low, high);
        // SAFETY: each task writes its own part.
        let output = unsafe { target.piece(part.clone()) };
        let mut values = vec![0.0; piece];
        for (input, output) in input[part].chunks(piece).zip(output.chunks_mut(piece)) {
            let values = &mut values[..input.len()];
            map.map(isa, input, values);
            quantize(isa, values, quantization, output);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::super::{quantize_by_ranges, sample_ranges};
    use super::*;
    use crate::cases::machines;

    #[test]
    fn bytes_are_those_of_the_numbers() {
        for (batch, pixels, channels) in [(1, 1, 1), (2, 700, 100), (3, 5, 33), (1, 3, 5000), (0, 4, 7)] {
            let number = |i: usize| (i % 1009) as f32 * 0.37 - 180.0;
            let input: Vec<f32> = (0..batch * pixels * channels).map(number).collect();
            let weight = (0..channels).map(|c| number(c + 10) * 0.01).collect();
            let addend = (0..channels).map(|c| number(3 * c + 8)).collect();
            let unbounded = [f32::NEG_INFINITY, f32::INFINITY];
            let map = MultiplyAdd { weight, addend, bounds: [unbounded, [-90.0, f32::INFINITY]] };
            let (isa, pool) = (Isa::Portable, ThreadPool::new(1));
            let (mut values, mut bytes) = (vec![0.0; input.len()], vec![0; input.len()]);
            let mut ranges = vec![[0.0; 2]; batch];
            map.apply(isa, &pool, &input, &mut values);
            sample_ranges(isa, &pool, &values, &mut ranges);
            quantize_by_ranges(isa, &pool, &values, &ranges, &mut bytes);
            for (isa, pool) in machines() {
                let (mut output, mut own) = (vec![9; input.len()], vec![[9.0; 2]; batch]);
                map_samples(isa, &pool, &map, &input, &mut own, &mut output);
                assert_eq!(own, ranges, "{isa}");
                assert!(output == bytes, "{isa}");
            }
        }
    }
}
