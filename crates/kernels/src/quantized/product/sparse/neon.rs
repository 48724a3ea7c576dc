//! Listed steps with Advanced SIMD, as the dense product multiplies them.

use std::arch::aarch64::*;

use super::super::super::epilogue::Epilogue;
use super::super::super::gather::{STEP, Tile};
use super::super::super::split::Target;
use super::super::neon::{self, add_inputs, initial, inputs};
use super::super::{Kernel, Layout, Operands, Panel, Step};
use crate::sparse::cost::LANES;

/// Pixels whose sums take half the registers.
const ROWS: usize = 4;

/// Vectors of the sums of a pixel.
const VECTORS: usize = LANES / 4;

/// Sums of 4 pixels x 16 channels, weights as words in the order `[input][channel]`.
pub(in super::super::super) struct Neon;

impl Layout for Neon {
    type Weight = i16;
    const INPUTS: usize = STEP;
    const ROWS: usize = ROWS;
    const SPARSE: bool = true;

    fn width(_channels: usize) -> usize {
        LANES
    }

    fn position(input: usize, lane: usize, width: usize) -> usize {
        <neon::Neon as Layout>::position(input, lane, width)
    }
}

impl<E: Epilogue> Kernel<E> for Neon {
    unsafe fn tile(
        tile: &Tile,
        panels: &[Panel],
        operands: &Operands<i16, i32>,
        epilogue: &E,
        target: &Target<E::Out>,
    ) {
        for panel in panels {
            // SAFETY: the caller's promise.
            unsafe { finish(tile, panel, &sums(tile, panel, operands), epilogue, target) };
        }
    }
}

/// The sums of a panel; those of slots beyond the tile's rows mean nothing.
///
/// # Safety
/// The tile's pointers must be readable for all steps.
#[target_feature(enable = "neon")]
unsafe fn sums(tile: &Tile, panel: &Panel, operands: &Operands<i16, i32>) -> [[int32x4_t; VECTORS]; ROWS] {
    let mut weights = operands.weights[panel.weights..].as_ptr();
    let mut sums = [initial::<VECTORS>(&operands.initial[panel.lane..]); ROWS];
    for Step { tap, at } in &operands.list[panel.list.clone()] {
        let pointers = &tile.pointers[*tap as usize];
        // SAFETY: readable as the caller promises; each listed step has the weights of all lanes.
        unsafe {
            let words = inputs::<ROWS, false>(pointers, *at as usize);
            add_inputs::<ROWS, VECTORS, false>(&mut sums, words, weights);
            weights = weights.add(STEP * LANES);
        }
    }
    sums
}

/// Makes outputs of the sums of a tile's pixels with a panel.
///
/// # Safety
/// As for [`Kernel::tile`].
#[inline(always)]
pub(super) unsafe fn finish<E: Epilogue>(
    tile: &Tile,
    panel: &Panel,
    sums: &[[int32x4_t; VECTORS]; ROWS],
    epilogue: &E,
    target: &Target<E::Out>,
) {
    for (row, sums) in sums.iter().enumerate().take(tile.rows) {
        for (half, first) in (0..panel.channels).step_by(8).enumerate() {
            let channels = (panel.channels - first).min(8);
            let out = target.at(tile.pixel + row, panel.channel + first, channels);
            let sums = [sums[2 * half], sums[2 * half + 1]];
            // SAFETY: outputs are as the caller promises; a panel has sixteen lanes.
            unsafe { epilogue.eight(tile.samples[row], panel.lane + first, sums, channels, out) };
        }
    }
}
