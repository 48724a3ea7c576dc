//! Plans and runs models: `Model -> Plan -> results`.
//!
//! An [`Interpreter`] is made of a model once: nodes that read only constants are run and their
//! results kept, weights are packed for the instruction set. The first run with certain input
//! shapes makes a plan: shapes are inferred, each node is bound to a kernel, tensors get places in
//! one arena by their lifetimes. Later runs of the same shapes walk through the plan's steps.
//!
//! ```text
//! Model --prepare (fold, fuse)--> program --plan (infer, bind, place)--> steps --run--> results
//! ```
//!
//! Inside a plan an `int8` tensor is kept as `u8` with its top bit flipped (its zero point moved by
//! 128); inputs, outputs and what [`Interpreter::observe`] shows have the model's own types.
//!
//! A batch whose samples are independent may go through the graph in slices, by plans for fewer samples.
//!
//! Results do not depend on the number of threads or on the batch that a sample is run in.
#![forbid(unsafe_code)]

mod alone;
mod array;
mod batch;
mod bind;
mod buffer;
mod dead_pixels;
mod eager;
mod error;
mod fuse;
mod interpreter;
mod options;
mod plan;
mod prepare;
mod profile;
mod states;
mod training;
mod updates;

pub use array::{Array, TensorView};
pub use error::{RuntimeError, Unsupported};
pub use interpreter::{Interpreter, TensorInfo};
pub use litesmith_kernels::{Ahead, Isa};
pub use options::{Interrupt, Options};
pub use profile::StepTime;
pub use training::{Roles, Training};
