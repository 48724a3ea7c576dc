//! Whole flows: files read, written and read again.

mod keras;
mod saved_model;
mod tflite;
