//! Layers that prepare their input.

use litesmith_graph::TensorId;
use litesmith_graph::ops::{BinaryKind, CompareKind, Reduce, ReduceKind, Reshape, ReshapeDim, UnaryKind};

use crate::composed::truth;
use crate::emit::Emit;
use crate::keras::config::{Built, Config, Numbers};
use crate::keras::scope::Scope;
use crate::keras::weights::Variable;

/// Least standard deviation that Keras divides by (`keras.config.epsilon()`).
const EPSILON: f32 = 1e-7;

/// Augmentation changes training images alone.
pub(super) fn augmentation(scope: &mut Scope<'_>) -> Built<TensorId> {
    scope.floats()
}

/// The darkest pixel of each channel becomes the least value, the brightest the largest. A channel of one
/// color stays as it is.
pub(super) fn auto_contrast(scope: &mut Scope<'_>) -> Built<TensorId> {
    let image = scope.ranked(4)?;
    let range = scope.config().numbers("value_range")?.map(|range| range.values);
    let (least, most) = match range.as_deref() {
        None => (0.0, 255.0),
        Some([least, most]) => (*least, *most),
        Some(_) => return Err(scope.config().broken("its value_range is no pair").into()),
    };
    let extreme = |scope: &mut Scope<'_>, kind| {
        scope.emit(Reduce { kind, axes: vec![1, 2], keep_dims: true }, &[image])
    };
    let (low, high) = (extreme(scope, ReduceKind::Min)?, extreme(scope, ReduceKind::Max)?);
    let span = scope.binary(BinaryKind::Sub, high, low)?;
    let flat = truth::compared(scope, CompareKind::Equal, span, 0.0)?;
    let one = scope.scalar("one", 1.0)?;
    let divisor = truth::chosen(scope, flat, one, span)?;
    let above = scope.binary(BinaryKind::Sub, image, low)?;
    let ratio = scope.binary(BinaryKind::Div, above, divisor)?;
    let stretched = scope.with_scalar(BinaryKind::Mul, ratio, most - least)?;
    let stretched =
        if least == 0.0 { stretched } else { scope.with_scalar(BinaryKind::Add, stretched, least)? };
    truth::chosen(scope, flat, image, stretched)
}

/// `x * scale + offset`
pub(super) fn rescaling(scope: &mut Scope<'_>) -> Built<TensorId> {
    let input = scope.floats()?;
    let scalar = |value: f32| Numbers { shape: Vec::new(), values: vec![value] };
    let scale = scope.config().numbers("scale")?.unwrap_or_else(|| scalar(1.0));
    let offset = scope.config().numbers("offset")?.unwrap_or_else(|| scalar(0.0));
    let scale = scope.constant("scale", scale)?;
    let scaled = scope.binary(BinaryKind::Mul, input, scale)?;
    if offset.values.iter().all(|value| *value == 0.0) {
        return Ok(scaled);
    }
    let offset = scope.constant("offset", offset)?;
    scope.binary(BinaryKind::Add, scaled, offset)
}

/// A layer that was given its statistics has no variables.
pub(super) fn normalization_variables(config: Config<'_>) -> Built<Vec<Variable>> {
    if config.get("mean").is_some() {
        return Ok(Vec::new());
    }
    Ok(["mean", "variance", "count"].map(Variable::fixed).to_vec())
}

/// `(x - mean) / max(sqrt(variance), epsilon)`, or back again.
pub(super) fn normalization(scope: &mut Scope<'_>) -> Built<TensorId> {
    let input = scope.floats()?;
    let rank = scope.rank(input);
    let mut kept = Vec::new();
    for axis in scope.config().integers("axis")?.unwrap_or_default() {
        kept.push(scope.axis(axis, rank)?);
    }
    kept.sort_unstable();
    let mut broadcast = vec![1; rank];
    for axis in &kept {
        broadcast[*axis] = scope.size(input, *axis)?;
    }
    let mean = statistics(scope, "mean", &kept, &broadcast)?;
    let variance = statistics(scope, "variance", &kept, &broadcast)?;
    let deviation = scope.unary(UnaryKind::Sqrt, variance)?;
    let deviation = scope.with_scalar(BinaryKind::Maximum, deviation, EPSILON)?;
    if scope.config().flag("invert", false)? {
        let scaled = scope.binary(BinaryKind::Mul, input, deviation)?;
        return scope.binary(BinaryKind::Add, scaled, mean);
    }
    let centered = scope.binary(BinaryKind::Sub, input, mean)?;
    scope.binary(BinaryKind::Div, centered, deviation)
}

/// Mean or variance in a shape that broadcasts against the input.
fn statistics(
    scope: &mut Scope<'_>,
    name: &'static str,
    kept: &[usize],
    broadcast: &[usize],
) -> Built<TensorId> {
    if let Some(given) = scope.config().numbers(name)? {
        let shape = aligned(scope, &given.shape, kept, broadcast.len())?;
        return scope.constant(name, Numbers { shape, values: given.values });
    }
    let shape: Vec<usize> = kept.iter().map(|axis| broadcast[*axis]).collect();
    let weight = scope.weight(name, &shape)?;
    let shape = broadcast.iter().copied().map(ReshapeDim::Fixed).collect();
    scope.laid_out(weight, Reshape::to(shape))
}

/// The axes of given statistics on the kept axes of the input, from the last one on.
fn aligned(scope: &Scope<'_>, given: &[usize], kept: &[usize], rank: usize) -> Built<Vec<usize>> {
    // Older files hold them with an axis of 1 for each that is not kept.
    if given.len() == rank {
        return Ok(given.to_vec());
    }
    if given.len() > kept.len() {
        return Err(scope.config().broken("its statistics have more axes than it keeps").into());
    }
    let mut shape = vec![1; rank];
    for (axis, size) in kept.iter().rev().zip(given.iter().rev()) {
        shape[*axis] = *size;
    }
    Ok(shape)
}
