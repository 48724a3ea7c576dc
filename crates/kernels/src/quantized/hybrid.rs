//! Convolutions of `f32` activations with 8-bit weights (*dynamic range*): each sample is quantized
//! by its own range when it arrives, multiplied in integers and scaled back.

use crate::float::{self, Clamp};
use crate::{Isa, ThreadPool, Window};

use super::addition::Addend;
use super::depthwise::Channelwise;
use super::dynamic::{QuantizedSamples, SampleQuantization};
use super::epilogue::Epilogue;
use super::filter::{Filter, WeightOrder};
use super::formed::FormedProduct;
use super::layer::Layer;
use super::rescaler::Rescaler;

/// How a sum of products becomes an `f32` output.
///
/// `clamp(sum as f32 * (sample scale * weight scale) + bias)`, in `f32`, no step fused;
/// the sum is that of `(q - zero point) * weight`.
#[derive(Clone, Debug, PartialEq)]
pub struct Rescale {
    /// The weights' scale: one for all output channels, or one for each.
    pub scale: Vec<f32>,
    /// One value for each output channel, or none.
    pub bias: Option<Vec<f32>>,
    /// Bounds of the output.
    pub clamp: Clamp,
}

impl Rescale {
    /// The weights' scale of an output channel.
    #[must_use]
    pub fn scale_of(&self, channel: usize) -> f32 {
        if self.scale.len() == 1 { self.scale[0] } else { self.scale[channel] }
    }

    /// The bias of an output channel.
    #[must_use]
    pub fn bias_of(&self, channel: usize) -> f32 {
        self.bias.as_ref().map_or(0.0, |bias| bias[channel])
    }
}

/// What becomes of the results of a layer.
#[derive(Debug)]
pub enum HybridOutput<'a> {
    /// They are kept as they are.
    Floats {
        /// One for each result.
        values: &'a mut [f32],
        /// Where the smallest and the largest value of each sample go, zero counted in, if somebody
        /// wants to know them.
        ranges: Option<&'a mut [[f32; 2]]>,
    },
    /// Each sample is quantized by its own range, as [`quantize_samples`](super::quantize_samples) would do with the results.
    Bytes {
        /// One for each result.
        values: &'a mut [u8],
        /// Where the ranges go.
        ranges: &'a mut [[f32; 2]],
    },
}

/// A dynamic-range convolution (grouped or not) with its weights packed for one instruction set.
pub struct HybridConv2d(Layer<FormedProduct>);

impl HybridConv2d {
    /// Packs a convolution; `weights` is `[out_channels, kh, kw, in_channels / groups]`.
    ///
    /// # Panics
    /// If the counts do not agree, `groups` does not divide the channels, the window is empty, or
    /// the machine lacks `isa`.
    #[must_use]
    pub fn new(
        isa: Isa,
        window: Window,
        groups: usize,
        in_channels: usize,
        out_channels: usize,
        weights: &[i8],
        rescale: &Rescale,
    ) -> HybridConv2d {
        let order = WeightOrder::OutputFirst;
        let filter = Filter { window, groups, in_channels, out_channels, order, weights };
        HybridConv2d(Layer::new(isa, &filter, rescale))
    }

    /// Packs a convolution with this filter in any form, which the results do not depend on: see
    /// [`Conv2d::with_form`](super::Conv2d::with_form).
    ///
    /// # Panics
    /// As [`HybridConv2d::new`].
    #[must_use]
    pub fn with_form(form: float::Form, isa: Isa, filter: &Filter, rescale: &Rescale) -> HybridConv2d {
        let (product, sums) = FormedProduct::new(isa, form, filter, Rescaler::PACKED);
        HybridConv2d(Layer::of_product(isa, product, filter, &sums, rescale))
    }

    /// Packs a matrix product: a convolution that looks at one pixel. `weights` is `[out_channels,
    /// in_channels]`.
    ///
    /// # Panics
    /// As [`HybridConv2d::new`].
    #[must_use]
    pub fn dense(
        isa: Isa,
        in_channels: usize,
        out_channels: usize,
        weights: &[i8],
        rescale: &Rescale,
    ) -> HybridConv2d {
        HybridConv2d::new(isa, Window::POINT, 1, in_channels, out_channels, weights, rescale)
    }

    /// Whether it leaves zeros of the weights out.
    #[must_use]
    pub fn is_sparse(&self) -> bool {
        self.0.product().is_sparse()
    }

    /// Convolves `input`, `[batch, height, width, in_channels]`, whose first three dimensions are
    /// `shape`, into `output`, `[batch, output height, output width, out_channels]`. `scratch`
    /// holds the quantized input and has its length.
    ///
    /// # Panics
    /// If a slice has another length.
    pub fn run(
        &self,
        pool: &ThreadPool,
        input: &[f32],
        shape: [usize; 3],
        scratch: &mut [u8],
        output: &mut [f32],
    ) {
        self.0.run(pool, input, shape, scratch, output);
    }

    /// Convolves an input whose samples have been quantized; otherwise like [`HybridConv2d::run`].
    ///
    /// # Panics
    /// If a slice has another length.
    pub fn apply(
        &self,
        pool: &ThreadPool,
        input: QuantizedSamples<'_>,
        shape: [usize; 3],
        output: HybridOutput<'_>,
    ) {
        self.0.apply(pool, input, shape, output);
    }

    /// Convolves an input whose samples have been quantized and adds a tensor: a residual connection.
    /// The bits are those of the convolution and a separate addition; `ranges` get the range of each
    /// sample of the sum.
    ///
    /// # Panics
    /// If a slice has another length.
    pub fn apply_add(
        &self,
        pool: &ThreadPool,
        input: QuantizedSamples<'_>,
        shape: [usize; 3],
        addend: Addend<'_, f32, Clamp>,
        output: &mut [f32],
        ranges: Option<&mut [[f32; 2]]>,
    ) {
        self.0.apply_add(pool, input, shape, addend, output, ranges);
    }

    /// Whether results that are only wanted as bytes are best computed twice, the first time for
    /// their range alone: where that is less work than writing and reading them as `f32`.
    #[must_use]
    pub fn prefers_bytes(&self, shape: [usize; 3]) -> bool {
        self.0.prefers_bytes(shape)
    }

    /// Convolves an input whose samples have been quantized like this.
    pub(crate) fn run_quantized(
        &self,
        pool: &ThreadPool,
        input: &[u8],
        shape: [usize; 3],
        samples: &[SampleQuantization],
        output: &mut [f32],
    ) {
        self.0.floats(pool, (input, shape, samples), None, None, output);
    }
}

/// A dynamic-range depthwise convolution with its weights packed for one instruction set.
pub struct HybridDepthwise(Form);

enum Form {
    /// One output channel to an input channel: vectors run along the channels.
    Single(Layer<Channelwise>),
    /// Several: a convolution with one input channel to a group.
    Multiple(HybridConv2d),
}

impl HybridDepthwise {
    /// Packs a depthwise convolution; `weights` is `[1, kh, kw, in_channels * multiplier]`, and
    /// output channel `c * multiplier + m` sees input channel `c`.
    ///
    /// # Panics
    /// If the counts do not agree, the window is empty, or the machine lacks `isa`.
    #[must_use]
    pub fn new(
        isa: Isa,
        window: Window,
        in_channels: usize,
        multiplier: usize,
        weights: &[i8],
        rescale: &Rescale,
    ) -> HybridDepthwise {
        let filter = Filter::depthwise(window, in_channels, multiplier, weights);
        HybridDepthwise(match multiplier {
            1 => Form::Single(Layer::new(isa, &filter, rescale)),
            _ => Form::Multiple(HybridConv2d(Layer::new(isa, &filter, rescale))),
        })
    }

    /// Convolves like [`HybridConv2d::run`].
    ///
    /// # Panics
    /// If a slice has another length.
    pub fn run(
        &self,
        pool: &ThreadPool,
        input: &[f32],
        shape: [usize; 3],
        scratch: &mut [u8],
        output: &mut [f32],
    ) {
        match &self.0 {
            Form::Single(layer) => layer.run(pool, input, shape, scratch, output),
            Form::Multiple(conv) => conv.run(pool, input, shape, scratch, output),
        }
    }

    /// Convolves like [`HybridConv2d::apply`].
    ///
    /// # Panics
    /// If a slice has another length.
    pub fn apply(
        &self,
        pool: &ThreadPool,
        input: QuantizedSamples<'_>,
        shape: [usize; 3],
        output: HybridOutput<'_>,
    ) {
        match &self.0 {
            Form::Single(layer) => layer.apply(pool, input, shape, output),
            Form::Multiple(conv) => conv.apply(pool, input, shape, output),
        }
    }

    /// See [`HybridConv2d::prefers_bytes`].
    #[must_use]
    pub fn prefers_bytes(&self, shape: [usize; 3]) -> bool {
        match &self.0 {
            Form::Single(layer) => layer.prefers_bytes(shape),
            Form::Multiple(conv) => conv.prefers_bytes(shape),
        }
    }
}
