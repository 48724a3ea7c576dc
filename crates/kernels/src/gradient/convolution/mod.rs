//! Gradients of convolutions and dense layers, channels last.
//!
//! The gradient of the input is itself a convolution of the output's gradient (see [`InputGradient`]), the
//! gradient of the weights a matrix product over all pixels for each tap (see [`WeightsGradient`]). A dense
//! layer on `[rows, channels]` is a convolution with [`Window::POINT`](crate::Window::POINT) on `[rows, 1,
//! 1]`.
//!
//! Everything is made once for a fixed shape, batch included, and run with new weights at every step.
//! Results depend on neither the number of threads nor, between instruction sets with a fused
//! multiply-add, on the set; they may depend on the batch.

mod bias;
mod geometry;
mod input;
mod tile;
mod weights;

pub use bias::bias_gradient;
pub use input::InputGradient;
pub use weights::WeightsGradient;

use crate::ThreadPool;
use crate::aligned::Aligned;
use crate::float::{Clamp, Conv2d, Form};
use crate::{Isa, Window};

/// Memory that the kernels of a net need while they run, one after the other: it grows to what the
/// largest asks for. Weights are packed here rather than by each layer for itself, since what was written
/// and read a moment ago is still in the cache.
pub struct Scratch {
    packed: Aligned<f32>,
    parts: Aligned<f32>,
}

impl Scratch {
    /// No memory yet.
    #[must_use]
    pub fn new() -> Scratch {
        Scratch { packed: Aligned::zeroed(0), parts: Aligned::zeroed(0) }
    }

    /// Takes at least `len` floats out, with any numbers in them, until they are returned.
    pub(in crate::gradient) fn take_parts(&mut self, len: usize) -> Aligned<f32> {
        grow(&mut self.parts, len);
        std::mem::replace(&mut self.parts, Aligned::zeroed(0))
    }

    pub(in crate::gradient) fn return_parts(&mut self, parts: Aligned<f32>) {
        self.parts = parts;
    }
}

impl Default for Scratch {
    fn default() -> Scratch {
        Scratch::new()
    }
}

/// Makes `memory` at least `len` long, with any numbers in it.
fn grow(memory: &mut Aligned<f32>, len: usize) {
    if memory.len() < len {
        *memory = Aligned::lasting(len);
    }
}

/// A convolution whose weights change from call to call: the forward pass in training.
pub struct Forward {
    conv: Conv2d,
    shape: [usize; 3],
}

impl Forward {
    /// A convolution of `groups` groups on an input of `shape` = batch, height, width, with channels
    /// `[input, output]`.
    ///
    /// # Panics
    /// When the machine lacks `isa`, when `groups` does not divide both numbers of channels, when a number
    /// of channels, a kernel size, stride or dilation is 0, or when a number of the window is 2^24 or more.
    #[must_use]
    pub fn new(isa: Isa, window: Window, groups: usize, channels: [usize; 2], shape: [usize; 3]) -> Forward {
        let [inputs, outputs] = channels;
        let form = Form::best_repacked(&window, groups, inputs, outputs, shape);
        let conv =
            Conv2d::hollow(form, isa, window, groups, inputs, outputs, Clamp::NONE, |_| Aligned::zeroed(0));
        Forward { conv, shape }
    }

    /// Computes the output from weights `[output channels, kernel height, kernel width, input channels /
    /// groups]` and a bias (`None` for zeros).
    ///
    /// # Panics
    /// When a slice has another length.
    pub fn run(
        &mut self,
        pool: &ThreadPool,
        input: &[f32],
        weights: &[f32],
        bias: Option<&[f32]>,
        scratch: &mut Scratch,
        output: &mut [f32],
    ) {
        let shape = self.shape;
        self.with_packed(pool, weights, bias, scratch, |conv| conv.run(pool, input, shape, output));
    }

    /// Calls `work` with the convolution, packed.
    pub(in crate::gradient) fn with_packed(
        &mut self,
        pool: &ThreadPool,
        weights: &[f32],
        bias: Option<&[f32]>,
        scratch: &mut Scratch,
        work: impl FnOnce(&Conv2d),
    ) {
        with_memory(&mut self.conv, scratch, |conv| {
            conv.repack(pool, weights, bias);
            work(conv);
        });
    }
}

/// Lends the memory for packed weights to a convolution that has none.
fn with_memory(conv: &mut Conv2d, scratch: &mut Scratch, work: impl FnOnce(&mut Conv2d)) {
    grow(&mut scratch.packed, conv.floats());
    conv.exchange(&mut scratch.packed);
    work(conv);
    conv.exchange(&mut scratch.packed);
}

#[cfg(test)]
mod tests;
