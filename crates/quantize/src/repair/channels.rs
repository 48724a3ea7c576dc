//! What calibration keeps of each channel of a tensor that weights are multiplied with: its mean and
//! its range.

use std::fmt::Write;

use crate::statistics::Range;

/// Means are summed as whole numbers of this size, so that their order does not matter.
const STEP: f64 = 1.0 / (1u128 << 64) as f64;

/// Means and ranges of channels over several runs.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Channels {
    runs: u64,
    /// Sum over the runs of each channel's mean, in steps.
    sums: Vec<i128>,
    extremes: Vec<Range>,
}

impl Channels {
    /// Those of one run; channels lie next to each other. `None` where elements are no whole number of
    /// them.
    pub(crate) fn of(elements: &[f32], channels: usize) -> Option<Channels> {
        if channels == 0 || elements.is_empty() || !elements.len().is_multiple_of(channels) {
            return None;
        }
        let mut sums = vec![0f64; channels];
        let mut extremes = vec![Range::EMPTY; channels];
        for pixel in elements.chunks_exact(channels) {
            for ((sum, range), x) in sums.iter_mut().zip(&mut extremes).zip(pixel) {
                *sum += f64::from(*x);
                range.min = if *x < range.min { *x } else { range.min };
                range.max = if *x > range.max { *x } else { range.max };
            }
        }
        let pixels = (elements.len() / channels) as f64;
        // A cast saturates: no number is too large.
        let sums = sums.iter().map(|sum| (sum / pixels / STEP).round() as i128).collect();
        Some(Channels { runs: 1, sums, extremes })
    }

    /// How many channels there are.
    pub(crate) fn len(&self) -> usize {
        self.sums.len()
    }

    /// Takes in other runs; `false` if they have another number of channels.
    pub(crate) fn merge(&mut self, other: &Channels) -> bool {
        if self.len() != other.len() {
            return false;
        }
        self.runs = self.runs.saturating_add(other.runs);
        for (sum, more) in self.sums.iter_mut().zip(&other.sums) {
            *sum = sum.saturating_add(*more);
        }
        for (range, more) in self.extremes.iter_mut().zip(&other.extremes) {
            *range = range.union(*more);
        }
        true
    }

    /// The mean of each channel.
    pub(crate) fn means(&self) -> Vec<f64> {
        self.sums.iter().map(|sum| *sum as f64 * STEP / self.runs.max(1) as f64).collect()
    }

    /// The range of each channel.
    pub(crate) fn extremes(&self) -> &[Range] {
        &self.extremes
    }

    /// The file form: the number of runs; for each channel, sum, least and largest element.
    pub(crate) fn to_text(&self) -> String {
        let mut text = self.runs.to_string();
        for (sum, range) in self.sums.iter().zip(&self.extremes) {
            let _ = write!(text, " {sum} {} {}", range.min, range.max);
        }
        text
    }

    /// Reads the file form; `None` if it is none.
    pub(crate) fn from_text(text: &str) -> Option<Channels> {
        let mut words = text.split_whitespace();
        let runs = words.next()?.parse().ok().filter(|runs| *runs > 0)?;
        let (mut sums, mut extremes) = (Vec::new(), Vec::new());
        while let Some(sum) = words.next() {
            let range = Range { min: words.next()?.parse().ok()?, max: words.next()?.parse().ok()? };
            if !(range.min.is_finite() && range.max.is_finite() && range.min <= range.max) {
                return None;
            }
            sums.push(sum.parse().ok()?);
            extremes.push(range);
        }
        (!sums.is_empty()).then_some(Channels { runs, sums, extremes })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn means_and_ranges_are_those_of_the_channels() {
        let mut channels = Channels::of(&[1.0, -2.0, 3.0, -4.0], 2).unwrap();
        assert!(channels.merge(&Channels::of(&[5.0, 0.5], 2).unwrap()));
        assert_eq!(channels.means(), [3.5, -1.25]);
        assert_eq!(channels.extremes()[1], Range { min: -4.0, max: 0.5 });
        assert_eq!(Channels::from_text(&channels.to_text()), Some(channels.clone()));
        assert!(!channels.merge(&Channels::of(&[1.0], 1).unwrap()));
        assert!(Channels::of(&[1.0, 2.0, 3.0], 2).is_none());
        assert!(Channels::from_text("0 1 2 3").is_none());
        assert!(Channels::from_text("1 1 2").is_none());
    }
}
