//! How often a tensor had which value.
//!
//! Bins are a power of two wide and start at zero on both sides; there are [`SIDE`] for each sign. Where
//! a value lies beyond the last one, bins are joined in pairs until it does not: bins only coarsen, so
//! the width depends on the largest value alone and counts are the same in any order and split.

use crate::statistics::Range;

/// Number of bins for each sign.
pub(crate) const SIDE: usize = 2048;

/// Binary logarithm of [`SIDE`].
const SIDE_BITS: i32 = 11;

/// Widths are powers of two with exponents between these: their inverses are finite.
const EXPONENTS: std::ops::RangeInclusive<i32> = -120..=117;

/// Below this many elements a count of its own does not pay.
const FEW: usize = 4 * SIDE;

/// Elements whose bins are computed at a time.
const CHUNK: usize = 256;

/// Bins of positive numbers and zero, then those of negative numbers.
type Counts<T> = [T; 2 * SIDE];

/// Counts of a tensor's elements.
#[derive(Clone, Debug, PartialEq)]
pub struct Histogram {
    /// Bins are `2^exponent` wide.
    exponent: i32,
    /// `positive[i]` counts elements in `[i, i + 1)` widths, `negative[i]` those in `(-i - 1, -i]`.
    counts: Box<Counts<u64>>,
}

impl Default for Histogram {
    fn default() -> Histogram {
        Histogram { exponent: *EXPONENTS.start(), counts: Box::new([0; 2 * SIDE]) }
    }
}

impl Histogram {
    /// Takes in more elements; `range` is theirs, and finite.
    pub fn add(&mut self, elements: &[f32], range: Range) {
        self.coarsen(exponent_for(range));
        let inverse = power_of_two(-self.exponent);
        if elements.len() < FEW {
            count(elements, inverse, |bin, _| self.counts[bin] += 1);
            return;
        }
        // Elements that follow each other are often alike: counted in one place, each would wait for the
        // one before it.
        for elements in elements.chunks(u32::MAX as usize) {
            let mut local: [Counts<u32>; 2] = [[0; 2 * SIDE]; 2];
            count(elements, inverse, |bin, place| {
                let counter = &mut local[place % 2][bin];
                *counter = counter.wrapping_add(1);
            });
            for (bin, count) in self.counts.iter_mut().enumerate() {
                *count += u64::from(local[0][bin]) + u64::from(local[1][bin]);
            }
        }
    }

    /// Takes in what another one has counted.
    pub fn merge(&mut self, other: &Histogram) {
        let mut other = other.clone();
        self.coarsen(other.exponent);
        other.coarsen(self.exponent);
        for (count, more) in self.counts.iter_mut().zip(other.counts.iter()) {
            *count = count.saturating_add(*more);
        }
    }

    /// Width of a bin.
    #[must_use]
    pub fn width(&self) -> f64 {
        f64::from(power_of_two(self.exponent))
    }

    /// Counts of positive numbers and zero, from zero on.
    #[must_use]
    pub fn positive(&self) -> &[u64] {
        &self.counts[..SIDE]
    }

    /// Counts of negative numbers, from zero on.
    #[must_use]
    pub fn negative(&self) -> &[u64] {
        &self.counts[SIDE..]
    }

    /// Number of elements.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.counts.iter().fold(0, |total, count| total.saturating_add(*count))
    }

    fn coarsen(&mut self, exponent: i32) {
        let shift = exponent.saturating_sub(self.exponent);
        if shift <= 0 {
            return;
        }
        let joined = |side: &mut [u64]| {
            for bin in 1..SIDE {
                let count = std::mem::take(&mut side[bin]);
                side[bin.checked_shr(shift as u32).unwrap_or(0)] += count;
            }
        };
        let (positive, negative) = self.counts.split_at_mut(SIDE);
        joined(positive);
        joined(negative);
        self.exponent = exponent;
    }

    /// The file form: the exponent, then the counts of each side without trailing zeros.
    pub(crate) fn to_text(&self) -> String {
        let side = |counts: &[u64]| {
            let used = counts.iter().rposition(|count| *count > 0).map_or(0, |last| last + 1);
            counts[..used].iter().map(u64::to_string).collect::<Vec<_>>().join(" ")
        };
        format!("{}: {}; {}", self.exponent, side(self.positive()), side(self.negative()))
    }

    /// Reads the file form; `None` where it is none.
    pub(crate) fn from_text(text: &str) -> Option<Histogram> {
        let (exponent, counts) = text.split_once(':')?;
        let (positive, negative) = counts.split_once(';')?;
        let mut histogram = Histogram { exponent: exponent.trim().parse().ok()?, ..Histogram::default() };
        if !EXPONENTS.contains(&histogram.exponent) {
            return None;
        }
        let (first, second) = histogram.counts.split_at_mut(SIDE);
        for (text, side) in [(positive, first), (negative, second)] {
            for (place, word) in text.split_whitespace().enumerate() {
                *side.get_mut(place)? = word.parse().ok()?;
            }
        }
        histogram.counts.iter().try_fold(0u64, |total, count| total.checked_add(*count))?;
        Some(histogram)
    }
}

/// Calls `found` with the bin and the place of each element.
fn count(elements: &[f32], inverse: f32, mut found: impl FnMut(usize, usize)) {
    for chunk in elements.chunks(CHUNK) {
        let mut bins = [0u32; CHUNK];
        for (bin, x) in bins.iter_mut().zip(chunk) {
            // Multiplying by a power of two is exact, and the fraction is cut off.
            let distance = (x.abs() * inverse) as i32 as u32;
            let negative = u32::from(*x < 0.0);
            *bin = distance | negative << SIDE_BITS;
        }
        for (place, bin) in bins[..chunk.len()].iter().enumerate() {
            found(*bin as usize % (2 * SIDE), place);
        }
    }
}

/// The smallest exponent with which all of a range lies in the bins.
fn exponent_for(range: Range) -> i32 {
    let largest = range.max.abs().max(range.min.abs());
    // The biased exponent of the number: largest < 2^(biased - 126).
    let biased = (largest.to_bits() >> 23) as i32;
    (biased - 126 - SIDE_BITS).clamp(*EXPONENTS.start(), *EXPONENTS.end())
}

/// `2^exponent`, for the exponents of normal numbers.
fn power_of_two(exponent: i32) -> f32 {
    f32::from_bits(((exponent + 127).clamp(1, 254) as u32) << 23)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn of(elements: &[f32]) -> Histogram {
        let mut histogram = Histogram::default();
        histogram.add(elements, Range::of(elements).unwrap());
        histogram
    }

    #[test]
    fn elements_fall_into_their_bins() {
        let histogram = of(&[0.0, -0.0, 0.9, 1.0, -1.5, -0.25, 2047.5]);
        assert_eq!(histogram.width(), 1.0);
        assert_eq!((&histogram.positive()[..3], histogram.positive()[2047]), (&[3, 1, 0][..], 1));
        assert_eq!(histogram.negative()[..3], [1, 1, 0]);
        assert_eq!(histogram.total(), 7);
        assert_eq!(of(&[2048.0]).width(), 2.0);
        assert_eq!(of(&[f32::MAX, f32::MIN_POSITIVE]).total(), 2);
    }

    #[test]
    fn what_is_no_histogram_is_refused() {
        for text in ["", "1", "1: 2", "500: 1; ", "0: x; ", "0: 18446744073709551615 1; "] {
            assert_eq!(Histogram::from_text(text), None, "{text}");
        }
        assert_eq!(Histogram::from_text(&format!("0: {}; ", "1 ".repeat(SIDE + 1))), None);
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

        #[test]
        fn any_order_and_split_count_alike(
            parts in prop::collection::vec((-30i32..30, prop::collection::vec(-1f32..1.0, 1..30)), 1..8),
            at in 0usize..8,
        ) {
            let parts: Vec<Vec<f32>> = parts
                .into_iter()
                .map(|(e, values)| values.into_iter().map(|x| x * power_of_two(e)).collect())
                .collect();
            let at = at.min(parts.len());
            let mut all = Histogram::default();
            parts.iter().for_each(|part| all.merge(&of(part)));
            let mut split = Histogram::default();
            parts[at..].iter().rev().for_each(|part| split.add(part, Range::of(part).unwrap()));
            let mut first = Histogram::default();
            parts[..at].iter().for_each(|part| first.add(part, Range::of(part).unwrap()));
            split.merge(&first);
            prop_assert_eq!(&split, &all);
            prop_assert_eq!(all.total() as usize, parts.iter().map(Vec::len).sum::<usize>());
            prop_assert_eq!(Histogram::from_text(&all.to_text()), Some(all));
        }
    }

    #[test]
    fn many_elements_count_as_few_do() {
        let elements: Vec<f32> = (0..20_000).map(|i| ((i * 7919) % 1000) as f32 - 300.0).collect();
        let mut few = Histogram::default();
        elements.chunks(100).for_each(|chunk| few.add(chunk, Range::of(chunk).unwrap()));
        assert_eq!(of(&elements), few);
    }
}
