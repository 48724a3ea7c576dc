use std::collections::BTreeMap;

use bytes::Bytes;
use litesmith_data::{Dataset, Target};
use litesmith_formats::keras;
use litesmith_graph::ops::{Softmax, Unary, UnaryKind};
use litesmith_graph::{Format, Model, Op, TensorId};
use litesmith_runtime::Options as RunOptions;
use litesmith_train::{
    CompileConfig, ConfigError, FitOptions, Loss, LossKind, LossTerm, Metric, MetricKind, Objective,
    OptimizerConfig, Setup,
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
    /// What is made small. Left out: the losses that the file was compiled with, else cross-entropy for
    /// labels and the mean squared error for other targets. Outputs without a loss are left out of
    /// training.
    pub losses: PerOutput<Loss>,
    /// The losses' factors in their sum. Left out: those that the file was compiled with, if it gives the
    /// losses, else 1.
    pub loss_weights: PerOutput<f64>,
    /// Left out: those that the file was compiled with, else accuracy for labels.
    pub metrics: PerOutput<Vec<Metric>>,
    /// Whether batch normalization keeps its running statistics and uses them: for fine-tuning on few
    /// samples.
    pub freeze_batch_norm: bool,
    /// Whether to train without what layers do only while they are trained and that is not supported: noise,
    /// augmentation, penalties on activations, constraints. Else a model with such layers is refused.
    pub skip_training_only: bool,
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
            losses: PerOutput::default(),
            loss_weights: PerOutput::default(),
            metrics: PerOutput::default(),
            freeze_batch_norm: false,
            skip_training_only: false,
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

    /// These options for a training that is asked for in portions: nobody knows how many steps it will have in
    /// all, so that a schedule of pruning ends where it says.
    pub(super) fn in_portions(&self) -> TrainOptions {
        let mut options = self.clone();
        if let Some(prune) = &mut options.prune {
            prune.planned_steps = Some(prune.end.unwrap_or(prune.begin).saturating_add(1));
        }
        options
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
        let compiled = Compiled { config: compiled, outputs: output_names(model) };
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
        let objectives = self.objectives(model, data, &compiled)?;
        let mut setup = Setup::new(objectives, optimizer).with_seed(self.seed).with_run(self.run.clone());
        setup.batch_statistics = !self.freeze_batch_norm;
        setup.skip_training_only = self.skip_training_only;
        Ok(setup)
    }

    /// The objective of each output.
    fn objectives(
        &self,
        model: &Model,
        data: &Dataset,
        compiled: &Compiled<'_>,
    ) -> Result<Vec<Objective>, Error> {
        let names = &compiled.outputs;
        let (losses, metrics, weights) = (&self.losses, &self.metrics, &self.loss_weights);
        losses.check("a loss", names)?;
        metrics.check("metrics", names)?;
        weights.check("a weight of its loss", names)?;
        let terms = if losses.is_empty() { compiled.losses()? } else { None };
        let compiled_metrics = if metrics.is_empty() { compiled.metrics()? } else { None };
        let objective = |(place, name): (usize, &String)| {
            let target = target_of(data, name, names.len());
            let labels = target.is_some_and(|target| target.labels.is_some());
            let (loss, weight) = match (losses.is_empty(), &terms) {
                (false, _) => (losses.of(name).cloned(), 1.0),
                (true, Some(terms)) => {
                    let term = terms[place].as_ref();
                    (term.map(|term| term.loss.clone()), term.map_or(1.0, |term| term.weight))
                }
                (true, None) => (target.map(|_| usual_loss(model, place, labels)), 1.0),
            };
            let Some(loss) = loss else { return Objective::none(name) };
            let accuracy = || labels.then(|| Metric::new("accuracy", MetricKind::Accuracy));
            let own = match (metrics.is_empty(), &compiled_metrics) {
                (false, _) => metrics.of(name).cloned().unwrap_or_default(),
                (true, Some(compiled)) => compiled[place].clone(),
                (true, None) => accuracy().into_iter().collect(),
            };
            let weight = weights.of(name).copied().unwrap_or(weight);
            Objective::new(name, loss).with_weight(weight).with_metrics(own)
        };
        Ok(names.iter().enumerate().map(objective).collect())
    }
}

/// What is said for all outputs of a model, or for single ones.
#[derive(Clone, Debug, PartialEq)]
pub struct PerOutput<T> {
    /// What holds for outputs that are not named.
    pub all: Option<T>,
    /// What holds for single outputs, by their names: those of their layers.
    pub named: BTreeMap<String, T>,
}

impl<T> Default for PerOutput<T> {
    /// Nothing is said.
    fn default() -> PerOutput<T> {
        PerOutput { all: None, named: BTreeMap::new() }
    }
}

impl<T> From<T> for PerOutput<T> {
    /// For all outputs.
    fn from(all: T) -> PerOutput<T> {
        PerOutput { all: Some(all), named: BTreeMap::new() }
    }
}

impl<T> PerOutput<T> {
    /// What holds for an output.
    pub fn of(&self, output: &str) -> Option<&T> {
        self.named.get(output).or(self.all.as_ref())
    }

    /// Says it for one output, or for all.
    pub fn set(&mut self, output: Option<&str>, value: T) {
        match output {
            Some(output) => drop(self.named.insert(output.to_owned(), value)),
            None => self.all = Some(value),
        }
    }

    /// Whether nothing is said.
    pub fn is_empty(&self) -> bool {
        self.all.is_none() && self.named.is_empty()
    }

    fn check(&self, what: &str, outputs: &[String]) -> Result<(), Error> {
        match self.named.keys().find(|name| !outputs.contains(name)) {
            Some(name) => Err(Error::Usage(format!(
                "{what} is given for '{name}', but the model's outputs are {}",
                outputs.iter().map(|output| format!("'{output}'")).collect::<Vec<_>>().join(", ")
            ))),
            None => Ok(()),
        }
    }
}

/// How the file says that its model was compiled; each part is only looked at where nothing else is given.
struct Compiled<'a> {
    config: Option<&'a Value>,
    outputs: Vec<String>,
}

impl Compiled<'_> {
    fn names(&self) -> Vec<&str> {
        self.outputs.iter().map(String::as_str).collect()
    }

    fn optimizer(&self) -> Result<Option<OptimizerConfig>, Error> {
        let Some(config) = self.config else { return Ok(None) };
        CompileConfig::optimizer_of(config).map_err(unclear)
    }

    /// `None` where it says nothing of losses.
    fn losses(&self) -> Result<Option<Vec<Option<LossTerm>>>, Error> {
        let Some(config) = self.config else { return Ok(None) };
        let terms = CompileConfig::losses_of(config, &self.names()).map_err(unclear)?;
        Ok(terms.iter().any(Option::is_some).then_some(terms))
    }

    /// Both kinds: weights of samples make the difference, which metrics do not get here. `None` where
    /// it names no metric.
    fn metrics(&self) -> Result<Option<Vec<Vec<Metric>>>, Error> {
        let Some(config) = self.config else { return Ok(None) };
        let mut all: Vec<Vec<Metric>> = vec![Vec::new(); self.outputs.len()];
        for key in ["metrics", "weighted_metrics"] {
            let metrics = CompileConfig::metrics_of(config, key, &self.names()).map_err(unclear)?;
            all.iter_mut().zip(metrics).for_each(|(all, metrics)| all.extend(metrics));
        }
        Ok(all.iter().any(|metrics| !metrics.is_empty()).then_some(all))
    }
}

fn unclear(error: ConfigError) -> Error {
    Error::Usage(format!("as the file was compiled, {error}"))
}

/// The names of a model's outputs, as Keras has them: those of their layers, where these tell them apart.
pub(super) fn output_names(model: &Model) -> Vec<String> {
    let graph = model.main();
    let layer = |output: &TensorId| {
        let node = graph.nodes.iter().find(|node| node.outputs.contains(output));
        node.map_or_else(|| graph[*output].name.clone(), |node| node.name.clone())
    };
    let layers: Vec<String> = graph.outputs.iter().map(layer).collect();
    let alone = |name: &String| layers.iter().filter(|other| *other == name).count() == 1;
    let tensors = graph.outputs.iter().map(|output| &graph[*output].name);
    layers
        .iter()
        .zip(tensors)
        .map(|(layer, tensor)| if alone(layer) { layer } else { tensor }.clone())
        .collect()
}

/// What the data say that an output should give.
fn target_of<'a>(data: &'a Dataset, output: &str, outputs: usize) -> Option<&'a Target> {
    let mut targets = data.targets().iter();
    if outputs == 1 { targets.next() } else { targets.find(|target| target.name() == Some(output)) }
}

/// Cross-entropy for labels, of probabilities or of logits as the model gives them; else the mean squared
/// error.
fn usual_loss(model: &Model, output: usize, labels: bool) -> Loss {
    if !labels {
        return LossKind::MeanSquaredError.into();
    }
    let graph = model.main();
    let output = graph.outputs[output];
    let last = graph.nodes.iter().find(|node| node.outputs.contains(&output)).map(|node| &node.op);
    let logistic = matches!(last, Some(Op::Unary(Unary { kind: UnaryKind::Logistic })));
    if graph[output].shape.last().and_then(|last| last.fixed()) == Some(1) {
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
