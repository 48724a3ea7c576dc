//! Training: differentiation, losses, metrics, optimizers, `fit`.
//!
//! A [`Trainer`] makes of a model, as its source describes it, the graph of a step: forward, then
//! backward by the chain rule, an ordinary model that the runtime plans and runs. [`fit`] walks through
//! the epochs.
//!
//! ```text
//! Model --program (training forms, differentiate)--> Model of a step --runtime::Training--> gradients --Optimizer--> weights
//! ```
//!
//! The same data, settings and seed give the same weights, bit for bit, on one instruction set, whatever
//! the number of threads.
#![forbid(unsafe_code)]

mod arrangement;
mod callback;
mod checkpoint;
mod config;
mod differentiate;
mod error;
mod fit;
mod gradients;
mod loss;
mod metric;
mod objective;
mod optimizer;
mod program;
mod regularizer;
mod schedule;
mod shuffle;
mod target;
mod trainer;
mod weights;

pub use arrangement::Arrangement;
pub use callback::{Direction, EarlyStopping, Mode, ReduceLrOnPlateau, Verdict};
pub use checkpoint::{Checkpoint, CheckpointError, restore};
pub use config::{CompileConfig, ConfigError, LossTerm};
pub use error::{TrainError, Unsupported};
pub use fit::{EpochReport, FitOptions, Flow, Hooks, Position, StepReport, Watchers, arrays, evaluate, fit};
pub use loss::{LastActivation, Loss, LossKind, Reduction};
pub use metric::{Curve, Gathered, Mean, Metric, MetricKind};
pub use objective::{Measures, Objective};
pub use optimizer::{
    AdamConfig, Clip, Optimizer, OptimizerConfig, OptimizerError, OptimizerKind, Progress, RmsPropConfig,
    SgdConfig, Slot, Update, Variable,
};
pub use regularizer::penalty;
pub use schedule::Schedule;
pub use shuffle::permutation;
pub use target::{Batch, TargetError, Targets};
pub use trainer::{Samples, Setup, Trainer};
pub use weights::ClassWeights;
