//! The range of a model's input.
//!
//! Samples of 8 bits that were scaled to [-1, 1], as photographs mostly are, lie exactly between the
//! integers of that range: zero must be one of them, and stands between two samples. Each is then off by
//! half a step. A range that is wider by less than a hundredth lets errors spread, which halves them.

use crate::parameters::activation_parameters;
use crate::statistics::Range;

/// Widenings that are tried, in steps of 1/1000.
const TRIED: u32 = 12;

/// The share of the squared error that must go for a range to be widened at all.
const WORTH: f64 = 0.25;

/// The range, widened to where these values of the input lose least.
pub(super) fn fit(range: Range, values: &[f32]) -> Range {
    let error = |range: Range| {
        let Some((scale, zero_point)) = activation_parameters(range).single() else { return f64::INFINITY };
        let zero = zero_point as f32;
        let squared = |x: &f32| {
            let back = ((x / scale).round() + zero).clamp(-128.0, 127.0) - zero;
            f64::from(back * scale - x).powi(2)
        };
        values.iter().map(squared).sum::<f64>()
    };
    let plain = error(range);
    let widened = |step: u32| {
        let factor = 1.0 + step as f32 / 1000.0;
        Range { min: range.min * factor, max: range.max * factor }
    };
    let tried = (1..=TRIED).map(|step| (error(widened(step)), widened(step)));
    match tried.min_by(|(a, _), (b, _)| a.total_cmp(b)) {
        Some((error, wider)) if error < (1.0 - WORTH) * plain => wider,
        _ => range,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn photographs_between_the_integers_get_a_wider_range() {
        let range = Range { min: -1.0, max: 1.0 };
        let between: Vec<f32> = (0..=255).map(|x| x as f32 / 127.5 - 1.0).collect();
        let fitted = fit(range, &between);
        assert!(fitted.max > 1.0 && fitted.max < 1.02);
        let upon: Vec<f32> = (0..=254).map(|x| x as f32 / 127.0 - 1.0).collect();
        assert_eq!(
            fit(Range { min: -1.0, max: 128.0 / 127.0 }, &upon),
            Range { min: -1.0, max: 128.0 / 127.0 }
        );
        assert_eq!(fit(range, &[]), range);
    }
}
