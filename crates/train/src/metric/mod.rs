//! Metrics: means over samples, gathered batch by batch, named as in Keras 3.
//!
//! A metric's value of a sample is the mean over its rows (see [`Batch`]); the result is the mean over
//! samples, weighted if the batches have weights. As in Keras, metrics listed under `metrics` are to be
//! given batches without weights, those under `weighted_metrics` with them.

mod config;
mod confusion;
mod measure;

use confusion::Counts;
pub use confusion::Curve;
use measure::Measure;

use crate::callback::Direction;
use crate::loss::{LossKind, reading_by_shape};
use crate::target::{Batch, Reading, Rows, TargetError};

/// What a metric measures for each row of predictions p and targets t.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum MetricKind {
    /// Whichever of the three accuracies fits the shapes, as Keras takes `accuracy`: binary for an output
    /// of one element, sparse categorical for class numbers, else categorical.
    Accuracy,
    /// Whether the largest prediction is that of the label.
    SparseCategoricalAccuracy,
    /// Whether the largest prediction is at the place of the largest target.
    CategoricalAccuracy,
    /// Share of elements where `p > threshold` is what t, 0 or 1, says.
    BinaryAccuracy {
        /// Above it, a prediction says 1.
        threshold: f64,
    },
    /// Whether fewer than k predictions are above that of the label.
    SparseTopKCategoricalAccuracy {
        /// Number of guesses; at least 1.
        k: u64,
    },
    /// Whether fewer than k predictions are above that at the place of the largest target.
    TopKCategoricalAccuracy {
        /// Number of guesses; at least 1.
        k: u64,
    },
    /// Share of elements where p equals t: the class `Accuracy` of Keras, not what the name `accuracy`
    /// stands for.
    ExactMatch,
    /// The root of the mean squared error over all samples.
    RootMeanSquaredError,
    /// `sum(t p) / (|t| |p|)`: the opposite of the loss of that name.
    CosineSimilarity,
    /// Of the elements with `p > threshold`, the share where t is not 0.
    Precision {
        /// Above it, a prediction says 1.
        threshold: f64,
    },
    /// Of the elements where t is not 0, the share with `p > threshold`.
    Recall {
        /// Above it, a prediction says 1.
        threshold: f64,
    },
    /// The area under a curve that the elements make with thresholds from 0 to 1.
    Auc {
        /// Number of thresholds, evenly spread; at least 2.
        thresholds: u64,
        /// The curve.
        curve: Curve,
        /// Whether p are logits of the logistic function.
        from_logits: bool,
    },
    /// The loss of the row.
    Loss(LossKind),
}

/// A metric with what it has seen.
#[derive(Clone, Debug, PartialEq)]
pub struct Metric {
    /// Its name in reports.
    pub name: String,
    /// What it measures.
    pub kind: MetricKind,
    gathered: Gathered,
}

/// What a metric has gathered.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Gathered {
    mean: Mean,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    counts: Counts,
}

impl From<Mean> for Gathered {
    fn from(mean: Mean) -> Gathered {
        Gathered { mean, counts: Vec::new() }
    }
}

impl Gathered {
    /// The mean, of what gathers one.
    pub(crate) fn mean(&self) -> Mean {
        self.mean
    }
}

impl From<MetricKind> for Metric {
    fn from(kind: MetricKind) -> Metric {
        Metric::new(kind.name(), kind)
    }
}

impl Metric {
    /// A metric that has seen nothing.
    #[must_use]
    pub fn new(name: &str, kind: MetricKind) -> Metric {
        Metric { name: name.to_owned(), kind, gathered: Gathered::default() }
    }

    /// Adds a batch.
    ///
    /// # Errors
    /// [`TargetError`] if predictions and targets do not fit each other. A label that is no class is
    /// counted as missed.
    pub fn update(&mut self, batch: &Batch<'_>) -> Result<(), TargetError> {
        let measure = match self.kind.measure(batch) {
            Some(measure) => measure,
            None => return self.count(batch),
        };
        let rows = Rows::new(&self.name, batch, measure.reading())?;
        let context = measure.context(&rows);
        let share = 1.0 / rows.per_sample as f64;
        let mut buffer = Vec::new();
        for row in 0..rows.count {
            if let Some(value) = measure.row(&rows, row, &context, &mut buffer) {
                self.gathered.mean.add(value, rows.weight(row) * share);
            }
        }
        Ok(())
    }

    /// Counts positives and negatives by their predictions.
    fn count(&mut self, batch: &Batch<'_>) -> Result<(), TargetError> {
        let rows = Rows::new(&self.name, batch, Reading::Numbers)?;
        let counts = &mut self.gathered.counts;
        let mut buffer = Vec::new();
        for row in 0..rows.count {
            let weight = rows.weight(row);
            for (t, p) in rows.numbers(row, &mut buffer).iter().zip(rows.prediction(row)) {
                let (intervals, interval) = self.kind.interval(*p);
                confusion::count(counts, intervals, interval, *t != 0.0, weight);
            }
        }
        Ok(())
    }

    /// The result over all batches since the last reset; 0 without any, as in Keras.
    #[must_use]
    pub fn result(&self) -> f64 {
        let Gathered { mean, counts } = &self.gathered;
        match self.kind {
            MetricKind::RootMeanSquaredError => mean.result().sqrt(),
            MetricKind::Precision { .. } => confusion::precision(counts),
            MetricKind::Recall { .. } => confusion::recall(counts),
            MetricKind::Auc { curve, .. } => confusion::area(counts, curve),
            _ => mean.result(),
        }
    }

    /// What it has gathered, for checkpoints.
    #[must_use]
    pub fn gathered(&self) -> &Gathered {
        &self.gathered
    }

    /// Goes on from what another has gathered.
    pub fn restore(&mut self, gathered: Gathered) {
        self.gathered = gathered;
    }

    /// Forgets all batches.
    pub fn reset(&mut self) {
        self.gathered = Gathered::default();
    }

    /// Which way it gets better.
    #[must_use]
    pub fn direction(&self) -> Direction {
        match self.kind {
            MetricKind::RootMeanSquaredError | MetricKind::Loss(_) => Direction::Down,
            _ => Direction::Up,
        }
    }
}

impl MetricKind {
    /// Keras' name.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            MetricKind::Accuracy | MetricKind::ExactMatch => "accuracy",
            MetricKind::SparseCategoricalAccuracy => "sparse_categorical_accuracy",
            MetricKind::CategoricalAccuracy => "categorical_accuracy",
            MetricKind::BinaryAccuracy { .. } => "binary_accuracy",
            MetricKind::SparseTopKCategoricalAccuracy { .. } => "sparse_top_k_categorical_accuracy",
            MetricKind::TopKCategoricalAccuracy { .. } => "top_k_categorical_accuracy",
            MetricKind::RootMeanSquaredError => "root_mean_squared_error",
            MetricKind::CosineSimilarity => "cosine_similarity",
            MetricKind::Precision { .. } => "precision",
            MetricKind::Recall { .. } => "recall",
            MetricKind::Auc { .. } => "auc",
            MetricKind::Loss(loss) => loss.name(),
        }
    }

    /// How many intervals predictions are counted in, and that of one.
    fn interval(&self, prediction: f32) -> (usize, usize) {
        match *self {
            MetricKind::Auc { thresholds, from_logits, .. } => {
                let intervals = thresholds.saturating_sub(1).clamp(1, 1 << 20) as usize;
                let p = if from_logits { 1.0 / (1.0 + libm::expf(-prediction)) } else { prediction };
                (intervals, confusion::even_interval(p, intervals))
            }
            MetricKind::Precision { threshold } | MetricKind::Recall { threshold } => {
                (2, usize::from(prediction > threshold as f32))
            }
            _ => (1, 0),
        }
    }

    /// What it measures of each row, by the shapes where it depends on them; `None` for what only counts.
    fn measure(&self, batch: &Batch<'_>) -> Option<Measure> {
        Some(match *self {
            MetricKind::Precision { .. } | MetricKind::Recall { .. } | MetricKind::Auc { .. } => return None,
            MetricKind::Accuracy => match reading_by_shape(batch) {
                Reading::Numbers => Measure::Binary { threshold: 0.5 },
                Reading::Classes => Measure::Label,
                Reading::Categories => Measure::Largest,
            },
            MetricKind::SparseCategoricalAccuracy => Measure::Label,
            MetricKind::CategoricalAccuracy => Measure::Largest,
            MetricKind::BinaryAccuracy { threshold } => Measure::Binary { threshold },
            MetricKind::SparseTopKCategoricalAccuracy { k } => Measure::LabelAmong { k },
            MetricKind::TopKCategoricalAccuracy { k } => Measure::LargestAmong { k },
            MetricKind::ExactMatch => Measure::Equal,
            MetricKind::RootMeanSquaredError => {
                Measure::Loss { kind: LossKind::MeanSquaredError, factor: 1.0 }
            }
            MetricKind::CosineSimilarity => Measure::Loss { kind: LossKind::CosineSimilarity, factor: -1.0 },
            MetricKind::Loss(kind) => Measure::Loss { kind: kind.resolved(batch), factor: 1.0 },
        })
    }
}

/// A running weighted mean. The loss of an epoch is that of its batches', each weighted by its number of
/// samples.
#[derive(Clone, Copy, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Mean {
    total: f64,
    weight: f64,
}

impl Mean {
    /// Adds a value.
    pub fn add(&mut self, value: f64, weight: f64) {
        self.total += value * weight;
        self.weight += weight;
    }

    /// The mean so far; 0 without any weight.
    #[must_use]
    pub fn result(&self) -> f64 {
        if self.weight == 0.0 { 0.0 } else { self.total / self.weight }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::Targets;

    const PREDICTIONS: [f32; 9] = [0.1, 0.7, 0.2, 0.5, 0.5, 0.0, 0.2, 0.3, 0.5];

    fn result(kind: MetricKind, shape: &[usize], targets: Targets<'_>, weights: Option<&[f32]>) -> f64 {
        let mut metric = Metric::from(kind);
        let predictions = &PREDICTIONS[..shape.iter().product()];
        metric.update(&Batch { shape, predictions, targets, weights }).unwrap();
        metric.result()
    }

    #[test]
    fn accuracy_is_told_by_shapes() {
        let labels = Targets::Labels(&[1, 1, 2]);
        // Of equal predictions the first is the largest.
        assert_eq!(result(MetricKind::Accuracy, &[3, 3], labels, None), 2.0 / 3.0);
        let one_hot = [0.0, 1.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0, 0.0];
        let targets = Targets::Values { shape: &[3, 3], values: &one_hot };
        assert_eq!(result(MetricKind::Accuracy, &[3, 3], targets, None), 2.0 / 3.0);
        assert_eq!(result(MetricKind::Accuracy, &[3, 1], Targets::Labels(&[0, 1, 1]), None), 2.0 / 3.0);
        assert_eq!(result(MetricKind::CategoricalAccuracy, &[3, 3], labels, None), 2.0 / 3.0);
    }

    #[test]
    fn weights_count_samples() {
        let labels = Targets::Labels(&[1, 1, 2]);
        let weights = [1.0, 6.0, 1.0];
        assert_eq!(result(MetricKind::Accuracy, &[3, 3], labels, Some(&weights)), 0.25);
    }

    #[test]
    fn equal_predictions_share_a_rank() {
        let labels = Targets::Labels(&[2, 1, 0]);
        let top = |k| MetricKind::SparseTopKCategoricalAccuracy { k };
        assert_eq!(result(top(1), &[3, 3], labels, None), 1.0 / 3.0);
        assert_eq!(result(top(2), &[3, 3], labels, None), 2.0 / 3.0);
        assert_eq!(result(top(3), &[3, 3], labels, None), 1.0);
        assert_eq!(result(top(3), &[3, 3], Targets::Labels(&[2, 1, 9]), None), 2.0 / 3.0);
    }

    #[test]
    fn batches_add_up_and_are_forgotten() {
        let mut metric = Metric::from(MetricKind::RootMeanSquaredError);
        for (predictions, targets) in [([1.0, 2.0], [3.0, 2.0]), ([0.0, 0.0], [0.0, 4.0])] {
            let targets = Targets::Values { shape: &[2], values: &targets };
            metric
                .update(&Batch { shape: &[2, 1], predictions: &predictions, targets, weights: None })
                .unwrap();
        }
        assert_eq!(metric.result(), 5f64.sqrt());
        assert_eq!(metric.direction(), Direction::Down);
        metric.reset();
        assert_eq!(metric.result(), 0.0);
    }
}
