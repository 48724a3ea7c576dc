use std::fmt;
use std::sync::Arc;

use litesmith_data::DataError;
use litesmith_graph::{DType, ModelError};
use litesmith_runtime::RuntimeError;
use thiserror::Error;

use crate::checkpoint::CheckpointError;
use crate::optimizer::OptimizerError;
use crate::target::TargetError;

/// Why a model cannot be trained.
#[derive(Clone, Debug, Error)]
#[non_exhaustive]
pub enum TrainError {
    /// Operators that have no gradient, or that training cannot do: all of them.
    #[error("the model cannot be trained: {}", list(.0))]
    Unsupported(Vec<Unsupported>),
    /// The model contradicts itself.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// An input has a size beside the batch that is not fixed.
    #[error("input '{0}' has no fixed size, which training needs: give it one with --input-shape")]
    InputSize(String),
    /// Not one objective for each output.
    #[error("there are {objectives} objectives for the model's {outputs} outputs")]
    Outputs {
        /// Number of outputs of the model.
        outputs: usize,
        /// Number of objectives.
        objectives: usize,
    },
    /// No output has a loss.
    #[error("no output of the model has a loss, so there is nothing to make small")]
    NoLoss,
    /// All weights are frozen, or none is used.
    #[error("the model has no weights that can be trained")]
    NothingToTrain,
    /// A weight that is no float32.
    #[error("weight '{0}' is {1}; only float32 weights can be trained")]
    WeightType(String, DType),
    /// Samples that the model does not fit, or a loss that is no number.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// What an optimizer kept does not fit the model.
    #[error(transparent)]
    Optimizer(#[from] OptimizerError),
    /// The data have no targets for an output.
    #[error("the data have neither labels nor targets for output '{0}'")]
    NoTargets(String),
    /// Weights of classes, but no classes.
    #[error("class weights need one output whose targets are labels")]
    ClassWeights,
    /// A watcher watches what there is not.
    #[error("'{0}' is watched, but no epoch shows it; without validation data there is no val_loss")]
    Watched(String),
    /// The data cannot be read.
    #[error(transparent)]
    Data(Arc<DataError>),
    /// A checkpoint that cannot be used.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// What a hook failed with.
    #[error("{0}")]
    Hook(String),
    /// An output has no known size.
    #[error("the model's output cannot be trained: {0}")]
    Output(String),
    /// A step could not be planned or run.
    #[error(transparent)]
    Runtime(#[from] RuntimeError),
}

impl TrainError {
    /// The same error with samples told by their places in the data set, of which `indices` holds the
    /// batch's.
    pub(crate) fn of_samples(self, indices: &[usize]) -> TrainError {
        match self {
            TrainError::Target(error) => TrainError::Target(error.of_samples(indices)),
            error => error,
        }
    }
}

impl From<DataError> for TrainError {
    fn from(error: DataError) -> TrainError {
        TrainError::Data(Arc::new(error))
    }
}

/// A node that cannot be trained.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unsupported {
    /// Name of its layer.
    pub layer: String,
    /// Name of its operator.
    pub operator: String,
    /// What is missing, and what to do.
    pub reason: String,
}

impl fmt::Display for Unsupported {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "layer '{}' ({}): {}", self.layer, self.operator, self.reason)
    }
}

fn list(all: &[Unsupported]) -> String {
    all.iter().map(Unsupported::to_string).collect::<Vec<_>>().join("; ")
}

/// Why a node has no gradient; the caller adds its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal(pub String);

impl From<litesmith_graph::operator::InferError> for Refusal {
    fn from(error: litesmith_graph::operator::InferError) -> Refusal {
        Refusal(error.0)
    }
}

/// Returns a [`Refusal`] made by `format!`.
macro_rules! refuse {
    ($($message:tt)*) => {
        return Err($crate::error::Refusal(format!($($message)*)))
    };
}
pub(crate) use refuse;
