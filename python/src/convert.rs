//! `convert` and `inspect`.

use std::path::PathBuf;

use litesmith::DataOptions;
use pyo3::prelude::*;

use crate::arrays;
use crate::errors::{misused, raised};
use crate::observer::Listener;
use crate::options::{self, Convert};

/// Converts a model file; `options` and the result are JSON. `calibration` holds an array of samples for each
/// input, in the model's order.
#[pyfunction]
pub(crate) fn convert(
    py: Python<'_>,
    input: PathBuf,
    output: PathBuf,
    options: &str,
    calibration: Option<Vec<Bound<'_, PyAny>>>,
    listener: Option<Py<PyAny>>,
) -> PyResult<String> {
    let options: Convert = options::read(options)?;
    let samples = |all: Vec<Bound<'_, PyAny>>| -> PyResult<DataOptions> {
        let arrays = all.iter().map(|array| arrays::samples(array, None)).collect::<PyResult<_>>()?;
        Ok(DataOptions::from_arrays(arrays, Vec::new()))
    };
    let listener = Listener::new(listener);
    let mut options = options.options(calibration.map(samples).transpose()?)?;
    options.run = options.run.with_interrupt(listener.interrupt());
    let result = listener.attend(py, |observer| litesmith::convert(&input, &output, &options, observer))?;
    serde_json::to_string(&result).map_err(misused)
}

/// What a model file holds, as JSON.
#[pyfunction]
pub(crate) fn inspect(py: Python<'_>, path: PathBuf) -> PyResult<String> {
    let result = py.detach(|| litesmith::inspect(&path)).map_err(|error| raised(&error))?;
    serde_json::to_string(&result).map_err(misused)
}
