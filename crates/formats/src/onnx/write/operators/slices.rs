//! Parts of tensors, and tensors with a part replaced.

use litesmith_graph::ops::{Reverse, Slice, StridedSlice};
use litesmith_graph::{DType, Dim};

use super::pieces::{Cut, number};
use crate::onnx::write::Refusal;
use crate::onnx::write::drafts::Attribute;
use crate::onnx::write::spelling::Spelling;
use crate::onnx::write::values::Value;

/// An axis that may count from the end.
fn resolve(axis: i32, rank: usize) -> Result<usize, Refusal> {
    let resolved = i64::from(axis) + if axis < 0 { rank as i64 } else { 0 };
    usize::try_from(resolved)
        .ok()
        .filter(|axis| *axis < rank)
        .ok_or_else(|| Refusal(format!("axis {axis} does not exist")))
}

pub(super) fn reverse(spelling: &mut Spelling<'_, '_>, op: &Reverse) -> Result<(), Refusal> {
    let x = spelling.input(0)?;
    let rank = spelling.shape(0)?.rank();
    let axes = op.axes.iter().map(|axis| resolve(*axis, rank)).collect::<Result<Vec<_>, _>>()?;
    let cuts: Vec<Cut> =
        axes.into_iter().map(|axis| Cut { axis, start: -1, end: i64::MIN, step: -1 }).collect();
    let value = spelling.cut(x, &cuts)?;
    spelling.output(0, value)
}

pub(super) fn slice(spelling: &mut Spelling<'_, '_>, op: &Slice) -> Result<(), Refusal> {
    let x = spelling.input(0)?;
    let given = match spelling.inputs() {
        1 => Some((op.begin.iter().map(|begin| number(*begin)).collect::<Result<_, _>>()?, op.size.clone())),
        _ => spelling.integers(1).zip(spelling.integers(2)),
    };
    let value = match given {
        Some((begins, sizes)) => constant_slice(spelling, x, &begins, &sizes)?,
        None => computed_slice(spelling, x)?,
    };
    spelling.output(0, value)
}

fn constant_slice(
    spelling: &mut Spelling<'_, '_>,
    x: Value,
    begins: &[i64],
    sizes: &[i64],
) -> Result<Value, Refusal> {
    let mut cuts = Vec::new();
    for (axis, (begin, size)) in begins.iter().zip(sizes).enumerate() {
        let dim = spelling.shape(0)?.dims().get(axis).and_then(Dim::fixed);
        let whole = *size == -1 || usize::try_from(*size).is_ok_and(|size| Some(size) == dim);
        if *begin != 0 || !whole {
            let end = if *size == -1 { i64::MAX } else { begin.saturating_add(*size) };
            cuts.push(Cut { axis, start: *begin, end, step: 1 });
        }
    }
    spelling.cut(x, &cuts)
}

/// A slice whose begin and size are known only when the model runs.
fn computed_slice(spelling: &mut Spelling<'_, '_>, x: Value) -> Result<Value, Refusal> {
    let (begins, sizes) = (spelling.input_as_sizes(1)?, spelling.input_as_sizes(2)?);
    let sum = spelling.emit("Add", &[begins, sizes], []);
    let end = match spelling.integers(2) {
        Some(sizes) if !sizes.contains(&-1) => sum,
        _ => {
            let (all, last) = (spelling.int(-1), spelling.int(i64::MAX));
            let follows = spelling.emit("Equal", &[sizes, all], []);
            spelling.emit("Where", &[follows, last, sum], [])
        }
    };
    Ok(spelling.emit("Slice", &[x, begins, end], []))
}

pub(super) fn strided_slice(spelling: &mut Spelling<'_, '_>, op: &StridedSlice) -> Result<(), Refusal> {
    let x = spelling.input(0)?;
    let given = match spelling.inputs() {
        1 => Some((op.begin.clone(), op.end.clone(), op.strides.clone())),
        _ => spelling
            .integers(1)
            .zip(spelling.integers(2))
            .zip(spelling.integers(3))
            .map(|((begin, end), strides)| (begin, end, strides)),
    };
    let (value, axes) = match given {
        Some((begin, end, strides)) => {
            let op = StridedSlice { begin, end, strides, ..op.clone() };
            let cuts = constant_cuts(spelling, &op)?;
            (spelling.cut(x, &cuts)?, op.begin.len())
        }
        None => {
            let axes = spelling.shape(1)?.elements().unwrap_or(0);
            (computed_cuts(spelling, x, op, axes)?, axes)
        }
    };
    let dropped: Vec<i64> = (0..axes.min(32))
        .filter(|axis| op.shrink_axis_mask >> axis & 1 == 1)
        .map(|axis| axis as i64)
        .collect();
    let value = if dropped.is_empty() { value } else { spelling.squeeze(value, &dropped) };
    spelling.output(0, value)
}

/// What a slice with known begin, end and strides takes of each axis that it does not take whole.
fn constant_cuts(spelling: &Spelling<'_, '_>, op: &StridedSlice) -> Result<Vec<Cut>, Refusal> {
    let dims = spelling.shape(0)?.dims();
    let mut cuts = Vec::new();
    for (axis, dim) in dims.iter().enumerate().take(op.begin.len().min(32)) {
        let bit = |mask: u32| mask >> axis & 1;
        let alone = StridedSlice {
            begin: vec![op.begin[axis]],
            end: op.end.get(axis).copied().into_iter().collect(),
            strides: op.strides.get(axis).copied().into_iter().collect(),
            begin_mask: bit(op.begin_mask),
            end_mask: bit(op.end_mask),
            shrink_axis_mask: bit(op.shrink_axis_mask),
        };
        let Some(cut) = (match dim.fixed() {
            Some(size) => cut_of_size(axis, size, &alone)?,
            None => cut_of_any(axis, &alone),
        }) else {
            continue;
        };
        cuts.push(cut);
    }
    Ok(cuts)
}

/// The part of an axis of this size.
fn cut_of_size(axis: usize, size: usize, alone: &StridedSlice) -> Result<Option<Cut>, Refusal> {
    let part = alone.resolve(&[size]).map_err(|error| Refusal(error.to_string()))?;
    let Some(part) = part.first() else { return Ok(None) };
    if part.start == 0 && part.step == 1 && part.length == size && !part.dropped {
        return Ok(None);
    }
    let (start, length) = (number(part.start)?, number(part.length)?);
    // Where nothing is left, no walk backwards needs an end before the first index.
    let end = start.saturating_add(part.step.saturating_mul(length));
    let end = if end < 0 { i64::MIN } else { end };
    Ok(Some(Cut { axis, start, end, step: part.step }))
}

/// The part of an axis whose size is not known.
fn cut_of_any(axis: usize, alone: &StridedSlice) -> Option<Cut> {
    let (begin, end, step) = (alone.begin[0], *alone.end.first()?, *alone.strides.first()?);
    if alone.shrink_axis_mask == 1 {
        let start = if alone.begin_mask == 1 { 0 } else { begin };
        return Some(Cut { axis, start, end: behind(start), step: 1 });
    }
    let (first, last) = if step > 0 { (0, i64::MAX) } else { (i64::MAX, i64::MIN) };
    let start = if alone.begin_mask == 1 { first } else { begin };
    let end = if alone.end_mask == 1 { last } else { end };
    (start != 0 || step != 1 || end < i64::from(i32::MAX)).then_some(Cut { axis, start, end, step })
}

/// The end of a part of the one element at this index.
fn behind(index: i64) -> i64 {
    if index == -1 { i64::MAX } else { index.saturating_add(1) }
}

/// A slice whose begin, end or strides are known only when the model runs. Masks become factors and
/// summands of the computed numbers.
fn computed_cuts(
    spelling: &mut Spelling<'_, '_>,
    x: Value,
    op: &StridedSlice,
    axes: usize,
) -> Result<Value, Refusal> {
    let (begin, end) = (spelling.input_as_sizes(1)?, spelling.input_as_sizes(2)?);
    let steps = spelling.input_as_sizes(3)?;
    let (one, zero) = (spelling.int(1), spelling.int(0));
    let backwards = spelling.emit("Less", &[steps, zero], []);
    let (least, most) = (spelling.int(i64::MIN), spelling.int(i64::MAX));
    let first = spelling.emit("Where", &[backwards, most, zero], []);
    let last = spelling.emit("Where", &[backwards, least, most], []);
    // One element is taken forward, from its index or, if that is masked, from 0.
    let bit = |mask: u32, axis: usize| mask >> axis & 1;
    let masked = |mask: u32| -> Vec<i64> { (0..axes).map(|axis| bit(mask, axis).into()).collect() };
    let start = chosen(spelling, &masked(op.begin_mask & !op.shrink_axis_mask), first, begin);
    let start = chosen(spelling, &masked(op.begin_mask & op.shrink_axis_mask), zero, start);
    let end = chosen(spelling, &masked(op.end_mask), last, end);
    let single = masked(op.shrink_axis_mask);
    let next = {
        let minus_one = spelling.int(-1);
        let is_last = spelling.emit("Equal", &[start, minus_one], []);
        let next = spelling.emit("Add", &[start, one], []);
        spelling.emit("Where", &[is_last, most, next], [])
    };
    let (end, steps) = (chosen(spelling, &single, next, end), chosen(spelling, &single, one, steps));
    let axes = (0..axes).map(number).collect::<Result<Vec<_>, _>>()?;
    let axes = spelling.ints(&axes);
    Ok(spelling.emit("Slice", &[x, start, end, axes, steps], []))
}

/// `yes` where the mask is 1, else `no`.
fn chosen(spelling: &mut Spelling<'_, '_>, mask: &[i64], yes: Value, no: Value) -> Value {
    if mask.iter().all(|bit| *bit == 0) {
        return no;
    }
    let mask = spelling.ints(mask);
    let mask = spelling.cast(mask, DType::Bool);
    spelling.emit("Where", &[mask, yes, no], [])
}

/// Axis by axis, what stands before and behind the part is put around it; axes that the part fills
/// are left alone.
pub(super) fn update_slice(spelling: &mut Spelling<'_, '_>) -> Result<(), Refusal> {
    let (whole, part, begin) = (spelling.input(0)?, spelling.input(1)?, spelling.input_as_sizes(2)?);
    let sizes = spelling.shape(0)?.dims().iter().zip(spelling.shape(1)?.dims());
    let fills = |whole: &Dim, part: &Dim| whole.fixed().is_some() && whole == part;
    let open: Vec<usize> =
        sizes.enumerate().filter(|(_, (whole, part))| !fills(whole, part)).map(|(axis, _)| axis).collect();
    let mut around: Vec<(usize, Value, Value)> = Vec::new();
    let mut inner = whole;
    for (place, axis) in open.iter().copied().enumerate() {
        let (first, end) = part_bounds(spelling, whole, part, begin, axis)?;
        let (zero, last) = (spelling.ints(&[0]), spelling.ints(&[i64::MAX]));
        let axes = spelling.ints(&[number(axis)?]);
        let before = spelling.emit("Slice", &[inner, zero, first, axes], []);
        let after = spelling.emit("Slice", &[inner, end, last, axes], []);
        around.push((axis, before, after));
        if place + 1 < open.len() {
            inner = spelling.emit("Slice", &[inner, first, end, axes], []);
        }
    }
    let mut value = part;
    for (axis, before, after) in around.into_iter().rev() {
        value = spelling.concat(&[before, value, after], number(axis)?);
    }
    spelling.output(0, value)
}

/// First index of the part along an axis, moved so that the part fits, and the index behind it.
fn part_bounds(
    spelling: &mut Spelling<'_, '_>,
    whole: Value,
    part: Value,
    begin: Value,
    axis: usize,
) -> Result<(Value, Value), Refusal> {
    let (index, zero) = (spelling.ints(&[number(axis)?]), spelling.ints(&[0]));
    let wanted = spelling.emit("Gather", &[begin, index], [("axis", Attribute::Int(0))]);
    let (of_whole, of_part) = (spelling.size(whole, axis)?, spelling.size(part, axis)?);
    let most = spelling.emit("Sub", &[of_whole, of_part], []);
    let least = spelling.emit("Max", &[wanted, zero], []);
    let first = spelling.emit("Min", &[least, most], []);
    let end = spelling.emit("Add", &[first, of_part], []);
    Ok((first, end))
}
