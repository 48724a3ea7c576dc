//! Slicing, reversing and repeating.

use super::strided::{StridedAxis, StridedCopy};
use super::strides;
use crate::ThreadPool;

/// What a strided slice takes of one axis: indices `begin`, `begin + step`, …, `len` of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AxisSlice {
    /// The first index.
    pub begin: usize,
    /// Distance between indices, not 0; negative walks backward.
    pub step: isize,
    /// How many.
    pub len: usize,
}

/// Takes a slice of each axis; the output's shape is the `len`s.
///
/// # Panics
/// When an index lies outside its axis, or a length does not fit.
pub fn strided_slice<T: Copy + Send + Sync>(
    pool: &ThreadPool,
    shape: &[usize],
    slices: &[AxisSlice],
    input: &[T],
    output: &mut [T],
) {
    assert_eq!(shape.len(), slices.len(), "a slice for each axis");
    let empty = slices.iter().any(|slice| slice.len == 0);
    let mut start = 0;
    let axes: Vec<StridedAxis> = strides(shape)
        .iter()
        .zip(slices)
        .zip(shape)
        .map(|((&stride, slice), &len)| {
            let last = slice.begin as isize + slice.step * (slice.len as isize - 1);
            let inside = slice.begin < len && (0..len as isize).contains(&last);
            assert!(empty || inside, "{slice:?} leaves an axis of {len}");
            start += slice.begin * stride;
            StridedAxis { len: slice.len, stride: stride as isize * slice.step }
        })
        .collect();
    StridedCopy::new(start, axes).run(pool, input, output);
}

/// Reverses the given axes.
///
/// # Panics
/// When an axis does not exist, or a length does not fit.
pub fn reverse<T: Copy + Send + Sync>(
    pool: &ThreadPool,
    shape: &[usize],
    axes: &[usize],
    input: &[T],
    output: &mut [T],
) {
    assert!(axes.iter().all(|axis| *axis < shape.len()), "axes {axes:?} of a tensor of {} axes", shape.len());
    let slices: Vec<AxisSlice> = shape
        .iter()
        .enumerate()
        .map(|(axis, &len)| {
            if axes.contains(&axis) {
                AxisSlice { begin: len.saturating_sub(1), step: -1, len }
            } else {
                AxisSlice { begin: 0, step: 1, len }
            }
        })
        .collect();
    strided_slice(pool, shape, &slices, input, output);
}

/// Repeats the whole tensor `multiples[i]` times along axis `i`.
///
/// # Panics
/// When there are not as many multiples as axes, or a length does not fit.
pub fn tile<T: Copy + Send + Sync>(
    pool: &ThreadPool,
    shape: &[usize],
    multiples: &[usize],
    input: &[T],
    output: &mut [T],
) {
    assert_eq!(shape.len(), multiples.len(), "a multiple for each axis");
    let strides = strides(shape);
    let axes = (0..shape.len()).flat_map(|axis| {
        let repeat = StridedAxis { len: multiples[axis], stride: 0 };
        [repeat, StridedAxis { len: shape[axis], stride: strides[axis] as isize }]
    });
    StridedCopy::new(0, axes).run(pool, input, output);
}

/// Repeats axes of length 1, and leading axes that `shape` lacks, up to `target`.
///
/// # Panics
/// When `shape` does not broadcast to `target`, or a length does not fit.
pub fn broadcast_to<T: Copy + Send + Sync>(
    pool: &ThreadPool,
    shape: &[usize],
    target: &[usize],
    input: &[T],
    output: &mut [T],
) {
    let leading = target.len().checked_sub(shape.len());
    let leading = leading.expect("a tensor has no more axes than it is broadcast to");
    let strides = strides(shape);
    let axes = target.iter().enumerate().map(|(axis, &len)| {
        let stride = match axis.checked_sub(leading) {
            None => 0,
            Some(own) if shape[own] == 1 => 0,
            Some(own) => {
                assert_eq!(shape[own], len, "{shape:?} does not broadcast to {target:?}");
                strides[own] as isize
            }
        };
        StridedAxis { len, stride }
    });
    StridedCopy::new(0, axes).run(pool, input, output);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices_walk_both_ways() {
        let input: Vec<i32> = (0..20).collect();
        let slices = [AxisSlice { begin: 3, step: -2, len: 2 }, AxisSlice { begin: 1, step: 3, len: 2 }];
        let mut output = [0; 4];
        strided_slice(&ThreadPool::new(1), &[4, 5], &slices, &input, &mut output);
        assert_eq!(output, [16, 19, 6, 9]);
    }

    #[test]
    fn an_empty_slice_takes_nothing() {
        let slices = [AxisSlice { begin: 4, step: 1, len: 0 }, AxisSlice { begin: 0, step: 1, len: 5 }];
        strided_slice::<u8>(&ThreadPool::new(1), &[4, 5], &slices, &[0; 20], &mut []);
    }

    #[test]
    #[should_panic(expected = "leaves an axis of 5")]
    fn a_slice_beyond_its_axis_is_refused() {
        let slices = [AxisSlice { begin: 0, step: 1, len: 1 }, AxisSlice { begin: 3, step: 1, len: 3 }];
        strided_slice(&ThreadPool::new(1), &[4, 5], &slices, &[0; 20], &mut [0; 3]);
    }

    #[test]
    fn reversing_two_of_three_axes() {
        let input: Vec<u8> = (0..12).collect();
        let mut output = [0; 12];
        reverse(&ThreadPool::new(1), &[2, 3, 2], &[0, 2], &input, &mut output);
        assert_eq!(output, [7, 6, 9, 8, 11, 10, 1, 0, 3, 2, 5, 4]);
    }

    #[test]
    fn tiles_and_broadcasts() {
        let pool = ThreadPool::new(1);
        let mut tiled = [0u8; 12];
        tile(&pool, &[1, 3], &[2, 2], &[1, 2, 3], &mut tiled);
        assert_eq!(tiled, [1, 2, 3, 1, 2, 3, 1, 2, 3, 1, 2, 3]);
        let mut output = [0.0; 12];
        broadcast_to(&pool, &[2, 1], &[3, 2, 2], &[1.0, 2.0], &mut output);
        assert_eq!(output, [1.0, 1.0, 2.0, 2.0, 1.0, 1.0, 2.0, 2.0, 1.0, 1.0, 2.0, 2.0]);
    }
}
