//! The loops of batch normalization over some rows, one function for each pass.

#![allow(
    clippy::too_many_arguments,
    reason = "slices that are arguments themselves do not overlap for the compiler; those inside a struct might"
)]

use crate::elementwise::number::{Float, Ordered};
use crate::multiversion::multiversion;

/// Rows whose mean and deviation are formed in registers.
pub(in crate::gradient) const STATISTICS_ROWS: usize = 8;

/// Rows whose products are summed in registers.
const SUM_ROWS: usize = 4;

/// The derivative of a clamp.
pub(super) trait Passes<T>: Copy + Sync {
    /// The gradient `d` of an output that was `value` before the clamp.
    fn through(self, value: T, d: T) -> T;
}

/// No clamp.
#[derive(Clone, Copy)]
pub(super) struct Open;

impl<T: Float> Passes<T> for Open {
    #[inline(always)]
    fn through(self, _: T, d: T) -> T {
        d
    }
}

/// Nothing passes at the bounds and beyond.
#[derive(Clone, Copy)]
pub(super) struct Between<T>(pub(super) [T; 2]);

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
    /// Takes rows into the mean and the sum of squared deviations of `before` others of a block. Of no
    /// others both are zeros.
    pub(in crate::gradient) fn block_statistics[T: Float](
        before: usize,
        input: &[T],
        mean: &mut [T],
        deviation: &mut [T],
    ) {
        let channels = mean.len();
        let groups = input.chunks_exact(STATISTICS_ROWS * channels);
        let rest = groups.remainder();
        let mut before = before;
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
    pub(super) fn join_statistics[T: Float](
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
    pub(super) fn normalize_rows[T: Float](
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
    /// Adds the sums of `d` and `d * (x - mean)` over the rows of a block.
    pub(super) fn block_sums[T: Float, P: Passes<T>](
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
        // Loops rather than closures, which the compiler does not always inline here.
        let (mut through, mut products) = ([T::ZERO; N], [T::ZERO; N]);
        for row in 0..N {
            let value = normalized(x[row][channel], mean, factor[channel], beta[channel]);
            through[row] = passes.through(value, d[row][channel]);
            products[row] = through[row].times(x[row][channel].minus(mean));
        }
        sum[channel] = sum[channel].plus(in_pairs(through));
        product[channel] = product[channel].plus(in_pairs(products));
    }
}

multiversion! {
    pub(super) fn frozen_rows[T: Float, P: Passes<T>](
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
    pub(super) fn gradient_rows[T: Float, P: Passes<T>](
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

multiversion! {
    /// Takes rows into the smallest and the largest number of each channel. What is no number stays.
    pub(in crate::gradient) fn join_extremes(input: &[f32], low: &mut [f32], high: &mut [f32]) {
        let channels = low.len();
        let high = &mut high[..channels];
        for row in input.chunks_exact(channels) {
            for channel in 0..channels {
                low[channel] = low[channel].smaller(row[channel]);
                high[channel] = high[channel].larger(row[channel]);
            }
        }
    }
}

multiversion! {
    /// Adds up rows as long as `sums`.
    pub(in crate::gradient) fn add_up(input: &[f32], sums: &mut [f32]) {
        for row in input.chunks_exact(sums.len()) {
            for (sum, value) in sums.iter_mut().zip(row) {
                *sum += value;
            }
        }
    }
}
