//! The product with AVX2: `vpmaddwd` multiplies words in pairs and adds each pair.

use std::arch::x86_64::*;

use super::{Round, rounds};
use crate::int16::requantize::Requantizer;
use crate::quantized::gather::{STEP, Tile};
use crate::quantized::product::{Kernel, Layout, Operands, Panel, finish_rows};
use crate::quantized::split::Target;

/// Eight sums and two vectors of weights leave six of the sixteen registers to work with.
const ROWS: usize = 4;
const WIDTH: usize = 16;

/// Sums of 4 pixels x 16 channels, weights in the order `[channel][input]`.
pub(in super::super) struct Avx2;

impl Layout for Avx2 {
    type Weight = i16;
    const INPUTS: usize = 2;
    const ROWS: usize = ROWS;

    fn width(_channels: usize) -> usize {
        WIDTH
    }

    fn position(input: usize, lane: usize, _width: usize) -> usize {
        lane * 2 + input
    }
}

impl Kernel<Requantizer> for Avx2 {
    unsafe fn tile(
        tile: &Tile,
        panels: &[Panel],
        operands: &Operands<i16, i64>,
        requantizer: &Requantizer,
        target: &Target<i16>,
    ) {
        // SAFETY: the caller's promise.
        unsafe {
            match tile.rows {
                1 => tile_of::<1>(tile, panels, operands, requantizer, target),
                2 => tile_of::<2>(tile, panels, operands, requantizer, target),
                _ => tile_of::<ROWS>(tile, panels, operands, requantizer, target),
            }
        }
    }
}

/// # Safety
/// As for [`Kernel::tile`].
#[target_feature(enable = "avx2")]
unsafe fn tile_of<const R: usize>(
    tile: &Tile,
    panels: &[Panel],
    operands: &Operands<i16, i64>,
    requantizer: &Requantizer,
    target: &Target<i16>,
) {
    for panel in panels {
        // SAFETY: the caller's promise.
        unsafe { finish_rows(tile, panel, &sums::<R>(tile, panel, operands), requantizer, target) };
    }
}

/// # Safety
/// The tile's pointers must be readable for all steps.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn sums<const R: usize>(
    tile: &Tile,
    panel: &Panel,
    operands: &Operands<i16, i64>,
) -> [[i64; WIDTH]; R] {
    let mut totals = [[0; WIDTH]; R];
    for row in &mut totals {
        row.copy_from_slice(&operands.initial[panel.lane..][..WIDTH]);
    }
    let mut weights = operands.weights[panel.weights..].as_ptr().cast::<__m256i>();
    for Round { taps, steps, .. } in rounds(tile.pointers, operands.steps) {
        let mut sums = [[_mm256_setzero_si256(); 2]; R];
        // SAFETY: a panel holds two vectors of weights a step, and the inputs are readable as the
        // caller promises.
        unsafe {
            for pointers in taps {
                for step in steps.clone() {
                    let vectors = [_mm256_load_si256(weights), _mm256_load_si256(weights.add(1))];
                    for (sums, pointer) in sums.iter_mut().zip(pointers) {
                        let pair = pointer.add(step * STEP).cast::<i32>().read_unaligned();
                        for (sum, vector) in sums.iter_mut().zip(vectors) {
                            let products = _mm256_madd_epi16(_mm256_set1_epi32(pair), vector);
                            *sum = _mm256_add_epi32(*sum, products);
                        }
                    }
                    weights = weights.add(2);
                }
            }
        }
        for (totals, sums) in totals.iter_mut().zip(sums) {
            gather(totals, sums);
        }
    }
    totals
}

/// Adds the sums of a pixel to its totals.
#[inline]
#[target_feature(enable = "avx2")]
fn gather(totals: &mut [i64; WIDTH], sums: [__m256i; 2]) {
    let mut lanes = [0i32; WIDTH];
    // SAFETY: 16 lanes are written.
    unsafe {
        _mm256_storeu_si256(lanes.as_mut_ptr().cast(), sums[0]);
        _mm256_storeu_si256(lanes.as_mut_ptr().add(8).cast(), sums[1]);
    }
    for (total, lane) in totals.iter_mut().zip(lanes) {
        *total = total.wrapping_add(i64::from(lane));
    }
}
