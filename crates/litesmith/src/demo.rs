//! `demo`: the whole story on a model and images that the program carries along.

use std::path::{Path, PathBuf};
use std::time::Instant;

use litesmith_runtime::Options as RunOptions;
use serde::Serialize;

use crate::Quantization;
use crate::bench::{BenchOptions, bench};
use crate::convert::write::put;
use crate::convert::{ConvertOptions, convert};
use crate::error::Error;
use crate::evaluate::{EvaluateResult, evaluate};
use crate::feed::DataOptions;
use crate::observer::{Observer, Silent, go_on};
use crate::train::{QuantizeAware, TrainOptions, train};

/// A Fashion-MNIST classifier trained by `examples/fashion/train.py`, and images of that set (MIT).
const MODEL: &[u8] = include_bytes!("../assets/fashion.keras");
const CALIBRATION: &[u8] = include_bytes!("../assets/fashion-calibration.npz");
const TEST: &[u8] = include_bytes!("../assets/fashion-test.npz");
const TRAINING: &[u8] = include_bytes!("../assets/fashion-train.npz");

/// Modes in the order of the table, with the ending of the file's name that the field knows.
const MODES: [(Quantization, &str); 5] = [
    (Quantization::None, "float32"),
    (Quantization::Float16, "float16"),
    (Quantization::Dynamic, "dynamic_range_quant"),
    (Quantization::Int8, "integer_quant"),
    (Quantization::Int8Only, "full_integer_quant"),
];

/// Learning rate of the epoch in which the model gets used to integers.
const LEARNING_RATE: f64 = 1e-4;

/// Runs that each latency is the median of.
const RUNS: usize = 200;

/// How the demo runs.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct DemoOptions {
    /// Folder for the files; one in the system's folder for temporary files where left out.
    pub folder: Option<PathBuf>,
    /// How models are run.
    pub run: RunOptions,
}

/// What the demo shows.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct DemoResult {
    /// Version of this form.
    pub schema_version: u32,
    /// Folder with all files.
    pub folder: PathBuf,
    /// Size of the source model.
    pub source_bytes: u64,
    /// Accuracy of the source model.
    pub source_accuracy: f64,
    /// Number of test images.
    pub samples: usize,
    /// One row for each mode.
    pub rows: Vec<DemoRow>,
    /// Wall-clock time of everything.
    pub seconds: f64,
}

/// What one mode gives.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct DemoRow {
    /// The mode.
    pub mode: Quantization,
    /// Whether the model was trained for another epoch with simulated integers before, and converted without
    /// data.
    pub quantize_aware: bool,
    /// The written file.
    pub file: PathBuf,
    /// Its size.
    pub bytes: u64,
    /// Accuracy on the test images.
    pub accuracy: f64,
    /// Share of test images that get the class which the source gives them.
    pub agreement: f64,
    /// Median milliseconds for one image.
    pub latency_ms: f64,
    /// Signal-to-noise ratio against the source in dB; `None` where exact.
    pub snr_db: Option<f64>,
}

/// Converts the carried model in every mode, and once more after quantization-aware training; evaluates
/// and times each.
///
/// # Errors
/// If a file cannot be written, or the user stops the demo.
pub fn demo(options: &DemoOptions, observer: &dyn Observer) -> Result<DemoResult, Error> {
    let start = Instant::now();
    let folder = options.folder.clone().unwrap_or_else(|| std::env::temp_dir().join("litesmith-demo"));
    std::fs::create_dir_all(&folder)
        .map_err(|error| Error::Failed(format!("{}: {error}", folder.display())))?;
    let place = |name: &str, bytes: &[u8]| -> Result<PathBuf, Error> {
        let path = folder.join(name);
        put(&path, bytes)?;
        Ok(path)
    };
    let files = Files {
        model: place("fashion.keras", MODEL)?,
        calibration: DataOptions::new(place("fashion-calibration.npz", CALIBRATION)?),
        test: DataOptions::new(place("fashion-test.npz", TEST)?),
        training: DataOptions::new(place("fashion-train.npz", TRAINING)?),
    };
    observer.stage("demo", MODES.len() + 3);
    let source = evaluate(&files.model, &files.test, &options.run, &Silent)?;
    observer.step();
    let mut rows = Vec::with_capacity(MODES.len());
    for (mode, ending) in MODES {
        go_on(observer)?;
        let convert_options = ConvertOptions::new(mode).with_calibration(files.calibration.clone());
        let file = folder.join(format!("fashion_{ending}.tflite"));
        let timed = Conversion { from: &files.model, to: file, options: convert_options };
        rows.push(row(timed, &files, &source, options)?);
        observer.step();
    }
    let aware = folder.join("fashion_quantize_aware.keras");
    train_with_integers(&files, &aware, options)?;
    observer.step();
    go_on(observer)?;
    let conversion = Conversion {
        from: &aware,
        to: folder.join("fashion_quantize_aware.tflite"),
        options: ConvertOptions::new(Quantization::Int8Only),
    };
    rows.push(DemoRow { quantize_aware: true, ..row(conversion, &files, &source, options)? });
    observer.step();
    Ok(DemoResult {
        schema_version: 1,
        folder,
        source_bytes: MODEL.len() as u64,
        source_accuracy: source.accuracy,
        samples: source.samples,
        rows,
        seconds: start.elapsed().as_secs_f64(),
    })
}

struct Files {
    model: PathBuf,
    calibration: DataOptions,
    test: DataOptions,
    training: DataOptions,
}

/// An epoch with simulated integers.
fn train_with_integers(files: &Files, to: &Path, options: &DemoOptions) -> Result<(), Error> {
    let mut train_options = TrainOptions::new(files.training.clone());
    train_options.quantize_aware = Some(QuantizeAware::default());
    train_options.learning_rate = Some(LEARNING_RATE);
    train_options.run = options.run.clone();
    train(&files.model, to, &train_options, &Silent).map(drop)
}

struct Conversion<'a> {
    from: &'a Path,
    to: PathBuf,
    options: ConvertOptions,
}

fn row(
    conversion: Conversion<'_>,
    files: &Files,
    source: &EvaluateResult,
    options: &DemoOptions,
) -> Result<DemoRow, Error> {
    let Conversion { from, to: file, options: mut convert_options } = conversion;
    let mode = convert_options.quantize;
    convert_options.run = options.run.clone();
    let converted = convert(from, &file, &convert_options, &Silent)?;
    let evaluated = evaluate(&file, &files.test, &options.run, &Silent)?;
    let mut bench_options = BenchOptions::new(1, RUNS);
    bench_options.run = options.run.clone();
    let timed = bench(&file, &bench_options, &Silent)?;
    let same = evaluated.classes.iter().zip(&source.classes).filter(|(a, b)| a == b).count();
    Ok(DemoRow {
        mode,
        quantize_aware: false,
        file,
        bytes: converted.output_bytes,
        accuracy: evaluated.accuracy,
        agreement: same as f64 / source.samples.max(1) as f64,
        latency_ms: timed.latency_ms.median,
        snr_db: converted.check.snr_db,
    })
}
