//! The product with AVX2: bytes widened to words, whose products in pairs (`vpmaddwd`) are exact.

use std::arch::x86_64::*;

use super::super::epilogue::Epilogue;
use super::super::gather::{STEP, Tile};
use super::super::split::Target;
use super::{Kernel, Layout, Operands, Panel, finish_rows};

/// Eight sums and four vectors of weights leave four of the sixteen registers to work with.
const ROWS: usize = 4;
const WIDTH: usize = 16;

/// Sums of 4 pixels x 16 channels, weights as words in the order `[even, odd inputs][channel][2]`:
/// of a step's four inputs, 0 and 2 form the even pair and 1 and 3 the odd one, since that is how
/// a mask and a shift widen four bytes.
pub(in super::super) struct Avx2;

impl Layout for Avx2 {
    type Weight = i16;
    const INPUTS: usize = STEP;
    const ROWS: usize = ROWS;

    fn width(_channels: usize) -> usize {
        WIDTH
    }

    fn position(input: usize, lane: usize, width: usize) -> usize {
        (input % 2 * width + lane) * 2 + input / 2
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
        // SAFETY: the caller's promise.
        unsafe {
            match tile.rows {
                1 => tile_of::<1, E>(tile, panels, operands, epilogue, target),
                2 => tile_of::<2, E>(tile, panels, operands, epilogue, target),
                _ => tile_of::<ROWS, E>(tile, panels, operands, epilogue, target),
            }
        }
    }
}

/// # Safety
/// As for [`Kernel::tile`].
#[target_feature(enable = "avx2")]
unsafe fn tile_of<const R: usize, E: Epilogue>(
    tile: &Tile,
    panels: &[Panel],
    operands: &Operands<i16, i32>,
    epilogue: &E,
    target: &Target<E::Out>,
) {
    for panel in panels {
        // SAFETY: the caller's promise.
        unsafe { finish_rows(tile, panel, &sums::<R>(tile, panel, operands), epilogue, target) };
    }
}

/// # Safety
/// The tile's pointers must be readable for all steps.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn sums<const R: usize>(
    tile: &Tile,
    panel: &Panel,
    operands: &Operands<i16, i32>,
) -> [[i32; WIDTH]; R] {
    let mut weights = operands.weights[panel.weights..].as_ptr().cast::<__m256i>();
    let initial = operands.initial[panel.lane..][..WIDTH].as_ptr().cast::<__m256i>();
    let low = _mm256_set1_epi16(0xff);
    // SAFETY: initial sums were just counted; a panel holds 4 vectors of weights a step, and the
    // inputs are readable as the caller promises.
    unsafe {
        let mut sums = [[_mm256_loadu_si256(initial), _mm256_loadu_si256(initial.add(1))]; R];
        for pointers in tile.pointers {
            for step in 0..operands.steps {
                let vectors: [__m256i; 4] = [
                    _mm256_load_si256(weights),
                    _mm256_load_si256(weights.add(1)),
                    _mm256_load_si256(weights.add(2)),
                    _mm256_load_si256(weights.add(3)),
                ];
                for (sums, pointer) in sums.iter_mut().zip(pointers) {
                    let bytes = _mm256_set1_epi32(pointer.add(step * STEP).cast::<i32>().read_unaligned());
                    let pairs = [_mm256_and_si256(bytes, low), _mm256_srli_epi16::<8>(bytes)];
                    for (vector, sum) in sums.iter_mut().enumerate() {
                        for (parity, &pair) in pairs.iter().enumerate() {
                            let products = _mm256_madd_epi16(pair, vectors[2 * parity + vector]);
                            *sum = _mm256_add_epi32(*sum, products);
                        }
                    }
                }
                weights = weights.add(4);
            }
        }
        let mut out = [[0; WIDTH]; R];
        for (out, sums) in out.iter_mut().zip(sums) {
            _mm256_storeu_si256(out.as_mut_ptr().cast(), sums[0]);
            _mm256_storeu_si256(out.as_mut_ptr().add(8).cast(), sums[1]);
        }
        out
    }
}
