//! Tiles of pixels one after the other, with a pointer per tap and pixel: for every window.

use super::{Block, Single};
use crate::ThreadPool;
use crate::float::Clamp;
use crate::float::lanes::{Lanes, MOST_PIXELS, for_each_isa, for_each_pixel, table_by_isa};
use crate::float::packed::Output;
use crate::float::split::Split;
use crate::float::taps::{Image, Reading, Taps};

/// Most pixels in a tile.
const PIXELS: usize = 8;

impl Single {
    /// Computes the whole output.
    pub(super) fn run_strips(
        &self,
        functions: &Functions,
        pool: &ThreadPool,
        image: Image<'_>,
        output: &Output<'_>,
    ) {
        let pixels = output.data.len() / self.channels;
        let tiles = pixels.div_ceil(PIXELS);
        let split = Split::new(&self.work(tiles, PIXELS), pool.threads());
        pool.run(split.tasks(), &|task| {
            let mut taps = Taps::new(image, Reading::Taps, PIXELS);
            let (tiles, blocks) = split.task(task);
            for first in tiles.map(|tile| tile * PIXELS) {
                let count = PIXELS.min(pixels - first);
                let strip = Strip {
                    pointers: taps.find(first, count),
                    taps: self.window.taps(),
                    block: self.block(&blocks, first, count, output),
                };
                // SAFETY: `functions` checked the instruction set; each tap has all channels;
                // tasks of a split share no pixel and channel.
                unsafe {
                    functions.by_pixels[count - 1](&strip);
                    output.rectify(first..first + count, self.channels_of(&blocks));
                }
            }
        });
    }
}

/// What one call computes.
struct Strip {
    /// `[taps][pixels]` pointers to all channels of an input pixel.
    pointers: *const *const f32,
    taps: usize,
    block: Block,
}

/// The functions of one instruction set.
pub(super) struct Functions {
    /// Floats in a register.
    pub(super) lanes: usize,
    /// For 1, 2, ... [`PIXELS`] pixels.
    by_pixels: [unsafe fn(&Strip); PIXELS],
}

for_each_isa!(
    /// A tile of `P` pixels.
    ///
    /// # Safety
    /// The processor has the instruction set and the pointers are good for what they say.
    unsafe fn strip<const P: usize>(argument: &super::Strip) = strip
);

macro_rules! functions {
    ($lanes:ty, $isa:ident) => {
        Functions { lanes: <$lanes>::COUNT, by_pixels: functions!($isa: 1 2 3 4 5 6 7 8) }
    };
    ($isa:ident: $($pixels:literal)*) => { [$($isa::strip::<$pixels>),*] };
}

table_by_isa!(
    /// The functions for an instruction set, which the machine must have.
    pub(super) fn functions -> Functions = functions
);

/// The inner loop for every instruction set: `P` pixels times one register of channels at a time.
#[inline(always)]
unsafe fn strip<L: Lanes, const P: usize>(strip: &Strip) {
    let Block { end, output, channels, clamp: Clamp { min, max }, .. } = strip.block;
    let mut weights = strip.block.weights;
    for channel in (strip.block.first..end).step_by(L::COUNT) {
        let count = end - channel;
        // SAFETY: of every access: in bounds by the caller's promise.
        unsafe {
            let mut acc = [L::load(weights); MOST_PIXELS];
            weights = weights.add(L::COUNT);
            let mut pointers = strip.pointers;
            for _ in 0..strip.taps {
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
                let to = output.add(i * channels + channel);
                let value = acc[i].clamp(min, max);
                if count >= L::COUNT { value.store(to) } else { value.store_first(to, count) }
            });
        }
    }
}
