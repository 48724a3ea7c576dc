//! The largest elements, in order.

use std::cmp::Ordering;

use crate::ThreadPool;
use crate::elementwise::number::Ordered;

/// The largest `k` elements of each row of `input`, `len` long, largest first; of equals, the first
/// comes first. `give(element, its place in the row)` makes the outputs. Not-a-number comes last.
///
/// # Panics
/// When `k` is more than `len`, or a length does not fit.
pub fn top_k<T: Ordered, U: Send>(
    pool: &ThreadPool,
    [len, k]: [usize; 2],
    input: &[T],
    output: &mut [U],
    give: impl Fn(T, usize) -> U + Sync,
) {
    assert!(k <= len, "{k} of {len} elements");
    if output.is_empty() {
        return;
    }
    let rows = output.len() / k;
    assert!(output.len() == rows * k && input.len() == rows * len, "lengths of input and output");
    let least = (8 * 1024usize).div_ceil(len);
    pool.run_rows(output, k, pool.rows_per_task(rows, least), |first, piece| {
        let mut places: Vec<usize> = Vec::with_capacity(len);
        for (row, output) in input[first * len..].chunks_exact(len).zip(piece.chunks_exact_mut(k)) {
            places.clear();
            places.extend(0..len);
            let before = |a: &usize, b: &usize| descending(row[*a], row[*b]).then(a.cmp(b));
            if k < len {
                places.select_nth_unstable_by(k, before);
            }
            let largest = &mut places[..k];
            largest.sort_unstable_by(before);
            for (place, output) in largest.iter().zip(output) {
                *output = give(row[*place], *place);
            }
        }
    });
}

/// The larger one first; what is not a number behind all others.
#[expect(clippy::eq_op, reason = "only a NaN differs from itself")]
fn descending<T: Ordered>(a: T, b: T) -> Ordering {
    b.partial_cmp(&a).unwrap_or_else(|| (b == b).cmp(&(a == a)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_equals_comes_first() {
        let pool = ThreadPool::new(2);
        let input = [1.0, 7.0, 7.0, 3.0, f32::NAN, 2.0, 9.0, 2.0, 2.0, -1.0];
        let mut places = [0usize; 6];
        top_k(&pool, [5, 3], &input, &mut places, |_, place| place);
        assert_eq!(places, [1, 2, 3, 1, 0, 2]);
        let mut values = [0.0; 10];
        top_k(&pool, [5, 5], &input, &mut values, |value, _| value);
        assert!(values[4].is_nan() && values[..4] == [7.0, 7.0, 3.0, 1.0]);
        assert_eq!(values[5..], [9.0, 2.0, 2.0, 2.0, -1.0]);
    }

    #[test]
    fn none_of_some() {
        top_k::<u8, u8>(&ThreadPool::new(1), [3, 0], &[1, 2, 3], &mut [], |value, _| value);
    }
}
