//! Listed steps with AVX2: words in pairs, as in the dense product. Inputs are widened row by row, so that the
//! place of a step does not depend on the tile.

use std::arch::asm;
use std::arch::x86_64::*;

use super::super::super::epilogue::Epilogue;
use super::super::super::gather::{STEP, Tile};
use super::super::super::split::Target;
use super::super::avx2::{self, CHUNK_STEPS, HALF, INPUTS, finish_half, widen};
use super::super::{Kernel, Layout, Operands, Panel, Step};

const WIDTH: usize = 16;

/// Sums of twice 6 pixels x 16 channels, weights as words in the order `[pair of inputs][channel][2]`.
pub(in super::super::super) struct Avx2;

impl Layout for Avx2 {
    type Weight = i16;
    const INPUTS: usize = STEP;
    const ROWS: usize = 2 * HALF;
    const SPARSE: bool = true;

    fn width(_channels: usize) -> usize {
        WIDTH
    }

    fn position(input: usize, lane: usize, width: usize) -> usize {
        <avx2::Avx2 as Layout>::position(input, lane, width)
    }
}

impl<E: Epilogue> Kernel<E> for Avx2 {
    unsafe fn tile(
        tile: &Tile,
        panels: &[Panel],
        operands: &Operands<i16, i32>,
        epilogue: &E,
        target: &Target<E::Out>,
    ) {
        INPUTS.with_borrow_mut(|inputs| {
            // SAFETY: the caller's promise.
            unsafe { tile_of(tile, panels, operands, inputs, epilogue, target) }
        });
    }
}

/// Where the words of a tile are.
struct Words {
    /// Those of its first row.
    inputs: *const u8,
    /// Bytes from a row and from a tap to the next.
    row: usize,
    tap: usize,
}

/// # Safety
/// As for [`Kernel::tile`].
#[target_feature(enable = "avx2")]
unsafe fn tile_of<E: Epilogue>(
    tile: &Tile,
    panels: &[Panel],
    operands: &Operands<i16, i32>,
    inputs: &mut Vec<__m256i>,
    epilogue: &E,
    target: &Target<E::Out>,
) {
    let chunks = operands.steps.div_ceil(CHUNK_STEPS);
    let row = tile.pointers.len() * chunks;
    // Rows that a function takes together with the last are read, whatever they hold.
    let room = tile.rows.next_multiple_of(HALF) * row;
    if inputs.len() < room {
        inputs.resize(room, _mm256_setzero_si256());
    }
    let halves = if tile.rows > HALF { [tile.rows.div_ceil(2), tile.rows / 2] } else { [tile.rows, 0] };
    // SAFETY: the caller's promise; there is room for all rows, and `widen` leaves what `rows_of` reads.
    unsafe {
        widen(tile, [0, tile.rows], operands.steps, [row, 1, chunks], inputs);
        for panel in panels {
            for [first, rows] in [[0, halves[0]], [halves[0], halves[1]]] {
                let [row, tap] = [row, chunks].map(|vectors| vectors * size_of::<__m256i>());
                let words = Words { inputs: inputs.as_ptr().cast::<u8>().add(first * row), row, tap };
                let half = [first, rows];
                match rows {
                    0 => {}
                    1 | 2 => rows_of::<2, E>(tile, half, &words, panel, operands, epilogue, target),
                    3 | 4 => rows_of::<4, E>(tile, half, &words, panel, operands, epilogue, target),
                    _ => rows_of::<6, E>(tile, half, &words, panel, operands, epilogue, target),
                }
            }
        }
    }
}

/// A panel for `rows` rows of the tile, from `first` on.
///
/// # Safety
/// As for [`Kernel::tile`]; `words` are those of the first of `R` rows, at least as many as `rows`.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn rows_of<const R: usize, E: Epilogue>(
    tile: &Tile,
    half: [usize; 2],
    words: &Words,
    panel: &Panel,
    operands: &Operands<i16, i32>,
    epilogue: &E,
    target: &Target<E::Out>,
) {
    let weights = operands.weights[panel.weights..].as_ptr();
    let initial = operands.initial[panel.lane..][..WIDTH].as_ptr().cast::<__m256i>();
    // SAFETY: initial sums were just counted; a panel holds four vectors of weights for each listed step, whose
    // tap the tile has; outputs are as the caller promises.
    unsafe {
        let mut sums = [[_mm256_loadu_si256(initial), _mm256_loadu_si256(initial.add(1))]; HALF];
        add_listed::<R>(&mut sums, words, weights, &operands.list[panel.list.clone()]);
        finish_half(tile, half, panel, &sums, epilogue, target);
    }
}

/// Half a step of one row: two inputs with both vectors of weights.
macro_rules! row {
    ($at:tt, $half:tt, $first:tt, $second:tt) => {
        concat!(
            "vpbroadcastd ymm14, dword ptr [",
            $at,
            " + 4*",
            $half,
            "]\n",
            "vpmaddwd ymm15, ymm14, ymm12\n",
            "vpmaddwd ymm14, ymm14, ymm13\n",
            "vpaddd ",
            $first,
            ", ",
            $first,
            ", ymm15\n",
            "vpaddd ",
            $second,
            ", ",
            $second,
            ", ymm14\n",
        )
    };
}

/// The loop of [`add_listed`] over some rows.
macro_rules! steps {
    ($sums:ident, $words:ident, $weights:ident, $list:ident, $($row:tt $at:tt $first:tt $second:tt)*) => {
        asm!(
            "2:",
            "mov {place:e}, dword ptr [{list}]",
            "mov {at:e}, dword ptr [{list} + 4]",
            "imul {place}, {tap}",
            "lea {place}, [{place} + 2*{at}]",
            "add {place}, {inputs}",
            // The first and the fourth row.
            "lea {at}, [{row} + 2*{row}]",
            "add {at}, {place}",
            "vmovdqa ymm12, ymmword ptr [{weights}]",
            "vmovdqa ymm13, ymmword ptr [{weights} + 32]",
            $(row!($at, 0, $first, $second),)*
            "vmovdqa ymm12, ymmword ptr [{weights} + 64]",
            "vmovdqa ymm13, ymmword ptr [{weights} + 96]",
            $(row!($at, 1, $first, $second),)*
            "add {weights}, 128",
            "add {list}, 8",
            "cmp {list}, {end}",
            "jb 2b",
            weights = inout(reg) $weights => _,
            list = inout(reg) $list.start => _,
            end = in(reg) $list.end,
            inputs = in(reg) $words.inputs,
            row = in(reg) $words.row,
            tap = in(reg) $words.tap,
            place = out(reg) _, at = out(reg) _,
            $(inout($first) $sums[$row][0], inout($second) $sums[$row][1],)*
            out("ymm12") _, out("ymm13") _, out("ymm14") _, out("ymm15") _,
            options(readonly, nostack),
        )
    };
}

/// Adds the products of some steps for `R` (2, 4 or 6) rows.
///
/// # Safety
/// AVX2 must be there, `words` be readable at each step's place for `R` rows, and `weights`, aligned, have four
/// vectors for each.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn add_listed<const R: usize>(
    sums: &mut [[__m256i; 2]; HALF],
    words: &Words,
    weights: *const i16,
    list: &[Step],
) {
    const { assert!(size_of::<Step>() == 8) };
    if list.is_empty() {
        return;
    }
    let list = list.as_ptr_range();
    // SAFETY: reads what the caller vouches for, and changes registers only.
    unsafe {
        match R {
            2 => steps!(sums, words, weights, list,
                0 "{place}" "ymm0" "ymm1" 1 "{place} + {row}" "ymm2" "ymm3"),
            4 => steps!(sums, words, weights, list,
                0 "{place}" "ymm0" "ymm1" 1 "{place} + {row}" "ymm2" "ymm3"
                2 "{place} + 2*{row}" "ymm4" "ymm5" 3 "{at}" "ymm6" "ymm7"),
            _ => steps!(sums, words, weights, list,
                0 "{place}" "ymm0" "ymm1" 1 "{place} + {row}" "ymm2" "ymm3"
                2 "{place} + 2*{row}" "ymm4" "ymm5" 3 "{at}" "ymm6" "ymm7"
                4 "{at} + {row}" "ymm8" "ymm9" 5 "{at} + 2*{row}" "ymm10" "ymm11"),
        }
    }
}
