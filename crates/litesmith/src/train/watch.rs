use std::path::Path;

use litesmith_prune::Pruning;
use litesmith_train::{Checkpoint, EpochReport, Flow, Hooks, Measures, StepReport, TrainError, Trainer};

use crate::convert::write::put;
use crate::observer::Observer;

/// Shows how training goes, keeps checkpoints, and stops where the user wants it.
pub(super) struct Watch<'a> {
    observer: &'a dyn Observer,
    /// Where checkpoints are kept, if they are.
    checkpoint: Option<&'a Path>,
    about: &'a str,
    pruning: Option<Pruning>,
    seconds: Vec<f64>,
    stopped: bool,
    shown: Option<usize>,
}

impl<'a> Watch<'a> {
    pub(super) fn new(
        observer: &'a dyn Observer,
        checkpoint: Option<&'a Path>,
        about: &'a str,
        pruning: Option<Pruning>,
    ) -> Watch<'a> {
        Watch { observer, checkpoint, about, pruning, seconds: Vec::new(), stopped: false, shown: None }
    }

    /// Seconds of each step, whether the user stopped training, and the masks as they are in the end.
    pub(super) fn finish(self) -> (Vec<f64>, bool, Option<Pruning>) {
        (self.seconds, self.stopped, self.pruning)
    }

    /// `  sparsity 0.750`
    fn pruned(&self) -> String {
        let sparsity = self.sparsity();
        sparsity.map(|sparsity| format!("  sparsity {sparsity:.3}")).unwrap_or_default()
    }

    fn flow(&mut self) -> Flow {
        self.stopped |= self.observer.stopped();
        if self.stopped { Flow::Stop } else { Flow::Continue }
    }
}

/// `loss 0.1234  accuracy 0.9876`
fn told(measures: &Measures) -> String {
    let others = measures.named().into_iter().map(|(name, value)| format!("  {name} {value:.4}"));
    format!("loss {:.4}{}", measures.loss.result(), others.collect::<String>())
}

impl Hooks for Watch<'_> {
    fn before_step(&mut self, trainer: &mut Trainer) -> Result<(), TrainError> {
        if let Some(pruning) = &mut self.pruning {
            pruning.before_step(trainer);
        }
        Ok(())
    }

    fn after_step(&mut self, trainer: &mut Trainer) -> Result<(), TrainError> {
        if let Some(pruning) = &self.pruning {
            pruning.apply(trainer);
        }
        Ok(())
    }

    fn sparsity(&self) -> Option<f64> {
        self.pruning.as_ref().map(Pruning::sparsity)
    }

    fn on_step(&mut self, report: &StepReport<'_>) -> Flow {
        if self.shown != Some(report.epoch) {
            self.observer.stage(&format!("epoch {}", report.epoch + 1), report.steps);
            (1..report.step).for_each(|_| self.observer.step());
            self.shown = Some(report.epoch);
        }
        self.observer.step();
        let rate = report.samples as f64 / report.seconds;
        let measures = told(report.measures);
        self.observer.status(&format!("{measures}{}  {rate:.0} samples/s", self.pruned()));
        self.seconds.push(report.seconds);
        self.flow()
    }

    fn on_epoch(&mut self, epoch: usize, report: &EpochReport) -> Flow {
        let named = |prefix: &str, metrics: &[(String, f64)]| -> String {
            metrics.iter().map(|(name, value)| format!("  {prefix}{name} {value:.4}")).collect()
        };
        let validated = report.val_loss.map(|loss| format!("  val_loss {loss:.4}")).unwrap_or_default();
        self.observer.detail(&format!(
            "epoch {}: loss {:.4}{}{validated}{}{}  {:.1} s",
            epoch + 1,
            report.loss,
            named("", &report.metrics),
            named("val_", &report.val_metrics),
            self.pruned(),
            report.seconds
        ));
        self.flow()
    }

    fn on_checkpoint(&mut self, checkpoint: &Checkpoint<'_>) -> Result<(), TrainError> {
        let Some(path) = self.checkpoint else { return Ok(()) };
        let masks = self.pruning.as_ref().map(Pruning::to_bytes).unwrap_or_default();
        let written = put(path, &checkpoint.to_bytes(self.about, &masks));
        written.map_err(|error| TrainError::Hook(error.to_string()))
    }
}
