//! Permuting axes.

use super::strided::{StridedAxis, StridedCopy};
use super::strides;
use crate::ThreadPool;

/// Permutes axes: axis `i` of the output is axis `permutation[i]` of the input.
///
/// # Panics
/// When `permutation` is none of the axes of `shape`, or a length does not fit.
pub fn transpose<T: Copy + Send + Sync>(
    pool: &ThreadPool,
    shape: &[usize],
    permutation: &[usize],
    input: &[T],
    output: &mut [T],
) {
    let mut sorted = permutation.to_vec();
    sorted.sort_unstable();
    assert!(sorted.into_iter().eq(0..shape.len()), "{permutation:?} permutes no {} axes", shape.len());
    let strides = strides(shape);
    let axes =
        permutation.iter().map(|&axis| StridedAxis { len: shape[axis], stride: strides[axis] as isize });
    StridedCopy::new(0, axes).run(pool, input, output);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn six_axes() {
        let shape = [2, 3, 1, 4, 2, 3];
        let permutation = [5, 3, 1, 0, 2, 4];
        let input: Vec<u16> = (0..144).collect();
        let mut output = vec![0; 144];
        transpose(&ThreadPool::new(2), &shape, &permutation, &input, &mut output);
        // Output index [2, 1, 2, 1, 0, 1] is input index [1, 2, 0, 1, 1, 2].
        let at =
            |index: [usize; 6], shape: [usize; 6]| index.iter().zip(shape).fold(0, |i, (x, n)| i * n + x);
        let output_shape = permutation.map(|axis| shape[axis]);
        assert_eq!(output[at([2, 1, 2, 1, 0, 1], output_shape)], input[at([1, 2, 0, 1, 1, 2], shape)]);
        let mut back = vec![0; 144];
        let inverse: Vec<usize> =
            (0..6).map(|axis| permutation.iter().position(|&p| p == axis).unwrap()).collect();
        transpose(&ThreadPool::new(1), &output_shape, &inverse, &output, &mut back);
        assert_eq!(back, input);
    }

    #[test]
    #[should_panic(expected = "permutes no 2 axes")]
    fn a_repeated_axis_is_refused() {
        transpose(&ThreadPool::new(1), &[2, 2], &[0, 0], &[0; 4], &mut [0; 4]);
    }
}
