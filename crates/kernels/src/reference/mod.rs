//! Plain loops that define what the fast kernels compute.

pub mod convolution;
pub mod elementwise;
pub mod gradient;
pub mod int16;
pub mod optimizer;
pub mod pooling;
pub mod quantized;
pub mod recurrent;
pub mod reduce;
pub mod transposed;
pub mod volume;
