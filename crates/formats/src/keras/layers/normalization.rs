//! Normalization by statistics.

use litesmith_graph::TensorId;
use litesmith_graph::ops::{
    BatchNorm, BinaryKind, L2Norm, Reduce, ReduceKind, Reshape, ReshapeDim, UnaryKind,
};

use crate::emit::Emit;
use crate::keras::config::{Built, Config, unsupported};
use crate::keras::scope::Scope;
use crate::keras::weights::Variable;

/// Least square of a length that Keras divides by.
const LEAST_SQUARE: f32 = 1e-12;

pub(super) fn variables(config: Config<'_>) -> Built<Vec<Variable>> {
    let mut variables = Vec::new();
    if config.flag("scale", true)? {
        variables.push(Variable::trained("gamma", "gamma_regularizer"));
    }
    if config.flag("center", true)? {
        variables.push(Variable::trained("beta", "beta_regularizer"));
    }
    variables.extend([Variable::fixed("moving_mean"), Variable::fixed("moving_variance")]);
    Ok(variables)
}

pub(super) fn batch(scope: &mut Scope<'_>) -> Built<TensorId> {
    let input = scope.floats()?;
    let config = scope.config();
    if config.flag("renorm", false)? {
        unsupported!("batch renormalization is not supported; build the layer with renorm=False");
    }
    let axes = config.integers("axis")?.unwrap_or_else(|| vec![-1]);
    let [axis] = axes.as_slice() else {
        unsupported!("it normalizes over the axes {axes:?}; only one is supported");
    };
    let axis = scope.axis(*axis, scope.rank(input))?;
    let channels = scope.size(input, axis)?;
    let gamma = if config.flag("scale", true)? { Some(scope.weight("gamma", &[channels])?) } else { None };
    let beta = if config.flag("center", true)? { Some(scope.weight("beta", &[channels])?) } else { None };
    let mean = scope.weight("moving_mean", &[channels])?;
    let variance = scope.weight("moving_variance", &[channels])?;
    let op =
        BatchNorm { epsilon: config.number("epsilon", 1e-3)?, momentum: config.number("momentum", 0.99)? };
    scope.along_last(input, axis, |scope, input| {
        scope.emit_some(op, vec![Some(input), gamma, beta, Some(mean), Some(variance)])
    })
}

/// Scale and offset, where the layer has them.
pub(super) fn affine_variables(config: Config<'_>) -> Built<Vec<Variable>> {
    let mut variables = Vec::new();
    if config.flag("scale", true)? || config.flag("rms_scaling", false)? {
        variables.push(Variable::trained("gamma", "gamma_regularizer"));
    }
    if config.flag("center", true)? && !config.flag("rms_scaling", false)? {
        variables.push(Variable::trained("beta", "beta_regularizer"));
    }
    Ok(variables)
}

pub(super) fn rms_variables(_: Config<'_>) -> Built<Vec<Variable>> {
    Ok(vec![Variable::trained("scale", "")])
}

/// The axes that a setting names, in order.
fn axes(scope: &Scope<'_>, rank: usize) -> Built<Vec<usize>> {
    let axes = scope.config().integers("axis")?.unwrap_or_else(|| vec![-1]);
    let mut axes = axes.into_iter().map(|axis| scope.axis(axis, rank)).collect::<Built<Vec<_>>>()?;
    axes.sort_unstable();
    axes.dedup();
    Ok(axes)
}

fn mean(scope: &mut Scope<'_>, x: TensorId, axes: &[usize]) -> Built<TensorId> {
    let axes = axes.iter().map(|axis| *axis as i32).collect();
    scope.emit(Reduce { kind: ReduceKind::Mean, axes, keep_dims: true }, &[x])
}

/// `1 / sqrt(mean of squares + epsilon)`
fn inverse_root(scope: &mut Scope<'_>, x: TensorId, axes: &[usize], epsilon: f32) -> Built<TensorId> {
    let square = scope.unary(UnaryKind::Square, x)?;
    let mean = mean(scope, square, axes)?;
    let shifted = scope.with_scalar(BinaryKind::Add, mean, epsilon)?;
    scope.unary(UnaryKind::Rsqrt, shifted)
}

/// `x` less its mean over some axes, and divided by its standard deviation.
fn standardized(scope: &mut Scope<'_>, x: TensorId, axes: &[usize], epsilon: f32) -> Built<TensorId> {
    let mean = mean(scope, x, axes)?;
    let centered = scope.binary(BinaryKind::Sub, x, mean)?;
    let inverse = inverse_root(scope, centered, axes, epsilon)?;
    scope.binary(BinaryKind::Mul, centered, inverse)
}

/// A weight along some axes of an input, in a shape that broadcasts against it.
fn along(scope: &mut Scope<'_>, name: &'static str, x: TensorId, axes: &[usize]) -> Built<TensorId> {
    let rank = scope.rank(x);
    let sizes = axes.iter().map(|axis| scope.size(x, *axis)).collect::<Built<Vec<_>>>()?;
    let weight = scope.weight(name, &sizes)?;
    if axes.iter().copied().eq(rank - axes.len()..rank) {
        return Ok(weight);
    }
    let mut shape = vec![ReshapeDim::Fixed(1); rank];
    for (axis, size) in axes.iter().zip(sizes) {
        shape[*axis] = ReshapeDim::Fixed(size);
    }
    scope.laid_out(weight, Reshape::to(shape))
}

/// Times gamma, plus beta, as far as the layer has them.
fn affine(scope: &mut Scope<'_>, mut x: TensorId, axes: &[usize]) -> Built<TensorId> {
    for variable in affine_variables(scope.config())? {
        let weight = along(scope, variable.name, x, axes)?;
        let kind = if variable.name == "gamma" { BinaryKind::Mul } else { BinaryKind::Add };
        x = scope.binary(kind, x, weight)?;
    }
    Ok(x)
}

/// Over the named axes of each sample (Ba et al. 2016).
pub(super) fn layer(scope: &mut Scope<'_>) -> Built<TensorId> {
    let x = scope.floats()?;
    let axes = axes(scope, scope.rank(x))?;
    let epsilon = scope.config().number("epsilon", 1e-3)?;
    if scope.config().flag("rms_scaling", false)? {
        return rms_scaled(scope, x, &axes, epsilon);
    }
    let normal = standardized(scope, x, &axes, epsilon)?;
    affine(scope, normal, &axes)
}

/// Keras' older spelling of RMSNormalization divides by the root of the variance.
fn rms_scaled(scope: &mut Scope<'_>, x: TensorId, axes: &[usize], epsilon: f32) -> Built<TensorId> {
    let mean = mean(scope, x, axes)?;
    let centered = scope.binary(BinaryKind::Sub, x, mean)?;
    let inverse = inverse_root(scope, centered, axes, epsilon)?;
    let normal = scope.binary(BinaryKind::Mul, x, inverse)?;
    let gamma = along(scope, "gamma", x, axes)?;
    scope.binary(BinaryKind::Mul, normal, gamma)
}

/// By the root of the mean square (Zhang and Sennrich 2019).
pub(super) fn rms(scope: &mut Scope<'_>) -> Built<TensorId> {
    let x = scope.floats()?;
    let axes = axes(scope, scope.rank(x))?;
    let epsilon = scope.config().number("epsilon", 1e-6)?;
    let inverse = inverse_root(scope, x, &axes, epsilon)?;
    let normal = scope.binary(BinaryKind::Mul, x, inverse)?;
    let scale = along(scope, "scale", x, &axes)?;
    scope.binary(BinaryKind::Mul, normal, scale)
}

/// To length 1.
pub(super) fn unit(scope: &mut Scope<'_>) -> Built<TensorId> {
    let x = scope.floats()?;
    let axes = axes(scope, scope.rank(x))?;
    if let [axis] = axes.as_slice() {
        return scope.along_last(x, *axis, |scope, x| scope.emit(L2Norm {}, &[x]));
    }
    let square = scope.unary(UnaryKind::Square, x)?;
    let sum = Reduce {
        kind: ReduceKind::Sum,
        axes: axes.iter().map(|axis| *axis as i32).collect(),
        keep_dims: true,
    };
    let sum = scope.emit(sum, &[square])?;
    let sum = scope.with_scalar(BinaryKind::Maximum, sum, LEAST_SQUARE)?;
    let inverse = scope.unary(UnaryKind::Rsqrt, sum)?;
    scope.binary(BinaryKind::Mul, x, inverse)
}

/// Over each group of channels and all places (Wu and He 2018).
pub(super) fn group(scope: &mut Scope<'_>) -> Built<TensorId> {
    let x = scope.floats()?;
    let rank = scope.rank(x);
    let axis = scope.axis(i64::from(scope.config().integer("axis", -1)?), rank)?;
    if axis == 0 {
        return Err(scope.config().broken("its groups are along the batch").into());
    }
    scope.along_last(x, axis, grouped)
}

/// Groups along the last axis.
fn grouped(scope: &mut Scope<'_>, x: TensorId) -> Built<TensorId> {
    let rank = scope.rank(x);
    let channels = scope.channels(x)?;
    let groups = scope.config().integer("groups", 32)?;
    let groups = if groups == -1 { channels } else { usize::try_from(groups).unwrap_or(0) };
    if groups == 0 || !channels.is_multiple_of(groups) {
        return Err(scope.config().broken(format!("{channels} channels do not make {groups} groups")).into());
    }
    let epsilon = scope.config().number("epsilon", 1e-3)?;
    let mut shape: Vec<ReshapeDim> = (0..rank - 1).map(ReshapeDim::Copy).collect();
    shape.extend([ReshapeDim::Fixed(groups), ReshapeDim::Fixed(channels / groups)]);
    let grouped = scope.emit(Reshape::to(shape), &[x])?;
    let within: Vec<usize> = (1..rank + 1).filter(|axis| *axis != rank - 1).collect();
    let normal = standardized(scope, grouped, &within, epsilon)?;
    let mut shape: Vec<ReshapeDim> = (0..rank - 1).map(ReshapeDim::Copy).collect();
    shape.push(ReshapeDim::Fixed(channels));
    let joined = scope.emit(Reshape::to(shape), &[normal])?;
    affine(scope, joined, &[rank - 1])
}
