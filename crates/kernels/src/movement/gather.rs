//! Taking slices by index.

use crate::ThreadPool;

/// An index that is data, and lies outside of its axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IndexError {
    /// The index.
    pub index: i64,
    /// The length of the axis.
    pub len: usize,
}

impl std::fmt::Display for IndexError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "index {} lies outside of an axis of length {}", self.index, self.len)
    }
}

impl std::error::Error for IndexError {}

/// An integer that serves as an index.
pub trait Index: Copy + Into<i64> {}

impl Index for i32 {}
impl Index for i64 {}
impl Index for i16 {}
impl Index for u8 {}

fn checked<I: Index>(index: I, len: usize) -> Result<usize, IndexError> {
    let index = index.into();
    usize::try_from(index).ok().filter(|i| *i < len).ok_or(IndexError { index, len })
}

/// Takes slices along an axis: the input is `[batch, outer, len, inner]`, the indices `[batch,
/// count]`, the output `[batch, outer, count, inner]` (`batch` is the product of the batch axes, 1
/// for none).
///
/// # Errors
/// [`IndexError`] for an index outside of the axis; the output is then partly written.
///
/// # Panics
/// When a length does not fit.
pub fn gather<T: Copy, I: Index>(
    [batch, outer, len, inner]: [usize; 4],
    input: &[T],
    indices: &[I],
    output: &mut [T],
) -> Result<(), IndexError> {
    assert_eq!(input.len(), batch * outer * len * inner, "the input must have the length of its shape");
    let count = indices.len().checked_div(batch).unwrap_or(0);
    assert_eq!(indices.len(), batch * count, "each batch must have equally many indices");
    assert_eq!(output.len(), batch * outer * count * inner, "the output must have the length of its shape");
    if output.is_empty() {
        return indices.iter().try_for_each(|&index| checked(index, len).map(drop));
    }
    for (row, targets) in output.chunks_exact_mut(count * inner).enumerate() {
        let table = &input[row * len * inner..(row + 1) * len * inner];
        let indices = &indices[row / outer * count..][..count];
        for (&index, target) in indices.iter().zip(targets.chunks_exact_mut(inner)) {
            target.copy_from_slice(&table[checked(index, len)? * inner..][..inner]);
        }
    }
    Ok(())
}

/// Takes slices by tuples of indices: each of the last axis of `indices`, `depth` long, picks a
/// slice by its first `depth` axes; the input is `[batch, shape.., inner]` where `shape` has `depth`
/// lengths, and the indices are `[batch, count, depth]`.
///
/// # Errors
/// [`IndexError`] for an index outside of its axis; the output is then partly written.
///
/// # Panics
/// When a length does not fit.
pub fn gather_nd<T: Copy + Send + Sync, I: Index>(
    pool: &ThreadPool,
    batch: usize,
    shape: &[usize],
    inner: usize,
    input: &[T],
    indices: &[I],
    output: &mut [T],
) -> Result<(), IndexError> {
    let elements: usize = shape.iter().product();
    assert_eq!(input.len(), batch * elements * inner, "the input must have the length of its shape");
    let tuples = indices.len().checked_div(shape.len()).unwrap_or(batch);
    let count = tuples.checked_div(batch).unwrap_or(0);
    assert_eq!(indices.len(), batch * count * shape.len(), "indices must be whole tuples for each batch");
    assert_eq!(output.len(), batch * count * inner, "the output must have the length of its shape");
    let slice_of = |tuple: usize| -> Result<usize, IndexError> {
        let tuple_indices = &indices[tuple * shape.len()..(tuple + 1) * shape.len()];
        let place = |at, (&index, &len): (&I, &usize)| Ok(at * len + checked(index, len)?);
        tuple_indices.iter().zip(shape).try_fold(tuple / count, place)
    };
    let slices: Vec<usize> = (0..batch * count).map(slice_of).collect::<Result<_, _>>()?;
    let least = (64 * 1024usize).div_ceil(inner.max(1));
    pool.run_rows(output, inner, pool.rows_per_task(slices.len(), least), |first, piece| {
        for (slice, target) in slices[first..].iter().zip(piece.chunks_exact_mut(inner)) {
            target.copy_from_slice(&input[slice * inner..][..inner]);
        }
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_embedding_and_a_gather_along_a_middle_axis() {
        let table: Vec<f32> = (0..12).map(|i| i as f32).collect();
        let mut output = [0.0; 6];
        gather([1, 1, 4, 3], &table, &[3i32, 1], &mut output).unwrap();
        assert_eq!(output, [9.0, 10.0, 11.0, 3.0, 4.0, 5.0]);
        let mut output = [0.0; 8];
        gather([1, 2, 3, 2], &table, &[2i64, 0], &mut output).unwrap();
        assert_eq!(output, [4.0, 5.0, 0.0, 1.0, 10.0, 11.0, 6.0, 7.0]);
    }

    #[test]
    fn each_batch_has_its_own_indices() {
        let input = [10u8, 11, 12, 20, 21, 22];
        let mut output = [0; 4];
        gather([2, 1, 3, 1], &input, &[2i32, 0, 1, 1], &mut output).unwrap();
        assert_eq!(output, [12, 10, 21, 21]);
    }

    #[test]
    fn indices_outside_are_reported() {
        let mut output = [0u8; 2];
        let result = gather([1, 1, 3, 1], &[1, 2, 3], &[0i32, 3], &mut output);
        assert_eq!(result, Err(IndexError { index: 3, len: 3 }));
        let negative = gather_nd(&ThreadPool::new(1), 1, &[3], 1, &[1, 2, 3], &[-1i32, 0], &mut output);
        assert_eq!(negative.unwrap_err().to_string(), "index -1 lies outside of an axis of length 3");
    }

    #[test]
    fn tuples_pick_slices() {
        let pool = ThreadPool::new(1);
        let input: Vec<u8> = (0..24).collect();
        let mut output = [0; 6];
        gather_nd(&pool, 1, &[2, 4], 3, &input, &[1i32, 0, 0, 3], &mut output).unwrap();
        assert_eq!(output, [12, 13, 14, 9, 10, 11]);
        let mut output = [0; 6];
        gather_nd(&pool, 2, &[4], 3, &input, &[2i32, 3], &mut output).unwrap();
        assert_eq!(output, [6, 7, 8, 21, 22, 23]);
    }
}
