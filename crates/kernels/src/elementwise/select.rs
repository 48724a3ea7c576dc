//! Choosing between two tensors element by element.

use super::broadcast::{Broadcast, Segment};
use crate::ThreadPool;

/// `output = if condition { a } else { b }`, all three broadcast; `plan` is made of the shapes of
/// the condition, `a` and `b`, in this order. A byte other than 0 is true.
///
/// # Panics
/// When a length does not fit `plan`.
pub fn select<T: Copy + Send + Sync>(
    pool: &ThreadPool,
    plan: &Broadcast<3>,
    condition: &[u8],
    [a, b]: [&[T]; 2],
    output: &mut [T],
) {
    let [step_c, step_a, step_b] = plan.inner_strides();
    plan.run(pool, [condition.len(), a.len(), b.len()], output, |first, piece| {
        for Segment { offsets: [at_c, at_a, at_b], outputs } in plan.segments(first, piece.len()) {
            for (i, o) in piece[outputs].iter_mut().enumerate() {
                let chosen = condition[at_c + i * step_c] != 0;
                *o = if chosen { a[at_a + i * step_a] } else { b[at_b + i * step_b] };
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_three_operands_broadcast() {
        let plan = Broadcast::new([&[2, 1], &[3], &[]]).unwrap();
        let mut output = [0u16; 6];
        select(&ThreadPool::new(1), &plan, &[0, 9], [&[1, 2, 3], &[8]], &mut output);
        assert_eq!(output, [8, 8, 8, 1, 2, 3]);
    }
}
