//! Weights in the layout that operators take them in, instead of the source's.

use litesmith_graph::{Op, ops};
use litesmith_kernels::ThreadPool;
use litesmith_kernels::movement::{StridedAxis, StridedCopy};

/// How a weight's elements are ordered while it is trained: the source's layout, taken through these
/// steps.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Arrangement(Vec<Step>);

#[derive(Clone, Debug, PartialEq)]
enum Step {
    /// The shape before, and which of its axes each new axis is.
    Transpose(Vec<usize>, Vec<usize>),
    /// Elements stay where they are.
    Reshape,
}

impl Arrangement {
    /// Whether an operator only arranges elements anew.
    #[must_use]
    pub fn takes(op: &Op) -> bool {
        match op {
            Op::Transpose(_) | Op::ExpandDims(_) | Op::Squeeze(_) | Op::Identity(_) => true,
            Op::Reshape(op) => op.shape.as_ref().is_some_and(|dims| {
                dims.iter().all(|dim| matches!(dim, ops::ReshapeDim::Fixed(_) | ops::ReshapeDim::Infer))
            }),
            _ => false,
        }
    }

    /// The arrangement behind an operator that [`Arrangement::takes`] accepts, of a tensor of this shape.
    #[must_use]
    pub fn then(mut self, op: &Op, shape: &[usize]) -> Arrangement {
        match op {
            Op::Transpose(op) => self.0.push(Step::Transpose(shape.to_vec(), op.permutation.clone())),
            _ => self.0.push(Step::Reshape),
        }
        self
    }

    /// Elements in the source's layout, arranged.
    pub fn apply<T: Copy + Default + Send + Sync>(&self, pool: &ThreadPool, mut values: Vec<T>) -> Vec<T> {
        for step in &self.0 {
            if let Step::Transpose(shape, permutation) = step {
                values = transpose(pool, &values, shape, permutation);
            }
        }
        values
    }

    /// Arranged elements, back in the source's layout.
    pub fn undo<T: Copy + Default + Send + Sync>(&self, pool: &ThreadPool, mut values: Vec<T>) -> Vec<T> {
        for step in self.0.iter().rev() {
            if let Step::Transpose(shape, permutation) = step {
                let moved: Vec<usize> = permutation.iter().map(|axis| shape[*axis]).collect();
                let mut back = vec![0; permutation.len()];
                permutation.iter().enumerate().for_each(|(to, from)| back[*from] = to);
                values = transpose(pool, &values, &moved, &back);
            }
        }
        values
    }
}

fn transpose<T: Copy + Default + Send + Sync>(
    pool: &ThreadPool,
    values: &[T],
    shape: &[usize],
    permutation: &[usize],
) -> Vec<T> {
    let mut strides = vec![1; shape.len()];
    for axis in (1..shape.len()).rev() {
        strides[axis - 1] = strides[axis] * shape[axis];
    }
    let axes =
        permutation.iter().map(|axis| StridedAxis { len: shape[*axis], stride: strides[*axis] as isize });
    let mut moved = vec![T::default(); values.len()];
    StridedCopy::new(0, axes).run(pool, values, &mut moved);
    moved
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_arranged_comes_back() {
        let pool = ThreadPool::new(1);
        let values: Vec<f32> = (0..120).map(|i| i as f32).collect();
        let arrangement = Arrangement::default()
            .then(&ops::Transpose { permutation: vec![3, 0, 1, 2] }.into(), &[2, 3, 4, 5])
            .then(&ops::Reshape::to(vec![ops::ReshapeDim::Infer]).into(), &[5, 2, 3, 4])
            .then(&ops::Transpose { permutation: vec![1, 0] }.into(), &[12, 10]);
        let arranged = arrangement.apply(&pool, values.clone());
        // The element [1, 0, 0, 2] of the source stands at [2, 1, 0, 0], which is 60 in a row and so [6, 0]
        // of 10 columns, which goes to [0, 6].
        assert_eq!(arranged[6], values[60 + 2]);
        assert_eq!(arrangement.undo(&pool, arranged), values);
    }
}
