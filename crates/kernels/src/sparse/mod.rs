//! Weights that are zero: which of them can be left out, and what that is worth.
//!
//! Two forms of a layer leave zeros out. [`Form::Blocks`](crate::float::Form) skips a step of the direct form
//! where all 16 output channels that are multiplied at a time have zero weights; it works for floats, a step
//! being one input channel, and for bytes, a step being four. [`Form::Scattered`](crate::float::Form) skips
//! single weights, of floats alone. Which form a layer is packed in follows from its shape and its weights, by
//! a [model of their times](cost) whose numbers were measured (bench `sparse`): never from a clock, so that
//! results are the same in every run.

pub(crate) mod cost;
mod pattern;

pub use cost::Layer;

use crate::Isa;
use cost::Zeros;

/// What a layer multiplies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Numbers {
    /// `f32` activations by `f32` weights.
    Floats,
    /// 8-bit activations, or activations that are quantized when they arrive, by 8-bit weights.
    Bytes,
}

/// Which weights are zero together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Structure {
    /// Any weights; also `n` of every `m` along the input channels.
    Unstructured,
    /// Aligned blocks of so many output channels by so many input channels of a tap.
    Blocks {
        /// Output channels of a block, at least 1.
        outputs: usize,
        /// Input channels of a block, at least 1.
        inputs: usize,
    },
}

/// How many times faster a layer is expected to run than with dense kernels when `sparsity`, a share from 0
/// to 1, of its weights are zero in this structure, at places that have nothing else in common. 1 where it
/// would run dense: the runtime never takes a sparse kernel that is not expected to be faster.
///
/// It is an estimate for one thread and a batch of one, from a table that was measured once; the same call
/// gives the same number on every machine.
///
/// # Panics
/// If the groups do not divide the channels, or a block has no channels.
#[must_use]
pub fn gain(isa: Isa, layer: &Layer, numbers: Numbers, structure: Structure, sparsity: f64) -> f64 {
    cost::gain(isa, layer, numbers, Zeros::expected(numbers, structure, sparsity))
}

/// The least sparsity, in steps of 1/100, from which a layer is expected to run faster than with dense
/// kernels (see [`gain`]); `None` if it never is, such as depthwise and grouped convolutions.
///
/// # Panics
/// As [`gain`].
#[must_use]
pub fn wins_from(isa: Isa, layer: &Layer, numbers: Numbers, structure: Structure) -> Option<f64> {
    let steps = (0..100).map(|step| f64::from(step) / 100.0);
    steps.into_iter().find(|sparsity| gain(isa, layer, numbers, structure, *sparsity) > 1.0)
}
