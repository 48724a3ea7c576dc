//! Running sums.

use crate::ThreadPool;
use crate::elementwise::Number;

/// Which elements a running sum adds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct CumulativeSum {
    /// Whether an element's own value is left out.
    pub exclusive: bool,
    /// Whether sums run from the end.
    pub reverse: bool,
}

impl CumulativeSum {
    /// The running sums along the middle axis of `[outer, len, inner]`, each one addition to the sum
    /// before it.
    ///
    /// # Panics
    /// When a length does not fit.
    pub fn apply<T: Number>(
        self,
        pool: &ThreadPool,
        [outer, len, inner]: [usize; 3],
        input: &[T],
        output: &mut [T],
    ) {
        assert_eq!(input.len(), outer * len * inner, "the input must have the length of its shape");
        assert_eq!(output.len(), input.len(), "the output must have the length of its shape");
        let plane = len * inner;
        let rows = pool.rows_per_task(outer, (32 * 1024usize).div_ceil(plane.max(1)));
        pool.run_rows(output, plane, rows, |first, piece| {
            let mut sums = vec![T::ZERO; inner];
            for (input, output) in
                input[first * plane..].chunks_exact(plane).zip(piece.chunks_exact_mut(plane))
            {
                sums.fill(T::ZERO);
                for index in 0..len {
                    let index = if self.reverse { len - 1 - index } else { index };
                    let line = index * inner..(index + 1) * inner;
                    for ((sum, x), o) in sums.iter_mut().zip(&input[line.clone()]).zip(&mut output[line]) {
                        let next = sum.plus(*x);
                        *o = if self.exclusive { *sum } else { next };
                        *sum = next;
                    }
                }
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_run_either_way_with_or_without_the_element() {
        let pool = ThreadPool::new(2);
        let input = [1, 10, 2, 20, 3, 30];
        let sums = |exclusive, reverse| {
            let mut output = [0i32; 6];
            CumulativeSum { exclusive, reverse }.apply(&pool, [1, 3, 2], &input, &mut output);
            output
        };
        assert_eq!(sums(false, false), [1, 10, 3, 30, 6, 60]);
        assert_eq!(sums(true, false), [0, 0, 1, 10, 3, 30]);
        assert_eq!(sums(false, true), [6, 60, 5, 50, 3, 30]);
        assert_eq!(sums(true, true), [5, 50, 3, 30, 0, 0]);
    }

    #[test]
    fn every_row_starts_anew() {
        let mut output = [0.0f32; 4];
        let sum = CumulativeSum::default();
        sum.apply(&ThreadPool::new(2), [2, 2, 1], &[1.0, 2.0, 3.0, 4.0], &mut output);
        assert_eq!(output, [1.0, 3.0, 3.0, 7.0]);
        sum.apply::<f32>(&ThreadPool::new(2), [2, 0, 1], &[], &mut []);
    }
}
