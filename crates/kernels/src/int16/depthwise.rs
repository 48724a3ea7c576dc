//! Depthwise convolution of 16-bit activations: each output channel sees one input channel.

#[cfg(target_arch = "x86_64")]
mod vnni;

use crate::multiversion::multiversion;
use crate::quantized::Filter;
#[cfg(target_arch = "x86_64")]
use crate::quantized::epilogue::packed_channel;
use crate::quantized::gather::{Cursor, Geometry, SLOTS, Source, Tile};
use crate::quantized::lane::Lane;
use crate::quantized::split::{Grid, MANY_WEIGHTS, Target, Work, share};
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
        let filter = Filter::depthwise(window, in_channels, multiplier, weights);
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

/// How many taps are worked on together, and in which order.
#[derive(Clone, Copy)]
enum Layout {
    /// One after the other, weights in the order `[block of channels][tap][channel]`.
    Single,
    /// In pairs, as [`vnni`] takes them.
    #[cfg(target_arch = "x86_64")]
    Pairs,
}

struct Channelwise {
    isa: Isa,
    layout: Layout,
    geometry: Geometry,
    channels: usize,
    weights: Vec<[i16; WIDTH]>,
    /// The bias, by lane.
    initial: Vec<[i64; WIDTH]>,
    requantizer: Requantizer,
}

impl Channelwise {
    fn new(isa: Isa, filter: &Filter, bias: Option<&[i64]>, requantize: &Requantize) -> Channelwise {
        filter.check();
        assert!(isa.available(), "this machine cannot run '{isa}'");
        requantize.check(filter.out_channels);
        let layout = match requantize.level(isa) {
            #[cfg(target_arch = "x86_64")]
            Isa::Vnni | Isa::Amx => Layout::Pairs,
            _ => Layout::Single,
        };
        let (channels, pitch) = (filter.out_channels, filter.out_channels * size_of::<i16>());
        let place = |lane: usize| match layout {
            Layout::Single => lane,
            #[cfg(target_arch = "x86_64")]
            Layout::Pairs => lane / WIDTH * WIDTH + packed_channel(lane % WIDTH),
        };
        let lanes: Vec<_> =
            (0..channels.next_multiple_of(WIDTH)).map(|lane| Lane::new(place(lane), channels)).collect();
        let weight = |lane: Lane, tap: usize| match lane.channel() {
            Some(channel) if tap < filter.depth() => i16::from(filter.weight(channel, tap)),
            _ => 0,
        };
        let bundle = match layout {
            Layout::Single => 1,
            #[cfg(target_arch = "x86_64")]
            Layout::Pairs => 2,
        };
        let geometry = Geometry::of_channels(filter.window, pitch, bundle);
        let mut weights = Vec::new();
        for block in lanes.chunks(WIDTH) {
            for vector in 0..geometry.slots() {
                weights.push(std::array::from_fn(|i| match layout {
                    Layout::Single => weight(block[i], vector),
                    // Both weights of a lane side by side, half of the lanes in each vector.
                    #[cfg(target_arch = "x86_64")]
                    Layout::Pairs => weight(block[vector % 2 * 16 + i / 2], vector / 2 * 2 + i % 2),
                }));
            }
        }
        let initial = initial_sums(&lanes, filter, bias).as_chunks().0.to_vec();
        let requantizer = Requantizer::new(requantize, &lanes);
        Channelwise { isa, layout, geometry, channels, weights, initial, requantizer }
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
        let grid = Grid::new(
            &Work { pixels, rows: SLOTS, unit: 1, panels: 1, weights, many_weights: MANY_WEIGHTS, products },
            pool.threads(),
        );
        pool.run(grid.tasks(), &|task| {
            let (pixels, _) = grid.part(task);
            let mut cursor = Cursor::new(&source);
            cursor.seek(pixels.start);
            let tiles = pixels.len().div_ceil(SLOTS);
            for index in 0..tiles {
                let tile = cursor.gather(share(pixels.len(), tiles, index).len(), 0);
                match self.layout {
                    Layout::Single => compute(self.isa, &tile, self, &target),
                    // SAFETY: the layout was chosen for an instruction set that is there; the tile
                    // comes from the layer's own geometry, and tasks have different pixels.
                    #[cfg(target_arch = "x86_64")]
                    Layout::Pairs => unsafe { vnni::compute(&tile, self, &target) },
                }
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
            let initial: &[i64; WIDTH] = &layer.initial[block];
            for row in 0..tile.rows {
                // SAFETY: the pixels' channels are readable from their pointers on.
                let totals = unsafe {
                    if count == WIDTH {
                        sums(tile, row, first, weights, initial, |at| at.cast::<[i16; WIDTH]>().read_unaligned())
                    } else {
                        sums(tile, row, first, weights, initial, |at| read(at, count))
                    }
                };
                // SAFETY: the pixel and the channels exist, and only this task writes them.
                let out = unsafe { target.slice(tile.pixel + row, first, count) };
                layer.requantizer.row(first, &totals, out);
            }
        }
    }
}

/// The sums of a block of channels of a pixel; `read` gives the words at a place.
#[inline(always)]
fn sums(
    tile: &Tile<'_>,
    row: usize,
    first: usize,
    weights: &[[i16; WIDTH]],
    initial: &[i64; WIDTH],
    read: impl Fn(*const [u8; 2]) -> [i16; WIDTH],
) -> [i64; WIDTH] {
    let mut totals = *initial;
    for (pointers, weights) in tile.pointers.chunks(TAPS).zip(weights.chunks(TAPS)) {
        let mut sums = [0i32; WIDTH];
        for (pointers, weights) in pointers.iter().zip(weights) {
            let inputs = read(pointers[row].cast::<[u8; 2]>().wrapping_add(first));
            for lane in 0..WIDTH {
                sums[lane] += i32::from(inputs[lane]) * i32::from(weights[lane]);
            }
        }
        for lane in 0..WIDTH {
            totals[lane] = totals[lane].wrapping_add(i64::from(sums[lane]));
        }
    }
    totals
}

/// The first `count` words at a place, zeros behind them.
///
/// # Safety
/// They must be readable.
#[inline(always)]
unsafe fn read(at: *const [u8; 2], count: usize) -> [i16; WIDTH] {
    let mut words = [0; WIDTH];
    // SAFETY: as the caller promises; the array has room for them.
    unsafe { std::ptr::copy_nonoverlapping(at, words.as_mut_ptr().cast::<[u8; 2]>(), count) };
    words
}
