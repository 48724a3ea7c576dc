//! `zoo check`: what of the zoo is supported, by doing it.

mod float;
mod given;
mod trial;

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Instant;

use litesmith_data::{Array, npz};
use litesmith_runtime::Options as RunOptions;
use litesmith_zoo::Entry;
use serde::Serialize;
use tempfile::TempDir;

use super::noise_images;
use crate::convert::size_of;
use crate::error::Error;
use crate::observer::Observer;
use crate::process::peak_rss_mb;
use float::preprocessed;
use trial::{Images, Trial, Truth};

/// Height and width of images where nothing else is asked for: enough for every network, and little work.
const SIZE: usize = 96;
/// Images that ranges are measured on.
const CALIBRATION: usize = 16;
/// Images that files are compared on.
const HELD_OUT: usize = 8;
/// Seeds of both.
const SEEDS: [u64; 2] = [1, 2];

/// How the names of those networks begin that are checked where none is named.
const USUAL: [&str; 4] = ["ResNet", "DenseNet", "EfficientNet", "MobileNet"];

/// What is done for a row: the model is made and run, then each of its cells.
const PARTS: usize = 5;

/// What is checked.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct CheckOptions {
    /// Networks by name; where empty the classifiers that are most in use.
    pub names: Vec<String>,
    /// Height and width of their images.
    pub size: usize,
    /// A folder to keep the files of each network in, under its name; left out: they go as soon as they are
    /// compared.
    pub keep: Option<PathBuf>,
    /// How models are run.
    pub run: RunOptions,
}

impl Default for CheckOptions {
    /// The usual networks for images of 96 pixels.
    fn default() -> CheckOptions {
        CheckOptions { names: Vec::new(), size: SIZE, keep: None, run: RunOptions::default() }
    }
}

/// What is supported. Its JSON form is the result of `litesmith zoo check --json`.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct CheckResult {
    /// Version of this form.
    pub schema_version: u32,
    /// Height and width of the images.
    pub size: usize,
    /// One row for each network.
    pub rows: Vec<CheckRow>,
    /// Wall-clock time of everything.
    pub seconds: f64,
    /// Largest resident size of the process in megabytes, where the system tells.
    pub peak_rss_mb: Option<f64>,
}

/// What one network gives.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct CheckRow {
    /// Its name in `keras.applications`.
    pub name: String,
    /// Whether calibration makes a file of integers alone that is near the float model.
    pub ptq: bool,
    /// Whether quantization-aware training does, near what it has simulated.
    pub qat: bool,
    /// Whether the float ONNX file gives what the model gives.
    pub onnx_float: bool,
    /// Whether the quantized ONNX file gives what the int8 TFLite file gives.
    pub onnx_quantized: bool,
    /// The operator set of both ONNX files, the later where they differ.
    pub opset: Option<u32>,
    /// Size of the `.keras` file.
    pub float_bytes: u64,
    /// Size of the int8 TFLite file.
    pub bytes: Option<u64>,
    /// Signal-to-noise ratio of the int8 TFLite file against the float model; `None` where exact or not `ptq`.
    pub snr_db: Option<f64>,
    /// The same behind quantization-aware training, against what training has simulated.
    pub qat_snr_db: Option<f64>,
    /// Steps of its output by which the quantized ONNX file is off from the int8 TFLite file.
    pub onnx_steps: Option<f32>,
    /// Why cells are not true.
    pub reason: Option<String>,
    /// Wall-clock time.
    pub seconds: f64,
}

impl CheckRow {
    /// Whether every cell is true.
    #[must_use]
    pub fn passed(&self) -> bool {
        self.ptq && self.qat && self.onnx_float && self.onnx_quantized
    }
}

impl fmt::Display for CheckRow {
    /// The row in a line, for those who wait.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, seconds, .. } = self;
        match &self.reason {
            None => write!(f, "{name}: supported ({seconds:.1} s)"),
            Some(reason) => write!(f, "{name}: {reason} ({seconds:.1} s)"),
        }
    }
}

impl CheckResult {
    /// Which networks have a cell that is not true.
    #[must_use]
    pub fn failed(&self) -> Vec<&str> {
        self.rows.iter().filter(|row| !row.passed()).map(|row| row.name.as_str()).collect()
    }
}

/// Makes each network with random weights and the batch statistics that these weights give, and fills its row by
/// doing what the row says: one network after the other, in files of a temporary folder.
///
/// A cell that is not true is no error, but has its reason in the row.
///
/// # Errors
/// [`Error::Usage`] if there is no network of a name, or none for images of this size; [`Error::Failed`] if files
/// cannot be written; [`Error::Interrupted`].
pub fn check(options: &CheckOptions, observer: &dyn Observer) -> Result<CheckResult, Error> {
    let start = Instant::now();
    let entries = entries(options)?;
    check_sizes(&entries, options.size)?;
    let raw =
        [noise_images(CALIBRATION, options.size, SEEDS[0])?, noise_images(HELD_OUT, options.size, SEEDS[1])?];
    observer.stage("zoo check", entries.len() * PARTS);
    let mut rows = Vec::with_capacity(entries.len());
    for entry in entries {
        let row = check_network(entry, &raw, options, observer)?;
        observer.detail(&row.to_string());
        rows.push(row);
    }
    Ok(CheckResult {
        schema_version: 1,
        size: options.size,
        rows,
        seconds: start.elapsed().as_secs_f64(),
        peak_rss_mb: peak_rss_mb(),
    })
}

/// The networks that are asked for, each for images of this size.
fn entries(options: &CheckOptions) -> Result<Vec<&'static Entry>, Error> {
    if options.names.is_empty() {
        let usual = |entry: &&Entry| USUAL.iter().any(|family| entry.name.starts_with(family));
        return Ok(litesmith_zoo::entries().iter().filter(usual).collect());
    }
    options.names.iter().map(|name| Ok(litesmith_zoo::entry(name)?)).collect()
}

/// Refuses networks that do not take images of this size, before time is spent on others.
fn check_sizes(entries: &[&Entry], size: usize) -> Result<(), Error> {
    let options = litesmith_zoo::Options { size: Some(size), ..litesmith_zoo::Options::default() };
    entries.iter().try_for_each(|entry| Ok(litesmith_zoo::build(entry.name, &options).map(drop)?))
}

fn check_network(
    entry: &Entry,
    raw: &[Array; 2],
    options: &CheckOptions,
    observer: &dyn Observer,
) -> Result<CheckRow, Error> {
    let start = Instant::now();
    let folder = Folder::new(options.keep.as_deref(), entry.name)?;
    let folder = folder.path();
    let keras = folder.join("model.keras");
    let within = Within { observer, network: entry.name };
    let [calibration, held_out] = [preprocessed(&raw[0], entry)?, preprocessed(&raw[1], entry)?];
    let images = Images { calibration, held_out };
    let trial = Trial { keras: &keras, folder, images: &images, run: &options.run, observer: &within };
    if options.keep.is_some() {
        let arrays = [images.held_out.clone().named("image")];
        npz::write(&folder.join("images.npz"), &arrays, npz::Compression::Stored)?;
    }
    let written = float::write(entry, options.size, &images.calibration, &options.run, &keras, &within);
    let truth = written.and_then(|()| trial.truth());
    let mut row =
        CheckRow { name: entry.name.to_owned(), float_bytes: size_of(&keras), ..CheckRow::default() };
    observer.step();
    fill(&mut row, truth, &trial, observer)?;
    row.seconds = start.elapsed().as_secs_f64();
    Ok(row)
}

/// Where the files of a network are.
enum Folder {
    /// Only until they are compared.
    Passing(TempDir),
    Kept(PathBuf),
}

impl Folder {
    fn new(keep: Option<&Path>, network: &str) -> Result<Folder, Error> {
        let Some(keep) = keep else {
            let made =
                tempfile::tempdir().map_err(|error| Error::Failed(format!("a temporary folder: {error}")));
            return made.map(Folder::Passing);
        };
        let folder = keep.join(network);
        match std::fs::create_dir_all(&folder) {
            Ok(()) => Ok(Folder::Kept(folder)),
            Err(error) => Err(Error::Failed(format!("{}: {error}", folder.display()))),
        }
    }

    fn path(&self) -> &Path {
        match self {
            Folder::Passing(folder) => folder.path(),
            Folder::Kept(folder) => folder,
        }
    }
}

/// Fills the cells.
fn fill(
    row: &mut CheckRow,
    truth: Result<Truth, Error>,
    trial: &Trial<'_>,
    observer: &dyn Observer,
) -> Result<(), Error> {
    let mut reasons = Reasons::default();
    let Some(truth) = reasons.of("float", truth)? else {
        (1..PARTS).for_each(|_| observer.step());
        row.reason = reasons.told();
        return Ok(());
    };
    let integers = reasons.of("PTQ", trial.ptq(&truth))?;
    observer.step();
    let simulated = reasons.of("QAT", trial.qat(&truth))?;
    observer.step();
    let float = reasons.of("float ONNX", trial.onnx_float(&truth))?;
    observer.step();
    let quantized = match &integers {
        Some(integers) => trial.onnx_quantized(integers),
        None => Err(Error::Check("there is no int8 file to compare with".into())),
    };
    let quantized = reasons.of("quantized ONNX", quantized)?;
    observer.step();
    (row.ptq, row.qat) = (integers.is_some(), simulated.is_some());
    (row.onnx_float, row.onnx_quantized) = (float.is_some(), quantized.is_some());
    row.opset = float.max(quantized.map(|(opset, _)| opset));
    row.onnx_steps = quantized.map(|(_, steps)| steps);
    row.bytes = integers.as_ref().map(|integers| integers.bytes);
    row.snr_db = integers.and_then(|integers| integers.snr_db);
    row.qat_snr_db = simulated.flatten();
    row.reason = reasons.told();
    Ok(())
}

/// Why cells are not true.
#[derive(Default)]
struct Reasons(Vec<String>);

impl Reasons {
    /// What a part has given; `None`, and the reason kept, where it is not as it should be.
    ///
    /// # Errors
    /// What says nothing of the network: the work was stopped, or the machine failed.
    fn of<T>(&mut self, part: &str, outcome: Result<T, Error>) -> Result<Option<T>, Error> {
        match outcome {
            Ok(value) => Ok(Some(value)),
            Err(error @ (Error::Interrupted | Error::Failed(_))) => Err(error),
            Err(error) => {
                self.0.push(format!("{part}: {error}"));
                Ok(None)
            }
        }
    }

    fn told(self) -> Option<String> {
        (!self.0.is_empty()).then(|| self.0.join("; "))
    }
}

/// Shows the stages of a network's parts beside the progress of all, and keeps their notes.
struct Within<'a> {
    observer: &'a dyn Observer,
    network: &'a str,
}

impl Observer for Within<'_> {
    fn stage(&self, name: &str, _steps: usize) {
        self.observer.status(&format!("{}: {name}", self.network));
    }

    fn stopped(&self) -> bool {
        self.observer.stopped()
    }
}
