//! The gradient of taking slices by index.

use crate::ThreadPool;
use crate::elementwise::TASK_ELEMENTS;
use crate::elementwise::number::Float;
use crate::movement::Index;

/// The gradient of [`gather`](crate::movement::gather) with respect to its table `[batch, outer, len,
/// inner]`: each slice gets the sum, in the order of the indices, of the gradients of all places that it was
/// taken to. The indices are `[batch, count]`, the output's gradient is `[batch, outer, count, inner]`.
/// An index outside of the axis, which the forward kernel refuses, is passed over.
///
/// # Panics
/// When a length does not fit.
pub fn gather<T: Float, I: Index>(
    pool: &ThreadPool,
    [batch, outer, len, inner]: [usize; 4],
    indices: &[I],
    output_gradient: &[T],
    table_gradient: &mut [T],
) {
    let count = indices.len().checked_div(batch).unwrap_or(0);
    assert_eq!(indices.len(), batch * count, "each batch must have equally many indices");
    assert_eq!(
        output_gradient.len(),
        batch * outer * count * inner,
        "the output must have its shape's length"
    );
    assert_eq!(table_gradient.len(), batch * outer * len * inner, "the table must have its shape's length");
    let takers: Vec<Takers> =
        (0..batch).map(|batch| Takers::new(len, &indices[batch * count..][..count])).collect();
    let rows = pool.rows_per_task(batch * outer * len, TASK_ELEMENTS.div_ceil(inner.max(1)));
    pool.run_rows(table_gradient, inner, rows, |first, piece| {
        for (row, slice) in (first..).zip(piece.chunks_exact_mut(inner)) {
            slice.fill(T::ZERO);
            let table = row / len;
            for place in takers[table / outer].of(row % len) {
                let received = &output_gradient[(table * count + place) * inner..][..inner];
                slice.iter_mut().zip(received).for_each(|(sum, received)| *sum = sum.plus(*received));
            }
        }
    });
}

/// The places that each slice was taken to.
struct Takers {
    /// Where the places of each slice begin in `places`, and where the last ones end.
    starts: Vec<usize>,
    places: Vec<usize>,
}

impl Takers {
    fn new<I: Index>(len: usize, indices: &[I]) -> Takers {
        let slice = |index: &I| usize::try_from((*index).into()).ok().filter(|index| *index < len);
        let mut starts = vec![0; len + 1];
        indices.iter().filter_map(slice).for_each(|index| starts[index + 1] += 1);
        (0..len).for_each(|index| starts[index + 1] += starts[index]);
        let mut next = starts.clone();
        let mut places = vec![0; starts[len]];
        for (place, index) in indices.iter().enumerate() {
            if let Some(index) = slice(index) {
                places[next[index]] = place;
                next[index] += 1;
            }
        }
        Takers { starts, places }
    }

    fn of(&self, slice: usize) -> impl Iterator<Item = usize> + '_ {
        self.places[self.starts[slice]..self.starts[slice + 1]].iter().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reference::gradient::gather as reference;

    #[test]
    fn gradients_follow_the_plain_loops() {
        for shape @ [batch, outer, len, inner] in [[1, 1, 50, 16], [2, 3, 7, 5], [1, 4, 1, 1], [3, 1, 9, 33]]
        {
            for count in [0, 1, 20] {
                let indices: Vec<i32> = (0..batch * count).map(|i| (i * i * 31 % (len + 1)) as i32).collect();
                let received: Vec<f32> = (0..batch * outer * count * inner)
                    .map(|i| ((i * 7919 % 1009) as f32 - 500.0) * 0.01)
                    .collect();
                let expected = reference::gather(shape, &indices, &received);
                for threads in [1, 3] {
                    let mut table = vec![7.0; expected.len()];
                    gather(&ThreadPool::new(threads), shape, &indices, &received, &mut table);
                    assert_eq!(table, expected, "{shape:?}, {count} indices");
                }
            }
        }
    }
}
