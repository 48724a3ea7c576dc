//! Operators that put tensors together, take them apart and turn their axes.

use litesmith_graph::DType;
use litesmith_graph::ops::{Cast, Concat, Pack, Split, Transpose, Unpack};

use super::pieces::number;
use crate::onnx::write::Refusal;
use crate::onnx::write::drafts::Attribute;
use crate::onnx::write::spelling::Spelling;
use crate::onnx::write::values::Value;

/// The input under another name.
pub(super) fn identity(spelling: &mut Spelling<'_, '_>) -> Result<(), Refusal> {
    let x = spelling.input(0)?;
    let value = spelling.emit("Identity", &[x], []);
    spelling.output(0, value)
}

pub(super) fn transpose(spelling: &mut Spelling<'_, '_>, op: &Transpose) -> Result<(), Refusal> {
    let x = spelling.input(0)?;
    let value = spelling.transpose(x, &op.permutation);
    spelling.output(0, value)
}

fn inputs(spelling: &mut Spelling<'_, '_>) -> Result<Vec<Value>, Refusal> {
    (0..spelling.inputs()).map(|index| spelling.input(index)).collect()
}

pub(super) fn concat(spelling: &mut Spelling<'_, '_>, op: &Concat) -> Result<(), Refusal> {
    let parts = inputs(spelling)?;
    let value = spelling.concat(&parts, op.axis.into());
    let value = spelling.fused(value, spelling.dtype(0)?, op.activation)?;
    spelling.output(0, value)
}

pub(super) fn pack(spelling: &mut Spelling<'_, '_>, op: &Pack) -> Result<(), Refusal> {
    let axis = i64::from(op.axis);
    let parts: Vec<Value> =
        inputs(spelling)?.into_iter().map(|part| spelling.unsqueeze(part, &[axis])).collect();
    let value = spelling.concat(&parts, axis);
    spelling.output(0, value)
}

/// The parts of a value along an axis, one for each size.
fn split_up(spelling: &mut Spelling<'_, '_>, x: Value, axis: i32, sizes: &[i64]) -> Vec<Value> {
    let count = sizes.len();
    let sizes = spelling.ints(sizes);
    spelling.emit_many("Split", &[x, sizes], [("axis", Attribute::Int(axis.into()))], count)
}

pub(super) fn unpack(spelling: &mut Spelling<'_, '_>, op: &Unpack) -> Result<(), Refusal> {
    let x = spelling.input(0)?;
    let parts = split_up(spelling, x, op.axis, &vec![1; spelling.outputs()]);
    for (index, part) in parts.into_iter().enumerate() {
        let value = spelling.squeeze(part, &[op.axis.into()]);
        spelling.output(index, value)?;
    }
    Ok(())
}

pub(super) fn split(spelling: &mut Spelling<'_, '_>, op: &Split) -> Result<(), Refusal> {
    let x = spelling.input(0)?;
    let rank = number(spelling.shape(0)?.rank())?;
    let axis = i64::from(op.axis) + if op.axis < 0 { rank } else { 0 };
    let axis = usize::try_from(axis).map_err(|_| Refusal("its axis does not exist".into()))?;
    // Shape inference has seen to it that every part has a fixed size.
    let size = |index: usize| {
        let shape = &spelling.output_facts(index).ok()?.shape;
        i64::try_from(shape.dims().get(axis)?.fixed()?).ok()
    };
    let sizes: Option<Vec<i64>> = (0..spelling.outputs()).map(size).collect();
    let sizes = sizes.ok_or_else(|| Refusal("the sizes of its parts are not fixed".into()))?;
    let parts = split_up(spelling, x, op.axis, &sizes);
    for (index, part) in parts.into_iter().enumerate() {
        spelling.output(index, part)?;
    }
    Ok(())
}

/// Floats saturate on their way to small integers, which ONNX leaves open. (On the way to large ones
/// runtimes do as they like with numbers out of range.)
pub(super) fn cast(spelling: &mut Spelling<'_, '_>, op: &Cast) -> Result<(), Refusal> {
    let mut x = spelling.raw(0)?;
    let from = spelling.facts(0)?.dtype;
    let bounds = match op.to {
        DType::I8 => Some((i8::MIN.into(), i8::MAX.into())),
        DType::U8 => Some((u8::MIN.into(), u8::MAX.into())),
        DType::I16 => Some((i16::MIN.into(), i16::MAX.into())),
        DType::U16 => Some((u16::MIN.into(), u16::MAX.into())),
        _ => None,
    };
    if let Some(bounds) = bounds.filter(|_| from.is_float()) {
        x = spelling.clamp(x, from, bounds)?;
    }
    let value = match from == op.to {
        true => spelling.emit("Identity", &[x], []),
        false => spelling.cast(x, op.to),
    };
    spelling.output_raw(0, value)
}
