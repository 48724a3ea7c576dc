//! Reads TensorFlow's SavedModel folders and frozen graphs.
//!
//! - [`proto`], [`tensor`], [`attributes`]: the messages, constants and attributes of TensorFlow
//! - [`flow`]: a signature as one flow of operations

mod attributes;
mod decode;
mod flow;
mod proto;
mod tensor;
