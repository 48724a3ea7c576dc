//! The Python face of litesmith: translates arguments, calls the library, hands results back. What scripts see
//! is in the Python files beside it.
#![forbid(unsafe_code)]

mod arrays;
mod convert;
mod errors;
mod interpreter;
mod learner;
mod observer;
mod options;

use pyo3::prelude::*;

/// The native part of the package.
#[pymodule]
mod _litesmith {
    use super::*;

    #[pymodule_export]
    use crate::convert::{convert, inspect};
    #[pymodule_export]
    use crate::interpreter::Interpreter;
    #[pymodule_export]
    use crate::learner::{Learner, Lesson};

    /// The version of the package.
    #[pymodule_export]
    const VERSION: &str = env!("CARGO_PKG_VERSION");

    /// Runs the command line on these arguments, the program's name first, and returns its exit code.
    #[pyfunction]
    fn main(py: Python<'_>, arguments: Vec<String>) -> u8 {
        py.detach(|| litesmith_cli::main(arguments))
    }
}
