//! Gradients of softmax and its logarithm along the middle axis of `[outer, axis, inner]`.

use crate::elementwise::number::Float;
use crate::multiversion::multiversion;
use crate::{Isa, ThreadPool};

/// Elements that are worth a task of their own.
const TASK_ELEMENTS: usize = 8 * 1024;

/// The gradient of [`softmax`](crate::softmax::softmax) from its output `y`:
/// `beta * (dy - sum(dy * y)) * y`.
///
/// # Panics
/// When a length does not fit.
pub fn softmax<T: Float>(
    isa: Isa,
    pool: &ThreadPool,
    shape: [usize; 3],
    beta: T,
    output: &[T],
    output_gradient: &[T],
    input_gradient: &mut [T],
) {
    slabs(pool, shape, [output, output_gradient], input_gradient, |y, dy, dx| {
        softmax_slab(isa, shape[2], beta, y, dy, dx);
    });
}

/// The gradient of [`log_softmax`](crate::softmax::log_softmax) from its output `y`:
/// `dy - e^y * sum(dy)`.
///
/// # Panics
/// When a length does not fit.
pub fn log_softmax<T: Float>(
    isa: Isa,
    pool: &ThreadPool,
    shape: [usize; 3],
    output: &[T],
    output_gradient: &[T],
    input_gradient: &mut [T],
) {
    slabs(pool, shape, [output, output_gradient], input_gradient, |y, dy, dx| {
        log_softmax_slab(isa, shape[2], y, dy, dx);
    });
}

/// Calls `slab` for the `[axis, inner]` parts, in parallel.
fn slabs<T: Float>(
    pool: &ThreadPool,
    [outer, axis, inner]: [usize; 3],
    [y, dy]: [&[T]; 2],
    dx: &mut [T],
    slab: impl Fn(&[T], &[T], &mut [T]) + Sync,
) {
    let len = axis * inner;
    assert!([y.len(), dy.len(), dx.len()] == [outer * len; 3], "tensors must have the length of their shape");
    let rows = pool.rows_per_task(outer, TASK_ELEMENTS.div_ceil(len.max(1)));
    pool.run_rows(dx, len, rows, |first, piece| {
        let inputs = y[first * len..].chunks_exact(len).zip(dy[first * len..].chunks_exact(len));
        for ((y, dy), dx) in inputs.zip(piece.chunks_exact_mut(len)) {
            slab(y, dy, dx);
        }
    });
}

multiversion! {
    fn softmax_slab[T: Float](inner: usize, beta: T, y: &[T], dy: &[T], dx: &mut [T]) {
        if inner == 1 {
            let sum = sum_of_line(y, dy, |y: T, dy| dy.times(y));
            for ((dx, &y), &dy) in dx.iter_mut().zip(y).zip(dy) {
                *dx = dy.minus(sum).times(y).times(beta);
            }
            return;
        }
        let sums = sums_of_columns(inner, y, dy, |y: T, dy| dy.times(y));
        let rows = y.chunks_exact(inner).zip(dy.chunks_exact(inner));
        for ((y, dy), dx) in rows.zip(dx.chunks_exact_mut(inner)) {
            for (((dx, &y), &dy), &sum) in dx.iter_mut().zip(y).zip(dy).zip(&sums) {
                *dx = dy.minus(sum).times(y).times(beta);
            }
        }
    }
}

multiversion! {
    fn log_softmax_slab[T: Float](inner: usize, y: &[T], dy: &[T], dx: &mut [T]) {
        let sums = sums_of_columns(inner, y, dy, |_: T, dy| dy);
        let rows = y.chunks_exact(inner).zip(dy.chunks_exact(inner));
        for ((y, dy), dx) in rows.zip(dx.chunks_exact_mut(inner)) {
            for (((dx, &y), &dy), &sum) in dx.iter_mut().zip(y).zip(dy).zip(&sums) {
                *dx = dy.minus(y.exp().times(sum));
            }
        }
    }
}

/// The sum of `term(y, dy)`, in lanes, so that every vector width gives the same bits.
#[inline(always)]
fn sum_of_line<T: Float>(y: &[T], dy: &[T], term: impl Fn(T, T) -> T) -> T {
    const LANES: usize = 16;
    let mut lanes = [T::ZERO; LANES];
    let ((whole_y, rest_y), (whole_dy, rest_dy)) = (y.as_chunks::<LANES>(), dy.as_chunks::<LANES>());
    for (y, dy) in whole_y.iter().zip(whole_dy) {
        for i in 0..LANES {
            lanes[i] = lanes[i].plus(term(y[i], dy[i]));
        }
    }
    for (lane, (&y, &dy)) in lanes.iter_mut().zip(rest_y.iter().zip(rest_dy)) {
        *lane = lane.plus(term(y, dy));
    }
    crate::reduce::lanes::in_halves(lanes, |a, b| a.plus(b))
}

/// The sum of `term(y, dy)` along the axis, for each of the inner elements.
#[inline(always)]
fn sums_of_columns<T: Float>(inner: usize, y: &[T], dy: &[T], term: impl Fn(T, T) -> T) -> Vec<T> {
    if inner == 1 {
        return vec![sum_of_line(y, dy, term)];
    }
    let mut sums = vec![T::ZERO; inner];
    for (y, dy) in y.chunks_exact(inner).zip(dy.chunks_exact(inner)) {
        for ((sum, &y), &dy) in sums.iter_mut().zip(y).zip(dy) {
            *sum = sum.plus(term(y, dy));
        }
    }
    sums
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reference::gradient::softmax as reference;

    const SHAPES: [[usize; 3]; 5] = [[1, 1, 1], [3, 10, 1], [2, 1000, 1], [4, 7, 5], [50, 197, 1]];

    fn double(x: &[f32]) -> Vec<f64> {
        x.iter().map(|&x| f64::from(x)).collect()
    }

    #[test]
    fn gradients_follow_the_plain_loops_with_equal_bits_everywhere() {
        for shape in SHAPES {
            let len = shape.iter().product();
            let x: Vec<f32> = (0..len).map(|i| ((i * 7919 % 1009) as f32 - 500.0) * 0.01).collect();
            let dy: Vec<f32> = (0..len).map(|i| ((i * 6037 % 911) as f32 - 450.0) * 0.01).collect();
            let (mut y, mut log) = (vec![0.0; len], vec![0.0; len]);
            let pool = ThreadPool::new(1);
            crate::softmax::softmax(Isa::detect(), &pool, shape, 0.5, &x, &mut y);
            crate::softmax::log_softmax(Isa::detect(), &pool, shape, &x, &mut log);
            let expected = reference::softmax(shape, 0.5, &double(&y), &double(&dy));
            let expected_log = reference::log_softmax(shape, &double(&log), &double(&dy));
            let mut first: Option<[Vec<f32>; 2]> = None;
            for isa in Isa::available_levels() {
                for threads in [1, 3] {
                    let pool = ThreadPool::new(threads);
                    let mut dx = [vec![7.0; len], vec![7.0; len]];
                    softmax(isa, &pool, shape, 0.5, &y, &dy, &mut dx[0]);
                    log_softmax(isa, &pool, shape, &log, &dy, &mut dx[1]);
                    for (dx, expected) in dx.iter().zip([&expected, &expected_log]) {
                        let close =
                            |(&o, &e): (&f32, &f64)| (f64::from(o) - e).abs() < 2e-5 * e.abs().max(1.0);
                        assert!(dx.iter().zip(expected).all(close), "{shape:?}");
                    }
                    assert_eq!(&dx, first.get_or_insert_with(|| dx.clone()));
                }
            }
        }
    }

    #[test]
    fn the_references_agree_with_finite_differences() {
        let (shape, pool) = ([2, 5, 3], ThreadPool::new(1));
        let x: Vec<f64> = (0..30).map(|i| (i as f64 * 1.3).sin()).collect();
        let dy: Vec<f64> = (0..30).map(|i| (i as f64 * 0.7).cos()).collect();
        let forward = |x: &[f64], log: bool| {
            let mut y = vec![0.0; 30];
            if log {
                crate::softmax::log_softmax(Isa::Portable, &pool, shape, x, &mut y);
            } else {
                crate::softmax::softmax(Isa::Portable, &pool, shape, 0.7, x, &mut y);
            }
            y
        };
        for log in [false, true] {
            let y = forward(&x, log);
            let dx = if log {
                reference::log_softmax(shape, &y, &dy)
            } else {
                reference::softmax(shape, 0.7, &y, &dy)
            };
            for i in 0..30 {
                let loss = |step: f64| -> f64 {
                    let mut x = x.clone();
                    x[i] += step;
                    forward(&x, log).iter().zip(&dy).map(|(y, d)| y * d).sum()
                };
                assert!((dx[i] - (loss(1e-5) - loss(-1e-5)) / 2e-5).abs() < 1e-8);
            }
        }
    }
}
