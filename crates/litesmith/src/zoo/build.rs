//! `zoo build`: a network of the zoo as a `.keras` file.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use litesmith_data::Preprocess;
use litesmith_formats::keras;
use litesmith_runtime::Options as RunOptions;
use litesmith_zoo::{Entry, Network, Options};
use serde::Serialize;

use super::batch_norm::{Calibrated, calibrate_batch_norm};
use super::noise::noise_images;
use super::weights::{self, Filled};
use crate::convert::write::put;
use crate::error::Error;
use crate::feed::DataOptions;
use crate::observer::Observer;

/// Pictures of noise where nothing says how many.
const NOISE: usize = 32;

/// How a network is made.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct BuildOptions {
    /// Height and width of its images; those that it was made for where left out.
    pub size: Option<usize>,
    /// How many classes it tells apart.
    pub classes: usize,
    /// Whether it ends before its softmax.
    pub logits: bool,
    /// A file with its weights: `.weights.h5` of Keras 3, weights in `.h5` such as those that Keras publishes, or a
    /// whole model of the same layers. Random ones where left out.
    pub weights: Option<PathBuf>,
    /// What random weights follow from.
    pub seed: u64,
    /// What batch normalization gets its statistics from; they stay as they are where left out.
    pub batch_norm: Option<BatchNormData>,
    /// How those data are brought to the network; as the network wants it where left out.
    pub preprocess: Option<Preprocess>,
    /// Threads, instruction set and memory.
    pub run: RunOptions,
}

/// What batch normalization gets its statistics from.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum BatchNormData {
    /// Samples. Their own preprocessing is not looked at: see [`BuildOptions::preprocess`].
    Samples(DataOptions),
    /// So many [pictures of noise](noise_images); 32 where left out.
    Noise(Option<usize>),
}

impl Default for BuildOptions {
    fn default() -> BuildOptions {
        BuildOptions {
            size: None,
            classes: Options::default().classes,
            logits: false,
            weights: None,
            seed: 0,
            batch_norm: None,
            preprocess: None,
            run: RunOptions::default(),
        }
    }
}

/// What was made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct BuildResult {
    /// Version of this form.
    pub schema_version: u32,
    /// The network's name in `keras.applications`.
    pub name: &'static str,
    /// The file.
    pub path: PathBuf,
    /// Its size.
    pub bytes: u64,
    /// Numbers that the weights hold, moving statistics among them.
    pub parameters: usize,
    /// Multiply-accumulates for one image.
    pub macs: u64,
    /// Height and width of its images.
    pub size: usize,
    /// How many classes it tells apart.
    pub classes: usize,
    /// What pixels of 0 to 255 are brought to before, by the names of `--preprocess`.
    pub preprocessing: &'static str,
    /// The file that the weights are from; none where they are random.
    pub weights: Option<PathBuf>,
    /// What random weights follow from; none where they are a file's.
    pub seed: Option<u64>,
    /// What batch normalization got its statistics from; none where they stayed as they were.
    pub batch_norm: Option<Calibrated>,
    /// What else is to be known of it.
    pub note: Option<String>,
}

/// A network with weights.
pub(crate) struct Built {
    pub(crate) entry: &'static Entry,
    pub(crate) network: Network,
    /// The bytes of its `.keras` file.
    pub(crate) file: Bytes,
    pub(crate) batch_norm: Option<Calibrated>,
    pub(crate) note: Option<String>,
}

/// Makes a network of the zoo and writes it as a `.keras` file, which Keras 3 loads.
///
/// # Errors
/// If there is no network of this name, or it cannot be what the options ask for; if the file of weights is broken or
/// of another network; if data do not fit it; if the file cannot be written.
pub fn build(
    name: &str,
    output: &Path,
    options: &BuildOptions,
    observer: &dyn Observer,
) -> Result<BuildResult, Error> {
    check_output(output)?;
    let built = network(name, options, observer)?;
    put(output, &built.file)?;
    if let Some(note) = &built.note {
        observer.note(note);
    }
    Ok(BuildResult {
        schema_version: 1,
        name: built.entry.name,
        path: output.to_owned(),
        bytes: built.file.len() as u64,
        parameters: built.network.parameters(),
        macs: built.network.macs(),
        size: options.size.unwrap_or(built.entry.size),
        classes: options.classes,
        preprocessing: built.entry.preprocessing.name(),
        weights: options.weights.clone(),
        seed: options.weights.is_none().then_some(options.seed),
        batch_norm: built.batch_norm,
        note: built.note,
    })
}

/// Makes a network of the zoo, in memory.
pub(crate) fn network(name: &str, options: &BuildOptions, observer: &dyn Observer) -> Result<Built, Error> {
    let entry = litesmith_zoo::entry(name)?;
    let own = Options {
        size: options.size,
        classes: options.classes,
        logits: options.logits,
        ..Options::default()
    };
    if options.preprocess.is_some() && options.batch_norm.is_none() {
        return Err(Error::Usage("preprocessing has no effect without data for batch normalization".into()));
    }
    observer.stage("make weights", 0);
    let Filled { network, file, mut note } = match &options.weights {
        Some(path) => weights::from_file(name, &own, path)?,
        None => weights::random(name, &own, options.seed)?,
    };
    let mut file = Bytes::from(file);
    let mut model = keras::read_keras(file.clone())?;
    let mut batch_norm = None;
    if let Some(data) = &options.batch_norm {
        let data = samples(entry, data, options)?;
        let measured = calibrate_batch_norm(&mut model, &data, &options.run, observer)?;
        if measured.layers > 0 {
            file = keras::write_keras(&file, &model, &[])?.into();
        } else {
            note = Some("the network has no batch normalization: nothing was measured".to_owned());
        }
        batch_norm = Some(measured);
    }
    Ok(Built { entry, network, file, batch_norm, note })
}

/// The samples that batch normalization is measured on, brought to what the network wants.
fn samples(entry: &Entry, data: &BatchNormData, options: &BuildOptions) -> Result<DataOptions, Error> {
    let preprocess = match options.preprocess {
        Some(preprocess) => preprocess,
        None => entry.preprocessing.name().parse()?,
    };
    let samples = match data {
        BatchNormData::Samples(samples) => samples.clone(),
        BatchNormData::Noise(count) => {
            let size = options.size.unwrap_or(entry.size);
            let noise = noise_images(count.unwrap_or(NOISE), size, options.seed)?;
            DataOptions::from_arrays(vec![noise], Vec::new())
        }
    };
    Ok(samples.with_preprocess(preprocess))
}

fn check_output(output: &Path) -> Result<(), Error> {
    let extension = output.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
    let path = output.display();
    Err(Error::Usage(match extension.to_ascii_lowercase().as_str() {
        "keras" => return Ok(()),
        "tflite" | "onnx" => format!(
            "{path}: networks of the zoo are written as .keras files; name one, and then: litesmith convert \
             MODEL.keras -o {path}"
        ),
        _ => format!("{path}: networks of the zoo are written as .keras files; name one"),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_keras_files_are_written() {
        assert!(check_output("a/B.Keras".as_ref()).is_ok());
        let error = check_output("a.onnx".as_ref()).unwrap_err();
        assert!(error.to_string().ends_with("litesmith convert MODEL.keras -o a.onnx"), "{error}");
        for path in ["a.h5", "a", "a.tflite"] {
            let error = check_output(path.as_ref()).unwrap_err();
            assert!(matches!(&error, Error::Usage(text) if text.contains(".keras")), "{error}");
        }
    }
}
