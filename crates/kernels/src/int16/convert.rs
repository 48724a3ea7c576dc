//! To 16-bit activations and between integers of different scales.

use crate::convert::{convert, pieces};
use crate::elementwise::fixed_point::FixedPoint;
use crate::{Isa, ThreadPool};

/// `round(x * (1 / scale))`, the inverse and the product in single precision, ties to even,
/// saturated; the lowest integer for not-a-number. Equal to LiteRT's QUANTIZE in every value.
///
/// # Panics
/// When the lengths differ.
pub fn quantize(isa: Isa, pool: &ThreadPool, input: &[f32], scale: f32, output: &mut [i16]) {
    /// `1.5 * 2^23`: added to a number of magnitude below 2^22 it leaves the nearest integer, ties
    /// to even, in the low bits.
    const MAGIC: f32 = 12_582_912.0;
    let inverse = 1.0 / scale;
    let function = move |x: f32| {
        let steps = x * inverse;
        // Comparisons in this order take not-a-number to the lower bound.
        let raised = if steps > -32_768.0 { steps } else { -32_768.0 };
        let held = if raised < 32_767.0 { raised } else { 32_767.0 };
        (held + MAGIC).to_bits().wrapping_sub(MAGIC.to_bits()) as i16
    };
    pieces(pool, input, output, |input, output| convert(isa, input, output, function));
}

/// From integers of one scale and zero point to others: by a 31-bit multiplier
/// ([`FixedPoint::times`]), saturated. Equal to LiteRT's QUANTIZE in every value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rescale {
    number: FixedPoint,
    /// Zero points of input and output.
    zero_points: [i32; 2],
}

/// An integer that a [`Rescale`] can end in.
pub trait Integer: Copy + Send + Into<i32> {
    /// The number nearest to a value.
    fn saturated(value: i32) -> Self;
}

impl Integer for u8 {
    #[inline(always)]
    fn saturated(value: i32) -> u8 {
        value.clamp(0, 255) as u8
    }
}

impl Integer for i16 {
    #[inline(always)]
    fn saturated(value: i32) -> i16 {
        value.clamp(-32_768, 32_767) as i16
    }
}

impl Rescale {
    /// `scales` and `zero_points` are those of input and output.
    ///
    /// # Panics
    /// When the quotient of the scales is negative or not finite.
    #[must_use]
    pub fn new(scales: [f32; 2], zero_points: [i32; 2]) -> Rescale {
        let number = FixedPoint::new(f64::from(scales[0]) / f64::from(scales[1]));
        Rescale { number, zero_points }
    }

    /// Whether it changes nothing.
    #[must_use]
    pub fn is_identity(self) -> bool {
        self.number == FixedPoint::new(1.0) && self.zero_points[0] == self.zero_points[1]
    }

    /// Rescales; bytes are stored with zero points from 0 to 255.
    ///
    /// # Panics
    /// When the lengths differ.
    pub fn apply<T: Copy + Sync + Into<i32>, U: Integer>(
        self,
        isa: Isa,
        pool: &ThreadPool,
        input: &[T],
        output: &mut [U],
    ) {
        let [from, to] = self.zero_points;
        let function = move |x: T| {
            let value: i32 = x.into();
            U::saturated(self.number.times(value.wrapping_sub(from)).saturating_add(to))
        };
        pieces(pool, input, output, |input, output| convert(isa, input, output, function));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantizing_rounds_ties_to_even_and_saturates_on_every_level() {
        let special = [f32::NAN, f32::INFINITY, -1e30, 0.25, 0.75, -0.25, 16_383.6, -16_384.4];
        let input: Vec<f32> = (0..999).map(|i| i as f32 * 0.37 - 150.0).chain(special).collect();
        let expected: Vec<i16> = input.iter().map(|x| (x * 2.0).round_ties_even() as i16).collect();
        assert_eq!(expected[999..], [0, 32_767, -32_768, 0, 2, 0, 32_767, -32_768]);
        for isa in Isa::available_levels() {
            let mut output = vec![1; input.len()];
            quantize(isa, &ThreadPool::new(2), &input, 0.5, &mut output);
            assert_eq!(output[..999], expected[..999], "{isa}");
            assert_eq!((output[999], &output[1000..]), (i16::MIN, &expected[1000..]), "{isa}");
        }
    }

    #[test]
    fn rescaling_goes_between_all_integers() {
        let pool = ThreadPool::new(1);
        for isa in Isa::available_levels() {
            let mut words = [0i16; 4];
            let words_of = Rescale::new([1e-4, 2e-4], [0, 0]);
            words_of.apply(isa, &pool, &[3i16, -3, i16::MAX, i16::MIN], &mut words);
            // Half upward where nothing is shifted.
            assert_eq!(words, [2, -1, 16_384, -16_384]);
            let mut bytes = [0u8; 4];
            Rescale::new([1e-2, 1.0], [0, 125]).apply(
                isa,
                &pool,
                &[150i16, -250, 32_000, -32_000],
                &mut bytes,
            );
            assert_eq!(bytes, [127, 122, 255, 0]);
            Rescale::new([1.0, 1e-2], [125, 0]).apply(isa, &pool, &[127u8, 122, 255, 0], &mut words);
            assert_eq!(words, [200, -300, 13_000, -12_500]);
        }
        assert!(
            Rescale::new([0.3, 0.3], [5, 5]).is_identity() && !Rescale::new([0.3, 0.3], [5, 6]).is_identity()
        );
    }
}
