//! ONNX: models written as files that ONNX Runtime and others run.

mod proto;
mod write;

pub use write::{Encoded, WriteOptions, Written, encode, write};
