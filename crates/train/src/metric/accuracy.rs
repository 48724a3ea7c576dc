//! Metrics that are no losses, row by row.

use super::MetricKind;
use crate::target::Rows;

/// The metric's value for a row; `buffer` is where a one-hot row is made.
pub(super) fn row(kind: &MetricKind, rows: &Rows<'_>, row: usize, buffer: &mut Vec<f32>) -> f64 {
    let p = rows.prediction(row);
    let truth = |hit: bool| f64::from(u8::from(hit));
    match *kind {
        MetricKind::SparseCategoricalAccuracy => truth(rows.class(row) == Some(largest(p))),
        MetricKind::CategoricalAccuracy => truth(largest(rows.numbers(row, buffer)) == largest(p)),
        MetricKind::SparseTopKCategoricalAccuracy { k } => {
            truth(rows.class(row).is_some_and(|class| among(p, class, k)))
        }
        MetricKind::TopKCategoricalAccuracy { k } => truth(among(p, largest(rows.numbers(row, buffer)), k)),
        MetricKind::BinaryAccuracy { threshold } => {
            let threshold = threshold as f32;
            share(rows.numbers(row, buffer), p, |t, p| f32::from(p > threshold) == t)
        }
        MetricKind::ExactMatch => share(rows.numbers(row, buffer), p, |t, p| t == p),
        MetricKind::RootMeanSquaredError | MetricKind::Accuracy | MetricKind::Loss(_) => {
            let squares = rows.numbers(row, buffer).iter().zip(p).map(|(&t, &p)| f64::from(p - t).powi(2));
            squares.sum::<f64>() / p.len() as f64
        }
    }
}

/// Share of elements for which `hit` holds.
fn share(t: &[f32], p: &[f32], hit: impl Fn(f32, f32) -> bool) -> f64 {
    t.iter().zip(p).filter(|(t, p)| hit(**t, **p)).count() as f64 / p.len() as f64
}

/// The place of the first of the largest elements.
fn largest(x: &[f32]) -> usize {
    let larger = |best: usize, index: usize| if x[index] > x[best] { index } else { best };
    (1..x.len()).fold(0, larger)
}

/// Whether fewer than `k` elements are above the finite one at `place` (`tf.math.in_top_k`).
fn among(x: &[f32], place: usize, k: u64) -> bool {
    let above = x.iter().filter(|other| **other > x[place]).count();
    x[place].is_finite() && (above as u64) < k
}
