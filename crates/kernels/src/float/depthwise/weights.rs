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
    let columns = Columns::new(window, width, out_width);
    let functions = functions(isa, window);
    let rows = batch * out_height;
    let worthwhile = BLOCK_WORK.div_ceil(out_width * channels * window.taps());
    let each = rows.div_ceil(MOST_BLOCKS).max(worthwhile);
    let mut partials = vec![0.0; rows.div_ceil(each) * gradient.len()];
    pool.run_rows(&mut partials, gradient.len(), 1, |block, sums| {
        for row in block * each..rows.min((block + 1) * each) {
            let (sample, y) = (row / out_height, row % out_height);
            let d = &output_gradient[row * out_width * channels..][..out_width * channels];
            let line = |tap: usize| {
                let at = (y * window.stride[0] + tap * window.dilation[0])
                    .checked_sub(window.pad_before[0])
                    .filter(|at| *at < height)?;
                Some(&input[(sample * height + at) * width * channels..][..width * channels])
            };
            add_row(functions, window, &columns, channels, line, d, sums);
        }
    });
    for partial in partials.chunks_exact(gradient.len()) {
        gradient.iter_mut().zip(partial).for_each(|(sum, x)| *sum += x);
    }
}

/// Adds what one output row, with the gradient `d`, contributes. `line` gives the input line that a
/// row of taps sees, `None` in the padding.
fn add_row<'l>(
    functions: &Functions,
    window: &Window,
    columns: &Columns,
    channels: usize,
    line: impl Fn(usize) -> Option<&'l [f32]>,
    d: &[f32],
    sums: &mut [f32],
) {
    let [height, width] = window.kernel;
    let mut tap = 0;
    while tap < height {
        let mut lines = [std::ptr::null(); MOST_TOGETHER];
        let together = height.min(tap + functions.together) - tap;
        let seen = (0..together).map_while(|row| line(tap + row).map(<[f32]>::as_ptr));
        let found = lines.iter_mut().zip(seen).map(|(place, line)| *place = line).count();
        // All rows at once, or the first alone.
        let (function, rows) = if found == functions.together && found > 1 {
            (functions.several, found)
        } else {
            (functions.one, 1)
        };
        if found > 0 {
            let arguments = Rows {
                lines,
                d: d.as_ptr(),
                sums: sums[tap * width * channels..][..rows * width * channels].as_mut_ptr(),
                channels,
                columns,
            };
            // SAFETY: `functions` checked the instruction set; the lines and `d` have all columns with
            // all channels, of which `columns` names only those inside; the sums are those of the rows.
            unsafe { function(&arguments) };
        }
        tap += rows;
    }
}

/// Where the columns of taps see the input.
struct Columns {
    /// For each column of taps, the output columns where it lies inside the input.
    inside: Vec<Range<usize>>,
    /// The output columns where all do; empty at the end of the row if there are none.
    all: Range<usize>,
    stride: usize,
    dilation: usize,
    pad: usize,
}

impl Columns {
    fn new(window: &Window, width: usize, out_width: usize) -> Columns {
        let [stride, dilation, pad] = [window.stride[1], window.dilation[1], window.pad_before[1]];
        let inside: Vec<Range<usize>> = (0..window.kernel[1])
            .map(|tap| {
                let shift = tap * dilation;
                let start = pad.saturating_sub(shift).div_ceil(stride).min(out_width);
                let end = (pad + width).saturating_sub(shift).div_ceil(stride).min(out_width);
                start..end.max(start)
            })
            .collect();
        let start = inside.iter().map(|range| range.start).max().unwrap_or(0);
        let end = inside.iter().map(|range| range.end).min().unwrap_or(0);
        let all = if start < end { start..end } else { out_width..out_width };
        Columns { inside, all, stride, dilation, pad }
    }

    /// The input column that a tap of an output column inside sees.
    #[inline(always)]
    fn seen(&self, column: usize, tap: usize) -> usize {
        column * self.stride + tap * self.dilation - self.pad
    }
}

/// Most rows of taps that are summed at once.
const MOST_TOGETHER: usize = 3;
/// Most columns of taps with a loop of their own.
const MOST_TAPS: usize = 5;
/// Output columns taken in at once.
const STEP: usize = 4;

/// What one call adds.
struct Rows<'a> {
    /// Input lines for each row of taps.
    lines: [*const f32; MOST_TOGETHER],
    /// The gradient of the output line.
    d: *const f32,
    /// `[rows][columns of taps][channels]`.
    sums: *mut f32,
    channels: usize,
    columns: &'a Columns,
}

/// The functions of one instruction set and window.
struct Functions {
    /// Rows of taps that `several` takes.
    together: usize,
    several: unsafe fn(&Rows<'_>),
    /// Takes one row of taps.
    one: unsafe fn(&Rows<'_>),
}

for_each_isa!(
    /// `R` rows of `K` taps side by side, of stride `S`.
    ///
    /// # Safety
    /// The processor has the instruction set and the pointers are good for what they say.
    unsafe fn rows<const K: usize, const S: usize, const R: usize>(argument: &super::Rows<'_>) = rows;
    /// One row of taps, whatever their number and distances.
    ///
    /// # Safety
    /// As above.
    unsafe fn taps<>(argument: &super::Rows<'_>) = taps
);

/// For the strides 1 and 2 of 3x3, the same of 5x5, and any window.
macro_rules! functions {
    ($lanes:ty, $isa:ident) => {
        [
            Functions { together: 3, several: $isa::rows::<3, 1, 3>, one: $isa::rows::<3, 1, 1> },
            Functions { together: 3, several: $isa::rows::<3, 2, 3>, one: $isa::rows::<3, 2, 1> },
            Functions { together: 1, several: $isa::rows::<5, 1, 1>, one: $isa::rows::<5, 1, 1> },
            Functions { together: 1, several: $isa::rows::<5, 2, 1>, one: $isa::rows::<5, 2, 1> },
            Functions { together: 1, several: $isa::taps, one: $isa::taps },
        ]
    };
}

table_by_isa!(
    /// The functions for an instruction set.
    fn by_window -> [Functions; 5] = functions
);

/// The functions for an instruction set, which the machine must have, and a window.
fn functions(isa: Isa, window: &Window) -> &'static Functions {
    let special = match (window.kernel, window.stride[1], window.dilation[1]) {
        ([3, 3], stride @ 1..=2, 1) => stride - 1,
        ([5, 5], stride @ 1..=2, 1) => stride + 1,
        _ => 4,
    };
    &by_window(isa)[special]
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
unsafe fn rows<L: Lanes, const K: usize, const S: usize, const R: usize>(rows: &Rows<'_>) {
    let mut channel = 0;
    while channel + L::COUNT <= rows.channels {
        // SAFETY: handed on; a whole register of channels is left.
        unsafe { rows_of_channels::<L, K, S, R, true>(rows, channel) };
        channel += L::COUNT;
    }
    if channel < rows.channels {
        // SAFETY: handed on; less than a register of channels is left.
        unsafe { rows_of_channels::<L, K, S, R, false>(rows, channel) };
    }
}

/// One register of channels of some rows of taps, `WHOLE` or the rest of the channels.
#[inline(always)]
unsafe fn rows_of_channels<L: Lanes, const K: usize, const S: usize, const R: usize, const WHOLE: bool>(
    rows: &Rows<'_>,
    channel: usize,
) {
    let &Rows { lines, d, sums, channels, columns } = rows;
    let count = channels - channel;
    // SAFETY: of every access: in bounds by the caller's promise.
    unsafe {
        let d = d.add(channel);
        let mut acc = [[L::zero(); MOST_TAPS]; MOST_TOGETHER];
        let mut column = columns.all.start;
        while column + STEP <= columns.all.end {
            let mut own = [L::zero(); STEP];
            repeat!(i in 0 1 2 3, {
                own[i] = load::<L, WHOLE>(d.add((column + i) * channels), count);
            });
            repeat!(row in 0 1 2, {
                if row < R {
                    let line = lines[row].add(columns.seen(column, 0) * channels + channel);
                    repeat!(x in 0 1 2 3 4 5 6 7 8 9 10, {
                        if x < (STEP - 1) * S + K {
                            let value = load::<L, WHOLE>(line.add(x * channels), count);
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
        repeat!(tap in 0 1 2 3 4, {
            if tap < K {
                let inside = &columns.inside[tap];
                let before = inside.start..inside.end.min(columns.all.start);
                let behind = inside.start.max(column)..inside.end;
                for column in before.chain(behind) {
                    let own = load::<L, WHOLE>(d.add(column * channels), count);
                    repeat!(row in 0 1 2, {
                        if row < R {
                            let x = lines[row].add(columns.seen(column, tap) * channels + channel);
                            acc[row][tap] = acc[row][tap].add_product(load::<L, WHOLE>(x, count), own);
                        }
                    });
                }
                repeat!(row in 0 1 2, {
                    if row < R {
                        let to = sums.add((row * K + tap) * channels + channel);
                        add_to::<L, WHOLE>(to, acc[row][tap], count);
                    }
                });
            }
        });
    }
}

/// All channels of one row of taps, tap by tap.
#[inline(always)]
unsafe fn taps<L: Lanes>(rows: &Rows<'_>) {
    let mut channel = 0;
    while channel + L::COUNT <= rows.channels {
        // SAFETY: handed on; a whole register of channels is left.
        unsafe { taps_of_channels::<L, true>(rows, channel) };
        channel += L::COUNT;
    }
    if channel < rows.channels {
        // SAFETY: handed on; less than a register of channels is left.
        unsafe { taps_of_channels::<L, false>(rows, channel) };
    }
}

/// One register of channels of one row of taps.
#[inline(always)]
unsafe fn taps_of_channels<L: Lanes, const WHOLE: bool>(rows: &Rows<'_>, channel: usize) {
    let &Rows { lines: [line, ..], d, sums, channels, columns } = rows;
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
