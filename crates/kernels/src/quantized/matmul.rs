//! Batched products of two tensors of 8-bit activations, both with zero points.

use std::borrow::Cow;

use super::requantize::Requantize;
use crate::ThreadPool;
use crate::float::MatMul;
use crate::float::matmul::Batch;

/// An operand of a product: matrices of bytes with leading dimensions that broadcast.
#[derive(Clone, Copy, Debug)]
pub struct Matrices<'a> {
    /// The elements.
    pub data: &'a [u8],
    /// The leading dimensions.
    pub batch: &'a [usize],
    /// The byte that stands for zero.
    pub zero_point: u8,
}

/// `output = requantize(a * b)` for every matrix of a batch: `[batch..., rows, columns]`.
///
/// Leading dimensions broadcast as in [`crate::float::matmul`]. Sums are exact 32-bit integers that
/// wrap around; `requantize` has one scale, `(scale of a * scale of b) / scale of the output`.
///
/// # Panics
/// When leading dimensions do not broadcast, a slice has another length than its dimensions say, or
/// `requantize` has several scales.
pub fn matmul(
    pool: &ThreadPool,
    matrices: MatMul,
    a: Matrices<'_>,
    b: Matrices<'_>,
    requantize: &Requantize,
    output: &mut [u8],
) {
    let batch = Batch::new(matrices, a.batch, b.batch, [a.data.len(), b.data.len(), output.len()]);
    requantize.check(1);
    if output.is_empty() {
        return;
    }
    let a_rows = batch.arranged_a(pool, Cow::Borrowed(a.data));
    let b_rows = batch.arranged_b(pool, Cow::Borrowed(b.data));
    let (zero_a, zero_b) = (i32::from(a.zero_point), i32::from(b.zero_point));
    batch.by_rows(pool, (&a_rows, &b_rows), 8, output, |a, b, sums: &mut [i32], out| {
        multiply(a, b, [zero_a, zero_b], sums);
        for (out, sum) in out.iter_mut().zip(sums) {
            *out = requantized(*sum, requantize);
        }
    });
}

/// A row times a matrix of as many columns as there are sums.
fn multiply(row: &[u8], matrix: &[u8], [zero_a, zero_b]: [i32; 2], sums: &mut [i32]) {
    sums.fill(0);
    for (x, line) in row.iter().zip(matrix.chunks_exact(sums.len())) {
        let x = i32::from(*x) - zero_a;
        for (sum, y) in sums.iter_mut().zip(line) {
            *sum = sum.wrapping_add(x * (i32::from(*y) - zero_b));
        }
    }
}

fn requantized(sum: i32, requantize: &Requantize) -> u8 {
    // A cast to i32 saturates, so the sum with the zero point is taken in 64 bits.
    let rounded = (sum as f32 * requantize.scale[0]).round_ties_even() as i64;
    let shifted = rounded + i64::from(requantize.zero_point);
    shifted.clamp(i64::from(requantize.min), i64::from(requantize.max)) as u8
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

        #[test]
        fn products_are_those_of_plain_loops(
            (rows, depth, columns) in (1usize..7, 0usize..9, 1usize..20),
            (adjoint_a, adjoint_b) in any::<(bool, bool)>(),
            (zero_a, zero_b) in any::<(u8, u8)>(),
            seed in any::<u8>(),
        ) {
            let bytes = |count: usize, step: u8| -> Vec<u8> {
                (0..count).map(|i| (i as u8).wrapping_mul(step).wrapping_add(seed)).collect()
            };
            // Two matrices of `a` for one of `b`.
            let (a, b) = (bytes(2 * rows * depth, 37), bytes(depth * columns, 91));
            let requantize = Requantize { scale: vec![0.004], zero_point: 100, min: 3, max: 250 };
            let mut expected = Vec::new();
            for (matrix, row, column) in
                (0..2).flat_map(|m| (0..rows).flat_map(move |r| (0..columns).map(move |c| (m, r, c))))
            {
                let sum: i32 = (0..depth)
                    .map(|k| {
                        let x = if adjoint_a { k * rows + row } else { row * depth + k };
                        let y = if adjoint_b { column * depth + k } else { k * columns + column };
                        let x = i32::from(a[matrix * rows * depth + x]) - i32::from(zero_a);
                        x * (i32::from(b[y]) - i32::from(zero_b))
                    })
                    .sum();
                let real = (sum as f32 * 0.004).round_ties_even() as i32 + 100;
                expected.push(real.clamp(3, 250) as u8);
            }
            for threads in [1, 2] {
                let mut output = vec![0; expected.len()];
                let matrices = MatMul { rows, depth, columns, adjoint_a, adjoint_b };
                let a = Matrices { data: &a, batch: &[2], zero_point: zero_a };
                let b = Matrices { data: &b, batch: &[1], zero_point: zero_b };
                matmul(&ThreadPool::new(threads), matrices, a, b, &requantize, &mut output);
                prop_assert_eq!(&output, &expected);
            }
        }
    }
}
