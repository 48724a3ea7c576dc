//! Taking by index: gradients are added up where things were taken from.

use litesmith_graph::DType;
use litesmith_graph::ops::{OneHot, TopK};

use super::{Chain, Gradients};
use crate::error::refuse;

/// Most elements of the matrix that says which element each of the largest is.
const MOST_CHOICES: usize = 1 << 24;

pub(super) fn gather(c: &mut Chain<'_>) -> Gradients {
    if c.wants(1) {
        refuse!("indices cannot be trained");
    }
    c.of_first_input()
}

/// Each of the largest elements gets the gradient of the place that it was sorted to.
pub(super) fn top_k(c: &mut Chain<'_>, op: &TopK) -> Gradients {
    let (dy, places, shape) = (c.dy()?, c.node.outputs[1], c.input_shape(0)?);
    let width = shape.last().copied().unwrap_or(1);
    let rows: usize = shape[..shape.len().saturating_sub(1)].iter().product();
    if c.builder.dtype(places) != DType::I32 || rows.saturating_mul(op.k).saturating_mul(width) > MOST_CHOICES
    {
        refuse!("sorting rows of {width} elements is too large to be trained");
    }
    let (one, zero) = (c.builder.number(1.0, dy)?, c.builder.number(0.0, dy)?);
    let chosen = c.emit(OneHot { depth: width, axis: -1 }, &[places, one, zero])?;
    let mut column = c.builder.shape(dy)?;
    let axis = column.len() - 1;
    column.push(1);
    let column = c.reshape(dy, &column)?;
    let spread = c.mul(chosen, column)?;
    let sum = c.sum(spread, &[axis])?;
    let gradient = c.reshape(sum, &shape)?;
    c.only_first(gradient)
}
