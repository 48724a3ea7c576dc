//! Depthwise products with AVX-512 VNNI: a byte permute brings the bytes of four taps side by side,
//! channel by channel, for `vpdpbusd` to multiply and add.

use std::arch::x86_64::*;

use super::super::epilogue::{Epilogue, packed_channel};
use super::super::gather::{ROOM, Tile};
use super::super::split::Target;
use super::channelwise::{Kernel, Operands};

pub(super) const WIDTH: usize = 32;
pub(super) const BUNDLE: usize = 4;

/// Sums of 32 channels, four taps at a time.
pub(in super::super) struct Vnni;

impl Kernel for Vnni {
    type Weight = i8;
    const WIDTH: usize = WIDTH;
    const BUNDLE: usize = BUNDLE;

    fn channel(lane: usize, packed: bool) -> usize {
        place(lane, packed)
    }

    unsafe fn tile<E: Epilogue>(tile: &Tile, operands: &Operands<i8>, epilogue: &E, target: &Target<E::Out>) {
        // SAFETY: the caller's promise.
        unsafe { tile_of(tile, operands, epilogue, target) }
    }
}

/// The channel at a lane.
pub(super) const fn place(lane: usize, packed: bool) -> usize {
    lane / WIDTH * WIDTH + if packed { packed_channel(lane % WIDTH) } else { lane % WIDTH }
}

/// For each lane and tap of a bundle, where the byte stands in the four loads of 32 channels.
pub(super) const fn interleave(packed: bool) -> [[u8; 64]; 2] {
    let mut table = [[0; 64]; 2];
    let mut i = 0;
    while i < 128 {
        let (lane, tap) = (i / BUNDLE, i % BUNDLE);
        table[i / 64][i % 64] = (tap * WIDTH + place(lane, packed)) as u8;
        i += 1;
    }
    table
}

/// # Safety
/// As for [`Kernel::tile`].
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx512vbmi")]
unsafe fn tile_of<E: Epilogue>(tile: &Tile, operands: &Operands<i8>, epilogue: &E, target: &Target<E::Out>) {
    let table = &const { [interleave(false), interleave(true)] }[usize::from(E::PACKED)];
    // SAFETY: two vectors of 64 bytes.
    let table = unsafe {
        [_mm512_loadu_si512(table[0].as_ptr().cast()), _mm512_loadu_si512(table[1].as_ptr().cast())]
    };
    let block_weights = WIDTH * tile.pointers.len();
    for (block, weights) in operands.weights.chunks_exact(block_weights).enumerate() {
        let first = block * WIDTH;
        let channels = (operands.channels - first).min(WIDTH);
        let mask = u32::MAX >> (WIDTH - channels);
        let initial = operands.initial[first..][..WIDTH].as_ptr();
        // SAFETY: two vectors of initial sums were just counted; `mask` keeps loads to the channels
        // that the caller vouches for.
        unsafe {
            let initial = [_mm512_loadu_si512(initial.cast()), _mm512_loadu_si512(initial.add(16).cast())];
            for row in (0..tile.rows).step_by(2) {
                let (next, both) = ((row + 1).min(tile.rows - 1), row + 1 < tile.rows);
                let sums = [
                    sums(tile.pointers, row, first, mask, table, weights, initial),
                    sums(tile.pointers, next, first, mask, table, weights, initial),
                ];
                let out = [
                    target.at(tile.pixel + row, first, channels),
                    target.at(tile.pixel + next, first, channels),
                ];
                let samples = [tile.samples[row], tile.samples[next]];
                epilogue.pair(samples, first, sums, channels, out, both);
            }
        }
    }
}

/// # Safety
/// The bytes of `mask` must be readable from channel `first` on at each pointer of the row.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx512vbmi")]
unsafe fn sums(
    pointers: &[[*const u8; ROOM]],
    row: usize,
    first: usize,
    mask: u32,
    table: [__m512i; 2],
    weights: &[i8],
    mut sums: [__m512i; 2],
) -> [__m512i; 2] {
    // SAFETY: reads the bytes of `mask` as the caller promises, and two vectors of weights a bundle.
    unsafe {
        for (taps, weights) in pointers.chunks_exact(BUNDLE).zip(weights.chunks_exact(WIDTH * BUNDLE)) {
            let low = _mm512_castsi256_si512(_mm256_maskz_loadu_epi8(mask, taps[0][row].add(first).cast()));
            let low =
                _mm512_inserti64x4::<1>(low, _mm256_maskz_loadu_epi8(mask, taps[1][row].add(first).cast()));
            let high = _mm512_castsi256_si512(_mm256_maskz_loadu_epi8(mask, taps[2][row].add(first).cast()));
            let high =
                _mm512_inserti64x4::<1>(high, _mm256_maskz_loadu_epi8(mask, taps[3][row].add(first).cast()));
            for vector in 0..2 {
                let bytes = _mm512_permutex2var_epi8(low, table[vector], high);
                let weights = _mm512_loadu_si512(weights.as_ptr().add(64 * vector).cast());
                sums[vector] = _mm512_dpbusd_epi32(sums[vector], bytes, weights);
            }
        }
    }
    sums
}
