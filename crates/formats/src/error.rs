//! What can be wrong with a file.

use std::path::PathBuf;

use litesmith_graph::{Format, ModelError};
use thiserror::Error;

/// One layer or operator that a reader or writer does not support.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unsupported {
    /// Name of the layer or node.
    pub layer: String,
    /// Its class or operator.
    pub operator: String,
    /// Why it is not supported and what to do about it.
    pub reason: String,
}

/// Why a file cannot be read or written.
#[derive(Debug, Error)]
pub enum FormatError {
    /// The operating system refuses.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// The file contradicts its format.
    #[error("the file is broken: {place}: {reason}")]
    Broken {
        /// Where in the file.
        place: String,
        /// What is wrong there.
        reason: String,
    },
    /// Weights have another shape than the layer that they are for.
    #[error("{place}: its variable '{variable}' has shape {wanted:?}, the file has {found:?} for it")]
    Misfit {
        /// The layer.
        place: String,
        /// The name of the variable.
        variable: String,
        /// The shape that it has.
        wanted: Vec<usize>,
        /// The shape that the file has for it.
        found: Vec<usize>,
    },
    /// The file is of no known format.
    #[error("the format is not recognized: {0}")]
    Unrecognized(String),
    /// The format is known, but no file is of it.
    #[error("{}: {} is not read; Keras, SavedModel, ONNX and TFLite files are", path.display(), name(*format))]
    UnsupportedFormat {
        /// The file.
        path: PathBuf,
        /// Its format.
        format: Format,
    },
    /// Layers or operators that are not supported, all of them.
    #[error("not supported: {}", list(.0))]
    Unsupported(Vec<Unsupported>),
    /// A version of ONNX's operators that is not written.
    #[error("opset {asked} is not written; {least} to {most} are")]
    Opset {
        /// The version that is asked for.
        asked: u32,
        /// The oldest that is written.
        least: u32,
        /// The newest that is written.
        most: u32,
    },
    /// What the file says makes no sound model.
    #[error(transparent)]
    Model(#[from] ModelError),
}

impl FormatError {
    /// A contradiction at a place in the file.
    pub(crate) fn broken(place: impl Into<String>, reason: impl Into<String>) -> FormatError {
        FormatError::Broken { place: place.into(), reason: reason.into() }
    }
}

fn name(format: Format) -> &'static str {
    match format {
        Format::Memory => "a model in memory",
        Format::Keras => "Keras",
        Format::H5 => "Keras HDF5",
        Format::SavedModel => "TensorFlow SavedModel",
        Format::Onnx => "ONNX",
        Format::Tflite => "TFLite",
    }
}

fn list(items: &[Unsupported]) -> String {
    let line = |item: &Unsupported| format!("layer '{}' ({}): {}", item.layer, item.operator, item.reason);
    items.iter().map(line).collect::<Vec<_>>().join("; ")
}
