//! Truth values: how layers make and combine masks.

use litesmith_graph::TensorId;
use litesmith_graph::ops::{
    Compare, CompareKind, Logical, LogicalKind, Reduce, ReduceKind, Select, UnaryKind,
};

use crate::emit::Emit;
use crate::refusal::Built;

/// How a tensor compares with a number.
pub(crate) fn compared(scope: &mut impl Emit, kind: CompareKind, x: TensorId, bound: f32) -> Built<TensorId> {
    let bound = scope.scalar("bound", bound)?;
    scope.emit(Compare { kind }, &[x, bound])
}

/// `yes` where a condition holds, else `no`.
pub(crate) fn chosen(
    scope: &mut impl Emit,
    condition: TensorId,
    yes: TensorId,
    no: TensorId,
) -> Built<TensorId> {
    scope.emit(Select {}, &[condition, yes, no])
}

/// 1 where a condition holds, else 0. A choice of constants, unlike a cast, is a matter of integers once
/// the model is quantized.
pub(crate) fn as_numbers(scope: &mut impl Emit, condition: TensorId) -> Built<TensorId> {
    let (one, zero) = (scope.scalar("one", 1.0)?, scope.scalar("zero", 0.0)?);
    chosen(scope, condition, one, zero)
}

/// `x` where a condition holds, else 0.
pub(crate) fn kept(scope: &mut impl Emit, condition: TensorId, x: TensorId) -> Built<TensorId> {
    let zero = scope.scalar("zero", 0.0)?;
    chosen(scope, condition, x, zero)
}

/// Whether a condition holds anywhere (`Max`) or everywhere (`Min`) along some axes.
pub(crate) fn reduced(
    scope: &mut impl Emit,
    kind: ReduceKind,
    condition: TensorId,
    axes: Vec<i32>,
    keep_dims: bool,
) -> Built<TensorId> {
    let numbers = as_numbers(scope, condition)?;
    let reduced = scope.emit(Reduce { kind, axes, keep_dims }, &[numbers])?;
    compared(scope, CompareKind::Greater, reduced, 0.5)
}

/// Whether both hold; one that is missing holds.
pub(crate) fn both(
    scope: &mut impl Emit,
    a: Option<TensorId>,
    b: Option<TensorId>,
) -> Built<Option<TensorId>> {
    match (a, b) {
        (Some(a), Some(b)) => scope.emit(Logical { kind: LogicalKind::And }, &[a, b]).map(Some),
        (one, other) => Ok(one.or(other)),
    }
}

/// Whether a condition does not hold.
pub(crate) fn not(scope: &mut impl Emit, condition: TensorId) -> Built<TensorId> {
    scope.unary(UnaryKind::LogicalNot, condition)
}
