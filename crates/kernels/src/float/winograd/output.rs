//! The products of a tile, taken back to outputs.

use super::transform::{MOST_OUTPUTS, MOST_POINTS, outputs, repeat};
use crate::float::Clamp;
use crate::float::lanes::{Lanes, for_each_isa, table_by_isa};

/// What one call transforms.
pub(super) struct OutputTile {
    /// The first channel of the first point.
    pub(super) from: *const f32,
    /// Floats from a point to the next.
    pub(super) step: usize,
    pub(super) channels: usize,
    /// The bias of the first channel.
    pub(super) bias: *const f32,
    /// The first channel of the first pixel.
    pub(super) output: *mut f32,
    /// What to add before clamping, laid out like the output; null for nothing. It may be the output
    /// itself.
    pub(super) addend: *const f32,
    /// Floats from a pixel to the next, and from a row to the next.
    pub(super) pitch: usize,
    pub(super) row_pitch: usize,
    /// Rows and columns of the tile that lie inside the output.
    pub(super) rows: usize,
    pub(super) columns: usize,
    pub(super) clamp: Clamp,
}

for_each_isa!(
    /// A tile with `N` points along one side.
    ///
    /// # Safety
    /// The processor has the instruction set and the tile's pointers are good for what it says.
    unsafe fn output<const N: usize>(argument: &super::OutputTile) = output
);

/// The functions of one instruction set for 4 and for 6 points along one side.
type Functions = [unsafe fn(&OutputTile); 2];

macro_rules! functions {
    ($lanes:ty, $isa:ident) => {
        [$isa::output::<4>, $isa::output::<6>]
    };
}

table_by_isa!(
    /// The functions for an instruction set, which the machine must have.
    pub(super) fn functions -> Functions = functions
);

#[inline(always)]
unsafe fn output<L: Lanes, const N: usize>(tile: &OutputTile) {
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
unsafe fn transform<L: Lanes, const N: usize, const WHOLE: bool>(tile: &OutputTile, channel: usize) {
    let count = tile.channels - channel;
    // SAFETY: of every access: in bounds by the caller's promise; only rows and columns inside the
    // output are read or written.
    unsafe {
        let mut columns = [[L::zero(); MOST_OUTPUTS]; MOST_POINTS];
        repeat!(x in 0 1 2 3 4 5, {
            if x < N {
                let mut column = [L::zero(); MOST_POINTS];
                repeat!(y in 0 1 2 3 4 5, {
                    if y < N {
                        let from = tile.from.add((y * N + x) * tile.step + channel);
                        column[y] = load::<L, WHOLE>(from, count);
                    }
                });
                columns[x] = outputs::<L, N>(column);
            }
        });
        let bias = load::<L, WHOLE>(tile.bias.add(channel), count);
        repeat!(y in 0 1 2 3, {
            if y < N - 2 && y < tile.rows {
                let mut row = [L::zero(); MOST_POINTS];
                repeat!(x in 0 1 2 3 4 5, { row[x] = columns[x][y] });
                let row = outputs::<L, N>(row);
                repeat!(x in 0 1 2 3, {
                    if x < N - 2 && x < tile.columns {
                        let at = y * tile.row_pitch + x * tile.pitch + channel;
                        let mut value = row[x].add(bias);
                        if !tile.addend.is_null() {
                            value = value.add(load::<L, WHOLE>(tile.addend.add(at), count));
                        }
                        let value = value.clamp(tile.clamp.min, tile.clamp.max);
                        let to = tile.output.add(at);
                        if WHOLE { value.store(to) } else { value.store_first(to, count) }
                    }
                });
            }
        });
    }
}

/// A `WHOLE` register, or `count` channels.
#[inline(always)]
unsafe fn load<L: Lanes, const WHOLE: bool>(from: *const f32, count: usize) -> L {
    // SAFETY: handed on.
    unsafe { if WHOLE { L::load(from) } else { L::load_first(from, count) } }
}
