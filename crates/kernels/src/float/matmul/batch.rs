//! Batches of matrix products, of whatever the elements are: which matrices meet, and in which order
//! their elements stand.

use std::borrow::Cow;

use super::MatMul;
use crate::ThreadPool;
use crate::float::volume;

/// Two operands of matrices with leading dimensions that broadcast.
pub(crate) struct Batch<'a> {
    matrices: MatMul,
    /// The leading dimensions of the output.
    output: Vec<usize>,
    a: &'a [usize],
    b: &'a [usize],
}

impl<'a> Batch<'a> {
    /// A batch of `matrices` with leading dimensions `a` and `b`. `lengths` are those of both operands
    /// and of the output.
    ///
    /// # Panics
    /// When the leading dimensions do not broadcast, or a length does not fit.
    pub(crate) fn new(matrices: MatMul, a: &'a [usize], b: &'a [usize], lengths: [usize; 3]) -> Batch<'a> {
        let MatMul { rows, depth, columns, .. } = matrices;
        let output = broadcast(a, b);
        let length = |batch: &[usize], matrix: [usize; 2]| volume(&[batch, &matrix].concat());
        assert_eq!(lengths[0], length(a, [rows, depth]), "length of a");
        assert_eq!(lengths[1], length(b, [depth, columns]), "length of b");
        assert_eq!(lengths[2], length(&output, [rows, columns]), "length of the output");
        Batch { matrices, output, a, b }
    }

    /// Number of products.
    pub(crate) fn count(&self) -> usize {
        volume(&self.output)
    }

    /// Which matrix of `a` product `index` reads.
    pub(crate) fn source_a(&self, index: usize) -> usize {
        source(index, &self.output, self.a)
    }

    /// Which matrix of `b` product `index` reads.
    pub(crate) fn source_b(&self, index: usize) -> usize {
        source(index, &self.output, self.b)
    }

    /// The matrices of `a` as `[rows, depth]`, of at least one row.
    pub(crate) fn arranged_a<'e, T: Element>(&self, pool: &ThreadPool, a: Cow<'e, [T]>) -> Cow<'e, [T]> {
        let MatMul { rows, depth, adjoint_a, .. } = self.matrices;
        if adjoint_a && depth > 0 { transpose(pool, &a, depth, rows).into() } else { a }
    }

    /// The matrices of `b` as `[depth, columns]`, of at least one column.
    pub(crate) fn arranged_b<'e, T: Element>(&self, pool: &ThreadPool, b: Cow<'e, [T]>) -> Cow<'e, [T]> {
        let MatMul { depth, columns, adjoint_b, .. } = self.matrices;
        if adjoint_b && depth > 0 { transpose(pool, &b, columns, depth).into() } else { b }
    }

    /// Calls `multiply` for each row of the output: with the row of `a` and the matrix of `b` that
    /// meet in it, room for one sum for each column, and the row. A task has at least `least` rows.
    pub(crate) fn by_rows<T: Element, S: Copy + Default, O: Send>(
        &self,
        pool: &ThreadPool,
        (a, b): (&[T], &[T]),
        least: usize,
        output: &mut [O],
        multiply: impl Fn(&[T], &[T], &mut [S], &mut [O]) + Sync,
    ) {
        let MatMul { rows, depth, columns, .. } = self.matrices;
        let per_task = pool.rows_per_task(output.len() / columns, least);
        pool.run_rows(output, columns, per_task, |first, lines| {
            let mut sums = vec![S::default(); columns];
            for (line, out) in lines.chunks_exact_mut(columns).enumerate() {
                let (matrix, row) = ((first + line) / rows, (first + line) % rows);
                let a = &a[(self.source_a(matrix) * rows + row) * depth..][..depth];
                let b = &b[self.source_b(matrix) * depth * columns..][..depth * columns];
                multiply(a, b, &mut sums, out);
            }
        });
    }
}

/// What matrices are made of.
pub(crate) trait Element: Copy + Default + Send + Sync {}

impl<T: Copy + Default + Send + Sync> Element for T {}

/// The leading dimensions of the output.
fn broadcast(a: &[usize], b: &[usize]) -> Vec<usize> {
    let rank = a.len().max(b.len());
    (0..rank)
        .map(|axis| {
            let [a, b] = [a, b].map(|dims| (axis + dims.len()).checked_sub(rank).map_or(1, |i| dims[i]));
            assert!(a == b || a == 1 || b == 1, "leading dimensions {a} and {b} do not broadcast");
            if a == 1 { b } else { a }
        })
        .collect()
}

/// Which matrix of an operand with leading dimensions `dims` the output's matrix `index` reads.
fn source(mut index: usize, batch: &[usize], dims: &[usize]) -> usize {
    let mut source = 0;
    let mut step = 1;
    for (size, dim) in batch.iter().rev().zip(dims.iter().rev()) {
        if *dim != 1 {
            source += index % size * step;
        }
        index /= size;
        step *= dim;
    }
    source
}

/// A copy of `matrices`, each `[rows, columns]`, as `[columns, rows]`.
fn transpose<T: Element>(pool: &ThreadPool, matrices: &[T], rows: usize, columns: usize) -> Vec<T> {
    let mut transposed = vec![T::default(); matrices.len()];
    let pieces = pool.rows_per_task(matrices.len() / rows, 16);
    pool.run_rows(&mut transposed, rows, pieces, |first, piece| {
        for (i, line) in piece.chunks_exact_mut(rows).enumerate() {
            let (matrix, column) = ((first + i) / columns, (first + i) % columns);
            let from = &matrices[matrix * rows * columns..][..rows * columns];
            for (value, row) in line.iter_mut().zip(from.chunks_exact(columns)) {
                *value = row[column];
            }
        }
    });
    transposed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leading_dimensions_broadcast() {
        let batch = broadcast(&[2, 1, 3], &[4, 1]);
        assert_eq!(batch, [2, 4, 3]);
        // Matrix [1, 2, 0] of the output.
        let index = (4 + 2) * 3;
        assert_eq!(source(index, &batch, &[2, 1, 3]), 3);
        assert_eq!(source(index, &batch, &[4, 1]), 2);
    }

    #[test]
    #[should_panic(expected = "do not broadcast")]
    fn other_leading_dimensions_are_refused() {
        broadcast(&[2], &[3]);
    }
}
