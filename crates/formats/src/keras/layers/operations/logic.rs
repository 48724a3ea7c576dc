//! Relations, choices, and what is done with truth values.

use litesmith_graph::ops::{
    BinaryKind, Compare, CompareKind, Logical, LogicalKind, ReduceKind, Select, UnaryKind,
};
use litesmith_graph::{DType, TensorId};

use crate::composed::truth;
use crate::emit::Emit;
use crate::keras::config::{Built, unsupported};
use crate::keras::layers::operations::{axes, class};
use crate::keras::scope::{Operand, Scope};

/// Relations of two operands.
pub(in crate::keras::layers) fn relation(scope: &mut Scope<'_>) -> Built<TensorId> {
    let kind = match class(scope) {
        "Equal" => CompareKind::Equal,
        "NotEqual" => CompareKind::NotEqual,
        "Less" => CompareKind::Less,
        "LessEqual" => CompareKind::LessEqual,
        "Greater" => CompareKind::Greater,
        _ => CompareKind::GreaterEqual,
    };
    let [a, b] = [(0, ["x1", "x"]), (1, ["x2", "y"])].map(|(place, names)| number(scope, place, &names));
    scope.emit(Compare { kind }, &[a?, b?])
}

/// An operand as single-precision numbers: integers that are compared are small.
fn number(scope: &mut Scope<'_>, place: usize, names: &[&str]) -> Built<TensorId> {
    match scope.operand(place, names) {
        Some(Operand::Tensor(id)) => {
            let id = *id;
            scope.as_floats(id)
        }
        _ => scope.float_operand(place, names),
    }
}

/// Whether two numbers are nearly equal.
pub(in crate::keras::layers) fn close(scope: &mut Scope<'_>) -> Built<TensorId> {
    let a = scope.float_operand(0, &["x1"])?;
    let b = scope.float_operand(1, &["x2"])?;
    let relative = scope.float_operand(2, &["rtol"])?;
    let absolute = scope.float_operand(3, &["atol"])?;
    let difference = scope.binary(BinaryKind::Sub, a, b)?;
    let distance = scope.unary(UnaryKind::Abs, difference)?;
    let size = scope.unary(UnaryKind::Abs, b)?;
    let part = scope.binary(BinaryKind::Mul, size, relative)?;
    let allowed = scope.binary(BinaryKind::Add, part, absolute)?;
    scope.emit(Compare { kind: CompareKind::LessEqual }, &[distance, allowed])
}

/// What a number is like.
pub(in crate::keras::layers) fn property(scope: &mut Scope<'_>) -> Built<TensorId> {
    let x = scope.float_operand(0, &["x"])?;
    if class(scope) == "Isnan" {
        return scope.emit(Compare { kind: CompareKind::NotEqual }, &[x, x]);
    }
    if class(scope) == "Signbit" {
        return truth::compared(scope, CompareKind::Less, x, 0.0);
    }
    let size = scope.unary(UnaryKind::Abs, x)?;
    match class(scope) {
        "Isinf" => truth::compared(scope, CompareKind::Greater, size, f32::MAX),
        _ => truth::compared(scope, CompareKind::LessEqual, size, f32::MAX),
    }
}

/// A truth value as Keras sees it: a number that is not 0 is true.
fn condition(scope: &mut Scope<'_>, x: TensorId) -> Built<TensorId> {
    if scope.dtype(x) == DType::Bool {
        return Ok(x);
    }
    let x = scope.as_floats(x)?;
    truth::compared(scope, CompareKind::NotEqual, x, 0.0)
}

fn condition_operand(scope: &mut Scope<'_>, place: usize, names: &[&str]) -> Built<TensorId> {
    match scope.operand(place, names) {
        Some(Operand::Tensor(x)) => {
            let x = *x;
            condition(scope, x)
        }
        _ => unsupported!("operand {place} must be a tensor of truth values"),
    }
}

/// And, or, exclusive or, not.
pub(in crate::keras::layers) fn logical(scope: &mut Scope<'_>) -> Built<TensorId> {
    let a = condition_operand(scope, 0, &["x1", "x"])?;
    if class(scope) == "LogicalNot" {
        return truth::not(scope, a);
    }
    let b = condition_operand(scope, 1, &["x2"])?;
    match class(scope) {
        "LogicalAnd" => scope.emit(Logical { kind: LogicalKind::And }, &[a, b]),
        "LogicalOr" => scope.emit(Logical { kind: LogicalKind::Or }, &[a, b]),
        _ => {
            let (a, b) = (truth::as_numbers(scope, a)?, truth::as_numbers(scope, b)?);
            scope.emit(Compare { kind: CompareKind::NotEqual }, &[a, b])
        }
    }
}

/// Whether all or any of some truth values hold.
pub(in crate::keras::layers) fn all_or_any(scope: &mut Scope<'_>) -> Built<TensorId> {
    let x = condition_operand(scope, 0, &["x"])?;
    let (axes, keep_dims) = axes(scope, x)?;
    let kind = if class(scope) == "All" { ReduceKind::Min } else { ReduceKind::Max };
    truth::reduced(scope, kind, x, axes, keep_dims)
}

/// One of two numbers, as a condition says.
pub(in crate::keras::layers) fn choice(scope: &mut Scope<'_>) -> Built<TensorId> {
    let which = condition_operand(scope, 0, &["condition"])?;
    let yes = scope.float_operand(1, &["x1", "x"])?;
    let no = scope.float_operand(2, &["x2", "y"])?;
    scope.emit(Select {}, &[which, yes, no])
}

/// The first of several numbers whose condition holds.
pub(in crate::keras::layers) fn choices(scope: &mut Scope<'_>) -> Built<TensorId> {
    let list = |operand: Option<&Operand>| match operand {
        Some(Operand::List(items)) => {
            items.iter().map(|item| if let Operand::Tensor(id) = item { Some(*id) } else { None }).collect()
        }
        _ => None,
    };
    let conditions: Option<Vec<TensorId>> = list(scope.operand(0, &["condlist"]));
    let values: Option<Vec<TensorId>> = list(scope.operand(1, &["choicelist"]));
    let (Some(conditions), Some(values)) = (conditions, values) else {
        unsupported!("its conditions and choices must be lists of tensors");
    };
    if conditions.len() != values.len() {
        return Err(scope.config().broken("it has other numbers of conditions and choices").into());
    }
    let mut result = scope.float_operand(2, &["default"])?;
    for (which, value) in conditions.into_iter().zip(values).rev() {
        let (which, value) = (condition(scope, which)?, scope.as_floats(value)?);
        result = scope.emit(Select {}, &[which, value, result])?;
    }
    Ok(result)
}
