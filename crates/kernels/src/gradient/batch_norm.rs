//! Batch normalization in training, channels last: `[rows, channels]`, where the rows are the pixels
//! of all samples.

#![allow(
    clippy::too_many_arguments,
    reason = "slices that are arguments themselves do not overlap for the compiler; those inside a struct might"
)]

use crate::elementwise::number::Float;
use crate::multiversion::multiversion;
use crate::pool::DisjointSlice;
use crate::{Isa, ThreadPool};

/// Elements that are worth a task of their own.
const TASK_ELEMENTS: usize = 32 * 1024;

/// Most blocks of rows that sums are formed in.
const MOST_BLOCKS: usize = 64;

/// Rows whose mean and deviation are formed in registers.
const STATISTICS_ROWS: usize = 8;

/// Rows whose products are summed in registers.
const SUM_ROWS: usize = 4;

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
        block_statistics(isa, &input[rows.start * channels..rows.end * channels], mean, deviation);
    });
    mean.fill(T::ZERO);
    variance.fill(T::ZERO);
    let mut before = 0;
    for (index, partial) in partials.chunks_exact(2 * channels.max(1)).enumerate() {
        let rows = blocks.rows(index).len();
        let (block_mean, block_deviation) = partial.split_at(channels);
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
    let share = T::ONE.over(T::of((input.len() / channels.max(1)) as f64));
    let centre: Vec<T> = sum.iter().map(|sum| sum.times(share)).collect();
    let slope: Vec<T> = product
        .iter()
        .zip(inverse)
        .map(|(product, &inverse)| product.times(share).times(inverse).times(inverse))
        .collect();
    in_rows(pool, channels, output, |range, output| {
        let (x, d) = (&input[range.clone()], &output_gradient[range]);
        gradient_rows(isa, x, d, mean, factor, beta, &centre, &slope, passes, output);
    });
}

/// What the formulas need of each channel.
struct Vectors<'a, T> {
    mean: &'a [T],
    /// `1 / sqrt(variance + epsilon)`.
    inverse: Vec<T>,
    /// `gamma * inverse`.
    factor: Vec<T>,
    beta: Vec<T>,
}

impl<'a, T: Float> Vectors<'a, T> {
    fn new(parameters: &BatchNorm<'a, T>) -> Vectors<'a, T> {
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

/// The derivative of a clamp.
trait Passes<T>: Copy + Sync {
    /// The gradient `d` of an output that was `value` before the clamp.
    fn through(self, value: T, d: T) -> T;
}

/// No clamp.
#[derive(Clone, Copy)]
struct Open;

impl<T: Float> Passes<T> for Open {
    #[inline(always)]
    fn through(self, _: T, d: T) -> T {
        d
    }
}

/// Nothing passes at the bounds and beyond.
#[derive(Clone, Copy)]
struct Between<T>([T; 2]);

impl<T: Float> Passes<T> for Between<T> {
    #[inline(always)]
    fn through(self, value: T, d: T) -> T {
        let above = if value > self.0[0] { d } else { T::ZERO };
        if value < self.0[1] { above } else { T::ZERO }
    }
}

/// What `normalize` computes before the clamp: the one formula, so that the gradient finds the same bits.
#[inline(always)]
fn normalized<T: Float>(x: T, mean: T, factor: T, beta: T) -> T {
    x.minus(mean).times(factor).plus(beta)
}

multiversion! {
    /// The mean and the sum of squared deviations of the rows of a block; both are zeros before.
    fn block_statistics[T: Float](input: &[T], mean: &mut [T], deviation: &mut [T]) {
        let channels = mean.len();
        let groups = input.chunks_exact(STATISTICS_ROWS * channels);
        let rest = groups.remainder();
        let mut before = 0;
        for group in groups {
            take_rows::<T, STATISTICS_ROWS>(before, group, mean, deviation);
            before += STATISTICS_ROWS;
        }
        for row in rest.chunks_exact(channels) {
            take_rows::<T, 1>(before, row, mean, deviation);
            before += 1;
        }
    }
}

/// Takes `N` rows in, after `before` others.
#[inline(always)]
fn take_rows<T: Float, const N: usize>(before: usize, group: &[T], mean: &mut [T], deviation: &mut [T]) {
    let channels = mean.len();
    let deviation = &mut deviation[..channels];
    let rows: [&[T]; N] = std::array::from_fn(|row| &group[row * channels..][..channels]);
    let [share, weight] = shares(before, N);
    let part = T::of(1.0 / N as f64);
    for channel in 0..channels {
        let x: [T; N] = std::array::from_fn(|row| rows[row][channel]);
        let own = in_pairs(x).times(part);
        let squares = in_pairs(x.map(|x| x.minus(own).times(x.minus(own))));
        let apart = own.minus(mean[channel]);
        mean[channel] = mean[channel].plus(apart.times(share));
        deviation[channel] = deviation[channel].plus(squares.plus(apart.times(apart).times(weight)));
    }
}

/// The sum of `N` numbers, a power of two, in halves.
#[inline(always)]
fn in_pairs<T: Float, const N: usize>(mut x: [T; N]) -> T {
    let mut half = N / 2;
    while half > 0 {
        for i in 0..half {
            x[i] = x[i].plus(x[i + half]);
        }
        half /= 2;
    }
    x[0]
}

/// How far the mean of `before` rows moves toward that of `more` others, and how much the square of
/// their distance adds to the sum of squared deviations.
fn shares<T: Float>(before: usize, more: usize) -> [T; 2] {
    let share = more as f64 / (before + more) as f64;
    [T::of(share), T::of(share * before as f64)]
}

multiversion! {
    /// Takes the statistics of `more` rows in, after `before` others.
    fn join_statistics[T: Float](
        before: usize,
        more: usize,
        block_mean: &[T],
        block_deviation: &[T],
        mean: &mut [T],
        deviation: &mut [T],
    ) {
        let [share, weight] = shares::<T>(before, more);
        let own = block_mean.iter().zip(block_deviation);
        for ((mean, deviation), (&own, &squares)) in mean.iter_mut().zip(deviation).zip(own) {
            let apart = own.minus(*mean);
            *mean = mean.plus(apart.times(share));
            *deviation = deviation.plus(squares.plus(apart.times(apart).times(weight)));
        }
    }
}

multiversion! {
    fn normalize_rows[T: Float](
        input: &[T],
        mean: &[T],
        factor: &[T],
        beta: &[T],
        bounds: [T; 2],
        output: &mut [T],
    ) {
        let channels = mean.len();
        let (factor, beta) = (&factor[..channels], &beta[..channels]);
        for (x, y) in input.chunks_exact(channels).zip(output.chunks_exact_mut(channels)) {
            for channel in 0..channels {
                let value = normalized(x[channel], mean[channel], factor[channel], beta[channel]);
                y[channel] = value.within(bounds);
            }
        }
    }
}

multiversion! {
    /// The sums of `d` and `d * (x - mean)` over the rows of a block; both are zeros before.
    fn block_sums[T: Float, P: Passes<T>](
        x: &[T],
        d: &[T],
        mean: &[T],
        factor: &[T],
        beta: &[T],
        passes: P,
        sum: &mut [T],
        product: &mut [T],
    ) {
        let group = SUM_ROWS * mean.len();
        let whole = x.len() / group * group;
        let mut at = 0;
        while at < whole {
            let (x, d) = (&x[at..][..group], &d[at..][..group]);
            add_rows::<T, P, SUM_ROWS>(x, d, mean, factor, beta, passes, sum, product);
            at += group;
        }
        let rest = x[whole..].chunks_exact(mean.len()).zip(d[whole..].chunks_exact(mean.len()));
        for (x, d) in rest {
            add_rows::<T, P, 1>(x, d, mean, factor, beta, passes, sum, product);
        }
    }
}

/// Adds the sums over `N` rows.
#[inline(always)]
fn add_rows<T: Float, P: Passes<T>, const N: usize>(
    x: &[T],
    d: &[T],
    mean: &[T],
    factor: &[T],
    beta: &[T],
    passes: P,
    sum: &mut [T],
    product: &mut [T],
) {
    let channels = mean.len();
    let (factor, beta) = (&factor[..channels], &beta[..channels]);
    let (sum, product) = (&mut sum[..channels], &mut product[..channels]);
    let x: [&[T]; N] = std::array::from_fn(|row| &x[row * channels..][..channels]);
    let d: [&[T]; N] = std::array::from_fn(|row| &d[row * channels..][..channels]);
    for channel in 0..channels {
        let mean = mean[channel];
        let through: [T; N] = std::array::from_fn(|row| {
            let value = normalized(x[row][channel], mean, factor[channel], beta[channel]);
            passes.through(value, d[row][channel])
        });
        let products: [T; N] = std::array::from_fn(|row| through[row].times(x[row][channel].minus(mean)));
        sum[channel] = sum[channel].plus(in_pairs(through));
        product[channel] = product[channel].plus(in_pairs(products));
    }
}

multiversion! {
    fn frozen_rows[T: Float, P: Passes<T>](
        x: &[T],
        d: &[T],
        mean: &[T],
        factor: &[T],
        beta: &[T],
        passes: P,
        output: &mut [T],
    ) {
        let channels = mean.len();
        let (factor, beta) = (&factor[..channels], &beta[..channels]);
        let rows = x.chunks_exact(channels).zip(d.chunks_exact(channels));
        for ((x, d), output) in rows.zip(output.chunks_exact_mut(channels)) {
            for channel in 0..channels {
                let value = normalized(x[channel], mean[channel], factor[channel], beta[channel]);
                output[channel] = passes.through(value, d[channel]).times(factor[channel]);
            }
        }
    }
}

multiversion! {
    fn gradient_rows[T: Float, P: Passes<T>](
        x: &[T],
        d: &[T],
        mean: &[T],
        factor: &[T],
        beta: &[T],
        centre: &[T],
        slope: &[T],
        passes: P,
        output: &mut [T],
    ) {
        let channels = mean.len();
        let (factor, beta) = (&factor[..channels], &beta[..channels]);
        let (centre, slope) = (&centre[..channels], &slope[..channels]);
        let rows = x.chunks_exact(channels).zip(d.chunks_exact(channels));
        for ((x, d), output) in rows.zip(output.chunks_exact_mut(channels)) {
            for channel in 0..channels {
                let apart = x[channel].minus(mean[channel]);
                let value = apart.times(factor[channel]).plus(beta[channel]);
                let through = passes.through(value, d[channel]);
                let centred = through.minus(centre[channel]).minus(apart.times(slope[channel]));
                output[channel] = centred.times(factor[channel]);
            }
        }
    }
}

#[cfg(test)]
mod tests;
