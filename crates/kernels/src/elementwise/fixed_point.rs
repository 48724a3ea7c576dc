//! Real multipliers as TFLite's fixed-point kernels apply them: a 31-bit multiplier and a shift,
//! rounding after each.
//!
//! Rounding twice is not the nearest integer to the real product; operators whose TFLite kernel
//! works so (RELU, RELU6, ABS, and most on 16-bit activations) need it to give equal results.

/// A positive real number as `multiplier * 2^(shift - 31)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FixedPoint {
    multiplier: i32,
    shift: i32,
}

impl FixedPoint {
    /// The fixed-point number nearest to `ratio`; below `2^-32` it is 0, from `2^30` on it
    /// saturates.
    ///
    /// # Panics
    /// When `ratio` is negative or not finite.
    #[must_use]
    pub fn new(ratio: f64) -> FixedPoint {
        assert!(ratio.is_finite() && ratio >= 0.0, "a ratio of scales is positive, not {ratio}");
        let (fraction, exponent) = libm::frexp(ratio);
        let rounded = (fraction * f64::from(1u32 << 31)).round() as i64;
        let (multiplier, shift) =
            if rounded == 1 << 31 { (1 << 30, exponent + 1) } else { (rounded, exponent) };
        match shift {
            ..-31 => FixedPoint { multiplier: 0, shift: 0 },
            31.. => FixedPoint { multiplier: i32::MAX, shift: 30 },
            _ => FixedPoint { multiplier: multiplier as i32, shift },
        }
    }

    /// The number over `count`, its multiplier cut to an integer: what TFLite makes of a mean.
    ///
    /// # Panics
    /// When `count` is 0.
    pub(crate) fn over(self, count: u64) -> FixedPoint {
        let bits = (count.ilog2() as i32).min(32).min(31 + self.shift);
        let multiplier = (i64::from(self.multiplier) << bits) / count as i64;
        FixedPoint { multiplier: multiplier as i32, shift: self.shift - bits }
    }

    /// The multiplier and the shift.
    pub(crate) fn parts(self) -> (i32, i32) {
        (self.multiplier, self.shift)
    }

    /// `value` times the number, rounded half upward to the bits below the shift, then shifted with
    /// another rounding, half away from zero.
    #[inline(always)]
    #[must_use]
    pub fn times(self, value: i32) -> i32 {
        divide_by_power_of_two(self.high(value), self.shift.min(0).unsigned_abs())
    }

    /// As [`FixedPoint::times`], with both roundings half upward.
    #[inline(always)]
    #[must_use]
    pub fn times_upward(self, value: i32) -> i32 {
        let shift = self.shift.min(0).unsigned_abs();
        ((i64::from(self.high(value)) + ((1i64 << shift) >> 1)) >> shift) as i32
    }

    /// `value` times the number, rounded once, half upward.
    #[inline(always)]
    #[must_use]
    pub fn times_once(self, value: i32) -> i32 {
        let shift = (31 - self.shift).unsigned_abs();
        let half = (1i64 << shift) >> 1;
        saturate((i64::from(value) * i64::from(self.multiplier) + half) >> shift)
    }

    /// The product before it is shifted to the right, half upward.
    #[inline(always)]
    fn high(self, value: i32) -> i32 {
        let raised = saturate(i64::from(value) << self.shift.max(0));
        saturate((i64::from(raised) * i64::from(self.multiplier) + (1 << 30)) >> 31)
    }
}

#[inline(always)]
fn saturate(value: i64) -> i32 {
    value.clamp(i64::from(i32::MIN), i64::from(i32::MAX)) as i32
}

/// `value / 2^exponent`, half away from zero, for exponents up to 31.
#[inline(always)]
fn divide_by_power_of_two(value: i32, exponent: u32) -> i32 {
    let value = i64::from(value);
    let mask = (1i64 << exponent) - 1;
    let threshold = (mask >> 1) + i64::from(value < 0);
    ((value >> exponent) + i64::from(value & mask > threshold)) as i32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_within_one_of_the_real_product() {
        for ratio in [0.001, 0.3, 0.5, 0.999_999_999_9, 1.0, 1.7, 300.0] {
            let number = FixedPoint::new(ratio);
            for value in -255..=255 {
                let exact = f64::from(value) * ratio;
                assert!((f64::from(number.times(value)) - exact).abs() <= 1.0, "{value} * {ratio}");
            }
        }
    }

    #[test]
    fn it_rounds_twice() {
        // 1 * 0.4999...: the first rounding makes 1 of it at the finer step, the second 1 again.
        assert_eq!(FixedPoint::new(0.25).times(2), 1);
        assert_eq!(FixedPoint::new(0.25).times(-2), -1);
        assert_eq!(FixedPoint::new(0.249).times(2), 1, "0.498 becomes 1/2, then 1");
    }

    #[test]
    fn extremes_do_not_overflow() {
        assert_eq!(FixedPoint::new(1e-30).times(i32::MAX), 0);
        assert_eq!(FixedPoint::new(1e30).times(i32::MIN), -i32::MAX);
        assert_eq!(FixedPoint::new(0.0).times(5), 0);
        assert_eq!(FixedPoint::new(1e30).times_once(i32::MIN), i32::MIN);
        assert_eq!(FixedPoint::new(1e-9).times_upward(i32::MIN), -2);
    }

    #[test]
    fn roundings_differ_at_halves() {
        let all = |ratio, value| {
            let number = FixedPoint::new(ratio);
            [number.times(value), number.times_upward(value), number.times_once(value)]
        };
        assert_eq!(all(0.25, -2), [-1, 0, 0]);
        assert_eq!(all(0.25, 2), [1, 1, 1]);
        assert_eq!(all(0.249, 2), [1, 1, 0], "0.498 becomes 1/2 where it is rounded twice");
    }
}
