//! Layers that make one tensor of several.

use litesmith_graph::TensorId;
use litesmith_graph::ops::{
    BatchMatMul, BinaryKind, Concat, ExpandDims, L2Norm, Reduce, ReduceKind, Squeeze,
};

use crate::keras::config::{Built, integers, unsupported};
use crate::keras::scope::Scope;

pub(super) fn add(scope: &mut Scope<'_>) -> Built<TensorId> {
    merged(scope, BinaryKind::Add)
}

pub(super) fn multiply(scope: &mut Scope<'_>) -> Built<TensorId> {
    merged(scope, BinaryKind::Mul)
}

pub(super) fn maximum(scope: &mut Scope<'_>) -> Built<TensorId> {
    merged(scope, BinaryKind::Maximum)
}

pub(super) fn minimum(scope: &mut Scope<'_>) -> Built<TensorId> {
    merged(scope, BinaryKind::Minimum)
}

pub(super) fn subtract(scope: &mut Scope<'_>) -> Built<TensorId> {
    if scope.tensors().len() != 2 {
        return Err(scope.config().broken("it takes two inputs").into());
    }
    merged(scope, BinaryKind::Sub)
}

pub(super) fn average(scope: &mut Scope<'_>) -> Built<TensorId> {
    let count = scope.tensors().len();
    let sum = merged(scope, BinaryKind::Add)?;
    scope.with_scalar(BinaryKind::Mul, sum, 1.0 / count as f32)
}

/// All inputs, from the first to the last. One of fewer axes gets more behind its first, which is
/// the batch.
fn merged(scope: &mut Scope<'_>, kind: BinaryKind) -> Built<TensorId> {
    let inputs = scope.all_floats()?;
    let rank = inputs.iter().map(|input| scope.rank(*input)).max().unwrap_or(0);
    let mut aligned = Vec::new();
    for mut input in inputs {
        while scope.rank(input) < rank {
            input = scope.emit(ExpandDims { axis: 1 }, &[input])?;
        }
        aligned.push(input);
    }
    let Some((first, others)) = aligned.split_first() else {
        return Err(scope.config().broken("it is called without a tensor").into());
    };
    others.iter().try_fold(*first, |merged, other| scope.binary(kind, merged, *other))
}

pub(super) fn concatenate(scope: &mut Scope<'_>) -> Built<TensorId> {
    let inputs = scope.all_floats()?;
    let axis = scope.attribute("axis").as_ref().and_then(integers);
    let axis = match axis.as_deref() {
        None if scope.layer.is_operation() => 0,
        None => -1,
        Some([axis]) => i32::try_from(*axis).unwrap_or(i32::MAX),
        Some(axes) => return Err(scope.config().broken(format!("its axis is {axes:?}")).into()),
    };
    if inputs.is_empty() {
        return Err(scope.config().broken("it is called without a tensor").into());
    }
    scope.emit(Concat { axis, ..Concat::default() }, &inputs)
}

/// Products of samples, summed over one axis of each.
pub(super) fn dot(scope: &mut Scope<'_>) -> Built<TensorId> {
    let inputs = scope.all_floats()?;
    let [mut a, mut b] = *inputs.as_slice() else {
        return Err(scope.config().broken("it takes two inputs").into());
    };
    let (rank_a, rank_b) = (scope.rank(a), scope.rank(b));
    let axes = scope.config().integers("axes")?.unwrap_or_default();
    let (axis_a, axis_b) = match axes.as_slice() {
        [both] => (*both, *both),
        [a, b] => (*a, *b),
        _ => return Err(scope.config().broken("its axes must be one or two integers").into()),
    };
    let (axis_a, axis_b) = (scope.axis(axis_a, rank_a)?, scope.axis(axis_b, rank_b)?);
    if axis_a == 0 || axis_b == 0 || !(2..=3).contains(&rank_a) || !(2..=3).contains(&rank_b) {
        unsupported!("a product of inputs with {rank_a} and {rank_b} axes over {axes:?} is not supported");
    }
    if scope.config().flag("normalize", false)? {
        a = scope.along_last(a, axis_a, |scope, a| scope.emit(L2Norm {}, &[a]))?;
        b = scope.along_last(b, axis_b, |scope, b| scope.emit(L2Norm {}, &[b]))?;
    }
    if rank_a == 2 && rank_b == 2 {
        let product = scope.binary(BinaryKind::Mul, a, b)?;
        return scope.emit(Reduce { kind: ReduceKind::Sum, axes: vec![1], keep_dims: true }, &[product]);
    }
    // A vector is a matrix of one row on the left, of one column on the right.
    let left = if rank_a == 2 { scope.emit(ExpandDims { axis: 1 }, &[a])? } else { a };
    let right = if rank_b == 2 { scope.emit(ExpandDims { axis: 2 }, &[b])? } else { b };
    let op = BatchMatMul {
        adjoint_a: rank_a == 3 && axis_a == 1,
        adjoint_b: rank_b == 3 && axis_b == 2,
        ..BatchMatMul::default()
    };
    let product = scope.emit(op, &[left, right])?;
    match (rank_a, rank_b) {
        (2, _) => scope.emit(Squeeze { axes: vec![1] }, &[product]),
        (_, 2) => scope.emit(Squeeze { axes: vec![2] }, &[product]),
        _ => Ok(product),
    }
}
