//! Arithmetic on slices: convolution, matrix products, pooling, element-wise operators,
//! data movement; instruction-set dispatch and the thread pool. Knows no model.
//!
//! The project's `unsafe` lives in this crate. Every fast kernel stands beside a plain loop in
//! [`reference`] that defines its result, and is tested against it on random shapes for every
//! instruction set that the machine has.

mod aligned;
#[cfg(test)]
mod cases;
pub mod convert;
pub mod elementwise;
pub mod fake_quantize;
pub mod float;
pub mod gradient;
pub mod int16;
pub mod isa;
pub mod movement;
mod multiversion;
pub mod normalize;
pub mod optimizer;
mod pages;
pub mod peak;
pub mod pool;
pub mod pooling;
mod prefetch;
pub mod quantized;
pub mod recurrent;
pub mod reduce;
pub mod reference;
pub mod resize;
pub mod softmax;
pub mod sparse;
pub mod transposed;
pub mod volume;
pub mod window;

pub use isa::Isa;
pub use pages::Ahead;
pub use pool::ThreadPool;
pub use window::Window;
