use bytes::Bytes;
use litesmith_data::Dataset;
use litesmith_formats::keras;
use litesmith_graph::ops::{Softmax, Unary, UnaryKind};
use litesmith_graph::{Format, Model, Op};
use litesmith_runtime::Options as RunOptions;
use litesmith_train::{
    CompileConfig, ConfigError, FitOptions, Loss, LossKind, Metric, MetricKind, OptimizerConfig, Setup,
};
use serde_json::Value;

use crate::error::Error;
use crate::feed::DataOptions;
use crate::train::{PruneTraining, QuantizeAware};

/// How a model is trained.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct TrainOptions {
    /// What it learns from: labelled samples.
    pub data: DataOptions,
    /// What it is validated on behind every epoch; left out: the last ones of `data`, if
    /// `validation_split` asks for some.
    pub validation: Option<DataOptions>,
    /// Share of the samples, from the end, that validate instead of being learnt from; below 1.
    pub validation_split: f64,
    /// Epochs, batches, class weights.
    pub fit: FitOptions,
    /// Left out: the one that the file was compiled with, else Adam.
    pub optimizer: Option<OptimizerConfig>,
    /// Changes the optimizer's learning rate.
    pub learning_rate: Option<f64>,
    /// Left out: the one that the file was compiled with, else cross-entropy for labels and the mean
    /// squared error for other targets.
    pub loss: Option<Loss>,
    /// Left out: those that the file was compiled with, else accuracy for labels.
    pub metrics: Option<Vec<Metric>>,
    /// Whether batch normalization keeps its running statistics and uses them: for fine-tuning on few
    /// samples.
    pub freeze_batch_norm: bool,
    /// Simulates integers, so that weights learn to live with them.
    pub quantize_aware: Option<QuantizeAware>,
    /// Makes the weights zero that matter least, more and more of them.
    pub prune: Option<PruneTraining>,
    /// What random numbers follow from.
    pub seed: u64,
    /// Whether the result says how long each operator of a step takes.
    pub profile: bool,
    /// Whether to go on from the checkpoint of an interrupted training.
    pub resume: bool,
    /// Threads, instruction set and memory.
    pub run: RunOptions,
}

impl TrainOptions {
    /// One epoch on these data.
    #[must_use]
    pub fn new(data: DataOptions) -> TrainOptions {
        TrainOptions {
            data,
            validation: None,
            validation_split: 0.0,
            fit: FitOptions::default(),
            optimizer: None,
            learning_rate: None,
            loss: None,
            metrics: None,
            freeze_batch_norm: false,
            quantize_aware: None,
            prune: None,
            seed: 0,
            profile: false,
            resume: false,
            run: RunOptions::default(),
        }
    }

    /// Steps of the whole training.
    pub(super) fn steps(&self, samples: usize) -> u64 {
        self.fit.epochs as u64 * samples.div_ceil(self.fit.batch_size.max(1)) as u64
    }

    /// How the epochs go. Simulated integers see the statistics that they will be used with: batch
    /// normalization keeps them in the second half.
    pub(super) fn fit_options(&self, samples: usize) -> FitOptions {
        let mut fit = self.fit.clone();
        if self.quantize_aware.is_some() && fit.freeze_batch_statistics.is_none() {
            fit.freeze_batch_statistics = Some(self.steps(samples) / 2);
        }
        fit
    }

    /// What these options, and how the file was compiled, mean for a model and its data.
    pub(super) fn setup(
        &self,
        model: &Model,
        data: &Dataset,
        compiled: Option<&Value>,
    ) -> Result<Setup, Error> {
        let compiled = Compiled { config: compiled, output: output_layer(model) };
        let optimizer = match &self.optimizer {
            Some(optimizer) => Some(optimizer.clone()),
            None => compiled.optimizer()?,
        };
        let mut optimizer = match optimizer {
            Some(optimizer) => optimizer,
            None => OptimizerConfig::from_json(&"adam".into()).map_err(unclear)?,
        };
        if let Some(rate) = self.learning_rate {
            optimizer.learning_rate = litesmith_train::Schedule::Constant(rate);
        }
        let loss = match &self.loss {
            Some(loss) => Some(loss.clone()),
            None => compiled.loss()?,
        };
        let loss = loss.unwrap_or_else(|| usual_loss(model, data));
        let metrics = match &self.metrics {
            Some(metrics) => Some(metrics.clone()),
            None => compiled.metrics()?,
        };
        let accuracy = data.labels().map(|_| vec![Metric::new("accuracy", MetricKind::Accuracy)]);
        let metrics = metrics.or(accuracy).unwrap_or_default();
        let mut setup =
            Setup::new(loss, optimizer).with_metrics(metrics).with_seed(self.seed).with_run(self.run.clone());
        setup.batch_statistics = !self.freeze_batch_norm;
        Ok(setup)
    }
}

/// How the file says that its model was compiled; each part is only looked at where nothing else is given.
struct Compiled<'a> {
    config: Option<&'a Value>,
    /// The name of the layer that the output comes from.
    output: String,
}

impl Compiled<'_> {
    fn optimizer(&self) -> Result<Option<OptimizerConfig>, Error> {
        let Some(config) = self.config else { return Ok(None) };
        CompileConfig::optimizer_of(config).map_err(unclear)
    }

    fn loss(&self) -> Result<Option<Loss>, Error> {
        let Some(config) = self.config else { return Ok(None) };
        let term = CompileConfig::losses_of(config, &[&self.output]).map_err(unclear)?.pop().flatten();
        match term {
            Some(term) if term.weight != 1.0 => Err(Error::Usage(format!(
                "the file weighs its loss by {}, which is not supported; choose a learning rate and give --loss",
                term.weight
            ))),
            term => Ok(term.map(|term| term.loss)),
        }
    }

    /// Both kinds: weights of samples make the difference, which metrics do not get here.
    fn metrics(&self) -> Result<Option<Vec<Metric>>, Error> {
        let Some(config) = self.config else { return Ok(None) };
        let mut all = Vec::new();
        for key in ["metrics", "weighted_metrics"] {
            let metrics = CompileConfig::metrics_of(config, key, &[&self.output]).map_err(unclear)?;
            all.extend(metrics.into_iter().flatten());
        }
        Ok((!all.is_empty()).then_some(all))
    }
}

fn unclear(error: ConfigError) -> Error {
    Error::Usage(format!("as the file was compiled, {error}"))
}

fn output_layer(model: &Model) -> String {
    let graph = model.main();
    let output = graph.outputs.first();
    let node = output.and_then(|output| graph.nodes.iter().find(|node| node.outputs.contains(output)));
    node.map(|node| node.name.clone()).unwrap_or_default()
}

/// Cross-entropy for labels, of probabilities or of logits as the model gives them; else the mean squared
/// error.
fn usual_loss(model: &Model, data: &Dataset) -> Loss {
    if data.labels().is_none() {
        return LossKind::MeanSquaredError.into();
    }
    let graph = model.main();
    let last = graph.outputs.first().and_then(|output| {
        let node = graph.nodes.iter().find(|node| node.outputs.contains(output))?;
        Some(&node.op)
    });
    let logistic = matches!(last, Some(Op::Unary(Unary { kind: UnaryKind::Logistic })));
    let one = graph.outputs.first().and_then(|output| graph[*output].shape.last()?.fixed()) == Some(1);
    if one {
        return LossKind::BinaryCrossentropy { from_logits: !logistic, label_smoothing: 0.0 }.into();
    }
    let from_logits = !matches!(last, Some(Op::Softmax(Softmax { log: false, .. })));
    LossKind::SparseCategoricalCrossentropy { from_logits, ignore_class: None }.into()
}

/// How the file says that its model was compiled.
pub(super) fn compile_config(original: &Bytes, format: Format) -> Result<Option<Value>, Error> {
    if format != Format::Keras {
        return Ok(None);
    }
    let Some(configuration) = keras::member(original, "config.json")? else { return Ok(None) };
    let mut configuration: Value = serde_json::from_slice(&configuration)
        .map_err(|error| Error::Broken(format!("the model's configuration: {error}")))?;
    Ok(configuration.get_mut("compile_config").map(Value::take).filter(|config| !config.is_null()))
}
