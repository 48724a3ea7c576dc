//! The product with the byte dot product of Advanced SIMD (`sdot`): four signed bytes of inputs times four of
//! weights, added to a sum. Inputs are unsigned: 128 is taken off each by flipping its top bit, and sums start from
//! what that takes off the products.

use std::arch::aarch64::*;
use std::arch::asm;

use super::super::epilogue::Epilogue;
use super::super::gather::{ROOM, STEP, Tile};
use super::super::split::Target;
use super::neon::{self, ROWS, Sums, WIDTH, finish, of_all_rows, with_rows};
use super::{Kernel, Layout, Operands, Panel};

/// Inputs that one vector holds.
const CHUNK: usize = 16;

/// Steps of one vector of inputs.
const CHUNK_STEPS: usize = CHUNK / STEP;

/// Sums of 8 pixels x 8 channels, weights in the order `[step][channel][input]`.
pub(in super::super) struct NeonDot;

impl Layout for NeonDot {
    type Weight = i8;
    const INPUTS: usize = STEP;
    const ROWS: usize = ROWS;
    const TAKEN: i32 = 128;

    fn width(_channels: usize) -> usize {
        WIDTH
    }

    fn position(input: usize, lane: usize, _width: usize) -> usize {
        lane * STEP + input
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
            unsafe {
                let sums = with_rows!(tile.rows, sums(tile.pointers, panel, operands));
                finish(tile, panel, &sums, epilogue, target);
            }
        }
    }
}

/// The sums of a panel with the taps of the first `R` rows.
///
/// # Safety
/// The dot product must be there, and the pointers readable for all steps.
#[target_feature(enable = "neon,dotprod")]
unsafe fn sums<const R: usize>(
    pointers: &[[*const u8; ROOM]],
    panel: &Panel,
    operands: &Operands<i8, i32>,
) -> Sums {
    let mut weights = operands.weights[panel.weights..].as_ptr();
    let mut sums = [initial::<2>(panel, operands); R];
    let (full, rest) = (operands.steps / CHUNK_STEPS, operands.steps % CHUNK_STEPS);
    for pointers in pointers {
        // SAFETY: readable as the caller promises; a panel has two vectors of weights for each step.
        unsafe {
            for chunk in 0..full {
                let bytes = inputs::<R, true>(pointers, chunk * CHUNK);
                add_steps::<R, 2, true>(&mut sums, bytes, weights);
                weights = weights.add(CHUNK * WIDTH);
            }
            for step in 0..rest {
                let bytes = inputs::<R, false>(pointers, full * CHUNK + step * STEP);
                add_steps::<R, 2, false>(&mut sums, bytes, weights);
                weights = weights.add(STEP * WIDTH);
            }
        }
    }
    of_all_rows(&sums)
}

/// What the sums of a pixel start from, with what is taken off their products.
#[inline]
#[target_feature(enable = "neon")]
pub(super) fn initial<const V: usize>(panel: &Panel, operands: &Operands<i8, i32>) -> [int32x4_t; V] {
    let mut sums = neon::initial::<V>(&operands.initial[panel.lane..]);
    for (sums, taken) in sums.iter_mut().zip(neon::initial::<V>(&operands.taken[panel.lane..])) {
        *sums = vaddq_s32(*sums, taken);
    }
    sums
}

/// The inputs of `R` rows, less 128, from byte `at` of a tap on: sixteen of each, or the four of a step.
///
/// # Safety
/// So many bytes must be readable there.
#[inline]
#[target_feature(enable = "neon")]
pub(super) unsafe fn inputs<const R: usize, const ALL: bool>(
    pointers: &[*const u8; ROOM],
    at: usize,
) -> [int8x16_t; R] {
    let mut inputs = [vdupq_n_s8(0); R];
    for (inputs, pointer) in inputs.iter_mut().zip(pointers) {
        // SAFETY: the caller's promise.
        let bytes = unsafe {
            let from = pointer.add(at);
            if ALL {
                vld1q_u8(from)
            } else {
                vreinterpretq_u8_u32(vdupq_n_u32(from.cast::<u32>().read_unaligned()))
            }
        };
        *inputs = vreinterpretq_s8_u8(veorq_u8(bytes, vdupq_n_u8(0x80)));
    }
    inputs
}

/// Adds the products of the first step of each row, or of all four, with as many lanes as `V` vectors of sums hold.
///
/// # Safety
/// There must be weights for each step and lane.
#[inline]
#[target_feature(enable = "neon,dotprod")]
pub(super) unsafe fn add_steps<const R: usize, const V: usize, const ALL: bool>(
    sums: &mut [[int32x4_t; V]; R],
    inputs: [int8x16_t; R],
    weights: *const i8,
) {
    macro_rules! add {
        ($($step:literal)*) => {
            $(
                for vector in 0..V {
                    // SAFETY: the caller's promise.
                    let weights = unsafe { vld1q_s8(weights.add(($step * V + vector) * 16)) };
                    for (sums, inputs) in sums.iter_mut().zip(inputs) {
                        sums[vector] = dot::<$step>(sums[vector], weights, inputs);
                    }
                }
            )*
        };
    }
    add!(0);
    if ALL {
        add!(1 2 3);
    }
}

/// Adds to each of four sums the products of its four weights with the inputs of a step.
#[inline]
#[target_feature(enable = "neon,dotprod")]
pub(crate) fn dot<const STEP: i32>(mut sums: int32x4_t, weights: int8x16_t, inputs: int8x16_t) -> int32x4_t {
    // In assembly because the intrinsic is not stable.
    // SAFETY: changes registers only, by an instruction that is enabled.
    unsafe {
        asm!(
            "sdot {sums:v}.4s, {weights:v}.16b, {inputs:v}.4b[{step}]",
            sums = inout(vreg) sums,
            weights = in(vreg) weights,
            inputs = in(vreg) inputs,
            step = const STEP,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    sums
}
