//! The three transforms along one side of a tile, from the points at which polynomials are taken.
//!
//! Tiles of 2 outputs take the points 0, 1, -1 and infinity; tiles of 4 take 0, `A`, `-A`, `B`, `-B`
//! and infinity. Any points give the same convolution but for rounding. With 5/8 and 3/2 the error is
//! half of that with the usual 1 and 2 (measured on random numbers), and all constants are exact.

use crate::float::lanes::Lanes;

/// The smaller of the points for 4 outputs, and its square.
const A: f64 = 0.625;
const A2: f64 = A * A;
/// The larger.
const B: f64 = 1.5;
const B2: f64 = B * B;

/// Most products along one side of a tile.
pub(super) const MOST_POINTS: usize = 6;
/// Most outputs along one side.
pub(super) const MOST_OUTPUTS: usize = 4;

/// Repeats a block with each of some literal numbers: loops are not unrolled in functions so large.
macro_rules! repeat {
    ($i:ident in $($number:literal)*, $body:block) => {
        $({
            let $i: usize = $number;
            $body
        })*
    };
}
pub(super) use repeat;

/// `N` inputs to the values at `N` points: the polynomial at each point times the product of its
/// differences to the other points, which [`weights`] divides by.
///
/// # Safety
/// The processor has the instruction set of `L`.
#[inline(always)]
pub(super) unsafe fn inputs<L: Lanes, const N: usize>(d: [L; MOST_POINTS]) -> [L; MOST_POINTS] {
    // SAFETY: of every operation: the caller's promise.
    unsafe {
        if N == 4 {
            return [d[0].sub(d[2]), d[1].add(d[2]), d[2].sub(d[1]), d[1].sub(d[3]), L::zero(), L::zero()];
        }
        let constant = |value: f64| L::splat(value as f32);
        let (sum, product) = (constant(-(A2 + B2)), constant(A2 * B2));
        let [a2, b2] = [constant(-A2), constant(-B2)];
        let [even_a, odd_a] = [d[4].add_product(d[2], b2), d[3].add_product(d[1], b2)];
        let [even_b, odd_b] = [d[4].add_product(d[2], a2), d[3].add_product(d[1], a2)];
        [
            d[4].add_product(d[2], sum).add_product(d[0], product),
            even_a.add_product(odd_a, constant(A)),
            even_a.add_product(odd_a, constant(-A)),
            even_b.add_product(odd_b, constant(B)),
            even_b.add_product(odd_b, constant(-B)),
            d[5].add_product(d[3], sum).add_product(d[1], product),
        ]
    }
}

/// The products at `N` points to `N - 2` outputs.
///
/// # Safety
/// The processor has the instruction set of `L`.
#[inline(always)]
pub(super) unsafe fn outputs<L: Lanes, const N: usize>(m: [L; MOST_POINTS]) -> [L; MOST_OUTPUTS] {
    // SAFETY: of every operation: the caller's promise.
    unsafe {
        let [sum, difference] = [m[1].add(m[2]), m[1].sub(m[2])];
        if N == 4 {
            return [m[0].add(sum), difference.sub(m[3]), L::zero(), L::zero()];
        }
        let constant = |value: f64| L::splat(value as f32);
        let [sum_b, difference_b] = [m[3].add(m[4]), m[3].sub(m[4])];
        [
            m[0].add(sum).add(sum_b),
            difference.mul(constant(A)).add_product(difference_b, constant(B)),
            sum.mul(constant(A2)).add_product(sum_b, constant(B2)),
            m[5].add_product(difference, constant(A2 * A)).add_product(difference_b, constant(B2 * B)),
        ]
    }
}

/// Weights that are transformed side by side.
pub(super) const SIDE_BY_SIDE: usize = 4;
/// Some weights, in double precision: so that only their last rounding counts.
pub(super) type Weights = [f64; SIDE_BY_SIDE];

/// Three weights along one side to their values at `N` points.
#[inline(always)]
pub(super) fn weights<const N: usize>(g: [Weights; 3]) -> [Weights; MOST_POINTS] {
    const NONE: Weights = [0.0; SIDE_BY_SIDE];
    if N == 4 {
        let [plus, minus] = [at(&g, 1.0, 0.5), at(&g, -1.0, 0.5)];
        return [g[0], plus, minus, g[2], NONE, NONE];
    }
    let [share_a, share_b] = [0.5 / (A2 * (A2 - B2)), 0.5 / (B2 * (B2 - A2))];
    [
        g[0].map(|g0| g0 * (1.0 / (A2 * B2))),
        at(&g, A, share_a),
        at(&g, -A, share_a),
        at(&g, B, share_b),
        at(&g, -B, share_b),
        g[2],
    ]
}

/// A share of the value of the polynomials at a point.
#[inline(always)]
fn at(g: &[Weights; 3], point: f64, share: f64) -> Weights {
    std::array::from_fn(|i| share * (g[0][i] + point * point * g[2][i] + point * g[1][i]))
}
