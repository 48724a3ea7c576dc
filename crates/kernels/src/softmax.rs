//! Softmax and its logarithm along the middle axis of `[outer, axis, inner]`.

use crate::elementwise::affine::Affine;
use crate::elementwise::number::Float;
use crate::elementwise::table::Table;
use crate::multiversion::multiversion;
use crate::reduce::lanes::{in_halves, in_lanes};
use crate::{Isa, ThreadPool};

/// Elements that are worth a task of their own.
const TASK_ELEMENTS: usize = 8 * 1024;

/// `e^(beta x) / sum(e^(beta x))` along the middle axis.
///
/// # Panics
/// When a length does not fit.
pub fn softmax<T: Float>(
    isa: Isa,
    pool: &ThreadPool,
    shape: [usize; 3],
    beta: T,
    input: &[T],
    output: &mut [T],
) {
    lines(pool, shape, input, output, |input, output| softmax_line(isa, input, output, beta));
}

/// `log(softmax(x))` along the middle axis.
///
/// # Panics
/// When a length does not fit.
pub fn log_softmax<T: Float>(isa: Isa, pool: &ThreadPool, shape: [usize; 3], input: &[T], output: &mut [T]) {
    lines(pool, shape, input, output, |input, output| log_softmax_line(isa, input, output));
}

/// Softmax and its logarithm of quantized bytes, prepared for a scale (the zero point does not
/// matter). Correctly rounded, ties to even, and equal to LiteRT's in every value.
#[derive(Clone, Debug)]
pub struct QuantizedSoftmax {
    scale: f64,
    /// `e^(-scale * steps)` for each number of steps below the largest element.
    exponentials: Box<[f64; 256]>,
    /// The same in steps of 2^-40: sums of these are exact, so their order does not matter.
    fixed: Box<[u64; 256]>,
}

impl QuantizedSoftmax {
    const ONE: f64 = (1u64 << 40) as f64;

    /// Prepares for inputs of this scale, times the factor `beta`.
    ///
    /// # Panics
    /// When the product is negative or not finite.
    #[must_use]
    pub fn new(scale: f32, beta: f32) -> QuantizedSoftmax {
        let scale = f64::from(scale) * f64::from(beta);
        assert!(scale.is_finite() && scale >= 0.0, "a scale must be finite and positive, not {scale}");
        let exponentials = std::array::from_fn(|below| libm::exp(-scale * below as f64));
        let fixed = exponentials.map(|x| (x * Self::ONE).round_ties_even() as u64);
        QuantizedSoftmax { scale, exponentials: Box::new(exponentials), fixed: Box::new(fixed) }
    }

    /// `e^(beta x) / sum(e^(beta x))` along the middle axis; the output has scale 1/256 and zero
    /// point 0 (-128 in a model's `int8`).
    ///
    /// # Panics
    /// When a length does not fit.
    pub fn apply(&self, isa: Isa, pool: &ThreadPool, shape: [usize; 3], input: &[u8], output: &mut [u8]) {
        lines(pool, shape, input, output, |input, output| {
            let largest = largest_byte(isa, input);
            let mut by_distance = [0; 256];
            round_products(isa, &self.exponentials, 256.0 / self.sum(input, largest), &mut by_distance);
            let table = Table::from_fn(|x| by_distance[usize::from(largest.saturating_sub(x))]);
            table.look_up(isa, input, output);
        });
    }

    /// The logarithm of the softmax along the middle axis, in TFLite with scale 1/16 and zero point
    /// 255 (127 in `int8`).
    ///
    /// # Panics
    /// When a length does not fit.
    pub fn apply_log(
        &self,
        isa: Isa,
        pool: &ThreadPool,
        shape: [usize; 3],
        output_affine: Affine,
        input: &[u8],
        output: &mut [u8],
    ) {
        lines(pool, shape, input, output, |input, output| {
            let largest = largest_byte(isa, input);
            let log_sum = libm::log(self.sum(input, largest));
            for (o, &x) in output.iter_mut().zip(input) {
                *o = output_affine.nearest(-self.scale * f64::from(largest - x) - log_sum);
            }
        });
    }

    /// The sum of `e^(scale * (x - largest))`.
    fn sum(&self, line: &[u8], largest: u8) -> f64 {
        let mut sums = [0u64; 4];
        let (whole, rest) = line.as_chunks::<4>();
        for elements in whole {
            for (sum, &x) in sums.iter_mut().zip(elements) {
                *sum += self.fixed[usize::from(largest - x)];
            }
        }
        let rest: u64 = rest.iter().map(|&x| self.fixed[usize::from(largest - x)]).sum();
        (sums.iter().sum::<u64>() + rest) as f64 / Self::ONE
    }
}

multiversion! {
    fn largest_byte(line: &[u8]) -> u8 {
        line.iter().fold(0, |largest, &x| largest.max(x))
    }
}

multiversion! {
    /// `xs * scale`, rounded to nearest, ties to even, and saturated; the products are at least 0.
    fn round_products(xs: &[f64; 256], scale: f64, output: &mut [u8; 256]) {
        // Adding 2^52 leaves the nearest integer in the low bits of the mantissa.
        const MAGIC: f64 = (1u64 << 52) as f64;
        for (o, &x) in output.iter_mut().zip(xs) {
            let product = x * scale;
            let held = if product < 255.0 { product } else { 255.0 };
            *o = (held + MAGIC).to_bits() as u8;
        }
    }
}

/// Calls `line` for each line of the middle axis, in parallel; lines that do not lie together in
/// memory are gathered and scattered.
fn lines<T: Copy + Default + Send + Sync>(
    pool: &ThreadPool,
    [outer, axis, inner]: [usize; 3],
    input: &[T],
    output: &mut [T],
    line: impl Fn(&[T], &mut [T]) + Sync,
) {
    assert_eq!(input.len(), outer * axis * inner, "the input must have the length of its shape");
    assert_eq!(output.len(), input.len(), "input and output must have equally many elements");
    let slab = axis * inner;
    let rows = pool.rows_per_task(outer, TASK_ELEMENTS.div_ceil(slab.max(1)));
    pool.run_rows(output, slab, rows, |first, piece| {
        let inputs = input[first * slab..].chunks_exact(slab);
        let (mut gathered, mut results) = (Vec::new(), vec![T::default(); axis]);
        for (input, output) in inputs.zip(piece.chunks_exact_mut(slab)) {
            if inner == 1 {
                line(input, output);
                continue;
            }
            for column in 0..inner {
                gathered.clear();
                gathered.extend(input[column..].iter().step_by(inner));
                line(&gathered, &mut results);
                for (o, &result) in output[column..].iter_mut().step_by(inner).zip(&results) {
                    *o = result;
                }
            }
        }
    });
}

multiversion! {
    fn softmax_line[T: Float](input: &[T], output: &mut [T], beta: T) {
        let largest = largest(input);
        for (o, &x) in output.iter_mut().zip(input) {
            *o = x.minus(largest).times(beta).exp();
        }
        let sum = sum(output);
        for o in output {
            *o = o.over(sum);
        }
    }
}

multiversion! {
    fn log_softmax_line[T: Float](input: &[T], output: &mut [T]) {
        let largest = largest(input);
        for (o, &x) in output.iter_mut().zip(input) {
            *o = x.minus(largest).exp();
        }
        let log_sum = sum(output).log();
        for (o, &x) in output.iter_mut().zip(input) {
            *o = x.minus(largest).minus(log_sum);
        }
    }
}

#[inline(always)]
fn largest<T: Float>(line: &[T]) -> T {
    fold(line, T::LOWEST, |a: T, b| a.larger(b))
}

#[inline(always)]
fn sum<T: Float>(line: &[T]) -> T {
    fold(line, T::ZERO, |a: T, b| a.plus(b))
}

#[inline(always)]
fn fold<T: Float>(line: &[T], identity: T, operation: impl Fn(T, T) -> T) -> T {
    in_halves(in_lanes(line, identity, &operation), operation)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn input(len: usize) -> Vec<f32> {
        (0..len).map(|i| ((i * 7919 % 1009) as f32 - 500.0) * 0.02).collect()
    }

    /// Softmax of every line, in double precision.
    fn truth([outer, axis, inner]: [usize; 3], input: &[f64]) -> Vec<f64> {
        let mut output = vec![0.0; input.len()];
        for line in 0..outer * inner {
            let at = |i: usize| (line / inner * axis + i) * inner + line % inner;
            let largest = (0..axis).map(|i| input[at(i)]).fold(f64::NEG_INFINITY, f64::max);
            let sum: f64 = (0..axis).map(|i| (input[at(i)] - largest).exp()).sum();
            (0..axis).for_each(|i| output[at(i)] = (input[at(i)] - largest).exp() / sum);
        }
        output
    }

    const SHAPES: [[usize; 3]; 5] = [[1, 1, 1], [3, 10, 1], [2, 1000, 1], [4, 7, 5], [50, 197, 1]];

    #[test]
    fn floats_follow_double_precision_with_equal_bits_on_every_level() {
        for shape in SHAPES {
            let input = input(shape.iter().product());
            let expected = truth(shape, &input.iter().map(|&x| f64::from(x) * 0.5).collect::<Vec<_>>());
            let mut first: Option<Vec<f32>> = None;
            for isa in Isa::available_levels() {
                for threads in [1, 3] {
                    let pool = ThreadPool::new(threads);
                    let mut output = vec![0.0; input.len()];
                    softmax(isa, &pool, shape, 0.5, &input, &mut output);
                    assert!(output.iter().zip(&expected).all(|(&o, &e)| (f64::from(o) - e).abs() < 1e-6));
                    assert_eq!(&output, first.get_or_insert_with(|| output.clone()), "{isa}");
                    let halves: Vec<f32> = input.iter().map(|x| x * 0.5).collect();
                    log_softmax(isa, &pool, shape, &halves, &mut output);
                    assert!(
                        output.iter().zip(&expected).all(|(&o, &e)| (f64::from(o) - e.ln()).abs() < 1e-4)
                    );
                }
            }
        }
    }

    #[test]
    fn bytes_are_correctly_rounded() {
        for shape in SHAPES {
            let input: Vec<u8> = (0..shape.iter().product()).map(|i: usize| (i * 7919 % 253) as u8).collect();
            let real: Vec<f64> = input.iter().map(|&x| f64::from(x) * f64::from(0.04f32)).collect();
            let expected = truth(shape, &real);
            let softmax = QuantizedSoftmax::new(0.04, 1.0);
            for isa in Isa::available_levels() {
                let pool = ThreadPool::new(2);
                let mut output = vec![0; input.len()];
                softmax.apply(isa, &pool, shape, &input, &mut output);
                let rounded = expected.iter().map(|e| (e * 256.0).round_ties_even() as u8);
                assert!(output.iter().copied().eq(rounded), "{isa}");
                let affine = Affine::from_int8(1.0 / 16.0, 127);
                softmax.apply_log(isa, &pool, shape, affine, &input, &mut output);
                assert!(output.iter().copied().eq(expected.iter().map(|e| affine.nearest(e.ln()))), "{isa}");
            }
        }
    }

    #[test]
    fn a_certain_class_saturates() {
        let mut output = [0; 3];
        let softmax = QuantizedSoftmax::new(0.5, 2.0);
        softmax.apply(Isa::detect(), &ThreadPool::new(1), [1, 3, 1], &[255, 0, 3], &mut output);
        assert_eq!(output, [255, 0, 0]);
    }
}
