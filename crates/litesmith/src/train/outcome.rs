use std::time::Duration;

use litesmith_prune::Outcome as PrunedLayer;
use litesmith_train::{EpochReport, Position, Trainer};
use serde::Serialize;

/// What training has given.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct TrainResult {
    /// Version of this form.
    pub schema_version: u32,
    /// One for each epoch.
    pub epochs: Vec<EpochResult>,
    /// How long a step took.
    pub step_ms: StepTime,
    /// Steps in all.
    pub steps: u64,
    /// Samples that were learnt from in an epoch.
    pub samples: usize,
    /// Wall-clock time of everything.
    pub seconds: f64,
    /// Most memory that the process has held.
    pub peak_rss_mb: Option<f64>,
    /// After quantization-aware training: the share of up to 512 samples, of validation if there are some,
    /// to which the integer model gives the class that the simulation gives.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub integer_agreement: Option<f64>,
    /// After quantization-aware training: what was rounded while it was trained, and what was not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub simulated: Option<SimulatedParts>,
    /// After pruning, every layer with weights.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub pruned: Vec<PrunedLayer>,
    /// With [`TrainOptions::profile`](super::TrainOptions::profile), the operators of a step in order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub operators: Vec<StepOperator>,
}

/// What simulated integers covered.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct SimulatedParts {
    /// Number of layers whose weights were rounded.
    pub layers: usize,
    /// Number of computed tensors that were rounded.
    pub tensors: usize,
    /// Names of layers and tensors that the integer model rounds, but training did not: they come up when the
    /// model is optimized.
    pub missing: Vec<String>,
}

/// An operator of a step.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct StepOperator {
    /// Name of its layer.
    pub name: String,
    /// What it does.
    pub operator: String,
    /// Milliseconds in a step, the mean over all.
    pub ms: f64,
    /// Its share of the step.
    pub share: f64,
}

/// Milliseconds of a step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct StepTime {
    /// The median over all steps of this run; 0 where there was none.
    pub median: f64,
    /// The least.
    pub min: f64,
}

/// What an epoch has shown.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct EpochResult {
    /// Mean loss of the samples that were learnt from.
    pub loss: f64,
    /// Their metrics, by name.
    #[serde(flatten)]
    pub metrics: serde_json::Map<String, serde_json::Value>,
    /// Mean loss of the validation samples.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub val_loss: Option<f64>,
    /// Learning rate of the last step.
    pub learning_rate: f32,
    /// The share of the weights of pruned layers that are pruned at its end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sparsity: Option<f64>,
    /// Wall-clock time.
    pub seconds: f64,
}

impl TrainResult {
    pub(super) fn new(
        trainer: &Trainer,
        position: Position,
        mut step_seconds: Vec<f64>,
        samples: usize,
        elapsed: Duration,
        peak_rss_mb: Option<f64>,
    ) -> TrainResult {
        step_seconds.sort_by(f64::total_cmp);
        let at = |index: usize| step_seconds.get(index).map_or(0.0, |seconds| seconds * 1e3);
        let step_ms = StepTime { median: at(step_seconds.len() / 2), min: at(0) };
        TrainResult {
            schema_version: 1,
            epochs: position.history.iter().map(EpochResult::new).collect(),
            step_ms,
            steps: trainer.iterations(),
            samples,
            seconds: elapsed.as_secs_f64(),
            peak_rss_mb,
            integer_agreement: None,
            simulated: None,
            pruned: Vec::new(),
            operators: Vec::new(),
        }
    }

    pub(super) fn with_profile(mut self, trainer: &Trainer) -> TrainResult {
        let steps = self.steps.max(1) as f64;
        let times: Vec<_> = trainer.times().collect();
        let total: f64 = times.iter().map(|(.., seconds)| seconds).sum();
        let operator = |(name, operator, seconds): (String, &str, f64)| StepOperator {
            name,
            operator: operator.to_owned(),
            ms: seconds * 1e3 / steps,
            share: if total > 0.0 { seconds / total } else { 0.0 },
        };
        self.operators = times.into_iter().map(operator).collect();
        self
    }
}

impl EpochResult {
    pub(super) fn new(report: &EpochReport) -> EpochResult {
        let own = report.metrics.iter().map(|(name, value)| (name.clone(), (*value).into()));
        let validated =
            report.val_metrics.iter().map(|(name, value)| (format!("val_{name}"), (*value).into()));
        EpochResult {
            loss: report.loss,
            metrics: own.chain(validated).collect(),
            val_loss: report.val_loss,
            learning_rate: report.learning_rate,
            sparsity: report.sparsity,
            seconds: report.seconds,
        }
    }
}
