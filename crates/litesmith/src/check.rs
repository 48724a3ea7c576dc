//! Comparing what two models compute.

use serde::Serialize;

/// How far the outputs of a converted model are from those of its source.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Check {
    /// Signal-to-noise ratio in dB, `10 log10(sum y^2 / sum e^2)`, of the worst output; `None` where
    /// all are exact.
    pub snr_db: Option<f64>,
    /// Largest difference of any output element.
    pub max_abs_diff: f64,
    /// The same as a share of the largest output element.
    pub max_relative_diff: f64,
    /// Number of samples that were compared.
    pub samples: usize,
    /// Whether they were samples of the calibration data, and not random numbers.
    pub real_data: bool,
}

/// Sums over samples, for each output.
#[derive(Clone, Debug, Default)]
pub(crate) struct Comparison {
    outputs: Vec<Sums>,
    samples: usize,
}

#[derive(Clone, Copy, Debug, Default)]
struct Sums {
    signal: f64,
    noise: f64,
    largest: f64,
    largest_diff: f64,
}

impl Sums {
    fn snr_db(self) -> f64 {
        if self.noise == 0.0 { f64::INFINITY } else { 10.0 * (self.signal / self.noise).log10() }
    }
}

impl Comparison {
    /// Takes in the outputs of one run: those of the source and those of the converted model, as real
    /// numbers.
    pub(crate) fn add(&mut self, samples: usize, source: &[Vec<f32>], converted: &[Vec<f32>]) {
        self.outputs.resize(source.len(), Sums::default());
        self.samples += samples;
        for ((sums, source), converted) in self.outputs.iter_mut().zip(source).zip(converted) {
            for (y, z) in source.iter().zip(converted) {
                let (y, difference) = (f64::from(*y), f64::from(*y) - f64::from(*z));
                sums.signal += y * y;
                sums.noise += difference * difference;
                sums.largest = sums.largest.max(y.abs());
                // A difference that is not a number must not look like none.
                let larger = difference.is_nan() || difference.abs() > sums.largest_diff;
                sums.largest_diff = if larger { difference.abs() } else { sums.largest_diff };
            }
        }
    }

    pub(crate) fn result(&self, real_data: bool) -> Check {
        let worst = self.outputs.iter().map(|sums| sums.snr_db()).fold(f64::INFINITY, f64::min);
        let not_a_number = self.outputs.iter().any(|sums| sums.largest_diff.is_nan());
        let largest = |of: fn(&Sums) -> f64| self.outputs.iter().map(of).fold(0.0, f64::max);
        let max_abs_diff = if not_a_number { f64::NAN } else { largest(|sums| sums.largest_diff) };
        let share = |sums: &Sums| match (sums.largest_diff, sums.largest) {
            (0.0, _) => 0.0,
            (difference, 0.0) => difference,
            (difference, largest) => difference / largest,
        };
        Check {
            // Without this, a ratio that is not a number would look like none, which means exact.
            snr_db: if not_a_number { Some(f64::NEG_INFINITY) } else { worst.is_finite().then_some(worst) },
            max_abs_diff,
            max_relative_diff: if not_a_number { f64::NAN } else { largest(share) },
            samples: self.samples,
            real_data,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_output_counts() {
        let mut comparison = Comparison::default();
        comparison.add(1, &[vec![1.0, -10.0], vec![2.0]], &[vec![1.0, -9.0], vec![2.0]]);
        let check = comparison.result(true);
        assert!((check.snr_db.unwrap() - 10.0 * 101f64.log10()).abs() < 1e-9);
        assert_eq!((check.max_abs_diff, check.max_relative_diff), (1.0, 0.1));
    }

    #[test]
    fn exact_has_no_ratio_and_nan_is_never_exact() {
        let mut comparison = Comparison::default();
        comparison.add(1, &[vec![1.0]], &[vec![1.0]]);
        assert_eq!(comparison.result(false).snr_db, None);
        comparison.add(1, &[vec![1.0]], &[vec![f32::NAN]]);
        assert!(comparison.result(false).max_abs_diff.is_nan());
        assert_eq!(comparison.result(false).snr_db, Some(f64::NEG_INFINITY));
    }
}
