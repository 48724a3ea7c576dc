//! Normalization by statistics.

use litesmith_graph::TensorId;
use litesmith_graph::ops::{
    BatchNorm, BinaryKind, L2Norm, Reduce, ReduceKind, Reshape, ReshapeDim, Softmax, UnaryKind,
};

use crate::emit::Emit;
use crate::refusal::Built;
use crate::savedmodel::translate::draft::Bound;
use crate::savedmodel::translate::scope::Scope;

/// FusedBatchNorm: `x`, scale, offset, mean, variance; with `is_training` the statistics are those of `x`.
pub(super) fn fused_batch(scope: &mut Scope<'_>) -> Built<Vec<Bound>> {
    let (x, gamma, beta) = (scope.input(0)?, scope.input(1)?, scope.input(2)?);
    let epsilon = scope.node.attributes.number("epsilon").unwrap_or(1e-4);
    let rank = scope.rank(x);
    let channels_first = matches!(scope.text("data_format", ""), "NCHW" | "NCDHW");
    if rank < 2 {
        return Err(scope.broken("its input has too few axes").into());
    }
    let axis = if channels_first { 1 } else { rank - 1 };
    // The attribute is true where it is missing.
    if scope.node.attributes.flag_or("is_training", true) {
        let others: Vec<i32> = (0..rank).filter(|other| *other != axis).map(|other| other as i32).collect();
        let mut normal = standardized(scope, x, &others, epsilon)?;
        for (weight, kind) in [(gamma, BinaryKind::Mul), (beta, BinaryKind::Add)] {
            let weight = along(scope, weight, axis, rank)?;
            normal = scope.binary(kind, normal, weight)?;
        }
        return Ok(vec![Bound::Tensor(normal)]);
    }
    let (mean, variance) = (scope.input(3)?, scope.input(4)?);
    let op = BatchNorm { epsilon, ..BatchNorm::default() };
    let result = scope.along_last(x, axis, |scope, x| {
        scope.emit_some(op, vec![Some(x), Some(gamma), Some(beta), Some(mean), Some(variance)])
    })?;
    Ok(vec![Bound::Tensor(result)])
}

/// A vector in a shape that broadcasts along an axis.
fn along(scope: &mut Scope<'_>, weight: TensorId, axis: usize, rank: usize) -> Built<TensorId> {
    if axis + 1 == rank {
        return Ok(weight);
    }
    let mut shape = vec![ReshapeDim::Fixed(1); rank];
    shape[axis] = ReshapeDim::Infer;
    scope.laid_out(weight, Reshape::to(shape))
}

/// The inputs of a recognized normalization.
struct Parts {
    x: TensorId,
    gamma: Option<TensorId>,
    beta: Option<TensorId>,
    /// What follows.
    statistics: Vec<TensorId>,
}

fn parts(scope: &Scope<'_>) -> Built<Parts> {
    let inputs = scope.tensors()?;
    let mut inputs = inputs.into_iter();
    let missing = || scope.broken("an input is missing");
    let x = inputs.next().ok_or_else(missing)?;
    let mut optional = |key: &str| {
        let there = scope.node.attributes.flag(key);
        if there { inputs.next().ok_or_else(missing).map(Some) } else { Ok(None) }
    };
    let (gamma, beta) = (optional("scale")?, optional("center")?);
    Ok(Parts { x, gamma, beta, statistics: inputs.collect() })
}

fn epsilon(scope: &Scope<'_>) -> f32 {
    scope.node.attributes.number("epsilon").unwrap_or(0.0)
}

/// Batch normalization by vectors.
pub(super) fn batch(scope: &mut Scope<'_>) -> Built<TensorId> {
    let Parts { x, gamma, beta, statistics } = parts(scope)?;
    let [mean, variance] = statistics[..] else {
        return Err(scope.broken("its statistics are missing").into());
    };
    let epsilon = epsilon(scope);
    let channels = scope.shape(x).last().cloned();
    let fits = |id: &TensorId| channels.as_ref().is_some_and(|c| scope.shape(*id).last() == Some(c));
    if [Some(mean), Some(variance), gamma, beta].iter().flatten().all(fits) {
        let op = BatchNorm { epsilon, ..BatchNorm::default() };
        return scope.emit_some(op, vec![Some(x), gamma, beta, Some(mean), Some(variance)]);
    }
    // A vector of one element for all channels.
    let shifted = scope.with_scalar(BinaryKind::Add, variance, epsilon)?;
    let mut factor = scope.unary(UnaryKind::Rsqrt, shifted)?;
    if let Some(gamma) = gamma {
        factor = scope.binary(BinaryKind::Mul, factor, gamma)?;
    }
    let scaled = scope.binary(BinaryKind::Mul, x, factor)?;
    let mean = scope.binary(BinaryKind::Mul, mean, factor)?;
    let centered = scope.binary(BinaryKind::Sub, scaled, mean)?;
    match beta {
        Some(beta) => scope.binary(BinaryKind::Add, centered, beta),
        None => Ok(centered),
    }
}

/// Normalization by statistics of `x` along some axes.
pub(super) fn layer(scope: &mut Scope<'_>) -> Built<TensorId> {
    let Parts { x, gamma, beta, .. } = parts(scope)?;
    let rank = scope.rank(x);
    let axes = scope.node.attributes.integers("axes").to_vec();
    let axes = axes.into_iter().map(|axis| scope.axis_i32(axis, rank)).collect::<Built<Vec<i32>>>()?;
    let epsilon = epsilon(scope);
    let mut normal = standardized(scope, x, &axes, epsilon)?;
    for (weight, kind) in [(gamma, BinaryKind::Mul), (beta, BinaryKind::Add)] {
        let Some(weight) = weight else { continue };
        // Axes of size 1 before a vector change nothing.
        let vector = scope.draft.unshaped(weight);
        let same = scope.rank(vector) == 1 && scope.shape(vector).last() == scope.shape(weight).last();
        normal = scope.binary(kind, normal, if same { vector } else { weight })?;
    }
    Ok(normal)
}

/// `x` less its mean over some axes, and divided by its standard deviation.
fn standardized(scope: &mut Scope<'_>, x: TensorId, axes: &[i32], epsilon: f32) -> Built<TensorId> {
    let mean = Reduce { kind: ReduceKind::Mean, axes: axes.to_vec(), keep_dims: true };
    let center = scope.emit(mean.clone(), &[x])?;
    let centered = scope.binary(BinaryKind::Sub, x, center)?;
    let square = scope.unary(UnaryKind::Square, centered)?;
    let variance = scope.emit(mean, &[square])?;
    let shifted = scope.with_scalar(BinaryKind::Add, variance, epsilon)?;
    let inverse = scope.unary(UnaryKind::Rsqrt, shifted)?;
    scope.binary(BinaryKind::Mul, centered, inverse)
}

/// To length 1 along the last axis.
pub(super) fn unit(scope: &mut Scope<'_>) -> Built<TensorId> {
    let x = scope.input(0)?;
    scope.emit(L2Norm {}, &[x])
}

pub(super) fn softmax(scope: &mut Scope<'_>) -> Built<TensorId> {
    let x = scope.input(0)?;
    scope.emit(Softmax { beta: 1.0, log: scope.node.op == "LogSoftmax" }, &[x])
}
