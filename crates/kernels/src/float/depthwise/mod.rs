//! Depthwise convolution: every channel on its own.

pub(crate) mod gather;
pub(super) mod patch;
pub(crate) mod rows;
mod strip;
pub(crate) mod weights;

use std::ops::Range;

use super::packed::{Addend, Output};
use super::rectifier::Rectifier;
use super::split::Work;
use super::taps::Image;
use super::{Clamp, Conv2d, assert_sound, volume};
use crate::aligned::Aligned;
use crate::pool::DisjointSlice;
use crate::{Isa, ThreadPool, Window};

/// Packed weights that are worth a task of their own.
const PACK_ELEMENTS: usize = 16 * 1024;

/// A depthwise convolution, channels last, with its weights packed for one instruction set.
///
/// Output channel `c * multiplier + m` sees input channel `c` alone.
pub struct Depthwise(Method);

enum Method {
    /// One output channel per input channel: lanes are channels.
    Single(Single),
    /// Several: a convolution in as many groups as there are input channels.
    Grouped(Grouped),
}

/// A convolution in groups, and the instruction set that it is packed for.
struct Grouped {
    isa: Isa,
    conv: Conv2d,
}

impl Depthwise {
    /// Packs `weights` of shape `[1, kernel height, kernel width, in_channels * multiplier]`;
    /// `bias` has `in_channels * multiplier` elements, `None` stands for zeros.
    ///
    /// # Panics
    /// When the machine lacks `isa`, when `in_channels`, `multiplier`, a kernel size, stride or
    /// dilation is 0, when a number of the window is 2^24 or more, or when `weights` or `bias` has
    /// another length.
    #[must_use]
    pub fn new(
        isa: Isa,
        window: Window,
        in_channels: usize,
        multiplier: usize,
        weights: &[f32],
        bias: Option<&[f32]>,
        clamp: Clamp,
    ) -> Depthwise {
        assert!(in_channels > 0 && multiplier > 0, "a depthwise convolution needs channels");
        assert_sound(&window);
        let channels = volume(&[in_channels, multiplier]);
        let [height, width] = window.kernel;
        assert_eq!(weights.len(), volume(&[height, width, channels]), "number of weights");
        assert!(bias.is_none_or(|bias| bias.len() == channels), "number of biases");
        Depthwise(if multiplier == 1 {
            Method::Single(Single::new(isa, window, channels, weights, bias, clamp))
        } else {
            Method::Grouped(Grouped::new(isa, window, in_channels, channels, weights, bias, clamp))
        })
    }

    /// Takes other weights and biases, of the same shapes. With multiplier 1 nothing is allocated.
    ///
    /// # Panics
    /// When `weights` or `bias` has another length.
    pub fn repack(&mut self, pool: &ThreadPool, weights: &[f32], bias: Option<&[f32]>) {
        match &mut self.0 {
            Method::Single(single) => single.pack(pool, weights, bias),
            Method::Grouped(grouped) => {
                let Conv2d { window, in_channels, out_channels, clamp, .. } = grouped.conv;
                assert_eq!(weights.len(), volume(&[window.taps(), out_channels]), "number of weights");
                let isa = grouped.isa;
                *grouped = Grouped::new(isa, window, in_channels, out_channels, weights, bias, clamp);
            }
        }
    }

    /// Computes the whole output `[batch, output height, output width, in_channels * multiplier]`
    /// from an input of `shape` = batch, height, width (and `in_channels`).
    ///
    /// # Panics
    /// When `input` or `output` has another length.
    pub fn run(&self, pool: &ThreadPool, input: &[f32], shape: [usize; 3], output: &mut [f32]) {
        self.run_rectified(pool, input, shape, None, output);
    }

    /// [`run`](Depthwise::run) with what follows it.
    ///
    /// # Panics
    /// As [`run`](Depthwise::run), and when there are slopes for another number of channels.
    pub fn run_rectified(
        &self,
        pool: &ThreadPool,
        input: &[f32],
        shape: [usize; 3],
        rectifier: Option<&Rectifier>,
        output: &mut [f32],
    ) {
        match &self.0 {
            Method::Single(single) => single.run(pool, input, shape, rectifier, output),
            Method::Grouped(grouped) => {
                grouped.conv.run_rectified(pool, input, shape, None, rectifier, output);
            }
        }
    }

    /// What computes it in patches, if it is computed in patches.
    pub(super) fn patches(&self) -> Option<(&Single, &'static patch::Functions)> {
        match &self.0 {
            Method::Single(single @ Single { tiling: Tiling::Patches(functions), .. }) => {
                Some((single, functions))
            }
            _ => None,
        }
    }
}

impl Grouped {
    fn new(
        isa: Isa,
        window: Window,
        in_channels: usize,
        channels: usize,
        weights: &[f32],
        bias: Option<&[f32]>,
        clamp: Clamp,
    ) -> Grouped {
        let by_channel: Vec<f32> = (0..channels)
            .flat_map(|channel| weights.iter().skip(channel).step_by(channels))
            .copied()
            .collect();
        let conv = Conv2d::new(isa, window, in_channels, in_channels, channels, &by_channel, bias, clamp);
        Grouped { isa, conv }
    }
}

/// Depthwise convolution with multiplier 1, lanes being channels.
pub(super) struct Single {
    pub(super) window: Window,
    pub(super) channels: usize,
    clamp: Clamp,
    lanes: usize,
    /// `[blocks of lanes][1 + taps][lanes]`, the bias first.
    packed: Aligned<f32>,
    pub(super) zeros: Aligned<f32>,
    tiling: Tiling,
}

/// How the output is cut into what one call computes.
#[derive(Clone, Copy)]
enum Tiling {
    /// Two rows by four columns, which share the input pixels they have in common: 3x3 and 5x5
    /// windows.
    Patches(&'static patch::Functions),
    /// Some pixels one after the other: every window.
    Strips(&'static strip::Functions),
}

/// What goes into a call besides its input pixels: the channels `first..end` of some pixels.
struct Block {
    /// The first channel, a multiple of the lanes.
    first: usize,
    end: usize,
    /// The packed weights of the first channel.
    weights: *const f32,
    /// Channel 0 of the first pixel.
    output: *mut f32,
    /// Floats from an output pixel to the next.
    channels: usize,
    clamp: Clamp,
}

impl Single {
    fn new(
        isa: Isa,
        window: Window,
        channels: usize,
        weights: &[f32],
        bias: Option<&[f32]>,
        clamp: Clamp,
    ) -> Single {
        let (lanes, tiling) = match patch::functions(isa, &window) {
            Some(functions) => (functions.lanes, Tiling::Patches(functions)),
            None => {
                let functions = strip::functions(isa);
                (functions.lanes, Tiling::Strips(functions))
            }
        };
        let packed = Aligned::zeroed(channels.div_ceil(lanes) * (1 + window.taps()) * lanes);
        let zeros = Aligned::zeroed(channels);
        let mut single = Single { window, channels, clamp, lanes, packed, zeros, tiling };
        single.pack(&ThreadPool::new(1), weights, bias);
        single
    }

    /// Packs weights `[taps][channels]` and biases, over those that are there.
    fn pack(&mut self, pool: &ThreadPool, weights: &[f32], bias: Option<&[f32]>) {
        let Single { channels, lanes, .. } = *self;
        let taps = self.window.taps();
        assert_eq!(weights.len(), taps * channels, "number of weights");
        assert!(bias.is_none_or(|bias| bias.len() == channels), "number of biases");
        let row_len = (1 + taps) * lanes;
        let per_task = pool.rows_per_task(channels.div_ceil(lanes), PACK_ELEMENTS.div_ceil(row_len));
        pool.run_rows(&mut self.packed, row_len, per_task, |first, blocks| {
            for (block, packed) in (first..).zip(blocks.chunks_exact_mut(row_len)) {
                let first = block * lanes;
                let count = lanes.min(channels - first);
                let (packed_bias, packed) = packed.split_at_mut(lanes);
                match bias {
                    Some(bias) => packed_bias[..count].copy_from_slice(&bias[first..][..count]),
                    None => packed_bias.fill(0.0),
                }
                for (tap, packed) in packed.chunks_exact_mut(lanes).enumerate() {
                    packed[..count].copy_from_slice(&weights[tap * channels + first..][..count]);
                }
            }
        });
    }

    fn run(
        &self,
        pool: &ThreadPool,
        input: &[f32],
        shape: [usize; 3],
        rectifier: Option<&Rectifier>,
        output: &mut [f32],
    ) {
        let [batch, height, width] = shape;
        let [out_height, out_width] = self.window.output([height, width]);
        let out_shape = [batch, out_height, out_width, self.channels];
        assert_eq!(input.len(), volume(&[batch, height, width, self.channels]), "length of the input");
        assert_eq!(output.len(), volume(&out_shape), "length of the output");
        if output.is_empty() {
            return;
        }
        let image = Image {
            data: input,
            shape,
            channels: self.channels,
            window: self.window,
            output: [out_height, out_width],
            zeros: &self.zeros,
        };
        assert!(
            rectifier.is_none_or(|slopes| slopes.channels() == self.channels),
            "slopes for other channels"
        );
        let data = DisjointSlice::new(output);
        let output = self.output(&data, rectifier);
        match self.tiling {
            Tiling::Patches(functions) => self.run_patches(functions, pool, image, &output),
            Tiling::Strips(functions) => self.run_strips(functions, pool, image, &output),
        }
    }

    /// Where results go.
    pub(super) fn output<'a>(
        &self,
        data: &'a DisjointSlice<'a, f32>,
        rectifier: Option<&'a Rectifier>,
    ) -> Output<'a> {
        let (pitch, clamp) = (self.channels, self.clamp);
        Output { data, addend: Addend::Nothing, first: 0, pitch, clamp, rectifier }
    }

    /// The channels of some blocks.
    fn channels_of(&self, blocks: &Range<usize>) -> Range<usize> {
        blocks.start * self.lanes..self.channels.min(blocks.end * self.lanes)
    }

    /// The channel blocks `blocks` of the `pixels` output pixels that begin at pixel `first`.
    fn block(&self, blocks: &Range<usize>, first: usize, pixels: usize, output: &Output<'_>) -> Block {
        let channels = self.channels_of(blocks);
        let (output, _) = output.place(&(first..first + pixels), &(0..self.channels));
        Block {
            weights: self.packed[channels.start * (1 + self.window.taps())..].as_ptr(),
            first: channels.start,
            end: channels.end,
            output,
            channels: self.channels,
            clamp: self.clamp,
        }
    }

    /// What there is to split when a tile has `most_pixels`.
    fn work(&self, tiles: usize, most_pixels: usize) -> Work {
        Work {
            pixels: tiles,
            most_pixels: 1,
            panels: self.channels.div_ceil(self.lanes),
            work_per_pixel: self.packed.len() * most_pixels,
            floats_per_pixel: 2 * self.channels * most_pixels,
            weights: self.packed.len(),
        }
    }
}
