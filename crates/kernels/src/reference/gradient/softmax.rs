//! Gradients of softmax and its logarithm, one line at a time.

use crate::elementwise::number::Float;

/// Fills each line of the middle axis with what `line(y, dy)` makes of it.
fn lines<T: Float>(
    [outer, axis, inner]: [usize; 3],
    y: &[T],
    dy: &[T],
    line: impl Fn(&[T], &[T]) -> Vec<T>,
) -> Vec<T> {
    let mut dx = vec![T::ZERO; y.len()];
    for number in 0..outer * inner {
        let at = |i: usize| (number / inner * axis + i) * inner + number % inner;
        let of = |tensor: &[T]| -> Vec<T> { (0..axis).map(|i| tensor[at(i)]).collect() };
        for (i, value) in line(&of(y), &of(dy)).into_iter().enumerate() {
            dx[at(i)] = value;
        }
    }
    dx
}

/// `beta * (dy - sum(dy * y)) * y`.
#[must_use]
pub fn softmax<T: Float>(shape: [usize; 3], beta: T, y: &[T], dy: &[T]) -> Vec<T> {
    lines(shape, y, dy, |y, dy| {
        let sum = y.iter().zip(dy).fold(T::ZERO, |sum, (&y, &dy)| sum.plus(y.times(dy)));
        y.iter().zip(dy).map(|(&y, &dy)| dy.minus(sum).times(y).times(beta)).collect()
    })
}

/// `dy - e^y * sum(dy)`.
#[must_use]
pub fn log_softmax<T: Float>(shape: [usize; 3], y: &[T], dy: &[T]) -> Vec<T> {
    lines(shape, y, dy, |y, dy| {
        let sum = dy.iter().fold(T::ZERO, |sum, &dy| sum.plus(dy));
        y.iter().zip(dy).map(|(&y, &dy)| dy.minus(y.exp().times(sum))).collect()
    })
}
