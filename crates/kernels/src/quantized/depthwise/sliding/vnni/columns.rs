//! The columns of the input that outputs see: rows by four, and their channels interleaved.

use std::arch::x86_64::*;

use super::super::super::vnni::{BUNDLE, WIDTH};

/// Where a block of channels stands, and how its columns are interleaved.
pub(super) struct Block {
    pub(super) first: usize,
    pub(super) channels: usize,
    mask: u32,
    order: [__m512i; 2],
}

impl Block {
    /// A block of `channels` (1 to 32) channels; `tables` tells where the bytes of a column come from.
    #[inline]
    #[target_feature(enable = "avx512f")]
    pub(super) fn new(first: usize, channels: usize, tables: &[[u8; 64]; 2]) -> Block {
        let mask = u32::MAX >> (WIDTH - channels);
        // SAFETY: a table is a vector.
        let order = tables.each_ref().map(|table| unsafe { _mm512_loadu_si512(table.as_ptr().cast()) });
        Block { first, channels, mask, order }
    }

    /// A quad of the column `offset` bytes from the start of each row: two vectors of 16 channels x 4
    /// rows.
    ///
    /// # Safety
    /// The block's channels must be readable there; `FULL` says that it has all of them.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx512vbmi")]
    pub(super) unsafe fn load<const FULL: bool>(
        &self,
        rows: [*const u8; BUNDLE],
        offset: usize,
    ) -> [__m512i; 2] {
        let [a, b, c, d] = rows.map(|row| row.wrapping_add(offset));
        // SAFETY: reads the block's channels, which the caller vouches for.
        unsafe {
            let low = _mm512_castsi256_si512(load_row::<FULL>(a, self.mask));
            let low = _mm512_inserti64x4::<1>(low, load_row::<FULL>(b, self.mask));
            let high = _mm512_castsi256_si512(load_row::<FULL>(c, self.mask));
            let high = _mm512_inserti64x4::<1>(high, load_row::<FULL>(d, self.mask));
            let [first, second] = self.order;
            [_mm512_permutex2var_epi8(low, first, high), _mm512_permutex2var_epi8(low, second, high)]
        }
    }
}

/// # Safety
/// The channels of the mask must be readable, or 32 if `FULL`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
unsafe fn load_row<const FULL: bool>(row: *const u8, mask: u32) -> __m256i {
    // SAFETY: the caller's promise.
    unsafe { if FULL { _mm256_loadu_si256(row.cast()) } else { _mm256_maskz_loadu_epi8(mask, row.cast()) } }
}
