//! Convolution of 16-bit activations with 8-bit weights.

use crate::quantized::gather::Source;
use crate::quantized::lane::Lane;
use crate::quantized::{Filter, WeightOrder};
use crate::{Isa, ThreadPool, Window};

use super::product::WordProduct;
use super::requantize::{Requantize, Requantizer};

/// A convolution (grouped or not) with its weights packed for one instruction set.
///
/// The sum, bias included, is exact in 64 bits (where the bias is not close to their ends); then
/// [`Requantize`] scales it. Equal to LiteRT in every value.
pub struct Conv2d {
    product: WordProduct,
    /// The bias, by lane.
    initial: Vec<i64>,
    requantizer: Requantizer,
}

impl Conv2d {
    /// Packs a convolution.
    ///
    /// - `weights`: `[out_channels, kh, kw, in_channels / groups]`;
    /// - `bias`: one value per output channel, in units of input scale times weight scale.
    ///
    /// # Panics
    /// If the counts do not agree, `groups` does not divide the channels, the window is empty, scales
    /// are out of range, or the machine lacks `isa`.
    #[expect(clippy::too_many_arguments, reason = "they are what a convolution is made of")]
    #[must_use]
    pub fn new(
        isa: Isa,
        window: Window,
        groups: usize,
        in_channels: usize,
        out_channels: usize,
        weights: &[i8],
        bias: Option<&[i64]>,
        requantize: &Requantize,
    ) -> Conv2d {
        let order = WeightOrder::OutputFirst;
        let filter = Filter { window, groups, in_channels, out_channels, order, weights };
        Conv2d::from_filter(isa, &filter, bias, requantize)
    }

    /// Packs a convolution with this filter.
    pub(super) fn from_filter(
        isa: Isa,
        filter: &Filter,
        bias: Option<&[i64]>,
        requantize: &Requantize,
    ) -> Conv2d {
        requantize.check(filter.out_channels);
        let product = WordProduct::new(requantize.level(isa), filter, true);
        let initial = initial_sums(product.lanes(), filter, bias);
        let requantizer = Requantizer::new(requantize, product.lanes());
        Conv2d { product, initial, requantizer }
    }

    /// Convolves `input`, `[batch, height, width, in_channels]`, whose first three dimensions are
    /// `shape`, into `output`, `[batch, output height, output width, out_channels]`.
    ///
    /// # Panics
    /// If a slice has another length.
    pub fn run(&self, pool: &ThreadPool, input: &[i16], shape: [usize; 3], output: &mut [i16]) {
        let border = vec![0; self.product.geometry().read()];
        let source = Source::new(self.product.geometry(), bytemuck::cast_slice(input), shape, &border);
        self.product.run(pool, &source, &self.initial, &self.requantizer, output);
    }
}

/// The bias by lane.
pub(super) fn initial_sums(lanes: &[Lane], filter: &Filter, bias: Option<&[i64]>) -> Vec<i64> {
    assert!(bias.is_none_or(|bias| bias.len() == filter.out_channels), "one bias per output channel");
    let of_channel = |channel: usize| bias.map_or(0, |bias| bias[channel]);
    lanes.iter().map(|lane| lane.channel().map_or(0, of_channel)).collect()
}
