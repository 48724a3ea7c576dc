//! Counting zeros.

use super::cost::{LANES, Zeros};
use crate::Isa;
use crate::multiversion::multiversion;

/// Weights that are looked at before all are.
const SAMPLES: usize = 256;

/// One in so many of them must be zero for all weights to be looked at.
const LEAST: usize = 10;

impl Zeros {
    /// Of weights `[output channel][depth]`, a step being one of depth.
    pub(crate) fn of_floats(weights: &[f32], depth: usize) -> Zeros {
        if has_few(weights, |weight| *weight == 0.0) {
            return Zeros::NONE;
        }
        count(
            weights,
            depth,
            0_u32,
            |row, seen| note_floats(Isa::Amx, row, seen),
            |seen| [seen.iter().filter(|seen| **seen == 0).count(), seen.len()],
        )
    }

    /// Of weights `[output channel][depth]`, a step being up to `step` of the `run` of a tap.
    pub(crate) fn of_bytes(weights: &[i8], depth: usize, [run, step]: [usize; 2]) -> Zeros {
        if has_few(weights, |weight| *weight == 0) {
            return Zeros::NONE;
        }
        count(
            weights,
            depth,
            0_u8,
            |row, seen| note_bytes(Isa::Amx, row, seen),
            |seen| {
                let steps = seen.chunks(run).flat_map(|tap| tap.chunks(step));
                steps.fold([0, 0], |[zero, all], step| {
                    [zero + usize::from(step.iter().all(|seen| *seen == 0)), all + 1]
                })
            },
        )
    }
}

/// Whether a look at some weights finds hardly any zeros. An odd distance between them meets every place of a
/// pattern that repeats itself after a power of two.
fn has_few<T>(weights: &[T], is_zero: impl Fn(&T) -> bool) -> bool {
    let samples = weights.iter().step_by((weights.len() / SAMPLES) | 1);
    let all = samples.len();
    samples.filter(|weight| is_zero(weight)).count() * LEAST < all
}

/// Counts zeros: `note` marks in the second slice what is not zero in a row, and gives how much is;
/// `steps` counts the steps without a mark, and all.
fn count<T, S: Copy>(
    weights: &[T],
    depth: usize,
    unseen: S,
    note: impl Fn(&[T], &mut [S]) -> usize,
    steps: impl Fn(&[S]) -> [usize; 2],
) -> Zeros {
    let mut seen = vec![unseen; depth];
    let (mut zeros, mut left_out, mut all) = (0, 0, 0);
    for panel in weights.chunks(LANES * depth) {
        seen.fill(unseen);
        for row in panel.chunks_exact(depth) {
            zeros += note(row, &mut seen);
        }
        let [without, of] = steps(&seen);
        (left_out, all) = (left_out + without, all + of);
    }
    let share = |part: usize, whole: usize| part as f64 / whole.max(1) as f64;
    Zeros { steps: share(left_out, all), weights: share(zeros, weights.len()) }
}

multiversion! {
    /// See [`count`].
    fn note_floats(row: &[f32], seen: &mut [u32]) -> usize {
        let mut zeros = 0;
        for (weight, seen) in row.iter().zip(seen) {
            // Without the sign.
            let bits = weight.to_bits() << 1;
            *seen |= bits;
            zeros += u32::from(bits == 0);
        }
        zeros as usize
    }
}

multiversion! {
    /// See [`count`].
    fn note_bytes(row: &[i8], seen: &mut [u8]) -> usize {
        let mut zeros = 0;
        for (weight, seen) in row.iter().zip(seen) {
            *seen |= *weight as u8;
            zeros += u32::from(*weight == 0);
        }
        zeros as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zeros_are_counted_one_by_one_and_step_by_step() {
        let depth = 20;
        // In the first 16 channels every second step, in the other 4 every weight but one.
        let floats: Vec<f32> = (0..20 * depth)
            .map(|i| match (i / depth, i % depth) {
                (0..=15, step) => [-0.0, 1.5][step % 2],
                (17, 3) => 1e-40,
                _ => 0.0,
            })
            .collect();
        let zeros = Zeros::of_floats(&floats, depth);
        assert_eq!(zeros, Zeros { steps: (10.0 + 19.0) / 40.0, weights: (160.0 + 79.0) / 400.0 });
        let bytes: Vec<i8> = floats.iter().map(|weight| i8::from(*weight != 0.0)).collect();
        let zeros = Zeros::of_bytes(&bytes, depth, [10, 4]);
        // Steps of 4, 4 and 2 at each of two taps.
        assert_eq!(zeros.steps, (0.0 + 5.0) / 12.0);
    }

    #[test]
    fn patterns_of_powers_of_two_are_seen() {
        for period in [2, 4, 16, 64] {
            let weights: Vec<f32> = (0..1 << 16).map(|i| (i % period < period / 2) as u8 as f32).collect();
            assert_eq!(Zeros::of_floats(&weights, 256).weights, 0.5, "{period}");
        }
        assert_eq!(Zeros::of_floats(&[1.0; 1000], 10), Zeros::NONE);
        assert_eq!(Zeros::of_floats(&[], 10), Zeros::NONE);
    }
}
