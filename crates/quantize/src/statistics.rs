//! What calibration has seen of each tensor.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Version of the file form.
const VERSION: u32 = 1;

/// Smallest and largest element that a tensor had.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Range {
    /// The smallest.
    pub min: f32,
    /// The largest.
    pub max: f32,
}

impl Range {
    /// A range that holds nothing.
    pub const EMPTY: Range = Range { min: f32::INFINITY, max: f32::NEG_INFINITY };

    /// The smallest range that holds both.
    #[must_use]
    pub fn union(self, other: Range) -> Range {
        Range { min: self.min.min(other.min), max: self.max.max(other.max) }
    }

    /// The range of these elements; `Err` holds the first that is no finite number.
    ///
    /// # Errors
    /// If an element is infinite or not a number.
    pub fn of(elements: &[f32]) -> Result<Range, f32> {
        // Independent lanes let the compiler look at many elements at once.
        const LANES: usize = 16;
        const EXPONENT: u32 = 0x7F80_0000;
        let mut lanes = [(Range::EMPTY, 0u32); LANES];
        let mut look = |lane: usize, x: f32| {
            let (range, exponents) = &mut lanes[lane];
            range.min = if x < range.min { x } else { range.min };
            range.max = if x > range.max { x } else { range.max };
            *exponents |= u32::from(x.to_bits() & EXPONENT == EXPONENT);
        };
        for chunk in elements.chunks(LANES) {
            chunk.iter().enumerate().for_each(|(lane, x)| look(lane, *x));
        }
        match lanes.iter().any(|(_, not_finite)| *not_finite != 0) {
            true => Err(elements.iter().copied().find(|x| !x.is_finite()).unwrap_or(f32::NAN)),
            false => Ok(lanes.into_iter().fold(Range::EMPTY, |all, (range, _)| all.union(range))),
        }
    }
}

/// Ranges of all real-valued tensors of a model over the samples it was run on. Two statistics of one
/// model merge to what one run over all samples would have given, in any split and order.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Statistics {
    version: u32,
    /// Number of samples.
    pub samples: usize,
    /// Range of each tensor by its name.
    pub ranges: BTreeMap<String, Range>,
}

/// A statistics file that cannot be used.
#[derive(Debug, Error)]
pub enum StatisticsError {
    /// It is no statistics file.
    #[error("this is no statistics file: {0}")]
    Broken(#[from] serde_json::Error),
    /// It is of a version that is not known.
    #[error("the statistics are of version {0}; version {VERSION} is known")]
    Version(u32),
    /// It holds a range that no sample can give.
    #[error("the range of tensor '{0}' is not a range")]
    Range(String),
    /// The two were taken from different models.
    #[error("tensor '{0}' is in one of the statistics only: they were taken from different models")]
    Mismatch(String),
}

impl Statistics {
    /// Statistics of no sample.
    #[must_use]
    pub fn new() -> Statistics {
        Statistics { version: VERSION, ..Statistics::default() }
    }

    /// Takes in more elements of a tensor.
    pub fn record(&mut self, tensor: &str, range: Range) {
        match self.ranges.get_mut(tensor) {
            Some(known) => *known = known.union(range),
            None => {
                self.ranges.insert(tensor.to_owned(), range);
            }
        }
    }

    /// Takes in what other samples of the same model gave.
    ///
    /// # Errors
    /// If the two do not hold the same tensors.
    pub fn merge(&mut self, other: &Statistics) -> Result<(), StatisticsError> {
        if self.samples > 0 && other.samples > 0 {
            let (mine, theirs) = (&self.ranges, &other.ranges);
            let lonely = mine.keys().find(|key| !theirs.contains_key(*key));
            if let Some(key) = lonely.or_else(|| theirs.keys().find(|key| !mine.contains_key(*key))) {
                return Err(StatisticsError::Mismatch(key.clone()));
            }
        }
        for (tensor, range) in &other.ranges {
            self.record(tensor, *range);
        }
        self.samples += other.samples;
        Ok(())
    }

    /// The file form: JSON.
    #[must_use]
    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).unwrap_or_default()
    }

    /// Reads the file form.
    ///
    /// # Errors
    /// If it is none, of another version, or holds impossible ranges.
    pub fn from_json(text: &str) -> Result<Statistics, StatisticsError> {
        let statistics: Statistics = serde_json::from_str(text)?;
        if statistics.version != VERSION {
            return Err(StatisticsError::Version(statistics.version));
        }
        let sound = |range: &Range| range.min.is_finite() && range.max.is_finite() && range.min <= range.max;
        match statistics.ranges.iter().find(|(_, range)| !sound(range)) {
            Some((tensor, _)) => Err(StatisticsError::Range(tensor.clone())),
            None => Ok(statistics),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn of(samples: &[f32]) -> Statistics {
        let mut statistics = Statistics::new();
        for sample in samples {
            statistics.record("x", Range::of(&[*sample, -sample / 2.0]).unwrap());
            statistics.samples += 1;
        }
        statistics
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

        #[test]
        fn any_split_merges_to_the_same(samples in prop::collection::vec(-1e6f32..1e6, 1..20), at in 0usize..20) {
            let at = at.min(samples.len());
            let mut merged = of(&samples[at..]);
            merged.merge(&of(&samples[..at])).unwrap();
            prop_assert_eq!(&merged, &of(&samples));
            prop_assert_eq!(Statistics::from_json(&merged.to_json()).unwrap(), merged);
        }

        #[test]
        fn ranges_are_those_of_a_plain_loop(values in prop::collection::vec(-1e3f32..1e3, 1..70)) {
            let min = values.iter().copied().fold(f32::INFINITY, f32::min);
            let max = values.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            prop_assert_eq!(Range::of(&values), Ok(Range { min, max }));
        }
    }

    #[test]
    fn what_is_no_finite_number_has_no_range() {
        assert!(Range::of(&[1.0, f32::NAN]).unwrap_err().is_nan());
        assert_eq!(Range::of(&[1.0, f32::NEG_INFINITY, 2.0]), Err(f32::NEG_INFINITY));
    }

    #[test]
    fn statistics_of_other_models_and_versions_are_refused() {
        let mut other = Statistics::new();
        other.samples = 1;
        other.record("y", Range { min: 0.0, max: 1.0 });
        assert!(matches!(of(&[1.0]).merge(&other), Err(StatisticsError::Mismatch(_))));
        let future = of(&[1.0]).to_json().replace("\"version\": 1", "\"version\": 2");
        assert!(matches!(Statistics::from_json(&future), Err(StatisticsError::Version(2))));
        assert!(Statistics::from_json("{}").is_err());
    }
}
