//! Layers between batch normalizations, forward and backward, without the tensors that would only be
//! written to be read again.
//!
//! What a convolution makes, `x`, is normalized by statistics of the whole batch, so it has to lie in
//! memory. What follows from it element by element need not: the normalized, clamped, rounded tensor that
//! the next layer reads is computed where it is read ([`Normalized`]), some rows at a time, into memory that
//! stays in the second-level cache; so is the gradient of `x` from that of the normalized tensor
//! ([`Received`]). What is summed up over the batch, the statistics of a layer's output and the sums that the
//! gradient of the normalization before it needs, is gathered from rows that have just been written.
//!
//! Products are those of the kernels that these are made of, bit for bit. Sums are formed in blocks that
//! depend on the shape alone.

mod depthwise;
mod loops;
mod point;

use std::ops::Range;

use loops::{Channels, Rounding};

pub use depthwise::{DepthwiseBackward, DepthwiseForward};
pub use point::{LayerGradients, PointBackward, PointForward};

use crate::elementwise::number::Ordered;
use crate::fake_quantize::{Grid, Steps};
use crate::gradient::batch_norm::rows::{STATISTICS_ROWS, add_up, block_statistics, join_extremes};
use crate::gradient::batch_norm::{BatchNorm, Centred, Vectors, join};
use crate::gradient::fake_quantize as ranges;
use crate::pool::DisjointSlice;
use crate::{Isa, ThreadPool};

/// Elements that are worth a block of their own, and the most blocks there are.
const BLOCK_ELEMENTS: usize = 16 * 1024;
const MOST_BLOCKS: usize = 32;

/// A batch-normalized tensor that is computed where it is read.
pub struct Normalized<'a> {
    isa: Isa,
    input: &'a [f32],
    vectors: Vectors<'a, f32>,
    bounds: Option<[f32; 2]>,
    rounding: Option<Steps<f32>>,
}

impl<'a> Normalized<'a> {
    /// `input` normalized as [`normalize`](crate::gradient::batch_norm::normalize) does it and then, with a
    /// grid, rounded to it as [`fake_quantize`](crate::fake_quantize::fake_quantize) does it.
    ///
    /// # Panics
    /// When the vectors' lengths differ or do not divide the input's, or the grid has not one scale.
    #[must_use]
    pub fn new(
        isa: Isa,
        parameters: &BatchNorm<'a, f32>,
        input: &'a [f32],
        grid: Option<&Grid<f32>>,
    ) -> Normalized<'a> {
        let vectors = Vectors::new(parameters);
        let channels = vectors.mean.len();
        assert!(channels > 0 && input.len().is_multiple_of(channels), "the input must be whole rows");
        let rounding = grid.map(|grid| {
            let [steps] = Steps::of(grid)[..] else { panic!("a grid of one scale") };
            steps
        });
        Normalized { isa, input, vectors, bounds: parameters.bounds, rounding }
    }

    fn channels(&self) -> usize {
        self.vectors.mean.len()
    }

    /// Writes some whole rows, given as a range of elements.
    fn write(&self, range: Range<usize>, output: &mut [f32]) {
        self.normalize(&self.input[range], output);
    }

    fn normalize(&self, input: &[f32], output: &mut [f32]) {
        let bounds = self.bounds.unwrap_or([f32::LOWEST, f32::HIGHEST]);
        let rounding = self.rounding.map(|steps| {
            let Steps { scale, inverse, range } = steps;
            Rounding { scale, inverse, range }
        });
        loops::normalize(self.isa, self.by_channel(), bounds, rounding, input, output);
    }

    fn by_channel(&self) -> Channels<'_> {
        let Vectors { mean, factor, beta, .. } = &self.vectors;
        Channels { mean, factor, beta }
    }

    /// The bounds between which gradients pass, none of which lets them: those of the activation, and those
    /// that the grid ends within, both of which do.
    fn between(&self) -> Option<[f32; 2]> {
        let span = self.rounding.map(|steps| {
            let [low, high] = steps.span();
            [low.next_down(), high.next_up()]
        });
        match (self.bounds, span) {
            (Some([a, b]), Some([c, d])) => Some([a.larger(c), b.smaller(d)]),
            (bounds, span) => bounds.or(span),
        }
    }

    /// The range of the whole tensor before it is rounded, from the smallest and the largest number of each
    /// channel of the input.
    ///
    /// # Panics
    /// When there are not as many of both as channels.
    #[must_use]
    pub fn range(&self, extremes: &[f32]) -> ranges::Range<f32> {
        assert_eq!(extremes.len(), 2 * self.channels(), "two numbers for each channel");
        // A row of the smallest ones, and one of the largest: each step of the formula keeps their order, or
        // turns it round where gamma is negative.
        let mut ends = vec![0.0; extremes.len()];
        Normalized { rounding: None, vectors: self.vectors.clone(), ..*self }.normalize(extremes, &mut ends);
        let start = ranges::Range { min: f32::HIGHEST, max: f32::LOWEST };
        ends.iter().fold(start, |range, &end| range.join(ranges::Range { min: end, max: end }))
    }

    /// What passes of the gradients of some rows, and its product with the input's distance from the mean,
    /// is added to the sums.
    fn add_sums(&self, range: Range<usize>, d: &[f32], sums: &mut [f32]) {
        let (sum, product) = sums.split_at_mut(self.channels());
        let (of, x) = (self.by_channel(), &self.input[range]);
        loops::add_sums(self.isa, of, self.between(), x, d, sum, product);
    }

    /// The sums that [`Received`] and [`parameter_gradients`](Normalized::parameter_gradients) take: for each
    /// channel those of the gradient that passes, then those of its product with the input's distance from
    /// the mean. `d` is the gradient of the whole tensor.
    ///
    /// # Panics
    /// When a length does not fit.
    pub fn sums(&self, pool: &ThreadPool, d: &[f32], sums: &mut [f32]) {
        let channels = self.channels();
        assert_eq!(d.len(), self.input.len(), "a gradient for each element");
        let blocks = Blocks::new(d.len() / channels, channels, STATISTICS_ROWS);
        let mut partials = vec![0.0; blocks.count * 2 * channels];
        pool.run_rows(&mut partials, 2 * channels, 1, |block, partial| {
            let rows = blocks.rows(block);
            let range = rows.start * channels..rows.end * channels;
            self.add_sums(range.clone(), &d[range], partial);
        });
        add_in_order(self.isa, &partials, sums);
    }

    /// The gradients of gamma and beta from the sums.
    ///
    /// # Panics
    /// When a length does not fit.
    pub fn parameter_gradients(&self, sums: &[f32], gamma: Option<&mut [f32]>, beta: Option<&mut [f32]>) {
        let (sum, product) = sums.split_at(self.channels());
        if let Some(beta) = beta {
            beta.copy_from_slice(sum);
        }
        if let Some(gamma) = gamma {
            let products = product.iter().zip(&self.vectors.inverse);
            gamma.iter_mut().zip(products).for_each(|(gamma, (product, inverse))| *gamma = product * inverse);
        }
    }
}

/// What a layer reads.
pub enum Source<'a> {
    /// A tensor.
    Plain(&'a [f32]),
    /// A normalized one, which is nowhere.
    Normalized(Normalized<'a>),
}

impl Source<'_> {
    fn len(&self) -> usize {
        match self {
            Source::Plain(input) => input.len(),
            Source::Normalized(normalized) => normalized.input.len(),
        }
    }

    /// Some elements, whole rows: where they are or, written there, in `space`.
    fn rows<'s>(&'s self, range: Range<usize>, space: &'s mut [f32]) -> &'s [f32] {
        match self {
            Source::Plain(input) => &input[range],
            Source::Normalized(normalized) => {
                let space = &mut space[..range.len()];
                normalized.write(range, space);
                space
            }
        }
    }
}

/// The gradient with respect to a layer's output.
pub enum Received<'a> {
    /// A tensor.
    Plain(&'a [f32]),
    /// What follows from the gradient of the output normalized, and is nowhere.
    Normalized(Through<'a>),
}

/// The gradient of what is normalized by statistics of the batch, from that of what became of it.
pub struct Through<'a> {
    of: Normalized<'a>,
    d: &'a [f32],
    centred: Centred<f32>,
}

impl<'a> Through<'a> {
    /// `d` is the gradient of the normalized tensor, and `sums` are those of it
    /// ([`Normalized::sums`]).
    ///
    /// # Panics
    /// When a length does not fit.
    #[must_use]
    pub fn new(of: Normalized<'a>, d: &'a [f32], sums: &[f32]) -> Through<'a> {
        assert_eq!(d.len(), of.input.len(), "a gradient for each element");
        let centred = Centred::new(sums, &of.vectors.inverse, d.len() / of.channels());
        Through { of, d, centred }
    }

    /// Computes the whole gradient.
    ///
    /// # Panics
    /// When the output has another length.
    pub fn run(&self, pool: &ThreadPool, output: &mut [f32]) {
        let channels = self.of.channels();
        assert_eq!(output.len(), self.d.len(), "a gradient for each element");
        let rows = pool.rows_per_task(output.len() / channels, BLOCK_ELEMENTS.div_ceil(channels));
        pool.run_rows(output, channels, rows, |first, piece| {
            self.write(first * channels..first * channels + piece.len(), piece);
        });
    }

    fn write(&self, range: Range<usize>, output: &mut [f32]) {
        let Through { of, d, centred: Centred { centre, slope } } = self;
        let (x, d) = (&of.input[range.clone()], &d[range]);
        loops::go_through(of.isa, of.by_channel(), of.between(), centre, slope, x, d, output);
    }
}

impl Received<'_> {
    fn len(&self) -> usize {
        match self {
            Received::Plain(d) => d.len(),
            Received::Normalized(through) => through.d.len(),
        }
    }

    /// Some elements, whole rows: where they are or, written there, in `space`.
    fn rows<'s>(&'s self, range: Range<usize>, space: &'s mut [f32]) -> &'s [f32] {
        match self {
            Received::Plain(d) => &d[range],
            Received::Normalized(through) => {
                let space = &mut space[..range.len()];
                through.write(range, space);
                space
            }
        }
    }
}

/// What is gathered of a layer's output while it is written.
pub struct Gathered<'a> {
    /// The mean of each channel.
    pub mean: &'a mut [f32],
    /// The biased variance of each channel.
    pub variance: &'a mut [f32],
    /// The smallest number of each channel, then the largest.
    pub extremes: Option<&'a mut [f32]>,
}

/// Gathers of a tensor what can also be gathered while it is written.
///
/// # Panics
/// When a length does not fit.
pub fn gather(isa: Isa, pool: &ThreadPool, input: &[f32], gathered: Gathered<'_>) {
    let channels = gathered.mean.len();
    assert!(channels > 0 && input.len().is_multiple_of(channels), "the input must be whole rows");
    let blocks = Blocks::new(input.len() / channels, channels, STATISTICS_ROWS);
    let mut gathering = Gathering::new(blocks.count, channels, gathered.extremes.is_some());
    let len = gathering.len;
    pool.run_rows(&mut gathering.partials, len, 1, |block, partial| {
        let rows = blocks.rows(block);
        Gathering::take(isa, channels, partial, 0, &input[rows.start * channels..rows.end * channels]);
    });
    gathering.finish(isa, |block| blocks.rows(block).len(), gathered);
}

/// What blocks gather, one after the other.
struct Gathering {
    channels: usize,
    /// Floats of a block.
    len: usize,
    partials: Vec<f32>,
}

impl Gathering {
    fn new(blocks: usize, channels: usize, extremes: bool) -> Gathering {
        let len = if extremes { 4 * channels } else { 2 * channels };
        let mut partials = vec![0.0; blocks * len];
        for partial in partials.chunks_exact_mut(len) {
            if let Some((low, high)) = partial[2 * channels..].split_at_mut_checked(channels) {
                low.fill(f32::HIGHEST);
                high.fill(f32::LOWEST);
            }
        }
        Gathering { channels, len, partials }
    }

    /// Takes rows in, after `before` others of the block.
    fn take(isa: Isa, channels: usize, partial: &mut [f32], before: usize, rows: &[f32]) {
        let (statistics, extremes) = partial.split_at_mut(2 * channels);
        let (mean, deviation) = statistics.split_at_mut(channels);
        block_statistics(isa, before, rows, mean, deviation);
        if !extremes.is_empty() {
            let (low, high) = extremes.split_at_mut(channels);
            join_extremes(isa, rows, low, high);
        }
    }

    /// Joins what blocks of these many rows have.
    fn finish(&self, isa: Isa, rows: impl Fn(usize) -> usize, gathered: Gathered<'_>) {
        let Gathering { channels, len, ref partials } = *self;
        let blocks = || partials.chunks_exact(len).enumerate();
        let statistics = blocks().map(|(block, partial)| (rows(block), &partial[..2 * channels]));
        join(isa, statistics, gathered.mean, gathered.variance);
        if let Some(extremes) = gathered.extremes {
            let (low, high) = extremes.split_at_mut(channels);
            low.fill(f32::HIGHEST);
            high.fill(f32::LOWEST);
            for (_, partial) in blocks() {
                let (own_low, own_high) = partial[2 * channels..].split_at(channels);
                join_extremes(isa, own_low, low, &mut vec![f32::LOWEST; channels]);
                join_extremes(isa, own_high, &mut vec![f32::HIGHEST; channels], high);
            }
        }
    }
}

/// Rows in blocks that depend on the shape alone.
struct Blocks {
    total: usize,
    /// How many rows a block is a multiple of.
    unit: usize,
    count: usize,
}

impl Blocks {
    /// Of `total` rows of so many elements.
    fn new(total: usize, elements: usize, unit: usize) -> Blocks {
        let units = total.div_ceil(unit);
        let worthwhile = total.saturating_mul(elements) / BLOCK_ELEMENTS;
        Blocks { total, unit, count: worthwhile.clamp(1, MOST_BLOCKS).min(units.max(1)) }
    }

    fn rows(&self, block: usize) -> Range<usize> {
        let units = crate::float::split::part(self.total.div_ceil(self.unit), block, self.count);
        self.total.min(units.start * self.unit)..self.total.min(units.end * self.unit)
    }
}

/// Adds up what blocks have, in order.
fn add_in_order(isa: Isa, partials: &[f32], sums: &mut [f32]) {
    sums.fill(0.0);
    add_up(isa, partials, sums);
}

/// The piece of some block, if there are any.
///
/// # Safety
/// Nobody else has it.
#[allow(clippy::mut_from_ref, reason = "as of the slice itself")]
unsafe fn piece_of<'a>(pieces: &'a DisjointSlice<'_, f32>, block: usize, len: usize) -> &'a mut [f32] {
    // SAFETY: handed on.
    unsafe { pieces.piece(block * len..(block + 1) * len) }
}

#[cfg(test)]
mod tests;
