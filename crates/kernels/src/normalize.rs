//! Normalizations along the last axis.

use crate::elementwise::affine::Affine;
use crate::elementwise::number::Float;
use crate::multiversion::multiversion;
use crate::reduce::lanes::{in_halves, in_lanes};
use crate::{Isa, ThreadPool};

/// Elements that are worth a task of their own.
const TASK_ELEMENTS: usize = 32 * 1024;

/// The four vectors of a batch normalization, each with an element for each channel.
#[derive(Clone, Copy, Debug)]
pub struct BatchNorm<'a, T> {
    /// The factor.
    pub gamma: &'a [T],
    /// The addend.
    pub beta: &'a [T],
    /// The mean of the inputs.
    pub mean: &'a [T],
    /// The variance of the inputs.
    pub variance: &'a [T],
    /// Added to the variance.
    pub epsilon: T,
}

/// `gamma * (x - mean) / sqrt(variance + epsilon) + beta` per channel of the last axis, computed as
/// `x * factor + addend` with both folded from the vectors.
///
/// # Panics
/// When the vectors' lengths differ or do not divide the input's, or input and output differ.
pub fn batch_norm<T: Float>(
    isa: Isa,
    pool: &ThreadPool,
    parameters: &BatchNorm<'_, T>,
    input: &[T],
    output: &mut [T],
) {
    let BatchNorm { gamma, beta, mean, variance, epsilon } = *parameters;
    let channels = gamma.len();
    assert!([beta, mean, variance].iter().all(|v| v.len() == channels), "vectors of one length");
    let factors: Vec<T> = gamma
        .iter()
        .zip(variance)
        .map(|(&gamma, &variance)| gamma.over(variance.plus(epsilon).square_root()))
        .collect();
    let shifts = beta.iter().zip(mean).zip(&factors);
    let addends: Vec<T> = shifts.map(|((&beta, &mean), &factor)| beta.minus(mean.times(factor))).collect();
    rows(pool, channels, input, output, |input, output| {
        scale_rows(isa, input, &factors, &addends, output);
    });
}

/// `gamma * (x - mean(x)) / sqrt(variance(x) + epsilon) + beta` over the last axis, where gamma and
/// beta have an element for each of its elements.
///
/// # Panics
/// When the lengths of gamma and beta differ or do not divide the input's, or input and output
/// differ.
pub fn layer_norm<T: Float>(
    isa: Isa,
    pool: &ThreadPool,
    gamma: &[T],
    beta: &[T],
    epsilon: T,
    input: &[T],
    output: &mut [T],
) {
    assert_eq!(gamma.len(), beta.len(), "vectors of one length");
    rows(pool, gamma.len(), input, output, |input, output| {
        layer_norm_rows(isa, input, gamma, beta, epsilon, output);
    });
}

/// `x / max(sqrt(sum(x^2)), least)` over the last axis of length `axis`; TFLite's `least` is 1e-6.
///
/// # Panics
/// When `axis` does not divide the input's length, or input and output differ.
pub fn l2_normalization<T: Float>(
    isa: Isa,
    pool: &ThreadPool,
    axis: usize,
    least: T,
    input: &[T],
    output: &mut [T],
) {
    rows(pool, axis, input, output, |input, output| l2_rows(isa, input, axis, least, output));
}

/// As [`l2_normalization`], for quantized bytes of zero point `zero_point` (the scale does not
/// matter); the output in TFLite has scale 1/128 and zero point 128. Correctly rounded, ties to even;
/// a row of zeros stays zeros.
///
/// # Panics
/// As [`l2_normalization`].
pub fn l2_normalization_quantized(
    pool: &ThreadPool,
    axis: usize,
    zero_point: u8,
    output_affine: Affine,
    input: &[u8],
    output: &mut [u8],
) {
    let steps = |x: u8| i64::from(x) - i64::from(zero_point);
    rows(pool, axis, input, output, |input, output| {
        for (input, output) in input.chunks_exact(axis).zip(output.chunks_exact_mut(axis)) {
            let squares: i64 = input.iter().map(|&x| steps(x) * steps(x)).sum();
            let norm = (squares.max(1) as f64).sqrt();
            for (o, &x) in output.iter_mut().zip(input) {
                *o = output_affine.nearest(steps(x) as f64 / norm);
            }
        }
    });
}

/// Calls `piece` for corresponding whole rows of input and output, in parallel.
fn rows<T: Sync, U: Send>(
    pool: &ThreadPool,
    row_len: usize,
    input: &[T],
    output: &mut [U],
    piece: impl Fn(&[T], &mut [U]) + Sync,
) {
    assert_eq!(input.len(), output.len(), "input and output must have equally many elements");
    let least = TASK_ELEMENTS.div_ceil(row_len.max(1));
    let per_task = pool.rows_per_task(output.len().checked_div(row_len).unwrap_or(0), least);
    pool.run_rows(output, row_len, per_task, |first, output| {
        piece(&input[first * row_len..][..output.len()], output);
    });
}

multiversion! {
    fn scale_rows[T: Float](input: &[T], factors: &[T], addends: &[T], output: &mut [T]) {
        let rows = input.chunks_exact(factors.len()).zip(output.chunks_exact_mut(factors.len()));
        for (input, output) in rows {
            let line = output.iter_mut().zip(input).zip(factors.iter().zip(addends));
            for ((o, &x), (&factor, &addend)) in line {
                *o = x.times(factor).plus(addend);
            }
        }
    }
}

multiversion! {
    fn layer_norm_rows[T: Float](input: &[T], gamma: &[T], beta: &[T], epsilon: T, output: &mut [T]) {
        let count = T::of(gamma.len() as f64);
        for (input, output) in input.chunks_exact(gamma.len()).zip(output.chunks_exact_mut(gamma.len())) {
            let mean = sum(input, |x: T| x).over(count);
            let variance = sum(input, |x: T| x.minus(mean).times(x.minus(mean))).over(count);
            let inverse = T::ONE.over(variance.plus(epsilon).square_root());
            let line = output.iter_mut().zip(input).zip(gamma.iter().zip(beta));
            for ((o, &x), (&gamma, &beta)) in line {
                *o = x.minus(mean).times(inverse).times(gamma).plus(beta);
            }
        }
    }
}

multiversion! {
    fn l2_rows[T: Float](input: &[T], axis: usize, least: T, output: &mut [T]) {
        for (input, output) in input.chunks_exact(axis).zip(output.chunks_exact_mut(axis)) {
            let norm = sum(input, |x: T| x.times(x)).square_root().larger(least);
            for (o, &x) in output.iter_mut().zip(input) {
                *o = x.over(norm);
            }
        }
    }
}

/// The sum of `term(x)`, in lanes.
#[inline(always)]
fn sum<T: Float>(line: &[T], term: impl Fn(T) -> T) -> T {
    in_halves(in_lanes(line, T::ZERO, |lane: T, x| lane.plus(term(x))), |a, b| a.plus(b))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn input(len: usize) -> Vec<f64> {
        (0..len).map(|i| ((i * 7919 % 1009) as f64 - 400.0) * 0.01).collect()
    }

    fn close(output: &[f32], expected: &[f64]) -> bool {
        output.iter().zip(expected).all(|(&o, &e)| (f64::from(o) - e).abs() < 2e-5)
    }

    /// Runs `kernel` on every level, in one and in three threads, and checks that the bits agree.
    fn same_everywhere(len: usize, kernel: impl Fn(Isa, &ThreadPool, &mut [f32])) -> Vec<f32> {
        let mut first: Option<Vec<f32>> = None;
        for isa in Isa::available_levels() {
            for threads in [1, 3] {
                let mut output = vec![0.0; len];
                kernel(isa, &ThreadPool::new(threads), &mut output);
                assert_eq!(&output, first.get_or_insert_with(|| output.clone()), "{isa}");
            }
        }
        first.unwrap_or_default()
    }

    #[test]
    fn batch_norm_follows_its_formula() {
        let channels = 37;
        let x = input(channels * 2000);
        let vector = |offset: f64, step: f64| -> Vec<f64> {
            (0..channels).map(|i| offset + i as f64 * step).collect()
        };
        let (gamma, beta, mean, variance) =
            (vector(0.5, 0.1), vector(-1.0, 0.02), vector(0.3, 0.01), vector(0.2, 0.05));
        let expected: Vec<f64> = (x.iter().enumerate())
            .map(|(i, x)| (i % channels, x))
            .map(|(c, x)| gamma[c] * (x - mean[c]) / (variance[c] + 1e-3).sqrt() + beta[c])
            .collect();
        let single = |v: &[f64]| -> Vec<f32> { v.iter().map(|&x| x as f32).collect() };
        let vectors = [&gamma, &beta, &mean, &variance].map(|v| single(v));
        let [gamma, beta, mean, variance] = &vectors;
        let parameters = BatchNorm { gamma, beta, mean, variance, epsilon: 1e-3 };
        let x = single(&x);
        let output =
            same_everywhere(x.len(), |isa, pool, output| batch_norm(isa, pool, &parameters, &x, output));
        assert!(close(&output, &expected));
    }

    #[test]
    fn layer_norm_and_l2_follow_their_formulas() {
        let axis = 197;
        let x = input(axis * 300);
        let (mut normalized, mut unit) = (Vec::new(), Vec::new());
        for row in x.chunks(axis) {
            let mean = row.iter().sum::<f64>() / axis as f64;
            let variance = row.iter().map(|x| (x - mean) * (x - mean)).sum::<f64>() / axis as f64;
            normalized.extend(row.iter().map(|x| 2.0 * (x - mean) / (variance + 1e-5).sqrt() - 1.0));
            let norm = row.iter().map(|x| x * x).sum::<f64>().sqrt();
            unit.extend(row.iter().map(|x| x / norm));
        }
        let x: Vec<f32> = x.iter().map(|&x| x as f32).collect();
        let (gamma, beta) = (vec![2.0; axis], vec![-1.0; axis]);
        let output = same_everywhere(x.len(), |isa, pool, output| {
            layer_norm(isa, pool, &gamma, &beta, 1e-5, &x, output)
        });
        assert!(close(&output, &normalized));
        let output =
            same_everywhere(x.len(), |isa, pool, output| l2_normalization(isa, pool, axis, 1e-6, &x, output));
        assert!(close(&output, &unit));
    }

    #[test]
    fn quantized_rows_become_unit_length() {
        let mut output = [0; 6];
        let affine = Affine::from_int8(1.0 / 128.0, 0);
        l2_normalization_quantized(
            &ThreadPool::new(1),
            3,
            10,
            affine,
            &[13, 14, 10, 10, 10, 10],
            &mut output,
        );
        // 3/5 and 4/5 in steps of 1/128.
        assert_eq!(output, [128 + 77, 128 + 102, 128, 128, 128, 128]);
    }
}
