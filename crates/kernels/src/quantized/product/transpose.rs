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

/// Inputs of [`SHORT`] steps of a row.
pub(super) type ShortRow = [i8; SHORT * INPUTS];

/// Squares of [`SHORT`] steps behind one another: the inputs of as many rows, all as long.
pub(super) type Strip<'a> = [&'a [ShortRow]; SHORT];

/// Calls `put` for the strips of these rows: with their first input, the place of their rows among the strips from that
/// input on, and the strip. Rows that end within a square have zeros behind them.
pub(super) fn each_strip(rows: &[&[i8]], mut put: impl FnMut(usize, usize, Strip<'_>)) {
    for (place, rows) in rows.as_chunks::<SHORT>().0.iter().enumerate() {
        let squares = rows.map(|row| row.as_chunks().0);
        let whole = squares.iter().map(|squares| squares.len()).min().unwrap_or(0);
        if whole > 0 {
            put(0, place, squares.map(|squares| &squares[..whole]));
        }
        let longest = rows.iter().map(|row| row.len()).max().unwrap_or(0);
        for from in (whole * SHORT * INPUTS..longest).step_by(SHORT * INPUTS) {
            put(from, place, ends_of_rows(rows, from).each_ref().map(std::slice::from_ref));
        }
    }
}

/// Calls `put` with the number and the rows of each square of a strip. In loops: see [`short_square`].
#[inline(always)]
pub(super) fn each_short_square(mut strip: Strip<'_>, mut put: impl FnMut(usize, [&ShortRow; SHORT])) {
    let count = strip[0].len();
    for row in &mut strip {
        // Said again, so that no row has to be asked whether it is so long.
        *row = &row[..count];
    }
    for square in 0..count {
        let mut rows = [&strip[0][square]; SHORT];
        for (row, whole) in rows.iter_mut().zip(strip) {
            *row = &whole[square];
        }
        put(square, rows);
    }
}

/// The last bytes of rows, from `from` on, and zeros behind them.
fn ends_of_rows(rows: &[&[i8]], from: usize) -> [ShortRow; SHORT] {
    let mut ends = [[0; SHORT * INPUTS]; SHORT];
    for (end, row) in ends.iter_mut().zip(rows) {
        let left = row.get(from..).unwrap_or(&[]);
        let count = left.len().min(end.len());
        end[..count].copy_from_slice(&left[..count]);
    }
    ends
}

/// [`SHORT`] steps of [`SHORT`] rows: vector `step` has the bytes `4 * step ..` of each row.
///
/// In loops, because what [`std::array::from_fn`] calls is not compiled for AVX2.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn short_square(rows: [&ShortRow; SHORT]) -> [__m256i; SHORT] {
    let mut vectors = [_mm256_setzero_si256(); SHORT];
    for (vector, row) in vectors.iter_mut().zip(rows) {
        // SAFETY: a row has the 32 bytes of a vector.
        *vector = unsafe { _mm256_loadu_si256(row.as_ptr().cast()) };
    }
    // Steps 0 to 3 of four rows in the first half of a vector, 4 to 7 in the second.
    let mut fours = [[_mm256_setzero_si256(); 4]; 2];
    for (four, rows) in fours.iter_mut().zip(vectors.as_chunks::<4>().0) {
        let [low, high] = [_mm256_unpacklo_epi32(rows[0], rows[1]), _mm256_unpackhi_epi32(rows[0], rows[1])];
        let [next_low, next_high] =
            [_mm256_unpacklo_epi32(rows[2], rows[3]), _mm256_unpackhi_epi32(rows[2], rows[3])];
        *four = [
            _mm256_unpacklo_epi64(low, next_low),
            _mm256_unpackhi_epi64(low, next_low),
            _mm256_unpacklo_epi64(high, next_high),
            _mm256_unpackhi_epi64(high, next_high),
        ];
    }
    for step in 0..4 {
        let [first, second] = [fours[0][step], fours[1][step]];
        vectors[step] = _mm256_permute2x128_si256::<0x20>(first, second);
        vectors[4 + step] = _mm256_permute2x128_si256::<0x31>(first, second);
    }
    vectors
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
    fn short_squares_are_what_plain_loops_make_of_them() {
        if !Isa::Avx2.available() {
            return;
        }
        let bytes: Vec<i8> = (0..2 * SHORT * 70).map(|i| (i * 37 % 251) as i8).collect();
        // Rows of a panel: all as long, some without a channel.
        let rows: [&[i8]; 2 * SHORT] =
            std::array::from_fn(|row| if row < 11 { &bytes[row * 70..][..69] } else { &[] });
        let mut squares = 0;
        each_strip(&rows, |first, place, strip| {
            each_short_square(strip, |square, square_rows| {
                squares += 1;
                // SAFETY: the machine has AVX2.
                let steps = unsafe { short_square(square_rows) };
                let from = first + square * SHORT * INPUTS;
                for (step, vector) in steps.into_iter().enumerate() {
                    let mut out = [0_i8; SHORT * INPUTS];
                    // SAFETY: `out` has the 32 bytes of a vector.
                    unsafe { _mm256_storeu_si256(out.as_mut_ptr().cast(), vector) };
                    for (index, got) in out.into_iter().enumerate() {
                        let (row, input) = (SHORT * place + index / INPUTS, INPUTS * step + index % INPUTS);
                        let expected = rows[row].get(from + input).copied();
                        assert_eq!(got, expected.unwrap_or(0), "{from} {row} {input}");
                    }
                }
            });
        });
        assert_eq!(squares, 6);
    }
}
