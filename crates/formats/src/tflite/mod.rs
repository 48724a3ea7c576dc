//! TFLite flatbuffers, read and written.
//!
//! A model comes back as it was written: TFLite's builtin operators are the lower of the two levels
//! that [`litesmith_graph::Op`] has. Where TFLite keeps an attribute in a constant tensor (axes,
//! paddings, permutations, …), reading turns it into an attribute and writing makes the tensor
//! again. High-level operators are not written: legalization comes first.
//!
//! Versions of operators follow what TensorFlow 2.21 writes, so that the same runtimes load a file.

mod flatbuffer;
mod names;
mod read;
mod schema;
mod write;

pub(crate) use schema::IDENTIFIER;

pub use read::read;
pub use write::{Encoded, encode, write};
