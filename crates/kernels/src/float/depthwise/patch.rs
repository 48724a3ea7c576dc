//! Tiles of two rows by four columns for 3x3 and 5x5 windows of stride 1 or 2: neighbouring outputs
//! share the input pixels that both see, each of which is loaded once.

use std::ops::Range;

use super::{Block, Single};
use crate::float::Clamp;
use crate::float::lanes::{Lanes, for_each_isa, table_by_isa};
use crate::float::packed::Output;
use crate::float::split::{Split, part};
use crate::float::taps::Image;
use crate::{Isa, ThreadPool, Window};

/// Most output rows of a patch.
pub(in crate::float) const ROWS: usize = 2;
/// Most output columns.
const COLUMNS: usize = 4;
/// Most rows and columns of the window.
const MOST_TAPS: usize = 5;
/// Most rows and columns of the input that a patch sees.
const MOST_DOWN: usize = (ROWS - 1) * 2 + MOST_TAPS;
const MOST_ACROSS: usize = (COLUMNS - 1) * 2 + MOST_TAPS;
const MOST_INPUTS: usize = MOST_DOWN * MOST_ACROSS;

impl Single {
    /// Computes the whole output.
    pub(super) fn run_patches(
        &self,
        functions: &Functions,
        pool: &ThreadPool,
        image: Image<'_>,
        output: &Output<'_>,
    ) {
        let [height, width] = image.output;
        let [down, across] = [height.div_ceil(ROWS), width.div_ceil(COLUMNS)];
        let patches = image.shape[0] * down * across;
        let split = Split::new(&self.work(patches, ROWS * COLUMNS), pool.threads());
        pool.run(split.tasks(), &|task| {
            let (patches, blocks) = split.task(task);
            let mut inputs = Inputs::default();
            for index in patches {
                let (sample, y) = (index / across / down, index / across % down * ROWS);
                let columns = part(width, index % across, across);
                let size = [ROWS.min(height - y), columns.len()];
                let first = (sample * height + y) * width + columns.start;
                let line = |row| image.line(sample, y, row);
                let pointers = inputs.find(self, &image, index / across, columns.start, size, line);
                // SAFETY: the pointers are those of the patch; tasks of a split share no pixel and
                // channel.
                unsafe { self.run_patch(functions, pointers, size, width, &blocks, first, output) };
            }
        });
    }

    /// Computes all channels of the output rows `y..y + rows`, up to [`ROWS`], of one sample. `line`
    /// gives the input rows that they see, counted from the first tap of the first, `None` for one
    /// in the padding. The first pixel is number `first` of the output.
    ///
    /// # Safety
    /// The lines have all columns with all channels; no other thread writes these pixels.
    pub(in crate::float) unsafe fn run_rows<'l>(
        &self,
        functions: &Functions,
        image: &Image<'_>,
        rows: usize,
        line: impl Fn(usize) -> Option<&'l [f32]> + Copy,
        first: usize,
        output: &Output<'_>,
    ) {
        let [_, width] = image.output;
        let across = width.div_ceil(COLUMNS);
        let blocks = 0..self.channels.div_ceil(self.lanes);
        let mut inputs = Inputs::default();
        for index in 0..across {
            let columns = part(width, index, across);
            let (x, size) = (columns.start, [rows, columns.len()]);
            let pointers = inputs.find(self, image, 0, x, size, line);
            // SAFETY: the pointers are those of the patch; the rest is handed on.
            unsafe { self.run_patch(functions, pointers, size, width, &blocks, first + x, output) };
        }
    }

    /// Rows and columns of the input that `rows` by `columns` outputs see.
    fn seen(&self, [rows, columns]: [usize; 2]) -> [usize; 2] {
        let ([down, across], [height, width]) = (self.window.stride, self.window.kernel);
        [(rows - 1) * down + height, (columns - 1) * across + width]
    }

    /// Computes some blocks of channels of one patch of `rows` by `columns`, the first pixel of which
    /// is number `first` of the output, `width` pixels wide.
    ///
    /// # Safety
    /// The pointers are those of the patch's inputs, to all channels; no other thread writes these
    /// pixels and channels.
    // A struct for what one patch needs would be taken apart in this one place.
    #[allow(clippy::too_many_arguments)]
    #[inline]
    unsafe fn run_patch(
        &self,
        functions: &Functions,
        pointers: &[*const f32; MOST_INPUTS],
        [rows, columns]: [usize; 2],
        width: usize,
        blocks: &Range<usize>,
        first: usize,
        output: &Output<'_>,
    ) {
        let patch = Patch {
            pointers,
            row_pitch: width * self.channels,
            block: self.block(blocks, first, (rows - 1) * width + columns, output),
        };
        // SAFETY: `functions` checked the instruction set and the window; the rest is the caller's
        // promise.
        unsafe { functions.by_size[rows - 1][columns - 1](&patch) };
        for first in (0..rows).map(|row| first + row * width) {
            // SAFETY: the caller's promise.
            unsafe { output.rectify(first..first + columns, self.channels_of(blocks)) };
        }
    }
}

/// The inputs of one patch after the other.
struct Inputs {
    /// Pointers to all channels of the input pixels that the patch sees, row by row.
    pointers: [*const f32; MOST_INPUTS],
    /// Which of the rows are there; the others are padding.
    there: [bool; MOST_DOWN],
    /// Number of the rows, first column and size of the patch before, if it saw no padding to its left and right.
    before: Option<(usize, usize, [usize; 2])>,
}

impl Default for Inputs {
    fn default() -> Inputs {
        Inputs { pointers: [std::ptr::null(); MOST_INPUTS], there: [false; MOST_DOWN], before: None }
    }
}

impl Inputs {
    /// The inputs of a patch of a size whose first output is in column `x`. `line` gives the input rows that it sees,
    /// which are others where `number` is another.
    #[inline]
    fn find<'l>(
        &mut self,
        single: &Single,
        image: &Image<'_>,
        number: usize,
        x: usize,
        size: [usize; 2],
        line: impl Fn(usize) -> Option<&'l [f32]>,
    ) -> &[*const f32; MOST_INPUTS] {
        let seen = single.seen(size);
        let inside = image.sees_columns(x, seen[1]);
        match self.before {
            // Beside such a patch all pointers move on alike.
            Some((rows, last, of)) if inside && (rows, of) == (number, size) => {
                let step = (x - last) * single.window.stride[1] * single.channels;
                let rows = self.pointers.chunks_exact_mut(seen[1]).take(seen[0]);
                for (pointers, _) in rows.zip(&self.there).filter(|(_, there)| **there) {
                    pointers.iter_mut().for_each(|pointer| *pointer = pointer.wrapping_add(step));
                }
            }
            _ => {
                self.there = std::array::from_fn(|row| row < seen[0] && line(row).is_some());
                image.find_patch(x, seen, line, &mut self.pointers);
            }
        }
        self.before = inside.then_some((number, x, size));
        &self.pointers
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

/// The functions of one instruction set, stride and size of window.
pub(in crate::float) struct Functions {
    /// Floats in a register.
    pub(super) lanes: usize,
    /// For 1 and 2 rows, for 1 to 4 columns.
    by_size: [[unsafe fn(&Patch<'_>); COLUMNS]; ROWS],
}

for_each_isa!(
    /// A patch of `R` rows and `C` columns, of stride `S`, for windows of `K` by `K`.
    ///
    /// # Safety
    /// The processor has the instruction set and the pointers are good for what they say.
    unsafe fn patch<const K: usize, const S: usize, const R: usize, const C: usize>(
        argument: &super::Patch<'_>
    ) = patch
);

macro_rules! functions {
    ($lanes:ty, $isa:ident) => {
        [
            [functions!($lanes, $isa, 3, 1), functions!($lanes, $isa, 3, 2)],
            [functions!($lanes, $isa, 5, 1), functions!($lanes, $isa, 5, 2)],
        ]
    };
    ($lanes:ty, $isa:ident, $taps:literal, $stride:literal) => {
        Functions {
            lanes: <$lanes>::COUNT,
            by_size: [functions!($isa, $taps, $stride, 1: 1 2 3 4), functions!($isa, $taps, $stride, 2: 1 2 3 4)],
        }
    };
    ($isa:ident, $taps:literal, $stride:literal, $rows:literal: $($columns:literal)*) => {
        [$($isa::patch::<$taps, $stride, $rows, $columns>),*]
    };
}

table_by_isa!(
    /// The functions for an instruction set, for windows of 3x3 and 5x5, for strides 1 and 2.
    fn by_window -> [[Functions; 2]; 2] = functions
);

/// The functions for an instruction set, which the machine must have, if they can do `window`.
pub(super) fn functions(isa: Isa, window: &Window) -> Option<&'static Functions> {
    let [down, across] = window.stride;
    let size = [3, 5].iter().position(|&size| window.kernel == [size; 2])?;
    let fits = window.dilation == [1; 2] && down == across && down <= 2;
    fits.then(|| &by_window(isa)[size][down - 1])
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
unsafe fn patch<L: Lanes, const K: usize, const S: usize, const R: usize, const C: usize>(patch: &Patch<'_>) {
    let mut weights = patch.block.weights;
    let mut channel = patch.block.first;
    while channel + L::COUNT <= patch.block.end {
        // SAFETY: handed on; a whole register of channels is left.
        unsafe { patch_registers::<L, K, S, R, C, true>(patch, channel, weights) };
        channel += L::COUNT;
        weights = weights.wrapping_add((1 + K * K) * L::COUNT);
    }
    if channel < patch.block.end {
        // SAFETY: handed on; less than a register of channels is left.
        unsafe { patch_registers::<L, K, S, R, C, false>(patch, channel, weights) };
    }
}

/// One register of channels, `WHOLE` or the rest of the channels.
#[inline(always)]
unsafe fn patch_registers<
    L: Lanes,
    const K: usize,
    const S: usize,
    const R: usize,
    const C: usize,
    const WHOLE: bool,
>(
    patch: &Patch<'_>,
    channel: usize,
    weights: *const f32,
) {
    let Block { end, output, channels, clamp: Clamp { min, max }, .. } = patch.block;
    let count = end - channel;
    let seen = (C - 1) * S + K;
    // SAFETY: of every access: in bounds by the caller's promise.
    unsafe {
        let mut acc = [[L::load(weights); COLUMNS]; ROWS];
        // As large as the numbers below go; only `K` by `K` of it is ever used.
        let mut w = [[L::zero(); MOST_ACROSS]; MOST_DOWN];
        // Input rows and columns in order, so that each sum takes its taps in order. The bounds
        // are constants: what is left of the blocks is a straight line of loads and products. A
        // row of weights is loaded when the upper outputs need it and dies with the lower ones.
        repeat!(y in 0 1 2 3 4 5 6, {
            if y < K {
                repeat!(x in 0 1 2 3 4, {
                    if x < K {
                        w[y][x] = L::load(weights.add((1 + y * K + x) * L::COUNT));
                    }
                });
            }
            repeat!(x in 0 1 2 3 4 5 6 7 8 9 10, {
                if y < (R - 1) * S + K && x < seen {
                    let from = patch.pointers[y * seen + x].add(channel);
                    let value = if WHOLE { L::load(from) } else { L::load_first(from, count) };
                    repeat!(row in 0 1, {
                        repeat!(column in 0 1 2 3, {
                            let tap_y = y.wrapping_sub(row * S);
                            let tap_x = x.wrapping_sub(column * S);
                            if row < R && column < C && tap_y < K && tap_x < K {
                                acc[row][column] = acc[row][column].add_product(value, w[tap_y][tap_x]);
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
