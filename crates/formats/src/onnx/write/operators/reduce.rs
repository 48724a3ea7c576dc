//! Reductions, and what else runs along an axis.

use litesmith_graph::DType;
use litesmith_graph::ops::{ArgKind, ArgReduce, CumSum, Reduce, ReduceKind, TopK};

use super::pieces::{number, wider};
use crate::onnx::write::Refusal;
use crate::onnx::write::drafts::Attribute;
use crate::onnx::write::spelling::Spelling;
use crate::onnx::write::values::Value;

/// From this operator set on the axes of every reduction are an input.
const AXES_AS_INPUT: u32 = 18;

pub(super) fn reduce(spelling: &mut Spelling<'_, '_>, op: &Reduce) -> Result<(), Refusal> {
    let own = spelling.dtype(0)?;
    let dtype = wider(own);
    let x = spelling.input_as(0, dtype)?;
    let rank = spelling.shape(0)?.rank();
    let axes = op.resolved_axes(rank).map_err(|error| Refusal(error.to_string()))?;
    // No axes mean all of them in ONNX.
    let value = if axes.is_empty() {
        spelling.emit("Identity", &[x], [])
    } else {
        let operator = match op.kind {
            ReduceKind::Mean => "ReduceMean",
            ReduceKind::Sum => "ReduceSum",
            ReduceKind::Max => "ReduceMax",
            ReduceKind::Min => "ReduceMin",
            ReduceKind::Prod => "ReduceProd",
        };
        let axes: Vec<i64> = axes.into_iter().map(|axis| axis as i64).collect();
        reduction(spelling, operator, x, axes, op.keep_dims)
    };
    let value = spelling.retyped(value, dtype, own);
    spelling.output(0, value)
}

/// A reduction over some axes.
pub(super) fn reduction(
    spelling: &mut Spelling<'_, '_>,
    operator: &'static str,
    x: Value,
    axes: Vec<i64>,
    keep: bool,
) -> Value {
    let keep = ("keepdims", Attribute::Int(keep.into()));
    if operator == "ReduceSum" || spelling.opset() >= AXES_AS_INPUT {
        let axes = spelling.ints(&axes);
        spelling.emit(operator, &[x, axes], [keep])
    } else {
        spelling.emit(operator, &[x], [("axes", Attribute::Ints(axes)), keep])
    }
}

pub(super) fn arg_reduce(spelling: &mut Spelling<'_, '_>, op: &ArgReduce) -> Result<(), Refusal> {
    let dtype = wider(spelling.dtype(0)?);
    let x = spelling.input_as(0, dtype)?;
    let operator = match op.kind {
        ArgKind::Max => "ArgMax",
        ArgKind::Min => "ArgMin",
    };
    let attributes = [("axis", Attribute::Int(op.axis.into())), ("keepdims", Attribute::Int(0))];
    let indices = spelling.emit(operator, &[x], attributes);
    let indices = spelling.retyped(indices, DType::I64, op.dtype);
    spelling.output(0, indices)
}

pub(super) fn top_k(spelling: &mut Spelling<'_, '_>, op: &TopK) -> Result<(), Refusal> {
    let x = spelling.input(0)?;
    let count = number(op.k)?;
    let count = spelling.ints(&[count]);
    let outputs = spelling.emit_many("TopK", &[x, count], [("axis", Attribute::Int(-1))], 2);
    let [values, indices] = outputs[..] else { return Err(Refusal("it has two outputs".into())) };
    let indices = spelling.retyped(indices, DType::I64, DType::I32);
    spelling.output(0, values)?;
    spelling.output(1, indices)
}

pub(super) fn cum_sum(spelling: &mut Spelling<'_, '_>, op: &CumSum) -> Result<(), Refusal> {
    let own = spelling.dtype(0)?;
    let dtype = wider(own);
    let x = spelling.input_as(0, dtype)?;
    let axis = spelling.int(op.axis.into());
    let attributes =
        [("exclusive", Attribute::Int(op.exclusive.into())), ("reverse", Attribute::Int(op.reverse.into()))];
    let value = spelling.emit("CumSum", &[x, axis], attributes);
    let value = spelling.retyped(value, dtype, own);
    spelling.output(0, value)
}
