//! Sums, means, largest elements and their places.

use litesmith_graph::ops::{
    ArgKind, ArgReduce, BinaryKind, Cast, CumSum, Reduce, ReduceKind, TopK, UnaryKind,
};
use litesmith_graph::{DType, TensorId};

use crate::emit::Emit;
use crate::refusal::{Built, unsupported};
use crate::savedmodel::translate::draft::Bound;
use crate::savedmodel::translate::scope::Scope;

/// The axes that an input names, of the first input.
pub(super) fn axes_of(scope: &Scope<'_>, index: usize) -> Built<Vec<i32>> {
    let rank = scope.rank(scope.input(0)?);
    let axes = scope.integers_of(index, "its axes")?;
    axes.into_iter().map(|axis| scope.axis_i32(axis, rank)).collect()
}

pub(super) fn reduce(scope: &mut Scope<'_>, kind: ReduceKind) -> Built<TensorId> {
    let x = scope.input(0)?;
    let axes = axes_of(scope, 1)?;
    if axes.is_empty() {
        return Ok(x);
    }
    scope.emit(Reduce { kind, axes, keep_dims: scope.node.attributes.flag("keep_dims") }, &[x])
}

/// Half the sum of all squares.
pub(super) fn half_square(scope: &mut Scope<'_>) -> Built<TensorId> {
    let x = scope.input(0)?;
    let axes = (0..scope.rank(x) as i32).collect();
    let square = scope.unary(UnaryKind::Square, x)?;
    let sum = scope.emit(Reduce { kind: ReduceKind::Sum, axes, keep_dims: false }, &[square])?;
    scope.with_scalar(BinaryKind::Mul, sum, 0.5)
}

pub(super) fn arg_max(scope: &mut Scope<'_>) -> Built<TensorId> {
    arg_reduce(scope, ArgKind::Max)
}

pub(super) fn arg_min(scope: &mut Scope<'_>) -> Built<TensorId> {
    arg_reduce(scope, ArgKind::Min)
}

fn arg_reduce(scope: &mut Scope<'_>, kind: ArgKind) -> Built<TensorId> {
    let x = scope.input(0)?;
    let axis = scope.integer_of(1, "its axis")?;
    let axis = scope.axis_i32(axis, scope.rank(x))?;
    let dtype = scope.node.attributes.dtype("output_type").unwrap_or(DType::I64);
    scope.emit(ArgReduce { kind, axis, dtype }, &[x])
}

pub(super) fn cumsum(scope: &mut Scope<'_>) -> Built<TensorId> {
    let x = scope.input(0)?;
    let axis = scope.integer_of(1, "its axis")?;
    let axis = scope.axis_i32(axis, scope.rank(x))?;
    let (exclusive, reverse) =
        (scope.node.attributes.flag("exclusive"), scope.node.attributes.flag("reverse"));
    scope.emit(CumSum { axis, exclusive, reverse }, &[x])
}

pub(super) fn top_k(scope: &mut Scope<'_>) -> Built<Vec<Bound>> {
    let x = scope.input(0)?;
    let k = if scope.inputs.len() > 1 { scope.integer_of(1, "k")? } else { scope.attribute("k")? };
    let op = TopK { k: scope.size_from(k, "k")? };
    let outputs = scope.emit_several(op, vec![Some(x)])?;
    let [values, mut places] = outputs[..] else {
        return Err(scope.broken("it does not have two outputs").into());
    };
    match scope.node.attributes.dtype("index_type") {
        None | Some(DType::I32) => {}
        Some(to @ DType::I64) => places = scope.emit(Cast { to }, &[places])?,
        Some(other) => unsupported!("indices of type {other} are not supported"),
    }
    Ok(vec![Bound::Tensor(values), Bound::Tensor(places)])
}
