//! Sums of products of a product's taps, for their covariance.

use litesmith_kernels::float::{MatMul, matmul};
use litesmith_kernels::{Isa, ThreadPool};

use super::places::Image;
use super::rounding::Metric;

/// Places that are looked at, over all runs, for each tap, and their limits.
const PLACES_PER_TAP: usize = 2;
const LEAST_PLACES: usize = 512;
const MOST_PLACES: usize = 1024;
const DEPTHWISE_PLACES: usize = 512;

/// Rows that are multiplied with themselves at once.
const ROWS_AT_ONCE: usize = 256;

/// Rows of the matrix that are computed at once.
const BLOCK: usize = 256;

/// Second moments of a product's taps.
pub(super) enum Second {
    Dense(Dense),
    Depthwise(Depthwise),
}

impl Second {
    /// How many places are wanted over all runs.
    pub(super) fn places(&self) -> usize {
        match self {
            Second::Dense(dense) => (dense.taps * PLACES_PER_TAP).clamp(LEAST_PLACES, MOST_PLACES),
            Second::Depthwise(_) => DEPTHWISE_PLACES,
        }
    }

    pub(super) fn add(&mut self, image: &Image<'_>, place: usize, isa: Isa, pool: &ThreadPool) {
        match self {
            Second::Dense(dense) => dense.add(image, place, isa, pool),
            Second::Depthwise(depthwise) => depthwise.add(image, place),
        }
    }
}

/// One matrix for rows that all see the same taps. Taps are taken relative to those of the first place,
/// so that what is summed stays small.
#[derive(Clone)]
pub(super) struct Dense {
    taps: usize,
    count: usize,
    origin: Vec<f32>,
    sum: Vec<f64>,
    /// Sum of the products of each pair of taps, the second at or behind the first.
    pairs: Vec<f32>,
    /// Rows that are not in the sums yet.
    waiting: Vec<f32>,
}

impl Dense {
    pub(super) fn new(taps: usize) -> Dense {
        let (origin, sum, pairs, waiting) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        Dense { taps, count: 0, origin, sum, pairs, waiting }
    }

    fn add(&mut self, image: &Image<'_>, place: usize, isa: Isa, pool: &ThreadPool) {
        let first = self.waiting.len();
        for pixel in image.pixels(place) {
            match pixel {
                Some(pixel) => self.waiting.extend_from_slice(pixel),
                None => self.waiting.resize(self.waiting.len() + image.product.channels, 0.0),
            }
        }
        if self.origin.is_empty() {
            self.origin = self.waiting.clone();
        }
        self.waiting[first..].iter_mut().zip(&self.origin).for_each(|(x, origin)| *x -= origin);
        self.count += 1;
        if self.waiting.len() >= ROWS_AT_ONCE * self.taps {
            self.take_in(isa, pool);
        }
    }

    fn take_in(&mut self, isa: Isa, pool: &ThreadPool) {
        let taps = self.taps;
        self.sum.resize(taps, 0.0);
        self.pairs.resize(taps * taps, 0.0);
        for row in self.waiting.chunks_exact(taps) {
            self.sum.iter_mut().zip(row).for_each(|(sum, x)| *sum += f64::from(*x));
        }
        let depth = self.waiting.len() / taps;
        // The matrix is symmetric: only what is right of the diagonal, and a little more.
        for first in (0..taps).step_by(BLOCK) {
            let block = BLOCK.min(taps - first);
            let columns = |range: std::ops::Range<usize>| -> Vec<f32> {
                self.waiting.chunks_exact(taps).flat_map(|row| row[range.clone()].iter().copied()).collect()
            };
            let (left, right) = (columns(first..first + block), columns(first..taps));
            let (rows, columns) = (block, taps - first);
            let matrices = MatMul { rows, depth, columns, adjoint_a: true, adjoint_b: false };
            let mut pairs = vec![0.0; rows * columns];
            matmul(isa, pool, matrices, &left, &[], &right, &[], &mut pairs);
            for (row, pairs) in (first..).zip(pairs.chunks_exact(columns)) {
                let sums = &mut self.pairs[row * taps + first..(row + 1) * taps];
                sums.iter_mut().zip(pairs).for_each(|(sum, pair)| *sum += pair);
            }
        }
        self.waiting.clear();
    }

    pub(super) fn metric(&self, isa: Isa, pool: &ThreadPool) -> Option<Metric> {
        if self.count == 0 {
            return None;
        }
        let mut all = self.clone();
        all.take_in(isa, pool);
        let count = all.count as f64;
        let means: Vec<f64> = all.sum.iter().map(|sum| sum / count).collect();
        for row in 0..all.taps {
            for column in row..all.taps {
                let pair = f64::from(all.pairs[row * all.taps + column]);
                let covariance = (pair / count - means[row] * means[column]) as f32;
                all.pairs[row * all.taps + column] = covariance;
                all.pairs[column * all.taps + row] = covariance;
            }
        }
        Some(Metric::new(all.pairs, all.taps, all.count))
    }
}

/// A small matrix for each channel.
pub(super) struct Depthwise {
    channels: usize,
    taps: usize,
    count: usize,
    /// What is summed is relative to this pixel.
    origin: Vec<f32>,
    /// For each tap, sums over the channels' values; then for each pair of taps, sums of their products.
    sums: Vec<f32>,
    pairs: Vec<f32>,
    values: Vec<f32>,
}

impl Depthwise {
    pub(super) fn new(channels: usize, taps: usize) -> Depthwise {
        let (origin, sums, pairs, values) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        Depthwise { channels, taps, count: 0, origin, sums, pairs, values }
    }

    fn add(&mut self, image: &Image<'_>, place: usize) {
        let (channels, taps) = (self.channels, self.taps);
        if self.origin.is_empty() {
            self.origin = image.pixels(place).flatten().next().unwrap_or(&vec![0.0; channels]).to_vec();
            self.sums.resize(taps * channels, 0.0);
            self.pairs.resize(taps * (taps + 1) / 2 * channels, 0.0);
        }
        self.values.clear();
        for pixel in image.pixels(place) {
            match pixel {
                Some(pixel) => {
                    self.values.extend(pixel.iter().zip(&self.origin).map(|(x, origin)| x - origin))
                }
                None => self.values.extend(self.origin.iter().map(|origin| -origin)),
            }
        }
        self.sums.iter_mut().zip(&self.values).for_each(|(sum, x)| *sum += x);
        let mut pairs = self.pairs.chunks_exact_mut(channels);
        for first in 0..taps {
            let first_values = &self.values[first * channels..][..channels];
            for second in 0..=first {
                let second_values = &self.values[second * channels..][..channels];
                let Some(sums) = pairs.next() else { return };
                let products = first_values.iter().zip(second_values);
                sums.iter_mut().zip(products).for_each(|(sum, (a, b))| *sum += a * b);
            }
        }
        self.count += 1;
    }

    pub(super) fn metrics(&self) -> Vec<Metric> {
        if self.count == 0 {
            return Vec::new();
        }
        let (count, taps) = (self.count as f64, self.taps);
        let metric = |channel: usize| {
            let mean = |tap: usize| f64::from(self.sums[tap * self.channels + channel]) / count;
            let entry = |index: usize| {
                let (a, b) = (index / taps, index % taps);
                let (first, second) = (a.max(b), a.min(b));
                let pair = self.pairs[(first * (first + 1) / 2 + second) * self.channels + channel];
                (f64::from(pair) / count - mean(a) * mean(b)) as f32
            };
            Metric::new((0..taps * taps).map(entry).collect(), taps, self.count)
        };
        (0..self.channels).map(metric).collect()
    }
}
