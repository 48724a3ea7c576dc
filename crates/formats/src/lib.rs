//! Bytes to models and back: Keras, SavedModel, ONNX and TFLite.
//!
//! Readers trust nothing in a file: every size, offset, count, shape and recursion is checked, no
//! code in a file is run, and no file is read that was not named. Writers hand out bytes;
//! [`output`] puts them into place.
#![deny(unsafe_code)]

mod composed;
mod detect;
mod emit;
mod error;
mod inputs;
pub mod keras;
pub mod mapping;
mod messages;
pub mod onnx;
pub mod output;
mod refusal;
pub mod savedmodel;
pub mod tflite;

use std::path::Path;

use bytes::Bytes;
use litesmith_graph::{Format, Model};

pub use detect::{detect, detect_bytes};
pub use error::{FormatError, Unsupported};

/// Reads a model of any known format, which is told by content.
///
/// # Errors
/// Those of [`detect`] and of the format's reader; [`FormatError::UnsupportedFormat`] for formats
/// that are known but not read yet.
pub fn read(path: &Path) -> Result<Model, FormatError> {
    let format = detect(path)?;
    let model = match format {
        Format::Tflite => return tflite::read(mapping::open(path)?),
        Format::Keras => keras::read_keras(mapping::open(path)?)?,
        Format::H5 => keras::read_h5(mapping::open(path)?)?,
        Format::SavedModel => savedmodel::read(path)?,
        Format::Onnx => return onnx::read(path),
        Format::Memory => {
            return Err(FormatError::UnsupportedFormat { path: path.to_owned(), format });
        }
    };
    litesmith_graph::validate(&model)?;
    Ok(model)
}

/// Reads the bytes of a model file: TFLite, `.keras` or `.h5`, which is told by content.
///
/// # Errors
/// As [`read`].
pub fn read_bytes(bytes: Bytes) -> Result<Model, FormatError> {
    let format = detect_bytes(&bytes)?;
    let model = match format {
        Format::Tflite => return tflite::read(bytes),
        Format::Keras => keras::read_keras(bytes)?,
        Format::H5 => keras::read_h5(bytes)?,
        Format::SavedModel | Format::Onnx | Format::Memory => {
            return Err(FormatError::UnsupportedFormat { path: "the bytes given".into(), format });
        }
    };
    litesmith_graph::validate(&model)?;
    Ok(model)
}
