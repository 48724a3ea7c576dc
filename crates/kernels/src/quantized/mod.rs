//! Convolutions over 8-bit activations with 8-bit weights.
//!
//! Activations are stored as `u8`: a signed activation `q` is kept as `q ^ 0x80`, its zero point
//! moved by the same 128. Weights are symmetric `i8`. The products are summed in 32 bits that wrap
//! around (no sum of a sane layer does), then
//!
//! - [`Conv2d`] and [`Depthwise`] scale the sum back to `u8` ([`Requantize`]);
//! - [`HybridConv2d`] and [`HybridDepthwise`] take `f32` activations, quantize each sample by its
//!   own range ([`SampleQuantization`]) and give `f32`.
//!
//! Integer sums do not depend on their order, and the float steps after them are written out to be
//! the same everywhere: the results are equal to the last bit on every instruction set, for any
//! number of threads and any batch. [`crate::reference::quantized`] defines them.

mod addition;
mod conv;
mod depthwise;
mod dynamic;
pub(crate) mod epilogue;
mod filter;
mod formed;
pub(crate) mod gather;
mod hybrid;
pub(crate) mod lane;
mod layer;
mod mapped;
mod matmul;
pub(crate) mod product;
mod range;
mod requantize;
mod requantizing;
mod rescaler;
pub(crate) mod split;
#[cfg(test)]
mod tests;
mod weight_sums;
#[cfg(target_arch = "x86_64")]
mod winograd;

pub use addition::{Addend, ByteSum};
#[cfg(target_arch = "aarch64")]
pub(crate) use product::dot;
#[cfg(target_arch = "x86_64")]
pub(crate) use product::{tile_products, tiles_are_granted};

pub use conv::Conv2d;
pub use depthwise::Depthwise;
pub use dynamic::{
    QuantizedSamples, SampleQuantization, quantize_by_ranges, quantize_pixels, quantize_samples,
    sample_ranges,
};
pub use filter::{Filter, WeightOrder};
pub use formed::best_form;
#[cfg(target_arch = "x86_64")]
pub(crate) use formed::best_share;
pub use hybrid::{HybridConv2d, HybridDepthwise, HybridOutput, Rescale};
pub use mapped::map_samples;
pub use matmul::{Matrices, matmul};
pub use requantize::Requantize;
