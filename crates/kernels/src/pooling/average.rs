//! Average pooling.

use std::marker::PhantomData;

use super::{Fold, pool};
use crate::elementwise::affine::Rounding;
use crate::elementwise::number::{Float, Ordered};
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
    fn finish(self, states: &[T], taps: usize, output: &mut [T]) {
        let taps = T::of(taps.max(1) as f64);
        for (o, &state) in output.iter_mut().zip(states) {
            *o = state.over(taps).within(self.clamp);
        }
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
    if window.taps() <= FEW_TAPS {
        pool(isa, threads, window, input_shape, input, QuantizedMean::<u16>::new(clamp), output);
    } else {
        pool(isa, threads, window, input_shape, input, QuantizedMean::<u32>::new(clamp), output);
    }
}

/// Bytes whose sum fits 16 bits.
const FEW_TAPS: usize = 257;

/// The mean of bytes whose sum is carried in an `S`.
#[derive(Clone, Copy)]
struct QuantizedMean<S> {
    clamp: [u8; 2],
    sum: PhantomData<S>,
}

impl<S> QuantizedMean<S> {
    fn new(clamp: [u8; 2]) -> QuantizedMean<S> {
        QuantizedMean { clamp, sum: PhantomData }
    }
}

impl Fold<u8> for QuantizedMean<u16> {
    type State = u16;
    const START: u16 = 0;

    #[inline(always)]
    fn add(state: u16, tap: u8) -> u16 {
        state.wrapping_add(u16::from(tap))
    }

    #[inline(always)]
    fn join(a: u16, b: u16) -> u16 {
        a.wrapping_add(b)
    }

    /// A quarter of a step toward the outside makes ties round away from zero and moves no other
    /// quotient across a tie; with so few taps that is well above the error of the product.
    #[inline(always)]
    fn finish(self, states: &[u16], taps: usize, output: &mut [u8]) {
        let taps = taps.max(1) as i32;
        let inverse = 1.0 / taps as f32;
        let rounding = Rounding::new(128, self.clamp);
        for (o, &state) in output.iter_mut().zip(states) {
            let sum = (i32::from(state) - 128 * taps) as f32;
            *o = rounding.apply((sum + 0.25f32.copysign(sum)) * inverse);
        }
    }
}

impl Fold<u8> for QuantizedMean<u32> {
    type State = u32;
    const START: u32 = 0;

    #[inline(always)]
    fn add(state: u32, tap: u8) -> u32 {
        state.wrapping_add(u32::from(tap))
    }

    #[inline(always)]
    fn join(a: u32, b: u32) -> u32 {
        a.wrapping_add(b)
    }

    #[inline(always)]
    fn finish(self, states: &[u32], taps: usize, output: &mut [u8]) {
        let taps = taps.max(1) as i64;
        for (o, &state) in output.iter_mut().zip(states) {
            let sum = i64::from(state) - 128 * taps;
            let magnitude = (sum.abs() + taps / 2) / taps;
            let mean = 128 + if sum < 0 { -magnitude } else { magnitude };
            *o = (mean as u8).within(self.clamp);
        }
    }
}
