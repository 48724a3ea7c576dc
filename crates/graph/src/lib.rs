#![forbid(unsafe_code)]
//! What a model is: graphs, operators, shapes, types, quantization.
