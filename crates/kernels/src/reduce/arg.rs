//! Where the largest or smallest element is.

use crate::ThreadPool;
use crate::elementwise::number::Ordered;

/// Which element is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extreme {
    /// The largest.
    Max,
    /// The smallest.
    Min,
}

/// The index of the extreme element along the middle axis of `[outer, len, inner]`, the first where
/// there are several, in the integer type of the output. Not-a-number is never chosen, unless it
/// comes first.
///
/// # Panics
/// When a length does not fit, `len` is 0, or an index does not fit the output's type.
pub fn arg_extreme<T: Ordered, I: TryFrom<usize> + Send>(
    pool: &ThreadPool,
    extreme: Extreme,
    [outer, len, inner]: [usize; 3],
    input: &[T],
    output: &mut [I],
) {
    assert_eq!(input.len(), outer * len * inner, "the input must have the length of its shape");
    assert_eq!(output.len(), outer * inner, "the output must have the length of its shape");
    assert!(len > 0 || output.is_empty(), "an empty axis has no extreme element");
    let better = |a: T, b: T| match extreme {
        Extreme::Max => a > b,
        Extreme::Min => a < b,
    };
    let rows = pool.rows_per_task(output.len(), (32 * 1024usize).div_ceil(len.max(1)));
    pool.run_rows(output, 1, rows, |first, piece| {
        for (i, o) in (first..).zip(piece) {
            let start = i / inner * len * inner + i % inner;
            let elements = input[start..].iter().step_by(inner).take(len).copied().enumerate();
            let best = elements.reduce(|best, next| if better(next.1, best.1) { next } else { best });
            let index = best.map_or(0, |(index, _)| index);
            *o = I::try_from(index).ok().expect("an index fits the output's type");
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_equals_wins_along_any_axis() {
        let input = [1u8, 5, 5, 2, 9, 0, 9, 4];
        let pool = ThreadPool::new(2);
        let mut rows = [0i32; 2];
        arg_extreme(&pool, Extreme::Max, [2, 4, 1], &input, &mut rows);
        assert_eq!(rows, [1, 0]);
        let mut columns = [0i64; 4];
        arg_extreme(&pool, Extreme::Min, [1, 2, 4], &input, &mut columns);
        assert_eq!(columns, [0, 1, 0, 0]);
        let mut middle = [0i32; 4];
        arg_extreme(&pool, Extreme::Max, [2, 2, 2], &input, &mut middle);
        assert_eq!(middle, [1, 0, 0, 1]);
    }

    #[test]
    fn not_a_number_is_passed_over() {
        let mut output = [0i32];
        let input = [1.0, f32::NAN, 3.0];
        arg_extreme(&ThreadPool::new(1), Extreme::Max, [1, 3, 1], &input, &mut output);
        assert_eq!(output, [2]);
    }
}
