//! Bytes to models and back: Keras and TFLite.
//!
//! Readers trust nothing in a file: every size, offset, count, shape and recursion is checked, no
//! code in a file is run, and no file is read that was not named. Writers hand out bytes;
//! [`output`] puts them into place.
#![deny(unsafe_code)]

mod error;
pub mod mapping;

pub use error::{FormatError, Unsupported};
