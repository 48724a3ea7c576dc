//! Training: differentiation, losses, metrics, optimizers, `fit`.
#![forbid(unsafe_code)]

mod arrangement;
mod differentiate;
mod error;
mod gradients;
mod program;

pub use error::{TrainError, Unsupported};
