//! Transposed convolutions by element type.

use super::{Parts, TransposeWindow, background};
use crate::float::{self, Clamp};
use crate::quantized::{self, HybridConv2d, Requantize, Rescale, quantize_samples};
use crate::{Isa, ThreadPool, Window};

/// An ordinary convolution, of which several make a transposed one.
pub trait Convolution: Sync {
    /// Type of its inputs and outputs.
    type Element: Copy + Send + Sync;

    /// Convolves `input`, whose batch, height and width are `shape`, into `output`.
    ///
    /// # Panics
    /// When a slice has another length.
    fn convolve(
        &self,
        pool: &ThreadPool,
        input: &[Self::Element],
        shape: [usize; 3],
        output: &mut [Self::Element],
    );
}

/// A transposed convolution with its weights packed for one instruction set, by the rule of `C`.
pub struct Transposed<C: Convolution>(Parts<C, C::Element>);

impl<C: Convolution> Transposed<C> {
    /// Packs 8-bit weights `[out_channels, kernel height, kernel width, in_channels]`. `make` packs an
    /// ordinary convolution with that many input channels and so many times the output channels, of inputs whose zero
    /// is `zero`.
    pub(crate) fn of_integers(
        window: TransposeWindow,
        [in_channels, out_channels]: [usize; 2],
        weights: &[i8],
        zero: C::Element,
        make: impl Fn(Window, [usize; 2], &[i8]) -> C,
    ) -> Transposed<C> {
        // What the bias alone becomes.
        let mut background = vec![zero; out_channels];
        let pixel = make(Window::POINT, [1, 1], &vec![0; out_channels]);
        pixel.convolve(&ThreadPool::new(1), &[zero], [1; 3], &mut background);
        Transposed(Parts::new(
            window,
            [in_channels, out_channels],
            weights,
            background,
            |dense, times, own| make(dense, [in_channels, times], own),
        ))
    }

    /// How many of its parts are one.
    #[cfg(test)]
    pub(super) fn joined(&self) -> usize {
        self.0.joined
    }

    /// Number of elements of scratch memory for an input of `shape` = batch, height, width.
    #[must_use]
    pub fn scratch(&self, shape: [usize; 3]) -> usize {
        self.0.scratch(shape)
    }

    /// Computes `[batch, output height, output width, out_channels]` from an input of `shape` =
    /// batch, height, width (and `in_channels`); see [`TransposeWindow::output`].
    ///
    /// # Panics
    /// When `input` or `output` has another length, or there is too little scratch memory.
    pub fn run(
        &self,
        pool: &ThreadPool,
        input: &[C::Element],
        shape: [usize; 3],
        scratch: &mut [C::Element],
        output: &mut [C::Element],
    ) {
        self.0.run(pool, shape, scratch, output, |part, result| part.convolve(pool, input, shape, result));
    }
}

/// A float32 transposed convolution.
///
/// Each output is one chain of multiply-adds: the bias, then input pixels from the top left to the
/// bottom right, and of each its channels in order.
pub type TransposeConv2d = Transposed<float::Conv2d>;

impl Convolution for float::Conv2d {
    type Element = f32;

    fn convolve(&self, pool: &ThreadPool, input: &[f32], shape: [usize; 3], output: &mut [f32]) {
        self.run(pool, input, shape, output);
    }
}

impl Transposed<float::Conv2d> {
    /// Packs weights `[out_channels, kernel height, kernel width, in_channels]`; `bias` has
    /// `out_channels` elements, `None` stands for zeros.
    ///
    /// # Panics
    /// When the machine lacks `isa`, when a number of channels, a kernel size, stride or tail is 0,
    /// when a number of the window is 2^24 or more, or when `weights` or `bias` has another length.
    #[must_use]
    pub fn new(
        isa: Isa,
        window: TransposeWindow,
        [in_channels, out_channels]: [usize; 2],
        weights: &[f32],
        bias: Option<&[f32]>,
        clamp: Clamp,
    ) -> TransposeConv2d {
        assert!(bias.is_none_or(|bias| bias.len() == out_channels), "number of biases");
        let background = background(clamp, out_channels, bias);
        Transposed(Parts::new(
            window,
            [in_channels, out_channels],
            weights,
            background,
            |dense, times, own| {
                let bias = bias.map(|bias| bias.repeat(times));
                let bias = bias.as_deref();
                float::Conv2d::new(isa, dense, 1, in_channels, times * out_channels, own, bias, clamp)
            },
        ))
    }
}

/// A transposed convolution of `u8` activations to `u8` activations, by the rule of
/// [`quantized::Conv2d`].
pub type QuantizedTransposeConv2d = Transposed<quantized::Conv2d>;

impl Convolution for quantized::Conv2d {
    type Element = u8;

    fn convolve(&self, pool: &ThreadPool, input: &[u8], shape: [usize; 3], output: &mut [u8]) {
        self.run(pool, input, shape, output);
    }
}

impl Transposed<quantized::Conv2d> {
    /// Packs weights `[out_channels, kernel height, kernel width, in_channels]`; `bias` has one value
    /// for each output channel, in units of input scale times weight scale.
    ///
    /// # Panics
    /// As [`TransposeConv2d::new`], and when the counts of `requantize` do not agree.
    #[must_use]
    pub fn new(
        isa: Isa,
        window: TransposeWindow,
        channels: [usize; 2],
        weights: &[i8],
        bias: Option<&[i32]>,
        input_zero_point: u8,
        requantize: &Requantize,
    ) -> QuantizedTransposeConv2d {
        Transposed::of_integers(window, channels, weights, input_zero_point, |dense, [inputs, times], own| {
            let requantize = Requantize { scale: of_each(&requantize.scale, times), ..requantize.clone() };
            let bias = bias.map(|bias| bias.repeat(times));
            let (bias, outputs) = (bias.as_deref(), times * channels[1]);
            quantized::Conv2d::new(isa, dense, 1, inputs, outputs, own, bias, input_zero_point, requantize)
        })
    }
}

/// A transposed convolution of `f32` activations with 8-bit weights, by the rule of [`HybridConv2d`].
pub struct HybridTransposeConv2d {
    isa: Isa,
    parts: Parts<HybridConv2d, f32>,
}

impl HybridTransposeConv2d {
    /// Packs weights `[out_channels, kernel height, kernel width, in_channels]`.
    ///
    /// # Panics
    /// As [`TransposeConv2d::new`], and when the counts of `rescale` do not agree.
    #[must_use]
    pub fn new(
        isa: Isa,
        window: TransposeWindow,
        [in_channels, out_channels]: [usize; 2],
        weights: &[i8],
        rescale: &Rescale,
    ) -> HybridTransposeConv2d {
        let background = (0..out_channels).map(|c| rescale.clamp.apply(rescale.bias_of(c))).collect();
        let parts =
            Parts::new(window, [in_channels, out_channels], weights, background, |dense, times, own| {
                let scale = of_each(&rescale.scale, times);
                let bias = rescale.bias.as_ref().map(|bias| bias.repeat(times));
                let rescale = Rescale { scale, bias, clamp: rescale.clamp };
                HybridConv2d::new(isa, dense, 1, in_channels, times * out_channels, own, &rescale)
            });
        HybridTransposeConv2d { isa, parts }
    }

    /// Number of elements of scratch memory for an input of `shape` = batch, height, width.
    #[must_use]
    pub fn scratch(&self, shape: [usize; 3]) -> usize {
        self.parts.scratch(shape)
    }

    /// Computes the output, as [`TransposeConv2d::run`]. `bytes` holds the quantized input and has
    /// its length.
    ///
    /// # Panics
    /// As there.
    pub fn run(
        &self,
        pool: &ThreadPool,
        input: &[f32],
        shape: [usize; 3],
        bytes: &mut [u8],
        scratch: &mut [f32],
        output: &mut [f32],
    ) {
        let samples = quantize_samples(self.isa, pool, input, shape[0], bytes);
        self.parts.run(pool, shape, scratch, output, |part, result| {
            part.run_quantized(pool, bytes, shape, &samples, result);
        });
    }
}

/// The scales of so many times the output channels: one for all, or one for each.
pub(crate) fn of_each<T: Copy>(scale: &[T], times: usize) -> Vec<T> {
    if scale.len() == 1 { scale.to_vec() } else { scale.repeat(times) }
}
