//! Layers that are activation functions.

use litesmith_graph::TensorId;
use litesmith_graph::ops::{BinaryKind, Compare, CompareKind, Prelu, Reduce, ReduceKind, Select, UnaryKind};

use crate::composed::truth;
use crate::emit::Emit;
use crate::keras::activations;
use crate::keras::config::{Built, Config, Version, unsupported};
use crate::keras::scope::Scope;
use crate::keras::weights::Variable;

/// Keras' stand-in for minus infinity.
const LOW: f32 = -1e9;

pub(super) fn activation(scope: &mut Scope<'_>) -> Built<TensorId> {
    let x = scope.floats()?;
    activations::of_layer(scope, x)
}

/// ReLU, LeakyReLU, ELU and, inside other layers, Softmax.
pub(super) fn layer(scope: &mut Scope<'_>) -> Built<TensorId> {
    let x = scope.floats()?;
    of_class(scope, &scope.layer.class, scope.config(), x)
}

/// The function of a layer of this class with these settings; also where such a layer is another's
/// activation.
pub(in crate::keras) fn of_class(
    scope: &mut Scope<'_>,
    class: &str,
    settings: Config<'_>,
    x: TensorId,
) -> Built<TensorId> {
    match class {
        "ReLU" => relu(scope, settings, x),
        "LeakyReLU" => {
            let slope = activations::slope(settings, 0.3)?;
            scope.unary(UnaryKind::LeakyRelu(slope), x)
        }
        "ELU" => scope.unary(UnaryKind::Elu(settings.number("alpha", 1.0)?), x),
        "Softmax" => softmax(scope, settings, x),
        _ => unsupported!("its activation, a layer {class}, is not supported; use one of keras.activations"),
    }
}

/// Keras' layer: what its mask leaves out gets no share.
pub(super) fn softmax_layer(scope: &mut Scope<'_>) -> Built<TensorId> {
    let given = scope.input()?;
    let x = scope.floats()?;
    let Some(mask) = scope.mask(given)? else { return softmax(scope, scope.config(), x) };
    // Keras 2 adds a large negative number, Keras 3 puts it in place.
    let low = scope.scalar("low", LOW)?;
    let kept = truth::chosen(scope, mask, x, low)?;
    let shares = softmax(scope, scope.config(), kept)?;
    if scope.version == Version::Keras2 { Ok(shares) } else { truth::kept(scope, mask, shares) }
}

fn softmax(scope: &mut Scope<'_>, settings: Config<'_>, x: TensorId) -> Built<TensorId> {
    match settings.integers("axis")?.as_deref() {
        None => activations::softmax(scope, x, -1, false),
        Some([_]) => {
            let axis = settings.integer("axis", -1)?;
            activations::softmax(scope, x, axis, false)
        }
        Some(axes) => over_several_axes(scope, x, axes),
    }
}

/// `exp(x) / sum exp(x)` over all these axes together.
fn over_several_axes(scope: &mut Scope<'_>, x: TensorId, axes: &[i64]) -> Built<TensorId> {
    let rank = scope.rank(x);
    let axes = axes.iter().map(|axis| Ok(scope.axis(*axis, rank)? as i32)).collect::<Built<Vec<i32>>>()?;
    let over = |kind| Reduce { kind, axes: axes.clone(), keep_dims: true };
    let most = scope.emit(over(ReduceKind::Max), &[x])?;
    let below = scope.binary(BinaryKind::Sub, x, most)?;
    let powers = scope.unary(UnaryKind::Exp, below)?;
    let sum = scope.emit(over(ReduceKind::Sum), &[powers])?;
    scope.binary(BinaryKind::Div, powers, sum)
}

/// `x` from `threshold` on, at most `max_value`; below it `negative_slope * (x - threshold)`.
fn relu(scope: &mut Scope<'_>, settings: Config<'_>, x: TensorId) -> Built<TensorId> {
    let most = settings.optional_number("max_value")?;
    let threshold = settings.number("threshold", 0.0)?;
    let slope = activations::slope(settings, 0.0)?;
    if most.is_some_and(|most| most < 0.0) || slope < 0.0 || threshold < 0.0 {
        return Err(settings.broken("max_value, negative_slope and threshold must not be negative").into());
    }
    let upper = match most {
        None if threshold == 0.0 && slope != 0.0 => return scope.unary(UnaryKind::LeakyRelu(slope), x),
        None if threshold == 0.0 => scope.unary(UnaryKind::Relu, x)?,
        Some(6.0) if threshold == 0.0 => scope.unary(UnaryKind::Relu6, x)?,
        Some(most) if threshold == 0.0 => scope.unary(UnaryKind::Clip { min: 0.0, max: most }, x)?,
        most => {
            let passed = above(scope, x, threshold)?;
            match most {
                Some(max) => scope.unary(UnaryKind::Clip { min: 0.0, max }, passed)?,
                None => passed,
            }
        }
    };
    if slope == 0.0 {
        return Ok(upper);
    }
    let shifted = if threshold == 0.0 { x } else { scope.with_scalar(BinaryKind::Sub, x, threshold)? };
    let negative = scope.unary(UnaryKind::Clip { min: f32::NEG_INFINITY, max: 0.0 }, shifted)?;
    let lower = scope.with_scalar(BinaryKind::Mul, negative, slope)?;
    scope.binary(BinaryKind::Add, upper, lower)
}

/// `x` where it is above the threshold, else 0.
fn above(scope: &mut Scope<'_>, x: TensorId, threshold: f32) -> Built<TensorId> {
    let bound = scope.scalar("threshold", threshold)?;
    let passes = scope.emit(Compare { kind: CompareKind::Greater }, &[x, bound])?;
    let zero = scope.scalar("zero", 0.0)?;
    scope.emit(Select {}, &[passes, x, zero])
}

/// Keras 2's layer of that name.
pub(super) fn thresholded(scope: &mut Scope<'_>) -> Built<TensorId> {
    let x = scope.floats()?;
    let theta = scope.config().number("theta", 1.0)?;
    above(scope, x, theta)
}

pub(super) fn prelu_variables(_: Config<'_>) -> Built<Vec<Variable>> {
    Ok(vec![Variable::trained("alpha", "alpha_regularizer")])
}

pub(super) fn prelu(scope: &mut Scope<'_>) -> Built<TensorId> {
    let x = scope.floats()?;
    let rank = scope.rank(x);
    let shared = scope.config().integers("shared_axes")?.unwrap_or_default();
    let shared = shared.iter().map(|axis| scope.axis(*axis, rank)).collect::<Built<Vec<_>>>()?;
    let mut shape = Vec::new();
    for axis in 1..rank {
        shape.push(if shared.contains(&axis) { 1 } else { scope.size(x, axis)? });
    }
    let alpha = scope.weight("alpha", &shape)?;
    scope.emit(Prelu {}, &[x, alpha])
}
