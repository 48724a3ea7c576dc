//! Between types: quantizing, dequantizing, half precision, casts.

use half::f16;
use half::slice::HalfFloatSliceExt;

use crate::elementwise::TASK_ELEMENTS;
use crate::elementwise::affine::{Affine, Rounding};
use crate::multiversion::multiversion;
use crate::{Isa, ThreadPool};

/// `round(x * (1 / scale)) + zero_point`, the inverse and the product in single precision, ties to
/// even, saturated; not-a-number becomes 0. Equal to LiteRT's QUANTIZE (XNNPACK) in every value.
///
/// # Panics
/// When the lengths differ.
pub fn quantize(isa: Isa, pool: &ThreadPool, input: &[f32], affine: Affine, output: &mut [u8]) {
    let rounding = Rounding::new(affine.zero_point, [0, 255]);
    let inverse = 1.0 / affine.scale;
    pieces(pool, input, output, |input, output| {
        convert(isa, input, output, move |x: f32| rounding.apply(x * inverse));
    });
}

/// `(x - zero_point) * scale` in single precision, for `u8`, `i8` and `i16` with one scale.
///
/// # Panics
/// When the lengths differ.
pub fn dequantize<T: Into<f32> + Copy + Sync>(
    isa: Isa,
    pool: &ThreadPool,
    input: &[T],
    scale: f32,
    zero_point: T,
    output: &mut [f32],
) {
    let zero: f32 = zero_point.into();
    pieces(pool, input, output, |input, output| {
        convert(isa, input, output, move |x: T| (x.into() - zero) * scale);
    });
}

/// Dequantizes weights or a bias with a scale for each channel: `(x - zero_point) * scale`, rounded
/// once to single precision.
///
/// The channel of element `i` is `i / inner % scales.len()`, where `inner` is the number of
/// elements behind the channel axis. `zero_points` is empty when all are 0.
///
/// # Panics
/// When the lengths differ, there is no scale, `inner` is 0, or `zero_points` is neither empty nor
/// as long as `scales`.
pub fn dequantize_channels<T: Into<f64> + Copy>(
    input: &[T],
    scales: &[f32],
    zero_points: &[i32],
    inner: usize,
    output: &mut [f32],
) {
    assert_eq!(input.len(), output.len(), "input and output must have equally many elements");
    assert!(zero_points.is_empty() || zero_points.len() == scales.len(), "a zero point for each scale");
    assert!(!scales.is_empty() && inner > 0, "there must be a channel");
    let runs = input.chunks(inner).zip(output.chunks_mut(inner));
    for ((input, output), channel) in runs.zip((0..scales.len()).cycle()) {
        let scale = f64::from(scales[channel]);
        let zero = zero_points.get(channel).map_or(0.0, |&zero| f64::from(zero));
        for (o, &x) in output.iter_mut().zip(input) {
            *o = ((x.into() - zero) * scale) as f32;
        }
    }
}

/// Turns stored `u8` activations into a model's `int8` bytes or back: flips every top bit.
///
/// # Panics
/// When the lengths differ.
pub fn flip_sign(isa: Isa, pool: &ThreadPool, input: &[u8], output: &mut [u8]) {
    pieces(pool, input, output, |input, output| convert(isa, input, output, |x: u8| x ^ 0x80));
}

/// Widens half precision to single precision.
///
/// # Panics
/// When the lengths differ.
pub fn half_to_single(pool: &ThreadPool, input: &[f16], output: &mut [f32]) {
    pieces(pool, input, output, |input, output| input.convert_to_f32_slice(output));
}

/// Narrows single precision to half precision, ties to even; too large becomes infinite.
///
/// # Panics
/// When the lengths differ.
pub fn single_to_half(pool: &ThreadPool, input: &[f32], output: &mut [f16]) {
    pieces(pool, input, output, |input, output| output.convert_from_f32_slice(input));
}

/// A number that can become a `U`.
pub trait CastTo<U>: Copy + Sync {
    /// The number as a `U`: floats to integers are cut toward zero and saturate, not-a-number
    /// becomes 0; integers to smaller integers wrap; integers to floats and `f64` to `f32` round to
    /// nearest.
    fn cast(self) -> U;
}

macro_rules! casts {
    ($($from:ident),*) => {
        $(casts!(@ $from: u8 i8 u16 i16 u32 i32 u64 i64 f32 f64);)*
    };
    (@ $from:ident: $($to:ident)*) => {$(
        impl CastTo<$to> for $from {
            #[inline(always)]
            fn cast(self) -> $to {
                self as $to
            }
        }
    )*};
}

casts!(u8, i8, u16, i16, u32, i32, u64, i64, f32, f64);

/// `output[i] = input[i]` in another type; see [`CastTo::cast`].
///
/// # Panics
/// When the lengths differ.
pub fn cast<T: CastTo<U>, U: Copy + Send>(isa: Isa, pool: &ThreadPool, input: &[T], output: &mut [U]) {
    pieces(pool, input, output, |input, output| convert(isa, input, output, |x: T| x.cast()));
}

/// `output[i] = 1` where `input[i]` is not 0 (not-a-number included), else 0: a cast to a truth
/// value.
///
/// # Panics
/// When the lengths differ.
pub fn cast_to_truth<T: PartialEq + Default + Copy + Sync>(
    isa: Isa,
    pool: &ThreadPool,
    input: &[T],
    output: &mut [u8],
) {
    pieces(pool, input, output, |input, output| {
        convert(isa, input, output, |x: T| u8::from(x != T::default()));
    });
}

/// Calls `piece` for corresponding parts of input and output, in parallel.
pub(crate) fn pieces<T: Sync, U: Send>(
    pool: &ThreadPool,
    input: &[T],
    output: &mut [U],
    piece: impl Fn(&[T], &mut [U]) + Sync,
) {
    assert_eq!(input.len(), output.len(), "input and output must have equally many elements");
    let rows = pool.rows_per_task(output.len(), 4 * TASK_ELEMENTS);
    pool.run_rows(output, 1, rows, |first, output| piece(&input[first..first + output.len()], output));
}

multiversion! {
    /// `output[i] = function(input[i])`.
    pub(crate) fn convert[T: Copy, U: Copy, F: Fn(T) -> U](input: &[T], output: &mut [U], function: F) {
        for (o, &x) in output.iter_mut().zip(input) {
            *o = function(x);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantizing_rounds_ties_to_even_and_saturates_on_every_level() {
        let pool = ThreadPool::new(2);
        let special = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 0.25, 0.75, -0.25, 1e30];
        let input: Vec<f32> = (0..999).map(|i| i as f32 * 0.37 - 150.0).chain(special).collect();
        let affine = Affine::new(0.5, 7);
        let expected: Vec<u8> = input.iter().map(|x| affine.nearest(f64::from(*x))).collect();
        assert_eq!(expected[999..], [0, 255, 0, 7, 9, 7, 255]);
        for isa in Isa::available_levels() {
            let mut output = vec![1; input.len()];
            quantize(isa, &pool, &input, affine, &mut output);
            assert_eq!(output, expected, "{isa}");
            let mut back = vec![0.0; output.len()];
            dequantize(isa, &pool, &output, affine.scale, affine.zero_point, &mut back);
            assert!(output.iter().zip(&back).all(|(&q, &x)| f64::from(x) == affine.real(q)), "{isa}");
        }
    }

    #[test]
    fn channels_have_their_own_scale() {
        let input = [1i8, 2, 3, 4, -128, 127, 0, 1];
        let mut output = [0.0; 8];
        dequantize_channels(&input, &[0.5, 2.0], &[], 2, &mut output);
        assert_eq!(output, [0.5, 1.0, 6.0, 8.0, -64.0, 63.5, 0.0, 2.0]);
        dequantize_channels(&[i32::MIN, 5], &[1.0, 2.0], &[1, -1], 1, &mut output[..2]);
        assert_eq!(output[..2], [-2_147_483_600.0, 12.0]);
    }

    #[test]
    fn casts_are_defined_for_every_value() {
        let pool = ThreadPool::new(1);
        for isa in Isa::available_levels() {
            let mut integers = [9i32; 5];
            cast(isa, &pool, &[f32::NAN, 1e20, -1e20, -2.9, 2.9f32], &mut integers);
            assert_eq!(integers, [0, i32::MAX, i32::MIN, -2, 2]);
            let mut bytes = [9u8; 3];
            cast(isa, &pool, &[-1i64, 256, 255], &mut bytes);
            assert_eq!(bytes, [255, 0, 255]);
            cast_to_truth(isa, &pool, &[0.0, -0.0, f32::NAN], &mut bytes);
            assert_eq!(bytes, [0, 0, 1]);
            flip_sign(isa, &pool, &[0, 128, 255], &mut bytes);
            assert_eq!(bytes, [128, 0, 127]);
        }
    }

    #[test]
    fn half_precision_goes_both_ways() {
        let pool = ThreadPool::new(1);
        let input = [0.5f32, -65504.0, 1e6, 1.0 + 1.0 / 2048.0];
        let (mut halves, mut back) = ([f16::ZERO; 4], [0.0f32; 4]);
        single_to_half(&pool, &input, &mut halves);
        half_to_single(&pool, &halves, &mut back);
        assert_eq!(back, [0.5, -65504.0, f32::INFINITY, 1.0]);
    }
}
