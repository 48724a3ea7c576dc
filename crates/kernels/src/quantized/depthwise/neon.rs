//! Depthwise products with Advanced SIMD: the bytes of a tap widened to words, multiplied by words of weights and
//! added to 32-bit sums.

use std::arch::aarch64::*;

use super::super::epilogue::Epilogue;
use super::super::gather::{ROOM, Tile};
use super::super::product::neon::widen;
use super::super::split::Target;
use super::channelwise::{Kernel, Operands};

/// Pixels that share the loads of weights.
const ROWS: usize = 4;
const WIDTH: usize = 8;

/// Sums of 4 pixels x 8 channels, weights as words.
pub(in super::super) struct Neon;

impl Kernel for Neon {
    type Weight = i16;
    const WIDTH: usize = WIDTH;
    const BUNDLE: usize = 1;

    fn channel(lane: usize, _packed: bool) -> usize {
        lane
    }

    unsafe fn tile<E: Epilogue>(
        tile: &Tile,
        operands: &Operands<i16>,
        epilogue: &E,
        target: &Target<E::Out>,
    ) {
        for (block, weights) in operands.weights.chunks_exact(WIDTH * tile.pointers.len()).enumerate() {
            let first = block * WIDTH;
            let channels = (operands.channels - first).min(WIDTH);
            let initial = &operands.initial[first..];
            for row in (0..tile.rows).step_by(ROWS) {
                // SAFETY: the caller's promise: `channels` bytes are readable from channel `first` on, and
                // only we write them. Slots beyond the tile's rows repeat the last.
                unsafe {
                    let sums = if channels == WIDTH {
                        sums::<WIDTH>(tile.pointers, row, first, channels, weights, initial)
                    } else {
                        sums::<0>(tile.pointers, row, first, channels, weights, initial)
                    };
                    for (row, sums) in (row..tile.rows).zip(sums) {
                        let out = target.at(tile.pixel + row, first, channels);
                        epilogue.eight(tile.samples[row], first, sums, channels, out);
                    }
                }
            }
        }
    }
}

/// The sums of four rows, from `row` on; of `COUNT` channels, or of `channels` where that is 0.
///
/// # Safety
/// So many (at most 8) bytes must be readable from channel `first` on at each pointer of the rows.
#[target_feature(enable = "neon")]
unsafe fn sums<const COUNT: usize>(
    pointers: &[[*const u8; ROOM]],
    row: usize,
    first: usize,
    channels: usize,
    weights: &[i16],
    initial: &[i32],
) -> [[int32x4_t; 2]; ROWS] {
    let count = if COUNT == 0 { channels } else { COUNT };
    let initial = initial[..WIDTH].as_ptr();
    // SAFETY: initial sums were just counted; there is a vector of weights for each tap.
    unsafe {
        let mut sums = [[vld1q_s32(initial), vld1q_s32(initial.add(4))]; ROWS];
        for (pointers, weights) in pointers.iter().zip(weights.chunks_exact(WIDTH)) {
            let weights = vld1q_s16(weights.as_ptr());
            for (sums, pointer) in sums.iter_mut().zip(&pointers[row..][..ROWS]) {
                let words = widen(load(pointer.add(first), count));
                sums[0] = vmlal_s16(sums[0], vget_low_s16(weights), vget_low_s16(words));
                sums[1] = vmlal_high_s16(sums[1], weights, words);
            }
        }
        sums
    }
}

/// Loads up to 8 bytes and nothing beyond them.
///
/// # Safety
/// `count` (at most 8) bytes must be readable.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn load(bytes: *const u8, count: usize) -> uint8x8_t {
    // SAFETY: the caller's promise; the buffer has room for 8.
    unsafe {
        if count == WIDTH {
            return vld1_u8(bytes);
        }
        let mut buffer = [0_u8; WIDTH];
        std::ptr::copy_nonoverlapping(bytes, buffer.as_mut_ptr(), count);
        vld1_u8(buffer.as_ptr())
    }
}
