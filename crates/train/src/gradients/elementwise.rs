//! Element-wise operators.

use litesmith_graph::ops::{Binary, BinaryKind, Cast, Compare, CompareKind, Select, UnaryKind};
use litesmith_graph::{DType, TensorId};

use super::{Chain, Gradients};
use crate::error::{Refusal, refuse};

pub(super) fn unary(c: &mut Chain<'_>, kind: UnaryKind) -> Gradients {
    match kind {
        UnaryKind::Neg => {
            let dy = c.dy()?;
            let gradient = c.unary(UnaryKind::Neg, dy)?;
            c.only_first(gradient)
        }
        // Flat but at their steps.
        UnaryKind::Floor | UnaryKind::Ceil | UnaryKind::Round | UnaryKind::Sign | UnaryKind::LogicalNot => {
            Ok(vec![None])
        }
        _ => c.of_first_input(),
    }
}

/// The gradient of each operand, broadcast like the result, then summed up to its own shape.
pub(super) fn binary(c: &mut Chain<'_>, op: &Binary) -> Gradients {
    let dy = c.before(op.activation)?;
    let (a, b) = (c.input(0)?, c.input(1)?);
    let [wants_a, wants_b] = [c.wants(0), c.wants(1)];
    let [mut da, mut db] = [None, None];
    match op.kind {
        BinaryKind::Add => (da, db) = (Some(dy), Some(dy)),
        BinaryKind::Sub => {
            da = Some(dy);
            db = ask(wants_b, || c.unary(UnaryKind::Neg, dy))?;
        }
        BinaryKind::Mul => {
            da = ask(wants_a, || c.mul(dy, b))?;
            db = ask(wants_b, || c.mul(dy, a))?;
        }
        BinaryKind::Div => {
            let quotient = c.binary(BinaryKind::Div, dy, b)?;
            da = Some(quotient);
            db = ask(wants_b, || {
                // The quotient anew: what the node gives may be clamped.
                let ratio = c.binary(BinaryKind::Div, a, b)?;
                let product = c.mul(quotient, ratio)?;
                c.unary(UnaryKind::Neg, product)
            })?;
        }
        BinaryKind::Maximum | BinaryKind::Minimum => {
            // TensorFlow gives the first operand what belongs to both.
            let kind = match op.kind {
                BinaryKind::Maximum => CompareKind::GreaterEqual,
                _ => CompareKind::LessEqual,
            };
            let first = c.emit(Compare { kind }, &[a, b])?;
            let zero = c.scale(dy, 0.0)?;
            da = Some(c.emit(Select {}, &[first, dy, zero])?);
            db = ask(wants_b, || c.emit(Select {}, &[first, zero, dy]))?;
        }
        BinaryKind::SquaredDifference => {
            let difference = c.binary(BinaryKind::Sub, a, b)?;
            let product = c.mul(dy, difference)?;
            let product = c.scale(product, 2.0)?;
            da = Some(product);
            db = ask(wants_b, || c.unary(UnaryKind::Neg, product))?;
        }
        BinaryKind::Pow => {
            if wants_b {
                refuse!("exponents cannot be trained");
            }
            let one = c.builder.number(1.0, b)?;
            let less = c.binary(BinaryKind::Sub, b, one)?;
            let power = c.binary(BinaryKind::Pow, a, less)?;
            let slope = c.mul(power, b)?;
            da = Some(c.mul(dy, slope)?);
        }
        BinaryKind::FloorDiv => {}
        BinaryKind::FloorMod => refuse!("remainders cannot be trained"),
    }
    let mut gradients = vec![None; 2];
    for (index, gradient) in [da, db].into_iter().enumerate() {
        if let (Some(gradient), true) = (gradient, c.wants(index)) {
            let shape = c.input_shape(index)?;
            gradients[index] = Some(c.sum_to(gradient, &shape)?);
        }
    }
    Ok(gradients)
}

fn ask(wanted: bool, make: impl FnOnce() -> Result<TensorId, Refusal>) -> Result<Option<TensorId>, Refusal> {
    wanted.then(make).transpose()
}

/// Between floating-point types the gradient is converted back; integers have none.
pub(super) fn cast(c: &mut Chain<'_>) -> Gradients {
    let from = c.builder.dtype(c.input(0)?);
    let is_float = |dtype| matches!(dtype, DType::F16 | DType::F32 | DType::F64);
    if !is_float(from) || !is_float(c.builder.dtype(c.y())) {
        return Ok(vec![None]);
    }
    let dy = c.dy()?;
    let gradient = c.emit(Cast { to: from }, &[dy])?;
    c.only_first(gradient)
}

/// Each side gets the gradient where it was chosen.
pub(super) fn select(c: &mut Chain<'_>) -> Gradients {
    let (condition, dy) = (c.input(0)?, c.dy()?);
    let zero = c.scale(dy, 0.0)?;
    let mut gradients = vec![None; 3];
    for (input, [then, otherwise]) in [(1, [dy, zero]), (2, [zero, dy])] {
        if c.wants(input) {
            let chosen = c.emit(Select {}, &[condition, then, otherwise])?;
            let shape = c.input_shape(input)?;
            gradients[input] = Some(c.sum_to(chosen, &shape)?);
        }
    }
    Ok(gradients)
}

/// `dx = dy` where `x` is positive, else `alpha * dy`; `dalpha = min(x, 0) * dy`.
pub(super) fn prelu(c: &mut Chain<'_>) -> Gradients {
    let (x, alpha, dy) = (c.input(0)?, c.input(1)?, c.dy()?);
    let zero = c.builder.number(0.0, x)?;
    let mut gradients = vec![None; 2];
    if c.wants(0) {
        let positive = c.emit(Compare { kind: CompareKind::Greater }, &[x, zero])?;
        let scaled = c.mul(dy, alpha)?;
        let gradient = c.emit(Select {}, &[positive, dy, scaled])?;
        let shape = c.input_shape(0)?;
        gradients[0] = Some(c.sum_to(gradient, &shape)?);
    }
    if c.wants(1) {
        let negative = c.binary(BinaryKind::Minimum, x, zero)?;
        let product = c.mul(negative, dy)?;
        let shape = c.input_shape(1)?;
        gradients[1] = Some(c.sum_to(product, &shape)?);
    }
    Ok(gradients)
}
