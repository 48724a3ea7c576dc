//! Padding.

use litesmith_graph::ops::{Pad, PadMode};
use litesmith_graph::{DType, Inputs};

use super::pieces::{Cut, number, wider};
use crate::onnx::write::Refusal;
use crate::onnx::write::drafts::Attribute;
use crate::onnx::write::spelling::Spelling;
use crate::onnx::write::values::Value;

pub(super) fn pad(spelling: &mut Spelling<'_, '_>, op: &Pad) -> Result<(), Refusal> {
    let own = spelling.dtype(0)?;
    // ONNX Runtime pads truth values, but no 16-bit integers.
    let dtype = if own == DType::Bool { own } else { wider(own) };
    let x = spelling.input_as(0, dtype)?;
    let known = known_amounts(spelling, op)?;
    let value = match (op.mode, known) {
        (PadMode::Symmetric, Some(amounts)) => symmetric(spelling, x, &amounts)?,
        (PadMode::Symmetric, None) => {
            return Err(Refusal(
                "ONNX cannot mirror a tensor with its border by computed amounts: make them constants".into(),
            ));
        }
        (PadMode::Reflect, known) => {
            let amounts = amounts(spelling, known.as_deref())?;
            spelling.emit("Pad", &[x, amounts], [("mode", Attribute::Text("reflect"))])
        }
        (PadMode::Zero, known) => constant(spelling, x, dtype, known.as_deref(), 0.0)?,
        (PadMode::Value(value), known) => constant(spelling, x, dtype, known.as_deref(), value)?,
    };
    let value = spelling.retyped(value, dtype, own);
    spelling.output(0, value)
}

fn known_amounts(spelling: &Spelling<'_, '_>, op: &Pad) -> Result<Option<Vec<[usize; 2]>>, Refusal> {
    let facts: Vec<_> = (0..spelling.inputs()).map(|index| spelling.facts(index).ok()).collect();
    op.amounts(Inputs(&facts)).map_err(|error| Refusal(error.to_string()))
}

/// All amounts before, then all behind.
fn amounts(spelling: &mut Spelling<'_, '_>, known: Option<&[[usize; 2]]>) -> Result<Value, Refusal> {
    if let Some(amounts) = known {
        let side = |side: usize| amounts.iter().map(move |pair| number(pair[side]));
        let list = side(0).chain(side(1)).collect::<Result<Vec<_>, _>>()?;
        return Ok(spelling.ints(&list));
    }
    let pairs = spelling.input_as(1, DType::I64)?;
    let sides = spelling.transpose(pairs, &[1, 0]);
    Ok(spelling.reshape(sides, &[-1]))
}

fn constant(
    spelling: &mut Spelling<'_, '_>,
    x: Value,
    dtype: DType,
    known: Option<&[[usize; 2]]>,
    value: f32,
) -> Result<Value, Refusal> {
    let amounts = amounts(spelling, known)?;
    if value == 0.0 {
        return Ok(spelling.emit("Pad", &[x, amounts], []));
    }
    let value = spelling.scalar(dtype, f64::from(value))?;
    Ok(spelling.emit("Pad", &[x, amounts, value], []))
}

/// The border repeated, which ONNX's mirror does not do: along each axis the beginning and the end
/// are walked backwards and put around the tensor.
fn symmetric(spelling: &mut Spelling<'_, '_>, x: Value, amounts: &[[usize; 2]]) -> Result<Value, Refusal> {
    let mut value = x;
    for (axis, [before, after]) in amounts.iter().enumerate() {
        let (before, after) = (number(*before)?, number(*after)?);
        let mut parts = vec![value];
        if before > 0 {
            let cut = Cut { axis, start: before - 1, end: i64::MIN, step: -1 };
            parts.insert(0, spelling.cut(value, &[cut])?);
        }
        if after > 0 {
            let cut = Cut { axis, start: -1, end: -1 - after, step: -1 };
            parts.push(spelling.cut(value, &[cut])?);
        }
        if parts.len() > 1 {
            value = spelling.concat(&parts, number(axis)?);
        }
    }
    Ok(value)
}

/// The tensor with zeros around it.
pub(super) fn zeros_around(
    spelling: &mut Spelling<'_, '_>,
    x: Value,
    dtype: DType,
    amounts: &[[usize; 2]],
) -> Result<Value, Refusal> {
    if amounts.iter().all(|pair| *pair == [0, 0]) {
        return Ok(x);
    }
    constant(spelling, x, dtype, Some(amounts), 0.0)
}
