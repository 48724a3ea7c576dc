//! The transpose of a separable weighted sum over `[batch, height, width, channels]`: average pooling
//! and resizing.

use super::contributions::Contributions;
use crate::elementwise::number::Float;
use crate::multiversion::multiversion;
use crate::{Isa, ThreadPool};

/// Elements that are worth a task of their own.
const TASK_ELEMENTS: usize = 16 * 1024;

/// The sizes of a weighted sum and the weights along its axes.
pub(super) struct Weighted<T> {
    /// `[batch, height, width, channels]` of the input.
    pub(super) input: [usize; 4],
    /// Height and width of the output.
    pub(super) output: [usize; 2],
    pub(super) rows: Contributions<T>,
    pub(super) columns: Contributions<T>,
}

impl<T: Float> Weighted<T> {
    /// `input_gradient[iy, ix] = sum of row weight * column weight * output_gradient[oy, ox]`.
    ///
    /// # Panics
    /// When a length does not fit.
    pub(super) fn transpose(
        &self,
        isa: Isa,
        pool: &ThreadPool,
        output_gradient: &[T],
        input_gradient: &mut [T],
    ) {
        let [batch, height, width, channels] = self.input;
        let outputs = batch * self.output[0] * self.output[1] * channels;
        assert_eq!(output_gradient.len(), outputs, "length of the output's gradient");
        assert_eq!(input_gradient.len(), batch * height * width * channels, "length of the input's gradient");
        let row_len = width * channels;
        let per_task = pool.rows_per_task(batch * height, TASK_ELEMENTS.div_ceil(row_len.max(1)));
        pool.run_rows(input_gradient, row_len, per_task, |first, piece| {
            let mut sums = vec![T::ZERO; self.output[1] * channels];
            for (row, line) in (first..).zip(piece.chunks_exact_mut(row_len)) {
                let sample = row / height * self.output[0];
                let rows = self.rows.of(row % height);
                weighted_rows(isa, output_gradient, sample, rows, &mut sums);
                weighted_columns(isa, &sums, channels, &self.columns, line);
            }
        });
    }
}

multiversion! {
    /// The weighted sum of some rows of the output gradient.
    fn weighted_rows[T: Float](gradient: &[T], sample: usize, rows: &[(usize, T)], sums: &mut [T]) {
        let len = sums.len();
        sums.fill(T::ZERO);
        for &(row, weight) in rows {
            let line = &gradient[(sample + row) * len..][..len];
            for (sum, &d) in sums.iter_mut().zip(line) {
                *sum = sum.plus(d.times(weight));
            }
        }
    }
}

multiversion! {
    /// Each pixel is the weighted sum of some pixels of `sums`.
    fn weighted_columns[T: Float](
        sums: &[T],
        channels: usize,
        columns: &Contributions<T>,
        line: &mut [T],
    ) {
        for (x, pixel) in line.chunks_exact_mut(channels).enumerate() {
            match *columns.of(x) {
                [] => pixel.fill(T::ZERO),
                [(column, weight)] => {
                    for (o, &sum) in pixel.iter_mut().zip(&sums[column * channels..][..channels]) {
                        *o = sum.times(weight);
                    }
                }
                [(first, a), (second, b), ref rest @ ..] => {
                    let both = sums[first * channels..][..channels].iter().zip(&sums[second * channels..]);
                    for (o, (&x, &y)) in pixel.iter_mut().zip(both) {
                        *o = x.times(a).plus(y.times(b));
                    }
                    for &(column, weight) in rest {
                        for (o, &sum) in pixel.iter_mut().zip(&sums[column * channels..][..channels]) {
                            *o = o.plus(sum.times(weight));
                        }
                    }
                }
            }
        }
    }
}
