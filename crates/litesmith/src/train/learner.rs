//! A model in memory that is trained, measured and asked, as often as one likes.

use bytes::Bytes;
use litesmith_data::{Array as SampleArray, Dataset};
use litesmith_formats::{keras, mapping};
use litesmith_graph::{DType, Data, Format, Model, ParameterId};
use litesmith_kernels::ThreadPool;
use litesmith_runtime::{Array, Interpreter, Options as RunOptions};
use litesmith_train::{Flow, Position, Watchers, arrays, evaluate, fit};

use super::options::{TrainOptions, output_names};
use super::outcome::EpochResult;
use super::simulated::{QuantizeAware, Simulated, integer_model};
use super::started::Started;
use super::watch::Watch;
use super::{datasets, file_bytes, open};
use crate::error::Error;
use crate::feed::DataOptions;
use crate::learnt::Learnt;
use crate::observer::{Observer, Silent, go_on};

/// Samples whose ranges integers begin with, if there is no other word.
const FIRST_SAMPLES: usize = 256;

/// A model in memory that is trained, measured and asked, as often as one likes: what
/// [`train`](crate::train) does with files, one epoch after the other.
///
/// ```no_run
/// use litesmith::{DataOptions, Learner, Silent, TrainOptions};
///
/// let mut learner = Learner::open("model.keras".as_ref())?;
/// let options = TrainOptions::new(DataOptions::new("digits.npz"));
/// let first = learner.epoch(&options, &Silent)?;
/// let second = learner.epoch(&options, &Silent)?;
/// println!("{} became {}", first.loss, second.loss);
/// std::fs::write("trained.keras", learner.to_bytes()?).unwrap();
/// # Ok::<(), litesmith::Error>(())
/// ```
pub struct Learner {
    original: Bytes,
    /// As it was read, or with the weights that were set since.
    model: Model,
    /// What the file has learnt by being trained to be quantized.
    learnt: Option<Learnt>,
    training: Option<Ongoing>,
    /// Runs the model as it is, until it changes.
    engine: Option<Interpreter>,
}

/// A training between two epochs.
struct Ongoing {
    started: Started,
    /// What the ranges of integers were found on.
    first: Dataset,
    epochs: usize,
    /// The step from which on batch normalization keeps what it has learnt.
    freeze: Option<u64>,
    /// Whether the losses, metrics or the optimizer are to be made anew.
    stale: bool,
}

/// A weight of a model.
#[derive(Clone, Debug, PartialEq)]
pub struct Weight {
    /// Name of its layer.
    pub layer: String,
    /// Its name in the layer: `kernel`, `bias`, `gamma`, …
    pub variable: String,
    /// Whether training changes it by its gradient.
    pub trainable: bool,
    /// Its value in Keras' layout.
    pub value: Array,
}

impl Learner {
    /// Reads a model file of any format; what can be trained and written again is a Keras file.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn open(path: &std::path::Path) -> Result<Learner, Error> {
        let model = litesmith_formats::read(path).map_err(|error| Error::from(error).about(path))?;
        let original = if path.is_dir() { Bytes::new() } else { mapping::open(path)? };
        Learner::new(original, model).map_err(|error| error.about(path))
    }

    /// Reads the bytes of a `.keras`, `.h5` or `.tflite` file.
    ///
    /// # Errors
    /// If they are none that can be read.
    pub fn from_bytes(original: Bytes) -> Result<Learner, Error> {
        let model = litesmith_formats::read_bytes(original.clone())?;
        Learner::new(original, model)
    }

    fn new(original: Bytes, model: Model) -> Result<Learner, Error> {
        let learnt = match model.source.format {
            Format::Keras => Learnt::of(&original)?,
            _ => None,
        };
        Ok(Learner { original, model, learnt, training: None, engine: None })
    }

    /// Whether the file was trained to be quantized.
    #[must_use]
    pub fn has_learnt_ranges(&self) -> bool {
        self.learnt.is_some()
    }

    /// The format that the model was read from.
    #[must_use]
    pub fn format(&self) -> Format {
        self.model.source.format
    }

    /// Name, type and shape of each input, -1 for sizes that are free.
    #[must_use]
    pub fn inputs(&self) -> Vec<(String, DType, Vec<i64>)> {
        let graph = self.model.main();
        let ids = graph.inputs.iter().enumerate();
        ids.map(|(place, id)| (self.input_name(place), graph[*id].dtype, sizes(&graph[*id].shape))).collect()
    }

    /// Name and shape of each output, -1 for sizes that are free.
    #[must_use]
    pub fn outputs(&self) -> Vec<(String, Vec<i64>)> {
        let graph = self.model.main();
        let shapes = graph.outputs.iter().map(|id| sizes(&graph[*id].shape));
        output_names(&self.model).into_iter().zip(shapes).collect()
    }

    fn input_name(&self, place: usize) -> String {
        let signature = self.model.signatures.iter().find(|signature| signature.graph.0 == 0);
        let signed = signature
            .and_then(|signature| signature.inputs.iter().find(|(_, input)| *input == place))
            .map(|(name, _)| name.clone());
        let graph = self.model.main();
        signed.unwrap_or_else(|| graph[graph.inputs[place]].name.clone())
    }

    /// How the Keras file describes its layers and how it was compiled, as JSON; `None` for other formats.
    ///
    /// # Errors
    /// If the file is damaged.
    pub fn configuration(&self) -> Result<Option<String>, Error> {
        Ok(keras::configuration(&self.original, self.model.source.format)?)
    }

    /// Trains for an epoch of the `options.fit.epochs` that are planned, from where the last one ended. What was
    /// compiled, simulated and pruned stays what it was at the first one, until [`Learner::recompile`].
    ///
    /// # Errors
    /// As [`train`](crate::train). [`Error::Interrupted`] where the observer stops it: the weights are then
    /// those of the last step.
    pub fn epoch(&mut self, options: &TrainOptions, observer: &dyn Observer) -> Result<EpochResult, Error> {
        let (data, validation) = datasets(&self.model, options)?;
        self.start(options, &data, observer)?;
        self.engine = None;
        let Some(Ongoing { started, epochs, freeze, .. }) = &mut self.training else {
            return Err(Error::Failed("no training was started".into()));
        };
        let mut fit_options = options.fit.clone();
        (fit_options.epochs, fit_options.freeze_batch_statistics) = (*epochs + 1, *freeze);
        fit_options.watchers = Watchers::default();
        let position = Position { epoch: *epochs, ..Position::default() };
        let mut watch = Watch::new(observer, None, "", started.pruning.take());
        let outcome =
            fit(&mut started.trainer, &data, validation.as_ref(), &fit_options, position, &mut watch);
        let (_, stopped, pruning) = watch.finish();
        started.pruning = pruning;
        let position = outcome?;
        if stopped {
            return Err(Error::Interrupted);
        }
        *epochs += 1;
        let report = position.history.last();
        report.map(EpochResult::new).ok_or_else(|| Error::Failed("the epoch had no step".into()))
    }

    /// The loss and all metrics on labelled samples, by name. Where integers are simulated, these are those of
    /// the simulation; before any training its ranges are those of these samples.
    ///
    /// # Errors
    /// If the samples do not fit the model, or the model cannot be trained.
    pub fn evaluate(
        &mut self,
        options: &TrainOptions,
        observer: &dyn Observer,
    ) -> Result<Vec<(String, f64)>, Error> {
        let data = open(&self.model, &options.data)?;
        if self.training.is_some() {
            self.start(options, &data, observer)?;
        }
        let mut own;
        let trainer = match &mut self.training {
            Some(training) => &mut training.started.trainer,
            None => {
                let unpruned = TrainOptions { prune: None, ..options.clone() };
                let Learner { model, original, learnt, .. } = &*self;
                own = Started::new(model, original, &unpruned, &data, learnt.as_ref(), observer)?;
                &mut own.trainer
            }
        };
        observer.stage("evaluate", data.len());
        let measures = evaluate(trainer, &data, options.fit.batch_size, &mut |samples| {
            (0..samples).for_each(|_| observer.step());
            if observer.stopped() { Flow::Stop } else { Flow::Continue }
        })?;
        go_on(observer)?;
        Ok([("loss".to_owned(), measures.loss.result())].into_iter().chain(measures.named()).collect())
    }

    /// What the model gives for samples, `batch_size` of them at a time, one array for each output. With
    /// simulated integers this is what the simulation gives; before any training, what the integer model gives
    /// whose ranges are those of these samples.
    ///
    /// # Errors
    /// If the samples do not fit the model, or it cannot be run.
    pub fn predict(
        &mut self,
        samples: Vec<SampleArray>,
        batch_size: usize,
        quantize_aware: Option<&QuantizeAware>,
        run: &RunOptions,
        observer: &dyn Observer,
    ) -> Result<Vec<Array>, Error> {
        let data = open(&self.model, &DataOptions::from_arrays(samples, Vec::new()))?;
        let simulates = self.training.as_ref().is_some_and(|training| training.started.simulated.is_some());
        if !simulates && self.engine.is_none() {
            self.engine = Some(self.engine(&data, quantize_aware, run, observer)?);
        }
        let mut outputs: Vec<Array> = Vec::new();
        observer.stage("predict", data.len());
        for batch in data.batches(batch_size.max(1))? {
            go_on(observer)?;
            let batch = batch?;
            let inputs = arrays(&batch);
            let given = match (&mut self.training, &mut self.engine) {
                (Some(training), _) if simulates => training.started.trainer.predict(&inputs)?,
                (_, Some(engine)) => engine.run(&inputs)?,
                _ => return Err(Error::Failed("nothing runs the model".into())),
            };
            append(&mut outputs, given);
            (0..batch.len()).for_each(|_| observer.step());
        }
        if quantize_aware.is_some() && !simulates {
            // Its ranges are those of these samples.
            self.engine = None;
        }
        Ok(outputs)
    }

    fn engine(
        &self,
        data: &Dataset,
        quantize_aware: Option<&QuantizeAware>,
        run: &RunOptions,
        observer: &dyn Observer,
    ) -> Result<Interpreter, Error> {
        let model = self.model();
        let Some(aware) = quantize_aware else { return Ok(Interpreter::new(&model, run)?) };
        let learnt = match &self.learnt {
            Some(learnt) => learnt.clone(),
            None => Simulated::new(&model, aware, None, data, run, observer)?.first_ranges(data, observer)?,
        };
        Ok(Interpreter::new(&integer_model(&model, &learnt)?, run)?)
    }

    /// The bytes of the Keras file with the weights as they are now, and with what has been learnt for its
    /// conversion.
    ///
    /// # Errors
    /// If the model was not read from a Keras file.
    pub fn to_bytes(&self) -> Result<Vec<u8>, Error> {
        match &self.training {
            Some(Ongoing { started, first, .. }) => {
                let (model, learnt) = started.finish(first, &Silent)?;
                file_bytes(&self.original, &model, learnt.as_ref())
            }
            None => file_bytes(&self.original, &self.model, self.learnt.as_ref()),
        }
    }

    /// Weights as they are now, layer by layer.
    #[must_use]
    pub fn weights(&self) -> Vec<Weight> {
        let model = self.model();
        let own = model.parameters.iter().take(self.model.parameters.len());
        let weight = |parameter: &litesmith_graph::Parameter| Weight {
            layer: parameter.origin.layer.clone(),
            variable: parameter.origin.variable.clone(),
            trainable: parameter.trainable,
            value: Array {
                dtype: parameter.dtype,
                shape: parameter.shape.clone(),
                data: parameter.data.bytes().to_vec(),
            },
        };
        own.map(weight).collect()
    }

    /// Gives all weights other values, in the order of [`Learner::weights`].
    ///
    /// # Errors
    /// If they are more or fewer, or one has another type or shape.
    pub fn set_weights(&mut self, values: &[Array]) -> Result<(), Error> {
        let own = &self.model.parameters;
        if own.len() != values.len() {
            let reason = format!("the model has {} weights, it was given {}", own.len(), values.len());
            return Err(Error::Usage(reason));
        }
        for (parameter, value) in own.iter().zip(values) {
            if (parameter.dtype, &parameter.shape) != (value.dtype, &value.shape)
                || parameter.data.len() != value.data.len()
            {
                let litesmith_graph::Origin { layer, variable, .. } = &parameter.origin;
                return Err(Error::Usage(format!(
                    "'{variable}' of layer '{layer}' is {}{:?}, it was given {}{:?}",
                    parameter.dtype, parameter.shape, value.dtype, value.shape
                )));
            }
        }
        let pool = ThreadPool::new(1);
        for (place, value) in values.iter().enumerate() {
            self.model.parameters[place].data = Data::from_vec(value.elements::<u8>().into_owned());
            let Some(Ongoing { started, .. }) = &mut self.training else { continue };
            let id = ParameterId(place as u32);
            let arranged = started.trainer.arranged(id, value.elements::<f32>().into_owned(), &pool);
            if let (Some(arranged), Some(weights)) = (arranged, started.trainer.weights_mut(id)) {
                weights.copy_from_slice(&arranged);
            }
        }
        self.engine = None;
        Ok(())
    }

    /// The learning rate of the last step; `None` before training.
    #[must_use]
    pub fn learning_rate(&self) -> Option<f32> {
        Some(self.training.as_ref()?.started.trainer.optimizer().learning_rate())
    }

    /// Changes the learning rate of the training that goes on, if one does.
    ///
    /// # Errors
    /// If it follows a schedule.
    pub fn set_learning_rate(&mut self, rate: f32) -> Result<(), Error> {
        let Some(training) = &mut self.training else { return Ok(()) };
        let set = training.started.trainer.optimizer_mut().set_learning_rate(rate);
        set.map_err(|error| Error::Usage(error.to_string()))
    }

    /// The share of the weights of pruned layers that is pruned; `None` where nothing is.
    #[must_use]
    pub fn sparsity(&self) -> Option<f64> {
        Some(self.training.as_ref()?.started.pruning.as_ref()?.sparsity())
    }

    /// Number of steps so far.
    #[must_use]
    pub fn steps(&self) -> u64 {
        self.training.as_ref().map_or(0, |training| training.started.trainer.iterations())
    }

    /// Makes losses, metrics and the optimizer anew at the next epoch; weights and ranges stay.
    pub fn recompile(&mut self) {
        if let Some(training) = &mut self.training {
            training.stale = true;
        }
    }

    /// The model with the weights as they are now, without simulation.
    fn model(&self) -> Model {
        let Some(Ongoing { started, .. }) = &self.training else { return self.model.clone() };
        let trained = started.trainer.model();
        let mut model = self.model.clone();
        model.parameters.iter_mut().zip(trained.parameters).for_each(|(own, new)| own.data = new.data);
        model
    }

    /// Makes what is trained, if there is none.
    fn start(
        &mut self,
        options: &TrainOptions,
        data: &Dataset,
        observer: &dyn Observer,
    ) -> Result<(), Error> {
        match &mut self.training {
            Some(training) if training.stale => {
                training.started.recompile(&self.model, &self.original, options, data)?;
                training.stale = false;
            }
            Some(_) => {}
            None => {
                let Learner { model, original, learnt, .. } = &*self;
                let options = &options.in_portions();
                let started = Started::new(model, original, options, data, learnt.as_ref(), observer)?;
                let freeze = options.fit_options(data.len()).freeze_batch_statistics;
                let aware = options.quantize_aware.as_ref();
                let count = aware.map_or(FIRST_SAMPLES, |aware| aware.calibration_samples);
                let first = data.subset(&(0..count.clamp(1, data.len())).collect::<Vec<_>>())?;
                self.training = Some(Ongoing { started, first, epochs: 0, freeze, stale: false });
            }
        }
        Ok(())
    }
}

fn sizes(shape: &litesmith_graph::Shape) -> Vec<i64> {
    shape.dims().iter().map(|dim| dim.fixed().map_or(-1, |size| size as i64)).collect()
}

/// Puts the outputs of more samples behind those that are there.
fn append(all: &mut Vec<Array>, more: Vec<Array>) {
    if all.is_empty() {
        *all = more;
        return;
    }
    for (all, more) in all.iter_mut().zip(more) {
        if let (Some(samples), Some(added)) = (all.shape.first_mut(), more.shape.first()) {
            *samples += added;
            all.data.extend_from_slice(&more.data);
        }
    }
}
