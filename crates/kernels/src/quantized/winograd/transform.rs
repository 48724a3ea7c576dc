//! The arithmetic of minimal filtering along one side of a tile, in integers.
//!
//! Four points are 0, 1, -1 and infinity; six have 2 and -2 besides. The textbook's transforms of the
//! weights have fractions; here each point's weights are multiplied by 2, or by 6 or 24, to be without,
//! and what makes the points of one output alike is in the transform of the sums. Output `i` of a side
//! is left multiplied by 2, or by 24, 12, 6 and 6: by 3 and a power of two.
//!
//! Bounds, of both sides together: inputs (bytes) stay within 17,340 (68 * 255, points 1 and 1, whose
//! factors -4, -4, 1, 1 give 8 * 8 + 2 * 2 of one sign), weights within 49 * 127 (factors 1, 2, 4), so
//! both are words, and the sum of two products does not leave 32 bits.

/// Most points along one side of a tile.
pub(super) const MOST_POINTS: usize = 6;
/// Most outputs along one side.
pub(super) const MOST_OUTPUTS: usize = 4;

/// The inverse of 9 modulo 2^32.
pub(super) const NINTH: i32 = 954_437_177;

/// The power of two by which the sum of the output in this row and column is multiplied, in a tile with
/// `points` points along one side.
pub(super) const fn shift(points: usize, row: usize, column: usize) -> i32 {
    const SIX: [i32; MOST_OUTPUTS] = [3, 2, 1, 1];
    if points == 4 { 2 } else { SIX[row] + SIX[column] }
}

/// The factors of three weights along one side at each point.
const FACTORS_4: [[i16; 3]; MOST_POINTS] = [[2, 0, 0], [1, 1, 1], [1, -1, 1], [0, 0, 2], [0; 3], [0; 3]];
const FACTORS_6: [[i16; 3]; MOST_POINTS] =
    [[6, 0, 0], [-1, -1, -1], [-1, 1, -1], [1, 2, 4], [1, -2, 4], [0, 0, 6]];

/// Three weights along one side to their values at `N` points.
///
/// In loops, because what [`array::map`] calls is not compiled for the caller's instruction set.
#[inline(always)]
pub(super) fn weights<const N: usize, const L: usize>(g: &[[i16; L]; 3]) -> [[i16; L]; MOST_POINTS] {
    let factors = if N == 4 { &FACTORS_4 } else { &FACTORS_6 };
    let mut points = [[0; L]; MOST_POINTS];
    for (point, [a, b, c]) in points.iter_mut().zip(factors).take(N) {
        for (lane, value) in point.iter_mut().enumerate() {
            *value = a * g[0][lane] + b * g[1][lane] + c * g[2][lane];
        }
    }
    points
}
