//! Depthwise products with AVX2: the bytes of two taps interleaved and widened to words, whose
//! products in pairs (`vpmaddwd`) are exact.

use std::arch::x86_64::*;

use super::super::epilogue::Epilogue;
use super::super::gather::Tile;
use super::super::split::Target;
use super::channelwise::{Kernel, Operands};

pub(super) const WIDTH: usize = 16;
pub(super) const BUNDLE: usize = 2;

/// Sums of 16 channels, two taps at a time, weights as words.
pub(in super::super) struct Avx2;

impl Kernel for Avx2 {
    type Weight = i16;
    const WIDTH: usize = WIDTH;
    const BUNDLE: usize = BUNDLE;

    fn channel(lane: usize, _packed: bool) -> usize {
        lane
    }

    fn put(taps: &[&[i8]], out: &mut [i16]) {
        put_pairs(taps, out);
    }

    unsafe fn tile<E: Epilogue>(
        tile: &Tile,
        operands: &Operands<i16>,
        epilogue: &E,
        target: &Target<E::Out>,
    ) {
        // SAFETY: the caller's promise.
        unsafe { tile_of(tile, operands, epilogue, target) }
    }
}

/// Puts the weights of two taps side by side, lane by lane.
pub(super) fn put_pairs(taps: &[&[i8]], out: &mut [i16]) {
    let taps = [taps[0], taps[1]].map(|taps| taps.first_chunk().expect("a weight for each lane"));
    // SAFETY: weights are packed like this only for machines with AVX2.
    unsafe { put_words(taps, out.first_chunk_mut().expect("room for all weights")) };
}

/// # Safety
/// AVX2 must be there.
#[target_feature(enable = "avx2")]
unsafe fn put_words([first, second]: [&[i8; WIDTH]; BUNDLE], out: &mut [i16; WIDTH * BUNDLE]) {
    let places = out.as_mut_ptr().cast::<__m256i>();
    // SAFETY: the rows have the bytes of a vector each, the places those of two.
    unsafe {
        let [a, b] = [first, second].map(|row| _mm_loadu_si128(row.as_ptr().cast()));
        _mm256_storeu_si256(places, _mm256_cvtepi8_epi16(_mm_unpacklo_epi8(a, b)));
        _mm256_storeu_si256(places.add(1), _mm256_cvtepi8_epi16(_mm_unpackhi_epi8(a, b)));
    }
}

/// # Safety
/// As for [`Kernel::tile`].
#[target_feature(enable = "avx2")]
unsafe fn tile_of<E: Epilogue>(tile: &Tile, operands: &Operands<i16>, epilogue: &E, target: &Target<E::Out>) {
    let block_weights = WIDTH * tile.pointers.len();
    for (block, weights) in operands.weights.chunks_exact(block_weights).enumerate() {
        let first = block * WIDTH;
        let channels = (operands.channels - first).min(WIDTH);
        let initial = &operands.initial[first..][..WIDTH];
        for row in (0..tile.rows).step_by(2) {
            let (next, both) = ((row + 1).min(tile.rows - 1), row + 1 < tile.rows);
            // SAFETY: the caller's promise: `channels` bytes are readable from channel `first` on, and
            // only we write them.
            unsafe {
                let sums = [
                    sums(tile.pointers, row, first, channels, weights, initial),
                    sums(tile.pointers, next, first, channels, weights, initial),
                ];
                let out = [row, next].map(|row| target.at(tile.pixel + row, first, channels));
                epilogue.two([tile.samples[row], tile.samples[next]], first, sums, channels, out, both);
            }
        }
    }
}

/// # Safety
/// `channels` (at most 16) bytes must be readable from channel `first` on at each pointer of the
/// row.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn sums(
    pointers: &[[*const u8; super::super::gather::ROOM]],
    row: usize,
    first: usize,
    channels: usize,
    weights: &[i16],
    initial: &[i32],
) -> [__m256i; 2] {
    // SAFETY: callers give `WIDTH` initial sums, and weights for each bundle of taps.
    unsafe {
        let initial = initial.as_ptr().cast::<__m256i>();
        let mut sums = [_mm256_loadu_si256(initial), _mm256_loadu_si256(initial.add(1))];
        for (taps, weights) in pointers.chunks_exact(BUNDLE).zip(weights.chunks_exact(WIDTH * BUNDLE)) {
            let words = interleave([taps[0][row].add(first), taps[1][row].add(first)], channels);
            for (vector, (sum, words)) in sums.iter_mut().zip(words).enumerate() {
                let weights = _mm256_loadu_si256(weights.as_ptr().cast::<__m256i>().add(vector));
                *sum = _mm256_add_epi32(*sum, _mm256_madd_epi16(words, weights));
            }
        }
        sums
    }
}

/// The bytes of two taps side by side, channel by channel, as words: two vectors of 8 channels.
///
/// # Safety
/// AVX2 must be there, and `channels` (at most 16) bytes must be readable at both.
#[inline(always)]
pub(super) unsafe fn interleave(taps: [*const u8; BUNDLE], channels: usize) -> [__m256i; 2] {
    // SAFETY: the caller's promise.
    unsafe {
        let (a, b) = (load(taps[0], channels), load(taps[1], channels));
        [_mm256_cvtepu8_epi16(_mm_unpacklo_epi8(a, b)), _mm256_cvtepu8_epi16(_mm_unpackhi_epi8(a, b))]
    }
}

/// Loads up to 16 bytes and nothing beyond them.
///
/// # Safety
/// `count` (at most 16) bytes must be readable.
#[inline(always)]
unsafe fn load(bytes: *const u8, count: usize) -> __m128i {
    // SAFETY: the caller's promise; the buffer has room for 16.
    unsafe {
        match count {
            WIDTH => _mm_loadu_si128(bytes.cast()),
            8 => _mm_loadl_epi64(bytes.cast()),
            _ => {
                let mut buffer = [0_u8; WIDTH];
                std::ptr::copy_nonoverlapping(bytes, buffer.as_mut_ptr(), count);
                _mm_loadu_si128(buffer.as_ptr().cast())
            }
        }
    }
}
