//! The arguments of every verb, and what they mean to the library.

mod pruning;
mod zoo;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::{Args, Parser, Subcommand, ValueEnum};
use litesmith::{
    BatchSize, BenchOptions, ClassWeights, ConfigError, ConvertOptions, Crop, DataOptions, DemoOptions,
    EarlyStopping, Error, InspectOptions, InterfaceType, Isa, Layout, Loss, Metric, OptimizerConfig,
    Preprocess, Quantization, QuantizeAware, RangeObserver, Ranges, Recipe, Repair, RunOptions, TrainOptions,
};

pub(crate) use pruning::PruneArguments;
use pruning::{PruneTrainingArguments, parse_prune};
pub(crate) use zoo::{ZooArguments, ZooVerb};

/// Makes neural networks small and fast on a CPU, without TensorFlow.
#[derive(Debug, Parser)]
#[command(name = "litesmith", version, arg_required_else_help = true)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) verb: Verb,
    /// Print the result as JSON.
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Print no progress and no notes.
    #[arg(long, short, global = true)]
    pub(crate) quiet: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    Convert(Box<ConvertArguments>),
    Run(RunArguments),
    Evaluate(EvaluateArguments),
    Bench(BenchArguments),
    Inspect(InspectArguments),
    Train(Box<TrainArguments>),
    Prune(PruneArguments),
    Zoo(ZooArguments),
    Demo(DemoArguments),
}

/// Convert a model, quantize it, check the result
///
/// Reads .keras, .h5, SavedModel folders, frozen graphs (.pb), .onnx and .tflite, and writes .tflite, .onnx or .keras by
/// OUT's extension. The result is compared with the source before
/// it is written.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  litesmith convert model.keras -o model.tflite --quantize int8 --calibration photos/"
)]
pub(crate) struct ConvertArguments {
    /// The model to read.
    pub(crate) model: PathBuf,
    /// The file to write: .tflite or .keras.
    #[arg(long, short)]
    pub(crate) output: PathBuf,
    /// What weights and activations become; left out: what they are in the source.
    #[arg(long, value_enum)]
    pub(crate) quantize: Option<QuantizeArgument>,
    /// Samples to measure ranges on: a folder of images, .npz, .npy, idx or CSV.
    #[arg(long, value_name = "DATA")]
    calibration: Option<PathBuf>,
    #[command(flatten)]
    data: DataArguments,
    /// How ranges are found.
    #[arg(long, value_enum, default_value_t)]
    observer: ObserverArgument,
    /// For --observer percentile: the percentage of elements below the upper end; 99.99 where left out.
    #[arg(long, value_name = "P")]
    percentile: Option<f64>,
    /// For --observer ema: the weight of what came before; 0.99 where left out.
    #[arg(long, value_name = "WEIGHT")]
    decay: Option<f64>,
    /// Which range of an activation counts: the exact one, or the one TensorFlow's calibrator sees.
    #[arg(long, value_enum, default_value_t)]
    ranges: RangesArgument,
    /// What is done against the error of quantization; `default` where left out, but `none` with
    /// --ranges tensorflow.
    #[arg(long, value_enum)]
    repair: Option<RepairArgument>,
    /// Type of real-valued inputs.
    #[arg(long, value_enum)]
    input_type: Option<InterfaceArgument>,
    /// Type of real-valued outputs.
    #[arg(long, value_enum)]
    output_type: Option<InterfaceArgument>,
    /// A TOML file that says what single layers become.
    #[arg(long, value_name = "FILE")]
    recipe: Option<PathBuf>,
    /// Layers that stay float: a name with * and ?; may be given several times.
    #[arg(long, value_name = "PATTERN")]
    keep_float: Vec<String>,
    /// New shape of an input, such as input=1,224,224,3; may be given several times.
    #[arg(long, value_name = "NAME=SHAPE", value_parser = parse_shape)]
    input_shape: Vec<(String, Vec<usize>)>,
    /// New batch: a number, or "free" to choose it when the model runs.
    #[arg(long, value_name = "N|free", value_parser = parse_batch)]
    batch: Option<BatchSize>,
    /// For a SavedModel: the signature to convert; serving_default, else serve, else the only one, where left
    /// out.
    #[arg(long, value_name = "NAME")]
    signature: Option<String>,
    /// For a SavedModel: a tag of the graph to convert, `serve` where left out; may be given several times.
    #[arg(long = "tag", value_name = "TAG")]
    tags: Vec<String>,
    /// For .onnx: in which order images are taken and given; as in the source where left out.
    #[arg(long, value_enum)]
    input_layout: Option<LayoutArgument>,
    /// For .onnx: the version of its operators; 13, or the lowest that is enough, where left out.
    #[arg(long, value_name = "N")]
    opset: Option<u32>,
    /// For .onnx: write the weights into a file of their own beside the model.
    #[arg(long)]
    external_data: bool,
    /// For .onnx: make int8 activations uint8 (the same real numbers), which ONNX Runtime runs faster.
    #[arg(long)]
    unsigned_activations: bool,
    /// For .tflite: store weights with many zeros without them.
    #[arg(long)]
    sparse: bool,
    /// Save the measured ranges.
    #[arg(long, value_name = "FILE")]
    save_statistics: Option<PathBuf>,
    /// Use saved ranges; with --calibration both are merged.
    #[arg(long, value_name = "FILE")]
    statistics: Option<PathBuf>,
    /// Write nothing if the signal-to-noise ratio is below this.
    #[arg(long, value_name = "DB")]
    min_snr: Option<f64>,
    /// Write a report as one HTML file.
    #[arg(long, value_name = "FILE.html")]
    pub(crate) report: Option<PathBuf>,
    /// Write the model as text before the first and after every rewrite into this folder.
    #[arg(long, value_name = "FOLDER")]
    pub(crate) dump_passes: Option<PathBuf>,
    #[command(flatten)]
    machine: MachineArguments,
}

impl ConvertArguments {
    pub(crate) fn options(&self) -> Result<ConvertOptions, Error> {
        let mut options = ConvertOptions::new(self.quantize.map_or(Quantization::Keep, Into::into));
        options.calibration = self.calibration.as_ref().map(|path| self.data.options(path)).transpose()?;
        options.statistics = self.statistics.clone();
        options.save_statistics = self.save_statistics.clone();
        options.observer = self.observer()?;
        options.ranges = match self.ranges {
            RangesArgument::Exact => Ranges::Exact,
            RangesArgument::Tensorflow => Ranges::Tensorflow,
        };
        options.repair = self.repair.map(Into::into);
        options.input_type = self.input_type.map(Into::into);
        options.output_type = self.output_type.map(Into::into);
        options.recipe = self.recipe()?;
        options.input_shapes = self.input_shape.clone();
        options.batch = self.batch;
        options.signature = self.signature.clone();
        options.tags = self.tags.clone();
        options.input_layout = self.input_layout.map(Into::into);
        options.opset = self.opset;
        options.external_data = self.external_data;
        options.unsigned_activations = self.unsigned_activations;
        options.sparse = self.sparse;
        options.min_snr = self.min_snr;
        options.run = self.machine.options()?;
        Ok(options)
    }

    fn observer(&self) -> Result<RangeObserver, Error> {
        let lonely = |given: bool, of| given && self.observer != of;
        if lonely(self.percentile.is_some(), ObserverArgument::Percentile) {
            return Err(Error::Usage("--percentile needs --observer percentile".into()));
        }
        if lonely(self.decay.is_some(), ObserverArgument::Ema) {
            return Err(Error::Usage("--decay needs --observer ema".into()));
        }
        Ok(match self.observer {
            ObserverArgument::MinMax => RangeObserver::MinMax,
            ObserverArgument::Ema => RangeObserver::Ema { decay: self.decay.unwrap_or(RangeObserver::DECAY) },
            ObserverArgument::Percentile => {
                RangeObserver::Percentile { percentile: self.percentile.unwrap_or(RangeObserver::PERCENTILE) }
            }
            ObserverArgument::Mse => RangeObserver::Mse,
            ObserverArgument::Entropy => RangeObserver::Entropy,
        })
    }

    fn recipe(&self) -> Result<Recipe, Error> {
        let mut recipe = self.recipe.as_deref().map(read_recipe).transpose()?.unwrap_or_default();
        self.keep_float.iter().for_each(|pattern| recipe.keep_float(pattern));
        Ok(recipe)
    }
}

/// Run a model on data
///
/// Shows the largest outputs of each sample, or writes all outputs to an .npz file.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  litesmith run model.tflite --input photos/ --preprocess tf")]
pub(crate) struct RunArguments {
    /// The model to run.
    pub(crate) model: PathBuf,
    /// A folder of images, .npz, .npy, idx or CSV.
    #[arg(long, value_name = "DATA")]
    pub(crate) input: PathBuf,
    #[command(flatten)]
    pub(crate) data: DataArguments,
    /// Write all outputs here, one array each.
    #[arg(long, short, value_name = "OUT.npz")]
    pub(crate) output: Option<PathBuf>,
    /// Samples in one run, where the model leaves that free.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) batch: Option<u32>,
    /// How many of the largest outputs to show.
    #[arg(long, default_value_t = 5)]
    pub(crate) top: usize,
    #[command(flatten)]
    pub(crate) machine: MachineArguments,
}

/// Measure accuracy and loss on labelled data
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  litesmith evaluate model.tflite --data test.npz")]
pub(crate) struct EvaluateArguments {
    /// The model to evaluate.
    pub(crate) model: PathBuf,
    /// Labelled samples: a folder with a sub-folder for each class, .npz with x and y, idx or CSV.
    #[arg(long = "data", value_name = "DATA")]
    pub(crate) input: PathBuf,
    #[command(flatten)]
    pub(crate) data: DataArguments,
    #[command(flatten)]
    pub(crate) machine: MachineArguments,
}

/// Measure latency, throughput and memory
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  litesmith bench model.tflite --threads 2 --profile")]
pub(crate) struct BenchArguments {
    /// The model to measure.
    pub(crate) model: PathBuf,
    /// Samples in one run.
    #[arg(long, default_value_t = 1)]
    batch: usize,
    /// Runs that count.
    #[arg(long, default_value_t = 50)]
    runs: usize,
    /// Runs before them that do not.
    #[arg(long, default_value_t = 5)]
    warm_up: usize,
    /// Measure every operator: its share of the time, and of what this machine can do at most.
    #[arg(long)]
    profile: bool,
    /// Samples to run: a folder of images, .npz, .npy, idx or CSV; left out: seeded numbers.
    #[arg(long, value_name = "DATA")]
    input: Option<PathBuf>,
    #[command(flatten)]
    data: DataArguments,
    #[command(flatten)]
    machine: MachineArguments,
}

impl BenchArguments {
    pub(crate) fn options(&self) -> Result<BenchOptions, Error> {
        let mut options = BenchOptions::new(self.batch, self.runs);
        options.warm_up = self.warm_up;
        options.profile = self.profile;
        options.data = match &self.input {
            Some(path) => Some(self.data.options(path)?),
            None if self.data.any() => {
                let text =
                    "--samples, --preprocess, --crop and --image-size are about --input, which is missing";
                return Err(Error::Usage(text.into()));
            }
            None => None,
        };
        options.run = self.machine.options()?;
        Ok(options)
    }
}

/// Show what a model file holds
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  litesmith inspect model.tflite")]
pub(crate) struct InspectArguments {
    /// The model to look at.
    pub(crate) model: PathBuf,
    /// Show every layer with weights: zeros, size dense, with sparse encoding and compressed.
    #[arg(long)]
    pub(crate) sizes: bool,
}

impl InspectArguments {
    pub(crate) fn options(&self) -> InspectOptions {
        let mut options = InspectOptions::default();
        options.sizes = self.sizes;
        options
    }
}

/// Train or fine-tune a Keras model
///
/// Reads .keras and .h5 and writes the same file with new weights. What is left out is taken from how the file
/// was compiled.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  litesmith train model.keras --data train.npz -o trained.keras --epochs 5 --validation-split 0.1"
)]
pub(crate) struct TrainArguments {
    /// The model to train.
    pub(crate) model: PathBuf,
    /// Samples with labels or targets: a folder with a sub-folder for each class, .npz with x and y, idx or CSV.
    #[arg(long = "data", value_name = "DATA")]
    input: PathBuf,
    /// The file to write, of the kind of the model's.
    #[arg(long, short)]
    pub(crate) output: PathBuf,
    #[command(flatten)]
    data: DataArguments,
    /// Passes over the data.
    #[arg(long, default_value_t = 1)]
    epochs: usize,
    /// Samples in a step.
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u32).range(1..))]
    batch_size: u32,
    /// A name (sgd, rmsprop, adam, adamw), or JSON as Keras writes it: {"name": "sgd", "momentum": 0.9}.
    #[arg(long)]
    optimizer: Option<String>,
    /// The optimizer's learning rate.
    #[arg(long, value_name = "RATE")]
    learning_rate: Option<f64>,
    /// A name, such as sparse_categorical_crossentropy, or JSON as Keras writes it. For single outputs of
    /// several: OUTPUT=LOSS, once for each; outputs without one are left out of training.
    #[arg(long = "loss", value_name = "[OUTPUT=]LOSS")]
    losses: Vec<String>,
    /// The factor of an output's loss in the sum of all.
    #[arg(long = "loss-weight", value_name = "OUTPUT=FACTOR")]
    loss_weights: Vec<String>,
    /// What else to measure, by Keras' names; can be given several times.
    #[arg(long = "metric", value_name = "[OUTPUT=]NAME")]
    metrics: Vec<String>,
    /// Samples to validate on behind every epoch.
    #[arg(long, value_name = "DATA", conflicts_with = "validation_split")]
    validation: Option<PathBuf>,
    /// Share of the samples, from the end, to validate on instead of learning from them.
    #[arg(long, value_name = "SHARE", default_value_t = 0.0)]
    validation_split: f64,
    /// Factors of the loss by class: 0=1.0,1=2.5; classes left out have 1.
    #[arg(long, value_name = "CLASS=FACTOR,…")]
    class_weights: Option<String>,
    /// End when val_loss has not got better for so many epochs, with the best weights.
    #[arg(long, value_name = "EPOCHS")]
    early_stopping: Option<u64>,
    /// Let batch normalization keep its running statistics and use them.
    #[arg(long)]
    freeze_batch_norm: bool,
    /// The step from which on batch normalization keeps the statistics that it has learnt; with
    /// --quantize-aware half of all steps where left out.
    #[arg(long, value_name = "STEP", conflicts_with = "freeze_batch_norm")]
    freeze_batch_norm_after: Option<u64>,
    /// Simulate the integers of --quantize int8, so that weights learn to live with them; convert then needs no
    /// calibration data.
    #[arg(long)]
    quantize_aware: bool,
    /// With --quantize-aware: a TOML file that says what single layers become.
    #[arg(long, requires = "quantize_aware")]
    recipe: Option<PathBuf>,
    /// With --quantize-aware: samples that give the ranges to begin with.
    #[arg(long, value_name = "N", default_value_t = 256, requires = "quantize_aware")]
    calibration_samples: usize,
    /// Make this share of the weights zero, those that matter least: 0.8 from the beginning on, or 0.50:0.80 for
    /// more and more of them.
    #[arg(long, value_name = "SHARE[:SHARE]", value_parser = parse_prune)]
    prune: Option<(Option<f32>, f32)>,
    #[command(flatten)]
    pruning: PruneTrainingArguments,
    /// Train without what layers do only while they are trained and that is not supported: noise,
    /// augmentation, penalties on activations, constraints. Else a model with such layers is refused.
    #[arg(long)]
    skip_training_only: bool,
    /// Take samples in the order in which they stand.
    #[arg(long)]
    no_shuffle: bool,
    /// What random numbers follow from.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Steps from one checkpoint to the next; one is written behind every epoch in any case.
    #[arg(long, value_name = "STEPS")]
    checkpoint_steps: Option<u64>,
    /// Measure every operator of a step.
    #[arg(long)]
    profile: bool,
    /// Go on from OUT.checkpoint, which an interrupted training has left.
    #[arg(long)]
    resume: bool,
    #[command(flatten)]
    machine: MachineArguments,
}

impl TrainArguments {
    pub(crate) fn options(&self) -> Result<TrainOptions, Error> {
        let mut options = TrainOptions::new(self.data.options(&self.input)?);
        options.validation = self.validation.as_ref().map(|path| self.data.options(path)).transpose()?;
        options.validation_split = self.validation_split;
        options.fit.epochs = self.epochs;
        options.fit.batch_size = self.batch_size as usize;
        options.fit.shuffle = !self.no_shuffle;
        options.fit.checkpoint_steps = self.checkpoint_steps;
        options.fit.class_weights = self.class_weights.as_deref().map(class_weights).transpose()?;
        let optimizer = self.optimizer.as_deref().map(|text| read_json(text, OptimizerConfig::from_json));
        options.optimizer = optimizer.transpose()?;
        options.learning_rate = self.learning_rate;
        for text in &self.losses {
            let (output, loss) = by_output(text);
            options.losses.set(output, read_json(loss, Loss::from_json)?);
        }
        for text in &self.loss_weights {
            let (output, factor) = by_output(text);
            let finite = factor.parse().ok().filter(|factor: &f64| factor.is_finite());
            let factor = finite
                .ok_or_else(|| Error::Usage(format!("--loss-weight {text}: '{factor}' is no number")))?;
            options.loss_weights.set(output, factor);
        }
        let mut metrics: BTreeMap<Option<&str>, Vec<Metric>> = BTreeMap::new();
        for text in &self.metrics {
            let (output, metric) = by_output(text);
            metrics.entry(output).or_default().push(read_json(metric, Metric::from_json)?);
        }
        metrics.into_iter().for_each(|(output, metrics)| options.metrics.set(output, metrics));
        if let Some(patience) = self.early_stopping {
            let watch = serde_json::json!({"patience": patience, "restore_best_weights": true});
            let early = EarlyStopping::from_json(&watch).map_err(|error| Error::Usage(error.to_string()))?;
            options.fit.watchers.early_stopping = Some(early);
        }
        options.freeze_batch_norm = self.freeze_batch_norm;
        options.skip_training_only = self.skip_training_only;
        options.fit.freeze_batch_statistics = self.freeze_batch_norm_after;
        if self.quantize_aware {
            let mut aware = QuantizeAware::default();
            aware.calibration_samples = self.calibration_samples;
            if let Some(path) = &self.recipe {
                aware.recipe = read_recipe(path)?;
            }
            options.quantize_aware = Some(aware);
        }
        options.prune = match self.prune {
            Some((initial, share)) => Some(self.pruning.options(initial, share)?),
            None => None,
        };
        options.seed = self.seed;
        (options.profile, options.resume) = (self.profile, self.resume);
        options.run = self.machine.options()?;
        Ok(options)
    }
}

/// Splits `OUTPUT=WHAT`; what is said of all outputs has no name before it.
fn by_output(text: &str) -> (Option<&str>, &str) {
    match text.split_once('=') {
        Some((output, what)) if !text.trim_start().starts_with('{') => (Some(output), what),
        _ => (None, text),
    }
}

/// Reads a name, or an object in JSON, as Keras writes it.
fn read_json<T>(text: &str, read: impl Fn(&serde_json::Value) -> Result<T, ConfigError>) -> Result<T, Error> {
    let value = match text.trim_start().starts_with('{') {
        true => serde_json::from_str(text).map_err(|error| Error::Usage(format!("'{text}': {error}")))?,
        false => serde_json::Value::from(text),
    };
    read(&value).map_err(|error| Error::Usage(error.to_string()))
}

fn read_recipe(path: &Path) -> Result<Recipe, Error> {
    let failed = |reason: String| Error::Usage(format!("{}: {reason}", path.display()));
    let text = std::fs::read_to_string(path).map_err(|error| failed(error.to_string()))?;
    Recipe::from_toml(&text).map_err(|error| failed(error.to_string()))
}

/// Reads `0=1.0,1=2.5`, or the same as a JSON object.
fn class_weights(text: &str) -> Result<ClassWeights, Error> {
    let usage = |reason: String| Error::Usage(format!("class weights '{text}': {reason}"));
    if text.trim_start().starts_with('{') {
        return serde_json::from_str(text).map_err(|error| usage(error.to_string()));
    }
    let entry = |entry: &str| -> Option<(i64, f32)> {
        let (class, factor) = entry.split_once('=')?;
        Some((class.trim().parse().ok()?, factor.trim().parse().ok()?))
    };
    let weights: Option<BTreeMap<i64, f32>> = text.split(',').map(entry).collect();
    let weights = weights.ok_or_else(|| usage("they look like 0=1.0,1=2.5".into()))?;
    ClassWeights::try_from(weights).map_err(|error| usage(error.to_string()))
}

/// Convert, evaluate and time an embedded model in every mode
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  litesmith demo")]
pub(crate) struct DemoArguments {
    /// Folder for the files; one for temporary files where left out.
    #[arg(long, short)]
    output: Option<PathBuf>,
    #[command(flatten)]
    machine: MachineArguments,
}

impl DemoArguments {
    pub(crate) fn options(&self) -> Result<DemoOptions, Error> {
        let mut options = DemoOptions::default();
        options.folder = self.output.clone();
        options.run = self.machine.options()?;
        Ok(options)
    }
}

/// How data are treated.
#[derive(Debug, Args)]
pub(crate) struct DataArguments {
    /// How many samples to use; all where left out.
    #[arg(long, value_name = "N")]
    samples: Option<usize>,
    /// Arithmetic on real-valued inputs, named as in Keras: none, unit, caffe, torch, tf. None where left out, but for
    /// networks of the zoo, which have their own.
    #[arg(long, value_name = "KIND")]
    preprocess: Option<Preprocess>,
    /// The part of images that is used, such as center:0.875.
    #[arg(long)]
    crop: Option<Crop>,
    /// Height and width that images get where the model leaves them free, such as 224x224.
    #[arg(long, value_name = "HxW", value_parser = parse_image_size)]
    image_size: Option<[usize; 2]>,
}

impl DataArguments {
    /// Whether any of them was given.
    fn any(&self) -> bool {
        let preprocessed = self.preprocess.is_some_and(|kind| kind != Preprocess::None);
        preprocessed || self.samples.is_some() || self.crop.is_some() || self.image_size.is_some()
    }

    pub(crate) fn options(&self, path: &Path) -> Result<DataOptions, Error> {
        if self.samples == Some(0) {
            return Err(Error::Usage("--samples must be at least 1".into()));
        }
        let preprocess = self.preprocess.unwrap_or_default();
        let options = DataOptions::new(path).with_preprocess(preprocess).with_crop(self.crop);
        Ok(options.with_image_size(self.image_size).with_samples(self.samples))
    }
}

/// What the machine may use.
#[derive(Debug, Args)]
pub(crate) struct MachineArguments {
    /// Number of threads; LITESMITH_THREADS or all cores where left out.
    #[arg(long)]
    threads: Option<usize>,
    /// The best instruction set to use; LITESMITH_ISA or the machine's best where left out.
    #[arg(long, value_name = "NAME")]
    isa: Option<String>,
    /// Most megabytes that activations may take; what the system has free where left out.
    #[arg(long, value_name = "MB")]
    max_memory: Option<usize>,
}

impl MachineArguments {
    pub(crate) fn options(&self) -> Result<RunOptions, Error> {
        let mut options = RunOptions::default();
        options.threads = self.threads;
        options.interrupt = crate::terminal::interrupt().clone();
        let limit = self.max_memory.map(|megabytes| megabytes.saturating_mul(1 << 20));
        options.max_memory = limit.or_else(litesmith::available_memory);
        if let Some(name) = &self.isa {
            options.isa = Some(name.parse::<Isa>().map_err(|error| Error::Usage(error.to_string()))?);
        }
        Ok(options)
    }
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum QuantizeArgument {
    /// Single precision throughout; a quantized source becomes float again.
    None,
    /// int8 weights, activations quantized while the model runs.
    Dynamic,
    /// float16 weights.
    Float16,
    /// int8 weights and activations, float inputs and outputs.
    Int8,
    /// int8 everywhere, inputs and outputs too; an error where an operator has no integer kernel.
    Int8Only,
    /// int8 weights, int16 activations, float inputs and outputs.
    #[value(name = "int16x8")]
    Int16x8,
}

impl From<QuantizeArgument> for Quantization {
    fn from(argument: QuantizeArgument) -> Quantization {
        match argument {
            QuantizeArgument::None => Quantization::None,
            QuantizeArgument::Dynamic => Quantization::Dynamic,
            QuantizeArgument::Float16 => Quantization::Float16,
            QuantizeArgument::Int8 => Quantization::Int8,
            QuantizeArgument::Int8Only => Quantization::Int8Only,
            QuantizeArgument::Int16x8 => Quantization::Int16x8,
        }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum ObserverArgument {
    /// The smallest and the largest element of all samples.
    #[default]
    MinMax,
    /// Moving averages of each sample's smallest and largest element.
    Ema,
    /// All but the outermost elements at either end.
    Percentile,
    /// The ends with the least mean squared error.
    Mse,
    /// The ends that lose the least information.
    Entropy,
}

#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum RangesArgument {
    #[default]
    Exact,
    Tensorflow,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum RepairArgument {
    /// Weights are rounded so that sums are kept, and biases corrected by what is left.
    Default,
    /// Each weight becomes the nearest integer.
    None,
    /// All there is, which takes longer.
    Auto,
}

impl From<RepairArgument> for Repair {
    fn from(argument: RepairArgument) -> Repair {
        match argument {
            RepairArgument::Default => Repair::Default,
            RepairArgument::None => Repair::None,
            RepairArgument::Auto => Repair::Auto,
        }
    }
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum LayoutArgument {
    /// [batch, height, width, channels], as in TensorFlow.
    Nhwc,
    /// [batch, channels, height, width], as in ONNX.
    Nchw,
}

impl From<LayoutArgument> for Layout {
    fn from(argument: LayoutArgument) -> Layout {
        match argument {
            LayoutArgument::Nhwc => Layout::Nhwc,
            LayoutArgument::Nchw => Layout::Nchw,
        }
    }
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum InterfaceArgument {
    Float32,
    Int8,
    Uint8,
    Int16,
}

impl From<InterfaceArgument> for InterfaceType {
    fn from(argument: InterfaceArgument) -> InterfaceType {
        match argument {
            InterfaceArgument::Float32 => InterfaceType::Float32,
            InterfaceArgument::Int8 => InterfaceType::Int8,
            InterfaceArgument::Uint8 => InterfaceType::Uint8,
            InterfaceArgument::Int16 => InterfaceType::Int16,
        }
    }
}

fn parse_shape(text: &str) -> Result<(String, Vec<usize>), String> {
    let (name, sizes) = text.rsplit_once('=').ok_or("write it as NAME=1,224,224,3")?;
    let sizes: Result<Vec<usize>, _> = sizes.split(',').map(|size| size.trim().parse()).collect();
    let sizes = sizes.map_err(|_| format!("'{text}' has a size that is no number"))?;
    Ok((name.to_owned(), sizes))
}

fn parse_image_size(text: &str) -> Result<[usize; 2], String> {
    let size = |text: &str| text.parse::<usize>().ok().filter(|size| *size > 0);
    let sizes = text.split_once('x').and_then(|(height, width)| Some([size(height)?, size(width)?]));
    sizes.ok_or_else(|| "height and width are written as 224x224".to_owned())
}

fn parse_batch(text: &str) -> Result<BatchSize, String> {
    match text {
        "free" => Ok(BatchSize::Free),
        _ => match text.parse() {
            Ok(size) if size > 0 => Ok(BatchSize::Fixed(size)),
            _ => Err("a batch is a number above 0, or \"free\"".to_owned()),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_sound_and_every_verb_shows_an_example() {
        let mut command = Arguments::command();
        command.clone().debug_assert();
        fn shown(command: &mut clap::Command) {
            for verb in command.get_subcommands_mut().filter(|verb| verb.get_name() != "help") {
                assert!(verb.render_help().to_string().contains("Example:"), "{}", verb.get_name());
                shown(verb);
            }
        }
        shown(&mut command);
    }

    #[test]
    fn observers_take_their_own_numbers() {
        let observer = |words: &str| {
            let words = "litesmith convert a.keras -o b.tflite --quantize int8 --calibration c"
                .split(' ')
                .chain(words.split(' '));
            let Verb::Convert(arguments) = Arguments::try_parse_from(words).unwrap().verb else { panic!() };
            arguments.observer()
        };
        assert_eq!(observer("--observer mse").unwrap(), RangeObserver::Mse);
        let percentile = observer("--observer percentile --percentile 99.5").unwrap();
        assert_eq!(percentile, RangeObserver::Percentile { percentile: 99.5 });
        assert_eq!(observer("--observer ema").unwrap(), RangeObserver::Ema { decay: RangeObserver::DECAY });
        assert!(matches!(observer("--percentile 99.5"), Err(Error::Usage(_))));
        assert!(matches!(observer("--observer mse --decay 0.5"), Err(Error::Usage(_))));
    }

    #[test]
    fn shapes_and_batches_parse() {
        assert_eq!(parse_shape("x=1,2,3"), Ok(("x".into(), vec![1, 2, 3])));
        assert!(parse_shape("1,2").is_err());
        assert_eq!(parse_batch("free"), Ok(BatchSize::Free));
        assert!(parse_batch("0").is_err());
    }
}
