//! Sums, means, largest elements and their places.

use litesmith_graph::ops::{
    ArgKind, ArgReduce, BinaryKind, CumSum, Reduce, ReduceKind, Reverse, TopK, UnaryKind,
};
use litesmith_graph::{DType, TensorId};

use super::elementwise::{narrowed, wide};
use crate::composed::truth;
use crate::emit::Emit;
use crate::onnx::read::draft::Bound;
use crate::onnx::read::scope::Scope;
use crate::refusal::{Built, unsupported};

/// From this version on the axes of most reductions are an input; those of sums since version 13.
const AXES_AS_INPUT: i64 = 18;

/// Over which axes a node reduces, and whether these stay with size 1; `None`: nothing is reduced.
fn extent(scope: &mut Scope<'_, '_>, x: TensorId, since: i64) -> Built<(Option<Vec<i32>>, bool)> {
    let keep = scope.attributes.flag("keepdims", true)?;
    let nothing = scope.attributes.flag("noop_with_empty_axes", false)?;
    let rank = scope.rank(x);
    let given = scope.integers_by_opset("axes", since, 1)?.unwrap_or_default();
    if given.is_empty() {
        return Ok((if nothing { None } else { Some((0..rank as i32).collect()) }, keep));
    }
    let axes = scope.axes(&given, rank)?;
    Ok((Some(axes.into_iter().map(|axis| axis as i32).collect()), keep))
}

pub(super) fn reduce(scope: &mut Scope<'_, '_>, kind: ReduceKind) -> Built<TensorId> {
    let x = scope.input(0)?;
    let since = if kind == ReduceKind::Sum { 13 } else { AXES_AS_INPUT };
    let (Some(axes), keep_dims) = extent(scope, x, since)? else { return Ok(x) };
    let dtype = scope.dtype(x);
    if dtype == DType::Bool {
        return truth::reduced(scope, kind, x, axes, keep_dims);
    }
    let op = Reduce { kind, axes, keep_dims };
    if dtype.is_float() || matches!(dtype, DType::I32 | DType::I64) {
        if kind == ReduceKind::Mean && !dtype.is_float() {
            unsupported!("a mean of integers is not supported; cast its input to float32");
        }
        return scope.emit(op, &[x]);
    }
    let Some(wide) = wide(dtype).filter(|_| kind != ReduceKind::Mean) else {
        unsupported!("it is not supported for {dtype}; cast its input");
    };
    let x = scope.cast(x, wide)?;
    let result = scope.emit(op, &[x])?;
    narrowed(scope, result, dtype, !matches!(kind, ReduceKind::Max | ReduceKind::Min))
}

/// Reductions of functions of the elements.
pub(super) fn composed(scope: &mut Scope<'_, '_>) -> Built<TensorId> {
    let x = scope.input(0)?;
    let (axes, keep_dims) = extent(scope, x, AXES_AS_INPUT)?;
    let dtype = scope.dtype(x);
    if !dtype.is_float() && !matches!(dtype, DType::I32 | DType::I64) {
        unsupported!("it is not supported for {dtype}; cast its input to float32");
    }
    let sum = |scope: &mut Scope<'_, '_>, x: TensorId| match axes.clone() {
        Some(axes) => scope.emit(Reduce { kind: ReduceKind::Sum, axes, keep_dims }, &[x]),
        None => Ok(x),
    };
    let squared = |scope: &mut Scope<'_, '_>| scope.binary(BinaryKind::Mul, x, x);
    match scope.op {
        "ReduceL1" => {
            let size = super::elementwise::applied(scope, UnaryKind::Abs, x)?;
            sum(scope, size)
        }
        "ReduceL2" => {
            let square = squared(scope)?;
            let sum = sum(scope, square)?;
            scope.unary(UnaryKind::Sqrt, sum)
        }
        "ReduceSumSquare" => {
            let square = squared(scope)?;
            sum(scope, square)
        }
        "ReduceLogSum" => {
            let sum = sum(scope, x)?;
            scope.unary(UnaryKind::Log, sum)
        }
        _ => {
            let Some(axes) = axes else {
                return Ok(x);
            };
            let most = Reduce { kind: ReduceKind::Max, axes: axes.clone(), keep_dims: true };
            let most = scope.emit(most, &[x])?;
            let shifted = scope.binary(BinaryKind::Sub, x, most)?;
            let power = scope.unary(UnaryKind::Exp, shifted)?;
            let sum = scope
                .emit(Reduce { kind: ReduceKind::Sum, axes: axes.clone(), keep_dims: true }, &[power])?;
            let log = scope.unary(UnaryKind::Log, sum)?;
            let result = scope.binary(BinaryKind::Add, log, most)?;
            if keep_dims {
                return Ok(result);
            }
            scope.emit(Reduce { kind: ReduceKind::Max, axes, keep_dims: false }, &[result])
        }
    }
}

pub(super) fn arg_max(scope: &mut Scope<'_, '_>) -> Built<TensorId> {
    arg_reduce(scope, ArgKind::Max)
}

pub(super) fn arg_min(scope: &mut Scope<'_, '_>) -> Built<TensorId> {
    arg_reduce(scope, ArgKind::Min)
}

fn arg_reduce(scope: &mut Scope<'_, '_>, kind: ArgKind) -> Built<TensorId> {
    let mut x = scope.input(0)?;
    let axis = scope.attributes.integer("axis")?.unwrap_or(0);
    let axis = scope.axis(axis, scope.rank(x))?;
    let keep = scope.attributes.flag("keepdims", true)?;
    let last = scope.attributes.flag("select_last_index", false)?;
    if matches!(scope.dtype(x), DType::I8 | DType::U8 | DType::I16 | DType::U16) {
        x = scope.cast(x, DType::I32)?;
    }
    if last {
        x = scope.emit(Reverse { axes: vec![axis as i32] }, &[x])?;
    }
    let mut index = scope.emit(ArgReduce { kind, axis: axis as i32, dtype: DType::I64 }, &[x])?;
    if last {
        let size = scope.size(x, axis)?;
        let end = scope.number("end", DType::I64, size as f64 - 1.0)?;
        index = scope.binary(BinaryKind::Sub, end, index)?;
    }
    if keep {
        index = scope.emit(litesmith_graph::ops::ExpandDims { axis: axis as i32 }, &[index])?;
    }
    Ok(index)
}

pub(super) fn cumulative_sum(scope: &mut Scope<'_, '_>) -> Built<TensorId> {
    let x = scope.input(0)?;
    let axis = scope.integer_of(1, "its axis")?;
    let axis = scope.axis_i32(axis, scope.rank(x))?;
    let exclusive = scope.attributes.flag("exclusive", false)?;
    let reverse = scope.attributes.flag("reverse", false)?;
    scope.emit(CumSum { axis, exclusive, reverse }, &[x])
}

pub(super) fn top_k(scope: &mut Scope<'_, '_>) -> Built<Vec<Bound>> {
    let x = scope.input(0)?;
    let k = if scope.target.opset < 10 {
        scope.attributes.integer("k")?.unwrap_or(0)
    } else {
        scope.integer_of(1, "k")?
    };
    let k = scope.size_from(k, "k")?;
    let axis = scope.attributes.integer("axis")?.unwrap_or(-1);
    let axis = scope.axis(axis, scope.rank(x))?;
    let largest = scope.attributes.flag("largest", true)?;
    // Largest first is an order too.
    scope.attributes.ignore(&["sorted"]);
    let dtype = scope.dtype(x);
    let computed = if dtype == DType::F32 { Some(dtype) } else { wide(dtype) };
    let Some(computed) = computed else { unsupported!("it is not supported for {dtype}; cast its input") };
    let mut x = scope.cast(x, computed)?;
    let rank = scope.rank(x);
    let mut exchange: Vec<usize> = (0..rank).collect();
    exchange.swap(axis, rank - 1);
    let moved = axis + 1 != rank;
    let exchanged = |scope: &mut Scope<'_, '_>, x: TensorId| {
        if moved { scope.emit(litesmith_graph::ops::Transpose::by(&exchange), &[x]) } else { Ok(x) }
    };
    x = exchanged(scope, x)?;
    if !largest {
        x = scope.unary(UnaryKind::Neg, x)?;
    }
    let outputs = scope.emit_several(TopK { k }, vec![Some(x)])?;
    let [mut values, mut places] = outputs[..] else {
        return Err(scope.broken("it does not have two outputs").into());
    };
    if !largest {
        values = scope.unary(UnaryKind::Neg, values)?;
    }
    values = exchanged(scope, values)?;
    places = exchanged(scope, places)?;
    let values = scope.cast(values, dtype)?;
    let places = scope.cast(places, DType::I64)?;
    Ok(vec![Bound::Tensor(values), Bound::Tensor(places)])
}
