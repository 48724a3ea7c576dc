//! Metrics of positives and negatives: how predictions of both lie to thresholds.

/// What the area under is measured of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Curve {
    /// The share of positives that are found over the share of negatives that are taken for positives.
    #[default]
    Roc,
    /// The share of positives that are found, and how many of those found are positives.
    Pr,
}

/// How many positives and negatives have predictions in each of the intervals between thresholds, from the
/// lowest on.
pub(super) type Counts = Vec<[f64; 2]>;

/// The interval of a prediction among `intervals` that share [0, 1] evenly; on a border it is in the lower
/// one (`bucket_index` in `keras/src/metrics/metrics_utils.py`).
pub(super) fn even_interval(prediction: f32, intervals: usize) -> usize {
    let place = (prediction * intervals as f32).ceil() - 1.0;
    (place.max(0.0) as usize).min(intervals - 1)
}

/// Adds one prediction.
pub(super) fn count(counts: &mut Counts, intervals: usize, interval: usize, positive: bool, weight: f64) {
    counts.resize(intervals, [0.0; 2]);
    counts[interval][usize::from(!positive)] += weight;
}

/// Of what is above the one threshold, the share of positives.
pub(super) fn precision(counts: &Counts) -> f64 {
    let [true_positives, false_positives] = counts.get(1).copied().unwrap_or_default();
    quotient(true_positives, true_positives + false_positives)
}

/// Of the positives, the share that is above the one threshold.
pub(super) fn recall(counts: &Counts) -> f64 {
    let positives = |interval: usize| counts.get(interval).map_or(0.0, |counts| counts[0]);
    quotient(positives(1), positives(0) + positives(1))
}

/// The area under a curve, by the trapezoidal rule for ROC and by Davis and Goadrich's interpolation ("The
/// relationship between Precision-Recall and ROC curves", 2006) for PR, as Keras' `AUC` computes it.
pub(super) fn area(counts: &Counts, curve: Curve) -> f64 {
    // Positives and negatives above each threshold, from the highest on: above the last there is nothing.
    let mut above = vec![[0.0; 2]];
    for interval in counts.iter().rev() {
        let [positives, negatives] = above[above.len() - 1];
        above.push([positives + interval[0], negatives + interval[1]]);
    }
    let [positives, negatives] = above[above.len() - 1];
    let pairs = above.windows(2).map(|pair| (pair[1], pair[0]));
    let parts = pairs.map(|(lower, higher)| match curve {
        Curve::Roc => {
            let width = quotient(lower[1], negatives) - quotient(higher[1], negatives);
            width * (quotient(lower[0], positives) + quotient(higher[0], positives)) / 2.0
        }
        Curve::Pr => {
            let [low, high] = [lower, higher].map(|[positives, negatives]| positives + negatives);
            let found = lower[0] - higher[0];
            let slope = quotient(found, low - high);
            let intercept = higher[0] - slope * high;
            let ratio = if low > 0.0 && high > 0.0 { low / high } else { 1.0 };
            quotient(slope * (found + intercept * ratio.ln()), positives)
        }
    });
    parts.sum()
}

/// 0 where nothing is divided by.
fn quotient(a: f64, b: f64) -> f64 {
    if b == 0.0 { 0.0 } else { a / b }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn areas_of_simple_cases() {
        // All positives above all negatives; then the other way round.
        let apart = vec![[0.0, 4.0], [0.0, 0.0], [3.0, 0.0]];
        assert_eq!((area(&apart, Curve::Roc), area(&apart, Curve::Pr)), (1.0, 1.0));
        let wrong = vec![[3.0, 0.0], [0.0, 4.0]];
        assert_eq!(area(&wrong, Curve::Roc), 0.0);
        assert_eq!(area(&vec![[2.0, 2.0]], Curve::Roc), 0.5);
        assert_eq!(area(&Vec::new(), Curve::Roc), 0.0);
    }

    #[test]
    fn borders_belong_to_the_lower_interval() {
        let places = [0.0, 0.1, 0.25, 0.26, 0.5, 0.75, 1.0, 7.0].map(|p| even_interval(p, 4));
        assert_eq!(places, [0, 0, 0, 1, 1, 2, 3, 3]);
    }
}
