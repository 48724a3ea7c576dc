#![forbid(unsafe_code)]
//! Make neural networks small and fast on a CPU, without TensorFlow.
