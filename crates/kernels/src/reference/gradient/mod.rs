//! Plain loops that define what the kernels of [`gradient`](crate::gradient) compute.

pub mod batch_norm;
pub mod convolution;
pub mod depthwise;
pub mod dropout;
pub mod fake_quantize;
pub mod gather;
pub mod pooling;
pub mod resize;
pub mod softmax;
pub mod unary;
