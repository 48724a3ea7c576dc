//! Listed steps with the byte dot product of Advanced SIMD, as the dense product multiplies them.

use std::arch::aarch64::*;

use super::super::super::epilogue::Epilogue;
use super::super::super::gather::{STEP, Tile};
use super::super::super::split::Target;
use super::super::neondot::{self, add_steps, initial, inputs};
use super::super::{Kernel, Layout, Operands, Panel, Step};
use super::neon::finish;
use crate::sparse::cost::LANES;

/// Pixels whose sums take half the registers.
const ROWS: usize = 4;

/// Vectors of the sums of a pixel.
const VECTORS: usize = LANES / 4;

/// Sums of 4 pixels x 16 channels, weights in the order `[step][channel][input]`.
pub(in super::super::super) struct NeonDot;

impl Layout for NeonDot {
    type Weight = i8;
    const INPUTS: usize = STEP;
    const ROWS: usize = ROWS;
    const TAKEN: i32 = <neondot::NeonDot as Layout>::TAKEN;
    const SPARSE: bool = true;

    fn width(_channels: usize) -> usize {
        LANES
    }

    fn position(input: usize, lane: usize, width: usize) -> usize {
        <neondot::NeonDot as Layout>::position(input, lane, width)
    }
}

impl<E: Epilogue> Kernel<E> for NeonDot {
    unsafe fn tile(
        tile: &Tile,
        panels: &[Panel],
        operands: &Operands<i8, i32>,
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
/// The dot product must be there, and the tile's pointers must be readable for all steps.
#[target_feature(enable = "neon,dotprod")]
unsafe fn sums(tile: &Tile, panel: &Panel, operands: &Operands<i8, i32>) -> [[int32x4_t; VECTORS]; ROWS] {
    let mut weights = operands.weights[panel.weights..].as_ptr();
    let mut sums = [initial::<VECTORS>(panel, operands); ROWS];
    for Step { tap, at } in &operands.list[panel.list.clone()] {
        let pointers = &tile.pointers[*tap as usize];
        // SAFETY: readable as the caller promises; each listed step has the weights of all lanes.
        unsafe {
            let bytes = inputs::<ROWS, false>(pointers, *at as usize);
            add_steps::<ROWS, VECTORS, false>(&mut sums, bytes, weights);
            weights = weights.add(STEP * LANES);
        }
    }
    sums
}
