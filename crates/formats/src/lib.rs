#![deny(unsafe_code)]
//! Bytes to models and back: Keras and TFLite.
