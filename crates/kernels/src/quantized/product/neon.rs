//! The product with Advanced SIMD: bytes widened to words, which one instruction (`smlal`) multiplies by words of
//! weights and adds to sums of 32 bits. One of its factors may be a lane of a register, so that eight inputs of a
//! pixel are loaded at once.

use std::arch::aarch64::*;
use std::arch::asm;

use super::super::epilogue::Epilogue;
use super::super::gather::{ROOM, STEP, Tile};
use super::super::split::Target;
use super::{Kernel, Layout, Operands, Panel};

/// Pixels and channels whose sums, with the inputs of each pixel and a vector of weights, leave a few of the 32
/// registers free.
pub(super) const ROWS: usize = 8;
pub(super) const WIDTH: usize = 8;

/// Inputs that one vector of words holds.
const CHUNK: usize = 8;

/// The sums of the pixels of a tile.
pub(super) type Sums = [[int32x4_t; 2]; ROWS];

/// Sums of 8 pixels x 8 channels, weights as words in the order `[input][channel]`.
pub(in super::super) struct Neon;

impl Layout for Neon {
    type Weight = i16;
    const INPUTS: usize = STEP;
    const ROWS: usize = ROWS;

    fn width(_channels: usize) -> usize {
        WIDTH
    }

    fn position(input: usize, lane: usize, width: usize) -> usize {
        input * width + lane
    }
}

/// Calls a function for as many rows as there are.
macro_rules! with_rows {
    ($rows:expr, $function:ident($($argument:expr),* $(,)?)) => {
        match $rows {
            1 => $function::<1>($($argument),*),
            2 => $function::<2>($($argument),*),
            3 => $function::<3>($($argument),*),
            4 => $function::<4>($($argument),*),
            5 => $function::<5>($($argument),*),
            6 => $function::<6>($($argument),*),
            7 => $function::<7>($($argument),*),
            _ => $function::<8>($($argument),*),
        }
    };
}
pub(super) use with_rows;

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
            unsafe {
                let sums = with_rows!(tile.rows, sums(tile.pointers, panel, operands));
                finish(tile, panel, &sums, epilogue, target);
            }
        }
    }
}

/// Makes outputs of the sums of a tile's pixels with a panel.
///
/// # Safety
/// As for [`Kernel::tile`].
#[inline(always)]
pub(super) unsafe fn finish<E: Epilogue>(
    tile: &Tile,
    panel: &Panel,
    sums: &Sums,
    epilogue: &E,
    target: &Target<E::Out>,
) {
    for (row, sums) in sums.iter().enumerate().take(tile.rows) {
        let out = target.at(tile.pixel + row, panel.channel, panel.channels);
        // SAFETY: outputs are as the caller promises; a panel has eight lanes.
        unsafe { epilogue.eight(tile.samples[row], panel.lane, *sums, panel.channels, out) };
    }
}

/// The sums of a panel with the taps of the first `R` rows.
///
/// # Safety
/// The pointers must be readable for all steps.
#[target_feature(enable = "neon")]
unsafe fn sums<const R: usize>(
    pointers: &[[*const u8; ROOM]],
    panel: &Panel,
    operands: &Operands<i16, i32>,
) -> Sums {
    let mut weights = operands.weights[panel.weights..].as_ptr();
    let mut sums = [initial::<2>(&operands.initial[panel.lane..]); R];
    let (full, rest) = (operands.steps * STEP / CHUNK, operands.steps * STEP % CHUNK);
    for pointers in pointers {
        // SAFETY: readable as the caller promises; a panel has a vector of weights for each input.
        unsafe {
            for chunk in 0..full {
                let words = inputs::<R, true>(pointers, chunk * CHUNK);
                add_inputs::<R, 2, true>(&mut sums, words, weights);
                weights = weights.add(CHUNK * WIDTH);
            }
            if rest > 0 {
                let words = inputs::<R, false>(pointers, full * CHUNK);
                add_inputs::<R, 2, false>(&mut sums, words, weights);
                weights = weights.add(STEP * WIDTH);
            }
        }
    }
    of_all_rows(&sums)
}

/// What the sums of a pixel start from, four lanes in each vector.
#[inline]
#[target_feature(enable = "neon")]
pub(super) fn initial<const V: usize>(initial: &[i32]) -> [int32x4_t; V] {
    let mut sums = [vdupq_n_s32(0); V];
    for (sums, initial) in sums.iter_mut().zip(&initial.as_chunks::<4>().0[..V]) {
        // SAFETY: four numbers.
        *sums = unsafe { vld1q_s32(initial.as_ptr()) };
    }
    sums
}

/// Sums of some rows in the place of all.
#[inline]
#[target_feature(enable = "neon")]
pub(super) fn of_all_rows<const R: usize>(sums: &[[int32x4_t; 2]; R]) -> Sums {
    let mut all = [[vdupq_n_s32(0); 2]; ROWS];
    all[..R].copy_from_slice(sums);
    all
}

/// The inputs of `R` rows as words from byte `at` of a tap on: eight of each, or the four of a step.
///
/// Not by closures: they would be compiled apart from their caller.
///
/// # Safety
/// So many bytes must be readable there.
#[inline]
#[target_feature(enable = "neon")]
pub(super) unsafe fn inputs<const R: usize, const ALL: bool>(
    pointers: &[*const u8; ROOM],
    at: usize,
) -> [int16x8_t; R] {
    let mut words = [vdupq_n_s16(0); R];
    for (words, pointer) in words.iter_mut().zip(pointers) {
        // SAFETY: the caller's promise.
        let bytes = unsafe {
            let from = pointer.add(at);
            if ALL {
                vld1_u8(from)
            } else {
                vreinterpret_u8_u32(vdup_n_u32(from.cast::<u32>().read_unaligned()))
            }
        };
        *words = widen(bytes);
    }
    words
}

/// Bytes as words.
///
/// In assembly so that compilers do not see where the words come from: LLVM, told so, multiplies in 32 bits, for
/// which it widens once more.
#[inline]
#[target_feature(enable = "neon")]
pub(in super::super) fn widen(bytes: uint8x8_t) -> int16x8_t {
    let words;
    // SAFETY: changes a register only.
    unsafe {
        asm!(
            "uxtl {words:v}.8h, {bytes:v}.8b",
            words = lateout(vreg) words,
            bytes = in(vreg) bytes,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    words
}

/// Adds the products of the first four inputs of each row, or of all eight, with as many lanes as `V` vectors of
/// sums hold.
///
/// # Safety
/// There must be weights for each input and lane.
#[inline]
#[target_feature(enable = "neon")]
pub(super) unsafe fn add_inputs<const R: usize, const V: usize, const ALL: bool>(
    sums: &mut [[int32x4_t; V]; R],
    words: [int16x8_t; R],
    weights: *const i16,
) {
    macro_rules! add {
        ($($input:literal)*) => {
            $(
                for vector in (0..V).step_by(2) {
                    // SAFETY: the caller's promise.
                    let weights = unsafe { vld1q_s16(weights.add(($input * V + vector) * 4)) };
                    for (sums, words) in sums.iter_mut().zip(words) {
                        let [low, high] = [sums[vector], sums[vector + 1]];
                        sums[vector] = vmlal_laneq_s16::<$input>(low, vget_low_s16(weights), words);
                        sums[vector + 1] = vmlal_high_laneq_s16::<$input>(high, weights, words);
                    }
                }
            )*
        };
    }
    add!(0 1 2 3);
    if ALL {
        add!(4 5 6 7);
    }
}
