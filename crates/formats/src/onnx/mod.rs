//! ONNX: models read from, and written as, files that ONNX Runtime and others run.

mod proto;
mod read;
mod write;

pub use read::{ReadOptions, decode, read, read_with};
pub use write::{Encoded, WriteOptions, Written, encode, write};
