//! Dropout: some elements become 0, the others grow so that the mean stays.
//!
//! Whether an element stays is a function of the seed, the step and the element's index alone, so that
//! it depends on neither threads nor order, and the backward pass finds it again without a mask in
//! memory.

use crate::elementwise::TASK_ELEMENTS;
use crate::elementwise::number::Float;
use crate::multiversion::multiversion;
use crate::{Isa, ThreadPool};

/// Which elements drop out.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Dropout {
    /// The share of elements that drop out, in `[0, 1)`.
    pub rate: f64,
    /// What tells one layer's and one training's elements from another's.
    pub seed: u64,
    /// What tells one step's elements from another's.
    pub step: u64,
}

/// `output[i] = input[i] / (1 - rate)` where element `i` stays and 0 where it drops out. The gradient
/// is the same function of the output's gradient.
///
/// # Panics
/// When the lengths differ or the rate is not in `[0, 1)`.
pub fn dropout<T: Float>(isa: Isa, pool: &ThreadPool, dropout: Dropout, input: &[T], output: &mut [T]) {
    assert_eq!(input.len(), output.len(), "input and output must have equally many elements");
    let Dropout { rate, .. } = dropout;
    assert!((0.0..1.0).contains(&rate), "a dropout rate lies in [0, 1), not {rate}");
    let (limit, factor) = (limit(rate), T::of(1.0 / (1.0 - rate)));
    let rows = pool.rows_per_task(output.len(), TASK_ELEMENTS);
    pool.run_rows(output, 1, rows, |first, mut piece| {
        let mut at = first as u64;
        while !piece.is_empty() {
            // Up to where the upper half of the index changes.
            let run = piece.len().min(((1 << 32) - (at & 0xFFFF_FFFF)) as usize);
            let (line, rest) = piece.split_at_mut(run);
            let keys = keys(dropout, at >> 32);
            drop_line(isa, &input[at as usize..][..run], keys, at as u32, limit, factor, line);
            (at, piece) = (at + run as u64, rest);
        }
    });
}

/// Elements whose random number is below it drop out.
fn limit(rate: f64) -> u32 {
    (rate * 4_294_967_296.0) as u32
}

/// Two keys for the elements whose index has this upper half.
fn keys(dropout: Dropout, high: u64) -> [u32; 2] {
    let mixed = [dropout.step, high].into_iter().fold(mix64(dropout.seed), |key, x| mix64(key ^ x));
    [mixed as u32, (mixed >> 32) as u32]
}

/// The step of SplitMix64 (Steele, Lea and Flood, 2014).
fn mix64(x: u64) -> u64 {
    let x = x.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    x ^ (x >> 31)
}

/// The final mixer of MurmurHash3 in 32 bits, a bijection whose output bits depend on all input bits.
#[inline(always)]
fn mix32(x: u32) -> u32 {
    let x = (x ^ (x >> 16)).wrapping_mul(0x85EB_CA6B);
    let x = (x ^ (x >> 13)).wrapping_mul(0xC2B2_AE35);
    x ^ (x >> 16)
}

/// The random number of an element: two rounds of mixing, each with a key.
#[inline(always)]
fn random(keys: [u32; 2], index: u32) -> u32 {
    mix32(mix32(index ^ keys[0]).wrapping_add(keys[1]))
}

multiversion! {
    fn drop_line[T: Float](
        input: &[T],
        keys: [u32; 2],
        first: u32,
        limit: u32,
        factor: T,
        output: &mut [T],
    ) {
        for (i, (o, &x)) in output.iter_mut().zip(input).enumerate() {
            let stays = random(keys, first.wrapping_add(i as u32)) >= limit;
            *o = if stays { x.times(factor) } else { T::ZERO };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reference::gradient::dropout as reference;

    #[test]
    fn elements_depend_on_neither_threads_nor_instruction_set() {
        let input: Vec<f32> = (0..100_003).map(|i| i as f32 + 1.0).collect();
        for (rate, seed, step) in [(0.5, 1, 0), (0.1, 2, 7), (0.0, 3, 9)] {
            let setting = Dropout { rate, seed, step };
            let expected = reference::dropout(setting, &input, |setting, i| {
                random(keys(setting, i as u64 >> 32), i as u32)
            });
            for isa in Isa::available_levels() {
                for threads in [1, 3] {
                    let mut output = vec![7.0; input.len()];
                    dropout(isa, &ThreadPool::new(threads), setting, &input, &mut output);
                    assert_eq!(output, expected);
                }
            }
        }
    }

    #[test]
    fn the_share_is_right_and_neighbours_seeds_and_steps_are_independent() {
        const LEN: usize = 200_000;
        let stays = |seed, step| {
            let mut output = vec![0.0f32; LEN];
            let setting = Dropout { rate: 0.3, seed, step };
            dropout(Isa::detect(), &ThreadPool::new(1), setting, &[1.0; LEN], &mut output);
            output.iter().map(|&x| x > 0.0).collect::<Vec<bool>>()
        };
        let share = |both: &mut dyn Iterator<Item = bool>| both.filter(|&x| x).count() as f64 / LEN as f64;
        let first = stays(5, 1);
        assert!((share(&mut first.iter().copied()) - 0.7).abs() < 0.005);
        for lag in [1, 2, 16, 64, 1000] {
            let pairs = &mut first.iter().zip(&first[lag..]).map(|(&a, &b)| a && b);
            assert!((share(pairs) - 0.49).abs() < 0.008, "{lag}");
        }
        for other in [stays(6, 1), stays(5, 2), stays(1, 5)] {
            let pairs = &mut first.iter().zip(&other).map(|(&a, &b)| a && b);
            assert!((share(pairs) - 0.49).abs() < 0.005);
        }
    }
}
