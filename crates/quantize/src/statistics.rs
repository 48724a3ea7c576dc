//! What calibration has seen of each tensor.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::histogram::Histogram;
use crate::repair::Channels;
use crate::weights::Levels;

/// Version of the file form.
pub(crate) const VERSION: u32 = 2;

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
        let (mut least, mut largest) = ([f32::INFINITY; LANES], [f32::NEG_INFINITY; LANES]);
        let mut not_finite = [false; LANES];
        let mut look = |lane: usize, x: f32| {
            least[lane] = if x < least[lane] { x } else { least[lane] };
            largest[lane] = if x > largest[lane] { x } else { largest[lane] };
            not_finite[lane] |= x.to_bits() & EXPONENT == EXPONENT;
        };
        let (chunks, rest) = elements.as_chunks::<LANES>();
        chunks.iter().for_each(|chunk| (0..LANES).for_each(|lane| look(lane, chunk[lane])));
        rest.iter().enumerate().for_each(|(lane, x)| look(lane, *x));
        if not_finite.contains(&true) {
            return Err(elements.iter().copied().find(|x| !x.is_finite()).unwrap_or(f32::NAN));
        }
        let lanes = least.into_iter().zip(largest).map(|(min, max)| Range { min, max });
        Ok(lanes.fold(Range::EMPTY, Range::union))
    }
}

/// What the real-valued tensors of a model held over the samples it was run on. Two statistics of one
/// model merge to what one run over all samples would have given, in any split and order.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Statistics {
    /// Number of samples.
    pub samples: usize,
    /// Range of each tensor by its name.
    pub ranges: BTreeMap<String, Range>,
    /// Index of each run: runs are folded in this order wherever they were made.
    pub(crate) runs: Vec<usize>,
    /// The index that the next run gets.
    pub(crate) next: usize,
    /// Range that each tensor had in each run.
    pub(crate) extremes: BTreeMap<String, Vec<Range>>,
    /// How often each tensor had which value, if that was asked for.
    pub(crate) histograms: Option<BTreeMap<String, Histogram>>,
    /// Means and ranges of the channels of tensors that weights are multiplied with.
    pub(crate) channels: BTreeMap<String, Channels>,
    /// What training with simulated integers says beyond ranges. Files do not hold it.
    pub(crate) trained: Option<Trained>,
}

/// What a model that simulates integers says of them beyond ranges. With it, tensors may have no range.
#[derive(Clone, Debug, PartialEq, Default)]
pub(crate) struct Trained {
    /// Tensors that were rounded by ranges of their own, even where an operator could pass its input's on.
    pub(crate) apart: BTreeSet<String>,
    /// How weights fill their ranges, by the name of what their layer computes.
    pub(crate) levels: BTreeMap<String, Levels>,
}

impl Trained {
    /// How the weights fill their ranges of a layer whose result has this name, to which everything adds
    /// its name that has become part of it.
    pub(crate) fn levels(&self, output: &str) -> Option<&Levels> {
        output.split(';').find_map(|name| self.levels.get(name))
    }
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
    /// It holds numbers that cannot be.
    #[error("the {what} of tensor '{tensor}' cannot be read")]
    Numbers {
        /// Which numbers.
        what: &'static str,
        /// Name of the tensor.
        tensor: String,
    },
    /// The two were taken from different models.
    #[error(
        "tensor '{0}' is in one of the statistics only: they were taken from different models or for different modes"
    )]
    Mismatch(String),
}

impl Statistics {
    /// Statistics of no sample.
    #[must_use]
    pub fn new() -> Statistics {
        Statistics::default()
    }

    /// Statistics that consist of ranges alone, such as training learns them.
    #[must_use]
    pub fn of_ranges(ranges: impl IntoIterator<Item = (String, Range)>) -> Statistics {
        let ranges: BTreeMap<String, Range> = ranges.into_iter().collect();
        let extremes = ranges.iter().map(|(name, range)| (name.clone(), vec![*range])).collect();
        Statistics { samples: 1, ranges, runs: vec![0], next: 1, extremes, ..Statistics::default() }
    }

    /// Statistics of no sample that will also count values: what some observers need. It takes 32 KB for
    /// each tensor.
    #[must_use]
    pub fn with_histograms(mut self) -> Statistics {
        self.histograms.get_or_insert_default();
        self
    }

    /// Statistics whose first run has this index among all that will be merged.
    #[must_use]
    pub fn starting_at(mut self, index: usize) -> Statistics {
        self.next = index;
        self
    }

    /// The index that the next run gets.
    #[must_use]
    pub fn next(&self) -> usize {
        self.next
    }

    /// Whether values are counted.
    #[must_use]
    pub fn counts_values(&self) -> bool {
        self.histograms.is_some()
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

    /// Takes in what each tensor held in one run of some samples.
    pub(crate) fn record_run(&mut self, samples: usize, ranges: Vec<(&str, Range)>) {
        for (tensor, range) in ranges {
            self.record(tensor, range);
            self.extremes.entry(tensor.to_owned()).or_default().push(range);
        }
        self.runs.push(self.next);
        self.next += 1;
        self.samples += samples;
    }

    /// Counts the elements of a tensor, if that was asked for.
    pub(crate) fn count(&mut self, tensor: &str, elements: &[f32], range: Range) {
        let Some(histograms) = &mut self.histograms else { return };
        match histograms.get_mut(tensor) {
            Some(histogram) => histogram.add(elements, range),
            None => histograms.entry(tensor.to_owned()).or_default().add(elements, range),
        }
    }

    /// Takes in the channels of a tensor that weights are multiplied with.
    pub(crate) fn record_channels(&mut self, tensor: &str, channels: Channels) {
        match self.channels.get_mut(tensor) {
            Some(known) => {
                known.merge(&channels);
            }
            None => {
                self.channels.insert(tensor.to_owned(), channels);
            }
        }
    }

    /// The channels of a tensor, if weights are multiplied with it.
    pub(crate) fn channels(&self, tensor: &str) -> Option<&Channels> {
        self.channels.get(tensor)
    }

    /// The ranges of a tensor in each run, in order.
    #[must_use]
    pub fn extremes(&self, tensor: &str) -> Option<&[Range]> {
        self.extremes.get(tensor).map(Vec::as_slice)
    }

    /// The counts of a tensor.
    #[must_use]
    pub fn histogram(&self, tensor: &str) -> Option<&Histogram> {
        self.histograms.as_ref()?.get(tensor)
    }

    /// Takes in what other samples of the same model gave. Runs keep their indices; where both have one
    /// of the same index, those of `other` follow all of these.
    ///
    /// # Errors
    /// If the two do not hold the same tensors.
    pub fn merge(&mut self, other: &Statistics) -> Result<(), StatisticsError> {
        if self.samples == 0 {
            *self = other.clone();
            return Ok(());
        }
        if other.samples == 0 {
            return Ok(());
        }
        let (mine, theirs) = (&self.ranges, &other.ranges);
        let lonely = mine.keys().find(|key| !theirs.contains_key(*key));
        if let Some(key) = lonely.or_else(|| theirs.keys().find(|key| !mine.contains_key(*key))) {
            return Err(StatisticsError::Mismatch(key.clone()));
        }
        for (tensor, range) in &other.ranges {
            self.record(tensor, *range);
        }
        self.merge_runs(other);
        self.histograms = match (self.histograms.take(), &other.histograms) {
            (Some(mut mine), Some(theirs)) => {
                for (tensor, histogram) in theirs {
                    mine.entry(tensor.clone()).or_default().merge(histogram);
                }
                Some(mine)
            }
            _ => None,
        };
        // A mean over some of the samples only would be none.
        self.channels
            .retain(|tensor, mine| other.channels.get(tensor).is_some_and(|theirs| mine.merge(theirs)));
        self.samples = self.samples.saturating_add(other.samples);
        Ok(())
    }

    fn merge_runs(&mut self, other: &Statistics) {
        let shared = other.runs.iter().any(|index| self.runs.binary_search(index).is_ok());
        let shift = if shared { self.next } else { 0 };
        let mut order: Vec<(usize, usize)> = self.runs.iter().copied().zip(0..).collect();
        let theirs = other.runs.iter().map(|index| index.saturating_add(shift));
        order.extend(theirs.zip(self.runs.len()..));
        order.sort_unstable();
        for (tensor, ranges) in &mut self.extremes {
            ranges.extend(other.extremes.get(tensor).into_iter().flatten());
            let sorted = order.iter().filter_map(|(_, place)| ranges.get(*place).copied()).collect();
            *ranges = sorted;
        }
        self.runs = order.into_iter().map(|(index, _)| index).collect();
        self.next = self.next.max(other.next.saturating_add(shift));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn of(samples: &[f32], first: usize) -> Statistics {
        let mut statistics = Statistics::new().with_histograms().starting_at(first);
        for sample in samples {
            let elements = [*sample, -sample / 2.0];
            let range = Range::of(&elements).unwrap();
            statistics.count("x", &elements, range);
            statistics.record_channels("x", Channels::of(&elements, 2).unwrap());
            statistics.record_run(1, vec![("x", range)]);
        }
        statistics
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

        #[test]
        fn any_split_merges_to_the_same(samples in prop::collection::vec(-1e6f32..1e6, 1..20), at in 0usize..20) {
            let at = at.min(samples.len());
            let mut merged = of(&samples[at..], at);
            merged.merge(&of(&samples[..at], 0)).unwrap();
            prop_assert_eq!(&merged, &of(&samples, 0));
            // Parts that do not know their place follow each other.
            let mut appended = of(&samples[..at], 0);
            appended.merge(&of(&samples[at..], 0)).unwrap();
            prop_assert_eq!(&appended, &merged);
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
        other.record_run(1, vec![("y", Range { min: 0.0, max: 1.0 })]);
        assert!(matches!(of(&[1.0], 0).merge(&other), Err(StatisticsError::Mismatch(_))));
        let future = of(&[1.0], 0).to_json().replace("\"version\": 2", "\"version\": 3");
        assert!(matches!(Statistics::from_json(&future), Err(StatisticsError::Version(3))));
        assert!(Statistics::from_json("{}").is_err());
        let breaks = [
            ("-0.5 1\"", "-0.5\""),
            ("-10: ", "-10: x "),
            ("\"min\": -0.5", "\"min\": 5.0"),
            ("0\n  ]", "0, 0\n  ]"),
        ];
        for (sound, broken) in breaks {
            let text = of(&[1.0], 0).to_json();
            assert!(text.contains(sound), "{text}");
            assert!(Statistics::from_json(&text.replacen(sound, broken, 1)).is_err(), "{broken}");
        }
    }
}
