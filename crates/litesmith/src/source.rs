//! Model files as all verbs read them.

use std::fs::Metadata;
use std::path::Path;

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
    let ahead = memory_ahead(path, options);
    Ok((read(path)?, ahead))
}

/// Memory for the weights of a model in a file of its own: see [`RunOptions::memory_ahead`].
pub(crate) fn memory_ahead(path: &Path, options: &RunOptions) -> Option<Ahead> {
    let metadata = path.metadata().ok().filter(Metadata::is_file)?;
    options.memory_ahead(metadata.len())
}

/// Takes the transpositions out of a model whose operators are channels first in its file.
pub(crate) fn arrange(model: &mut Model) -> Result<(), ModelError> {
    if model.source.format == Format::Onnx {
        channels_last(model, Interface::Source)?;
    }
    Ok(())
}
