//! Depthwise convolution: every channel on its own.

use super::aligned::Aligned;
use super::lanes::{Lanes, MOST_PIXELS, Portable, for_each_isa, for_each_pixel};
use super::split::{Split, Work};
use super::taps::{Image, Reading, Taps};
use super::{Clamp, Conv2d};
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
    /// When the machine lacks `isa`, when `in_channels` or `multiplier` is 0, or when `weights` or
    /// `bias` has another length.
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
        let channels = in_channels * multiplier;
        assert_eq!(weights.len(), window.taps() * channels, "number of weights");
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
}

/// Depthwise convolution with multiplier 1.
struct Single {
    window: Window,
    channels: usize,
    clamp: Clamp,
    isa: &'static Registers,
    /// `[blocks of lanes][1 + taps][lanes]`, the bias first.
    packed: Aligned,
    zeros: Aligned,
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
        let isa = Registers::of(isa);
        let rows = 1 + window.taps();
        let mut packed = Aligned::zeros(channels.div_ceil(isa.lanes) * rows * isa.lanes);
        for (block, packed) in packed.chunks_exact_mut(rows * isa.lanes).enumerate() {
            let first = block * isa.lanes;
            let count = isa.lanes.min(channels - first);
            let (packed_bias, packed) = packed.split_at_mut(isa.lanes);
            if let Some(bias) = bias {
                packed_bias[..count].copy_from_slice(&bias[first..][..count]);
            }
            for (tap, packed) in packed.chunks_exact_mut(isa.lanes).enumerate() {
                packed[..count].copy_from_slice(&weights[tap * channels + first..][..count]);
            }
        }
        Single { window, channels, clamp, isa, packed, zeros: Aligned::zeros(channels) }
    }

    fn run(&self, pool: &ThreadPool, input: &[f32], shape: [usize; 3], output: &mut [f32]) {
        let [batch, height, width] = shape;
        let [out_height, out_width] = self.window.output([height, width]);
        let pixels = batch * out_height * out_width;
        assert_eq!(input.len(), batch * height * width * self.channels, "length of the input");
        assert_eq!(output.len(), pixels * self.channels, "length of the output");
        if pixels == 0 {
            return;
        }
        let work = Work {
            pixels,
            most_pixels: self.isa.pixels,
            panels: self.channels.div_ceil(self.isa.lanes),
            work_per_pixel: self.packed.len(),
            input_per_pixel: self.channels,
            weights: self.packed.len(),
        };
        let split = Split::new(&work, pool.threads());
        let image = Image {
            data: input,
            shape,
            channels: self.channels,
            window: self.window,
            output: [out_height, out_width],
            zeros: &self.zeros,
        };
        let output = DisjointSlice::new(output);
        pool.run(split.tasks(), &|task| {
            let mut taps = Taps::new(image, Reading::Taps, self.isa.pixels);
            let (tiles, blocks) = split.task(task);
            for pixels in tiles.map(|tile| split.pixels(tile..tile + 1)) {
                assert!(pixels.end * self.channels <= output.len(), "tile outside the output");
                let first = blocks.start * self.isa.lanes;
                let tile = Tile {
                    pointers: taps.find(pixels.start, pixels.len()),
                    taps: self.window.taps(),
                    first,
                    end: self.channels.min(blocks.end * self.isa.lanes),
                    weights: self.packed[first * (1 + self.window.taps())..].as_ptr(),
                    // SAFETY: inside the output as just checked.
                    output: unsafe { output.as_ptr().add(pixels.start * self.channels) },
                    channels: self.channels,
                    clamp: self.clamp,
                };
                // SAFETY: `Registers::of` checked the instruction set; each tap has all channels;
                // tasks of a split share no pixel and channel.
                unsafe { self.isa.functions[pixels.len() - 1](&tile) };
            }
        });
    }
}

/// What one call of a tile function computes: some pixels, the channels `first..end`.
struct Tile {
    /// `[taps][pixels]` pointers to all channels of an input pixel.
    pointers: *const *const f32,
    taps: usize,
    /// The first channel, a multiple of the lanes.
    first: usize,
    end: usize,
    /// The packed weights of the first channel.
    weights: *const f32,
    /// The first pixel's channel 0.
    output: *mut f32,
    channels: usize,
    clamp: Clamp,
}

/// The tile functions of one instruction set.
struct Registers {
    lanes: usize,
    /// Most pixels in a tile.
    pixels: usize,
    /// For 1, 2, ... `pixels` pixels.
    functions: &'static [unsafe fn(&Tile)],
}

for_each_isa!(
    /// A tile of `P` pixels.
    ///
    /// # Safety
    /// The processor has the instruction set and the tile's pointers are good for what it says.
    unsafe fn tile<const P: usize>(argument: &super::Tile) = tile
);

macro_rules! registers {
    ($lanes:ty, $isa:ident, $pixels:literal: $($count:literal)*) => {
        Registers { lanes: <$lanes>::COUNT, pixels: $pixels, functions: &[$($isa::tile::<$count>),*] }
    };
}

static PORTABLE: Registers = registers!(Portable, portable, 4: 1 2 3 4);
#[cfg(target_arch = "x86_64")]
static AVX2: Registers = registers!(super::lanes::Avx2, avx2, 8: 1 2 3 4 5 6 7 8);
#[cfg(target_arch = "x86_64")]
static AVX512: Registers = registers!(super::lanes::Avx512, avx512, 8: 1 2 3 4 5 6 7 8);
#[cfg(target_arch = "aarch64")]
static NEON: Registers = registers!(super::lanes::Neon, neon, 8: 1 2 3 4 5 6 7 8);

impl Registers {
    /// The functions for an instruction set, which the machine must have.
    fn of(isa: Isa) -> &'static Registers {
        assert!(isa.available(), "this machine cannot run '{isa}'");
        match isa {
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 | Isa::Vnni | Isa::Amx => &AVX512,
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 | Isa::AvxVnni => &AVX2,
            #[cfg(target_arch = "aarch64")]
            Isa::Neon => &NEON,
            _ => &PORTABLE,
        }
    }
}

/// The one inner loop, for every instruction set: `P` pixels times one register of channels.
#[inline(always)]
unsafe fn tile<L: Lanes, const P: usize>(tile: &Tile) {
    let Clamp { min, max } = tile.clamp;
    let mut weights = tile.weights;
    for channel in (tile.first..tile.end).step_by(L::COUNT) {
        let count = tile.end - channel;
        // SAFETY: of every access: in bounds by the caller's promise about the tile.
        unsafe {
            let mut acc = [L::load(weights); MOST_PIXELS];
            weights = weights.add(L::COUNT);
            let mut pointers = tile.pointers;
            for _ in 0..tile.taps {
                let w = L::load(weights);
                weights = weights.add(L::COUNT);
                for_each_pixel!(i < P, {
                    let x = (*pointers.add(i)).add(channel);
                    let x = if count >= L::COUNT { L::load(x) } else { L::load_first(x, count) };
                    acc[i] = acc[i].add_product(x, w);
                });
                pointers = pointers.add(P);
            }
            for_each_pixel!(i < P, {
                let to = tile.output.add(i * tile.channels + channel);
                let value = acc[i].clamp(min, max);
                if count >= L::COUNT { value.store(to) } else { value.store_first(to, count) }
            });
        }
    }
}
