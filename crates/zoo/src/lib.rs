//! The networks of `keras.applications`, as configurations of Keras: what a `.keras` file holds beside its
//! weights. The Keras reader makes models of them, so a network of the zoo goes the way of any other file.
//!
//! - [`network`], [`layers`]: layers that call each other, and what each of them is
//! - [`initializer`]: what weights hold before training
//! - `families`: the networks, one file per family
//! - [`models`]: the table of all names
//!
//! ```
//! let network = litesmith_zoo::build("MobileNetV2", &litesmith_zoo::Options::default())?;
//! assert_eq!(network.parameters(), 3_538_984);
//! # Ok::<(), litesmith_zoo::ZooError>(())
//! ```
#![forbid(unsafe_code)]

mod families;
mod initializer;
mod layers;
mod models;
mod network;

pub use initializer::{Distribution, Fan, Initializer};
pub use models::{Entry, Options, Preprocessing, ZooError, build, entries, entry};
pub use network::{Layer, Network, Variable};
