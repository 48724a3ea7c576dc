//! What metrics measure, row by row.

use crate::loss::{LossKind, RowContext};
use crate::target::{Reading, Rows};

/// A metric of one row of predictions p and targets t.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Measure {
    /// Whether the largest p is that of the label.
    Label,
    /// Whether the largest p is at the place of the largest t.
    Largest,
    /// Share of elements where `p > threshold` is what t says.
    Binary { threshold: f64 },
    /// Whether fewer than k predictions are above that of the label.
    LabelAmong { k: u64 },
    /// Whether fewer than k predictions are above that at the place of the largest t.
    LargestAmong { k: u64 },
    /// Share of elements where p equals t.
    Equal,
    /// A loss times a factor.
    Loss { kind: LossKind, factor: f64 },
}

impl Measure {
    pub(super) fn reading(&self) -> Reading {
        match self {
            Measure::Label | Measure::LabelAmong { .. } => Reading::Classes,
            Measure::Largest | Measure::LargestAmong { .. } => Reading::Categories,
            Measure::Binary { .. } | Measure::Equal => Reading::Numbers,
            Measure::Loss { kind, .. } => kind.reading(),
        }
    }

    /// What a row must know of all rows.
    pub(super) fn context(&self, rows: &Rows<'_>) -> RowContext {
        match self {
            Measure::Loss { kind, .. } => kind.context(rows),
            _ => RowContext::default(),
        }
    }

    /// The value of a row; `None` for one that does not count. `buffer` is where a one-hot row is made.
    pub(super) fn row(
        &self,
        rows: &Rows<'_>,
        row: usize,
        context: &RowContext,
        buffer: &mut Vec<f32>,
    ) -> Option<f64> {
        let p = rows.prediction(row);
        let truth = |hit: bool| Some(f64::from(u8::from(hit)));
        match *self {
            Measure::Label => truth(rows.class(row) == Some(largest(p))),
            Measure::Largest => truth(largest(rows.numbers(row, buffer)) == largest(p)),
            Measure::LabelAmong { k } => truth(rows.class(row).is_some_and(|class| among(p, class, k))),
            Measure::LargestAmong { k } => truth(among(p, largest(rows.numbers(row, buffer)), k)),
            Measure::Binary { threshold } => {
                let threshold = threshold as f32;
                Some(share(rows.numbers(row, buffer), p, |t, p| f32::from(p > threshold) == t))
            }
            Measure::Equal => Some(share(rows.numbers(row, buffer), p, |t, p| t == p)),
            Measure::Loss { kind, .. } if kind.ignores(rows, row) => None,
            Measure::Loss { kind, factor } => {
                Some(factor * kind.row(rows, row, context, 0.0, &mut [], buffer))
            }
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
