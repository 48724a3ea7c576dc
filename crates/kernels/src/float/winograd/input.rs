//! The input of a tile, taken to its points.

use super::transform::{MOST_POINTS, inputs, repeat};
use crate::float::lanes::{Lanes, for_each_isa, table_by_isa};

/// What one call transforms.
pub(super) struct InputTile<'a> {
    /// Pointers to all channels of the pixels that the tile sees, row by row.
    pub(super) pixels: &'a [*const f32],
    pub(super) channels: usize,
    /// Where the first channel of the first point goes.
    pub(super) to: *mut f32,
    /// Floats from a point to the next.
    pub(super) step: usize,
}

for_each_isa!(
    /// A tile with `N` points along one side.
    ///
    /// # Safety
    /// The processor has the instruction set and the tile's pointers are good for what it says.
    unsafe fn input<const N: usize>(argument: &super::InputTile<'_>) = input
);

/// The functions of one instruction set for 4 and for 6 points along one side.
type Functions = [unsafe fn(&InputTile<'_>); 2];

macro_rules! functions {
    ($lanes:ty, $isa:ident) => {
        [$isa::input::<4>, $isa::input::<6>]
    };
}

table_by_isa!(
    /// The functions for an instruction set, which the machine must have.
    pub(super) fn functions -> Functions = functions
);

#[inline(always)]
unsafe fn input<L: Lanes, const N: usize>(tile: &InputTile<'_>) {
    assert_eq!(tile.pixels.len(), N * N, "pixels that a tile sees");
    let mut channel = 0;
    while channel + L::COUNT <= tile.channels {
        // SAFETY: handed on; a whole register of channels is left.
        unsafe { transform::<L, N, true>(tile, channel) };
        channel += L::COUNT;
    }
    if channel < tile.channels {
        // SAFETY: handed on; less than a register of channels is left.
        unsafe { transform::<L, N, false>(tile, channel) };
    }
}

/// One register of channels, `WHOLE` or the rest of the channels.
#[inline(always)]
unsafe fn transform<L: Lanes, const N: usize, const WHOLE: bool>(tile: &InputTile<'_>, channel: usize) {
    let count = tile.channels - channel;
    // SAFETY: of every access: in bounds by the caller's promise.
    unsafe {
        let mut rows = [[L::zero(); MOST_POINTS]; MOST_POINTS];
        repeat!(y in 0 1 2 3 4 5, {
            if y < N {
                let mut pixels = [L::zero(); MOST_POINTS];
                repeat!(x in 0 1 2 3 4 5, {
                    if x < N {
                        let from = tile.pixels.get_unchecked(y * N + x).add(channel);
                        pixels[x] = if WHOLE { L::load(from) } else { L::load_first(from, count) };
                    }
                });
                rows[y] = inputs::<L, N>(pixels);
            }
        });
        repeat!(x in 0 1 2 3 4 5, {
            if x < N {
                let mut column = [L::zero(); MOST_POINTS];
                repeat!(y in 0 1 2 3 4 5, { column[y] = rows[y][x] });
                let column = inputs::<L, N>(column);
                repeat!(y in 0 1 2 3 4 5, {
                    if y < N {
                        let to = tile.to.add((y * N + x) * tile.step + channel);
                        if WHOLE { column[y].store(to) } else { column[y].store_first(to, count) }
                    }
                });
            }
        });
    }
}
