//! Depthwise convolution of 16-bit activations: each output channel sees one input channel.

use crate::multiversion::multiversion;
use crate::quantized::gather::{Cursor, Geometry, SLOTS, Source, Tile};
use crate::quantized::split::{Grid, Target, Work, share};
use crate::quantized::{Filter, WeightOrder};
use crate::{Isa, ThreadPool, Window};

use super::conv::{Conv2d, initial_sums};
use super::requantize::{Requantize, Requantizer};

/// A depthwise convolution with its weights packed for one instruction set. The rule is that of
/// [`Conv2d`].
pub struct Depthwise(Form);

enum Form {
    /// One output channel to an input channel: vectors run along the channels.
    Single(Channelwise),
    /// Several: a convolution with one input channel to a group.
    Multiple(Conv2d),
}

impl Depthwise {
    /// Packs a depthwise convolution.
    ///
    /// - `weights`: `[1, kh, kw, in_channels * multiplier]`; output channel `c * multiplier + m`
    ///   sees input channel `c`;
    /// - `bias`: one value per output channel, in units of input scale times weight scale.
    ///
    /// # Panics
    /// If the counts do not agree, the window is empty, scales are out of range, or the machine lacks
    /// `isa`.
    #[must_use]
    pub fn new(
        isa: Isa,
        window: Window,
        in_channels: usize,
        multiplier: usize,
        weights: &[i8],
        bias: Option<&[i64]>,
        requantize: &Requantize,
    ) -> Depthwise {
        let out_channels = in_channels.checked_mul(multiplier).expect("number of output channels");
        let order = WeightOrder::OutputLast;
        let filter = Filter { window, groups: in_channels, in_channels, out_channels, order, weights };
        Depthwise(if multiplier > 1 {
            Form::Multiple(Conv2d::from_filter(isa, &filter, bias, requantize))
        } else {
            Form::Single(Channelwise::new(isa, &filter, bias, requantize))
        })
    }

    /// Convolves `input`, `[batch, height, width, in_channels]`, whose first three dimensions are
    /// `shape`, into `output`, `[batch, output height, output width, in_channels * multiplier]`.
    ///
    /// # Panics
    /// If a slice has another length.
    pub fn run(&self, pool: &ThreadPool, input: &[i16], shape: [usize; 3], output: &mut [i16]) {
        match &self.0 {
            Form::Single(channelwise) => channelwise.run(pool, input, shape, output),
            Form::Multiple(conv) => conv.run(pool, input, shape, output),
        }
    }
}

/// Channels worked on together.
const WIDTH: usize = 32;

/// Products whose sum fits 32 bits: each is at most 2^22.
const TAPS: usize = 511;

/// How much more a multiply-accumulate costs here than in a product over channels, roughly.
const COST: usize = 4;

/// Weights in the order `[block of channels][tap][channel]`.
struct Channelwise {
    isa: Isa,
    geometry: Geometry,
    channels: usize,
    weights: Vec<[i16; WIDTH]>,
    /// The bias, by lane.
    initial: Vec<i64>,
    requantizer: Requantizer,
}

impl Channelwise {
    fn new(isa: Isa, filter: &Filter, bias: Option<&[i64]>, requantize: &Requantize) -> Channelwise {
        filter.check();
        assert!(isa.available(), "this machine cannot run '{isa}'");
        requantize.check(filter.out_channels);
        let channels = filter.out_channels;
        let lanes: Vec<_> = (0..channels.next_multiple_of(WIDTH))
            .map(|lane| Some(lane).filter(|&channel| channel < channels))
            .collect();
        let vector = |block: &[Option<usize>], tap: usize| {
            std::array::from_fn(|lane| block[lane].map_or(0, |channel| filter.weight(channel, tap).into()))
        };
        let weights = lanes
            .chunks(WIDTH)
            .flat_map(|block| (0..filter.depth()).map(move |tap| vector(block, tap)))
            .collect();
        Channelwise {
            isa,
            geometry: Geometry::of_channels(filter.window, channels * size_of::<i16>(), 1),
            channels,
            weights,
            initial: initial_sums(&lanes, filter, bias),
            requantizer: Requantizer::new(requantize, &lanes),
        }
    }

    fn run(&self, pool: &ThreadPool, input: &[i16], shape: [usize; 3], output: &mut [i16]) {
        let border = vec![0; self.geometry.read()];
        let source = Source::new(&self.geometry, bytemuck::cast_slice(input), shape, &border);
        let pixels = source.pixels();
        assert_eq!(Some(output.len()), pixels.checked_mul(self.channels), "length of the output");
        if pixels == 0 {
            return;
        }
        let target = Target::new(output, self.channels);
        let products = pixels.saturating_mul(self.weights.len() * WIDTH * COST);
        let weights = size_of_val(&self.weights[..]);
        let grid = Grid::new(&Work { pixels, rows: SLOTS, panels: 1, weights, products }, pool.threads());
        pool.run(grid.tasks(), &|task| {
            let (pixels, _) = grid.part(task);
            let mut cursor = Cursor::new(&source);
            cursor.seek(pixels.start);
            let tiles = pixels.len().div_ceil(SLOTS);
            for index in 0..tiles {
                let tile = cursor.gather(share(pixels.len(), tiles, index).len(), 0);
                compute(self.isa, &tile, self, &target);
            }
        });
    }
}

multiversion! {
    /// Computes all channels of the tile's pixels, which come from the layer's own geometry and
    /// which no one else writes.
    fn compute(tile: &Tile<'_>, layer: &Channelwise, target: &Target<'_, i16>) {
        let taps = tile.pointers.len();
        for (block, weights) in layer.weights.chunks_exact(taps).enumerate() {
            let first = block * WIDTH;
            let count = WIDTH.min(layer.channels - first);
            for row in 0..tile.rows {
                let mut totals = [0i64; WIDTH];
                totals.copy_from_slice(&layer.initial[first..][..WIDTH]);
                for (pointers, weights) in tile.pointers.chunks(TAPS).zip(weights.chunks(TAPS)) {
                    let mut sums = [0i32; WIDTH];
                    for (pointers, weights) in pointers.iter().zip(weights) {
                        // SAFETY: the pixel's channels are readable from the pointer on.
                        let inputs = unsafe { read(pointers[row].cast::<[u8; 2]>().add(first), count) };
                        for lane in 0..WIDTH {
                            sums[lane] += i32::from(inputs[lane]) * i32::from(weights[lane]);
                        }
                    }
                    for (total, sum) in totals.iter_mut().zip(sums) {
                        *total = total.wrapping_add(i64::from(sum));
                    }
                }
                // SAFETY: the pixel and the channels exist, and only this task writes them.
                let out = unsafe { target.slice(tile.pixel + row, first, count) };
                layer.requantizer.row(first, &totals[..count], out);
            }
        }
    }
}

/// The first `count` words at a place, zeros behind them.
///
/// # Safety
/// They must be readable.
#[inline(always)]
unsafe fn read(at: *const [u8; 2], count: usize) -> [i16; WIDTH] {
    // SAFETY: as the caller promises; the array has room for them.
    unsafe {
        if count == WIDTH {
            return at.cast::<[i16; WIDTH]>().read_unaligned();
        }
        let mut words = [0; WIDTH];
        std::ptr::copy_nonoverlapping(at, words.as_mut_ptr().cast::<[u8; 2]>(), count);
        words
    }
}
