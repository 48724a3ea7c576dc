//! What is made small and measured at each output of a model.

use litesmith_kernels::ThreadPool;

use crate::callback::Direction;
use crate::loss::Loss;
use crate::metric::{Mean, Metric};
use crate::target::{Batch, TargetError};

/// What is made small and measured at an output of a model.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Objective {
    /// Name of the output: that of its layer.
    pub output: String,
    /// What is made small; an output without one is left out of training.
    pub loss: Option<Loss>,
    /// The loss' factor in the sum over all outputs.
    pub weight: f64,
    /// What else is measured.
    pub metrics: Vec<Metric>,
}

impl Objective {
    /// A loss of factor 1, without other metrics.
    #[must_use]
    pub fn new(output: &str, loss: impl Into<Loss>) -> Objective {
        let (output, loss) = (output.to_owned(), Some(loss.into()));
        Objective { output, loss, weight: 1.0, metrics: Vec::new() }
    }

    /// An output that is left out.
    #[must_use]
    pub fn none(output: &str) -> Objective {
        Objective { output: output.to_owned(), loss: None, weight: 1.0, metrics: Vec::new() }
    }

    /// With this factor.
    #[must_use]
    pub fn with_weight(mut self, weight: f64) -> Objective {
        self.weight = weight;
        self
    }

    /// With these metrics.
    #[must_use]
    pub fn with_metrics(mut self, metrics: Vec<Metric>) -> Objective {
        self.metrics = metrics;
        self
    }

    /// The loss of a batch, without its factor.
    pub(crate) fn value(
        &self,
        pool: &ThreadPool,
        batch: &Batch<'_>,
        logits: bool,
    ) -> Result<f64, TargetError> {
        self.loss_of(logits).map_or(Ok(0.0), |loss| loss.value(pool, batch))
    }

    /// The loss of a batch, without its factor, and its derivatives by the predictions, with it.
    pub(crate) fn value_and_gradient(
        &self,
        pool: &ThreadPool,
        batch: &Batch<'_>,
        logits: bool,
        gradient: &mut [f32],
    ) -> Result<f64, TargetError> {
        let factor = self.weight as f32;
        self.loss_of(logits).map_or(Ok(0.0), |loss| loss.value_and_gradient(pool, batch, factor, gradient))
    }

    /// The loss, of logits where the activation that it undoes is cut off.
    fn loss_of(&self, logits: bool) -> Option<Loss> {
        let mut loss = self.loss.clone()?;
        if logits {
            loss.kind = loss.kind.with_logits();
        }
        Some(loss)
    }
}

/// What batches have shown since the last reset.
#[derive(Clone, Debug, PartialEq)]
pub struct Measures {
    /// The whole loss, penalties included, each batch by its number of samples.
    pub loss: Mean,
    /// What each output has shown.
    pub(crate) outputs: Vec<OutputMeasures>,
}

/// What an output has shown.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct OutputMeasures {
    /// Its loss without its factor, where there are several: `NAME_loss`, as in Keras.
    loss: Option<(String, Mean)>,
    /// Its metrics; where there are several outputs, `NAME_METRIC`.
    metrics: Vec<Metric>,
}

impl OutputMeasures {
    fn new(objective: &Objective, prefixed: bool) -> OutputMeasures {
        let prefix = if prefixed { format!("{}_", objective.output) } else { String::new() };
        let named = |metric: &Metric| Metric::new(&format!("{prefix}{}", metric.name), metric.kind);
        OutputMeasures {
            loss: (prefixed && objective.loss.is_some()).then(|| (format!("{prefix}loss"), Mean::default())),
            metrics: objective.metrics.iter().map(named).collect(),
        }
    }

    /// Adds a batch and its loss.
    pub(crate) fn add(&mut self, loss: f64, batch: &Batch<'_>) -> Result<(), TargetError> {
        if let Some((_, mean)) = &mut self.loss {
            mean.add(loss, batch.shape.first().copied().unwrap_or(0) as f64);
        }
        self.metrics.iter_mut().try_for_each(|metric| metric.update(batch))
    }
}

impl Measures {
    /// Nothing seen.
    #[must_use]
    pub fn new(objectives: &[Objective]) -> Measures {
        let several = objectives.len() > 1;
        let outputs = objectives.iter().map(|objective| OutputMeasures::new(objective, several));
        Measures { loss: Mean::default(), outputs: outputs.collect() }
    }

    /// Everything beside the whole loss by name: the losses of several outputs, and metrics.
    #[must_use]
    pub fn named(&self) -> Vec<(String, f64)> {
        let losses = self.outputs.iter().filter_map(|output| output.loss.as_ref());
        let losses = losses.map(|(name, mean)| (name.clone(), mean.result()));
        losses.chain(self.metrics().map(|metric| (metric.name.clone(), metric.result()))).collect()
    }

    /// The metrics of all outputs.
    pub fn metrics(&self) -> impl Iterator<Item = &Metric> {
        self.outputs.iter().flat_map(|output| &output.metrics)
    }

    /// Which way what is called `name` gets better.
    pub(crate) fn direction(&self, name: &str) -> Direction {
        self.metrics().find(|metric| metric.name == name).map_or(Direction::Down, Metric::direction)
    }

    /// What everything beside the whole loss has gathered, for checkpoints.
    pub(crate) fn means(&self) -> Vec<Mean> {
        let of = |output: &OutputMeasures| {
            let loss = output.loss.as_ref().map(|(_, mean)| *mean);
            loss.into_iter().chain(output.metrics.iter().map(Metric::mean)).collect::<Vec<Mean>>()
        };
        self.outputs.iter().flat_map(of).collect()
    }

    /// Goes on from what another has gathered.
    pub(crate) fn restore(&mut self, means: &[Mean]) {
        let mut means = means.iter().copied();
        for output in &mut self.outputs {
            if let Some((_, mean)) = &mut output.loss
                && let Some(gathered) = means.next()
            {
                *mean = gathered;
            }
            for (metric, gathered) in output.metrics.iter_mut().zip(&mut means) {
                metric.restore(gathered);
            }
        }
    }
}
