//! A model with its weights in training: single steps, forward and backward.

use std::borrow::Cow;

use litesmith_graph::{DType, Data, Model, ParameterId, TrainingOnly};
use litesmith_kernels::elementwise::{self, Unary};
use litesmith_kernels::{Isa, ThreadPool, softmax};
use litesmith_runtime::{Array, Options as RunOptions, TensorView, Training};

use crate::arrangement::Arrangement;
use crate::error::{TrainError, Unsupported};
use crate::loss::LastActivation;
use crate::objective::{Measures, Objective};
use crate::optimizer::{Optimizer, OptimizerConfig, Update, Variable};
use crate::program::{Outcome, Phase, Program, StepOptions, Use};
use crate::regularizer::penalty;
use crate::target::{Batch, Targets};

/// How a model is trained.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Setup {
    /// What is made small and measured, output by output of the model; the sum of all losses is made small.
    pub objectives: Vec<Objective>,
    /// How weights follow gradients.
    pub optimizer: OptimizerConfig,
    /// Whether batch normalization uses, and learns, the statistics of batches; else the running ones,
    /// which stay as they are.
    pub batch_statistics: bool,
    /// Whether a model is trained without what its layers do only while they are trained and the graph does
    /// not say ([`Model::training_only`]); else it is refused.
    pub skip_training_only: bool,
    /// What random numbers follow from.
    pub seed: u64,
    /// Threads, instruction set and memory.
    pub run: RunOptions,
}

impl Setup {
    /// With one objective for each output of the model, batch normalization learning, seed 0.
    #[must_use]
    pub fn new(objectives: Vec<Objective>, optimizer: OptimizerConfig) -> Setup {
        let run = RunOptions::default();
        Setup { objectives, optimizer, batch_statistics: true, skip_training_only: false, seed: 0, run }
    }

    /// With this seed.
    #[must_use]
    pub fn with_seed(mut self, seed: u64) -> Setup {
        self.seed = seed;
        self
    }

    /// Run like this.
    #[must_use]
    pub fn with_run(mut self, run: RunOptions) -> Setup {
        self.run = run;
        self
    }
}

/// Samples to learn from or to be measured by.
#[derive(Clone, Copy, Debug)]
pub struct Samples<'a> {
    /// One array for each input of the model, the samples along its first axis.
    pub inputs: &'a [Array],
    /// What each output of the model should give; those without a loss are not looked at.
    pub targets: &'a [Option<Targets<'a>>],
    /// A weight for each sample; 1 where left out.
    pub weights: Option<&'a [f32]>,
}

/// A model with its weights in training.
pub struct Trainer {
    setup: Setup,
    model: Model,
    /// The values of each parameter that a step reads, arranged as it reads them.
    values: Vec<Option<Values>>,
    optimizer: Optimizer,
    /// The parameters that the optimizer changes, in its order.
    trained: Vec<ParameterId>,
    steps: Vec<PlannedStep>,
}

struct Values {
    arrangement: Arrangement,
    numbers: Vec<f32>,
}

/// A step that is ready to run.
struct PlannedStep {
    batch: usize,
    phase: Phase,
    program: Program,
    run: Training,
    /// The loss' derivatives by the predictions.
    seeds: Vec<Array>,
}

/// Most steps that are kept ready: whole and last batches of training and of validation.
const MOST_STEPS: usize = 4;

impl Trainer {
    /// Prepares a model for batches of this size.
    ///
    /// # Errors
    /// If the model cannot be trained: all layers that have no gradient are listed.
    pub fn new(model: Model, setup: Setup, batch: usize) -> Result<Trainer, TrainError> {
        let (outputs, objectives) = (model.main().outputs.len(), setup.objectives.len());
        if outputs != objectives {
            return Err(TrainError::Outputs { outputs, objectives });
        }
        if setup.objectives.iter().all(|objective| objective.loss.is_none()) {
            return Err(TrainError::NoLoss);
        }
        if !setup.skip_training_only && !model.training_only.is_empty() {
            return Err(TrainError::Unsupported(model.training_only.iter().map(only_in_training).collect()));
        }
        let optimizer = Optimizer::new(setup.optimizer.clone(), []);
        let values = model.parameters.iter().map(|_| None).collect();
        let (trained, steps) = (Vec::new(), Vec::new());
        let mut trainer = Trainer { setup, model, values, optimizer, trained, steps };
        let first = trainer.planned(batch, Phase::Train)?;
        let program = &trainer.steps[first].program;
        let mut trained: Vec<ParameterId> =
            program.results.iter().filter_map(|outcome| outcome.gradient_of(program)).collect();
        trained.sort_unstable();
        if trained.is_empty() {
            return Err(TrainError::NothingToTrain);
        }
        let variables: Vec<Variable> = trained.iter().filter_map(|id| trainer.variable(*id)).collect();
        trainer.optimizer = Optimizer::new(trainer.setup.optimizer.clone(), variables);
        trainer.trained = trained;
        Ok(trainer)
    }

    fn variable(&self, id: ParameterId) -> Option<Variable> {
        let parameter = self.model.parameter(id)?;
        let len = self.values.get(id.0 as usize)?.as_ref()?.numbers.len();
        // Layers of nested models may share a name; numbers tell all apart.
        let name = format!("{}/{}/{}", id.0, parameter.origin.layer, parameter.origin.variable);
        Some(Variable { name, len, regularizer: parameter.regularizer })
    }

    /// How it is trained.
    #[must_use]
    pub fn setup(&self) -> &Setup {
        &self.setup
    }

    /// Number of steps so far.
    #[must_use]
    pub fn iterations(&self) -> u64 {
        self.optimizer.iterations()
    }

    /// The optimizer, with what it keeps from step to step.
    #[must_use]
    pub fn optimizer(&self) -> &Optimizer {
        &self.optimizer
    }

    /// The optimizer, to change its learning rate or to restore what it kept.
    pub fn optimizer_mut(&mut self) -> &mut Optimizer {
        &mut self.optimizer
    }

    /// Lets batch normalization learn the statistics of batches from now on, or not any more.
    pub fn use_batch_statistics(&mut self, learn: bool) {
        if self.setup.batch_statistics != learn {
            self.setup.batch_statistics = learn;
            self.steps.retain(|step| step.phase != Phase::Train);
        }
    }

    /// Learns from a batch, and measures it as it was before.
    ///
    /// # Errors
    /// If samples do not fit the model, the loss is no number, or memory does not suffice. The weights
    /// are then as they were.
    pub fn train(&mut self, samples: &Samples<'_>, measures: &mut Measures) -> Result<f64, TrainError> {
        let count = batch_size(samples);
        let index = self.planned(count, Phase::Train)?;
        let loss = self.forward(index, samples, measures, true)?;
        self.backward(index)?;
        self.update(index)?;
        Ok(loss)
    }

    /// Measures a batch.
    ///
    /// # Errors
    /// If samples do not fit the model, or memory does not suffice.
    pub fn evaluate(&mut self, samples: &Samples<'_>, measures: &mut Measures) -> Result<f64, TrainError> {
        let index = self.planned(batch_size(samples), Phase::Evaluate)?;
        self.forward(index, samples, measures, false)
    }

    /// What the model gives for a batch, as it stands: simulated integers, where there are some, included.
    /// One array for each output that has a loss, in order.
    ///
    /// # Errors
    /// If samples do not fit the model, or memory does not suffice.
    pub fn predict(&mut self, inputs: &[Array]) -> Result<Vec<Array>, TrainError> {
        let batch = inputs.first().and_then(|input| input.shape.first().copied()).unwrap_or(0);
        let index = self.planned(batch, Phase::Evaluate)?;
        let PlannedStep { program, run, .. } = &mut self.steps[index];
        run.forward(inputs, &variables(program, &self.values))?;
        let predictions = program.predictions.iter().enumerate().map(|(place, prediction)| {
            let values = run.prediction(place);
            let activated = activated(prediction.cut, run.isa(), run.pool(), &values);
            let numbers = activated.map_or_else(|| values.floats(), Cow::Owned);
            Array::from_f32(values.shape, &numbers)
        });
        Ok(predictions.collect())
    }

    /// The model with the weights as they are now.
    #[must_use]
    pub fn model(&self) -> Model {
        let mut model = self.model.clone();
        for (parameter, values) in model.parameters.iter_mut().zip(&self.values) {
            if let Some(values) = values {
                let numbers = values.arrangement.undo(self.pool(), values.numbers.clone());
                parameter.data = Data::from_vec(numbers);
            }
        }
        model
    }

    /// The values of a parameter in the source's layout; `None` where no step reads it.
    #[must_use]
    pub fn weights(&self, id: ParameterId, pool: &ThreadPool) -> Option<Vec<f32>> {
        let values = self.values.get(id.0 as usize)?.as_ref()?;
        Some(values.arrangement.undo(pool, values.numbers.clone()))
    }

    /// Elements in the source's layout of a parameter, in the order of [`Trainer::weights_mut`].
    #[must_use]
    pub fn arranged<T: Copy + Default + Send + Sync>(
        &self,
        id: ParameterId,
        elements: Vec<T>,
        pool: &ThreadPool,
    ) -> Option<Vec<T>> {
        let values = self.values.get(id.0 as usize)?.as_ref()?;
        (elements.len() == values.numbers.len()).then(|| values.arrangement.apply(pool, elements))
    }

    /// The values of a parameter, to be changed between steps, in the order in which steps read them: see
    /// [`Trainer::arranged`].
    pub fn weights_mut(&mut self, id: ParameterId) -> Option<&mut [f32]> {
        Some(&mut self.values.get_mut(id.0 as usize)?.as_mut()?.numbers)
    }

    /// The values of all parameters in training, in the order of the model's.
    pub(crate) fn numbers(&self) -> impl Iterator<Item = &[f32]> {
        self.values.iter().flatten().map(|values| values.numbers.as_slice())
    }

    /// The same, to be restored.
    pub(crate) fn numbers_mut(&mut self) -> impl Iterator<Item = &mut Vec<f32>> {
        self.values.iter_mut().flatten().map(|values| &mut values.numbers)
    }

    /// Seconds that each operator has taken, and its name, for profiles.
    pub fn times(&self) -> impl Iterator<Item = (String, &'static str, f64)> + '_ {
        self.steps.iter().filter(|step| step.phase == Phase::Train).flat_map(|step| step.run.times())
    }

    fn pool(&self) -> &ThreadPool {
        self.steps[0].run.pool()
    }

    /// The place of a step of this size, prepared the first time.
    fn planned(&mut self, batch: usize, phase: Phase) -> Result<usize, TrainError> {
        let ready = self.steps.iter().position(|step| step.batch == batch && step.phase == phase);
        if let Some(index) = ready {
            return Ok(index);
        }
        let options = StepOptions {
            batch,
            phase,
            batch_statistics: self.setup.batch_statistics,
            seed: self.setup.seed,
            outputs: self.setup.objectives.iter().map(used).collect(),
        };
        let program = Program::new(&self.model, &options)?;
        let run = Training::new(&program.model, program.roles, &self.setup.run)?;
        for (parameter, arrangement) in &program.variables {
            self.take_up(*parameter, arrangement, run.pool())?;
        }
        if self.steps.len() >= MOST_STEPS {
            // The first one is that of whole batches.
            self.steps.remove(1);
        }
        self.steps.push(PlannedStep { batch, phase, program, run, seeds: Vec::new() });
        Ok(self.steps.len() - 1)
    }

    /// Takes a parameter's values up from the model, the first time.
    fn take_up(
        &mut self,
        id: ParameterId,
        arrangement: &Arrangement,
        pool: &ThreadPool,
    ) -> Result<(), TrainError> {
        let (Some(slot), Some(parameter)) = (self.values.get_mut(id.0 as usize), self.model.parameter(id))
        else {
            return Ok(());
        };
        if slot.is_none() {
            if parameter.dtype != DType::F32 {
                let (layer, variable) = (parameter.origin.layer.clone(), parameter.origin.variable.clone());
                return Err(TrainError::WeightType(format!("{layer}/{variable}"), parameter.dtype));
            }
            let numbers = arrangement.apply(pool, parameter.data.elements::<f32>().into_owned());
            *slot = Some(Values { arrangement: arrangement.clone(), numbers });
        }
        debug_assert!(slot.as_ref().is_some_and(|values| values.arrangement == *arrangement));
        Ok(())
    }

    /// Runs the forward half; the seed of the backward half is then there, if wanted.
    fn forward(
        &mut self,
        index: usize,
        samples: &Samples<'_>,
        measures: &mut Measures,
        differentiate: bool,
    ) -> Result<f64, TrainError> {
        let penalties = self.penalties(index);
        let iteration = self.optimizer.iterations();
        let PlannedStep { program, run, seeds, .. } = &mut self.steps[index];
        let variables = variables(program, &self.values);
        let mut inputs = samples.inputs.to_vec();
        if program.counts_steps {
            inputs.push(Array::from_i64(&[1], &[iteration.cast_signed()]));
        }
        run.forward(&inputs, &variables)?;
        seeds.clear();
        let mut total = penalties;
        for (place, prediction) in program.predictions.iter().enumerate() {
            let view = run.prediction(place);
            let numbers = view.floats();
            let (objective, output) = (&self.setup.objectives[prediction.output], prediction.output);
            let targets = samples.targets.get(output).copied().flatten();
            let targets = targets.ok_or_else(|| TrainError::NoTargets(objective.output.clone()))?;
            let batch = Batch { shape: view.shape, predictions: &numbers, targets, weights: samples.weights };
            let logits = prediction.cut.is_some();
            let value = if differentiate {
                let mut seed = vec![0.0; numbers.len()];
                let value = objective.value_and_gradient(run.pool(), &batch, logits, &mut seed)?;
                seeds.push(Array::from_f32(view.shape, &seed));
                value
            } else {
                objective.value(run.pool(), &batch, logits)?
            };
            total += value * objective.weight;
            let activated = activated(prediction.cut, run.isa(), run.pool(), &view);
            // Keras' metrics count every sample alike.
            let predictions = activated.as_deref().unwrap_or(&numbers);
            measures.outputs[output].add(value, &Batch { predictions, weights: None, ..batch })?;
        }
        measures.loss.add(total, batch_size(samples) as f64);
        Ok(total)
    }

    /// What regularizers add to the loss.
    fn penalties(&self, index: usize) -> f64 {
        let step = &self.steps[index];
        let penalties = step.program.variables.iter().filter_map(|(id, _)| {
            let regularizer = self.model.parameter(*id)?.regularizer?;
            let values = self.values.get(id.0 as usize)?.as_ref()?;
            Some(penalty(step.run.isa(), step.run.pool(), &regularizer, &values.numbers))
        });
        penalties.sum()
    }

    fn backward(&mut self, index: usize) -> Result<(), TrainError> {
        let PlannedStep { program, run, seeds, .. } = &mut self.steps[index];
        let variables = variables(program, &self.values);
        Ok(run.backward(seeds, &variables)?)
    }

    /// Lets weights follow their gradients, and averages what they are averages of.
    fn update(&mut self, index: usize) -> Result<(), TrainError> {
        let PlannedStep { program, run, .. } = &self.steps[index];
        let mut gradients: Vec<Option<Cow<'_, [f32]>>> = vec![None; self.values.len()];
        let mut averages = Vec::new();
        for (index, outcome) in program.results.iter().enumerate() {
            let numbers = run.result(index).floats();
            match outcome {
                Outcome::Gradient(_) => {
                    if let Some(ParameterId(id)) = outcome.gradient_of(program) {
                        gradients[id as usize] = Some(numbers);
                    }
                }
                Outcome::Statistic(id, momentum) => averages.push((*id, *momentum, numbers)),
                Outcome::Value(id) => averages.push((*id, 0.0, numbers)),
            }
        }
        let parameters = self.values.iter_mut().zip(&gradients);
        let mut updates: Vec<Update<'_>> = parameters
            .filter_map(|(values, gradient)| {
                let (Some(values), Some(gradient)) = (values, gradient) else { return None };
                Some(Update { parameter: &mut values.numbers, gradient })
            })
            .collect();
        self.optimizer.step(run.isa(), run.pool(), &mut updates)?;
        for (ParameterId(id), momentum, new) in averages {
            average(&mut self.values, id as usize, momentum, &new);
        }
        Ok(())
    }
}

fn only_in_training(note: &TrainingOnly) -> Unsupported {
    let TrainingOnly { layer, class, what } = note;
    let reason =
        format!("{what} while it is trained, which is not done here; --skip-training-only trains without");
    Unsupported { layer: layer.clone(), operator: class.clone(), reason }
}

/// What the output of an objective is for.
fn used(objective: &Objective) -> Use {
    objective.loss.as_ref().map_or(Use::None, |loss| Use::Loss(loss.kind.undoes()))
}

/// Takes `new` into a parameter that is a moving average with this share of the old one.
fn average(values: &mut [Option<Values>], id: usize, momentum: f32, new: &[f32]) {
    let Some(values) = &mut values[id] else { return };
    for (old, new) in values.numbers.iter_mut().zip(new) {
        *old = *old * momentum + *new * (1.0 - momentum);
    }
}

/// The bytes of the variables of a step, in its order.
fn variables<'a>(program: &Program, values: &'a [Option<Values>]) -> Vec<&'a [u8]> {
    let bytes = |id: &ParameterId| match &values[id.0 as usize] {
        Some(values) => bytemuck::cast_slice(&values.numbers),
        None => &[],
    };
    program.variables.iter().map(|(id, _)| bytes(id)).collect()
}

fn batch_size(samples: &Samples<'_>) -> usize {
    samples.inputs.first().and_then(|input| input.shape.first().copied()).unwrap_or(0)
}

/// What the activation that was cut off would have made of the predictions.
fn activated(
    cut: Option<LastActivation>,
    isa: Isa,
    pool: &ThreadPool,
    prediction: &TensorView<'_>,
) -> Option<Vec<f32>> {
    let logits = prediction.floats();
    let mut activated = vec![0.0; logits.len()];
    match cut? {
        LastActivation::Softmax => {
            let classes = prediction.shape.last().copied().unwrap_or(1).max(1);
            softmax::softmax(isa, pool, [logits.len() / classes, classes, 1], 1.0, &logits, &mut activated);
        }
        LastActivation::Sigmoid => elementwise::unary(isa, pool, Unary::Logistic, &logits, &mut activated),
    }
    Some(activated)
}
