//! The product with AVX-512 VNNI: `vpdpwssd` multiplies words in pairs and adds both products to a
//! 32-bit lane.

use std::arch::asm;
use std::arch::x86_64::*;

use super::{Kernel, PAIRS, finish};
use crate::int16::requantize::Requantizer;
use crate::quantized::gather::{STEP, Tile};
use crate::quantized::product::vnni::{dot_products, each_row};
use crate::quantized::product::{Layout, Operands, Panel};
use crate::quantized::split::Target;

/// Tiles as the product of bytes has them.
const ROWS: usize = 14;
const WIDE: usize = 32;
const NARROW: usize = 16;

/// Weights of a vector.
const VECTOR: usize = 32;

/// Sums of 14 pixels x 32 channels (a narrow last panel has 16), weights in the order
/// `[channel][input]`.
pub(in super::super) struct Vnni;

impl Layout for Vnni {
    type Weight = i16;
    const INPUTS: usize = 2;
    const ROWS: usize = ROWS;

    fn width(channels: usize) -> usize {
        if channels > NARROW { WIDE } else { NARROW }
    }

    fn channel(lane: usize, _width: usize, _packed: bool) -> usize {
        lane
    }

    fn position(input: usize, lane: usize, _width: usize) -> usize {
        lane * 2 + input
    }
}

impl Kernel for Vnni {
    unsafe fn tile(
        tile: &Tile,
        panels: &[Panel],
        operands: &Operands<i16, i64>,
        requantizer: &Requantizer,
        target: &Target<i16>,
    ) {
        // Rows beyond the tile's repeat its last pixel, so sizes between the even ones need no code
        // of their own.
        macro_rules! by_rows {
            ($($rows:literal)*) => {
                match tile.rows.next_multiple_of(2) {
                    $($rows => rows::<$rows>(tile, panels, operands, requantizer, target),)*
                    rows => unreachable!("a tile of {rows} rows"),
                }
            };
        }
        // SAFETY: the caller's promise.
        unsafe { by_rows!(2 4 6 8 10 12 14) }
    }
}

dot_products!("vpdpwssd");

/// All panels for tiles of up to `R` rows (even, at most 14).
///
/// # Safety
/// As for [`Kernel::tile`].
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
unsafe fn rows<const R: usize>(
    tile: &Tile,
    panels: &[Panel],
    operands: &Operands<i16, i64>,
    requantizer: &Requantizer,
    target: &Target<i16>,
) {
    for panel in panels {
        // SAFETY: the caller's promise.
        unsafe {
            if panel.width == WIDE {
                finish(tile, panel, &wide::<R>(tile, panel, operands), requantizer, target);
            } else {
                finish(tile, panel, &narrow::<R>(tile, panel, operands), requantizer, target);
            }
        }
    }
}

/// # Safety
/// As for [`rows`].
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
unsafe fn wide<const R: usize>(
    tile: &Tile,
    panel: &Panel,
    operands: &Operands<i16, i64>,
) -> [[i64; WIDE]; ROWS] {
    let mut totals = starts::<R, WIDE>(panel, operands);
    let mut weights = operands.weights[panel.weights..].as_ptr();
    let mut sums = [[_mm512_setzero_si512(); 2]; ROWS];
    let mut left = PAIRS;
    // SAFETY: a panel holds two vectors of weights a step; inputs are as the caller promises.
    unsafe {
        for inputs in tile.pointers {
            for step in 0..operands.steps {
                if left == 0 {
                    each_row!(R, ROW => gather(&mut totals[ROW], &mut sums[ROW]));
                    left = PAIRS;
                }
                left -= 1;
                let w = [_mm512_load_si512(weights.cast()), _mm512_load_si512(weights.add(VECTOR).cast())];
                each_row!(R, ROW => dot_wide(&mut sums[ROW], inputs[ROW], step * STEP, w));
                weights = weights.add(2 * VECTOR);
            }
        }
    }
    each_row!(R, ROW => gather(&mut totals[ROW], &mut sums[ROW]));
    totals
}

/// # Safety
/// As for [`rows`].
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
unsafe fn narrow<const R: usize>(
    tile: &Tile,
    panel: &Panel,
    operands: &Operands<i16, i64>,
) -> [[i64; NARROW]; ROWS] {
    let mut totals = starts::<R, NARROW>(panel, operands);
    let mut weights = operands.weights[panel.weights..].as_ptr();
    let mut sums = [[_mm512_setzero_si512(); 1]; ROWS];
    let mut left = PAIRS;
    // SAFETY: as in `wide`, with one vector of weights a step.
    unsafe {
        for inputs in tile.pointers {
            for step in 0..operands.steps {
                if left == 0 {
                    each_row!(R, ROW => gather(&mut totals[ROW], &mut sums[ROW]));
                    left = PAIRS;
                }
                left -= 1;
                let w = _mm512_load_si512(weights.cast());
                each_row!(R, ROW => dot_narrow(&mut sums[ROW][0], inputs[ROW], step * STEP, w));
                weights = weights.add(VECTOR);
            }
        }
    }
    each_row!(R, ROW => gather(&mut totals[ROW], &mut sums[ROW]));
    totals
}

/// What the sums of the first `R` rows start from.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
fn starts<const R: usize, const WIDTH: usize>(
    panel: &Panel,
    operands: &Operands<i16, i64>,
) -> [[i64; WIDTH]; ROWS] {
    let mut totals = [[0; WIDTH]; ROWS];
    for row in &mut totals[..R] {
        row.copy_from_slice(&operands.initial[panel.lane..][..WIDTH]);
    }
    totals
}

/// Adds the sums of a pixel to its totals and starts them anew.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
fn gather<const VECTORS: usize, const WIDTH: usize>(
    totals: &mut [i64; WIDTH],
    sums: &mut [__m512i; VECTORS],
) {
    let (halves, _) = totals.as_chunks_mut::<8>();
    for (halves, sum) in halves.chunks_exact_mut(2).zip(sums) {
        let parts = [_mm512_castsi512_si256(*sum), _mm512_extracti64x4_epi64::<1>(*sum)];
        for (half, part) in halves.iter_mut().zip(parts) {
            let half = half.as_mut_ptr().cast::<__m512i>();
            // SAFETY: 8 totals are read and written.
            unsafe {
                let total = _mm512_add_epi64(_mm512_loadu_si512(half), _mm512_cvtepi32_epi64(part));
                _mm512_storeu_si512(half, total);
            }
        }
        *sum = _mm512_setzero_si512();
    }
}
