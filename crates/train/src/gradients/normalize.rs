//! Normalization.

use litesmith_graph::ops::{BinaryKind, UnaryKind};

use super::{Chain, Gradients};

/// Least square of a length that is divided by, as the forward operator has it.
const LEAST_SQUARE: f64 = 1e-12;

/// All gradients that are asked for, in one operator: they share sums over the batch.
pub(super) fn batch_norm(c: &mut Chain<'_>) -> Gradients {
    let dy = c.dy()?;
    let asked: Vec<usize> = (0..3).filter(|input| c.wants(*input)).collect();
    let outputs = c.gradient(c.node.op.clone(), &asked, dy)?;
    let mut gradients = vec![None; c.node.inputs.len()];
    asked.into_iter().zip(outputs).for_each(|(input, output)| gradients[input] = Some(output));
    Ok(gradients)
}

/// `y = x / |x|`: `dx = (dy - y * sum(y * dy)) / |x|`.
pub(super) fn l2_norm(c: &mut Chain<'_>) -> Gradients {
    let (x, y, dy) = (c.input(0)?, c.y(), c.dy()?);
    let last = [c.input_shape(0)?.len() - 1];
    let product = c.mul(y, dy)?;
    let sum = c.sum(product, &last)?;
    let along = c.mul(y, sum)?;
    let across = c.binary(BinaryKind::Sub, dy, along)?;
    let squares = c.unary(UnaryKind::Square, x)?;
    let length = c.sum(squares, &last)?;
    let least = c.builder.number(LEAST_SQUARE, x)?;
    let length = c.binary(BinaryKind::Maximum, length, least)?;
    let inverse = c.unary(UnaryKind::Rsqrt, length)?;
    let gradient = c.mul(across, inverse)?;
    c.only_first(gradient)
}
