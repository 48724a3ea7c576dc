//! Convolutions of `f32` activations with 8-bit weights (*dynamic range*): each sample is quantized
//! by its own range when it arrives, multiplied in integers and scaled back.

use crate::float::Clamp;
use crate::{Isa, ThreadPool, Window};

use super::addition::{Addend, FloatAdder};
use super::depthwise::Channelwise;
use super::dynamic::{SampleQuantization, quantize_samples};
use super::epilogue::{Epilogue, Rescaler, Rescaling};
use super::filter::{Filter, WeightOrder};
use super::gather::{Geometry, Source};
use super::product::ByteProduct;

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

    /// The constants by lane; panics unless the fields suit the filter.
    fn by_lane(&self, lanes: &[Option<usize>], filter: &Filter) -> Rescaling {
        let (scales, channels) = (self.scale.len(), filter.out_channels);
        assert!(scales == 1 || scales == channels, "{scales} scales for {channels} channels");
        assert!(self.bias.as_ref().is_none_or(|bias| bias.len() == channels), "one bias per output channel");
        let weight_sum = |channel| filter.weight_sum(channel);
        Rescaling::new(lanes, weight_sum, |c| self.scale_of(c), |c| self.bias_of(c), self.clamp)
    }
}

/// A dynamic-range convolution (grouped or not) with its weights packed for one instruction set.
pub struct HybridConv2d {
    isa: Isa,
    product: ByteProduct,
    initial: Vec<i32>,
    constants: Rescaling,
}

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
        HybridConv2d::from_filter(isa, &filter, rescale)
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

    fn from_filter(isa: Isa, filter: &Filter, rescale: &Rescale) -> HybridConv2d {
        let product = ByteProduct::new(isa, filter, Rescaler::PACKED);
        let constants = rescale.by_lane(product.lanes(), filter);
        let initial = vec![0; product.lanes().len()];
        HybridConv2d { isa, product, initial, constants }
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
        let samples = quantize_samples(self.isa, pool, input, shape[0], scratch);
        self.run_quantized(pool, scratch, shape, &samples, output);
    }

    /// [`run`](HybridConv2d::run) with a tensor added: a residual connection. The bits are those of
    /// the convolution and a separate addition.
    ///
    /// # Panics
    /// If a slice has another length.
    pub fn run_add(
        &self,
        pool: &ThreadPool,
        input: &[f32],
        shape: [usize; 3],
        scratch: &mut [u8],
        addend: Addend<'_, f32, Clamp>,
        output: &mut [f32],
    ) {
        let samples = quantize_samples(self.isa, pool, input, shape[0], scratch);
        let geometry = self.product.geometry();
        let borders = borders(geometry, &samples);
        let source = Source::new(geometry, scratch, shape, &borders);
        let rescaler = Rescaler { constants: &self.constants, samples: &samples };
        let adder = FloatAdder::new(rescaler, addend, output);
        self.product.run(pool, &source, &self.initial, &adder, output);
    }

    /// Convolves an input whose samples have been quantized.
    pub(crate) fn run_quantized(
        &self,
        pool: &ThreadPool,
        input: &[u8],
        shape: [usize; 3],
        samples: &[SampleQuantization],
        output: &mut [f32],
    ) {
        let geometry = self.product.geometry();
        let borders = borders(geometry, samples);
        let source = Source::new(geometry, input, shape, &borders);
        let epilogue = Rescaler { constants: &self.constants, samples };
        self.product.run(pool, &source, &self.initial, &epilogue, output);
    }
}

/// A dynamic-range depthwise convolution with its weights packed for one instruction set.
pub struct HybridDepthwise(Form);

enum Form {
    /// One output channel to an input channel: vectors run along the channels.
    Single { isa: Isa, product: Channelwise, initial: Vec<i32>, constants: Rescaling },
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
        if multiplier > 1 {
            return HybridDepthwise(Form::Multiple(HybridConv2d::from_filter(isa, &filter, rescale)));
        }
        let product = Channelwise::new(isa, &filter, Rescaler::PACKED);
        let constants = rescale.by_lane(product.lanes(), &filter);
        let initial = vec![0; product.lanes().len()];
        HybridDepthwise(Form::Single { isa, product, initial, constants })
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
            Form::Single { isa, product, initial, constants } => {
                let samples = quantize_samples(*isa, pool, input, shape[0], scratch);
                let borders = borders(product.geometry(), &samples);
                let source = Source::new(product.geometry(), scratch, shape, &borders);
                product.run(pool, &source, initial, &Rescaler { constants, samples: &samples }, output);
            }
            Form::Multiple(conv) => conv.run(pool, input, shape, scratch, output),
        }
    }
}

/// What taps in the padding of each sample read: its zero point.
fn borders(geometry: &Geometry, samples: &[SampleQuantization]) -> Vec<u8> {
    samples.iter().flat_map(|sample| std::iter::repeat_n(sample.zero_point, geometry.read())).collect()
}
