//! How a quantized tensor stands for real numbers.

/// `real = scale * (stored - zero_point)`, one scale and zero point for a whole `u8` tensor.
///
/// A model's `int8` tensor is stored as `u8` with its top bit flipped, and its zero point with it:
/// see [`Affine::from_int8`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Affine {
    /// The step between neighbouring values: finite and above 0.
    pub scale: f32,
    /// The stored value that stands for 0.
    pub zero_point: u8,
}

impl Affine {
    /// The parameters of a `u8` tensor.
    ///
    /// # Panics
    /// When `scale` is not finite or not above 0.
    #[must_use]
    pub fn new(scale: f32, zero_point: u8) -> Affine {
        assert!(scale.is_finite() && scale > 0.0, "a scale must be finite and positive, not {scale}");
        Affine { scale, zero_point }
    }

    /// The parameters of an `int8` tensor that is stored with its top bit flipped.
    ///
    /// # Panics
    /// As [`Affine::new`].
    #[must_use]
    pub fn from_int8(scale: f32, zero_point: i8) -> Affine {
        Affine::new(scale, (zero_point as u8) ^ 0x80)
    }

    /// The real number that `stored` stands for.
    #[must_use]
    pub fn real(self, stored: u8) -> f64 {
        f64::from(self.scale) * f64::from(i32::from(stored) - i32::from(self.zero_point))
    }

    /// The stored value nearest to `real`, ties to even steps from the zero point, saturated to
    /// 0..=255. Not-a-number becomes 0.
    #[must_use]
    pub fn nearest(self, real: f64) -> u8 {
        self.stored(whole_steps(real / f64::from(self.scale)))
    }

    /// The stored value so many steps from the zero point.
    pub(crate) fn stored(self, whole_steps: f64) -> u8 {
        // A cast from float to integer saturates and takes NaN to 0.
        (whole_steps + f64::from(self.zero_point)) as u8
    }

    /// The zero point in the `int8` view, where 128 is taken off.
    pub(crate) fn zero_point_int8(self) -> i32 {
        i32::from(self.zero_point) - 128
    }
}

/// More steps than there are on either side of a zero point.
pub(crate) const MANY_STEPS: f64 = 512.0;

/// The nearest whole number of steps, ties to even, held within [`MANY_STEPS`].
pub(crate) fn whole_steps(steps: f64) -> f64 {
    // Adding 1.5 * 2^52 leaves the nearest integer; not every instruction set has another way.
    const MAGIC: f64 = 6_755_399_441_055_744.0;
    steps.clamp(-MANY_STEPS, MANY_STEPS) + MAGIC - MAGIC
}

/// Turns a single-precision number of output steps into a stored value: saturates, rounds ties to
/// even, adds an offset.
///
/// Plain additions on the number's bits: fast and the same on every instruction set.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rounding {
    low: f32,
    high: f32,
    offset: i32,
}

impl Rounding {
    /// Adding 1.5 * 2^23 leaves the nearest integer in the low bits of the mantissa.
    const MAGIC: f32 = 12_582_912.0;

    /// Results are `offset + round(steps)`, held within `clamp`.
    pub(crate) fn new(offset: u8, clamp: [u8; 2]) -> Rounding {
        let bound = |limit: u8| f32::from(i16::from(limit) - i16::from(offset));
        Rounding {
            low: bound(clamp[0]),
            high: bound(clamp[1]),
            offset: i32::from(offset) - Self::MAGIC.to_bits() as i32,
        }
    }

    /// The stored value; the lowest for not-a-number.
    #[inline(always)]
    pub(crate) fn apply(self, steps: f32) -> u8 {
        let raised = if steps > self.low { steps } else { self.low };
        let held = if raised < self.high { raised } else { self.high };
        ((held + Self::MAGIC).to_bits() as i32).wrapping_add(self.offset) as u8
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn int8_parameters_stand_for_the_same_numbers() {
        let affine = Affine::from_int8(0.5, -3);
        assert_eq!(affine.zero_point, 125);
        assert_eq!(affine.real((7i8 as u8) ^ 0x80), 5.0);
        assert_eq!(affine.zero_point_int8(), -3);
    }

    #[test]
    fn the_nearest_value_saturates_and_rounds_ties_to_even() {
        let affine = Affine::new(2.0, 10);
        let cases = [(1.0, 10), (3.0, 12), (-1e30, 0), (f64::INFINITY, 255), (f64::NAN, 0), (4.9, 12)];
        for (real, stored) in cases {
            assert_eq!(affine.nearest(real), stored, "{real}");
        }
    }

    #[test]
    fn rounding_is_to_even_from_the_offset_and_saturates() {
        let rounding = Rounding::new(10, [3, 200]);
        let cases =
            [(0.5, 10), (1.5, 12), (-0.5, 10), (-2.5, 8), (-7.4, 3), (1e9, 200), (f32::NAN, 3), (-1e30, 3)];
        for (steps, stored) in cases {
            assert_eq!(rounding.apply(steps), stored, "{steps}");
        }
    }

    #[test]
    #[should_panic(expected = "finite and positive")]
    fn a_zero_scale_is_refused() {
        let _ = Affine::new(0.0, 0);
    }
}
