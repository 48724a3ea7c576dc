//! Plain loops that define what the gradients are.

pub mod convolution;
