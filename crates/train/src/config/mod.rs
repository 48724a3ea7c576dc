//! How losses, metrics, optimizers and schedules are named: by Keras' names, alone or with options.
//!
//! Three forms say the same:
//!
//! - a name: `adam`, `sparse_categorical_crossentropy`, `SparseCategoricalCrossentropy` (case,
//!   underscores and hyphens do not matter);
//! - an object whose `name` says what it is, with options beside it: `{"name": "sgd", "momentum": 0.9}`;
//! - Keras' own serialized form, `{"class_name": "SGD", "config": {"momentum": 0.9, ...}, ...}`, as a
//!   `.keras` file keeps it in `compile_config`.
//!
//! An unknown name or option is an error that lists the known ones.

mod compile;
mod error;
mod object;

pub use compile::{CompileConfig, LossTerm};
pub use error::ConfigError;
pub(crate) use object::{Bound, Object, keras_form, normalized, object_form};
