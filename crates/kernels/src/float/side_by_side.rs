//! Rows of numbers brought side by side, as registers take them.

use crate::Isa;

/// Steps that stay in the first-level cache while all rows are put into them.
const TOGETHER: usize = 64;

/// Rows and steps of one square.
const SIDE: usize = 8;

/// Writes `rows` rows of `steps` numbers side by side: `out[step * pitch + index] = row(index)[step]`.
///
/// # Panics
/// If a row has fewer steps, or `out` ends before the last step's last row.
pub(super) fn side_by_side<'a>(
    isa: Isa,
    [rows, steps]: [usize; 2],
    row: impl Fn(usize) -> &'a [f32],
    out: &mut [f32],
    pitch: usize,
) {
    for start in (0..steps).step_by(TOGETHER) {
        let count = TOGETHER.min(steps - start);
        let out = &mut out[start * pitch..];
        for first in (0..rows).step_by(SIDE) {
            let own = SIDE.min(rows - first);
            let from: [&[f32]; SIDE] =
                std::array::from_fn(|index| &row(first + index.min(own - 1))[start..start + count]);
            let done = if own == SIDE { squares(isa, &from, &mut out[first..], pitch) } else { 0 };
            for (index, row) in from[..own].iter().enumerate() {
                for (step, number) in row.iter().enumerate().skip(done) {
                    out[step * pitch + first + index] = *number;
                }
            }
        }
    }
}

/// Brings [`SIDE`] rows of equal length side by side in squares, and returns how many steps fit those.
fn squares(isa: Isa, rows: &[&[f32]; SIDE], out: &mut [f32], pitch: usize) -> usize {
    #[cfg(target_arch = "x86_64")]
    if isa >= Isa::Avx2 && Isa::Avx2.available() {
        let steps = rows[0].len() / SIDE * SIDE;
        for start in (0..steps).step_by(SIDE) {
            // SAFETY: the machine has AVX2, as was just asked.
            unsafe { square(&rows.map(|row| &row[start..]), &mut out[start * pitch..], pitch) };
        }
        return steps;
    }
    let _ = (isa, rows, out, pitch);
    0
}

/// Writes [`SIDE`] steps of [`SIDE`] rows.
///
/// # Panics
/// If a row has fewer steps, or `out` ends before the last.
///
/// # Safety
/// AVX2 must be there.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
unsafe fn square(rows: &[&[f32]; SIDE], out: &mut [f32], pitch: usize) {
    use std::arch::x86_64::*;
    assert!(rows.iter().all(|row| row.len() >= SIDE) && out.len() >= (SIDE - 1) * pitch + SIDE);
    // SAFETY: each row has eight numbers, and there is room for eight at each step, as just checked.
    unsafe {
        for half in 0..2 {
            // Macros, not closures, some of which would not be compiled for these instructions. The halves
            // of rows `i` and `i + 4` come together, so that what follows never leaves the halves of a
            // register.
            macro_rules! halves {
                ($row:literal) => {
                    _mm256_set_m128(
                        _mm_loadu_ps(rows[$row + 4].as_ptr().add(4 * half)),
                        _mm_loadu_ps(rows[$row].as_ptr().add(4 * half)),
                    )
                };
            }
            macro_rules! pairs {
                ($unpack:ident, $a:ident, $b:ident) => {
                    _mm256_castps_pd($unpack($a, $b))
                };
            }
            let (a, b, c, d) = (halves!(0), halves!(1), halves!(2), halves!(3));
            let ab_low = pairs!(_mm256_unpacklo_ps, a, b);
            let ab_high = pairs!(_mm256_unpackhi_ps, a, b);
            let cd_low = pairs!(_mm256_unpacklo_ps, c, d);
            let cd_high = pairs!(_mm256_unpackhi_ps, c, d);
            let steps = [
                _mm256_unpacklo_pd(ab_low, cd_low),
                _mm256_unpackhi_pd(ab_low, cd_low),
                _mm256_unpacklo_pd(ab_high, cd_high),
                _mm256_unpackhi_pd(ab_high, cd_high),
            ];
            for (step, numbers) in steps.into_iter().enumerate() {
                let to = out.as_mut_ptr().add((4 * half + step) * pitch);
                _mm256_storeu_ps(to, _mm256_castpd_ps(numbers));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_where_plain_loops_put_them() {
        for (rows, steps, pitch) in
            [(8, 8, 8), (16, 70, 16), (24, 130, 40), (5, 9, 16), (13, 64, 13), (1, 1, 1)]
        {
            let numbers: Vec<f32> = (0..rows * steps).map(|i| i as f32 + 1.0).collect();
            let mut expected = vec![0.0; steps * pitch];
            for (i, number) in numbers.iter().enumerate() {
                expected[i % steps * pitch + i / steps] = *number;
            }
            for isa in Isa::available_levels() {
                let mut out = vec![0.0; steps * pitch];
                let row = |index: usize| &numbers[index * steps..][..steps];
                side_by_side(isa, [rows, steps], row, &mut out, pitch);
                assert_eq!(out, expected, "{isa} {rows} {steps} {pitch}");
            }
        }
    }
}
