//! The copy behind most data movement: a contiguous output, and an input walked with strides.

use crate::ThreadPool;

/// One axis of the output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StridedAxis {
    /// Number of outputs along the axis.
    pub len: usize,
    /// Elements by which the input advances for each: negative walks backward, 0 repeats.
    pub stride: isize,
}

/// A copy of `input[start + sum(index * stride)]` to each output index, in row-major order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StridedCopy {
    start: usize,
    /// Without axes of one element, merged where the input advances alike.
    axes: Vec<StridedAxis>,
    /// Number of outputs.
    len: usize,
    /// Elements that the input must have.
    reach: usize,
}

/// Bytes that are worth a task of their own.
const TASK_BYTES: usize = 128 * 1024;

/// Edge of the square blocks of a transposition.
const BLOCK: usize = 16;

impl StridedCopy {
    /// A copy over the axes of the output, beginning at `start`.
    ///
    /// # Panics
    /// When an input index would be negative.
    #[must_use]
    pub fn new(start: usize, axes: impl IntoIterator<Item = StridedAxis>) -> StridedCopy {
        let mut merged: Vec<StridedAxis> = Vec::new();
        let (mut len, mut lowest, mut highest) = (1, start as isize, start as isize);
        for axis in axes {
            len *= axis.len;
            if axis.len <= 1 {
                continue;
            }
            let last = axis.stride * (axis.len as isize - 1);
            lowest += last.min(0);
            highest += last.max(0);
            match merged.last_mut() {
                Some(outer) if outer.stride == axis.stride * axis.len as isize => {
                    *outer = StridedAxis { len: outer.len * axis.len, stride: axis.stride };
                }
                _ => merged.push(axis),
            }
        }
        assert!(len == 0 || lowest >= 0, "a strided copy begins before its input");
        let reach = if len == 0 { 0 } else { highest as usize + 1 };
        StridedCopy { start, axes: merged, len, reach }
    }

    /// Number of outputs.
    #[must_use]
    pub fn output_len(&self) -> usize {
        self.len
    }

    /// Copies.
    ///
    /// # Panics
    /// When `input` is shorter than the indices reach, or `output` is not as long as the axes say.
    pub fn run<T: Copy + Send + Sync>(&self, pool: &ThreadPool, input: &[T], output: &mut [T]) {
        assert!(input.len() >= self.reach, "a strided copy reaches beyond its input");
        assert_eq!(output.len(), self.len, "the output must have the length of its shape");
        let task = (TASK_BYTES / size_of::<T>().max(1)).max(1);
        match self.axes.as_slice() {
            [] => output.fill_with(|| input[self.start]),
            [axis] => {
                pool.run_rows(output, 1, pool.rows_per_task(self.len, task), |first, piece| {
                    copy_line(input, self.start, first, axis.stride, piece);
                });
            }
            [outer, inner @ ..] => {
                let row_len: usize = inner.iter().map(|axis| axis.len).product();
                let rows = pool.rows_per_task(outer.len, task.div_ceil(row_len.max(1)));
                pool.run_rows(output, row_len, rows, |first, piece| {
                    let outer = StridedAxis { len: piece.len() / row_len, stride: outer.stride };
                    let start = offset(self.start, first, outer.stride);
                    copy_axes(input, start, outer, inner, piece);
                });
            }
        }
    }
}

/// `start + index * stride`, which the copy's construction has shown to be an index.
#[inline(always)]
fn offset(start: usize, index: usize, stride: isize) -> usize {
    start.wrapping_add_signed(stride.wrapping_mul(index as isize))
}

/// Copies the outputs `first..` along one axis.
fn copy_line<T: Copy>(input: &[T], start: usize, first: usize, stride: isize, output: &mut [T]) {
    let start = offset(start, first, stride);
    match stride {
        1 => output.copy_from_slice(&input[start..start + output.len()]),
        0 => output.fill(input[start]),
        _ => {
            for (i, o) in output.iter_mut().enumerate() {
                *o = input[offset(start, i, stride)];
            }
        }
    }
}

/// Copies axis `outer` and the axes inside it. Recursion is as deep as there are axes, and the
/// innermost two are done by one loop.
fn copy_axes<T: Copy>(
    input: &[T],
    start: usize,
    outer: StridedAxis,
    inner: &[StridedAxis],
    output: &mut [T],
) {
    match inner {
        [] => copy_line(input, start, 0, outer.stride, output),
        [line] if outer.stride == 1 && line.stride != 1 && line.stride != 0 => {
            copy_transposed(input, start, outer.len, *line, output);
        }
        // A plane that the input holds transposed, with axes between: walk those outside.
        [between @ .., line] if outer.stride == 1 && line.stride != 1 && line.stride != 0 => {
            let plane: usize = inner.iter().map(|axis| axis.len).product();
            copy_planes(input, start, outer.len, plane, between, *line, output);
        }
        [next, rest @ ..] => {
            let part = output.len() / outer.len;
            for (i, output) in output.chunks_exact_mut(part).enumerate() {
                copy_axes(input, offset(start, i, outer.stride), *next, rest, output);
            }
        }
    }
}

/// Copies `rows` by `line.len` elements, where neighbouring rows are neighbours in the input.
///
/// In square blocks, so that every fetched cache line of input is used while it is there.
fn copy_transposed<T: Copy>(input: &[T], start: usize, rows: usize, line: StridedAxis, output: &mut [T]) {
    copy_planes(input, start, rows, line.len, &[], line, output);
}

/// As [`copy_transposed`], for each index of the axes `between` rows and line. A row of the output
/// has `plane` elements.
fn copy_planes<T: Copy>(
    input: &[T],
    start: usize,
    rows: usize,
    plane: usize,
    between: &[StridedAxis],
    line: StridedAxis,
    output: &mut [T],
) {
    if let [axis, rest @ ..] = between {
        let step: usize = rest.iter().map(|axis| axis.len).product::<usize>() * line.len;
        for i in 0..axis.len {
            let output = &mut output[i * step..];
            copy_planes(input, offset(start, i, axis.stride), rows, plane, rest, line, output);
        }
        return;
    }
    for row in (0..rows).step_by(BLOCK) {
        let rows = BLOCK.min(rows - row);
        for column in (0..line.len).step_by(BLOCK) {
            let columns = BLOCK.min(line.len - column);
            for c in column..column + columns {
                let from = offset(start, c, line.stride) + row;
                for (r, &x) in input[from..from + rows].iter().enumerate() {
                    output[(row + r) * plane + c] = x;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn axis(len: usize, stride: isize) -> StridedAxis {
        StridedAxis { len, stride }
    }

    #[test]
    fn axes_merge() {
        let copy = StridedCopy::new(0, [axis(2, 12), axis(1, 99), axis(3, 4), axis(4, 1)]);
        assert_eq!(copy.axes, [axis(24, 1)]);
        assert_eq!((copy.output_len(), copy.reach), (24, 24));
    }

    #[test]
    fn nothing_and_a_single_element() {
        let pool = ThreadPool::new(1);
        StridedCopy::new(5, [axis(0, 7), axis(3, -9)]).run::<u8>(&pool, &[], &mut []);
        let mut output = [0];
        StridedCopy::new(1, []).run(&pool, &[3, 4], &mut output);
        assert_eq!(output, [4]);
    }

    #[test]
    #[should_panic(expected = "begins before")]
    fn a_negative_index_is_refused() {
        let _ = StridedCopy::new(1, [axis(3, -1)]);
    }

    #[test]
    #[should_panic(expected = "reaches beyond")]
    fn a_short_input_is_refused() {
        StridedCopy::new(0, [axis(3, 2)]).run(&ThreadPool::new(1), &[0; 4], &mut [0; 3]);
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 100, ..ProptestConfig::default() })]

        #[test]
        fn every_output_is_the_input_at_its_strides(
            // Strides of any sign, and often those of a transposition.
            axes in prop::collection::vec((1usize..24, -40isize..40), 0..5),
            transposed in any::<bool>(),
            threads in 1usize..4,
        ) {
            let mut axes: Vec<StridedAxis> = axes.into_iter().map(|(len, stride)| axis(len, stride)).collect();
            prop_assume!(axes.iter().map(|axis| axis.len).product::<usize>() < 60_000);
            if transposed {
                let mut stride = 1;
                for axis in &mut axes {
                    axis.stride = stride;
                    stride *= axis.len as isize;
                }
            }
            let start: isize = axes.iter().map(|a| (-a.stride).max(0) * (a.len as isize - 1)).sum();
            let copy = StridedCopy::new(start as usize, axes.clone());
            let input: Vec<u32> = (0..copy.reach as u32).collect();
            let mut output = vec![u32::MAX; copy.output_len()];
            copy.run(&ThreadPool::new(threads), &input, &mut output);
            for (i, &o) in output.iter().enumerate() {
                let (mut rest, mut index) = (i, start);
                for axis in axes.iter().rev() {
                    index += (rest % axis.len) as isize * axis.stride;
                    rest /= axis.len;
                }
                prop_assert_eq!(o as isize, index);
            }
        }
    }
}
