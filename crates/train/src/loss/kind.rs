//! Which losses there are.

use super::{crossentropy, hinge, regression};
use crate::target::{Batch, Reading, Rows, Targets};

/// What a loss computes from a row of predictions p and targets t.
///
/// "mean" is over the elements of a row. The smallest and largest probability, from which logarithms are
/// taken, are ε = 1e-7 and 1 - ε; probabilities beyond get no gradient.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum LossKind {
    /// Which of the three cross-entropies fits the shapes, as Keras takes `crossentropy`: binary for an
    /// output of one element, sparse for class numbers, else categorical.
    Crossentropy,
    /// `-log(p of the label)` of probabilities that are clipped and then brought to the sum 1, or of
    /// `softmax(p)`.
    SparseCategoricalCrossentropy {
        /// Whether predictions are logits.
        from_logits: bool,
        /// A label whose rows count for nothing.
        ignore_class: Option<i64>,
    },
    /// `-sum(t log p)` of probabilities brought to the sum 1 and then clipped, or of `softmax(p)`. The
    /// gradient by logits is TensorFlow's `softmax(p) - t`, which takes t to have the sum 1.
    CategoricalCrossentropy {
        /// Whether predictions are logits.
        from_logits: bool,
        /// Share s: targets become `t (1 - s) + s / classes`.
        label_smoothing: f64,
    },
    /// `-mean(t log p + (1 - t) log(1 - p))`, of `sigmoid(p)` for logits.
    BinaryCrossentropy {
        /// Whether predictions are logits.
        from_logits: bool,
        /// Share s: targets become `t (1 - s) + s / 2`.
        label_smoothing: f64,
    },
    /// `mean((t - p)^2)`.
    MeanSquaredError,
    /// `mean(|t - p|)`.
    MeanAbsoluteError,
    /// `100 mean(|t - p| / max(|t|, ε))`.
    MeanAbsolutePercentageError,
    /// `mean((log(max(t, ε) + 1) - log(max(p, ε) + 1))^2)`.
    MeanSquaredLogarithmicError,
    /// The mean of `e^2 / 2` where `|e| = |p - t|` is at most delta, `delta |e| - delta^2 / 2` beyond.
    Huber {
        /// Where the parabola becomes a line; above 0.
        delta: f64,
    },
    /// `mean(log(cosh(p - t)))`.
    LogCosh,
    /// `sum(t log(t / p))`, both clipped to `[ε, 1]`.
    KlDivergence,
    /// `mean(p - t log(p + ε))`.
    Poisson,
    /// `mean(max(1 - t p, 0))`; targets that are all 0 or 1 stand for -1 and 1.
    Hinge,
    /// `mean(max(1 - t p, 0)^2)`; targets as for [`LossKind::Hinge`].
    SquaredHinge,
    /// `max(max((1 - t) p) - sum(t p) + 1, 0)`.
    CategoricalHinge,
    /// `-sum(t p) / (|t| |p|)`, lengths taken to be at least ε.
    CosineSimilarity,
}

/// How the losses of rows become one number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Reduction {
    /// The sum of weighted rows over the number of rows. Keras calls it `mean` too.
    #[default]
    SumOverBatchSize,
    /// The sum of weighted rows.
    Sum,
    /// The sum of weighted rows over the sum of weights.
    MeanWithSampleWeight,
}

/// The activation at the end of a model that a loss undoes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LastActivation {
    /// Softmax over the last axis.
    Softmax,
    /// The logistic function.
    Sigmoid,
}

/// What a row must know of all rows.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct RowContext {
    /// Whether targets 0 and 1 stand for -1 and 1.
    pub binary: bool,
}

impl LossKind {
    /// Keras' name.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            LossKind::Crossentropy => "crossentropy",
            LossKind::SparseCategoricalCrossentropy { .. } => "sparse_categorical_crossentropy",
            LossKind::CategoricalCrossentropy { .. } => "categorical_crossentropy",
            LossKind::BinaryCrossentropy { .. } => "binary_crossentropy",
            LossKind::MeanSquaredError => "mean_squared_error",
            LossKind::MeanAbsoluteError => "mean_absolute_error",
            LossKind::MeanAbsolutePercentageError => "mean_absolute_percentage_error",
            LossKind::MeanSquaredLogarithmicError => "mean_squared_logarithmic_error",
            LossKind::Huber { .. } => "huber",
            LossKind::LogCosh => "log_cosh",
            LossKind::KlDivergence => "kl_divergence",
            LossKind::Poisson => "poisson",
            LossKind::Hinge => "hinge",
            LossKind::SquaredHinge => "squared_hinge",
            LossKind::CategoricalHinge => "categorical_hinge",
            LossKind::CosineSimilarity => "cosine_similarity",
        }
    }

    /// The activation that this loss undoes when it is the last thing that a model computes; `None` if
    /// there is none, or predictions are logits already.
    ///
    /// Keras on TensorFlow, where the output is that of a softmax (of a sigmoid, for the binary loss),
    /// computes the loss from the activation's input (`_get_logits` in
    /// `keras/src/backend/tensorflow/nn.py`, which finds the input on the tensor), so that neither loss
    /// nor gradient suffers from clipping. To train as it does, cut the activation off, if it has no
    /// other use, and use [`LossKind::with_logits`].
    #[must_use]
    pub fn undoes(&self) -> Option<LastActivation> {
        match self {
            LossKind::SparseCategoricalCrossentropy { from_logits: false, .. }
            | LossKind::CategoricalCrossentropy { from_logits: false, .. } => Some(LastActivation::Softmax),
            LossKind::BinaryCrossentropy { from_logits: false, .. } => Some(LastActivation::Sigmoid),
            _ => None,
        }
    }

    /// The same loss of logits; itself where there is no such form.
    #[must_use]
    pub fn with_logits(mut self) -> LossKind {
        if let LossKind::SparseCategoricalCrossentropy { from_logits, .. }
        | LossKind::CategoricalCrossentropy { from_logits, .. }
        | LossKind::BinaryCrossentropy { from_logits, .. } = &mut self
        {
            *from_logits = true;
        }
        self
    }

    /// The loss that [`LossKind::Crossentropy`] stands for with these targets; any other itself.
    #[must_use]
    pub fn resolved(&self, batch: &Batch<'_>) -> LossKind {
        if *self != LossKind::Crossentropy {
            return *self;
        }
        let (from_logits, label_smoothing) = (false, 0.0);
        match reading_by_shape(batch) {
            Reading::Numbers => LossKind::BinaryCrossentropy { from_logits, label_smoothing },
            Reading::Classes => LossKind::SparseCategoricalCrossentropy { from_logits, ignore_class: None },
            Reading::Categories => LossKind::CategoricalCrossentropy { from_logits, label_smoothing },
        }
    }

    pub(crate) fn reading(&self) -> Reading {
        match self {
            LossKind::SparseCategoricalCrossentropy { .. } => Reading::Classes,
            LossKind::CategoricalCrossentropy { .. }
            | LossKind::CategoricalHinge
            | LossKind::KlDivergence => Reading::Categories,
            _ => Reading::Numbers,
        }
    }

    pub(crate) fn ignored(&self) -> Option<i64> {
        match self {
            LossKind::SparseCategoricalCrossentropy { ignore_class, .. } => *ignore_class,
            _ => None,
        }
    }

    pub(crate) fn ignores(&self, rows: &Rows<'_>, row: usize) -> bool {
        self.ignored().is_some_and(|class| rows.class_number(row) == class as f64)
    }

    pub(crate) fn context(&self, rows: &Rows<'_>) -> RowContext {
        let hinge = matches!(self, LossKind::Hinge | LossKind::SquaredHinge);
        RowContext { binary: hinge && rows.all_numbers().iter().all(|t| *t == 0.0 || *t == 1.0) }
    }

    /// The loss of a row, and into `gradient`, unless that is empty, its derivatives times `factor`.
    pub(crate) fn row(
        &self,
        rows: &Rows<'_>,
        row: usize,
        context: &RowContext,
        factor: f64,
        gradient: &mut [f32],
        buffer: &mut Vec<f32>,
    ) -> f64 {
        let p = rows.prediction(row);
        if let LossKind::SparseCategoricalCrossentropy { from_logits, .. } = *self {
            let class = rows.class(row).unwrap_or(0);
            return if from_logits {
                crossentropy::sparse_of_logits(class, p, factor, gradient)
            } else {
                crossentropy::sparse_of_probabilities(class, p, factor, gradient)
            };
        }
        let t = rows.numbers(row, buffer);
        match *self {
            LossKind::CategoricalCrossentropy { from_logits: true, label_smoothing } => {
                crossentropy::categorical_of_logits(t, p, label_smoothing, factor, gradient)
            }
            LossKind::CategoricalCrossentropy { from_logits: false, label_smoothing } => {
                crossentropy::categorical_of_probabilities(t, p, label_smoothing, factor, gradient)
            }
            LossKind::BinaryCrossentropy { from_logits, label_smoothing } => {
                crossentropy::binary(t, p, from_logits, label_smoothing, factor, gradient)
            }
            LossKind::KlDivergence => crossentropy::kl_divergence(t, p, factor, gradient),
            LossKind::Hinge => hinge::hinge(t, p, context.binary, false, factor, gradient),
            LossKind::SquaredHinge => hinge::hinge(t, p, context.binary, true, factor, gradient),
            LossKind::CategoricalHinge => hinge::categorical(t, p, factor, gradient),
            LossKind::CosineSimilarity => regression::cosine_similarity(t, p, factor, gradient),
            _ => regression::mean(self, t, p, factor, gradient),
        }
    }
}

/// How Keras reads targets for `accuracy` and `crossentropy`
/// (`is_binary_or_sparse_categorical` in `keras/src/trainers/compile_utils.py`).
pub(crate) fn reading_by_shape(batch: &Batch<'_>) -> Reading {
    let width = if batch.shape.len() < 2 { 1 } else { batch.shape.last().copied().unwrap_or(1) };
    let sparse = match batch.targets {
        Targets::Labels(_) => true,
        Targets::Values { shape, .. } => {
            shape.len() < batch.shape.len() || (shape.last() == Some(&1) && width > 1)
        }
    };
    match (width, sparse) {
        (1, _) => Reading::Numbers,
        (_, true) => Reading::Classes,
        (_, false) => Reading::Categories,
    }
}
