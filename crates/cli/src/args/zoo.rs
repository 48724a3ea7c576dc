//! The arguments of `zoo`.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use litesmith::Error;
use litesmith::zoo::{BatchNormData, BuildOptions, CheckOptions};

use super::{DataArguments, MachineArguments};

/// List the networks of keras.applications, make one of them, or check what of them is supported
///
/// Alone it lists them: numbers of weights, multiply-accumulates for one image, the height and width of images, and
/// what pixels are brought to before.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  litesmith zoo")]
pub(crate) struct ZooArguments {
    #[command(subcommand)]
    pub(crate) verb: Option<ZooVerb>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ZooVerb {
    Build(Box<BuildArguments>),
    Check(CheckArguments),
}

/// Make a network of the zoo: a .keras file, without Keras
///
/// Its weights are random, by the initializers of Keras, or those of a file. Keras 3 loads what is written.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  litesmith zoo build MobileNetV2 -o model.keras --classes 10 --calibrate-bn photos/"
)]
pub(crate) struct BuildArguments {
    /// The network, by its name in keras.applications.
    name: String,
    /// The file to write: .keras.
    #[arg(long, short)]
    pub(crate) output: PathBuf,
    /// Take the weights of this file: .weights.h5 of Keras 3, weights in .h5 as Keras publishes them, or a whole .keras
    /// or .h5 model of the same layers. Random ones where left out.
    #[arg(long, value_name = "FILE")]
    weights: Option<PathBuf>,
    /// Height and width of its images; those that the network was made for where left out.
    #[arg(long, value_name = "N")]
    size: Option<usize>,
    /// How many classes it tells apart.
    #[arg(long, value_name = "N", default_value_t = 1000)]
    classes: usize,
    /// Leave out the softmax at its end.
    #[arg(long)]
    logits: bool,
    /// What random weights follow from.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Give every batch normalization the mean and variance of what it receives for these images: a folder, .npz,
    /// .npy, idx or CSV; pictures of noise where DATA is left out.
    #[arg(long, value_name = "DATA", num_args = 0..=1)]
    calibrate_bn: Option<Option<PathBuf>>,
    #[command(flatten)]
    data: DataArguments,
    #[command(flatten)]
    machine: MachineArguments,
}

impl BuildArguments {
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn options(&self) -> Result<BuildOptions, Error> {
        let mut options = BuildOptions::default();
        (options.size, options.classes, options.seed) = (self.size, self.classes, self.seed);
        options.logits = self.logits;
        options.weights = self.weights.clone();
        options.batch_norm = self.batch_norm()?;
        options.preprocess = self.data.preprocess;
        options.run = self.machine.options()?;
        Ok(options)
    }

    fn batch_norm(&self) -> Result<Option<BatchNormData>, Error> {
        let usage = |reason: &str| Err(Error::Usage(reason.into()));
        if self.data.image_size.is_some() {
            return usage(
                "--image-size has no effect: images get the height and width of the network, see --size",
            );
        }
        match &self.calibrate_bn {
            Some(Some(path)) => Ok(Some(BatchNormData::Samples(self.data.options(path)?))),
            Some(None) if self.data.crop.is_some() => usage("--crop has no effect on pictures of noise"),
            Some(None) if self.data.samples == Some(0) => usage("--samples must be at least 1"),
            Some(None) => Ok(Some(BatchNormData::Noise(self.data.samples))),
            None if self.data.any() => {
                usage("--samples, --preprocess and --crop are about the images of --calibrate-bn")
            }
            None => Ok(None),
        }
    }
}

/// Fill the support table by doing it
///
/// Each network gets seeded weights. Then it is quantized by calibration and by quantization-aware training, written
/// as ONNX, and all files are run and compared. Exit code 4 where a cell is not true.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  litesmith zoo check MobileNetV2 EfficientNetB0 --size 96")]
pub(crate) struct CheckArguments {
    /// Networks; left out: all ResNets, DenseNets, EfficientNets and MobileNets.
    names: Vec<String>,
    /// Height and width of images.
    #[arg(long, value_name = "N", default_value_t = 96, value_parser = clap::value_parser!(u32).range(1..=4096))]
    size: u32,
    /// Also write the table into this file, as Markdown.
    #[arg(long, value_name = "FILE")]
    pub(crate) markdown: Option<PathBuf>,
    /// Keep the files of each network in this folder, under its name.
    #[arg(long, value_name = "FOLDER")]
    keep: Option<PathBuf>,
    #[command(flatten)]
    machine: MachineArguments,
}

impl CheckArguments {
    pub(crate) fn options(&self) -> Result<CheckOptions, Error> {
        let mut options = CheckOptions::default();
        options.names = self.names.clone();
        options.size = self.size as usize;
        options.keep = self.keep.clone();
        options.run = self.machine.options()?;
        Ok(options)
    }
}
