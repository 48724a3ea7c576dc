//! The product in plain Rust, which compilers turn into whatever vectors the target has.

use super::{Kernel, Round, finish, rounds};
use crate::int16::requantize::Requantizer;
use crate::quantized::gather::{STEP, Tile};
use crate::quantized::product::{Layout, Operands, Panel};
use crate::quantized::split::Target;

const ROWS: usize = 4;
const WIDTH: usize = 8;
const INPUTS: usize = 2;

/// Sums of 4 pixels x 8 channels, weights in the order `[input][channel]`.
pub(in super::super) struct Portable;

impl Layout for Portable {
    type Weight = i16;
    const INPUTS: usize = INPUTS;
    const ROWS: usize = ROWS;

    fn width(_channels: usize) -> usize {
        WIDTH
    }

    fn channel(lane: usize, _width: usize, _packed: bool) -> usize {
        lane
    }

    fn position(input: usize, lane: usize, width: usize) -> usize {
        input * width + lane
    }
}

impl Kernel for Portable {
    unsafe fn tile(
        tile: &Tile,
        panels: &[Panel],
        operands: &Operands<i16, i64>,
        requantizer: &Requantizer,
        target: &Target<i16>,
    ) {
        for panel in panels {
            // SAFETY: the caller's promise.
            unsafe { finish(tile, panel, &sums(tile, panel, operands), requantizer, target) };
        }
    }
}

/// # Safety
/// The tile's pointers must be readable for all steps.
unsafe fn sums(tile: &Tile, panel: &Panel, operands: &Operands<i16, i64>) -> [[i64; WIDTH]; ROWS] {
    let mut totals = [[0; WIDTH]; ROWS];
    for row in &mut totals {
        row.copy_from_slice(&operands.initial[panel.lane..][..WIDTH]);
    }
    let (weights, _) = operands.weights[panel.weights..].as_chunks::<WIDTH>();
    let mut weights = weights.as_chunks::<INPUTS>().0.iter();
    // Fixed sizes throughout, so that the loops over rows, inputs and lanes become plain vectors.
    for Round { taps, steps, .. } in rounds(tile.pointers, operands.steps) {
        let mut sums = [[0i32; WIDTH]; ROWS];
        for pointers in taps {
            for (step, weights) in steps.clone().zip(&mut weights) {
                for row in 0..ROWS {
                    // SAFETY: readable as the caller promises.
                    let inputs =
                        unsafe { pointers[row].add(step * STEP).cast::<[i16; INPUTS]>().read_unaligned() };
                    for input in 0..INPUTS {
                        for lane in 0..WIDTH {
                            sums[row][lane] += i32::from(inputs[input]) * i32::from(weights[input][lane]);
                        }
                    }
                }
            }
        }
        for (total, sum) in totals.iter_mut().flatten().zip(sums.iter().flatten()) {
            *total = total.wrapping_add(i64::from(*sum));
        }
    }
    totals
}
