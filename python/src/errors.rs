//! Errors of the library as exceptions of the same text: the classes of `litesmith/errors.py`.

use litesmith::Error;
use pyo3::exceptions::{PyKeyboardInterrupt, PyRuntimeError};
use pyo3::prelude::*;

/// The exception for an error.
pub(crate) fn raised(error: &Error) -> PyErr {
    let class = match error {
        Error::Usage(_) => "UsageError",
        Error::Unsupported { .. } => "UnsupportedError",
        Error::Check(_) => "CheckError",
        Error::Broken(_) => "BrokenError",
        Error::Limit(_) => "LimitError",
        Error::Interrupted | Error::Paused(_) => return PyKeyboardInterrupt::new_err(()),
        _ => "FailedError",
    };
    Python::attach(|py| {
        let made = || -> PyResult<Bound<'_, PyAny>> {
            py.import("litesmith.errors")?.getattr(class)?.call1((error.to_string(),))
        };
        made().map_or_else(|failure| failure, PyErr::from_value)
    })
}

/// Names and values that only Python files of this package pass.
pub(crate) fn misused(what: impl std::fmt::Display) -> PyErr {
    PyRuntimeError::new_err(format!("the parts of this package do not fit each other: {what}"))
}
