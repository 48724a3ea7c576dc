//! Rows of bytes brought into the order of dot products: four inputs of one row, then of the next.

use std::arch::x86_64::*;

/// Rows and steps of one square.
pub(super) const SIDE: usize = 16;

/// The same of AVX2.
pub(super) const SHORT: usize = 8;

/// Inputs of a step.
const INPUTS: usize = 4;

/// Writes [`SIDE`] steps of [`SIDE`] rows: to `out[pitch * step + 4 * row ..]` the bytes `4 * step ..` of
/// each row.
///
/// # Panics
/// If a row has fewer than 64 bytes, or `out` ends before the last step's.
///
/// # Safety
/// AVX-512 F must be there.
#[target_feature(enable = "avx512f")]
pub(super) unsafe fn square(rows: &[&[i8]; SIDE], out: &mut [i8], pitch: usize) {
    assert!(rows.iter().all(|row| row.len() >= SIDE * INPUTS) && pitch >= SIDE * INPUTS);
    assert!(out.len() >= (SIDE - 1) * pitch + SIDE * INPUTS);
    // SAFETY: 64 bytes of each row can be read, and 64 written at each step, as was just checked.
    unsafe {
        let row = |index: usize| _mm512_loadu_si512(rows[index].as_ptr().cast());
        // A transposition of 16 x 16 numbers by halves: of neighbours, of pairs, and twice of quarters.
        let mut fours = [_mm512_setzero_si512(); SIDE];
        for group in 0..4 {
            let [a, b, c, d] = [0, 1, 2, 3].map(|index| row(4 * group + index));
            let [low, high] = [_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b)];
            let [next_low, next_high] = [_mm512_unpacklo_epi32(c, d), _mm512_unpackhi_epi32(c, d)];
            fours[group] = _mm512_unpacklo_epi64(low, next_low);
            fours[4 + group] = _mm512_unpackhi_epi64(low, next_low);
            fours[8 + group] = _mm512_unpacklo_epi64(high, next_high);
            fours[12 + group] = _mm512_unpackhi_epi64(high, next_high);
        }
        for step in 0..4 {
            let [a, b, c, d] = [0, 1, 2, 3].map(|group| fours[4 * step + group]);
            let [ab_even, ab_odd] = [_mm512_shuffle_i32x4::<0x88>(a, b), _mm512_shuffle_i32x4::<0xdd>(a, b)];
            let [cd_even, cd_odd] = [_mm512_shuffle_i32x4::<0x88>(c, d), _mm512_shuffle_i32x4::<0xdd>(c, d)];
            let quarters = [
                _mm512_shuffle_i32x4::<0x88>(ab_even, cd_even),
                _mm512_shuffle_i32x4::<0x88>(ab_odd, cd_odd),
                _mm512_shuffle_i32x4::<0xdd>(ab_even, cd_even),
                _mm512_shuffle_i32x4::<0xdd>(ab_odd, cd_odd),
            ];
            for (quarter, vector) in quarters.into_iter().enumerate() {
                _mm512_storeu_si512(out[(4 * quarter + step) * pitch..].as_mut_ptr().cast(), vector);
            }
        }
    }
}

/// How many squares of [`SHORT`] steps all rows fill.
pub(super) fn short_squares(rows: &[&[i8]]) -> usize {
    rows.iter().map(|row| row.len()).min().unwrap_or(0) / (SHORT * INPUTS)
}

/// [`SHORT`] steps of [`SHORT`] rows: vector `step` has the bytes `4 * step ..` of each row.
///
/// # Panics
/// If a row has fewer than 32 bytes.
///
/// # Safety
/// AVX2 must be there.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) unsafe fn short_square(rows: &[&[i8]; SHORT]) -> [__m256i; SHORT] {
    assert!(rows.iter().all(|row| row.len() >= SHORT * INPUTS));
    // SAFETY: 32 bytes of each row can be read, as was just checked.
    let rows: [__m256i; SHORT] =
        std::array::from_fn(|row| unsafe { _mm256_loadu_si256(rows[row].as_ptr().cast()) });
    // Steps 0 to 3 of four rows in the first half of a vector, 4 to 7 in the second.
    let fours = [0, 4].map(|first| {
        let [a, b, c, d] = [0, 1, 2, 3].map(|row| rows[first + row]);
        let [low, high] = [_mm256_unpacklo_epi32(a, b), _mm256_unpackhi_epi32(a, b)];
        let [next_low, next_high] = [_mm256_unpacklo_epi32(c, d), _mm256_unpackhi_epi32(c, d)];
        [
            _mm256_unpacklo_epi64(low, next_low),
            _mm256_unpackhi_epi64(low, next_low),
            _mm256_unpacklo_epi64(high, next_high),
            _mm256_unpackhi_epi64(high, next_high),
        ]
    });
    std::array::from_fn(|step| match (step < 4, fours[0][step % 4], fours[1][step % 4]) {
        (true, first, second) => _mm256_permute2x128_si256::<0x20>(first, second),
        (false, first, second) => _mm256_permute2x128_si256::<0x31>(first, second),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Isa;

    #[test]
    fn a_square_is_what_plain_loops_make_of_it() {
        if !Isa::Avx512.available() {
            return;
        }
        let bytes: Vec<i8> = (0..SIDE * 70).map(|i| (i * 37 % 251) as i8).collect();
        let rows: [&[i8]; SIDE] = std::array::from_fn(|row| &bytes[row * 70..][..64]);
        let pitch = 128;
        let mut out = vec![0; (SIDE - 1) * pitch + 64];
        // SAFETY: the machine has AVX-512 F.
        unsafe { square(&rows, &mut out, pitch) };
        for step in 0..SIDE {
            for (row, bytes) in rows.iter().enumerate() {
                let expected = &bytes[INPUTS * step..][..INPUTS];
                assert_eq!(&out[step * pitch + INPUTS * row..][..INPUTS], expected, "{step} {row}");
            }
        }
    }

    #[test]
    fn a_short_square_is_what_plain_loops_make_of_it() {
        if !Isa::Avx2.available() {
            return;
        }
        let bytes: Vec<i8> = (0..SHORT * 40).map(|i| (i * 37 % 251) as i8).collect();
        let rows: [&[i8]; SHORT] = std::array::from_fn(|row| &bytes[row * 40..][..39]);
        assert_eq!(short_squares(&rows), 1);
        // SAFETY: the machine has AVX2.
        let steps = unsafe { short_square(&rows) };
        for (step, vector) in steps.into_iter().enumerate() {
            let mut out = [0_i8; SHORT * INPUTS];
            // SAFETY: `out` has the 32 bytes of a vector.
            unsafe { _mm256_storeu_si256(out.as_mut_ptr().cast(), vector) };
            for (row, bytes) in rows.iter().enumerate() {
                assert_eq!(&out[INPUTS * row..][..INPUTS], &bytes[INPUTS * step..][..INPUTS], "{step} {row}");
            }
        }
    }
}
