//! Batch normalization in training, channels last: `[rows, channels]`, where the rows are the pixels
//! of all samples.

#![allow(
    clippy::too_many_arguments,
    reason = "slices that are arguments themselves do not overlap for the compiler; those inside a struct might"
)]

pub(in crate::gradient) mod rows;

use rows::{
    Between, Open, Passes, STATISTICS_ROWS, block_statistics, block_sums, frozen_rows, gradient_rows,
    join_statistics, normalize_rows,
};

use crate::elementwise::number::Float;
use crate::pool::DisjointSlice;
use crate::{Isa, ThreadPool};

/// Elements that are worth a task of their own.
const TASK_ELEMENTS: usize = 32 * 1024;

/// Most blocks of rows that sums are formed in.
const MOST_BLOCKS: usize = 64;

/// How channels are normalized: `(x - mean) * gamma / sqrt(variance + epsilon) + beta`, held within
/// `bounds`.
#[derive(Clone, Copy, Debug)]
pub struct BatchNorm<'a, T> {
    /// The mean of each channel.
    pub mean: &'a [T],
    /// The biased variance of each channel.
    pub variance: &'a [T],
    /// Added to the variance.
    pub epsilon: T,
    /// The factor of each channel; `None` stands for ones.
    pub gamma: Option<&'a [T]>,
    /// The addend of each channel; `None` stands for zeros.
    pub beta: Option<&'a [T]>,
    /// The bounds of a fused activation (ReLU: 0 and infinity), `None` without one.
    pub bounds: Option<[T; 2]>,
}

/// What [`gradient`] writes; `None` is not wanted.
#[derive(Debug, Default)]
pub struct Gradients<'a, T> {
    /// With respect to the input, as long as it.
    pub input: Option<&'a mut [T]>,
    /// With respect to gamma, an element for each channel.
    pub gamma: Option<&'a mut [T]>,
    /// With respect to beta, an element for each channel.
    pub beta: Option<&'a mut [T]>,
}

/// What the mean and the variance were when the output was computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Statistics {
    /// Those of this very batch: they depend on the input.
    Batch,
    /// Fixed numbers: the running averages of a frozen layer.
    Frozen,
}

/// The mean and the biased variance of each channel over all rows of `[rows, channels]`.
///
/// Groups of a few rows are reduced in registers and joined by the formulas of Chan, Golub and
/// LeVeque (1979), within blocks of rows and then over the blocks: one pass over memory without the
/// cancellation of a sum of squares. No rows give 0/0.
///
/// # Panics
/// When the lengths of `mean` and `variance` differ or do not divide that of `input`.
pub fn statistics<T: Float>(isa: Isa, pool: &ThreadPool, input: &[T], mean: &mut [T], variance: &mut [T]) {
    let channels = mean.len();
    assert_eq!(channels, variance.len(), "vectors of one length");
    let blocks = Blocks::new(input.len(), channels);
    let partials = blocks.sum(pool, 2 * channels, |rows, partial| {
        let (mean, deviation) = partial.split_at_mut(channels);
        block_statistics(isa, 0, &input[rows.start * channels..rows.end * channels], mean, deviation);
    });
    let joined = partials.chunks_exact(2 * channels.max(1)).enumerate();
    join(isa, joined.map(|(index, partial)| (blocks.rows(index).len(), partial)), mean, variance);
}

/// The mean and the variance from those of blocks, of which the number of rows, the means and the sums of
/// squared deviations are given, in order.
pub(in crate::gradient) fn join<'a, T: Float + 'a>(
    isa: Isa,
    blocks: impl Iterator<Item = (usize, &'a [T])>,
    mean: &mut [T],
    variance: &mut [T],
) {
    mean.fill(T::ZERO);
    variance.fill(T::ZERO);
    let mut before = 0;
    for (rows, partial) in blocks {
        let (block_mean, block_deviation) = partial.split_at(mean.len());
        join_statistics(isa, before, rows, block_mean, block_deviation, mean, variance);
        before += rows;
    }
    let count = T::of(before as f64);
    for (mean, variance) in mean.iter_mut().zip(variance) {
        *variance = variance.over(count);
        if before == 0 {
            *mean = mean.over(count);
        }
    }
}

/// `output = clamp((input - mean) * gamma / sqrt(variance + epsilon) + beta)`.
///
/// # Panics
/// When the vectors' lengths differ or do not divide the input's, or input and output differ.
pub fn normalize<T: Float>(
    isa: Isa,
    pool: &ThreadPool,
    parameters: &BatchNorm<'_, T>,
    input: &[T],
    output: &mut [T],
) {
    let vectors = Vectors::new(parameters);
    vectors.check(&[input, output]);
    in_rows(pool, vectors.mean.len(), output, |range, output| {
        normalize_rows(
            isa,
            &input[range],
            vectors.mean,
            &vectors.factor,
            &vectors.beta,
            parameters.bounds.unwrap_or([T::LOWEST, T::HIGHEST]),
            output,
        );
    });
}

/// The vector-Jacobian product of [`normalize`] and, for [`Statistics::Batch`], of [`statistics`]
/// before it.
///
/// `output_gradient` belongs to the (clamped) output. Where the activation cut the output off, at the
/// bounds themselves too, nothing passes; where that is, is found again from the input. With `d` the
/// output gradient that passes, `n` rows and `z = (x - mean) / sqrt(variance + epsilon)`:
/// the gradient of beta is `sum(d)`, that of gamma `sum(d * z)`, and that of the input
/// `gamma / sqrt(variance + epsilon) * (d - sum(d) / n - z * sum(d * z) / n)`, of which
/// [`Statistics::Frozen`] keeps the first term alone (Ioffe and Szegedy, 2015).
///
/// # Panics
/// When a length does not fit.
pub fn gradient<T: Float>(
    isa: Isa,
    pool: &ThreadPool,
    parameters: &BatchNorm<'_, T>,
    statistics: Statistics,
    input: &[T],
    output_gradient: &[T],
    gradients: Gradients<'_, T>,
) {
    let vectors = Vectors::new(parameters);
    vectors.check(&[input, output_gradient]);
    match parameters.bounds {
        None => gradient_through(isa, pool, &vectors, Open, statistics, input, output_gradient, gradients),
        Some(bounds) => {
            let passes = Between(bounds);
            gradient_through(isa, pool, &vectors, passes, statistics, input, output_gradient, gradients);
        }
    }
}

/// [`gradient`] with the derivative of the activation.
fn gradient_through<T: Float, P: Passes<T>>(
    isa: Isa,
    pool: &ThreadPool,
    vectors: &Vectors<'_, T>,
    passes: P,
    statistics: Statistics,
    input: &[T],
    output_gradient: &[T],
    gradients: Gradients<'_, T>,
) {
    let Vectors { mean, inverse, factor, beta } = vectors;
    let channels = mean.len();
    let sums_are_wanted =
        gradients.gamma.is_some() || gradients.beta.is_some() || statistics == Statistics::Batch;
    // The sums of `d` and of `d * (x - mean)`.
    let mut sums = vec![T::ZERO; 2 * channels];
    if sums_are_wanted {
        let partials = Blocks::new(input.len(), channels).sum(pool, 2 * channels, |rows, partial| {
            let range = rows.start * channels..rows.end * channels;
            let (x, d) = (&input[range.clone()], &output_gradient[range]);
            let (sum, product) = partial.split_at_mut(channels);
            block_sums(isa, x, d, mean, factor, beta, passes, sum, product);
        });
        for partial in partials.chunks_exact(2 * channels.max(1)) {
            sums.iter_mut().zip(partial).for_each(|(sum, &x)| *sum = sum.plus(x));
        }
    }
    let (sum, product) = sums.split_at(channels);
    if let Some(output) = gradients.beta {
        output.copy_from_slice(sum);
    }
    if let Some(output) = gradients.gamma {
        assert_eq!(output.len(), channels, "a gradient of gamma for each channel");
        for ((o, &product), &inverse) in output.iter_mut().zip(product).zip(inverse) {
            *o = product.times(inverse);
        }
    }
    let Some(output) = gradients.input else { return };
    assert_eq!(output.len(), input.len(), "the input and its gradient must have equally many elements");
    if statistics == Statistics::Frozen {
        in_rows(pool, channels, output, |range, output| {
            let (x, d) = (&input[range.clone()], &output_gradient[range]);
            frozen_rows(isa, x, d, mean, factor, beta, passes, output);
        });
        return;
    }
    let Centred { centre, slope } = Centred::new(&sums, inverse, input.len() / channels.max(1));
    in_rows(pool, channels, output, |range, output| {
        let (x, d) = (&input[range.clone()], &output_gradient[range]);
        gradient_rows(isa, x, d, mean, factor, beta, &centre, &slope, passes, output);
    });
}

/// What the formulas need of each channel.
#[derive(Clone)]
pub(in crate::gradient) struct Vectors<'a, T> {
    pub(in crate::gradient) mean: &'a [T],
    /// `1 / sqrt(variance + epsilon)`.
    pub(in crate::gradient) inverse: Vec<T>,
    /// `gamma * inverse`.
    pub(in crate::gradient) factor: Vec<T>,
    pub(in crate::gradient) beta: Vec<T>,
}

impl<'a, T: Float> Vectors<'a, T> {
    pub(in crate::gradient) fn new(parameters: &BatchNorm<'a, T>) -> Vectors<'a, T> {
        let BatchNorm { mean, variance, epsilon, gamma, beta, .. } = *parameters;
        let channels = mean.len();
        assert!(
            variance.len() == channels && [gamma, beta].iter().flatten().all(|v| v.len() == channels),
            "vectors of one length"
        );
        let inverse: Vec<T> =
            variance.iter().map(|&variance| T::ONE.over(variance.plus(epsilon).square_root())).collect();
        let factor = match gamma {
            Some(gamma) => gamma.iter().zip(&inverse).map(|(gamma, &inverse)| gamma.times(inverse)).collect(),
            None => inverse.clone(),
        };
        let beta = beta.map_or_else(|| vec![T::ZERO; channels], <[T]>::to_vec);
        Vectors { mean, inverse, factor, beta }
    }

    /// Checks that these are as many whole rows.
    fn check(&self, tensors: &[&[T]; 2]) {
        assert_eq!(tensors[0].len(), tensors[1].len(), "tensors must have equally many elements");
        let channels = self.mean.len();
        assert!(tensors[0].is_empty() || channels > 0, "rows must not be empty");
        assert_eq!(tensors[0].len() % channels.max(1), 0, "tensors must be whole rows");
    }
}

/// What is taken off the gradients of each channel, since mean and variance depend on the input.
pub(in crate::gradient) struct Centred<T> {
    /// The mean gradient.
    pub(in crate::gradient) centre: Vec<T>,
    /// What is taken off for each unit that the input lies above the mean.
    pub(in crate::gradient) slope: Vec<T>,
}

impl<T: Float> Centred<T> {
    /// From the sums of `d` and those of `d * (x - mean)` behind them, over this many rows.
    pub(in crate::gradient) fn new(sums: &[T], inverse: &[T], rows: usize) -> Centred<T> {
        let share = T::ONE.over(T::of(rows as f64));
        let (sum, product) = sums.split_at(inverse.len());
        let centre = sum.iter().map(|sum| sum.times(share)).collect();
        let slope = |(product, &inverse): (&T, &T)| product.times(share).times(inverse).times(inverse);
        Centred { centre, slope: product.iter().zip(inverse).map(slope).collect() }
    }
}

/// Blocks of rows whose partial sums are formed apart.
struct Blocks {
    rows: usize,
    each: usize,
}

impl Blocks {
    /// # Panics
    /// When `channels` does not divide `elements`.
    fn new(elements: usize, channels: usize) -> Blocks {
        assert!(elements == 0 || channels > 0, "rows must not be empty");
        let rows = elements / channels.max(1);
        assert_eq!(rows * channels, elements, "the input must be whole rows");
        let worthwhile = TASK_ELEMENTS.div_ceil(channels.max(1));
        let each = rows.div_ceil(MOST_BLOCKS).max(worthwhile).next_multiple_of(STATISTICS_ROWS);
        Blocks { rows, each }
    }

    fn rows(&self, index: usize) -> std::ops::Range<usize> {
        let start = index * self.each;
        start..self.rows.min(start + self.each)
    }

    /// Partial results of `len` elements for each block, one after the other.
    fn sum<T: Float>(
        &self,
        pool: &ThreadPool,
        len: usize,
        block: impl Fn(std::ops::Range<usize>, &mut [T]) + Sync,
    ) -> Vec<T> {
        let mut partials = vec![T::ZERO; self.rows.div_ceil(self.each) * len];
        pool.run_rows(&mut partials, len, 1, |index, partial| block(self.rows(index), partial));
        partials
    }
}

/// Calls `piece` for whole rows of the output, in parallel, with the range of elements that they are.
fn in_rows<T: Send>(
    pool: &ThreadPool,
    channels: usize,
    output: &mut [T],
    piece: impl Fn(std::ops::Range<usize>, &mut [T]) + Sync,
) {
    let rows = output.len() / channels.max(1);
    let per_task = pool.rows_per_task(rows, TASK_ELEMENTS.div_ceil(channels.max(1)));
    let pieces = DisjointSlice::new(output);
    pool.run(rows.div_ceil(per_task), &|task| {
        let range = task * per_task * channels..rows.min((task + 1) * per_task) * channels;
        // SAFETY: the rows of two tasks do not overlap.
        piece(range.clone(), unsafe { pieces.piece(range) });
    });
}

#[cfg(test)]
mod tests;
