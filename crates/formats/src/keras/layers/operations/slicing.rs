//! Parts of tensors, by numbers and by tensors of numbers.

use litesmith_graph::ops::{
    ArgKind, ArgReduce, BinaryKind, Cast, Compare, CompareKind, Concat, ExpandDims, Gather, OneHot, Pad,
    Reduce, ReduceKind, Reshape, ReshapeDim, StridedSlice,
};
use litesmith_graph::{DType, TensorId};
use serde_json::Value;

use crate::composed::truth;
use crate::emit::Emit;
use crate::keras::config::{Built, Numbers, integers, numbers, unsupported};
use crate::keras::layers::operations::{axis, class};
use crate::keras::scope::{Operand, Scope};

/// What one part of a key asks for.
enum Item {
    /// An axis by a slice: start, stop and step.
    Slice(Option<i64>, Option<i64>, Option<i64>),
    /// One index of an axis, which goes.
    Index(i64),
    /// A new axis.
    New,
}

/// `x[…]` with integers, slices, new axes and an ellipsis.
pub(in crate::keras::layers) fn get_item(scope: &mut Scope<'_>) -> Built<TensorId> {
    let mut x = match scope.operand(0, &["x", "tensor"]) {
        Some(Operand::Tensor(x)) => *x,
        _ => unsupported!("only tensors can be sliced"),
    };
    let Some(key) = scope.operand(1, &["key", "slice_spec"]).and_then(Operand::value) else {
        unsupported!("slicing by a tensor is not supported; slice by numbers");
    };
    let rank = scope.rank(x);
    let items = items(scope, key, rank)?;
    // New axes are put in first; the slice then goes over all.
    let mut slice = StridedSlice::default();
    for (axis, item) in items.iter().enumerate() {
        let (start, stop, step) = match item {
            Item::New => {
                x = scope.emit(ExpandDims { axis: axis as i32 }, &[x])?;
                (None, None, None)
            }
            Item::Index(index) => {
                slice.shrink_axis_mask |= 1 << axis;
                (Some(*index), Some(index.saturating_add(1)), None)
            }
            Item::Slice(start, stop, step) => (*start, *stop, *step),
        };
        slice.begin_mask |= u32::from(start.is_none()) << axis;
        slice.end_mask |= u32::from(stop.is_none()) << axis;
        slice.begin.push(start.unwrap_or(0));
        slice.end.push(stop.unwrap_or(0));
        slice.strides.push(step.unwrap_or(1));
    }
    scope.emit(slice, &[x])
}

fn items(scope: &Scope<'_>, key: Value, rank: usize) -> Built<Vec<Item>> {
    let mut parts = match key {
        Value::Array(items) => items,
        single => vec![single],
    };
    let ellipsis = |item: &Value| item.get("class_name").and_then(Value::as_str) == Some("__ellipsis__");
    let taken = parts.iter().filter(|item| !item.is_null() && !ellipsis(item)).count();
    if taken > rank || parts.len() > 16 {
        return Err(scope.config().broken(format!("it slices {taken} of {rank} axes")).into());
    }
    if let Some(place) = parts.iter().position(ellipsis) {
        let whole = std::iter::repeat_n(Value::Object(serde_json::Map::new()), rank - taken);
        parts.splice(place..=place, whole);
    }
    let one = |item: &Value| match item {
        Value::Null => Ok(Item::New),
        Value::Number(number) => match number.as_i64() {
            Some(index) => Ok(Item::Index(index)),
            None => unsupported!("index {number} is no integer"),
        },
        Value::Object(object) => {
            let bounds = object.get("config").and_then(Value::as_object).unwrap_or(object);
            let bound = |key: &str| match bounds.get(key) {
                None | Some(Value::Null) => Ok(None),
                Some(value) => match value.as_i64() {
                    Some(bound) => Ok(Some(bound)),
                    None => Err(scope.config().broken(format!("a slice's {key} is {value}"))),
                },
            };
            Ok(Item::Slice(bound("start")?, bound("stop")?, bound("step")?))
        }
        other => unsupported!("slicing by {other} is not supported; use numbers, slices and an ellipsis"),
    };
    parts.iter().map(one).collect()
}

/// A box of a shape from a start on; what spans the batch keeps it whole.
pub(in crate::keras::layers) fn slice(scope: &mut Scope<'_>) -> Built<TensorId> {
    let x = match scope.operand(0, &["inputs", "x"]) {
        Some(Operand::Tensor(x)) => *x,
        _ => unsupported!("only tensors can be sliced"),
    };
    let start = scope.operand(1, &["start_indices"]).and_then(Operand::value).as_ref().and_then(integers);
    let shape = scope.attribute("shape").as_ref().and_then(integers);
    let (Some(start), Some(shape)) = (start, shape) else {
        unsupported!("slicing by tensors is not supported; slice by numbers");
    };
    if start.len() != scope.rank(x) || shape.len() != start.len() {
        return Err(scope.config().broken("its start and shape do not fit its input").into());
    }
    let mut slice = StridedSlice { strides: vec![1; start.len()], ..StridedSlice::default() };
    for (axis, (start, length)) in start.into_iter().zip(shape).enumerate() {
        slice.begin.push(start);
        slice.end.push(start.saturating_add(length));
        slice.end_mask |= u32::from(length == -1) << axis;
    }
    scope.emit(slice, &[x])
}

fn operand_tensor(scope: &Scope<'_>, place: usize, names: &[&str]) -> Built<TensorId> {
    match scope.operand(place, names) {
        Some(Operand::Tensor(x)) => Ok(*x),
        _ => unsupported!("operand {place} must be a tensor"),
    }
}

/// Slices along an axis by their places.
pub(in crate::keras::layers) fn take(scope: &mut Scope<'_>) -> Built<TensorId> {
    let mut x = operand_tensor(scope, 0, &["x"])?;
    let axis = match scope.attribute("axis") {
        Some(_) => axis(scope, x, "axis", 0)?,
        None => {
            x = scope.emit(Reshape::to(vec![ReshapeDim::Infer]), &[x])?;
            0
        }
    };
    let indices = match scope.operand(1, &["indices"]).cloned() {
        Some(Operand::Tensor(indices)) => indices,
        Some(operand) => {
            let size = scope.size(x, axis)? as f32;
            let given = operand.value().as_ref().and_then(numbers);
            let Some(Numbers { shape, values }) = given else {
                return Err(scope.config().broken("its places are no numbers").into());
            };
            let values =
                values.into_iter().map(|place| if place < 0.0 { place + size } else { place }).collect();
            scope.constant("places", Numbers { shape, values })?
        }
        None => return Err(scope.config().broken("it is called without places").into()),
    };
    let indices = scope.emit(Cast { to: DType::I32 }, &[indices])?;
    scope.emit(Gather { axis: axis as i32, batch_dims: 0 }, &[x, indices])
}

/// Elements along an axis, for each place around it by places of its own.
pub(in crate::keras::layers) fn take_along_axis(scope: &mut Scope<'_>) -> Built<TensorId> {
    let x = operand_tensor(scope, 0, &["x"])?;
    let indices = operand_tensor(scope, 1, &["indices"])?;
    let rank = scope.rank(x);
    if scope.attribute("axis").is_none() || scope.rank(indices) != rank {
        unsupported!("taking along all axes is not supported; name one");
    }
    let axis = axis(scope, x, "axis", 0)?;
    let indices = scope.emit(Cast { to: DType::I32 }, &[indices])?;
    let gather = Gather { axis: rank as i32 - 1, batch_dims: rank - 1 };
    let mut exchange: Vec<usize> = (0..rank).collect();
    exchange.swap(axis, rank - 1);
    if axis + 1 == rank {
        return scope.emit(gather, &[x, indices]);
    }
    let turn = litesmith_graph::ops::Transpose::by(&exchange);
    let (x, indices) = (scope.emit(turn.clone(), &[x])?, scope.emit(turn.clone(), &[indices])?);
    let taken = scope.emit(gather, &[x, indices])?;
    scope.emit(turn, &[taken])
}

/// The part of a matrix on one side of a diagonal; the rest is 0.
pub(in crate::keras::layers) fn triangle(scope: &mut Scope<'_>) -> Built<TensorId> {
    let x = scope.float_operand(0, &["x"])?;
    let rank = scope.rank(x);
    if rank < 2 {
        return Err(scope.config().broken("it takes matrices").into());
    }
    let (rows, columns) = (scope.size(x, rank - 2)?, scope.size(x, rank - 1)?);
    let offset = scope.attribute("k").and_then(|k| k.as_i64()).unwrap_or(0);
    scope.affordable(&[rows, columns])?;
    let lower = class(scope) == "Tril";
    let keep = |row: usize, column: usize| {
        let distance = column as i64 - row as i64;
        if lower { distance <= offset } else { distance >= offset }
    };
    let places = (0..rows).flat_map(|row| (0..columns).map(move |column| (row, column)));
    let values = places.map(|(row, column)| f32::from(u8::from(keep(row, column)))).collect();
    let mask = scope.constant("triangle", Numbers { shape: vec![rows, columns], values })?;
    scope.binary(BinaryKind::Mul, x, mask)
}

/// Elements of a matrix whose row and column differ by an offset, or their sum.
pub(in crate::keras::layers) fn diagonal(scope: &mut Scope<'_>) -> Built<TensorId> {
    let x = scope.float_operand(0, &["x"])?;
    let rank = scope.rank(x);
    let (a, b) = (axis(scope, x, "axis1", 0)?, axis(scope, x, "axis2", 1)?);
    let (rows, columns) = (scope.size(x, a)?, scope.size(x, b)?);
    let offset = scope.attribute("offset").and_then(|k| k.as_i64()).unwrap_or(0);
    let mut order: Vec<usize> = (0..rank).filter(|axis| *axis != a && *axis != b).collect();
    let kept = order.len();
    order.extend([a, b]);
    let turned = scope.emit(litesmith_graph::ops::Transpose::by(&order), &[x])?;
    let mut shape: Vec<ReshapeDim> = (0..kept).map(ReshapeDim::Copy).collect();
    let area = scope.affordable(&[rows, columns])?;
    shape.push(ReshapeDim::Fixed(area));
    let flat = scope.emit(Reshape::to(shape), &[turned])?;
    let column = |row: usize| usize::try_from(row as i64 + offset).ok().filter(|column| *column < columns);
    let places: Vec<f32> = (0..rows).filter_map(|row| Some((row * columns + column(row)?) as f32)).collect();
    if places.is_empty() {
        unsupported!("a diagonal outside of the matrix is not supported");
    }
    let places = scope.constant("places", Numbers { shape: vec![places.len()], values: places })?;
    let places = scope.emit(Cast { to: DType::I32 }, &[places])?;
    let diagonal = scope.emit(Gather { axis: kept as i32, batch_dims: 0 }, &[flat, places])?;
    if class(scope) == "Diagonal" {
        return Ok(diagonal);
    }
    scope.emit(Reduce { kind: ReduceKind::Sum, axes: vec![kept as i32], keep_dims: false }, &[diagonal])
}

/// Differences of neighbours along an axis.
pub(in crate::keras::layers) fn difference(scope: &mut Scope<'_>) -> Built<TensorId> {
    let mut x = scope.float_operand(0, &["a", "x"])?;
    let axis = axis(scope, x, "axis", -1)?;
    let times = scope.attribute("n").and_then(|n| n.as_u64()).unwrap_or(1);
    for _ in 0..times.min(64) {
        let size = scope.size(x, axis)?;
        if size < 2 {
            return Err(scope.config().broken("its axis has fewer than two elements").into());
        }
        let later = scope.part(x, axis, 1, size - 1)?;
        let sooner = scope.part(x, axis, 0, size - 1)?;
        x = scope.binary(BinaryKind::Sub, later, sooner)?;
    }
    Ok(x)
}

/// Products of an element and those before it.
pub(in crate::keras::layers) fn running_product(scope: &mut Scope<'_>) -> Built<TensorId> {
    const LONGEST: usize = 256;
    let x = scope.float_operand(0, &["x"])?;
    if scope.attribute("axis").is_none() {
        unsupported!("a running product of all axes is not supported; name one axis");
    }
    let axis = axis(scope, x, "axis", 0)?;
    let size = scope.size(x, axis)?;
    if size > LONGEST {
        unsupported!("a running product over {size} elements is not supported; at most {LONGEST} are");
    }
    let mut products = vec![scope.part(x, axis, 0, 1)?];
    for place in 1..size {
        let next = scope.part(x, axis, place, 1)?;
        products.push(scope.binary(BinaryKind::Mul, products[place - 1], next)?);
    }
    scope.emit(Concat { axis: axis as i32, ..Concat::default() }, &products)
}

/// Rows with a 1 at the place that an integer names; for several integers in one row, 1 at each.
pub(in crate::keras::layers) fn one_hot(scope: &mut Scope<'_>) -> Built<TensorId> {
    let x = operand_tensor(scope, 0, &["x", "inputs"])?;
    let depth = scope.config().count("num_classes")?;
    let rank = scope.rank(x);
    let at = scope.attribute("axis").and_then(|axis| axis.as_i64()).unwrap_or(-1);
    if at != -1 && at != rank as i64 {
        unsupported!("rows along axis {at} are not supported; use the last");
    }
    let several = class(scope) == "MultiHot";
    let places = scope.emit(Cast { to: DType::I32 }, &[x])?;
    let (on, off) = (scope.scalar("on", 1.0)?, scope.scalar("off", 0.0)?);
    let rows = scope.emit(OneHot { depth, axis: -1 }, &[places, on, off])?;
    if !several {
        return Ok(rows);
    }
    let axes = vec![if rank > 1 { 1 } else { 0 }];
    scope.emit(Reduce { kind: ReduceKind::Max, axes, keep_dims: false }, &[rows])
}

/// How many bounds an element has reached.
pub(in crate::keras::layers) fn digitize(scope: &mut Scope<'_>) -> Built<TensorId> {
    let x = scope.float_operand(0, &["x"])?;
    let bounds = scope.operand(1, &["bins"]).and_then(Operand::value).as_ref().and_then(numbers);
    let Some(bounds) = bounds else { unsupported!("its bounds must be numbers") };
    reached(scope, x, bounds.values)
}

/// How many of these bounds, in ascending order, each element has reached: the place of the first that it
/// has not. A place is an integer whatever becomes of the numbers.
pub(in crate::keras::layers) fn reached(
    scope: &mut Scope<'_>,
    x: TensorId,
    bounds: Vec<f32>,
) -> Built<TensorId> {
    let last = scope.rank(x);
    let apart = scope.emit(ExpandDims { axis: last as i32 }, &[x])?;
    let bounds = scope.constant("bounds", Numbers { shape: vec![bounds.len()], values: bounds })?;
    let reached = scope.emit(Compare { kind: CompareKind::GreaterEqual }, &[apart, bounds])?;
    let numbers = truth::as_numbers(scope, reached)?;
    let mut amounts = vec![[0, 0]; last + 1];
    amounts[last] = [0, 1];
    let ended = scope.emit(Pad { amounts, ..Pad::default() }, &[numbers])?;
    scope.emit(ArgReduce { kind: ArgKind::Min, axis: last as i32, dtype: DType::I32 }, &[ended])
}
