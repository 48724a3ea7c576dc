#![forbid(unsafe_code)]
//! Data sets: image folders, npz, npy, idx, CSV; decoding, resizing, preprocessing, batches.
//!
//! [`Dataset::open`] finds out by content what a path holds, checks it against the inputs of a
//! model ([`InputSpec`]) and hands out batches as [`Array`]s of exactly the inputs' types and shapes:
//!
//! ```no_run
//! use litesmith_data::{Dataset, ElementType, InputSpec, Options, Preprocess};
//!
//! let input = InputSpec::new("image", &[Some(224), Some(224), Some(3)], ElementType::F32);
//! let mut options = Options::default();
//! options.preprocess = Preprocess::Tf;
//! let photos = Dataset::open("photos", &[input], &options)?;
//! for batch in photos.batches(32)? {
//!     let batch = batch?;
//!     println!("{} samples of shape {:?}", batch.len(), batch.inputs[0].shape());
//! }
//! # Ok::<(), litesmith_data::DataError>(())
//! ```
//!
//! What each kind of source holds is told at [`Dataset::open`]. Files come from strangers:
//! whatever a file declares is checked against its real length before memory is taken for it.

#[cfg(target_endian = "big")]
compile_error!("arrays are kept as little-endian bytes; big-endian machines are not supported");

mod array;
mod batches;
mod buffer;
mod csv;
mod dataset;
mod element;
mod error;
mod fit;
mod idx;
mod images;
mod npy;
pub mod npz;
mod open;
mod options;
mod pixels;
mod preprocess;
mod resize;
mod store;
mod targets;

pub use array::Array;
pub use batches::{Batch, Batches};
pub use dataset::Dataset;
pub use element::{Element, ElementType};
pub use error::{Category, DataError};
pub use options::{Crop, InputSpec, Options};
pub use preprocess::Preprocess;
pub use targets::Target;
