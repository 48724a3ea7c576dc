//! Model files as all verbs read them.

use std::path::Path;

use litesmith_graph::{Format, Model, ModelError};
use litesmith_passes::{Interface, channels_last};

use crate::error::Error;

/// Reads a model of any format, ready to be run.
pub(crate) fn read(path: &Path) -> Result<Model, Error> {
    let mut model = litesmith_formats::read(path).map_err(|error| Error::from(error).about(path))?;
    arrange(&mut model)?;
    Ok(model)
}

/// Takes the transpositions out of a model whose operators are channels first in its file.
pub(crate) fn arrange(model: &mut Model) -> Result<(), ModelError> {
    if model.source.format == Format::Onnx {
        channels_last(model, Interface::Source)?;
    }
    Ok(())
}
