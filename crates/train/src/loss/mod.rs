//! Losses: their values and their gradients with respect to the model's output.
//!
//! Names, options and results are those of Keras 3 with TensorFlow behind it. A loss is a sum over rows
//! (all axes of the output but the last, see [`Batch`]):
//!
//! ```text
//! loss = sum over rows (weight of the row * loss of the row) / divisor
//! ```
//!
//! where the divisor is the number of rows ([`Reduction::SumOverBatchSize`], the rows of `ignore_class`
//! not counted), 1 ([`Reduction::Sum`]) or the sum of the weights ([`Reduction::MeanWithSampleWeight`]).
//! Rows are computed in double precision; sums do not depend on the number of threads.

mod config;
mod crossentropy;
mod hinge;
mod kind;
mod regression;

use std::sync::atomic::{AtomicU64, Ordering};

use litesmith_kernels::ThreadPool;

pub(crate) use config::kind as kind_of;
pub use kind::{LastActivation, LossKind, Reduction};
pub(crate) use kind::{RowContext, reading_by_shape};

use crate::target::{Batch, Rows, TargetError};

/// Predictions of a block of rows, the unit that a thread takes.
const BLOCK: usize = 4096;

/// A loss.
#[derive(Clone, Debug, PartialEq)]
pub struct Loss {
    /// Its name in reports.
    pub name: String,
    /// What it computes for each row.
    pub kind: LossKind,
    /// How rows become one number.
    pub reduction: Reduction,
}

impl From<LossKind> for Loss {
    fn from(kind: LossKind) -> Loss {
        Loss { name: kind.name().to_owned(), kind, reduction: Reduction::SumOverBatchSize }
    }
}

impl Loss {
    /// The loss of a batch.
    ///
    /// # Errors
    /// [`TargetError`] if targets and predictions do not fit each other, a label is no class, or the loss
    /// is not finite.
    pub fn value(&self, pool: &ThreadPool, batch: &Batch<'_>) -> Result<f64, TargetError> {
        let (kind, rows) = self.rows(batch)?;
        let terms = Terms::new(kind, self.reduction, &rows);
        let sums = terms.in_blocks(|per_block, block| {
            pool.run(rows.count.div_ceil(per_block), &|index| {
                let last = rows.count.min((index + 1) * per_block);
                block(index * per_block, last - index * per_block, &mut []);
            });
        });
        self.total(&terms, &sums)
    }

    /// The loss of a batch, and into `gradient` its derivative by every prediction, times `scale`.
    ///
    /// # Errors
    /// As [`Loss::value`], and if `gradient` is not as long as the predictions.
    pub fn value_and_gradient(
        &self,
        pool: &ThreadPool,
        batch: &Batch<'_>,
        scale: f32,
        gradient: &mut [f32],
    ) -> Result<f64, TargetError> {
        let (kind, rows) = self.rows(batch)?;
        if gradient.len() != batch.predictions.len() {
            let (shape, got) = (batch.shape.to_vec(), gradient.len());
            return Err(TargetError::Length { what: "gradient", shape, got });
        }
        let mut terms = Terms::new(kind, self.reduction, &rows);
        terms.scale = f64::from(scale);
        let sums = terms.in_blocks(|per_block, block| {
            pool.run_rows(gradient, rows.width, per_block, |first, gradient| {
                block(first, gradient.len() / rows.width, gradient);
            });
        });
        self.total(&terms, &sums)
    }

    fn rows<'a>(&self, batch: &Batch<'a>) -> Result<(LossKind, Rows<'a>), TargetError> {
        let kind = self.kind.resolved(batch);
        let rows = Rows::new(&self.name, batch, kind.reading())?;
        rows.check_classes(kind.ignored())?;
        Ok((kind, rows))
    }

    fn total(&self, terms: &Terms<'_>, sums: &[AtomicU64]) -> Result<f64, TargetError> {
        let sum: f64 = sums.iter().map(|bits| f64::from_bits(bits.load(Ordering::Relaxed))).sum();
        if !sum.is_finite() {
            return Err(terms.not_finite(&self.name));
        }
        Ok(if terms.divisor == 0.0 { 0.0 } else { sum / terms.divisor })
    }
}

/// The weighted losses of rows.
struct Terms<'a> {
    rows: &'a Rows<'a>,
    kind: LossKind,
    context: RowContext,
    divisor: f64,
    scale: f64,
}

impl<'a> Terms<'a> {
    fn new(kind: LossKind, reduction: Reduction, rows: &'a Rows<'a>) -> Terms<'a> {
        let context = kind.context(rows);
        let counted = |row: &usize| !kind.ignores(rows, *row);
        let divisor = match reduction {
            Reduction::Sum => 1.0,
            Reduction::SumOverBatchSize => (0..rows.count).filter(counted).count() as f64,
            Reduction::MeanWithSampleWeight => {
                (0..rows.count).filter(counted).map(|row| rows.weight(row)).sum()
            }
        };
        Terms { rows, kind, context, divisor, scale: 1.0 }
    }

    /// Has blocks of rows computed, and gives their sums, as bits, in order.
    ///
    /// `run` gets the number of rows of a block and what computes one: from its first row, its number
    /// of rows and where their gradient goes (nowhere, if that is empty).
    fn in_blocks(
        &self,
        run: impl FnOnce(usize, &(dyn Fn(usize, usize, &mut [f32]) + Sync)),
    ) -> Vec<AtomicU64> {
        let per_block = (BLOCK / self.rows.width).max(1);
        let sums: Vec<AtomicU64> =
            (0..self.rows.count.div_ceil(per_block)).map(|_| AtomicU64::new(0)).collect();
        let factor = if self.divisor == 0.0 { 0.0 } else { self.scale / self.divisor };
        run(per_block, &|first, count, gradient| {
            let mut buffer = Vec::new();
            let mut gradients = gradient.chunks_exact_mut(self.rows.width);
            let sum: f64 = (first..first + count)
                .map(|row| self.row(row, factor, gradients.next().unwrap_or_default(), &mut buffer))
                .sum();
            sums[first / per_block].store(sum.to_bits(), Ordering::Relaxed);
        });
        sums
    }

    /// The weighted loss of a row.
    fn row(&self, row: usize, factor: f64, gradient: &mut [f32], buffer: &mut Vec<f32>) -> f64 {
        if self.kind.ignores(self.rows, row) {
            gradient.fill(0.0);
            return 0.0;
        }
        let weight = self.rows.weight(row);
        weight * self.kind.row(self.rows, row, &self.context, weight * factor, gradient, buffer)
    }

    /// The first row whose loss is not finite.
    fn not_finite(&self, name: &str) -> TargetError {
        let mut buffer = Vec::new();
        let mut of = |row: usize| (row, self.row(row, 0.0, &mut [], &mut buffer));
        let found = (0..self.rows.count).map(&mut of).find(|(_, value)| !value.is_finite());
        // Only the sum can have overflown where no row is at fault.
        let (row, value) = found.unwrap_or((0, f64::INFINITY));
        let predictions = self.rows.prediction(row);
        let output = predictions.iter().find(|x| !x.is_finite()).or(predictions.first());
        TargetError::NotFinite {
            name: name.to_owned(),
            sample: row / self.rows.per_sample,
            value,
            output: output.copied().unwrap_or(f32::NAN),
        }
    }
}

#[cfg(test)]
mod tests;
