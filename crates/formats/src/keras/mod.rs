//! Keras files: `.keras` archives and legacy `.h5`, of Keras 3 and of Keras 2 (tf_keras).
//!
//! A file holds the configuration of each layer as JSON and its weights as HDF5. Each layer becomes
//! nodes that carry its name, nested models separated by `/`; each variable becomes a
//! [`Parameter`](litesmith_graph::Parameter) in Keras' own layout, brought to the layout of the
//! operators by ordinary nodes. No code in a file is run: Lambda and custom layers are refused, all
//! of them in one error.
//!
//! - [`archive`], [`hdf5`]: the containers
//! - [`config`], [`calls`], [`architecture`]: the configuration
//! - [`weights`]: which array is which variable
//! - [`parts`]: layers made of layers
//! - [`check`], [`scope`], [`constants`], [`masks`], [`build`]: from layers to a graph
//! - [`layers`]: the layers themselves, one file per family and one table
//! - [`write`]: new weights into an existing file
//! - [`create`]: new files
//! - [`stored`]: the weights of another file

mod activations;
mod architecture;
mod archive;
mod build;
mod calls;
mod check;
mod config;
mod constants;
mod create;
mod hdf5;
mod layers;
mod masks;
mod parts;
mod scope;
mod stored;
mod training_only;
mod weights;
mod write;

use std::collections::HashMap;

use bytes::Bytes;
use litesmith_graph::{Format, Model, Source};
use serde_json::Value;

use crate::error::FormatError;
use architecture::Architecture;
use archive::Archive;
use config::Version;
use hdf5::Hdf5;

pub use create::{Place, Skeleton};
pub use hdf5::Array;
pub use stored::{Stored, WeightFile};

const CONFIGURATION: &str = "config.json";
const METADATA: &str = "metadata.json";
const WEIGHTS: &str = "model.weights.h5";

/// Reads a `.keras` archive.
///
/// # Errors
/// If the archive is damaged or contradicts itself, or holds layers that are not supported: those
/// are listed, all of them.
pub fn read_keras(file: Bytes) -> Result<Model, FormatError> {
    let mut archive = Archive::open(file)?;
    let configuration = json(CONFIGURATION, &required(&mut archive, CONFIGURATION)?)?;
    let metadata = json(METADATA, &required(&mut archive, METADATA)?)?;
    let number = metadata.get("keras_version").and_then(Value::as_str).unwrap_or("3");
    let version = Version::of(number);
    let architecture = supported(configuration, version)?;
    let weights = Hdf5::open(required(&mut archive, WEIGHTS)?)?;
    let mut model = empty(Format::Keras, number, &architecture);
    let weights = weights::from_weights_file(&architecture, &weights, &mut model)?;
    let mut assets = HashMap::new();
    for (layer, group) in weights::with_tables(&architecture) {
        if let Some(table) = archive.member(&format!("assets/{group}/vocabulary.txt"))? {
            assets.insert(layer, table);
        }
    }
    build::build(&architecture, model, weights, assets, version)
}

/// Reads a legacy `.h5` file that holds a whole model.
///
/// # Errors
/// As [`read_keras`]; also if the file holds weights alone.
pub fn read_h5(file: Bytes) -> Result<Model, FormatError> {
    let file = Hdf5::open(file)?;
    let configuration = file.text("/", "model_config")?.ok_or_else(|| {
        FormatError::broken(
            "attribute 'model_config'",
            "it is missing: the file holds weights alone; save the whole model with model.save",
        )
    })?;
    let configuration = json("attribute 'model_config'", configuration.as_bytes())?;
    let number = match file.text("/", "keras_version")? {
        Some(number) => number,
        None => "2".to_owned(),
    };
    let version = Version::of(&number);
    let architecture = supported(configuration, version)?;
    let mut model = empty(Format::H5, &number, &architecture);
    let weights = weights::from_legacy_file(&architecture, &file, &mut model)?;
    build::build(&architecture, model, weights, HashMap::new(), version)
}

/// The `.keras` archive `original` with the parameters of `model`, which was read from it. The
/// configuration and every other member stay word for word; `extra` members (name and bytes) are
/// added, or replace those of the same name. Keras ignores members that it does not know.
///
/// # Errors
/// If the archive is damaged, or the parameters no longer fit its configuration.
pub fn write_keras(original: &Bytes, model: &Model, extra: &[(&str, &[u8])]) -> Result<Vec<u8>, FormatError> {
    let mut archive = Archive::open(original.clone())?;
    let weights = write::with_parameters(&required(&mut archive, WEIGHTS)?, model)?;
    let mut replacements: Vec<(&str, &[u8])> = vec![(WEIGHTS, &weights)];
    replacements.extend_from_slice(extra);
    archive.rewritten(&replacements)
}

/// The `.h5` file `original` with the parameters of `model`, which was read from it.
///
/// # Errors
/// If the parameters no longer fit the file.
pub fn write_h5(original: &Bytes, model: &Model) -> Result<Vec<u8>, FormatError> {
    write::with_parameters(original, model)
}

/// A member of a `.keras` archive; `None` if there is none of this name.
///
/// # Errors
/// If the archive or the member is damaged.
pub fn member(file: &Bytes, name: &str) -> Result<Option<Bytes>, FormatError> {
    Archive::open(file.clone())?.member(name)
}

/// How a Keras file of this format describes its layers, as JSON; `None` for other formats.
///
/// # Errors
/// If the file is damaged.
pub fn configuration(file: &Bytes, format: Format) -> Result<Option<String>, FormatError> {
    let text = |bytes: Bytes| String::from_utf8_lossy(&bytes).into_owned();
    match format {
        Format::Keras => Ok(member(file, CONFIGURATION)?.map(text)),
        Format::H5 => Hdf5::open(file.clone())?.text("/", "model_config"),
        _ => Ok(None),
    }
}

fn required(archive: &mut Archive, name: &str) -> Result<Bytes, FormatError> {
    let member = archive.member(name)?;
    member.ok_or_else(|| FormatError::broken(format!("zip member '{name}'"), "it is missing"))
}

fn json(place: &str, text: &[u8]) -> Result<Value, FormatError> {
    serde_json::from_slice(text).map_err(|error| FormatError::broken(place, error.to_string()))
}

fn supported(configuration: Value, version: Version) -> Result<Architecture, FormatError> {
    let architecture = architecture::parse(configuration, version)?;
    match check::unsupported(&architecture) {
        none if none.is_empty() => Ok(architecture),
        some => Err(FormatError::Unsupported(some)),
    }
}

fn empty(format: Format, number: &str, architecture: &Architecture) -> Model {
    let source =
        Source { format, producer: format!("Keras {number}"), description: architecture.name.clone() };
    Model { source, ..Model::default() }
}
