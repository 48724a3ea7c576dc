//! Softmax of 16-bit numbers.

use super::interpolated::Interpolated;
use crate::elementwise::fixed_point::FixedPoint;
use crate::multiversion::multiversion;
use crate::{Isa, ThreadPool};

/// Softmax along the last axis, prepared for a scale.
///
/// Differences from the largest element are brought to steps of `10 / 65535`, their exponential
/// function is interpolated in a table, and the sum's inverse in another. Results are in steps of
/// 2^-15. Equal to LiteRT in every value.
#[derive(Clone, Debug)]
pub struct Softmax {
    number: FixedPoint,
    /// `e^x` over -10 to 0.
    exponential: Interpolated,
    /// `1 / (1 + x)` over 0 to 1.
    inverse: Interpolated,
}

impl Softmax {
    /// Longest axis: sums must fit 31 bits.
    pub const LONGEST: usize = 65_535;

    /// Of numbers of this scale times `beta`.
    ///
    /// # Panics
    /// When the product is negative or not finite.
    #[must_use]
    pub fn new(scale: f32, beta: f32) -> Softmax {
        let exact = |x: f64| x;
        Softmax {
            number: FixedPoint::new(f64::from(scale * beta) / (10.0 / 65_535.0)),
            exponential: Interpolated::of(libm::exp, [-10.0, 0.0], [-1.0, 1.0], exact),
            inverse: Interpolated::of(|x| 1.0 / (1.0 + x), [0.0, 1.0], [-1.0, 1.0], exact),
        }
    }

    /// Normalizes each row of `len` elements.
    ///
    /// # Panics
    /// When the lengths differ or are not whole rows, or `len` is above [`Softmax::LONGEST`].
    pub fn apply(&self, isa: Isa, pool: &ThreadPool, len: usize, input: &[i16], output: &mut [i16]) {
        assert_eq!(input.len(), output.len(), "input and output must have equally many elements");
        assert!(len <= Softmax::LONGEST, "rows of {len} are too long");
        if output.is_empty() {
            return;
        }
        assert!(len > 0 && output.len().is_multiple_of(len), "elements must be whole rows");
        let rows = pool.rows_per_task(output.len() / len, (1usize << 12).div_ceil(len));
        pool.run_rows(output, len, rows, |first, piece| {
            let input = &input[first * len..][..piece.len()];
            for (input, output) in input.chunks_exact(len).zip(piece.chunks_exact_mut(len)) {
                normalize(isa, self, input, output);
            }
        });
    }
}

multiversion! {
    fn normalize(softmax: &Softmax, input: &[i16], output: &mut [i16]) {
        let largest = input.iter().copied().fold(i16::MIN, i16::max);
        let mut sum = 0u32;
        for (o, &x) in output.iter_mut().zip(input) {
            let difference = i32::from(x) - i32::from(largest);
            let place = softmax.number.times(difference).saturating_add(i32::from(i16::MAX));
            *o = softmax.exponential.at(place.clamp(i16::MIN.into(), i16::MAX.into()) as i16);
            sum += *o as u32;
        }
        // The sum as `2^exponent * (1 + x)`, x as a word's place in its range.
        let exponent = sum.ilog2();
        let fraction = (i64::from(sum) << (30 - exponent)) - (1 << 30);
        let place = ((fraction + (1 << 13)) >> 14) - 32_768;
        let inverse = i64::from(softmax.inverse.at(place.min(i16::MAX.into()) as i16));
        for o in output {
            let share = (i64::from(*o) * inverse + ((1 << exponent) >> 1)) >> exponent;
            *o = share.clamp(0, i16::MAX.into()) as i16;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_level_is_close_to_the_real_function() {
        let input: Vec<i16> = (0..400u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 16) as i16).collect();
        for (scale, len, steps) in [(1e-4, 5, 4.0), (1e-4, 100, 2.0), (3e-5, 1, 2.0)] {
            let softmax = Softmax::new(scale, 1.0);
            let mut first: Option<Vec<i16>> = None;
            for isa in Isa::available_levels() {
                let mut output = vec![0; input.len()];
                softmax.apply(isa, &ThreadPool::new(2), len, &input, &mut output);
                for (row, output) in input.chunks(len).zip(output.chunks(len)) {
                    let exponentials: Vec<f64> =
                        row.iter().map(|&x| (f64::from(x) * f64::from(scale)).exp()).collect();
                    let sum: f64 = exponentials.iter().sum();
                    for (e, &o) in exponentials.iter().zip(output) {
                        assert!(
                            (e / sum * 32_768.0 - f64::from(o)).abs() <= steps,
                            "{} {o}",
                            e / sum * 32_768.0
                        );
                    }
                }
                assert_eq!(&output, first.get_or_insert_with(|| output.clone()), "{isa}");
            }
        }
    }

    #[test]
    fn values_are_those_of_litert() {
        let mut output = [0; 6];
        let softmax = Softmax::new(1e-4, 1.0);
        softmax.apply(Isa::detect(), &ThreadPool::new(1), 6, &LITERT.map(|(x, _)| x), &mut output);
        assert_eq!(output, LITERT.map(|(_, y)| y));
    }

    /// Numbers of scale 0.0001, and their softmax in LiteRT 2.3.
    const LITERT: [(i16, i16); 6] =
        [(30_000, 16_620), (-2000, 678), (17_000, 4530), (0, 828), (25_001, 10_082), (-32_768, 31)];
}
