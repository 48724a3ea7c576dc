//! Reductions and running sums.

use litesmith_graph::ops::{BinaryKind, BroadcastTo, Cast, Compare, CompareKind, CumSum, Reduce, ReduceKind};

use super::{Chain, Gradients};
use crate::error::refuse;

pub(super) fn reduce(c: &mut Chain<'_>, op: &Reduce) -> Gradients {
    let (x, dy) = (c.input(0)?, c.dy()?);
    let shape = c.input_shape(0)?;
    let axes = op.resolved_axes(shape.len())?;
    let mut kept = shape.clone();
    axes.iter().for_each(|axis| kept[*axis] = 1);
    let dy = c.reshape(dy, &kept)?;
    let count: usize = axes.iter().map(|axis| shape[*axis]).product();
    let gradient = match op.kind {
        ReduceKind::Sum => c.emit(BroadcastTo { shape }, &[dy])?,
        ReduceKind::Mean => {
            let share = c.scale(dy, 1.0 / count.max(1) as f64)?;
            c.emit(BroadcastTo { shape }, &[share])?
        }
        ReduceKind::Max | ReduceKind::Min => {
            // Equal ones share, as in TensorFlow.
            let extreme = c.reshape(c.y(), &kept)?;
            let equal = c.emit(Compare { kind: CompareKind::Equal }, &[x, extreme])?;
            let ones = c.emit(Cast { to: c.builder.dtype(x) }, &[equal])?;
            let number = c.sum(ones, &axes)?;
            let share = c.binary(BinaryKind::Div, dy, number)?;
            c.mul(ones, share)?
        }
        _ => refuse!("the gradient of this reduction is not supported"),
    };
    c.only_first(gradient)
}

/// The running sum from the other end.
pub(super) fn cum_sum(c: &mut Chain<'_>, op: &CumSum) -> Gradients {
    let dy = c.dy()?;
    let gradient = c.emit(CumSum { reverse: !op.reverse, ..op.clone() }, &[dy])?;
    c.only_first(gradient)
}
