//! Training: differentiation, losses, metrics, optimizers, `fit`.
#![forbid(unsafe_code)]

mod callback;
mod config;
mod loss;
mod metric;
mod optimizer;
mod regularizer;
mod schedule;
mod shuffle;
mod target;
mod weights;

pub use callback::{Direction, EarlyStopping, Mode, ReduceLrOnPlateau, Verdict};
pub use config::{CompileConfig, ConfigError, LossTerm};
pub use loss::{LastActivation, Loss, LossKind, Reduction};
pub use metric::{Mean, Metric, MetricKind};
pub use optimizer::{
    AdamConfig, Clip, Optimizer, OptimizerConfig, OptimizerError, OptimizerKind, Progress, RmsPropConfig,
    SgdConfig, Slot, Update, Variable,
};
pub use regularizer::penalty;
pub use schedule::Schedule;
pub use shuffle::permutation;
pub use target::{Batch, TargetError, Targets};
pub use weights::ClassWeights;
