//! Tiles of two rows by four columns for 3x3 windows of stride 1 or 2: neighbouring outputs share
//! the input pixels that both see, each of which is loaded once.

use super::{Block, Single};
use crate::float::Clamp;
use crate::float::lanes::{Lanes, for_each_isa, table_by_isa};
use crate::float::split::{Split, part};
use crate::float::taps::Image;
use crate::pool::DisjointSlice;
use crate::{Isa, ThreadPool, Window};

/// Most output rows and columns of a patch.
const ROWS: usize = 2;
const COLUMNS: usize = 4;
/// Rows and columns of the window.
const TAPS: usize = 3;
/// Most input pixels that a patch sees.
const MOST_INPUTS: usize = ((ROWS - 1) * 2 + TAPS) * ((COLUMNS - 1) * 2 + TAPS);

impl Single {
    /// Computes the whole output.
    pub(super) fn run_patches(
        &self,
        functions: &Functions,
        pool: &ThreadPool,
        image: Image<'_>,
        output: &DisjointSlice<'_, f32>,
    ) {
        let [height, width] = image.output;
        let [down, across] = [height.div_ceil(ROWS), width.div_ceil(COLUMNS)];
        let patches = image.shape[0] * down * across;
        let split = Split::new(&self.work(patches, ROWS * COLUMNS), pool.threads());
        let [_, stride] = self.window.stride;
        pool.run(split.tasks(), &|task| {
            let mut pointers = [std::ptr::null(); MOST_INPUTS];
            let (patches, blocks) = split.task(task);
            for index in patches {
                let (sample, y) = (index / across / down, index / across % down * ROWS);
                let columns = part(width, index % across, across);
                let rows = ROWS.min(height - y);
                let seen = [(rows - 1) * stride + TAPS, (columns.len() - 1) * stride + TAPS];
                image.find_patch([sample, y, columns.start], seen, &mut pointers);
                let first = (sample * height + y) * width + columns.start;
                let patch = Patch {
                    pointers: &pointers,
                    row_pitch: width * self.channels,
                    block: self.block(&blocks, first, (rows - 1) * width + columns.len(), output),
                };
                // SAFETY: `functions` checked the instruction set and the window; each pointer has
                // all channels; tasks of a split share no pixel and channel.
                unsafe { functions.by_size[rows - 1][columns.len() - 1](&patch) };
            }
        });
    }
}

/// What one call computes.
struct Patch<'a> {
    /// Pointers to all channels of the input pixels that the patch sees, row by row.
    pointers: &'a [*const f32; MOST_INPUTS],
    /// Floats from an output row to the next.
    row_pitch: usize,
    block: Block,
}

/// The functions of one instruction set and stride.
pub(super) struct Functions {
    /// Floats in a register.
    pub(super) lanes: usize,
    /// For 1 and 2 rows, for 1 to 4 columns.
    by_size: [[unsafe fn(&Patch<'_>); COLUMNS]; ROWS],
}

for_each_isa!(
    /// A patch of `R` rows and `C` columns, of stride `S`.
    ///
    /// # Safety
    /// The processor has the instruction set and the pointers are good for what they say.
    unsafe fn patch<const S: usize, const R: usize, const C: usize>(argument: &super::Patch<'_>) = patch
);

macro_rules! functions {
    ($lanes:ty, $isa:ident) => { [functions!($lanes, $isa, 1), functions!($lanes, $isa, 2)] };
    ($lanes:ty, $isa:ident, $stride:literal) => {
        Functions {
            lanes: <$lanes>::COUNT,
            by_size: [functions!($isa, $stride, 1: 1 2 3 4), functions!($isa, $stride, 2: 1 2 3 4)],
        }
    };
    ($isa:ident, $stride:literal, $rows:literal: $($columns:literal)*) => {
        [$($isa::patch::<$stride, $rows, $columns>),*]
    };
}

table_by_isa!(
    /// The functions for an instruction set, for strides 1 and 2.
    fn by_stride -> [Functions; 2] = functions
);

/// The functions for an instruction set, which the machine must have, if they can do `window`.
pub(super) fn functions(isa: Isa, window: &Window) -> Option<&'static Functions> {
    let [down, across] = window.stride;
    let fits = window.kernel == [TAPS; 2] && window.dilation == [1; 2] && down == across && down <= 2;
    fits.then(|| &by_stride(isa)[down - 1])
}

/// Repeats a block with each of some literal numbers.
macro_rules! repeat {
    ($i:ident in $($number:literal)*, $body:block) => {
        $({
            let $i: usize = $number;
            $body
        })*
    };
}

/// The inner loop for every instruction set: one register of channels at a time.
#[inline(always)]
unsafe fn patch<L: Lanes, const S: usize, const R: usize, const C: usize>(patch: &Patch<'_>) {
    let mut weights = patch.block.weights;
    let mut channel = patch.block.first;
    while channel + L::COUNT <= patch.block.end {
        // SAFETY: handed on; a whole register of channels is left.
        unsafe { patch_registers::<L, S, R, C, true>(patch, channel, weights) };
        channel += L::COUNT;
        weights = weights.wrapping_add((1 + TAPS * TAPS) * L::COUNT);
    }
    if channel < patch.block.end {
        // SAFETY: handed on; less than a register of channels is left.
        unsafe { patch_registers::<L, S, R, C, false>(patch, channel, weights) };
    }
}

/// One register of channels, `WHOLE` or the rest of the channels.
#[inline(always)]
unsafe fn patch_registers<L: Lanes, const S: usize, const R: usize, const C: usize, const WHOLE: bool>(
    patch: &Patch<'_>,
    channel: usize,
    weights: *const f32,
) {
    let Block { end, output, channels, clamp: Clamp { min, max }, .. } = patch.block;
    let count = end - channel;
    let seen = (C - 1) * S + TAPS;
    // SAFETY: of every access: in bounds by the caller's promise.
    unsafe {
        let mut acc = [[L::load(weights); COLUMNS]; ROWS];
        let mut w = [L::zero(); TAPS * TAPS];
        repeat!(tap in 0 1 2 3 4 5 6 7 8, { w[tap] = L::load(weights.add((1 + tap) * L::COUNT)) });
        // Input rows and columns in order, so that each sum takes its taps in order. The bounds
        // are constants: what is left of the blocks is a straight line of loads and products.
        repeat!(y in 0 1 2 3 4, {
            repeat!(x in 0 1 2 3 4 5 6 7 8, {
                if y < (R - 1) * S + TAPS && x < seen {
                    let from = patch.pointers[y * seen + x].add(channel);
                    let value = if WHOLE { L::load(from) } else { L::load_first(from, count) };
                    repeat!(row in 0 1, {
                        repeat!(column in 0 1 2 3, {
                            let tap_y = y.wrapping_sub(row * S);
                            let tap_x = x.wrapping_sub(column * S);
                            if row < R && column < C && tap_y < TAPS && tap_x < TAPS {
                                let w = w[tap_y * TAPS + tap_x];
                                acc[row][column] = acc[row][column].add_product(value, w);
                            }
                        });
                    });
                }
            });
        });
        repeat!(row in 0 1, {
            repeat!(column in 0 1 2 3, {
                if row < R && column < C {
                    let to = output.add(row * patch.row_pitch + column * channels + channel);
                    let value = acc[row][column].clamp(min, max);
                    if WHOLE { value.store(to) } else { value.store_first(to, count) }
                }
            });
        });
    }
}
