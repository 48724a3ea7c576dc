//! Listed steps with AVX-512 VNNI.

use std::arch::x86_64::*;

use super::super::super::epilogue::Epilogue;
use super::super::super::gather::{SLOTS, STEP, Tile};
use super::super::super::split::Target;
use super::super::vnni::{self, NARROW, ROWS, dot_narrow, each_row, finish_narrow};
use super::super::{Kernel, Layout, Operands, Panel, Step};

/// Up to this many steps a panel's products take little longer than its epilogue.
const FEW_STEPS: usize = 64;

/// Sums of 14 pixels x 16 channels, weights in the order `[channel][input]`.
pub(in super::super::super) struct Vnni;

impl Layout for Vnni {
    type Weight = i8;
    const INPUTS: usize = STEP;
    const ROWS: usize = ROWS;
    const SPARSE: bool = true;

    fn width(_channels: usize) -> usize {
        NARROW
    }

    fn position(input: usize, lane: usize, _width: usize) -> usize {
        lane * STEP + input
    }

    fn put(rows: &[&[i8]], out: &mut [i8]) {
        <vnni::Vnni<i8> as Layout>::put(rows, out);
    }
}

impl<E: Epilogue> Kernel<E> for Vnni {
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
        // SAFETY: the caller's promise.
        unsafe {
            match tile.rows {
                1 => one_row(tile, panels, operands, epilogue, target),
                rows if rows <= 8 || rows > ROWS => eights(tile, panels, operands, epilogue, target),
                9 | 10 => rows_of::<10, E>(tile, panels, operands, epilogue, target),
                11 | 12 => rows_of::<12, E>(tile, panels, operands, epilogue, target),
                _ => rows_of::<14, E>(tile, panels, operands, epilogue, target),
            }
        }
    }
}

/// All panels for tiles of up to `R` rows.
///
/// # Safety
/// As for [`Kernel::tile`].
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
unsafe fn rows_of<const R: usize, E: Epilogue>(
    tile: &Tile,
    panels: &[Panel],
    operands: &Operands<i8, i32>,
    epilogue: &E,
    target: &Target<E::Out>,
) {
    for panel in panels {
        // SAFETY: the caller's promise.
        unsafe { listed::<R, E>(tile, 0, panel, operands, epilogue, target) };
    }
}

/// All panels, eight rows after the other, so that the processor works on the epilogue of some while it begins
/// the products of the next.
///
/// # Safety
/// As for [`Kernel::tile`].
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
unsafe fn eights<E: Epilogue>(
    tile: &Tile,
    panels: &[Panel],
    operands: &Operands<i8, i32>,
    epilogue: &E,
    target: &Target<E::Out>,
) {
    for panel in panels {
        for first in (0..tile.rows).step_by(8) {
            // SAFETY: the caller's promise.
            unsafe { listed::<8, E>(tile, first, panel, operands, epilogue, target) };
        }
    }
}

/// Up to `R` rows of a tile from `first` on.
///
/// # Safety
/// As for [`Kernel::tile`]; `first + R` is at most [`SLOTS`].
#[inline(always)]
unsafe fn listed<const R: usize, E: Epilogue>(
    tile: &Tile,
    first: usize,
    panel: &Panel,
    operands: &Operands<i8, i32>,
    epilogue: &E,
    target: &Target<E::Out>,
) {
    let initial = operands.initial[panel.lane..][..NARROW].as_ptr();
    let mut weights = operands.weights[panel.weights..].as_ptr();
    // SAFETY: initial sums were just counted; a panel holds a vector of weights for each listed step, whose tap
    // the tile has; inputs and outputs are as the caller promises.
    unsafe {
        // Two more than rows, so that rows can be taken by four.
        let mut sums = [_mm512_loadu_si512(initial.cast()); ROWS + 2];
        for Step { tap, at } in &operands.list[panel.list.clone()] {
            let inputs = tile.pointers.as_ptr().add(*tap as usize).cast::<*const u8>().add(first);
            let w = _mm512_load_si512(weights.cast());
            each_row!(R, ROW => dot_narrow(&mut sums[ROW], *inputs.add(ROW), *at as usize, w));
            weights = weights.add(STEP * NARROW);
        }
        finish_narrow::<R, E>(tile, first, panel, &sums, epilogue, target);
    }
}

/// All panels for a tile of one row. A sum alone would wait for its own latency, so there are four, one for
/// every fourth step.
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
    for panel in panels {
        let initial = operands.initial[panel.lane..][..NARROW].as_ptr();
        let mut weights = operands.weights[panel.weights..].as_ptr();
        // SAFETY: as in `listed`.
        unsafe {
            let mut sums = [_mm512_setzero_si512(); CHAINS];
            sums[0] = _mm512_loadu_si512(initial.cast());
            let (fours, rest) = operands.list[panel.list.clone()].as_chunks::<CHAINS>();
            for steps in fours {
                each_row!(CHAINS, CHAIN, 0 1 2 3 => {
                    let Step { tap, at } = steps[CHAIN];
                    let input = (*tile.pointers.as_ptr().add(tap as usize))[0];
                    let w = _mm512_load_si512(weights.add(CHAIN * STEP * NARROW).cast());
                    dot_narrow(&mut sums[CHAIN], input, at as usize, w);
                });
                weights = weights.add(CHAINS * STEP * NARROW);
            }
            for Step { tap, at } in rest {
                let input = (*tile.pointers.as_ptr().add(*tap as usize))[0];
                dot_narrow(&mut sums[0], input, *at as usize, _mm512_load_si512(weights.cast()));
                weights = weights.add(STEP * NARROW);
            }
            let pairs = [_mm512_add_epi32(sums[0], sums[1]), _mm512_add_epi32(sums[2], sums[3])];
            let sum = _mm512_add_epi32(pairs[0], pairs[1]);
            let out = target.at(tile.pixel, panel.channel, panel.channels);
            epilogue.quad(&[tile.samples[0]; 4], panel.lane, [sum; 4], panel.channels, out, 0, 1);
        }
    }
}
