//! What is tried with one model, each for a cell of its row.

use std::path::{Path, PathBuf};

use litesmith_data::Array as SampleArray;
use litesmith_runtime::Options as RunOptions;
use litesmith_train::{OptimizerConfig, OptimizerKind};

use super::given::{Given, Runner};
use crate::Quantization;
use crate::convert::{ConvertOptions, convert, write::put};
use crate::error::Error;
use crate::feed::{DataOptions, Fed};
use crate::observer::Observer;
use crate::train::{Learner, QuantizeAware, TrainOptions};

/// Signal-to-noise ratio in dB that an int8 model must have against the float model.
const LEAST_SNR_DB: f64 = 20.0;
/// The same of an int8 model behind quantization-aware training, against what training simulated.
const LEAST_SIMULATED_SNR_DB: f64 = 20.0;
/// Largest difference that a float ONNX file may make, as a share of the largest output.
const FLOAT_TOLERANCE: f64 = 1e-4;
/// Steps of the int8 output that a quantized ONNX file may be off from the TFLite file in any case. It rounds real
/// numbers where that rounds sums of integers, and deep networks make much of a single step.
const STEPS: f32 = 4.0;
/// How often it may be off by what single steps of the input make of the TFLite file's output.
const TIMES: f32 = 2.0;

/// Samples in a step of training, and in a run.
pub(super) const BATCH: usize = 4;
/// Small enough that two steps do not change what the model is.
const LEARNING_RATE: f64 = 1e-4;

/// Images as a model takes them.
pub(super) struct Images {
    /// Those that ranges are measured on, and that training learns from.
    pub(super) calibration: SampleArray,
    /// Those that files are compared on.
    pub(super) held_out: SampleArray,
}

/// A float model that is put to the test.
pub(super) struct Trial<'a> {
    /// Its file.
    pub(super) keras: &'a Path,
    /// Where other files are written.
    pub(super) folder: &'a Path,
    pub(super) images: &'a Images,
    pub(super) run: &'a RunOptions,
    pub(super) observer: &'a dyn Observer,
}

/// What the float model gives.
pub(super) struct Truth {
    /// For the held-out images.
    held_out: Given,
    /// The class of each calibration image.
    classes: Vec<i32>,
}

/// An int8 file that has passed.
pub(super) struct Integers {
    /// Size of the file.
    pub(super) bytes: u64,
    /// Signal-to-noise ratio; `None` where exact.
    pub(super) snr_db: Option<f64>,
    held_out: Vec<Fed>,
    given: Given,
    /// By how many steps the output moves where some numbers of the input move by one.
    moved: f32,
}

impl Trial<'_> {
    /// Runs the float model.
    pub(super) fn truth(&self) -> Result<Truth, Error> {
        let mut model = Runner::open(self.keras, self.run)?;
        let held_out = model.run(&model.feed(&data(&self.images.held_out))?)?;
        if !held_out.tells_apart() {
            return Err(Error::Check(
                "the float model gives the same for all images, or no numbers: its weights say nothing"
                    .into(),
            ));
        }
        let calibration = model.run(&model.feed(&data(&self.images.calibration))?)?;
        Ok(Truth { classes: calibration.classes(), held_out })
    }

    /// Makes an int8 file by calibration, and runs it.
    pub(super) fn ptq(&self, truth: &Truth) -> Result<Integers, Error> {
        let path = self.path("int8.tflite");
        let options = self.calibrated();
        let bytes = convert(self.keras, &path, &options, self.observer)?.output_bytes;
        let (mut model, held_out, given) = self.integers(&path)?;
        let snr_db = truth.held_out.near(&given, LEAST_SNR_DB, "the float model")?;
        let moved = given.steps(&model.run(&nudged(&held_out))?)?;
        Ok(Integers { bytes, snr_db, held_out, given, moved })
    }

    /// Trains with simulated integers, converts what comes out without data, and runs it. Gives the
    /// signal-to-noise ratio against the simulation.
    pub(super) fn qat(&self, truth: &Truth) -> Result<Option<f64>, Error> {
        let (trained, path) = (self.path("trained.keras"), self.path("trained.tflite"));
        let simulated = self.train(truth, &trained)?;
        convert(&trained, &path, &self.options(Quantization::Int8Only), self.observer)?;
        let (_, _, given) = self.integers(&path)?;
        simulated.near(&given, LEAST_SIMULATED_SNR_DB, "the simulation")
    }

    /// Writes the trained model, and gives what it simulates for the held-out images.
    fn train(&self, truth: &Truth, to: &Path) -> Result<Given, Error> {
        let mut learner = Learner::open(self.keras)?;
        let labels = SampleArray::from_slice(&[truth.classes.len()], &truth.classes)?;
        let images = self.images.calibration.clone();
        let mut options = TrainOptions::new(DataOptions::from_arrays(vec![images], vec![labels]));
        options.fit.batch_size = BATCH;
        options.optimizer = Some(OptimizerConfig::new(OptimizerKind::Sgd(Default::default()), LEARNING_RATE));
        options.quantize_aware = Some(QuantizeAware::default());
        options.run = self.run.clone();
        let loss = learner.epoch(&options, self.observer)?.loss;
        if !loss.is_finite() {
            return Err(Error::Check(format!("the loss is {loss}")));
        }
        put(to, &learner.to_bytes()?)?;
        let held_out = vec![self.images.held_out.clone()];
        let aware = options.quantize_aware.as_ref();
        let simulated = learner.predict(held_out, BATCH, aware, self.run, self.observer)?;
        let output = simulated.first().ok_or_else(|| Error::Check("it has no output".into()))?;
        Ok(Given::of_floats(output, self.images.held_out.shape()[0]))
    }

    /// Writes the float model as ONNX, reads it back and runs it. Gives its opset.
    pub(super) fn onnx_float(&self, truth: &Truth) -> Result<u32, Error> {
        let path = self.path("float.onnx");
        let opset = self.onnx(self.keras, &path, self.options(Quantization::None))?;
        let mut model = Runner::open(&path, self.run)?;
        let given = model.run(&model.feed(&data(&self.images.held_out))?)?;
        let difference = truth.held_out.compare(&given)?.max_relative_diff;
        if difference.is_nan() || difference > FLOAT_TOLERANCE {
            return Err(Error::Check(format!(
                "it differs by {difference:.1e} of the largest output, more than {FLOAT_TOLERANCE:.0e}"
            )));
        }
        Ok(opset)
    }

    /// Writes the int8 model as ONNX, reads it back and runs it on the integers that the TFLite file took. Gives
    /// its opset, and by how many steps it is off.
    pub(super) fn onnx_quantized(&self, integers: &Integers) -> Result<(u32, f32), Error> {
        let path = self.path("int8.onnx");
        let options = self.calibrated();
        let opset = self.onnx(self.keras, &path, options)?;
        let given = Runner::open(&path, self.run)?.run(&integers.held_out)?;
        let steps = integers.given.steps(&given)?;
        let allowed = STEPS.max(TIMES * integers.moved);
        if steps > allowed {
            return Err(Error::Check(format!(
                "it differs by {steps} steps of the output from the TFLite file, more than {allowed}"
            )));
        }
        Ok((opset, steps))
    }

    fn onnx(&self, from: &Path, to: &Path, options: ConvertOptions) -> Result<u32, Error> {
        let written = convert(from, to, &options, self.observer)?.opset;
        written.ok_or_else(|| Error::Failed(format!("{}: no operator set was written", to.display())))
    }

    /// An int8 file, what it takes and what it gives for the held-out images.
    fn integers(&self, path: &Path) -> Result<(Runner, Vec<Fed>, Given), Error> {
        let mut model = Runner::open(path, self.run)?;
        if let Some((tensor, dtype)) = model.float_tensor() {
            return Err(Error::Check(format!("tensor '{tensor}' of the file is {dtype}")));
        }
        let held_out = model.feed(&data(&self.images.held_out))?;
        let given = model.run(&held_out)?;
        Ok((model, held_out, given))
    }

    fn options(&self, mode: Quantization) -> ConvertOptions {
        let mut options = ConvertOptions::new(mode);
        options.run = self.run.clone();
        options
    }

    fn calibrated(&self) -> ConvertOptions {
        self.options(Quantization::Int8Only).with_calibration(data(&self.images.calibration))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }
}

fn data(images: &SampleArray) -> DataOptions {
    DataOptions::from_arrays(vec![images.clone()], Vec::new())
}

/// Integers of which every 61st, a number that no size of images divides, is one step away.
fn nudged(samples: &[Fed]) -> Vec<Fed> {
    let nudge = |fed: &Fed| {
        let mut fed = fed.clone();
        let bytes = fed.arrays.iter_mut().flat_map(|array| &mut array.data);
        bytes.step_by(61).for_each(|byte| *byte ^= 1);
        fed
    };
    samples.iter().map(nudge).collect()
}
