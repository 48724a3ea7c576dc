//! Depthwise convolution: each output channel sees one input channel.

#[cfg(target_arch = "x86_64")]
mod avx2;
mod channelwise;
#[cfg(target_arch = "aarch64")]
mod neon;
mod portable;
#[cfg(target_arch = "x86_64")]
mod sliding;
#[cfg(target_arch = "x86_64")]
mod vnni;

use crate::aligned::Aligned;
use crate::{Isa, ThreadPool, Window};

use super::conv::{Conv2d, check_bias, initial_sums};
use super::epilogue::{Epilogue, Requantizer};
use super::filter::Filter;
use super::gather::Source;
use super::requantize::Requantize;

pub(super) use channelwise::Channelwise;

/// A quantized depthwise convolution with its weights packed for one instruction set.
pub struct Depthwise(Form);

enum Form {
    /// One output channel to an input channel: vectors run along the channels.
    Single { product: Channelwise, initial: Aligned<i32>, epilogue: Requantizer, border: Vec<u8> },
    /// Several: a convolution with one input channel to a group.
    Multiple(Conv2d),
}

impl Depthwise {
    /// Packs a depthwise convolution.
    ///
    /// - `weights`: `[1, kh, kw, in_channels * multiplier]`; output channel `c * multiplier + m`
    ///   sees input channel `c`;
    /// - `bias`: one value per output channel, in units of input scale times weight scale;
    /// - `input_zero_point`: what padding holds.
    ///
    /// # Panics
    /// If the counts do not agree, the window is empty, or the machine lacks `isa`.
    #[expect(clippy::too_many_arguments, reason = "they are what a convolution is made of")]
    #[must_use]
    pub fn new(
        isa: Isa,
        window: Window,
        in_channels: usize,
        multiplier: usize,
        weights: &[i8],
        bias: Option<&[i32]>,
        input_zero_point: u8,
        requantize: Requantize,
    ) -> Depthwise {
        let filter = Filter::depthwise(window, in_channels, multiplier, weights);
        if multiplier > 1 {
            return Depthwise(Form::Multiple(Conv2d::with_form(
                crate::float::Form::Direct,
                isa,
                &filter,
                bias,
                input_zero_point,
                &requantize,
            )));
        }
        requantize.check(in_channels);
        filter.check();
        check_bias(bias, &filter);
        let isa = requantize.level(isa, &filter, bias);
        let product = Channelwise::new(isa, &filter, Requantizer::PACKED);
        let initial = initial_sums(product.lanes(), &filter.weight_sums(), bias, input_zero_point);
        let epilogue = Requantizer::new(&requantize, product.lanes());
        Depthwise(Form::Single { product, initial, epilogue, border: vec![input_zero_point; in_channels] })
    }

    /// Convolves `input`, `[batch, height, width, in_channels]`, whose first three dimensions are
    /// `shape`, into `output`, `[batch, output height, output width, in_channels * multiplier]`.
    ///
    /// # Panics
    /// If a slice has another length.
    pub fn run(&self, pool: &ThreadPool, input: &[u8], shape: [usize; 3], output: &mut [u8]) {
        match &self.0 {
            Form::Single { product, initial, epilogue, border } => {
                let source = Source::new(product.geometry(), input, shape, border);
                product.run(pool, &source, initial, epilogue, output);
            }
            Form::Multiple(conv) => conv.run(pool, input, shape, output),
        }
    }
}
