//! Model files as all verbs read them.

use std::path::Path;

use litesmith_formats::{detect_bytes, mapping};
use litesmith_graph::{Format, Model, ModelError};
use litesmith_passes::{Interface, channels_last};
use litesmith_runtime::{Ahead, Options as RunOptions};

use crate::error::Error;

/// Reads a model of any format, ready to be run.
pub(crate) fn read(path: &Path) -> Result<Model, Error> {
    let mut model = litesmith_formats::read(path).map_err(|error| Error::from(error).about(path))?;
    arrange(&mut model)?;
    Ok(model)
}

/// Reads a model to be run with these options, and what is to be kept until it is prepared.
pub(crate) fn read_to_run(path: &Path, options: &RunOptions) -> Result<(Model, Option<Ahead>), Error> {
    let (mut model, ahead) = read_ahead(path, options)?;
    arrange(&mut model)?;
    Ok((model, ahead))
}

/// The same, as the file has it.
pub(crate) fn read_ahead(path: &Path, options: &RunOptions) -> Result<(Model, Option<Ahead>), Error> {
    let about = |error| Error::from(error).about(path);
    if !path.is_file() {
        return Ok((litesmith_formats::read(path).map_err(about)?, None));
    }
    let file = mapping::open(path).map_err(about)?;
    let ahead = options.ahead(file.clone());
    let model = match detect_bytes(&file) {
        Ok(Format::Tflite | Format::Keras | Format::H5) => litesmith_formats::read_bytes(file),
        // What may have other files beside it.
        _ => litesmith_formats::read(path),
    };
    Ok((model.map_err(about)?, ahead))
}

/// Takes the transpositions out of a model whose operators are channels first in its file.
pub(crate) fn arrange(model: &mut Model) -> Result<(), ModelError> {
    if model.source.format == Format::Onnx {
        channels_last(model, Interface::Source)?;
    }
    Ok(())
}
