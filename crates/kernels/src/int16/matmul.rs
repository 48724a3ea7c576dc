//! Batched products of two tensors of 16-bit activations.

use std::borrow::Cow;

use super::requantize::{Requantize, Requantizer};
use crate::float::MatMul;
use crate::float::matmul::Batch;
use crate::multiversion::multiversion;
use crate::quantized::lane::Lane;
use crate::{Isa, ThreadPool};

/// An operand of a product: matrices of words with leading dimensions that broadcast.
#[derive(Clone, Copy, Debug)]
pub struct Matrices<'a> {
    /// The elements.
    pub data: &'a [i16],
    /// The leading dimensions.
    pub batch: &'a [usize],
}

/// Longest rows of `a`: sums of that many products are exact in double precision.
const LONGEST: usize = 1 << 22;

/// `output = requantize(a * b)` for every matrix of a batch: `[batch..., rows, columns]`.
///
/// Leading dimensions broadcast as in [`crate::float::matmul`]. Sums are exact; `requantize` has one
/// scale, `scale of a * scale of b / scale of the output`, and the rule
/// [`Rule::Reduced`](super::Rule::Reduced) makes results equal to LiteRT's.
///
/// # Panics
/// When leading dimensions do not broadcast, a slice has another length than its dimensions say, the
/// depth is above 2^22, or `requantize` has several scales.
pub fn matmul(
    isa: Isa,
    pool: &ThreadPool,
    matrices: MatMul,
    a: Matrices<'_>,
    b: Matrices<'_>,
    requantize: &Requantize,
    output: &mut [i16],
) {
    let MatMul { depth, columns, .. } = matrices;
    let batch = Batch::new(matrices, a.batch, b.batch, [a.data.len(), b.data.len(), output.len()]);
    assert!(depth <= LONGEST, "rows of {depth} are too long");
    requantize.check(1);
    if output.is_empty() {
        return;
    }
    // Doubles are what every instruction set multiplies and adds exactly up to 2^53.
    let reals = |words: &[i16]| -> Vec<f64> { words.iter().map(|&x| f64::from(x)).collect() };
    let a_rows = batch.arranged_a(pool, Cow::Owned(reals(a.data)));
    let b_rows = batch.arranged_b(pool, Cow::Owned(reals(b.data)));
    let requantizer = Requantizer::new(requantize, &vec![Lane::new(0, 1); columns]);
    let least = (1 << 16) / (depth * columns).max(1) + 1;
    batch.by_rows(pool, (&a_rows, &b_rows), least, output, |a, b, sums: &mut [f64], out| {
        multiply(isa, a, b, sums);
        let sums: Vec<i64> = sums.iter().map(|&sum| sum as i64).collect();
        requantizer.row(0, &sums, out);
    });
}

multiversion! {
    /// A row times a matrix of as many columns as there are sums.
    fn multiply(row: &[f64], matrix: &[f64], sums: &mut [f64]) {
        sums.fill(0.0);
        for (&x, line) in row.iter().zip(matrix.chunks_exact(sums.len())) {
            for (sum, y) in sums.iter_mut().zip(line) {
                *sum += x * y;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Rule;
    use super::*;
    use crate::reference::int16::requantized;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

        #[test]
        fn products_are_those_of_plain_loops(
            (rows, depth, columns) in (1usize..7, 0usize..40, 1usize..20),
            (adjoint_a, adjoint_b) in any::<(bool, bool)>(),
            seed in any::<u16>(),
        ) {
            let words = |count: usize, step: u16| -> Vec<i16> {
                (0..count).map(|i| (i as u16).wrapping_mul(step).wrapping_add(seed) as i16).collect()
            };
            // Two matrices of `a` for one of `b`.
            let (a, b) = (words(2 * rows * depth, 15_731), words(depth * columns, 40_503));
            let requantize = Requantize { scale: vec![7e-6], rule: Rule::Reduced, min: -30_000, max: i16::MAX };
            let mut expected = Vec::new();
            for (matrix, row, column) in
                (0..2).flat_map(|m| (0..rows).flat_map(move |r| (0..columns).map(move |c| (m, r, c))))
            {
                let product = |k: usize| {
                    let x = if adjoint_a { k * rows + row } else { row * depth + k };
                    let y = if adjoint_b { column * depth + k } else { k * columns + column };
                    i128::from(a[matrix * rows * depth + x]) * i128::from(b[y])
                };
                expected.push(requantized((0..depth).map(product).sum(), 7e-6, &requantize));
            }
            let matrices = MatMul { rows, depth, columns, adjoint_a, adjoint_b };
            for isa in Isa::available_levels() {
                let mut output = vec![0; expected.len()];
                let a = Matrices { data: &a, batch: &[2] };
                let b = Matrices { data: &b, batch: &[1] };
                matmul(isa, &ThreadPool::new(2), matrices, a, b, &requantize, &mut output);
                prop_assert_eq!(&output, &expected);
            }
        }
    }
}
