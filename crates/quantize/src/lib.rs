#![forbid(unsafe_code)]
//! Recipes, calibration, post-training quantization.
