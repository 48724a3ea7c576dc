//! Options as the Python files write them: JSON.

use std::collections::BTreeMap;

use litesmith::{
    ClassWeights, ConvertOptions, DataOptions, InterfaceType, Loss, Metric, OptimizerConfig, PerOutput,
    PrunePolicy, PruneRecipe, PruneStructure, PruneTraining, Quantization, QuantizeAware, Ranges, Recipe,
    Repair, RunOptions, TrainOptions,
};
use pyo3::prelude::*;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::errors::misused;

/// Reads options.
pub(crate) fn read<T: DeserializeOwned>(text: &str) -> PyResult<T> {
    serde_json::from_str(text).map_err(misused)
}

/// How many threads compute.
pub(crate) fn run_options(threads: Option<usize>) -> RunOptions {
    threads.map_or_else(RunOptions::default, |threads| RunOptions::default().with_threads(threads))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Convert {
    quantize: String,
    input_type: Option<String>,
    output_type: Option<String>,
    signature: Option<String>,
    #[serde(default)]
    tags: Vec<String>,
    #[serde(default)]
    recipe: Recipe,
    #[serde(default)]
    sparse: bool,
    /// Whether ranges are TensorFlow's, so that files can be compared.
    #[serde(default)]
    tensorflow_ranges: bool,
    threads: Option<usize>,
}

impl Convert {
    pub(crate) fn options(self, calibration: Option<DataOptions>) -> PyResult<ConvertOptions> {
        let mut options = ConvertOptions::new(quantization(&self.quantize)?);
        options.calibration = calibration;
        (options.signature, options.tags) = (self.signature, self.tags);
        options.input_type = self.input_type.map(|name| interface(&name)).transpose()?;
        options.output_type = self.output_type.map(|name| interface(&name)).transpose()?;
        (options.recipe, options.sparse) = (self.recipe, self.sparse);
        if self.tensorflow_ranges {
            (options.ranges, options.repair) = (Ranges::Tensorflow, Some(Repair::None));
        }
        options.run = run_options(self.threads);
        Ok(options)
    }
}

fn quantization(name: &str) -> PyResult<Quantization> {
    Ok(match name {
        "keep" => Quantization::Keep,
        "none" => Quantization::None,
        "dynamic" => Quantization::Dynamic,
        "float16" => Quantization::Float16,
        "int8" => Quantization::Int8,
        "int8-only" => Quantization::Int8Only,
        "int16x8" => Quantization::Int16x8,
        other => return Err(misused(format!("'{other}' is no mode"))),
    })
}

fn interface(name: &str) -> PyResult<InterfaceType> {
    Ok(match name {
        "float32" => InterfaceType::Float32,
        "int8" => InterfaceType::Int8,
        "uint8" => InterfaceType::Uint8,
        "int16" => InterfaceType::Int16,
        other => return Err(misused(format!("'{other}' is no type of inputs or outputs"))),
    })
}

/// What holds for all outputs, and for single ones.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Each {
    all: Option<Value>,
    #[serde(default)]
    named: BTreeMap<String, Value>,
}

impl Each {
    fn read<T, E: std::fmt::Display>(self, read: impl Fn(&Value) -> Result<T, E>) -> PyResult<PerOutput<T>> {
        let read = |value: &Value| {
            read(value).map_err(|error| pyo3::exceptions::PyValueError::new_err(error.to_string()))
        };
        let mut outputs = PerOutput::default();
        if let Some(all) = &self.all {
            outputs.set(None, read(all)?);
        }
        for (name, value) in &self.named {
            outputs.set(Some(name), read(value)?);
        }
        Ok(outputs)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Train {
    optimizer: Option<Value>,
    learning_rate: Option<f64>,
    losses: Option<Each>,
    loss_weights: Option<Each>,
    metrics: Option<Each>,
    #[serde(default)]
    validation_split: f64,
    epochs: usize,
    batch_size: usize,
    shuffle: bool,
    class_weights: Option<ClassWeights>,
    seed: u64,
    quantize_aware: Option<Recipe>,
    prune: Option<Prune>,
    threads: Option<usize>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Prune {
    initial_sparsity: Option<f32>,
    sparsity: f32,
    policy: PrunePolicy,
    structure: PruneStructure,
    recipe: PruneRecipe,
    begin: u64,
    end: Option<u64>,
    frequency: u64,
    power: f32,
}

impl Prune {
    fn options(self) -> PruneTraining {
        let mut prune = PruneTraining::new(self.initial_sparsity, self.sparsity);
        (prune.policy, prune.structure, prune.recipe) = (self.policy, self.structure, self.recipe);
        (prune.begin, prune.end) = (self.begin, self.end);
        (prune.frequency, prune.power) = (Some(self.frequency), self.power);
        prune
    }
}

/// Quantization-aware training by a recipe.
pub(crate) fn aware(recipe: Recipe) -> QuantizeAware {
    let mut aware = QuantizeAware::default();
    aware.recipe = recipe;
    aware
}

impl Train {
    pub(crate) fn options(
        self,
        data: DataOptions,
        validation: Option<DataOptions>,
    ) -> PyResult<TrainOptions> {
        let mut options = TrainOptions::new(data);
        options.validation = validation;
        options.validation_split = self.validation_split;
        let wrong =
            |error: litesmith::ConfigError| pyo3::exceptions::PyValueError::new_err(error.to_string());
        options.optimizer =
            self.optimizer.map(|value| OptimizerConfig::from_json(&value).map_err(wrong)).transpose()?;
        options.learning_rate = self.learning_rate;
        if let Some(losses) = self.losses {
            options.losses = losses.read(Loss::from_json)?;
        }
        if let Some(weights) = self.loss_weights {
            options.loss_weights = weights.read(|value| value.as_f64().ok_or("a weight is a number"))?;
        }
        if let Some(metrics) = self.metrics {
            options.metrics = metrics.read(|value| {
                value.as_array().into_iter().flatten().map(Metric::from_json).collect::<Result<Vec<_>, _>>()
            })?;
        }
        let fit = &mut options.fit;
        (fit.epochs, fit.batch_size, fit.shuffle) = (self.epochs, self.batch_size, self.shuffle);
        fit.class_weights = self.class_weights;
        options.seed = self.seed;
        options.quantize_aware = self.quantize_aware.map(aware);
        options.prune = self.prune.map(Prune::options);
        options.run = run_options(self.threads);
        Ok(options)
    }
}
