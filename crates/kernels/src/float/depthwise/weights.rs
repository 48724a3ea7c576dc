//! The gradient of a depthwise convolution's weights: for every tap and channel a sum of products over
//! all pixels.
//!
//! Sums run over the columns of a row in registers, over the rows of a block in memory, and over the
//! blocks in order. Blocks depend on the shape alone, so the bits do not depend on threads.

use std::ops::Range;

use crate::float::lanes::{Lanes, for_each_isa, table_by_isa};
use crate::float::{assert_sound, volume};
use crate::{Isa, ThreadPool, Window};

/// Most blocks of rows that are summed apart.
const MOST_BLOCKS: usize = 32;
/// Multiply-adds that are worth a block.
const BLOCK_WORK: usize = 500_000;

/// `gradient[tap, c] = sum over output pixels of input[pixel of the tap, c] * output_gradient[c]`, for
/// an input of `shape` = batch, height, width (and `channels`).
///
/// # Panics
/// When the machine lacks `isa`, or a length does not fit.
// Eight plain facts.
#[allow(clippy::too_many_arguments)]
pub(crate) fn weight_gradient(
    isa: Isa,
    pool: &ThreadPool,
    window: &Window,
    shape: [usize; 3],
    channels: usize,
    input: &[f32],
    output_gradient: &[f32],
    gradient: &mut [f32],
) {
    assert_sound(window);
    let [batch, height, width] = shape;
    let [out_height, out_width] = window.output([height, width]);
    assert_eq!(input.len(), volume(&[batch, height, width, channels]), "length of the input");
    let outputs = volume(&[batch, out_height, out_width, channels]);
    assert_eq!(output_gradient.len(), outputs, "length of the output's gradient");
    assert_eq!(gradient.len(), volume(&[window.taps(), channels]), "number of weights");
    gradient.fill(0.0);
    if outputs == 0 {
        return;
    }
    let rows = batch * out_height;
    let worthwhile = BLOCK_WORK.div_ceil(out_width * channels * window.taps());
    let each = rows.div_ceil(MOST_BLOCKS).max(worthwhile);
    let row = RowGradient::new(isa, window, [height, width], channels);
    let mut partials = vec![0.0; rows.div_ceil(each) * gradient.len()];
    pool.run_rows(&mut partials, gradient.len(), 1, |block, sums| {
        let mut points = Vec::new();
        for number in block * each..rows.min((block + 1) * each) {
            let (sample, y) = (number / out_height, number % out_height);
            let d = &output_gradient[number * out_width * channels..][..out_width * channels];
            let line = |at: usize| &input[(sample * height + at) * width * channels..][..width * channels];
            row.add(y, line, d, &mut points, sums);
        }
    });
    for partial in partials.chunks_exact(gradient.len()) {
        gradient.iter_mut().zip(partial).for_each(|(sum, x)| *sum += x);
    }
}

/// What rows of the output contribute to the gradient, one by one.
pub(crate) struct RowGradient {
    row: Row,
    /// Rows of the input.
    height: usize,
    columns: Columns,
    tiles: Option<&'static Tiles>,
    taps: unsafe fn(&Taps<'_>),
}

impl RowGradient {
    /// For images of this height and width.
    pub(crate) fn new(
        isa: Isa,
        window: &Window,
        [height, width]: [usize; 2],
        channels: usize,
    ) -> RowGradient {
        let [_, out_width] = window.output([height, width]);
        let zeros = vec![0.0; channels];
        RowGradient {
            row: Row { window: *window, width, out_width, channels, zeros },
            height,
            columns: Columns::new(window, width, out_width),
            tiles: tiles(isa, window),
            taps: taps_of(isa),
        }
    }

    /// The row of the input that row `tap` of the taps sees of the output row `y`, `None` in the padding.
    pub(crate) fn seen(&self, y: usize, tap: usize) -> Option<usize> {
        let window = &self.row.window;
        (y * window.stride[0] + tap * window.dilation[0])
            .checked_sub(window.pad_before[0])
            .filter(|at| *at < self.height)
    }

    /// Adds what the output row `y`, with the gradient `d`, contributes, where `line` gives rows of the
    /// input. `points` is space.
    ///
    /// # Panics
    /// When a row has another length than it must.
    pub(crate) fn add<'l>(
        &self,
        y: usize,
        line: impl Fn(usize) -> &'l [f32],
        d: &[f32],
        points: &mut Vec<*const f32>,
        sums: &mut [f32],
    ) {
        let Row { window, width, out_width, channels, .. } = &self.row;
        assert_eq!(d.len(), out_width * channels, "a gradient of a whole row");
        assert_eq!(sums.len(), window.taps() * channels, "sums of all weights");
        let line = |tap: usize| {
            let line = line(self.seen(y, tap)?);
            assert_eq!(line.len(), width * channels, "length of an input row");
            Some(line)
        };
        match self.tiles {
            Some(tiles) => self.row.add_tiles(tiles, line, d, points, sums),
            None => self.row.add_taps(self.taps, &self.columns, line, d, sums),
        }
    }
}

/// What all rows of the output have in common.
struct Row {
    window: Window,
    /// Columns of the input and of the output.
    width: usize,
    out_width: usize,
    channels: usize,
    /// What taps in the padding see.
    zeros: Vec<f32>,
}

impl Row {
    /// Adds what an output row, with the gradient `d`, contributes. `line` gives the input line that a
    /// row of taps sees, `None` in the padding; `points` is space.
    fn add_tiles<'l>(
        &self,
        tiles: &Tiles,
        line: impl Fn(usize) -> Option<&'l [f32]>,
        d: &[f32],
        points: &mut Vec<*const f32>,
        sums: &mut [f32],
    ) {
        let &Row { window, width, out_width, channels, ref zeros } = self;
        let across = (out_width - 1) * window.stride[1] + window.kernel[1];
        points.resize(tiles.rows * across, std::ptr::null());
        let len = tiles.rows * window.kernel[1] * channels;
        for (index, sums) in sums.chunks_exact_mut(len).enumerate() {
            let mut seen = false;
            for (row, points) in points.chunks_exact_mut(across).enumerate() {
                let line = line(index * tiles.rows + row);
                seen |= line.is_some();
                for (column, point) in points.iter_mut().enumerate() {
                    let inside = column.checked_sub(window.pad_before[1]).filter(|at| *at < width);
                    *point = match (line, inside) {
                        (Some(line), Some(at)) => line[at * channels..][..channels].as_ptr(),
                        _ => zeros.as_ptr(),
                    };
                }
            }
            if seen {
                let tile =
                    Tile { points, across, d: d.as_ptr(), sums: sums.as_mut_ptr(), out_width, channels };
                // SAFETY: `tiles` checked the instruction set; all points have all channels, as have
                // `d` and the sums.
                unsafe { (tiles.function)(&tile) };
            }
        }
    }

    /// The same tap by tap.
    fn add_taps<'l>(
        &self,
        function: unsafe fn(&Taps<'_>),
        columns: &Columns,
        line: impl Fn(usize) -> Option<&'l [f32]>,
        d: &[f32],
        sums: &mut [f32],
    ) {
        let channels = self.channels;
        for (row, sums) in sums.chunks_exact_mut(self.window.kernel[1] * channels).enumerate() {
            if let Some(line) = line(row) {
                let (line, d, sums) = (line.as_ptr(), d.as_ptr(), sums.as_mut_ptr());
                // SAFETY: `taps_of` checked the instruction set; the line and `d` have all columns with
                // all channels, of which `columns` names only those inside.
                unsafe { function(&Taps { line, d, sums, channels, columns }) };
            }
        }
    }
}

/// Where the columns of taps see the input.
struct Columns {
    /// For each column of taps, the output columns where it lies inside the input.
    inside: Vec<Range<usize>>,
    stride: usize,
    dilation: usize,
    pad: usize,
}

impl Columns {
    fn new(window: &Window, width: usize, out_width: usize) -> Columns {
        let [stride, dilation, pad] = [window.stride[1], window.dilation[1], window.pad_before[1]];
        let inside = (0..window.kernel[1])
            .map(|tap| {
                let shift = tap * dilation;
                let start = pad.saturating_sub(shift).div_ceil(stride).min(out_width);
                let end = (pad + width).saturating_sub(shift).div_ceil(stride).min(out_width);
                start..end.max(start)
            })
            .collect();
        Columns { inside, stride, dilation, pad }
    }

    /// The input column that a tap of an output column inside sees.
    #[inline(always)]
    fn seen(&self, column: usize, tap: usize) -> usize {
        column * self.stride + tap * self.dilation - self.pad
    }
}

/// Most rows of taps that are summed at once.
const MOST_ROWS: usize = 3;
/// Most columns of taps of a tile.
const MOST_COLUMNS: usize = 5;
/// Output columns taken in at once.
const STEP: usize = 4;

/// What one call adds: some rows of taps, for all columns of an output row.
struct Tile<'a> {
    /// `[rows][across]` pointers to all channels of the input pixels.
    points: &'a [*const f32],
    across: usize,
    /// The gradient of the output row.
    d: *const f32,
    /// `[rows][columns of taps][channels]`.
    sums: *mut f32,
    out_width: usize,
    channels: usize,
}

/// What adds some rows of taps at once.
struct Tiles {
    rows: usize,
    function: unsafe fn(&Tile<'_>),
}

/// What one call adds: one row of taps.
struct Taps<'a> {
    /// The input line.
    line: *const f32,
    /// The gradient of the output row.
    d: *const f32,
    /// `[columns of taps][channels]`.
    sums: *mut f32,
    channels: usize,
    columns: &'a Columns,
}

for_each_isa!(
    /// `R` rows of `K` taps side by side, of stride `S`.
    ///
    /// # Safety
    /// The processor has the instruction set and the pointers are good for what they say.
    unsafe fn tile<const K: usize, const S: usize, const R: usize>(argument: &super::Tile<'_>) = tile;
    /// One row of taps, whatever their number and distances.
    ///
    /// # Safety
    /// As above.
    unsafe fn taps<>(argument: &super::Taps<'_>) = taps
);

/// The functions of one instruction set.
struct Functions {
    /// For 3x3 and 5x5, for the strides 1 and 2.
    tiles: [[Tiles; 2]; 2],
    taps: unsafe fn(&Taps<'_>),
}

macro_rules! functions {
    ($lanes:ty, $isa:ident) => {
        Functions {
            tiles: [
                [
                    Tiles { rows: 3, function: $isa::tile::<3, 1, 3> },
                    Tiles { rows: 3, function: $isa::tile::<3, 2, 3> },
                ],
                [
                    Tiles { rows: 1, function: $isa::tile::<5, 1, 1> },
                    Tiles { rows: 1, function: $isa::tile::<5, 2, 1> },
                ],
            ],
            taps: $isa::taps,
        }
    };
}

table_by_isa!(
    /// The functions for an instruction set, which the machine must have.
    fn functions -> Functions = functions
);

/// What adds a window's rows of taps, if there is a special function for it.
fn tiles(isa: Isa, window: &Window) -> Option<&'static Tiles> {
    let size = [3, 5].iter().position(|&size| window.kernel == [size; 2])?;
    let fits = window.dilation[1] == 1 && window.stride[1] <= 2;
    fits.then(|| &functions(isa).tiles[size][window.stride[1] - 1])
}

fn taps_of(isa: Isa) -> unsafe fn(&Taps<'_>) {
    functions(isa).taps
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

/// A register of channels, or what is left of them.
#[inline(always)]
unsafe fn load<L: Lanes, const WHOLE: bool>(from: *const f32, count: usize) -> L {
    // SAFETY: handed on.
    unsafe { if WHOLE { L::load(from) } else { L::load_first(from, count) } }
}

/// Adds a register of channels, or what is left of them, to a sum in memory.
#[inline(always)]
unsafe fn add_to<L: Lanes, const WHOLE: bool>(to: *mut f32, value: L, count: usize) {
    // SAFETY: handed on.
    unsafe {
        let sum = load::<L, WHOLE>(to, count).add(value);
        if WHOLE { sum.store(to) } else { sum.store_first(to, count) }
    }
}

/// All channels of some rows of taps.
#[inline(always)]
unsafe fn tile<L: Lanes, const K: usize, const S: usize, const R: usize>(tile: &Tile<'_>) {
    let mut channel = 0;
    while channel + L::COUNT <= tile.channels {
        // SAFETY: handed on; a whole register of channels is left.
        unsafe { tile_of_channels::<L, K, S, R, true>(tile, channel) };
        channel += L::COUNT;
    }
    if channel < tile.channels {
        // SAFETY: handed on; less than a register of channels is left.
        unsafe { tile_of_channels::<L, K, S, R, false>(tile, channel) };
    }
}

/// One register of channels of some rows of taps, `WHOLE` or the rest of the channels.
#[inline(always)]
unsafe fn tile_of_channels<L: Lanes, const K: usize, const S: usize, const R: usize, const WHOLE: bool>(
    tile: &Tile<'_>,
    channel: usize,
) {
    let &Tile { points, across, d, sums, out_width, channels } = tile;
    let count = channels - channel;
    let points = points.as_ptr();
    // SAFETY: of every access: in bounds by the caller's promise.
    unsafe {
        let d = d.add(channel);
        let mut acc = [[L::zero(); MOST_COLUMNS]; MOST_ROWS];
        let mut column = 0;
        while column + STEP <= out_width {
            let mut own = [L::zero(); STEP];
            repeat!(i in 0 1 2 3, {
                own[i] = load::<L, WHOLE>(d.add((column + i) * channels), count);
            });
            repeat!(row in 0 1 2, {
                if row < R {
                    let points = points.add(row * across + column * S);
                    repeat!(x in 0 1 2 3 4 5 6 7 8 9 10, {
                        if x < (STEP - 1) * S + K {
                            let value = load::<L, WHOLE>((*points.add(x)).add(channel), count);
                            repeat!(i in 0 1 2 3, {
                                let tap = x.wrapping_sub(i * S);
                                if tap < K {
                                    acc[row][tap] = acc[row][tap].add_product(value, own[i]);
                                }
                            });
                        }
                    });
                }
            });
            column += STEP;
        }
        while column < out_width {
            let own = load::<L, WHOLE>(d.add(column * channels), count);
            repeat!(row in 0 1 2, {
                if row < R {
                    let points = points.add(row * across + column * S);
                    repeat!(tap in 0 1 2 3 4, {
                        if tap < K {
                            let value = load::<L, WHOLE>((*points.add(tap)).add(channel), count);
                            acc[row][tap] = acc[row][tap].add_product(value, own);
                        }
                    });
                }
            });
            column += 1;
        }
        repeat!(row in 0 1 2, {
            repeat!(tap in 0 1 2 3 4, {
                if row < R && tap < K {
                    add_to::<L, WHOLE>(sums.add((row * K + tap) * channels + channel), acc[row][tap], count);
                }
            });
        });
    }
}

/// All channels of one row of taps, tap by tap.
#[inline(always)]
unsafe fn taps<L: Lanes>(taps: &Taps<'_>) {
    let mut channel = 0;
    while channel + L::COUNT <= taps.channels {
        // SAFETY: handed on; a whole register of channels is left.
        unsafe { taps_of_channels::<L, true>(taps, channel) };
        channel += L::COUNT;
    }
    if channel < taps.channels {
        // SAFETY: handed on; less than a register of channels is left.
        unsafe { taps_of_channels::<L, false>(taps, channel) };
    }
}

/// One register of channels of one row of taps, `WHOLE` or the rest of the channels.
#[inline(always)]
unsafe fn taps_of_channels<L: Lanes, const WHOLE: bool>(taps: &Taps<'_>, channel: usize) {
    let &Taps { line, d, sums, channels, columns } = taps;
    let count = channels - channel;
    for (tap, inside) in columns.inside.iter().enumerate() {
        // SAFETY: of every access: in bounds by the caller's promise.
        unsafe {
            let product = |acc: L, column: usize| {
                let own = load::<L, WHOLE>(d.add(column * channels + channel), count);
                let x = line.add(columns.seen(column, tap) * channels + channel);
                acc.add_product(load::<L, WHOLE>(x, count), own)
            };
            // Four chains, so that they do not wait for each other.
            let mut acc = [L::zero(); STEP];
            let mut column = inside.start;
            while column + STEP <= inside.end {
                repeat!(i in 0 1 2 3, {
                    acc[i] = product(acc[i], column + i);
                });
                column += STEP;
            }
            for column in column..inside.end {
                acc[0] = product(acc[0], column);
            }
            let sum = acc[0].add(acc[1]).add(acc[2].add(acc[3]));
            add_to::<L, WHOLE>(sums.add(tap * channels + channel), sum, count);
        }
    }
}
