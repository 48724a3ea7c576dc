//! Makes neural networks small and fast on a CPU, without TensorFlow.
//!
//! Each verb of the command line is a function here: options in, a serializable result out.
//!
//! ```no_run
//! use litesmith::{ConvertOptions, DataOptions, Quantization, Silent, convert};
//!
//! let options = ConvertOptions::new(Quantization::Int8).with_calibration(DataOptions::new("photos/"));
//! let result = convert("model.keras".as_ref(), "model.tflite".as_ref(), &options, &Silent)?;
//! println!("{} bytes became {}", result.input_bytes, result.output_bytes);
//! # Ok::<(), litesmith::Error>(())
//! ```
#![forbid(unsafe_code)]

mod bench;
mod check;
mod convert;
mod demo;
mod error;
mod evaluate;
mod feed;
mod inspect;
mod interpreter;
mod learnt;
mod observer;
mod process;
mod prune;
mod run;
mod seeded;
mod shapes;
mod source;
mod train;
pub mod zoo;

pub use bench::{BenchOptions, BenchResult, Latency, OperatorTime, bench};
pub use check::Check;
pub use convert::write::put;
pub use convert::{ConvertOptions, ConvertResult, FloatOperator, Layout, convert};
pub use demo::{DemoOptions, DemoResult, DemoRow, demo};
pub use error::{Error, Unsupported};
pub use evaluate::{EvaluateResult, evaluate};
pub use feed::DataOptions;
pub use inspect::{InspectOptions, InspectResult, Layer, TensorDetails, inspect, inspect_with};
pub use interpreter::{EntryPoint, Interpreter};
pub use litesmith_data::{Array as SampleArray, Crop, ElementType, Preprocess};
pub use litesmith_graph::{DType, Format};
pub use litesmith_prune::{
    Outcome as PrunedLayer, Policy as PrunePolicy, Pooling as PrunePooling, PruneRecipe, PruneRule,
    ShrunkLayer, Structure as PruneStructure,
};
pub use litesmith_quantize::{InterfaceType, Observer as RangeObserver, Ranges, Recipe, Repair};
pub use litesmith_runtime::{Array, Interrupt, Isa, Options as RunOptions};
pub use litesmith_train::{
    ClassWeights, ConfigError, EarlyStopping, FitOptions, Loss, LossKind, Metric, MetricKind,
    OptimizerConfig, OptimizerKind, Schedule,
};
pub use observer::{Observer, Silent};
pub use process::available_memory;
pub use prune::{PruneOptions, PruneResult, prune};
pub use run::{Prediction, RunResult, run};
pub use shapes::BatchSize;
pub use train::{
    EpochResult, Learner, PerOutput, PruneTraining, QuantizeAware, SimulatedParts, StepOperator, StepTime,
    TrainOptions, TrainResult, Weight, train,
};

use serde::Serialize;

/// What the weights and activations of a converted model become.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Quantization {
    /// As the source is: what is quantized stays so, and nothing else is quantized.
    #[default]
    Keep,
    /// Single precision throughout: a quantized source becomes real numbers again.
    None,
    /// int8 weights; activations are quantized while the model runs.
    Dynamic,
    /// float16 weights.
    Float16,
    /// int8 weights and activations, with a float interface unless asked otherwise.
    Int8,
    /// As `Int8` with an integer interface; an operator that would stay float is an error.
    Int8Only,
    /// int8 weights and int16 activations, with a float interface unless asked otherwise.
    Int16x8,
}
