//! Simulated quantization by ranges, as TensorFlow's operators do it.

use litesmith_graph::Quantization;
use litesmith_graph::ops::FakeQuant;

/// Rounding to the grid whose ends are moved so that 0 is on it. One range, or one for each index along
/// `axis`.
///
/// # Errors
/// What is wrong with the bits or the ranges.
pub(crate) fn fake_quant(
    min: &[f32],
    max: &[f32],
    bits: u32,
    narrow_range: bool,
    axis: Option<usize>,
) -> Result<FakeQuant, String> {
    if !(2..=16).contains(&bits) {
        return Err(format!("it has {bits} bits"));
    }
    if min.len() != max.len() || (axis.is_none() && min.len() != 1) {
        return Err(format!("its range has {} least and {} largest numbers", min.len(), max.len()));
    }
    let (lowest, highest) = (f32::from(u8::from(narrow_range)), ((1u32 << bits) - 1) as f32);
    let (mut scales, mut zero_points) = (Vec::with_capacity(min.len()), Vec::with_capacity(min.len()));
    for (min, max) in min.iter().zip(max) {
        if !min.is_finite() || !max.is_finite() || min > max || !(max - min).is_finite() {
            return Err(format!("its range is from {min} to {max}"));
        }
        let (min, max) = (min.min(0.0), max.max(0.0));
        let scale = (max - min) / (highest - lowest);
        let scale = if scale > 0.0 { scale } else { 1.0 };
        let zero = (lowest - min / scale).clamp(lowest, highest).round();
        scales.push(scale);
        zero_points.push(zero as i32 - (1 << (bits - 1)));
    }
    Ok(FakeQuant {
        bits,
        narrow_range,
        quantization: Quantization { scales: scales.into(), zero_points: zero_points.into(), axis },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_are_moved_until_zero_is_on_the_grid() {
        let op = fake_quant(&[-1.0], &[1.02], 8, false, None).unwrap();
        assert_eq!(op.quantization, Quantization::per_tensor(2.02 / 255.0, -2));
        let op = fake_quant(&[-1.27, 0.0], &[1.27, 0.0], 8, true, Some(3)).unwrap();
        assert_eq!(*op.quantization.scales, [0.01, 1.0]);
        assert_eq!(*op.quantization.zero_points, [0, -127]);
    }

    #[test]
    fn what_is_no_range_is_refused() {
        for (min, max) in [(1.0, -1.0), (f32::NAN, 1.0), (-3e38, 3e38), (0.0, f32::INFINITY)] {
            assert!(fake_quant(&[min], &[max], 8, false, None).is_err(), "{min} {max}");
        }
        assert!(fake_quant(&[0.0], &[1.0], 17, false, None).is_err());
        assert!(fake_quant(&[0.0, 0.0], &[1.0, 1.0], 8, false, None).is_err());
        assert!(fake_quant(&[0.0], &[1.0, 1.0], 8, false, Some(0)).is_err());
    }
}
