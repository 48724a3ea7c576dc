//! Why a model cannot be quantized.

use litesmith_graph::ModelError;
use litesmith_runtime::RuntimeError;
use thiserror::Error;

use crate::mode::Mode;
use crate::report::Outcome;

/// Why a model cannot be quantized.
#[derive(Debug, Error)]
pub enum QuantizeError {
    /// Integer activations need ranges.
    #[error("mode {0} needs calibration data: the ranges of activations cannot be guessed")]
    NoStatistics(Mode),
    /// There is no sample to calibrate with.
    #[error("the calibration data hold no sample")]
    NoSamples,
    /// A tensor of the model has no range in the statistics.
    #[error(
        "the statistics hold no range of tensor '{0}': they were taken from another model, or for another mode"
    )]
    MissingRange(String),
    /// An observer needs counts that were not taken.
    #[error(
        "the statistics do not say how often tensor '{0}' had which value, which this observer needs: \
         measure them anew with --calibration and this observer"
    )]
    NoHistogram(String),
    /// A value that has no place on any grid.
    #[error("sample {sample}: tensor '{tensor}' holds {value}; inputs and weights must give finite numbers")]
    NotFinite {
        /// Which sample, from 0.
        sample: usize,
        /// Name of the tensor.
        tensor: String,
        /// The value.
        value: f32,
    },
    /// A weight that is no finite number, or too large for the target type.
    #[error("layer '{layer}': weight '{tensor}' holds {value}, which {target} cannot hold")]
    Weight {
        /// Name of the layer.
        layer: String,
        /// Name of the tensor.
        tensor: String,
        /// The value.
        value: f32,
        /// The type it was to become.
        target: &'static str,
    },
    /// A quantized constant that is stored without its zeros.
    #[error("constant '{0}' is quantized and stored sparsely: it cannot be made real")]
    Sparse(String),
    /// Operators without integer kernel where only integers are allowed.
    #[error("no integer kernel: {}", list(.0))]
    FloatLeft(Vec<Outcome>),
    /// The model does not fit itself.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The model does not run.
    #[error(transparent)]
    Runtime(#[from] RuntimeError),
}

fn list(outcomes: &[Outcome]) -> String {
    let line = |outcome: &Outcome| {
        format!(
            "layer '{}' ({}): {}",
            outcome.layer,
            outcome.operator,
            outcome.reason.as_deref().unwrap_or_default()
        )
    };
    outcomes.iter().map(line).collect::<Vec<_>>().join("; ")
}
