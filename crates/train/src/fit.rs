//! The training loop: epochs of shuffled batches, validation, checkpoints.

use std::time::Instant;

use litesmith_data::{Batch as DataBatch, Dataset, ElementType, Target};
use litesmith_graph::DType;
use litesmith_runtime::Array;
use serde::{Deserialize, Serialize};

use crate::callback::{Direction, EarlyStopping, ReduceLrOnPlateau};
use crate::checkpoint::Checkpoint;
use crate::error::TrainError;
use crate::metric::{Gathered, Mean};
use crate::objective::{Measures, Objective};
use crate::shuffle::permutation;
use crate::target::Targets;
use crate::trainer::{Samples, Trainer};
use crate::weights::ClassWeights;

/// How long and in what portions a model is trained.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct FitOptions {
    /// Number of passes over the data.
    pub epochs: usize,
    /// Samples in a step; the last step of an epoch may have fewer.
    pub batch_size: usize,
    /// Whether samples come in another order in each epoch, which follows from the seed.
    pub shuffle: bool,
    /// A factor of the loss for each class.
    pub class_weights: Option<ClassWeights>,
    /// The step from which on batch normalization keeps the statistics that it has learnt.
    pub freeze_batch_statistics: Option<u64>,
    /// Steps from one checkpoint to the next; there is one behind every epoch in any case.
    pub checkpoint_steps: Option<u64>,
    /// What reacts to the results of epochs.
    pub watchers: Watchers,
}

/// What reacts to the results of epochs, and how far it is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Watchers {
    /// Ends training when nothing gets better.
    pub early_stopping: Option<EarlyStopping>,
    /// Lowers the learning rate when nothing gets better.
    pub reduce_learning_rate: Option<ReduceLrOnPlateau>,
}

impl Default for FitOptions {
    /// One epoch of shuffled batches of 32.
    fn default() -> FitOptions {
        FitOptions {
            epochs: 1,
            batch_size: 32,
            shuffle: true,
            class_weights: None,
            freeze_batch_statistics: None,
            checkpoint_steps: None,
            watchers: Watchers::default(),
        }
    }
}

/// How far training has come: what [`fit`] begins with and goes on from.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Position {
    /// Epochs that are complete.
    pub epoch: usize,
    /// Steps of the next epoch that are done.
    pub step: usize,
    /// Loss of these steps.
    pub loss: Mean,
    /// Losses of single outputs and metrics of these steps, in order.
    pub metrics: Vec<Gathered>,
    /// What complete epochs have shown.
    pub history: Vec<EpochReport>,
    /// The watchers as complete epochs have left them; `None` before the first.
    pub watchers: Option<Watchers>,
    /// Whether early stopping has ended training.
    pub stopped: bool,
    /// The values of all parameters behind the best epoch, where training is to end with them.
    #[serde(skip)]
    pub best: Option<Vec<Vec<f32>>>,
}

/// What an epoch has shown.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct EpochReport {
    /// Mean loss of the training samples, each measured before the step that it was part of.
    pub loss: f64,
    /// Losses of single outputs, where there are several, and metrics of the training samples, by name.
    pub metrics: Vec<(String, f64)>,
    /// Loss of the validation samples after the epoch.
    pub val_loss: Option<f64>,
    /// The same of the validation samples.
    pub val_metrics: Vec<(String, f64)>,
    /// Learning rate of the epoch's last step.
    pub learning_rate: f32,
    /// The share of the weights that pruning looks at which are pruned at its end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sparsity: Option<f64>,
    /// Wall time.
    pub seconds: f64,
}

/// What a step has shown.
#[derive(Clone, Debug)]
pub struct StepReport<'a> {
    /// The epoch, from 0.
    pub epoch: usize,
    /// Steps of this epoch that are done.
    pub step: usize,
    /// Steps of an epoch.
    pub steps: usize,
    /// Samples of the step.
    pub samples: usize,
    /// Loss and metrics of this epoch so far.
    pub measures: &'a Measures,
    /// Wall time of the step.
    pub seconds: f64,
}

/// Whether to go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// Go on.
    Continue,
    /// End here, with a checkpoint.
    Stop,
}

/// What happens along the way.
pub trait Hooks {
    /// Before every step: weights may be changed.
    ///
    /// # Errors
    /// If that fails, which ends training.
    fn before_step(&mut self, _trainer: &mut Trainer) -> Result<(), TrainError> {
        Ok(())
    }

    /// Behind the optimizer's part of every step: weights may be changed.
    ///
    /// # Errors
    /// If that fails, which ends training.
    fn after_step(&mut self, _trainer: &mut Trainer) -> Result<(), TrainError> {
        Ok(())
    }

    /// The share of weights that are pruned as it is now, for the report of an epoch.
    fn sparsity(&self) -> Option<f64> {
        None
    }

    /// Behind every step.
    fn on_step(&mut self, report: &StepReport<'_>) -> Flow;

    /// Behind every epoch.
    fn on_epoch(&mut self, epoch: usize, report: &EpochReport) -> Flow;

    /// Where all that is needed to go on from here is to be kept.
    ///
    /// # Errors
    /// If it cannot be kept, which ends training.
    fn on_checkpoint(&mut self, checkpoint: &Checkpoint<'_>) -> Result<(), TrainError>;
}

/// Trains from `position` on; the same data, options and seed give the same weights, bit for bit, whether
/// or not training was interrupted at a checkpoint in between. Returns where it has ended.
///
/// # Errors
/// If data do not fit the model, a loss is no number, memory does not suffice, or a hook fails. The last
/// checkpoint then still stands.
pub fn fit(
    trainer: &mut Trainer,
    data: &Dataset,
    validation: Option<&Dataset>,
    options: &FitOptions,
    position: Position,
    hooks: &mut dyn Hooks,
) -> Result<Position, TrainError> {
    let mut run = Run { trainer, data, validation, options, position, hooks };
    let mut flow = Flow::Continue;
    while flow == Flow::Continue && run.position.epoch < options.epochs && !run.position.stopped {
        flow = run.epoch()?;
    }
    // Whoever is interrupted goes on from where the weights are.
    let complete = run.position.epoch == options.epochs || run.position.stopped;
    if complete && let Some(best) = run.position.best.take() {
        run.trainer.numbers_mut().zip(best).for_each(|(own, best)| *own = best);
    }
    Ok(run.position)
}

struct Run<'a> {
    trainer: &'a mut Trainer,
    data: &'a Dataset,
    validation: Option<&'a Dataset>,
    options: &'a FitOptions,
    position: Position,
    hooks: &'a mut dyn Hooks,
}

impl Run<'_> {
    /// The rest of an epoch.
    fn epoch(&mut self) -> Result<Flow, TrainError> {
        let start = Instant::now();
        let epoch = self.position.epoch;
        let order = match self.options.shuffle {
            true => permutation(self.trainer.setup().seed, epoch as u64, self.data.len()),
            false => (0..self.data.len()).collect(),
        };
        let steps = order.len().div_ceil(self.options.batch_size);
        let done = (self.position.step * self.options.batch_size).min(order.len());
        let mut measures = self.measures();
        for batch in self.data.batches_of(order[done..].to_vec(), self.options.batch_size)? {
            let flow = self.step(&batch?, steps, &mut measures)?;
            if flow == Flow::Stop && self.position.step < steps {
                self.checkpoint()?;
                return Ok(Flow::Stop);
            }
        }
        let report = self.report(&measures, start)?;
        let stop = self.watch(epoch, &report)?;
        self.position.history.push(report.clone());
        let Position { history, watchers, best, .. } = std::mem::take(&mut self.position);
        self.position =
            Position { epoch: epoch + 1, history, watchers, best, stopped: stop, ..Position::default() };
        self.checkpoint()?;
        let flow = self.hooks.on_epoch(epoch, &report);
        Ok(if stop { Flow::Stop } else { flow })
    }

    /// Shows an epoch to the watchers; returns whether training is to end.
    fn watch(&mut self, epoch: usize, report: &EpochReport) -> Result<bool, TrainError> {
        let mut watchers = self.position.watchers.take().unwrap_or_else(|| self.options.watchers.clone());
        let mut stop = false;
        if let Some(early) = &mut watchers.early_stopping {
            let (value, direction) = self.watched(early.monitor(), report)?;
            let verdict = early.observe(epoch as u64, value, direction);
            if verdict.keep_weights && early.restores_best_weights() {
                self.position.best = Some(self.trainer.numbers().map(<[f32]>::to_vec).collect());
            }
            stop = verdict.stop;
        }
        if let Some(reduce) = &mut watchers.reduce_learning_rate {
            let (value, direction) = self.watched(reduce.monitor(), report)?;
            let rate = self.trainer.optimizer().learning_rate();
            if let Some(rate) = reduce.observe(value, direction, rate) {
                self.trainer.optimizer_mut().set_learning_rate(rate)?;
            }
        }
        self.position.watchers = Some(watchers);
        Ok(stop)
    }

    /// What an epoch has shown under a name.
    fn watched(&self, name: &str, report: &EpochReport) -> Result<(f64, Direction), TrainError> {
        let measures = Measures::new(&self.trainer.setup().objectives);
        let find = |list: &[(String, f64)], name: &str| {
            list.iter().find(|(own, _)| own == name).map(|(_, value)| (*value, measures.direction(name)))
        };
        let found = match name.strip_prefix("val_") {
            Some("loss") => report.val_loss.map(|loss| (loss, Direction::Down)),
            Some(name) => find(&report.val_metrics, name),
            None if name == "loss" => Some((report.loss, Direction::Down)),
            None => find(&report.metrics, name),
        };
        found.ok_or_else(|| TrainError::Watched(name.to_owned()))
    }

    /// One step, its report, and perhaps a checkpoint.
    fn step(&mut self, batch: &DataBatch, steps: usize, measures: &mut Measures) -> Result<Flow, TrainError> {
        let start = Instant::now();
        let iterations = self.trainer.iterations();
        let frozen = self.options.freeze_batch_statistics.is_some_and(|step| iterations >= step);
        if frozen {
            self.trainer.use_batch_statistics(false);
        }
        let prepared = Prepared::new(batch, self.trainer, self.options.class_weights.as_ref())?;
        self.hooks.before_step(self.trainer)?;
        let learnt = prepared.show(|samples| self.trainer.train(samples, measures));
        learnt.map_err(|error| error.of_samples(&batch.indices))?;
        self.hooks.after_step(self.trainer)?;
        self.position.step += 1;
        self.position.loss = measures.loss;
        self.position.metrics = measures.gathered();
        let report = StepReport {
            epoch: self.position.epoch,
            step: self.position.step,
            steps,
            samples: batch.len(),
            measures,
            seconds: start.elapsed().as_secs_f64(),
        };
        let flow = self.hooks.on_step(&report);
        let due = self
            .options
            .checkpoint_steps
            .is_some_and(|steps| self.trainer.iterations().is_multiple_of(steps.max(1)));
        if due && self.position.step < steps {
            self.checkpoint()?;
        }
        Ok(flow)
    }

    /// What the steps of this epoch that are done have shown.
    fn measures(&self) -> Measures {
        let mut measures = Measures::new(&self.trainer.setup().objectives);
        measures.loss = self.position.loss;
        measures.restore(&self.position.metrics);
        measures
    }

    fn report(&mut self, measures: &Measures, start: Instant) -> Result<EpochReport, TrainError> {
        let learning_rate = self.trainer.optimizer().learning_rate();
        let validated = match self.validation {
            Some(data) => {
                Some(evaluate(self.trainer, data, self.options.batch_size, &mut |_| Flow::Continue)?)
            }
            None => None,
        };
        Ok(EpochReport {
            loss: measures.loss.result(),
            metrics: measures.named(),
            val_loss: validated.as_ref().map(|validated| validated.loss.result()),
            val_metrics: validated.map_or_else(Vec::new, |validated| validated.named()),
            learning_rate,
            sparsity: self.hooks.sparsity(),
            seconds: start.elapsed().as_secs_f64(),
        })
    }

    fn checkpoint(&mut self) -> Result<(), TrainError> {
        let checkpoint = Checkpoint { position: &self.position, trainer: self.trainer };
        self.hooks.on_checkpoint(&checkpoint)
    }
}

/// Measures a model on a data set. Behind every batch, `on_batch` is told how many samples it had, and may end
/// it there.
///
/// # Errors
/// If data do not fit the model, or memory does not suffice.
pub fn evaluate(
    trainer: &mut Trainer,
    data: &Dataset,
    batch_size: usize,
    on_batch: &mut dyn FnMut(usize) -> Flow,
) -> Result<Measures, TrainError> {
    let mut measures = Measures::new(&trainer.setup().objectives);
    for batch in data.batches(batch_size)? {
        let batch = batch?;
        let prepared = Prepared::new(&batch, trainer, None)?;
        let measured = prepared.show(|samples| trainer.evaluate(samples, &mut measures));
        measured.map_err(|error| error.of_samples(&batch.indices))?;
        if on_batch(batch.len()) == Flow::Stop {
            break;
        }
    }
    Ok(measures)
}

/// A batch in the forms that a step takes.
struct Prepared {
    inputs: Vec<Array>,
    /// What each output should give, where it has a loss.
    targets: Vec<Option<OwnTargets>>,
    weights: Option<Vec<f32>>,
}

/// What an output should give.
enum OwnTargets {
    Labels(Vec<u32>),
    Values { shape: Vec<usize>, values: Vec<f32> },
}

impl OwnTargets {
    fn new(target: &Target) -> OwnTargets {
        match &target.labels {
            Some(labels) => OwnTargets::Labels(labels.clone()),
            None => {
                let array = array(&target.values);
                OwnTargets::Values { shape: array.shape.clone(), values: array.floats().into_owned() }
            }
        }
    }

    fn view(&self) -> Targets<'_> {
        match self {
            OwnTargets::Labels(labels) => Targets::Labels(labels),
            OwnTargets::Values { shape, values } => Targets::Values { shape, values },
        }
    }
}

impl Prepared {
    fn new(
        batch: &DataBatch,
        trainer: &Trainer,
        class_weights: Option<&ClassWeights>,
    ) -> Result<Prepared, TrainError> {
        let objectives = &trainer.setup().objectives;
        let own = |objective: &Objective| {
            if objective.loss.is_none() {
                return Ok(None);
            }
            let named = || batch.targets.iter().find(|target| target.name() == Some(&objective.output));
            // What has one output only needs no names.
            let target = if objectives.len() == 1 { batch.targets.first() } else { named() };
            let target = target.ok_or_else(|| TrainError::NoTargets(objective.output.clone()))?;
            Ok(Some(OwnTargets::new(target)))
        };
        let targets = objectives.iter().map(own).collect::<Result<Vec<_>, TrainError>>()?;
        let weights = match (class_weights, &targets[..]) {
            (None, _) => None,
            (Some(weights), [Some(targets)]) => {
                Some(weights.of_samples(&targets.view()).ok_or(TrainError::ClassWeights)?)
            }
            (Some(_), _) => return Err(TrainError::ClassWeights),
        };
        Ok(Prepared { inputs: arrays(batch), targets, weights })
    }

    /// Calls `step` with the batch.
    fn show<T>(&self, step: impl FnOnce(&Samples<'_>) -> T) -> T {
        let targets: Vec<Option<Targets<'_>>> =
            self.targets.iter().map(|targets| targets.as_ref().map(OwnTargets::view)).collect();
        step(&Samples { inputs: &self.inputs, targets: &targets, weights: self.weights.as_deref() })
    }
}

/// The inputs of a batch in the form that models take.
#[must_use]
pub fn arrays(batch: &DataBatch) -> Vec<Array> {
    batch.inputs.iter().map(array).collect()
}

fn array(array: &litesmith_data::Array) -> Array {
    let dtype = match array.dtype() {
        ElementType::F32 => DType::F32,
        ElementType::F64 => DType::F64,
        ElementType::F16 => DType::F16,
        ElementType::I8 => DType::I8,
        ElementType::U8 => DType::U8,
        ElementType::I16 => DType::I16,
        ElementType::U16 => DType::U16,
        ElementType::I32 => DType::I32,
        ElementType::U32 => DType::U32,
        ElementType::I64 => DType::I64,
        ElementType::U64 => DType::U64,
        ElementType::Bool => DType::Bool,
    };
    Array { dtype, shape: array.shape().to_vec(), data: array.bytes().to_vec() }
}
