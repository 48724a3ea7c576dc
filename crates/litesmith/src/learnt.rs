//! What quantization-aware training leaves in a `.keras` file for the conversion: a member that Keras ignores.

use std::path::Path;

use bytes::Bytes;
use litesmith_formats::{keras, mapping};
use litesmith_graph::Format;
use litesmith_quantize::{Recipe, Statistics};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::Error;

/// Its name in the archive.
const MEMBER: &str = "litesmith/quantization.json";

/// Version of its form.
const VERSION: u32 = 1;

/// By what a model was trained to be quantized.
#[derive(Clone, Debug)]
pub(crate) struct Learnt {
    /// What its layers become.
    pub(crate) recipe: Recipe,
    /// The range of every tensor that becomes integers.
    pub(crate) statistics: Statistics,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    version: u32,
    recipe: Recipe,
    statistics: Value,
}

impl Learnt {
    /// What a file keeps; `None` where it is no `.keras` file or was not trained so.
    pub(crate) fn read(path: &Path) -> Result<Option<Learnt>, Error> {
        if !path.is_file() || litesmith_formats::detect(path)? != Format::Keras {
            return Ok(None);
        }
        Learnt::of(&mapping::open(path)?).map_err(|error| error.about(path))
    }

    /// What the bytes of a `.keras` file keep.
    pub(crate) fn of(archive: &Bytes) -> Result<Option<Learnt>, Error> {
        let Some(member) = keras::member(archive, MEMBER)? else { return Ok(None) };
        let broken = |reason: String| Error::Broken(format!("member '{MEMBER}': {reason}"));
        let file: File = serde_json::from_slice(&member).map_err(|error| broken(error.to_string()))?;
        if file.version != VERSION {
            return Err(broken(format!("version {} is not known, {VERSION} is", file.version)));
        }
        let statistics = Statistics::from_json(&file.statistics.to_string());
        let statistics = statistics.map_err(|error| broken(error.to_string()))?;
        Ok(Some(Learnt { recipe: file.recipe, statistics }))
    }

    /// The file `original` with the weights of `model`, and this beside them.
    pub(crate) fn write(&self, original: &Bytes, model: &litesmith_graph::Model) -> Result<Vec<u8>, Error> {
        let failed = |error: serde_json::Error| Error::Failed(error.to_string());
        let statistics = serde_json::from_str(&self.statistics.to_json()).map_err(failed)?;
        let file = File { version: VERSION, recipe: self.recipe.clone(), statistics };
        let text = serde_json::to_vec_pretty(&file).map_err(failed)?;
        Ok(keras::write_keras(original, model, &[(MEMBER, &text)])?)
    }
}
