//! Scales and zero points, as TensorFlow's converter computes them.

use litesmith_graph::Quantization;

use crate::statistics::Range;

/// Range below which one is widened: a scale must not vanish.
const NARROWEST: f32 = 1e-6;

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

/// The int8 values of numbers on a grid: `round(x * (1 / scale)) + zero_point`, halves away from zero,
/// in single precision.
pub(crate) fn to_int8(values: &[f32], scale: f32, zero_point: i32) -> Vec<i8> {
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
    fn halves_round_away_from_zero_and_the_ends_clamp() {
        assert_eq!(to_int8(&[0.5, -0.5, 1.5, 200.0, -200.0], 1.0, 0), [1, -1, 2, 127, -128]);
        assert_eq!(to_int8(&[2.5], 2.5 / 255.0, -128), [127]);
    }
}
