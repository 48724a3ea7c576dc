//! Depthwise convolution: every channel on its own.

pub(super) mod patch;
mod strip;

use std::ops::Range;

use super::split::Work;
use super::taps::Image;
use super::{Clamp, Conv2d, assert_sound, volume};
use crate::aligned::Aligned;
use crate::pool::DisjointSlice;
use crate::{Isa, ThreadPool, Window};

/// A depthwise convolution, channels last, with its weights packed for one instruction set.
///
/// Output channel `c * multiplier + m` sees input channel `c` alone.
pub struct Depthwise(Method);

enum Method {
    /// One output channel per input channel: lanes are channels.
    Single(Single),
    /// Several: a convolution in as many groups as there are input channels.
    Grouped(Conv2d),
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
        if multiplier == 1 {
            return Depthwise(Method::Single(Single::new(isa, window, channels, weights, bias, clamp)));
        }
        let by_channel: Vec<f32> = (0..channels)
            .flat_map(|channel| weights.iter().skip(channel).step_by(channels))
            .copied()
            .collect();
        let conv = Conv2d::new(isa, window, in_channels, in_channels, channels, &by_channel, bias, clamp);
        Depthwise(Method::Grouped(conv))
    }

    /// Computes the whole output `[batch, output height, output width, in_channels * multiplier]`
    /// from an input of `shape` = batch, height, width (and `in_channels`).
    ///
    /// # Panics
    /// When `input` or `output` has another length.
    pub fn run(&self, pool: &ThreadPool, input: &[f32], shape: [usize; 3], output: &mut [f32]) {
        match &self.0 {
            Method::Single(single) => single.run(pool, input, shape, output),
            Method::Grouped(conv) => conv.run(pool, input, shape, output),
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
        let rows = 1 + window.taps();
        let mut packed = Aligned::zeroed(channels.div_ceil(lanes) * rows * lanes);
        for (block, packed) in packed.chunks_exact_mut(rows * lanes).enumerate() {
            let first = block * lanes;
            let count = lanes.min(channels - first);
            let (packed_bias, packed) = packed.split_at_mut(lanes);
            if let Some(bias) = bias {
                packed_bias[..count].copy_from_slice(&bias[first..][..count]);
            }
            for (tap, packed) in packed.chunks_exact_mut(lanes).enumerate() {
                packed[..count].copy_from_slice(&weights[tap * channels + first..][..count]);
            }
        }
        Single { window, channels, clamp, lanes, packed, zeros: Aligned::zeroed(channels), tiling }
    }

    fn run(&self, pool: &ThreadPool, input: &[f32], shape: [usize; 3], output: &mut [f32]) {
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
        let output = DisjointSlice::new(output);
        match self.tiling {
            Tiling::Patches(functions) => self.run_patches(functions, pool, image, &output),
            Tiling::Strips(functions) => self.run_strips(functions, pool, image, &output),
        }
    }

    /// The channel blocks `blocks` of the `pixels` output pixels that begin at pixel `first`.
    fn block(
        &self,
        blocks: &Range<usize>,
        first: usize,
        pixels: usize,
        output: &DisjointSlice<'_, f32>,
    ) -> Block {
        assert!((first + pixels) * self.channels <= output.len(), "tile outside the output");
        let channel = blocks.start * self.lanes;
        Block {
            first: channel,
            end: self.channels.min(blocks.end * self.lanes),
            weights: self.packed[channel * (1 + self.window.taps())..].as_ptr(),
            // SAFETY: inside the output as just checked.
            output: unsafe { output.as_ptr().add(first * self.channels) },
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
