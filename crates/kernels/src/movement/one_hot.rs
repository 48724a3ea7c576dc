//! Indices as rows with one element marked.

use super::gather::Index;
use crate::ThreadPool;

/// `[outer, inner]` indices to `[outer, depth, inner]`: `on` at the place that an index names along
/// the middle axis and `off` elsewhere. An index outside names no place.
///
/// # Panics
/// When a length does not fit.
pub fn one_hot<T: Copy + Send + Sync, I: Index + Sync>(
    pool: &ThreadPool,
    [outer, depth, inner]: [usize; 3],
    indices: &[I],
    [on, off]: [T; 2],
    output: &mut [T],
) {
    assert_eq!(indices.len(), outer * inner, "the indices must have the length of their shape");
    assert_eq!(output.len(), outer * depth * inner, "the output must have the length of its shape");
    let plane = depth * inner;
    let rows = pool.rows_per_task(outer, (64 * 1024usize).div_ceil(plane.max(1)));
    pool.run_rows(output, plane, rows, |first, piece| {
        piece.fill(off);
        for (indices, plane) in
            indices[first * inner..].chunks_exact(inner).zip(piece.chunks_exact_mut(plane))
        {
            for (column, &index) in indices.iter().enumerate() {
                if let Some(place) = usize::try_from(index.into()).ok().filter(|place| *place < depth) {
                    plane[place * inner + column] = on;
                }
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_outside_marks_nothing() {
        let mut output = [9u8; 12];
        one_hot(&ThreadPool::new(2), [4, 3, 1], &[2i32, -1, 0, 3], [1, 0], &mut output);
        assert_eq!(output, [0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0]);
    }

    #[test]
    fn the_new_axis_may_stand_before_others() {
        let mut output = [0.0; 6];
        one_hot(&ThreadPool::new(1), [1, 3, 2], &[1i64, 0], [5.0, -1.0], &mut output);
        assert_eq!(output, [-1.0, 5.0, 5.0, -1.0, -1.0, -1.0]);
    }
}
