//! The product with AVX-512 VNNI: `vpdpbusd` multiplies four unsigned bytes by four signed ones and
//! adds all four products to a 32-bit lane, without saturation.

use std::arch::asm;
use std::arch::x86_64::*;
use std::marker::PhantomData;

use bytemuck::Pod;

use super::super::epilogue::{Epilogue, packed_channel};
use super::super::gather::{SLOTS, STEP, Tile};
use super::super::split::Target;
use super::transpose::{self, SIDE};
use super::{Kernel, Layout, Operands, Panel};

/// Tiles of 14 pixels x 32 channels: 28 sums, two vectors of weights and one of input fit the 32
/// registers, and 14 divides the usual image widths.
pub(crate) const ROWS: usize = 14;
pub(crate) const WIDE: usize = 32;
pub(crate) const NARROW: usize = 16;

/// Sums of 14 pixels x 32 channels (a narrow last panel has 16), weights of type `W`, which is as
/// wide as the inputs, in the order `[vector of 16][channel][input]`. The channels of wide panels
/// may stand in the order of [`packed_channel`].
pub(crate) struct Vnni<W>(PhantomData<W>);

impl<W: Pod + From<i8> + Send + Sync> Layout for Vnni<W> {
    type Weight = W;
    const INPUTS: usize = STEP / size_of::<W>();
    const ROWS: usize = ROWS;

    fn width(channels: usize) -> usize {
        if channels > NARROW { WIDE } else { NARROW }
    }

    fn channel(lane: usize, width: usize, packed: bool) -> usize {
        if packed && width == WIDE { packed_channel(lane) } else { lane }
    }

    fn position(input: usize, lane: usize, _width: usize) -> usize {
        lane * Self::INPUTS + input
    }

    fn put(rows: &[&[i8]], out: &mut [W]) {
        let pitch = STEP * rows.len();
        if size_of::<W>() > 1 || !rows.len().is_multiple_of(SIDE) {
            return put_rows(rows, 0, Self::INPUTS, out);
        }
        let shortest = rows.iter().map(|row| row.len()).min().unwrap_or(0);
        let squares = shortest / (SIDE * STEP);
        let bytes: &mut [i8] = bytemuck::cast_slice_mut(out);
        for square in 0..squares {
            let from = square * SIDE * STEP;
            for (first, rows) in rows.chunks_exact(SIDE).enumerate() {
                let rows: [&[i8]; SIDE] = std::array::from_fn(|row| &rows[row][from..]);
                let out = &mut bytes[from * pitch / STEP + first * SIDE * STEP..];
                // SAFETY: weights are packed like this only for machines with VNNI, which have AVX-512 F.
                unsafe { transpose::square(&rows, out, pitch) };
            }
        }
        put_rows(rows, squares * SIDE * STEP, STEP, bytes);
    }
}

/// Puts the inputs of each row, from `from` on, in their places, `inputs` to a step.
pub(super) fn put_rows<W: Copy + From<i8>>(rows: &[&[i8]], from: usize, inputs: usize, out: &mut [W]) {
    let pitch = inputs * rows.len();
    for (lane, row) in rows.iter().enumerate() {
        let steps = out[from * rows.len()..].chunks_exact_mut(pitch);
        for (row, step) in row.get(from..).unwrap_or(&[]).chunks(inputs).zip(steps) {
            let places = step[lane * inputs..].iter_mut();
            places.zip(row).for_each(|(place, weight)| *place = (*weight).into());
        }
    }
}

/// Up to this many steps a panel's products take little longer than its epilogue.
const FEW_STEPS: usize = 64;

impl<E: Epilogue> Kernel<E> for Vnni<i8> {
    fn rows(steps: usize) -> usize {
        if steps <= FEW_STEPS { SLOTS } else { ROWS }
    }

    unsafe fn tile(
        tile: &Tile,
        panels: &[Panel],
        operands: &Operands<i8, i32>,
        epilogue: &E,
        target: &Target<E::Out>,
    ) {
        // Rows beyond the tile's repeat its last pixel, so sizes between the even ones need no code
        // of their own.
        macro_rules! by_rows {
            ($($rows:literal)*) => {
                match tile.rows.next_multiple_of(2) {
                    _ if tile.rows == 1 => one_row(tile, panels, operands, epilogue, target),
                    _ if tile.pointers.len() * operands.steps <= FEW_STEPS => {
                        few_steps(tile, panels, operands, epilogue, target);
                    }
                    $($rows => rows::<$rows, E>(tile, panels, operands, epilogue, target),)*
                    rows => unreachable!("a tile of {rows} rows"),
                }
            };
        }
        // SAFETY: the caller's promise.
        unsafe { by_rows!(2 4 6 8 10 12 14) }
    }
}

/// Defines `dot_wide` and `dot_narrow` for a dot-product instruction, which adds the products of the
/// 4 bytes of input with 4 bytes of weights to each 32-bit lane.
///
/// In assembly because LLVM, left to itself, hoists the broadcasts of all pixels, runs out of
/// registers and keeps sums in memory, at a third of the speed.
macro_rules! dot_products {
    ($instruction:literal) => {
        /// Adds the products to both vectors of sums of a pixel.
        ///
        /// # Safety
        /// AVX-512 VNNI must be there and 4 bytes readable at `input + offset`.
        #[inline]
        #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
        unsafe fn dot_wide(sums: &mut [__m512i; 2], input: *const u8, offset: usize, weights: [__m512i; 2]) {
            let _broadcast: __m512i;
            // SAFETY: reads 4 bytes, which the caller vouches for, and changes registers only.
            unsafe {
                asm!(
                    "vpbroadcastd {x}, dword ptr [{input} + {offset}]",
                    concat!($instruction, " {a}, {x}, {w}"),
                    concat!($instruction, " {b}, {x}, {v}"),
                    x = out(zmm_reg) _broadcast,
                    a = inout(zmm_reg) sums[0],
                    b = inout(zmm_reg) sums[1],
                    w = in(zmm_reg) weights[0],
                    v = in(zmm_reg) weights[1],
                    input = in(reg) input,
                    offset = in(reg) offset,
                    options(pure, readonly, nostack, preserves_flags),
                );
            }
        }

        /// The same for one vector of sums.
        ///
        /// # Safety
        /// As for [`dot_wide`].
        #[inline]
        #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
        pub(crate) unsafe fn dot_narrow(sum: &mut __m512i, input: *const u8, offset: usize, weights: __m512i) {
            let _broadcast: __m512i;
            // SAFETY: reads 4 bytes, which the caller vouches for, and changes registers only.
            unsafe {
                asm!(
                    "vpbroadcastd {x}, dword ptr [{input} + {offset}]",
                    concat!($instruction, " {a}, {x}, {w}"),
                    x = out(zmm_reg) _broadcast,
                    a = inout(zmm_reg) *sum,
                    w = in(zmm_reg) weights,
                    input = in(reg) input,
                    offset = in(reg) offset,
                    options(pure, readonly, nostack, preserves_flags),
                );
            }
        }
    };
}
pub(crate) use dot_products;

dot_products!("vpdpbusd");

/// Runs a statement for the listed rows (all by default) below `$count`, the row being a literal:
/// LLVM gives up unrolling a loop of this size and then keeps the sums in memory.
macro_rules! each_row {
    ($count:ident, $row:ident => $body:expr) => {
        each_row!($count, $row, 0 1 2 3 4 5 6 7 8 9 10 11 12 13 => $body)
    };
    ($count:ident, $row:ident, $($index:literal)* => $body:expr) => {
        $(if $index < $count {
            const $row: usize = $index;
            $body
        })*
    };
}

pub(crate) use each_row;

/// All panels for tiles of up to `R` rows (even, at most 14).
///
/// # Safety
/// As for [`Kernel::tile`]; the tile has more than `R - 2` rows.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
unsafe fn rows<const R: usize, E: Epilogue>(
    tile: &Tile,
    panels: &[Panel],
    operands: &Operands<i8, i32>,
    epilogue: &E,
    target: &Target<E::Out>,
) {
    for panel in panels {
        // SAFETY: the caller's promise.
        unsafe {
            if panel.width == WIDE {
                wide::<R, E>(tile, 0, panel, operands, epilogue, target);
            } else {
                narrow::<R, E>(tile, 0, panel, operands, epilogue, target);
            }
        }
    }
}

/// All panels for a tile whose panels have few steps: some rows after the other, so that the
/// processor works on the epilogue of some while it begins the products of the next.
///
/// # Safety
/// As for [`Kernel::tile`].
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
unsafe fn few_steps<E: Epilogue>(
    tile: &Tile,
    panels: &[Panel],
    operands: &Operands<i8, i32>,
    epilogue: &E,
    target: &Target<E::Out>,
) {
    for panel in panels {
        // SAFETY: the caller's promise.
        unsafe {
            if panel.width == WIDE {
                for first in (0..tile.rows).step_by(4) {
                    wide::<4, E>(tile, first, panel, operands, epilogue, target);
                }
            } else {
                for first in (0..tile.rows).step_by(8) {
                    narrow::<8, E>(tile, first, panel, operands, epilogue, target);
                }
            }
        }
    }
}

/// Up to `R` rows of a tile from `first` on.
///
/// # Safety
/// As for [`Kernel::tile`]; `first + R` is at most [`SLOTS`].
#[inline(always)]
unsafe fn wide<const R: usize, E: Epilogue>(
    tile: &Tile,
    first: usize,
    panel: &Panel,
    operands: &Operands<i8, i32>,
    epilogue: &E,
    target: &Target<E::Out>,
) {
    let initial = operands.initial[panel.lane..][..WIDE].as_ptr();
    let mut weights = operands.weights[panel.weights..].as_ptr();
    // SAFETY: initial sums were just counted; a panel holds two vectors of weights a step; inputs
    // and outputs are as the caller promises.
    unsafe {
        let initial = [_mm512_loadu_si512(initial.cast()), _mm512_loadu_si512(initial.add(16).cast())];
        let mut sums = [initial; ROWS];
        for inputs in tile.pointers {
            let inputs = inputs.as_ptr().add(first);
            for step in 0..operands.steps {
                let w = [_mm512_load_si512(weights.cast()), _mm512_load_si512(weights.add(64).cast())];
                each_row!(R, ROW => dot_wide(&mut sums[ROW], *inputs.add(ROW), step * STEP, w));
                weights = weights.add(STEP * WIDE);
            }
        }
        let rows = tile.rows - first;
        let out = target.at(tile.pixel + first, panel.channel, panel.channels);
        let pitch = target.channels();
        each_row!(R, ROW, 0 2 4 6 8 10 12 => if ROW < rows {
            let outs = [out.wrapping_add(ROW * pitch), out.wrapping_add((ROW + 1) * pitch)];
            let samples = [tile.samples[first + ROW], tile.samples[first + ROW + 1]];
            let sums = [sums[ROW], sums[ROW + 1]];
            epilogue.pair(samples, panel.lane, sums, panel.channels, outs, ROW + 1 < rows);
        });
    }
}

/// Up to `R` rows of a tile from `first` on.
///
/// # Safety
/// As for [`wide`].
#[inline(always)]
unsafe fn narrow<const R: usize, E: Epilogue>(
    tile: &Tile,
    first: usize,
    panel: &Panel,
    operands: &Operands<i8, i32>,
    epilogue: &E,
    target: &Target<E::Out>,
) {
    let initial = operands.initial[panel.lane..][..NARROW].as_ptr();
    let mut weights = operands.weights[panel.weights..].as_ptr();
    // SAFETY: as in `wide`, with one vector of weights a step.
    unsafe {
        // Two more than rows, so that rows can be taken by four.
        let mut sums = [_mm512_loadu_si512(initial.cast()); ROWS + 2];
        for inputs in tile.pointers {
            let inputs = inputs.as_ptr().add(first);
            for step in 0..operands.steps {
                let w = _mm512_load_si512(weights.cast());
                each_row!(R, ROW => dot_narrow(&mut sums[ROW], *inputs.add(ROW), step * STEP, w));
                weights = weights.add(STEP * NARROW);
            }
        }
        finish_narrow::<R, E>(tile, first, panel, &sums, epilogue, target);
    }
}

/// Makes outputs of the sums of up to `R` rows of a tile, from `first` on, with a narrow panel.
///
/// # Safety
/// As for [`wide`].
#[inline(always)]
pub(super) unsafe fn finish_narrow<const R: usize, E: Epilogue>(
    tile: &Tile,
    first: usize,
    panel: &Panel,
    sums: &[__m512i; ROWS + 2],
    epilogue: &E,
    target: &Target<E::Out>,
) {
    // SAFETY: outputs are as the caller promises.
    unsafe {
        let rows = tile.rows - first;
        let out = target.at(tile.pixel + first, panel.channel, panel.channels);
        let pitch = target.channels();
        each_row!(R, ROW, 0 4 8 12 => if ROW < rows {
            let sums = [sums[ROW], sums[ROW + 1], sums[ROW + 2], sums[ROW + 3]];
            let (samples, out) = (&tile.samples[first + ROW..], out.wrapping_add(ROW * pitch));
            epilogue.quad(samples, panel.lane, sums, panel.channels, out, pitch, (rows - ROW).min(4));
        });
    }
}

/// All panels for a tile of one row. Two sums alone would wait for each other's latency, so each
/// vector has four, one for every fourth step.
///
/// # Safety
/// As for [`Kernel::tile`].
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
unsafe fn one_row<E: Epilogue>(
    tile: &Tile,
    panels: &[Panel],
    operands: &Operands<i8, i32>,
    epilogue: &E,
    target: &Target<E::Out>,
) {
    const CHAINS: usize = 4;
    let sample = tile.samples[0];
    for panel in panels {
        let initial = operands.initial[panel.lane..][..panel.width].as_ptr();
        let mut weights = operands.weights[panel.weights..].as_ptr();
        let wide = panel.width == WIDE;
        // A narrow panel's second vector is computed from the first one's operands and dropped.
        let second = if wide { 64 } else { 0 };
        // SAFETY: as in `wide` and `narrow`.
        unsafe {
            let mut sums = [[_mm512_setzero_si512(); 2]; CHAINS];
            sums[0] =
                [_mm512_loadu_si512(initial.cast()), _mm512_loadu_si512(initial.byte_add(second).cast())];
            for inputs in tile.pointers {
                let mut step = 0;
                while step < operands.steps {
                    for chain in &mut sums {
                        if step < operands.steps {
                            let w = [
                                _mm512_load_si512(weights.cast()),
                                _mm512_load_si512(weights.add(second).cast()),
                            ];
                            dot_wide(chain, inputs[0], step * STEP, w);
                            weights = weights.add(STEP * panel.width);
                            step += 1;
                        }
                    }
                }
            }
            let [mut first, mut last] = sums[0];
            for chain in &sums[1..] {
                first = _mm512_add_epi32(first, chain[0]);
                last = _mm512_add_epi32(last, chain[1]);
            }
            let sums = [first, last];
            let out = target.at(tile.pixel, panel.channel, panel.channels);
            if wide {
                epilogue.pair([sample; 2], panel.lane, [sums; 2], panel.channels, [out; 2], false);
            } else {
                epilogue.quad(&[sample; 4], panel.lane, [sums[0]; 4], panel.channels, out, 0, 1);
            }
        }
    }
}
