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

/// Three weights along one side to their values at `N` points.
#[inline(always)]
pub(super) fn weights<const N: usize, const L: usize>(g: [[i16; L]; 3]) -> [[i16; L]; MOST_POINTS] {
    let combine = |[a, b, c]: [i16; 3]| -> [i16; L] {
        std::array::from_fn(|lane| a * g[0][lane] + b * g[1][lane] + c * g[2][lane])
    };
    if N == 4 {
        let factors = [[2, 0, 0], [1, 1, 1], [1, -1, 1], [0, 0, 2], [0; 3], [0; 3]];
        return factors.map(combine);
    }
    [[6, 0, 0], [-1, -1, -1], [-1, 1, -1], [1, 2, 4], [1, -2, 4], [0, 0, 6]].map(combine)
}
