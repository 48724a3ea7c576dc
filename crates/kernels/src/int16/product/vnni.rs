//! The product with AVX-512 VNNI: `vpdpwssd` multiplies words in pairs and adds both products to a
//! 32-bit lane.

use std::arch::asm;
use std::arch::x86_64::*;

use super::{Round, rounds};
use crate::int16::requantize::Requantizer;
use crate::int16::requantize::avx512::widened;
use crate::quantized::gather::{STEP, Tile};
use crate::quantized::product::vnni::{NARROW, ROWS, Vnni, WIDE, dot_products, each_row};
use crate::quantized::product::{Kernel, Operands, Panel};
use crate::quantized::split::Target;

/// Weights of a vector.
const VECTOR: usize = 32;

impl Kernel<Requantizer> for Vnni<i16> {
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
    let mut totals = [[0; WIDE]; ROWS];
    for panel in panels {
        // SAFETY: the caller's promise.
        unsafe {
            if panel.width == WIDE {
                wide::<R>(tile, panel, operands, requantizer, target, &mut totals);
            } else {
                narrow::<R>(tile, panel, operands, requantizer, target, &mut totals);
            }
        }
    }
}

/// A panel of 32 channels. `totals` keeps the sums of all rounds but the last.
///
/// # Safety
/// As for [`rows`].
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
unsafe fn wide<const R: usize>(
    tile: &Tile,
    panel: &Panel,
    operands: &Operands<i16, i64>,
    requantizer: &Requantizer,
    target: &Target<i16>,
    totals: &mut [[i64; WIDE]; ROWS],
) {
    let initial = operands.initial[panel.lane..][..WIDE].as_ptr();
    let mut weights = operands.weights[panel.weights..].as_ptr();
    let mask = u32::MAX >> (WIDE - panel.channels);
    for Round { taps, steps, first, last } in rounds(tile.pointers, operands.steps) {
        let mut sums = [[_mm512_setzero_si512(); 2]; ROWS];
        // SAFETY: a panel holds two vectors of weights a step; inputs, outputs and lanes are as the
        // caller promises.
        unsafe {
            for inputs in taps {
                for step in steps.clone() {
                    let w =
                        [_mm512_load_si512(weights.cast()), _mm512_load_si512(weights.add(VECTOR).cast())];
                    each_row!(R, ROW => dot_wide(&mut sums[ROW], inputs[ROW], step * STEP, w));
                    weights = weights.add(2 * VECTOR);
                }
            }
            each_row!(R, ROW => {
                let before = if first { initial } else { totals[ROW].as_ptr() };
                let sums = [widened(before, sums[ROW][0]), widened(before.add(16), sums[ROW][1])];
                if !last {
                    keep(totals[ROW].as_mut_ptr(), sums[0]);
                    keep(totals[ROW].as_mut_ptr().add(16), sums[1]);
                } else if ROW < tile.rows {
                    let out = target.at(tile.pixel + ROW, panel.channel, panel.channels);
                    _mm512_mask_storeu_epi16(out, mask, requantizer.wide(panel.lane, sums));
                }
            });
        }
    }
}

/// A panel of 16 channels.
///
/// # Safety
/// As for [`rows`].
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
unsafe fn narrow<const R: usize>(
    tile: &Tile,
    panel: &Panel,
    operands: &Operands<i16, i64>,
    requantizer: &Requantizer,
    target: &Target<i16>,
    totals: &mut [[i64; WIDE]; ROWS],
) {
    let initial = operands.initial[panel.lane..][..NARROW].as_ptr();
    let mut weights = operands.weights[panel.weights..].as_ptr();
    let mask = u16::MAX >> (NARROW - panel.channels);
    for Round { taps, steps, first, last } in rounds(tile.pointers, operands.steps) {
        let mut sums = [_mm512_setzero_si512(); ROWS];
        // SAFETY: as in `wide`, with one vector of weights a step.
        unsafe {
            for inputs in taps {
                for step in steps.clone() {
                    let w = _mm512_load_si512(weights.cast());
                    each_row!(R, ROW => dot_narrow(&mut sums[ROW], inputs[ROW], step * STEP, w));
                    weights = weights.add(VECTOR);
                }
            }
            each_row!(R, ROW => {
                let before = if first { initial } else { totals[ROW].as_ptr() };
                let sums = widened(before, sums[ROW]);
                if !last {
                    keep(totals[ROW].as_mut_ptr(), sums);
                } else if ROW < tile.rows {
                    let out = target.at(tile.pixel + ROW, panel.channel, panel.channels);
                    _mm256_mask_storeu_epi16(out, mask, requantizer.narrow(panel.lane, sums));
                }
            });
        }
    }
}

/// # Safety
/// 16 totals must be writable.
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn keep(totals: *mut i64, sums: [__m512i; 2]) {
    // SAFETY: as the caller promises.
    unsafe {
        _mm512_storeu_si512(totals.cast(), sums[0]);
        _mm512_storeu_si512(totals.add(8).cast(), sums[1]);
    }
}
