//! Operators that choose by index.

use litesmith_graph::DType;
use litesmith_graph::ops::{Gather, OneHot};

use super::pieces::{Size, number, wider};
use super::shapes::scalar_input;
use crate::onnx::write::Refusal;
use crate::onnx::write::drafts::Attribute;
use crate::onnx::write::spelling::Spelling;

pub(super) fn gather(spelling: &mut Spelling<'_, '_>, op: &Gather) -> Result<(), Refusal> {
    if op.batch_dims > 0 {
        return gather_in_batches(spelling, op);
    }
    let table = spelling.input(0)?;
    let own = spelling.dtype(1)?;
    let indices = spelling.input_as(1, if own == DType::I16 { DType::I32 } else { own })?;
    let value = spelling.emit("Gather", &[table, indices], [("axis", Attribute::Int(op.axis.into()))]);
    spelling.output(0, value)
}

/// Leading axes that table and indices share: the axis of choice is brought behind them, and what
/// stood between goes behind the chosen afterwards.
fn gather_in_batches(spelling: &mut Spelling<'_, '_>, op: &Gather) -> Result<(), Refusal> {
    let (batch, rank) = (op.batch_dims, spelling.shape(0)?.rank());
    let axis = i64::from(op.axis) + if op.axis < 0 { number(rank)? } else { 0 };
    let axis = usize::try_from(axis).ok().filter(|axis| (batch..rank).contains(axis));
    let Some(axis) = axis else { return Err(Refusal("its axis is none of the table's own".into())) };
    let (table, indices) = (spelling.input(0)?, spelling.input_as(1, DType::I64)?);
    let others = |from: usize, to: usize| (from..to).filter(|other| *other != axis);
    let order: Vec<usize> = (0..batch).chain([axis]).chain(others(batch, rank)).collect();
    let table = spelling.transpose(table, &order);
    let indices = spelling.unsqueeze(indices, &[-1]);
    let attributes = [("batch_dims", Attribute::Int(number(batch)?))];
    let chosen = spelling.emit("GatherND", &[table, indices], attributes);
    // Now: shared axes, those of the indices, those before the axis of choice, those behind it.
    let (own, between) = (spelling.shape(1)?.rank() - batch, axis - batch);
    let first_between = batch + own;
    let order: Vec<usize> = (0..batch)
        .chain(first_between..first_between + between)
        .chain(batch..first_between)
        .chain(first_between + between..rank + own - 1)
        .collect();
    let value = spelling.transpose(chosen, &order);
    spelling.output(0, value)
}

pub(super) fn gather_nd(spelling: &mut Spelling<'_, '_>) -> Result<(), Refusal> {
    let (table, indices) = (spelling.input(0)?, spelling.input_as(1, DType::I64)?);
    let value = spelling.emit("GatherND", &[table, indices], []);
    spelling.output(0, value)
}

/// By comparison with the numbers of a row: ONNX's own operator counts negative indices from the
/// end, here they are nowhere.
pub(super) fn one_hot(spelling: &mut Spelling<'_, '_>, op: &OneHot) -> Result<(), Refusal> {
    let own = spelling.dtype(1)?;
    let dtype = wider(own);
    let indices = spelling.input_as(0, DType::I64)?;
    let (on, off) = (scalar_input(spelling, 1)?, scalar_input(spelling, 2)?);
    let (on, off) = (spelling.retyped(on, own, dtype), spelling.retyped(off, own, dtype));
    let rank = spelling.shape(0)?.rank();
    let axis = usize::try_from(op.axis).unwrap_or(rank).min(rank);
    let (zero, depth, one) = (spelling.int(0), spelling.int(number(op.depth)?), spelling.int(1));
    let row = spelling.emit("Range", &[zero, depth, one], []);
    let behind = vec![Size::Fixed(1); rank - axis];
    let row = match behind.is_empty() {
        true => row,
        false => spelling.reshape_to(row, &[&[Size::same(0)], behind.as_slice()].concat())?,
    };
    let indices = spelling.unsqueeze(indices, &[number(axis)?]);
    let here = spelling.emit("Equal", &[indices, row], []);
    let value = spelling.emit("Where", &[here, on, off], []);
    let value = spelling.retyped(value, dtype, own);
    spelling.output(0, value)
}
