//! Whole flows: files read, written and read again.

mod keras;
mod tflite;
