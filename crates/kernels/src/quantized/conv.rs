//! Convolution of `u8` activations to `u8` activations.

use crate::aligned::Aligned;
use crate::float::Form;
use crate::{Isa, ThreadPool, Window};

use super::addition::{Addend, Adding, ByteAdder, ByteSum};
use super::epilogue::{Epilogue, Requantizer};
use super::filter::{Filter, WeightOrder};
use super::formed::FormedProduct;
use super::gather::Source;
use super::lane::Lane;
use super::requantize::Requantize;

/// A quantized convolution (grouped or not) with its weights packed for one instruction set.
pub struct Conv2d {
    product: FormedProduct,
    /// Bias less the input's zero point times the weights, by lane.
    initial: Aligned<i32>,
    epilogue: Requantizer,
    /// What taps in the padding read.
    border: Vec<u8>,
}

impl Conv2d {
    /// Packs a convolution.
    ///
    /// - `weights`: `[out_channels, kh, kw, in_channels / groups]`;
    /// - `bias`: one value per output channel, in units of input scale times weight scale;
    /// - `input_zero_point`: what padding holds.
    ///
    /// # Panics
    /// If the counts do not agree, `groups` does not divide the channels, the window is empty, or
    /// the machine lacks `isa`.
    #[expect(clippy::too_many_arguments, reason = "they are what a convolution is made of")]
    #[must_use]
    pub fn new(
        isa: Isa,
        window: Window,
        groups: usize,
        in_channels: usize,
        out_channels: usize,
        weights: &[i8],
        bias: Option<&[i32]>,
        input_zero_point: u8,
        requantize: Requantize,
    ) -> Conv2d {
        let order = WeightOrder::OutputFirst;
        let filter = Filter { window, groups, in_channels, out_channels, order, weights };
        Conv2d::with_form(Form::Direct, isa, &filter, bias, input_zero_point, &requantize)
    }

    /// Packs a matrix product: a convolution that looks at one pixel. `weights` is `[out_channels,
    /// in_channels]`; see [`Conv2d::new`].
    ///
    /// # Panics
    /// As [`Conv2d::new`].
    #[must_use]
    pub fn dense(
        isa: Isa,
        in_channels: usize,
        out_channels: usize,
        weights: &[i8],
        bias: Option<&[i32]>,
        input_zero_point: u8,
        requantize: Requantize,
    ) -> Conv2d {
        let window = Window::POINT;
        Conv2d::new(isa, window, 1, in_channels, out_channels, weights, bias, input_zero_point, requantize)
    }

    /// Packs a convolution with this filter in any form, which the results do not depend on:
    /// [`best_form`](super::best_form) tells the fastest for an image. Where a form is not possible the
    /// convolution is direct.
    ///
    /// # Panics
    /// As [`Conv2d::new`].
    #[must_use]
    pub fn with_form(
        form: Form,
        isa: Isa,
        filter: &Filter,
        bias: Option<&[i32]>,
        input_zero_point: u8,
        requantize: &Requantize,
    ) -> Conv2d {
        requantize.check(filter.out_channels);
        filter.check();
        check_bias(bias, filter);
        let isa = requantize.level(isa, filter, bias);
        let (product, sums) = FormedProduct::new(isa, form, filter, Requantizer::PACKED);
        let initial = initial_sums(product.lanes(), &sums, bias, input_zero_point);
        let epilogue = Requantizer::new(requantize, product.lanes());
        let border = vec![input_zero_point; product.geometry().read()];
        Conv2d { product, initial, epilogue, border }
    }

    /// Whether it leaves zeros of the weights out.
    #[must_use]
    pub fn is_sparse(&self) -> bool {
        self.product.is_sparse()
    }

    /// Convolves `input`, `[batch, height, width, in_channels]`, whose first three dimensions are
    /// `shape`, into `output`, `[batch, output height, output width, out_channels]`.
    ///
    /// # Panics
    /// If a slice has another length.
    pub fn run(&self, pool: &ThreadPool, input: &[u8], shape: [usize; 3], output: &mut [u8]) {
        let source = Source::new(self.product.geometry(), input, shape, &self.border);
        let begin = || &self.epilogue;
        self.product.run_each::<Requantizer, _>(pool, &source, &self.initial, begin, output);
    }

    /// [`run`](Conv2d::run) with a tensor added: a residual connection. The bits are those of the
    /// convolution and a separate addition.
    ///
    /// # Panics
    /// If a slice has another length.
    pub fn run_add(
        &self,
        pool: &ThreadPool,
        input: &[u8],
        shape: [usize; 3],
        addend: Addend<'_, u8, ByteSum>,
        output: &mut [u8],
    ) {
        let source = Source::new(self.product.geometry(), input, shape, &self.border);
        let adding = Adding::new(addend.sum, &self.epilogue);
        let adder = ByteAdder::new(&self.epilogue, &adding, addend.tensor, output);
        self.product.run_each::<ByteAdder, _>(pool, &source, &self.initial, || &adder, output);
    }
}

/// Panics unless each channel has a bias, or none.
pub(super) fn check_bias(bias: Option<&[i32]>, filter: &Filter) {
    assert!(bias.is_none_or(|bias| bias.len() == filter.out_channels), "one bias per output channel");
}

/// What the sums of each lane start from: the bias, and the share of the input's zero point, which
/// the products then need not know of. Wraps around, as the sums do.
pub(super) fn initial_sums(
    lanes: &[Lane],
    sums: &[i32],
    bias: Option<&[i32]>,
    input_zero_point: u8,
) -> Aligned<i32> {
    let of_channel = |channel: usize| {
        let share = sums[channel].wrapping_mul(i32::from(input_zero_point));
        bias.map_or(0, |bias| bias[channel]).wrapping_sub(share)
    };
    Aligned::lasting_from(lanes.iter().map(|lane| lane.channel().map_or(0, of_channel)))
}
