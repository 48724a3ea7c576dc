//! What a model gives, and how near that of another is.

use std::path::Path;

use litesmith_graph::{DType, Model};
use litesmith_runtime::{Array, Interpreter, Options as RunOptions, TensorInfo};

use super::trial::BATCH;
use crate::check::{Check, Comparison};
use crate::error::Error;
use crate::feed::{DataOptions, Fed, Feed, dequantize_output};
use crate::run::largest;

/// What samples must change in the outputs, as a share of the largest one.
const LEAST_DIFFERENCE: f32 = 0.02;

/// A model file that is ready to run.
pub(super) struct Runner {
    model: Model,
    interpreter: Interpreter,
}

impl Runner {
    pub(super) fn open(path: &Path, run: &RunOptions) -> Result<Runner, Error> {
        let model = crate::source::read(path)?;
        let interpreter = Interpreter::unplanned(&model, run)?;
        Ok(Runner { model, interpreter })
    }

    /// The name and type of a tensor that holds real numbers; `None` where all are integers.
    pub(super) fn float_tensor(&self) -> Option<(&str, DType)> {
        let mut tensors = self.model.graphs.iter().flat_map(|graph| &graph.tensors);
        tensors.find(|tensor| tensor.dtype.is_float()).map(|tensor| (tensor.name.as_str(), tensor.dtype))
    }

    /// Samples as the model takes them.
    pub(super) fn feed(&self, data: &DataOptions) -> Result<Vec<Fed>, Error> {
        let feed = Feed::open(&self.model, self.interpreter.inputs(), data)?.with_batch(BATCH);
        feed.batches()?.collect()
    }

    pub(super) fn run(&mut self, samples: &[Fed]) -> Result<Given, Error> {
        let mut given = Given::default();
        for fed in samples {
            let outputs = fed.run(&mut self.interpreter)?;
            let output = self.interpreter.outputs().first().zip(outputs.first());
            let (info, output) = output.ok_or_else(|| Error::Check("it has no output".into()))?;
            given.add(info, output, fed.samples);
        }
        Ok(given)
    }
}

/// What the first output of a model gives for samples, one after another.
#[derive(Clone, Debug, Default)]
pub(super) struct Given {
    samples: usize,
    /// As real numbers.
    real: Vec<f32>,
    /// As its elements are.
    raw: Vec<f32>,
    /// Their type.
    dtype: Option<DType>,
}

impl Given {
    /// What a run of real numbers gives.
    pub(super) fn of_floats(output: &Array, samples: usize) -> Given {
        let values = output.floats().into_owned();
        Given { samples, real: values.clone(), raw: values, dtype: Some(output.dtype) }
    }

    fn add(&mut self, info: &TensorInfo, output: &Array, samples: usize) {
        self.samples += samples;
        self.real.extend(dequantize_output(info, output));
        self.raw.extend(output.floats().iter());
        self.dtype = Some(output.dtype);
    }

    /// Numbers for one sample.
    fn width(&self) -> usize {
        (self.real.len() / self.samples.max(1)).max(1)
    }

    /// The largest number of each sample.
    pub(super) fn classes(&self) -> Vec<i32> {
        let row = |row: &[f32]| largest(row, 1).first().map_or(0, |class| *class as i32);
        self.real.chunks(self.width()).map(row).collect()
    }

    /// Whether all are numbers, and samples make a difference that counts.
    pub(super) fn tells_apart(&self) -> bool {
        let width = self.width();
        let largest = self.real.iter().fold(0f32, |largest, value| largest.max(value.abs()));
        let first = self.real.iter().cycle().take(width).copied().collect::<Vec<_>>();
        let differs =
            |row: &[f32]| row.iter().zip(&first).any(|(a, b)| (a - b).abs() > LEAST_DIFFERENCE * largest);
        self.real.iter().all(|value| value.is_finite()) && self.real.chunks(width).skip(1).any(differs)
    }

    /// How far another model is from this one.
    ///
    /// # Errors
    /// If it gives another number of values.
    pub(super) fn compare(&self, other: &Given) -> Result<Check, Error> {
        if self.real.len() != other.real.len() {
            let (own, theirs) = (self.real.len(), other.real.len());
            return Err(Error::Check(format!("it gives {theirs} numbers instead of {own}")));
        }
        let mut comparison = Comparison::default();
        comparison.add(self.samples, std::slice::from_ref(&self.real), std::slice::from_ref(&other.real));
        Ok(comparison.result(true))
    }

    /// The signal-to-noise ratio of another model against this one; `None` where exact.
    ///
    /// # Errors
    /// If it is below `least`.
    pub(super) fn near(&self, other: &Given, least: f64, what: &str) -> Result<Option<f64>, Error> {
        let snr_db = self.compare(other)?.snr_db;
        match snr_db.filter(|snr| *snr < least) {
            Some(snr) => Err(Error::Check(format!(
                "the signal-to-noise ratio against {what} is {snr:.1} dB, below {least}"
            ))),
            None => Ok(snr_db),
        }
    }

    /// The largest difference of the integers that another model gives.
    ///
    /// # Errors
    /// If they are of another type or number.
    pub(super) fn steps(&self, other: &Given) -> Result<f32, Error> {
        if (self.dtype, self.raw.len()) != (other.dtype, other.raw.len()) {
            let shown = |given: &Given| format!("{} numbers of {:?}", given.raw.len(), given.dtype);
            return Err(Error::Check(format!("it gives {} instead of {}", shown(other), shown(self))));
        }
        Ok(self.raw.iter().zip(&other.raw).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max))
    }
}
