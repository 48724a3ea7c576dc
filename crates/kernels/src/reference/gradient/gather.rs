//! Taking slices by index, one element at a time.

use crate::elementwise::number::Float;
use crate::movement::Index;

/// The gradient of [`gather`](crate::movement::gather) with respect to its table.
#[must_use]
pub fn gather<T: Float, I: Index>(
    [batch, outer, len, inner]: [usize; 4],
    indices: &[I],
    output_gradient: &[T],
) -> Vec<T> {
    let count = indices.len() / batch;
    let mut table = vec![T::ZERO; batch * outer * len * inner];
    for row in 0..batch * outer {
        for place in 0..count {
            let index: i64 = indices[row / outer * count + place].into();
            let Some(index) = usize::try_from(index).ok().filter(|index| *index < len) else { continue };
            for element in 0..inner {
                let sum = &mut table[(row * len + index) * inner + element];
                *sum = sum.plus(output_gradient[(row * count + place) * inner + element]);
            }
        }
    }
    table
}
