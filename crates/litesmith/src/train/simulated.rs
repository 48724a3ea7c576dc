//! Quantization-aware training: what is simulated where, and what of it is kept for the conversion.

use litesmith_data::Dataset;
use litesmith_graph::Model;
use litesmith_passes::{Target, legalize, optimize};
use litesmith_quantize::{
    Mode, Range, Recipe, Repair, Simulation, Statistics, calibrate, learnt_ranges, lower, place, simulation,
    unfused_name, without_simulation,
};
use litesmith_runtime::{Array, Interpreter, Options as RunOptions};
use litesmith_train::{Trainer, arrays};

use crate::error::Error;
use crate::learnt::Learnt;
use crate::observer::{Observer, go_on};
use crate::run::largest;
use crate::train::SimulatedParts;

/// Samples that one run of a calibration takes.
const BATCH: usize = 16;

/// How integers are simulated while a model is trained.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct QuantizeAware {
    /// What single layers become.
    pub recipe: Recipe,
    /// So many samples, the first ones, give the ranges to begin with.
    pub calibration_samples: usize,
    /// How much of its old range a tensor keeps in a step, below 1.
    pub decay: f32,
}

impl Default for QuantizeAware {
    /// Every layer to 8 bits; ranges from 256 samples, of which 0.99 stay in a step.
    fn default() -> QuantizeAware {
        QuantizeAware { recipe: Recipe::default(), calibration_samples: 256, decay: 0.99 }
    }
}

/// A model that simulates its own integer form.
pub(super) struct Simulated {
    source: Model,
    options: QuantizeAware,
    run: RunOptions,
    pub(super) model: Model,
    pub(super) parts: SimulatedParts,
}

impl Simulated {
    /// Simulates with the ranges that a model has learnt before, else with those of the first samples.
    pub(super) fn new(
        source: &Model,
        options: &QuantizeAware,
        learnt: Option<&Learnt>,
        data: &Dataset,
        run: &RunOptions,
        observer: &dyn Observer,
    ) -> Result<Simulated, Error> {
        if !(0.0..1.0).contains(&options.decay) {
            return Err(Error::Usage(format!("a decay of {} is none: it must be below 1", options.decay)));
        }
        let lowered = lowered(source, &options.recipe)?;
        let statistics = match learnt {
            Some(learnt) => learnt.statistics.clone(),
            None => measure(&lowered, options, data, run, observer)?,
        };
        let plan: Simulation = simulation(&lowered, &options.recipe, &statistics)?;
        let mut model = source.clone();
        let missing = place(&mut model, &plan, options.decay);
        if plan.layers.iter().all(|layer| missing.contains(&layer.output)) {
            return Err(Error::Usage(
                "no layer of the model can be quantized, so there is nothing to simulate".into(),
            ));
        }
        let (layers, tensors) = (plan.layers.len(), plan.activations.len());
        let layers = layers - plan.layers.iter().filter(|layer| missing.contains(&layer.output)).count();
        let tensors =
            tensors - plan.activations.iter().filter(|tensor| missing.contains(&tensor.name)).count();
        let parts = SimulatedParts { layers, tensors, missing };
        let (source, options, run) = (source.clone(), options.clone(), run.clone());
        Ok(Simulated { source, options, run, model, parts })
    }

    /// What is kept for the conversion of a model that has not been trained.
    pub(super) fn first_ranges(&self, data: &Dataset, observer: &dyn Observer) -> Result<Learnt, Error> {
        Ok(self.finish(&self.model, data, observer)?.1)
    }

    /// The source with the trained weights, and what is kept for its conversion.
    pub(super) fn finish(
        &self,
        trained: &Model,
        data: &Dataset,
        observer: &dyn Observer,
    ) -> Result<(Model, Learnt), Error> {
        let model = without_simulation(trained, &self.source);
        let lowered = lowered(&model, &self.options.recipe)?;
        // Tensors that came up when the model was optimized have no learnt range.
        let measured = measure(&lowered, &self.options, data, &self.run, observer)?;
        let mut ranges: Vec<(String, Range)> =
            measured.ranges.iter().map(|(name, range)| (name.clone(), *range)).collect();
        let learnt: std::collections::HashMap<String, Range> = learnt_ranges(trained).into_iter().collect();
        for (name, range) in &mut ranges {
            *range = learnt.get(unfused_name(name)).copied().unwrap_or(*range);
        }
        let recipe = self.options.recipe.clone();
        Ok((model, Learnt { recipe, statistics: Statistics::of_ranges(ranges) }))
    }
}

/// Samples on which simulated and true integers are compared.
const COMPARED: usize = 512;

/// The share of samples for which the integer model gives the class that the simulation gives: of the
/// output with a loss where it is least.
pub(super) fn agreement(
    trainer: &mut Trainer,
    model: &Model,
    learnt: &Learnt,
    data: &Dataset,
    run: &RunOptions,
    observer: &dyn Observer,
) -> Result<f64, Error> {
    let mut interpreter = Interpreter::new(&integer_model(model, learnt)?, run)?;
    let count = COMPARED.min(data.len());
    observer.stage("compare", count);
    let objectives = trainer.setup().objectives.iter().enumerate();
    let learnt = objectives.filter(|(_, objective)| objective.loss.is_some());
    let outputs: Vec<usize> = learnt.map(|(place, _)| place).collect();
    let mut same = vec![0; outputs.len()];
    for batch in data.batches_of((0..count).collect(), BATCH)? {
        go_on(observer)?;
        let batch = batch?;
        let inputs = arrays(&batch);
        let simulated = trainer.predict(&inputs)?;
        let computed = interpreter.run(&inputs)?;
        for ((same, output), simulated) in same.iter_mut().zip(&outputs).zip(&simulated) {
            let (simulated, computed) = (simulated.floats(), computed[*output].floats());
            let width = (simulated.len() / batch.len().max(1)).max(1);
            let rows = simulated.chunks_exact(width).zip(computed.chunks_exact(width));
            *same += rows.filter(|(a, b)| largest(a, 1) == largest(b, 1)).count();
        }
        (0..batch.len()).for_each(|_| observer.step());
    }
    Ok(same.into_iter().min().unwrap_or(0) as f64 / count.max(1) as f64)
}

/// The integer model that a conversion makes of one that has learnt these ranges.
pub(super) fn integer_model(model: &Model, learnt: &Learnt) -> Result<Model, Error> {
    let mut integer = lowered(model, &learnt.recipe)?;
    let mut options = litesmith_quantize::Options::new(Mode::Int8);
    options.repair = Repair::None;
    litesmith_quantize::quantize(&mut integer, &options, &learnt.recipe, Some(&learnt.statistics), None)?;
    Ok(integer)
}

/// The float model whose tensors become integers.
fn lowered(source: &Model, recipe: &Recipe) -> Result<Model, Error> {
    let mut model = source.clone();
    optimize(&mut model, &mut |_, _| {})?;
    legalize(&mut model, Target::Tflite)?;
    lower(&mut model, Mode::Int8, recipe)?;
    Ok(model)
}

/// What its tensors hold on the first samples.
fn measure(
    model: &Model,
    options: &QuantizeAware,
    data: &Dataset,
    run: &RunOptions,
    observer: &dyn Observer,
) -> Result<Statistics, Error> {
    let count = options.calibration_samples.clamp(1, data.len());
    observer.stage("calibrate", count);
    let mut interpreter = Interpreter::unplanned(model, run)?;
    let mut statistics = Statistics::new();
    for batch in data.batches_of((0..count).collect(), BATCH)? {
        go_on(observer)?;
        let batch = batch?;
        let inputs: Vec<Array> = arrays(&batch);
        calibrate(&mut interpreter, model, &inputs, &mut statistics, None)?;
        (0..batch.len()).for_each(|_| observer.step());
    }
    Ok(statistics)
}
