//! Which way weights are rounded.
//!
//! To the nearest is best for each weight, but not for their sum with inputs that hang together. Both
//! ways here start from the nearest and change roundings while that brings the products nearer to
//! those of the real weights: in the mean ([`keep_sum`]), or in every respect ([`descend`]).

/// Largest integer weight.
const LARGEST: f32 = 127.0;

/// A rounding error below this is no candidate for the other way: it would nearly become a whole step.
const SMALLEST_ERROR: f64 = 0.05;

/// Roundings that may be changed at least.
const MOST_CHANGED: usize = 64;

/// Most times that all weights of a row are gone through.
const PASSES: usize = 3;

/// The nearest integer weight, halves away from zero.
pub(super) fn nearest(target: f32) -> f32 {
    // A cast is an instruction, `round` a call.
    (target + 0.5f32.copysign(target)).clamp(-LARGEST, LARGEST) as i32 as f32
}

/// Rounds the weights of a row, given in steps, so that `sum (q - w) * mean` gets near to zero: takes
/// the weights whose rounding errors are largest the other way while the sum gets smaller by it.
pub(super) fn keep_sum(targets: &[f32], means: &[f64]) -> Vec<f32> {
    let mut rounded: Vec<f32> = targets.iter().map(|target| nearest(*target)).collect();
    let error = |tap: usize, rounded: f32| f64::from(rounded) - f64::from(targets[tap]);
    let mut sum: f64 = (0..targets.len()).map(|tap| error(tap, rounded[tap]) * means[tap]).sum();
    // Most errors nearly cancel: of many weights, those with the largest errors suffice.
    let mut order: Vec<(f64, usize)> =
        rounded.iter().enumerate().map(|(tap, rounded)| (error(tap, *rounded).abs(), tap)).collect();
    let enough = MOST_CHANGED.max(8 * order.len().isqrt());
    if order.len() > enough {
        order.select_nth_unstable_by(enough, |a, b| b.0.total_cmp(&a.0));
        order.truncate(enough);
    }
    order.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
    for (size, tap) in order {
        if size < SMALLEST_ERROR {
            break;
        }
        let step = -error(tap, rounded[tap]).signum() as f32;
        let changed = sum + f64::from(step) * means[tap];
        if changed.abs() < sum.abs() && (rounded[tap] + step).abs() <= LARGEST {
            rounded[tap] += step;
            sum = changed;
        }
    }
    rounded
}

/// The square matrix that [`descend`] and [`squared_error`] measure errors with, and the order in which
/// weights are gone through: those of the strongest inputs first.
pub(super) struct Metric {
    pub(super) covariance: Vec<f32>,
    order: Vec<usize>,
}

impl Metric {
    /// The metric of a covariance matrix that was estimated from `samples` samples. The fewer they are
    /// for its size, the less is believed of what lies beside the diagonal.
    pub(super) fn new(mut covariance: Vec<f32>, taps: usize, samples: usize) -> Metric {
        let belief = samples as f32 / (samples + taps) as f32;
        for (index, value) in covariance.iter_mut().enumerate() {
            if index / taps != index % taps {
                *value *= belief;
            }
        }
        let mut order: Vec<usize> = (0..taps).collect();
        order.sort_by(|a, b| covariance[b * taps + b].total_cmp(&covariance[a * taps + a]));
        Metric { covariance, order }
    }

    fn taps(&self) -> usize {
        self.order.len()
    }

    /// `errors * covariance`.
    pub(super) fn gradient(&self, errors: &[f32]) -> Vec<f32> {
        let mut gradient = vec![0.0; errors.len()];
        for (error, row) in errors.iter().zip(self.covariance.chunks_exact(self.taps())) {
            add_scaled(&mut gradient, *error, row);
        }
        gradient
    }

    /// `errors * covariance * errors`: the variance of the product's error.
    pub(super) fn squared_error(&self, errors: &[f32]) -> f64 {
        let gradient = self.gradient(errors);
        gradient.iter().zip(errors).map(|(g, e)| f64::from(*g) * f64::from(*e)).sum()
    }

    /// Coordinate descent on the integers of one row: each in turn is moved to where the variance of the
    /// product's error is least, the others held. `gradient` belongs to the errors of `rounded`. Weights that
    /// are zero stay zero: they may have been pruned.
    pub(super) fn descend(&self, weights: &[f32], rounded: &mut [f32], gradient: &mut [f32]) {
        let taps = self.taps();
        for _ in 0..PASSES {
            let mut moved = false;
            for tap in &self.order {
                if weights[*tap] == 0.0 {
                    continue;
                }
                let row = &self.covariance[tap * taps..][..taps];
                let best = -gradient[*tap] / row[*tap];
                // Half a step gains nothing; a tap without variance has no best place.
                if row[*tap] <= 0.0 || best.is_nan() || best.abs() <= 0.5 + 1e-5 {
                    continue;
                }
                let to = (rounded[*tap] + best.round()).clamp(-LARGEST, LARGEST);
                let step = to - rounded[*tap];
                if step != 0.0 {
                    rounded[*tap] = to;
                    add_scaled(gradient, step, row);
                    moved = true;
                }
            }
            if !moved {
                break;
            }
        }
    }
}

fn add_scaled(sum: &mut [f32], factor: f32, values: &[f32]) {
    sum.iter_mut().zip(values).for_each(|(sum, value)| *sum += factor * value);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sum(rounded: &[f32], targets: &[f32], means: &[f64]) -> f64 {
        let error = |(q, w): (&f32, &f32)| f64::from(*q) - f64::from(*w);
        rounded.iter().zip(targets).map(error).zip(means).map(|(error, mean)| error * mean).sum()
    }

    #[test]
    fn sums_are_kept_by_the_roundings_nearest_to_half() {
        let (targets, means) = ([1.4375, 2.40625, 3.25, 4.0], [1.0; 4]);
        let rounded = keep_sum(&targets, &means);
        assert_eq!(rounded, [2.0, 2.0, 3.0, 4.0]);
        assert_eq!(sum(&rounded, &targets, &means), -0.09375);
        assert_eq!(keep_sum(&[126.6, 127.4], &[1.0, 1.0]), [127.0, 127.0]);
    }

    #[test]
    fn inputs_that_always_agree_are_rounded_together() {
        // Both errors would be -0.4; as the inputs are equal, the errors must cancel.
        let metric = Metric::new(vec![1.0; 4], 2, 1_000_000);
        let targets = [1.4f32, 5.4];
        let mut rounded: Vec<f32> = targets.iter().map(|w| nearest(*w)).collect();
        let errors: Vec<f32> = rounded.iter().zip(&targets).map(|(q, w)| q - w).collect();
        let mut gradient = metric.gradient(&errors);
        metric.descend(&targets, &mut rounded, &mut gradient);
        assert_eq!(rounded.iter().sum::<f32>(), 7.0);
    }

    #[test]
    fn zeros_stay_zeros() {
        // A step of the second weight would undo the error of the first.
        let metric = Metric::new(vec![1.0, 0.6, 0.6, 0.4], 2, 1_000_000);
        for (targets, moves) in [([1.45f32, 0.0], false), ([1.45, 0.01], true)] {
            let mut rounded: Vec<f32> = targets.iter().map(|w| nearest(*w)).collect();
            let errors: Vec<f32> = rounded.iter().zip(&targets).map(|(q, w)| q - w).collect();
            let mut gradient = metric.gradient(&errors);
            metric.descend(&targets, &mut rounded, &mut gradient);
            assert_eq!(rounded[1] != 0.0, moves, "{rounded:?}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

        #[test]
        fn descent_only_descends(
            targets in prop::collection::vec(-120f32..120.0, 4),
            factors in prop::collection::vec(-1f32..1.0, 16),
        ) {
            let entry = |i: usize| (0..4).map(|k| factors[i / 4 * 4 + k] * factors[i % 4 * 4 + k]).sum::<f32>();
            let metric = Metric::new((0..16).map(entry).collect(), 4, 100);
            let mut rounded: Vec<f32> = targets.iter().map(|w| nearest(*w)).collect();
            let errors = |rounded: &[f32]| rounded.iter().zip(&targets).map(|(q, w)| q - w).collect::<Vec<_>>();
            let before = errors(&rounded);
            let mut gradient = metric.gradient(&before);
            metric.descend(&targets, &mut rounded, &mut gradient);
            prop_assert!(metric.squared_error(&errors(&rounded)) <= metric.squared_error(&before) * 1.0001 + 1e-6);
            prop_assert!(rounded.iter().all(|q| q.fract() == 0.0 && q.abs() <= 127.0));
        }

        #[test]
        fn sums_never_get_worse(
            targets in prop::collection::vec(-127f32..127.0, 1..20),
            seed in prop::collection::vec(-3f64..5.0, 20),
        ) {
            let means = &seed[..targets.len()];
            let plain: Vec<f32> = targets.iter().map(|w| nearest(*w)).collect();
            let kept = keep_sum(&targets, means);
            prop_assert!(sum(&kept, &targets, means).abs() <= sum(&plain, &targets, means).abs() + 1e-9);
        }
    }
}
