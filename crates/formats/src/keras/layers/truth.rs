//! Truth values: how layers make and combine masks.

use litesmith_graph::TensorId;
use litesmith_graph::ops::{
    Compare, CompareKind, Logical, LogicalKind, Reduce, ReduceKind, Select, UnaryKind,
};

use crate::keras::config::Built;
use crate::keras::scope::Scope;

/// How a tensor compares with a number.
pub(in crate::keras) fn compared(
    scope: &mut Scope<'_>,
    kind: CompareKind,
    x: TensorId,
    bound: f32,
) -> Built<TensorId> {
    let bound = scope.scalar("bound", bound)?;
    scope.emit(Compare { kind }, &[x, bound])
}

/// `yes` where a condition holds, else `no`.
pub(in crate::keras) fn chosen(
    scope: &mut Scope<'_>,
    condition: TensorId,
    yes: TensorId,
    no: TensorId,
) -> Built<TensorId> {
    scope.emit(Select {}, &[condition, yes, no])
}

/// 1 where a condition holds, else 0. A choice of constants, unlike a cast, is a matter of integers once
/// the model is quantized.
pub(in crate::keras) fn as_numbers(scope: &mut Scope<'_>, condition: TensorId) -> Built<TensorId> {
    let (one, zero) = (scope.scalar("one", 1.0)?, scope.scalar("zero", 0.0)?);
    chosen(scope, condition, one, zero)
}

/// `x` where a condition holds, else 0.
pub(in crate::keras) fn kept(scope: &mut Scope<'_>, condition: TensorId, x: TensorId) -> Built<TensorId> {
    let zero = scope.scalar("zero", 0.0)?;
    chosen(scope, condition, x, zero)
}

/// Whether a condition holds anywhere (`Max`) or everywhere (`Min`) along some axes.
pub(super) fn reduced(
    scope: &mut Scope<'_>,
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
pub(super) fn both(
    scope: &mut Scope<'_>,
    a: Option<TensorId>,
    b: Option<TensorId>,
) -> Built<Option<TensorId>> {
    match (a, b) {
        (Some(a), Some(b)) => scope.emit(Logical { kind: LogicalKind::And }, &[a, b]).map(Some),
        (one, other) => Ok(one.or(other)),
    }
}

/// Whether a condition does not hold.
pub(super) fn not(scope: &mut Scope<'_>, condition: TensorId) -> Built<TensorId> {
    scope.unary(UnaryKind::LogicalNot, condition)
}
