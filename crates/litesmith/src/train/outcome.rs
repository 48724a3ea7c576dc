use std::time::Duration;

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
}

/// Milliseconds of a step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct StepTime {
    /// The median over all steps of this run; 0 where there was none.
    pub median: f64,
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
        let median = step_seconds.get(step_seconds.len() / 2).map_or(0.0, |seconds| seconds * 1e3);
        TrainResult {
            schema_version: 1,
            epochs: position.history.iter().map(EpochResult::new).collect(),
            step_ms: StepTime { median },
            steps: trainer.iterations(),
            samples,
            seconds: elapsed.as_secs_f64(),
            peak_rss_mb,
        }
    }
}

impl EpochResult {
    fn new(report: &EpochReport) -> EpochResult {
        let own = report.metrics.iter().map(|(name, value)| (name.clone(), (*value).into()));
        let validated =
            report.val_metrics.iter().map(|(name, value)| (format!("val_{name}"), (*value).into()));
        EpochResult {
            loss: report.loss,
            metrics: own.chain(validated).collect(),
            val_loss: report.val_loss,
            learning_rate: report.learning_rate,
            seconds: report.seconds,
        }
    }
}
