//! Numbers out of many numbers: sums, means, extremes, their places, and order.

use litesmith_graph::ops::{
    ArgKind, ArgReduce, BinaryKind, Cast, CompareKind, CumSum, ExpandDims, Reduce, ReduceKind, Reshape,
    ReshapeDim, TopK, UnaryKind,
};
use litesmith_graph::{DType, TensorId};
use serde_json::Value;

use crate::composed::truth;
use crate::emit::Emit;
use crate::keras::config::{Built, unsupported};
use crate::keras::layers::operations::{axes, axis, class};
use crate::keras::scope::Scope;

fn reduced(
    scope: &mut Scope<'_>,
    kind: ReduceKind,
    x: TensorId,
    axes: &[i32],
    keep_dims: bool,
) -> Built<TensorId> {
    scope.emit(Reduce { kind, axes: axes.to_vec(), keep_dims }, &[x])
}

pub(in crate::keras::layers) fn reduction(scope: &mut Scope<'_>) -> Built<TensorId> {
    if scope.attribute("initial").is_some() {
        unsupported!("a reduction with an initial value is not supported");
    }
    let x = scope.float_operand(0, &["x", "input_tensor"])?;
    let (axes, keep_dims) = axes(scope, x)?;
    let kind = match class(scope) {
        "Mean" => ReduceKind::Mean,
        "Sum" => ReduceKind::Sum,
        "Max" | "Amax" => ReduceKind::Max,
        "Min" | "Amin" => ReduceKind::Min,
        "Prod" => ReduceKind::Prod,
        "Nanmax" | "Nanmean" | "Nanmin" | "Nanprod" | "Nansum" => {
            return of_numbers(scope, x, &axes, keep_dims);
        }
        "Average" => {
            if scope.attribute("weights").is_some() || scope.tensors().len() > 1 {
                unsupported!("an average with weights is not supported; multiply and sum instead");
            }
            ReduceKind::Mean
        }
        _ => return spread(scope, x, &axes, keep_dims),
    };
    reduced(scope, kind, x, &axes, keep_dims)
}

/// What is not a number is left out.
fn of_numbers(scope: &mut Scope<'_>, x: TensorId, axes: &[i32], keep_dims: bool) -> Built<TensorId> {
    let (kind, instead) = match class(scope) {
        "Nanmax" => (ReduceKind::Max, f32::MIN),
        "Nanmin" => (ReduceKind::Min, f32::MAX),
        "Nanprod" => (ReduceKind::Prod, 1.0),
        _ => (ReduceKind::Sum, 0.0),
    };
    let number = scope.emit(litesmith_graph::ops::Compare { kind: CompareKind::Equal }, &[x, x])?;
    let instead = scope.scalar("instead", instead)?;
    let kept = truth::chosen(scope, number, x, instead)?;
    let result = reduced(scope, kind, kept, axes, keep_dims)?;
    if class(scope) != "Nanmean" {
        return Ok(result);
    }
    let counted = truth::as_numbers(scope, number)?;
    let count = reduced(scope, ReduceKind::Sum, counted, axes, keep_dims)?;
    scope.binary(BinaryKind::Div, result, count)
}

fn spread(scope: &mut Scope<'_>, x: TensorId, axes: &[i32], keep_dims: bool) -> Built<TensorId> {
    match class(scope) {
        "Var" => variance(scope, x, axes, keep_dims),
        "Std" => {
            let variance = variance(scope, x, axes, keep_dims)?;
            scope.unary(UnaryKind::Sqrt, variance)
        }
        "Ptp" => {
            let most = reduced(scope, ReduceKind::Max, x, axes, keep_dims)?;
            let least = reduced(scope, ReduceKind::Min, x, axes, keep_dims)?;
            scope.binary(BinaryKind::Sub, most, least)
        }
        "Logsumexp" => {
            let most = reduced(scope, ReduceKind::Max, x, axes, true)?;
            let below = scope.binary(BinaryKind::Sub, x, most)?;
            let powers = scope.unary(UnaryKind::Exp, below)?;
            let sum = reduced(scope, ReduceKind::Sum, powers, axes, keep_dims)?;
            let log = scope.unary(UnaryKind::Log, sum)?;
            let most = if keep_dims { most } else { reduced(scope, ReduceKind::Max, x, axes, false)? };
            scope.binary(BinaryKind::Add, log, most)
        }
        "CountNonzero" => {
            let counts = truth::compared(scope, CompareKind::NotEqual, x, 0.0)?;
            let numbers = truth::as_numbers(scope, counts)?;
            let count = reduced(scope, ReduceKind::Sum, numbers, axes, keep_dims)?;
            scope.emit(Cast { to: DType::I32 }, &[count])
        }
        other => unsupported!("the operation {other} is not supported"),
    }
}

fn variance(scope: &mut Scope<'_>, x: TensorId, axes: &[i32], keep_dims: bool) -> Built<TensorId> {
    let mean = reduced(scope, ReduceKind::Mean, x, axes, true)?;
    let centered = scope.binary(BinaryKind::Sub, x, mean)?;
    let square = scope.unary(UnaryKind::Square, centered)?;
    reduced(scope, ReduceKind::Mean, square, axes, keep_dims)
}

/// Mean and variance.
pub(in crate::keras::layers) fn moments(scope: &mut Scope<'_>) -> Built<Vec<TensorId>> {
    let x = scope.float_operand(0, &["x"])?;
    let (axes, keep_dims) = axes(scope, x)?;
    let mean = reduced(scope, ReduceKind::Mean, x, &axes, keep_dims)?;
    Ok(vec![mean, variance(scope, x, &axes, keep_dims)?])
}

/// Length by some measure.
pub(in crate::keras::layers) fn norm(scope: &mut Scope<'_>) -> Built<TensorId> {
    let x = scope.float_operand(0, &["x", "tensor"])?;
    let (axes, keep_dims) = axes(scope, x)?;
    let order = scope.attribute("ord");
    length(scope, x, order.as_ref(), &axes, keep_dims)
}

fn length(
    scope: &mut Scope<'_>,
    x: TensorId,
    order: Option<&Value>,
    axes: &[i32],
    keep_dims: bool,
) -> Built<TensorId> {
    let number = order.and_then(Value::as_f64);
    let euclidean = order.is_none() || (number == Some(2.0) && axes.len() == 1);
    if euclidean || order.and_then(Value::as_str) == Some("euclidean") {
        let square = scope.unary(UnaryKind::Square, x)?;
        let sum = reduced(scope, ReduceKind::Sum, square, axes, keep_dims)?;
        return scope.unary(UnaryKind::Sqrt, sum);
    }
    if axes.len() > 1 {
        unsupported!("a norm of matrices is not supported; take it along one axis");
    }
    let size = scope.unary(UnaryKind::Abs, x)?;
    match (number, order.and_then(Value::as_str)) {
        (Some(1.0), _) => reduced(scope, ReduceKind::Sum, size, axes, keep_dims),
        (_, Some("inf")) => reduced(scope, ReduceKind::Max, size, axes, keep_dims),
        (_, Some("-inf")) => reduced(scope, ReduceKind::Min, size, axes, keep_dims),
        (Some(order), _) if order > 1.0 => {
            let powers = scope.with_scalar(BinaryKind::Pow, size, order as f32)?;
            let sum = reduced(scope, ReduceKind::Sum, powers, axes, keep_dims)?;
            scope.with_scalar(BinaryKind::Pow, sum, 1.0 / order as f32)
        }
        _ => unsupported!("a norm of this order is not supported; use 1, 2 or 'inf'"),
    }
}

/// Divided by its length.
pub(in crate::keras::layers) fn normalize(scope: &mut Scope<'_>) -> Built<TensorId> {
    let x = scope.float_operand(0, &["x"])?;
    let (axes, _) = axes(scope, x)?;
    let order = scope.attribute("order");
    let length = length(scope, x, order.as_ref(), &axes, true)?;
    let epsilon = scope.config().number("epsilon", 1e-7)?;
    let length = scope.with_scalar(BinaryKind::Maximum, length, epsilon)?;
    scope.binary(BinaryKind::Div, x, length)
}

/// Places of the largest or smallest elements; all axes are one where none is named.
pub(in crate::keras::layers) fn place(scope: &mut Scope<'_>) -> Built<TensorId> {
    let kind = if class(scope) == "Argmax" { ArgKind::Max } else { ArgKind::Min };
    let mut x = scope.float_operand(0, &["x", "input"])?;
    let axis = match scope.attribute("axis") {
        None => {
            x = scope.emit(Reshape::to(vec![ReshapeDim::Infer]), &[x])?;
            0
        }
        Some(_) => axis(scope, x, "axis", -1)?,
    };
    let place = scope.emit(ArgReduce { kind, axis: axis as i32, dtype: DType::I32 }, &[x])?;
    let keep_dims = scope.attribute("keepdims").and_then(|keep| keep.as_bool()).unwrap_or(false);
    if keep_dims { scope.emit(ExpandDims { axis: axis as i32 }, &[place]) } else { Ok(place) }
}

/// The largest elements along the last axis, and their places.
pub(in crate::keras::layers) fn largest(scope: &mut Scope<'_>) -> Built<Vec<TensorId>> {
    let x = scope.float_operand(0, &["x"])?;
    let k = scope.config().count("k")?;
    scope.emit_several(TopK { k }, vec![Some(x)])
}

/// Elements along an axis, or their places, in ascending order.
pub(in crate::keras::layers) fn sorted(scope: &mut Scope<'_>) -> Built<TensorId> {
    let x = scope.float_operand(0, &["x"])?;
    let axis = axis(scope, x, "axis", -1)?;
    let k = scope.size(x, axis)?;
    let places = class(scope) == "Argsort";
    scope.along_last(x, axis, |scope, x| {
        let negative = scope.unary(UnaryKind::Neg, x)?;
        let outputs = scope.emit_several(TopK { k }, vec![Some(negative)])?;
        if places { Ok(outputs[1]) } else { scope.unary(UnaryKind::Neg, outputs[0]) }
    })
}

/// Sums of an element and those before it.
pub(in crate::keras::layers) fn running_sum(scope: &mut Scope<'_>) -> Built<TensorId> {
    if scope.attribute("axis").is_none() || scope.attribute("dtype").is_some() {
        unsupported!("a running sum of all axes or of another type is not supported; name one axis");
    }
    let x = scope.float_operand(0, &["x"])?;
    let axis = axis(scope, x, "axis", 0)?;
    scope.emit(CumSum { axis: axis as i32, ..CumSum::default() }, &[x])
}
