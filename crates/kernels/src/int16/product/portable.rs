//! The product in plain Rust, which compilers turn into whatever vectors the target has.

use super::{Round, rounds};
use crate::int16::requantize::Requantizer;
use crate::quantized::gather::{STEP, Tile};
use crate::quantized::product::portable::{Portable, ROWS, WIDTH};
use crate::quantized::product::{Kernel, Layout, Operands, Panel, finish_rows};
use crate::quantized::split::Target;

const INPUTS: usize = <Portable<i16> as Layout>::INPUTS;

impl Kernel<Requantizer> for Portable<i16> {
    unsafe fn tile(
        tile: &Tile,
        panels: &[Panel],
        operands: &Operands<i16, i64>,
        requantizer: &Requantizer,
        target: &Target<i16>,
    ) {
        for panel in panels {
            // SAFETY: the caller's promise.
            unsafe { finish_rows(tile, panel, &sums(tile, panel, operands), requantizer, target) };
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
