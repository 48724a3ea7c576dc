//! Operators that change shapes or make tensors of a given shape.

use litesmith_graph::ops::{BroadcastTo, ExpandDims, Reshape, ReshapeDim, ShapeOf, Squeeze, Tile};
use litesmith_graph::{DType, Dim};

use super::pieces::{Size, number};
use crate::onnx::write::Refusal;
use crate::onnx::write::spelling::Spelling;
use crate::onnx::write::values::Value;

pub(super) fn reshape(spelling: &mut Spelling<'_, '_>, op: &Reshape) -> Result<(), Refusal> {
    let x = spelling.input(0)?;
    let sizes = match &op.shape {
        Some(shape) => Some(shape.iter().map(|dim| new_size(spelling, *dim)).collect::<Result<_, _>>()?),
        None => spelling.integers(1).map(|numbers| numbers.into_iter().map(given_size).collect()),
    };
    let value = match sizes {
        Some(sizes) => {
            let sizes: Vec<Size> = sizes;
            spelling.reshape_to(x, &sizes)?
        }
        None => {
            let shape = spelling.input_as_sizes(1)?;
            spelling.emit("Reshape", &[x, shape], [])
        }
    };
    spelling.output(0, value)
}

fn given_size(number: i64) -> Size {
    if number == -1 { Size::Rest } else { Size::Fixed(number) }
}

fn new_size(spelling: &Spelling<'_, '_>, dim: ReshapeDim) -> Result<Size, Refusal> {
    match dim {
        ReshapeDim::Infer => Ok(Size::Rest),
        ReshapeDim::Fixed(size) => Size::fixed(size),
        ReshapeDim::Copy(axis) => match spelling.shape(0)?.dims().get(axis).and_then(Dim::fixed) {
            Some(size) => Size::fixed(size),
            None => Ok(Size::same(axis)),
        },
    }
}

pub(super) fn expand_dims(spelling: &mut Spelling<'_, '_>, op: &ExpandDims) -> Result<(), Refusal> {
    let x = spelling.input(0)?;
    let value = spelling.unsqueeze(x, &[op.axis.into()]);
    spelling.output(0, value)
}

pub(super) fn squeeze(spelling: &mut Spelling<'_, '_>, op: &Squeeze) -> Result<(), Refusal> {
    let x = spelling.input(0)?;
    let mut axes: Vec<i64> = op.axes.iter().copied().map(i64::from).collect();
    if axes.is_empty() {
        let dims = spelling.shape(0)?.dims();
        axes = (0i64..).zip(dims).filter(|(_, dim)| **dim == Dim::Fixed(1)).map(|(axis, _)| axis).collect();
    }
    let value = match axes.is_empty() {
        true => spelling.emit("Identity", &[x], []),
        false => spelling.squeeze(x, &axes),
    };
    spelling.output(0, value)
}

pub(super) fn shape_of(spelling: &mut Spelling<'_, '_>, op: &ShapeOf) -> Result<(), Refusal> {
    let x = spelling.raw(0)?;
    let sizes = spelling.emit("Shape", &[x], []);
    let sizes = spelling.retyped(sizes, DType::I64, op.dtype);
    spelling.output(0, sizes)
}

/// The one element of an input as a scalar, whatever its rank.
pub(super) fn scalar_input(spelling: &mut Spelling<'_, '_>, index: usize) -> Result<Value, Refusal> {
    let value = spelling.input(index)?;
    if spelling.shape(index)?.rank() == 0 { Ok(value) } else { spelling.reshape_to(value, &[]) }
}

pub(super) fn fill(spelling: &mut Spelling<'_, '_>) -> Result<(), Refusal> {
    let (value, shape) = (scalar_input(spelling, 1)?, spelling.input_as_sizes(0)?);
    let value = spelling.emit("Expand", &[value, shape], []);
    spelling.output(0, value)
}

pub(super) fn range(spelling: &mut Spelling<'_, '_>) -> Result<(), Refusal> {
    let (start, limit) = (scalar_input(spelling, 0)?, scalar_input(spelling, 1)?);
    let step = scalar_input(spelling, 2)?;
    let value = spelling.emit("Range", &[start, limit, step], []);
    spelling.output(0, value)
}

/// The second input as sizes, or the attribute where there is none.
fn sizes(spelling: &mut Spelling<'_, '_>, attribute: &[usize]) -> Result<Value, Refusal> {
    if spelling.inputs() > 1 {
        return spelling.input_as_sizes(1);
    }
    let sizes = attribute.iter().map(|size| number(*size)).collect::<Result<Vec<_>, _>>()?;
    Ok(spelling.ints(&sizes))
}

pub(super) fn broadcast_to(spelling: &mut Spelling<'_, '_>, op: &BroadcastTo) -> Result<(), Refusal> {
    let (x, shape) = (spelling.input(0)?, sizes(spelling, &op.shape)?);
    let value = spelling.emit("Expand", &[x, shape], []);
    spelling.output(0, value)
}

pub(super) fn tile(spelling: &mut Spelling<'_, '_>, op: &Tile) -> Result<(), Refusal> {
    let (x, multiples) = (spelling.input(0)?, sizes(spelling, &op.multiples)?);
    let value = spelling.emit("Tile", &[x, multiples], []);
    spelling.output(0, value)
}
