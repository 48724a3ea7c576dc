//! What training needs beside the forward kernels: vector-Jacobian products and normalizations
//! that learn.
//!
//! Every kernel stands beside a plain loop in [`reference::gradient`](crate::reference::gradient).
//! Results depend on neither threads nor instruction sets, but for the fused multiply-adds that
//! [`Isa::Portable`](crate::Isa::Portable) lacks; sums over pixels run over blocks that depend on
//! the shape alone and are added in order.

pub mod batch_norm;
mod contributions;
pub mod convolution;
pub mod depthwise;
pub mod dropout;
pub mod fake_quantize;
pub mod gather;
pub mod normalized;
pub mod pooling;
pub mod reduce;
pub mod resize;
pub mod softmax;
pub mod unary;
mod weighted;
