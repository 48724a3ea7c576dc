//! Normalization by statistics.

use litesmith_graph::TensorId;
use litesmith_graph::ops::{
    BatchNorm, BinaryKind, Reduce, ReduceKind, Reshape, ReshapeDim, Softmax, UnaryKind,
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

pub(super) fn softmax(scope: &mut Scope<'_>) -> Built<TensorId> {
    let x = scope.input(0)?;
    scope.emit(Softmax { beta: 1.0, log: scope.node.op == "LogSoftmax" }, &[x])
}
