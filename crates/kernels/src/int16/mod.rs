//! Arithmetic on 16-bit activations, symmetric (zero point 0) and stored as the model has them,
//! with 8-bit weights and sums of 64 bits.
//!
//! The rules are those of LiteRT's reference kernels, which is where it runs such models; they were
//! found by comparing candidates with its integers. Each function says what it computes, and where
//! it may differ from LiteRT by a step. [`crate::reference::int16`] has the plain loops of the
//! products; other operators have theirs in their tests.

mod conv;
mod convert;
mod depthwise;
mod functions;
mod interpolated;
mod matmul;
mod pairs;
mod pooling;
mod product;
mod reduce;
mod requantize;
mod resize;
mod sigmoid;
mod softmax;
#[cfg(test)]
mod tests;
mod transposed;

pub use conv::Conv2d;
pub use convert::{Rescale, quantize};
pub use depthwise::Depthwise;
pub use functions::Function;
pub use matmul::{Matrices, matmul};
pub use pairs::Pair;
pub use pooling::average_pool;
pub use reduce::{Sums, reduce_product};
pub use requantize::{Requantize, Rule};
pub use resize::resize_bilinear;
pub use softmax::Softmax;
pub use transposed::TransposeConv2d;
