//! Average pooling.

use super::{Fold, pool};
use crate::elementwise::number::Float;
use crate::{Isa, ThreadPool, Window};

/// The mean of each window's taps inside the input (as in TFLite, padding does not count), held
/// within `clamp`. A window that lies wholly in the padding gives 0.
///
/// `input_shape` is `[batch, height, width, channels]`.
///
/// # Panics
/// When a length does not fit `input_shape` and `window`.
pub fn average_pool<T: Float>(
    isa: Isa,
    threads: &ThreadPool,
    window: &Window,
    input_shape: [usize; 4],
    input: &[T],
    clamp: [T; 2],
    output: &mut [T],
) {
    pool(isa, threads, window, input_shape, input, Mean { clamp }, output);
}

#[derive(Clone, Copy)]
struct Mean<T> {
    clamp: [T; 2],
}

impl<T: Float> Fold<T> for Mean<T> {
    type State = T;
    const START: T = T::ZERO;

    #[inline(always)]
    fn add(state: T, tap: T) -> T {
        state.plus(tap)
    }

    #[inline(always)]
    fn join(a: T, b: T) -> T {
        a.plus(b)
    }

    #[inline(always)]
    fn finish(self, state: T, taps: usize) -> T {
        state.over(T::of(taps.max(1) as f64)).within(self.clamp)
    }
}

/// Most taps of a quantized average: their sum must fit 32 bits.
const MOST_TAPS: usize = 1 << 24;

/// As [`average_pool`], for quantized bytes; input and output share scale and zero point.
///
/// The result is the exact mean rounded half away from the middle value 128, which is half away
/// from zero in the model's `int8` view: what LiteRT computes, in every value.
///
/// # Panics
/// When a length does not fit `input_shape` and `window`, or the window has more than 2^24 taps.
pub fn average_pool_quantized(
    isa: Isa,
    threads: &ThreadPool,
    window: &Window,
    input_shape: [usize; 4],
    input: &[u8],
    clamp: [u8; 2],
    output: &mut [u8],
) {
    assert!(window.taps() <= MOST_TAPS, "an average over more than 2^24 taps");
    pool(isa, threads, window, input_shape, input, QuantizedMean { clamp }, output);
}

#[derive(Clone, Copy)]
struct QuantizedMean {
    clamp: [u8; 2],
}

impl Fold<u8> for QuantizedMean {
    type State = u32;
    const START: u32 = 0;

    #[inline(always)]
    fn add(state: u32, tap: u8) -> u32 {
        state + u32::from(tap)
    }

    #[inline(always)]
    fn join(a: u32, b: u32) -> u32 {
        a + b
    }

    #[inline(always)]
    fn finish(self, state: u32, taps: usize) -> u8 {
        let taps = taps.max(1) as i32;
        let sum = (i64::from(state) - 128 * i64::from(taps)) as i32;
        let raised = sum.unsigned_abs() as i32 + taps / 2;
        // Below 2^16 taps the quotient in single precision cannot round up to the next integer.
        let magnitude = if taps <= 1 << 16 { (raised as f32 / taps as f32) as i32 } else { raised / taps };
        let rounded = if sum < 0 { -magnitude } else { magnitude };
        ((rounded + 128) as u8).clamp(self.clamp[0], self.clamp[1])
    }
}
