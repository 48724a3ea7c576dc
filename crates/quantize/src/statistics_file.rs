//! The file form of statistics: JSON, whose long lists of numbers are texts.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde::{Deserialize, Serialize};

use crate::histogram::Histogram;
use crate::repair::Channels;
use crate::statistics::{Range, Statistics, StatisticsError, VERSION};

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    version: u32,
    samples: usize,
    /// Indices of the runs, ascending.
    runs: Vec<usize>,
    ranges: BTreeMap<String, Range>,
    /// Least and largest element of each run, one after the other.
    extremes: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    histograms: Option<BTreeMap<String, String>>,
    /// Means and ranges of channels; older files have none.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    channels: BTreeMap<String, String>,
}

impl Statistics {
    /// The file form: JSON.
    #[must_use]
    pub fn to_json(&self) -> String {
        let mapped = |(tensor, ranges): (&String, &Vec<Range>)| {
            let mut text = String::new();
            for range in ranges {
                let _ = write!(text, "{} {} ", range.min, range.max);
            }
            (tensor.clone(), text.trim_end().to_owned())
        };
        let counts = |histograms: &BTreeMap<String, Histogram>| {
            histograms.iter().map(|(tensor, histogram)| (tensor.clone(), histogram.to_text())).collect()
        };
        let file = File {
            version: VERSION,
            samples: self.samples,
            runs: self.runs.clone(),
            ranges: self.ranges.clone(),
            extremes: self.extremes.iter().map(mapped).collect(),
            histograms: self.histograms.as_ref().map(counts),
            channels: self
                .channels
                .iter()
                .map(|(tensor, channels)| (tensor.clone(), channels.to_text()))
                .collect(),
        };
        serde_json::to_string_pretty(&file).unwrap_or_default()
    }

    /// Reads the file form.
    ///
    /// # Errors
    /// If it is none, of another version, or holds impossible numbers.
    pub fn from_json(text: &str) -> Result<Statistics, StatisticsError> {
        #[derive(Deserialize)]
        struct Versioned {
            version: u32,
        }
        let Versioned { version } = serde_json::from_str(text)?;
        if version != VERSION {
            return Err(StatisticsError::Version(version));
        }
        let file: File = serde_json::from_str(text)?;
        if let Some((tensor, _)) = file.ranges.iter().find(|(_, range)| !is_sound(range)) {
            return Err(StatisticsError::Range(tensor.clone()));
        }
        let next = file.runs.last().map_or(Some(0), |last| last.checked_add(1));
        let next = next.filter(|_| file.runs.is_sorted_by(|a, b| a < b));
        let Some(next) = next else {
            return Err(StatisticsError::Numbers { what: "runs", tensor: "*".to_owned() });
        };
        let mut extremes = BTreeMap::new();
        for (tensor, text) in file.extremes {
            match ranges_of(&text).filter(|ranges| ranges.len() == file.runs.len()) {
                Some(ranges) => extremes.insert(tensor, ranges),
                None => return Err(StatisticsError::Numbers { what: "extremes", tensor }),
            };
        }
        let mut histograms = file.histograms.as_ref().map(|_| BTreeMap::new());
        for (tensor, text) in file.histograms.into_iter().flatten() {
            match (Histogram::from_text(&text), &mut histograms) {
                (Some(histogram), Some(histograms)) => histograms.insert(tensor, histogram),
                _ => return Err(StatisticsError::Numbers { what: "histogram", tensor }),
            };
        }
        let mut channels = BTreeMap::new();
        for (tensor, text) in file.channels {
            match Channels::from_text(&text) {
                Some(known) => channels.insert(tensor, known),
                None => return Err(StatisticsError::Numbers { what: "channels", tensor }),
            };
        }
        Ok(Statistics {
            samples: file.samples,
            ranges: file.ranges,
            runs: file.runs,
            next,
            extremes,
            histograms,
            channels,
            trained: None,
        })
    }
}

fn is_sound(range: &Range) -> bool {
    range.min.is_finite() && range.max.is_finite() && range.min <= range.max
}

fn ranges_of(text: &str) -> Option<Vec<Range>> {
    let numbers = text.split_whitespace().map(|word| word.parse().ok()).collect::<Option<Vec<f32>>>()?;
    let (pairs, rest) = numbers.as_chunks::<2>();
    let ranges: Vec<Range> = pairs.iter().map(|[min, max]| Range { min: *min, max: *max }).collect();
    (rest.is_empty() && ranges.iter().all(is_sound)).then_some(ranges)
}
