//! Convolution-like kernels on float32: convolution, dense layers, depthwise convolution and
//! batched matrix products, channels last.
//!
//! Every output element is one chain of multiply-adds: it starts at the bias and takes the taps
//! of the window from the top left to the bottom right and within a tap the channels in order.
//! Taps in the padding count as products with zero (so an infinite or NaN weight shows there too).
//! Work is split over outputs, never inside such a chain, so **on one instruction set the bits of
//! a result depend on neither the number of threads, nor the batch, nor the place in the image**.
//! The instruction sets with a fused multiply-add (all but
//! [`Isa::Portable`](crate::Isa::Portable)) even agree with each other, but for the sign of a zero
//! that meets a bound of zero.
//!
//! Convolutions that are packed in another [`Form`] than the direct one are no such chains: they are
//! computed in tiles that begin at the top left of each sample, each by a fixed sequence of operations,
//! a chain over the channels among them. Bits depend on neither threads nor batch there either, and
//! instruction sets agree as above, but **the place in the image shows in the last bits**. The error
//! against exact arithmetic stays below some 1e-5 of the largest output (with [`Form::Winograd4`] it is
//! 2 to 4 times that of the direct form, with [`Form::Winograd2`] it is smaller). An input that is
//! infinite or NaN, or beyond 1e37, can make every output of the tiles that see it NaN or infinite, and
//! such a weight every output of its channel.

mod block;
mod conv;
mod depthwise;
mod direct;
pub(crate) mod filters;
pub(crate) mod lanes;
pub(crate) mod matmul;
mod packed;
mod planes;
mod rectifier;
mod side_by_side;
mod sparse;
pub(crate) mod split;
mod taps;
mod tile;
mod winograd;
pub(crate) mod workspace;

use crate::Window;

pub use block::Block;
pub use conv::Conv2d;
pub use depthwise::Depthwise;
pub(crate) use depthwise::gather::Gather;
pub(crate) use depthwise::rows;
pub(crate) use depthwise::weights::{RowGradient, weight_gradient};
pub use matmul::{MatMul, matmul};
pub use rectifier::Rectifier;
pub use winograd::Form;
pub(crate) use winograd::time_of_form;

/// Bounds that every result is forced into: the fused activations RELU, RELU6, RELU_N1_TO_1.
///
/// A NaN stays a NaN, as in TFLite. Where that matters: `x < min ? min : x` keeps it, so do
/// `std::max(x, min)` of C++ and the x86 instruction `max(min, x)` with the value as the *second*
/// operand (it returns the second operand when either is NaN); Rust's `f32::max` and the x86
/// instruction with the operands swapped would turn it into the bound.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Clamp<T = f32> {
    /// Lower bound; minus infinity for none.
    pub min: T,
    /// Upper bound; infinity for none.
    pub max: T,
}

impl Clamp {
    /// No bounds.
    pub const NONE: Clamp = Clamp { min: f32::NEG_INFINITY, max: f32::INFINITY };
    /// `max(x, 0)`.
    pub const RELU: Clamp = Clamp { min: 0.0, max: f32::INFINITY };
    /// `min(max(x, 0), 6)`.
    pub const RELU6: Clamp = Clamp { min: 0.0, max: 6.0 };
    /// `min(max(x, -1), 1)`.
    pub const RELU_N1_TO_1: Clamp = Clamp { min: -1.0, max: 1.0 };

    /// The same bounds in double precision.
    #[must_use]
    pub fn widen(self) -> Clamp<f64> {
        Clamp { min: self.min.into(), max: self.max.into() }
    }
}

impl<T: Copy + PartialOrd> Clamp<T> {
    /// The value inside the bounds; NaN stays NaN.
    #[must_use]
    pub fn apply(self, value: T) -> T {
        if value < self.min {
            self.min
        } else if value > self.max {
            self.max
        } else {
            value
        }
    }
}

/// Refuses geometry whose index arithmetic could overflow, or that has no meaning.
///
/// # Panics
/// When a kernel size, stride or dilation is 0, or any number is 2^24 or more.
pub(crate) fn assert_sound(window: &Window) {
    let Window { kernel, stride, dilation, pad_before, pad_after } = window;
    let positive = [kernel, stride, dilation].into_iter().flatten().all(|number| *number > 0);
    assert!(positive, "kernel sizes, strides and dilations must be positive");
    let all = [kernel, stride, dilation, pad_before, pad_after];
    assert!(all.into_iter().flatten().all(|number| *number < 1 << 24), "window out of range");
}

/// Refuses convolutions that have no meaning. Channels are those of input and output.
///
/// # Panics
/// As [`assert_sound`], when a number of channels is 0 or `groups` does not divide it, or when the number of
/// weights overflows.
pub(crate) fn assert_convolution(window: &Window, groups: usize, [inputs, outputs]: [usize; 2]) {
    assert!(inputs > 0 && outputs > 0, "a convolution needs channels");
    assert!(
        groups > 0 && inputs.is_multiple_of(groups) && outputs.is_multiple_of(groups),
        "{groups} groups must divide {inputs} input and {outputs} output channels"
    );
    assert_sound(window);
    let _ = volume(&[outputs, window.kernel[0], window.kernel[1], inputs / groups]);
}

/// The number of elements of a tensor.
///
/// # Panics
/// When it overflows.
pub(crate) fn volume(dims: &[usize]) -> usize {
    let product = dims.iter().try_fold(1usize, |product, dim| product.checked_mul(*dim));
    product.expect("number of elements out of range")
}

#[cfg(test)]
pub(crate) mod tests;
