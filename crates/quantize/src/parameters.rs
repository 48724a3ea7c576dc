//! Scales and zero points, as TensorFlow's converter computes them.

use litesmith_graph::{Data, Quantization, Width};

use crate::statistics::Range;

/// Range below which one is widened: a scale must not vanish.
const NARROWEST: f32 = 1e-6;

/// Largest integer of a symmetric grid of 16 bits.
const LARGEST_16: f32 = 32767.0;

/// Nearest integer, halves away from zero.
#[must_use]
pub fn nearest_away(x: f32) -> f32 {
    x.round()
}

/// Scale and zero point of an int8 activation with this range: asymmetric, zero included.
///
/// `scale = (hi - lo) / 255` in single precision, `zero_point = round(-128 - lo / scale)` with halves
/// away from zero; a range narrower than 1e-6 is widened by that on each side.
#[must_use]
pub fn activation_parameters(range: Range) -> Quantization {
    affine_parameters(range, NARROWEST)
}

/// Scale and zero point of an int8 constant that is no weight: as an activation's, but a range that is
/// too narrow is widened by half as much.
#[must_use]
pub(crate) fn constant_parameters(range: Range) -> Quantization {
    affine_parameters(range, NARROWEST / 2.0)
}

/// Scale of an int16 activation or constant with this range: symmetric, `max(|lo|, |hi|) / 32767` in
/// single precision. One that holds nothing but zeros counts as 1e-6 wide.
#[must_use]
pub(crate) fn symmetric_parameters(range: Range) -> Quantization {
    let extent = range.max.max(0.0).max(-range.min.min(0.0));
    Quantization::per_tensor(if extent > 0.0 { extent } else { NARROWEST } / LARGEST_16, 0)
}

/// Scale and zero point of an activation of this width.
pub(crate) fn activation(width: Width, range: Range) -> Quantization {
    match width {
        Width::Eight => activation_parameters(range),
        Width::Sixteen => symmetric_parameters(range),
    }
}

/// Scale and zero point of a constant that is no weight.
pub(crate) fn constant(width: Width, range: Range) -> Quantization {
    match width {
        Width::Eight => constant_parameters(range),
        Width::Sixteen => symmetric_parameters(range),
    }
}

/// Numbers on a grid of this width: `round(x * (1 / scale)) + zero_point`, halves away from zero, in
/// single precision.
pub(crate) fn integers(width: Width, values: &[f32], scale: f32, zero_point: i32) -> Data {
    match width {
        Width::Eight => Data::from_vec(to_int8(values, scale, zero_point)),
        Width::Sixteen => {
            let inverse = 1.0 / scale;
            let integer = |x: &f32| {
                (nearest_away(x * inverse) + zero_point as f32).clamp(-LARGEST_16, LARGEST_16) as i16
            };
            Data::from_vec(values.iter().map(integer).collect())
        }
    }
}

fn affine_parameters(range: Range, widening: f32) -> Quantization {
    let (mut lo, mut hi) = (range.min.min(0.0), range.max.max(0.0));
    if hi - lo < NARROWEST {
        lo -= widening;
        hi += widening;
    }
    let scale = (hi - lo) / 255.0;
    let zero_point = nearest_away((-128.0 - f64::from(lo) / f64::from(scale)) as f32).clamp(-128.0, 127.0);
    Quantization::per_tensor(scale, zero_point as i32)
}

fn to_int8(values: &[f32], scale: f32, zero_point: i32) -> Vec<i8> {
    let inverse = 1.0 / scale;
    values
        .iter()
        .map(|x| (nearest_away(x * inverse) + zero_point as f32).clamp(-128.0, 127.0) as i8)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_give_the_parameters_that_tensorflow_writes() {
        let of = |min, max| activation_parameters(Range { min, max }).single().unwrap();
        assert_eq!(of(-1.0, 1.0), (0.007_843_138, -1));
        assert_eq!(of(0.5, 2.0), (0.007_843_138, -128));
        assert_eq!(of(-3.0, -1.0).1, 127);
        assert_eq!(of(0.0, 0.0), (7.843_137e-9, 0));
        assert_eq!(of(1e-7, 2e-7).1, -12);
        assert_eq!(constant_parameters(Range { min: 2.5, max: 2.5 }).single().unwrap(), (2.5 / 255.0, -128));
        assert_eq!(constant_parameters(Range { min: 0.0, max: 0.0 }).single().unwrap(), (1e-6 / 255.0, 0));
    }

    #[test]
    fn sixteen_bits_are_symmetric() {
        let of = |min, max| activation(Width::Sixteen, Range { min, max }).single().unwrap();
        assert_eq!(of(-1.0, 3.2767), (1e-4, 0));
        assert_eq!(of(-3.2767, -1.0), (1e-4, 0));
        assert_eq!(of(0.0, 0.0), (1e-6 / 32767.0, 0));
        assert_eq!(integers(Width::Sixteen, &[0.5, -1.5, 1e9], 1.0, 0).elements::<i16>()[..], [1, -2, 32767]);
    }

    #[test]
    fn halves_round_away_from_zero_and_the_ends_clamp() {
        assert_eq!(to_int8(&[0.5, -0.5, 1.5, 200.0, -200.0], 1.0, 0), [1, -1, 2, 127, -128]);
        assert_eq!(to_int8(&[2.5], 2.5 / 255.0, -128), [127]);
    }
}
