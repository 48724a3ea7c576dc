//! Models that are trained, measured and asked.

use std::path::PathBuf;
use std::sync::{Mutex, TryLockError};

use bytes::Bytes;
use litesmith::{DataOptions, Error, Recipe, TrainOptions};
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::PyBytes;

use crate::arrays;
use crate::errors::{misused, raised};
use crate::observer::Listener;
use crate::options::{self, Train};

/// A model in memory. Long calls do not hold the interpreter's lock.
#[pyclass(module = "litesmith._litesmith", frozen)]
pub(crate) struct Learner(Mutex<litesmith::Learner>);

/// Layer, variable, whether it is trained, and value of a weight.
type Told<'py> = (String, String, bool, Bound<'py, PyAny>);

/// Samples: an array for each input, and named targets.
type Samples<'py> = (Vec<Bound<'py, PyAny>>, Vec<(String, Bound<'py, PyAny>)>);

fn data(samples: &Samples<'_>) -> PyResult<DataOptions> {
    let inputs = samples.0.iter().map(|array| arrays::samples(array, None));
    let targets = samples.1.iter().map(|(name, array)| arrays::samples(array, Some(name)));
    Ok(DataOptions::from_arrays(inputs.collect::<PyResult<_>>()?, targets.collect::<PyResult<_>>()?))
}

/// Samples that several calls use, and how they are learnt.
#[pyclass(module = "litesmith._litesmith", frozen)]
pub(crate) struct Lesson(TrainOptions);

#[pymethods]
impl Lesson {
    /// `options` is JSON.
    #[new]
    fn new(options: &str, samples: Samples<'_>, validation: Option<Samples<'_>>) -> PyResult<Lesson> {
        let options: Train = options::read(options)?;
        let validation = validation.as_ref().map(data).transpose()?;
        Ok(Lesson(options.options(data(&samples)?, validation)?))
    }
}

impl Learner {
    /// Works on the model. Who calls while another call works on it, as from what that one tells of its progress,
    /// would wait for ever.
    fn locked<T>(&self, work: impl FnOnce(&mut litesmith::Learner) -> Result<T, Error>) -> Result<T, Error> {
        match self.0.try_lock() {
            Ok(mut learner) => work(&mut learner),
            Err(TryLockError::Poisoned(learner)) => work(&mut learner.into_inner()),
            Err(TryLockError::WouldBlock) => {
                Err(Error::Failed("the model is at work: wait for the call that trains or runs it".into()))
            }
        }
    }

    fn told<T>(&self, work: impl FnOnce(&mut litesmith::Learner) -> Result<T, Error>) -> PyResult<T> {
        self.locked(work).map_err(|error| raised(&error))
    }
}

#[pymethods]
impl Learner {
    /// Reads a model file.
    #[staticmethod]
    fn open(py: Python<'_>, path: PathBuf) -> PyResult<Learner> {
        let learner = py.detach(|| litesmith::Learner::open(&path));
        Ok(Learner(Mutex::new(learner.map_err(|error| raised(&error))?)))
    }

    /// Reads the bytes of a model file.
    #[staticmethod]
    fn from_bytes(py: Python<'_>, bytes: PyBackedBytes) -> PyResult<Learner> {
        let learner = py.detach(|| litesmith::Learner::from_bytes(Bytes::from_owner(bytes)));
        Ok(Learner(Mutex::new(learner.map_err(|error| raised(&error))?)))
    }

    /// Name, type and shape (-1 for free sizes) of each input; name and shape of each output; the format; whether
    /// the file was trained to be quantized; how it describes its layers, as JSON.
    #[allow(clippy::type_complexity, reason = "one tuple that one line of Python takes apart")]
    fn describe(
        &self,
    ) -> PyResult<(Vec<(String, String, Vec<i64>)>, Vec<(String, Vec<i64>)>, String, bool, Option<String>)>
    {
        self.told(|learner| {
            let inputs = learner.inputs().into_iter();
            let inputs = inputs.map(|(name, dtype, shape)| (name, dtype.numpy_name().to_owned(), shape));
            let format = format!("{:?}", learner.format());
            let configuration = learner.configuration()?;
            Ok((inputs.collect(), learner.outputs(), format, learner.has_learnt_ranges(), configuration))
        })
    }

    /// Trains for an epoch; the result is JSON.
    fn epoch(&self, py: Python<'_>, lesson: &Lesson, listener: Option<Py<PyAny>>) -> PyResult<String> {
        let result = Listener::new(listener)
            .attend(py, |observer| self.locked(|learner| learner.epoch(&lesson.0, observer)))?;
        serde_json::to_string(&result).map_err(misused)
    }

    /// Loss and metrics by name.
    fn evaluate(
        &self,
        py: Python<'_>,
        lesson: &Lesson,
        listener: Option<Py<PyAny>>,
    ) -> PyResult<Vec<(String, f64)>> {
        Listener::new(listener)
            .attend(py, |observer| self.locked(|learner| learner.evaluate(&lesson.0, observer)))
    }

    /// An array for each output. `recipe`, JSON, says that integers are simulated.
    fn predict<'py>(
        &self,
        py: Python<'py>,
        inputs: Vec<Bound<'py, PyAny>>,
        batch_size: usize,
        recipe: Option<&str>,
        threads: Option<usize>,
        listener: Option<Py<PyAny>>,
    ) -> PyResult<Vec<Bound<'py, PyAny>>> {
        let samples =
            inputs.iter().map(|array| arrays::samples(array, None)).collect::<PyResult<Vec<_>>>()?;
        let aware = recipe.map(|text| options::read::<Recipe>(text).map(options::aware)).transpose()?;
        let run = options::run_options(threads);
        let outputs = Listener::new(listener).attend(py, |observer| {
            self.locked(|learner| learner.predict(samples, batch_size, aware.as_ref(), &run, observer))
        })?;
        outputs.iter().map(|output| arrays::to_numpy(py, output)).collect()
    }

    /// The bytes of the model's file as it is now.
    fn to_bytes<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        let bytes =
            py.detach(|| self.locked(|learner| learner.to_bytes())).map_err(|error| raised(&error))?;
        Ok(PyBytes::new(py, &bytes))
    }

    /// Layer, variable, whether it is trained, and value of each weight.
    fn weights<'py>(&self, py: Python<'py>) -> PyResult<Vec<Told<'py>>> {
        let weights =
            py.detach(|| self.locked(|learner| Ok(learner.weights()))).map_err(|error| raised(&error))?;
        let told = |weight: &litesmith::Weight| {
            let value = arrays::to_numpy(py, &weight.value)?;
            Ok((weight.layer.clone(), weight.variable.clone(), weight.trainable, value))
        };
        weights.iter().map(told).collect()
    }

    /// Gives all weights other values, in the order of `weights`.
    fn set_weights(&self, values: Vec<Bound<'_, PyAny>>) -> PyResult<()> {
        let values = values.iter().map(arrays::from_numpy).collect::<PyResult<Vec<_>>>()?;
        self.told(|learner| learner.set_weights(&values))
    }

    /// The learning rate of the last step.
    fn learning_rate(&self) -> PyResult<Option<f32>> {
        self.told(|learner| Ok(learner.learning_rate()))
    }

    /// Changes the learning rate of the training that goes on.
    fn set_learning_rate(&self, rate: f32) -> PyResult<()> {
        self.told(|learner| learner.set_learning_rate(rate))
    }

    /// The share of the weights of pruned layers that is pruned.
    fn sparsity(&self) -> PyResult<Option<f64>> {
        self.told(|learner| Ok(learner.sparsity()))
    }

    /// Number of steps so far.
    fn steps(&self) -> PyResult<u64> {
        self.told(|learner| Ok(learner.steps()))
    }

    /// Takes up losses, metrics and the optimizer anew at the next epoch.
    fn recompile(&self) -> PyResult<()> {
        self.told(|learner| {
            learner.recompile();
            Ok(())
        })
    }
}
