//! A layer of dynamic range over whichever kernel multiplies: samples taken one by one or together,
//! results kept as numbers or made bytes at once.

use std::borrow::Borrow;
use std::ops::Range;

use crate::aligned::Aligned;
use crate::float::Clamp;
use crate::{Isa, ThreadPool};

use super::addition::{Addend, FloatAdder, Places};
use super::depthwise::Channelwise;
use super::dynamic::{
    QuantizedSamples, SampleQuantization, quantize_by_ranges, quantize_samples, sample_ranges,
};
use super::epilogue::{Epilogue, at_least, at_most};
use super::filter::Filter;
use super::formed::FormedProduct;
use super::gather::{Geometry, Source};
use super::hybrid::{HybridOutput, Rescale};
use super::lane::Lane;
use super::range::{Extremes, SharedExtremes, SharedRange, Tally};
use super::requantizing::Requantizing;
use super::rescaler::{Rescaler, Rescaling, SampleRescaling};

/// Samples of at least this many pixels are worked on one by one, with constants of their own.
const LARGE: usize = 196;

/// Products of bytes, in whichever way.
pub(super) trait Products: Sync {
    fn new(isa: Isa, filter: &Filter) -> Self;
    fn geometry(&self) -> &Geometry;
    fn lanes(&self) -> &[Lane];

    /// Computes all outputs: for each channel `initial` (by lane) plus the products, through the
    /// epilogue that each task begins with.
    fn run_each<E: Epilogue, B: Borrow<E>>(
        &self,
        pool: &ThreadPool,
        source: &Source,
        initial: &[i32],
        begin: impl Fn() -> B + Sync,
        output: &mut [E::Out],
    );
}

macro_rules! products {
    ($($kernel:ty, |$isa:ident, $filter:ident| $new:expr;)*) => {
        $(impl Products for $kernel {
            fn new($isa: Isa, $filter: &Filter) -> Self {
                $new
            }

            fn geometry(&self) -> &Geometry {
                self.geometry()
            }

            fn lanes(&self) -> &[Lane] {
                self.lanes()
            }

            fn run_each<E: Epilogue, B: Borrow<E>>(
                &self,
                pool: &ThreadPool,
                source: &Source,
                initial: &[i32],
                begin: impl Fn() -> B + Sync,
                output: &mut [E::Out],
            ) {
                self.run_each::<E, B>(pool, source, initial, begin, output);
            }
        })*
    };
}
products! {
    FormedProduct, |isa, filter| FormedProduct::direct(isa, filter, Rescaler::PACKED);
    Channelwise, |isa, filter| Channelwise::new(isa, filter, Rescaler::PACKED);
}

/// A layer with its weights packed for one instruction set.
pub(super) struct Layer<P> {
    isa: Isa,
    product: P,
    constants: Rescaling,
    out_channels: usize,
    /// Multiply-accumulates of an output.
    depth: usize,
}

impl<P: Products> Layer<P> {
    /// Packs a layer.
    ///
    /// # Panics
    /// Unless the filter's counts agree and the fields of `rescale` suit it.
    pub(super) fn new(isa: Isa, filter: &Filter, rescale: &Rescale) -> Layer<P> {
        Layer::of_product(isa, P::new(isa, filter), filter, &filter.weight_sums(), rescale)
    }

    /// A layer of a product that is packed, and the sums of its weights.
    pub(super) fn of_product(
        isa: Isa,
        product: P,
        filter: &Filter,
        sums: &[i32],
        rescale: &Rescale,
    ) -> Layer<P> {
        let (scales, channels) = (rescale.scale.len(), filter.out_channels);
        assert!(scales == 1 || scales == channels, "{scales} scales for {channels} channels");
        let biases = rescale.bias.as_ref();
        assert!(biases.is_none_or(|bias| bias.len() == channels), "one bias per output channel");
        let constants = Rescaling::new(
            product.lanes(),
            |channel| sums[channel],
            |channel| rescale.scale_of(channel),
            |channel| rescale.bias_of(channel),
            rescale.clamp,
        );
        Layer { isa, product, constants, out_channels: channels, depth: filter.depth() }
    }

    /// What multiplies.
    pub(super) fn product(&self) -> &P {
        &self.product
    }

    /// Quantizes `input` into `scratch` and computes `output`.
    pub(super) fn run(
        &self,
        pool: &ThreadPool,
        input: &[f32],
        shape: [usize; 3],
        scratch: &mut [u8],
        output: &mut [f32],
    ) {
        let samples = quantize_samples(self.isa, pool, input, shape[0], scratch);
        self.floats(pool, (scratch, shape, &samples), None, None, output);
    }

    /// Computes the output in the form that is asked for.
    pub(super) fn apply(
        &self,
        pool: &ThreadPool,
        input: QuantizedSamples<'_>,
        shape: [usize; 3],
        output: HybridOutput<'_>,
    ) {
        let samples = input.quantizations();
        let input = (input.bytes, shape, &samples[..]);
        match output {
            HybridOutput::Floats { values, ranges } => {
                noting(ranges, shape[0], |tally| self.floats(pool, input, None, tally, values));
            }
            HybridOutput::Bytes { values, ranges } => self.bytes(pool, input, values, ranges),
        }
    }

    /// Computes the output and adds to it: see [`HybridConv2d::apply_add`].
    ///
    /// [`HybridConv2d::apply_add`]: super::HybridConv2d::apply_add
    pub(super) fn apply_add(
        &self,
        pool: &ThreadPool,
        input: QuantizedSamples<'_>,
        shape: [usize; 3],
        addend: Addend<'_, f32, Clamp>,
        output: &mut [f32],
        ranges: Option<&mut [[f32; 2]]>,
    ) {
        let samples = input.quantizations();
        let input = (input.bytes, shape, &samples[..]);
        noting(ranges, shape[0], |tally| self.floats(pool, input, Some(addend), tally, output));
    }

    /// Computes the output as numbers, `addend` added to them; `tally` has a place for the range of
    /// each sample.
    pub(super) fn floats(
        &self,
        pool: &ThreadPool,
        input: Input<'_>,
        addend: Option<Addend<'_, f32, Clamp>>,
        tally: Option<&[SharedRange]>,
        output: &mut [f32],
    ) {
        let batch = input.1[0];
        let cut = Cut::new(self, input, output.len());
        assert!(addend.is_none_or(|addend| addend.tensor.is_none_or(|own| own.len() == output.len())));
        let together = if cut.pixels >= LARGE { 1 } else { batch.max(1) };
        for first in (0..batch).step_by(together) {
            let (own, shifted) = (first..first + together, together > 1);
            let samples = &self.constants.of_samples(&cut.samples[own.clone()]);
            let tally = tally.map(|tally| &tally[own.clone()]);
            let least = addend.map_or(self.constants.clamp, |addend| addend.sum).min;
            let tally = || tally.map(|tally| Tally::new(tally, least));
            let outputs = first * cut.outputs..(first + together) * cut.outputs;
            let output = &mut output[outputs.clone()];
            let initial = if shifted { Aligned::zeroed(self.constants.lanes()) } else { samples.initial() };
            cut.source(own, |source| {
                let Some(addend) = addend else {
                    let begin = || Rescaler { samples, shifted, tally: tally() };
                    return self.product.run_each::<Rescaler, _>(pool, source, &initial, begin, output);
                };
                let places = Places::new(addend.tensor.map(|tensor| &tensor[outputs]), output);
                let begin = || FloatAdder {
                    rescaler: Rescaler { samples, shifted, tally: None },
                    clamp: addend.sum,
                    places,
                    tally: tally(),
                };
                self.product.run_each::<FloatAdder, _>(pool, source, &initial, begin, output);
            });
        }
    }

    /// Computes the output as bytes: first its range, from the extremes of each channel's sums, then
    /// its numbers, each quantized at once.
    fn bytes(&self, pool: &ThreadPool, input: Input<'_>, output: &mut [u8], ranges: &mut [[f32; 2]]) {
        let batch = input.1[0];
        assert_eq!(ranges.len(), batch, "one range for each sample");
        let cut = Cut::new(self, input, output.len());
        for sample in 0..batch {
            let rescaling = self.constants.of_samples(&cut.samples[sample..=sample]);
            let initial = rescaling.initial();
            let output = &mut output[sample * cut.outputs..][..cut.outputs];
            let range = &mut ranges[sample];
            cut.source(sample..sample + 1, |source| {
                let shared = SharedExtremes::new(self.constants.lanes());
                let begin = || Extremes::new(&shared, self.constants.lanes());
                let mut nothing = vec![(); output.len()];
                self.product.run_each::<Extremes, _>(pool, source, &initial, begin, &mut nothing);
                let raw = raw_range(&rescaling, self.product.lanes(), &shared.into_inner());
                if let Some(raw) = raw {
                    let clamp = self.constants.clamp;
                    *range = [at_most(clamp.apply(raw[0]), 0.0), at_least(clamp.apply(raw[1]), 0.0)];
                    let quantization = SampleQuantization::of_range(range[0], range[1]);
                    let requantizing = Requantizing::new(&rescaling, quantization, raw);
                    let begin = || &requantizing;
                    self.product.run_each::<Requantizing, _>(pool, source, &initial, begin, output);
                } else {
                    let mut values = vec![0.0; output.len()];
                    let begin = || Rescaler { samples: &rescaling, shifted: false, tally: None };
                    self.product.run_each::<Rescaler, _>(pool, source, &initial, begin, &mut values);
                    sample_ranges(self.isa, pool, &values, std::slice::from_mut(range));
                    quantize_by_ranges(self.isa, pool, &values, std::slice::from_ref(range), output);
                }
            });
        }
    }

    /// Whether bytes are best computed twice: see [`HybridConv2d::prefers_bytes`].
    ///
    /// [`HybridConv2d::prefers_bytes`]: super::HybridConv2d::prefers_bytes
    pub(super) fn prefers_bytes(&self, [_, height, width]: [usize; 3]) -> bool {
        let outputs = self.product.geometry().pixels([1, height, width]).saturating_mul(self.out_channels);
        outputs >= MANY_OUTPUTS && self.depth <= SHALLOW
    }
}

/// What a layer reads: bytes, their batch, height and width, and how each sample was quantized.
pub(super) type Input<'a> = (&'a [u8], [usize; 3], &'a [SampleQuantization]);

/// Does work that counts in the range of each of `batch` samples, if somebody wants to know them.
fn noting(ranges: Option<&mut [[f32; 2]]>, batch: usize, work: impl FnOnce(Option<&[SharedRange]>)) {
    let Some(ranges) = ranges else { return work(None) };
    assert_eq!(ranges.len(), batch, "one range for each sample");
    let shared = SharedRange::of_samples(batch);
    work(Some(&shared));
    ranges.iter_mut().zip(&shared).for_each(|(range, shared)| *range = shared.get());
}

/// Up to so many multiply-accumulates each, outputs are better computed twice than written, read and
/// quantized (measured), for outputs of so many elements, which do not stay in the first-level cache.
const SHALLOW: usize = 12;
const MANY_OUTPUTS: usize = 1 << 16;

/// The smallest and the largest result before bounds, which grow with the sums or fall with them, of
/// a sample; `None` if one is not finite.
fn raw_range(rescaling: &SampleRescaling<'_>, lanes: &[Lane], extremes: &[[i32; 2]]) -> Option<[f32; 2]> {
    let (mut low, mut high) = (0.0_f32, 0.0_f32);
    let used = lanes.iter().zip(extremes).enumerate().filter(|(_, (lane, _))| lane.channel().is_some());
    for (lane, (_, extremes)) in used {
        // Without pixels there are no extremes.
        for &sum in extremes.iter().filter(|_| extremes[0] <= extremes[1]) {
            let value = rescaling.value(lane, sum);
            if !value.is_finite() {
                return None;
            }
            (low, high) = (at_most(value, low), at_least(value, high));
        }
    }
    Some([low, high])
}

/// The input of a layer, of which some samples are looked at together.
struct Cut<'a> {
    geometry: &'a Geometry,
    input: &'a [u8],
    shape: [usize; 3],
    samples: &'a [SampleQuantization],
    /// Output pixels and outputs of a sample.
    pixels: usize,
    outputs: usize,
}

impl<'a> Cut<'a> {
    /// Panics unless the lengths are right.
    fn new<P: Products>(layer: &'a Layer<P>, (input, shape, samples): Input<'a>, outputs: usize) -> Cut<'a> {
        let [batch, height, width] = shape;
        assert_eq!(samples.len(), batch, "one quantization for each sample");
        let geometry = layer.product.geometry();
        let pixels = geometry.pixels([1, height, width]);
        let own = pixels * layer.out_channels;
        assert_eq!(Some(outputs), own.checked_mul(batch), "length of the output");
        Cut { geometry, input, shape, samples, pixels, outputs: own }
    }

    /// Calls `work` with a source that shows these samples.
    fn source(&self, own: Range<usize>, work: impl FnOnce(&Source)) {
        let [batch, height, width] = self.shape;
        assert!(self.input.len().is_multiple_of(batch), "samples of different lengths");
        let bytes = self.input.len() / batch;
        let input = &self.input[own.start * bytes..own.end * bytes];
        // What taps in the padding read: the sample's zero point.
        let border =
            |sample: &SampleQuantization| std::iter::repeat_n(sample.zero_point, self.geometry.read());
        let borders: Vec<u8> = self.samples[own.clone()].iter().flat_map(border).collect();
        work(&Source::new(self.geometry, input, [own.len(), height, width], &borders));
    }
}
