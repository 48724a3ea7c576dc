//! Elements chosen, and put, by their places.

use litesmith_graph::ops::{
    BinaryKind, Concat, ExpandDims, Gather, GatherNd, OneHot, Reshape, ReshapeDim, Select,
};
use litesmith_graph::{DType, TensorId};

use super::elementwise::combined;
use crate::emit::Emit;
use crate::onnx::read::scope::Scope;
use crate::refusal::{Built, unsupported};

/// Indices as such: negative ones that are known count from the end of an axis of this size. Those that
/// are computed must not be negative, which running the model checks.
fn indices(scope: &mut Scope<'_, '_>, x: TensorId, size: Option<usize>) -> Built<TensorId> {
    let mut x = x;
    if !matches!(scope.dtype(x), DType::I32 | DType::I64) {
        x = scope.cast(x, DType::I32)?;
    }
    let Some(values) = scope.known_integers(x).filter(|values| values.iter().any(|value| *value < 0)) else {
        return Ok(x);
    };
    let Some(size) = size else {
        unsupported!("indices from the end of an axis of open size are not supported")
    };
    let values: Vec<i64> =
        values.into_iter().map(|value| if value < 0 { value + size as i64 } else { value }).collect();
    let shape = scope.sizes(x)?;
    scope.integers("indices", scope.dtype(x), &shape, &values)
}

pub(super) fn gather(scope: &mut Scope<'_, '_>) -> Built<TensorId> {
    let [table, places] = scope.pair()?;
    let axis = scope.attributes.integer("axis")?.unwrap_or(0);
    let axis = scope.axis(axis, scope.rank(table))?;
    let size = scope.shape(table).dims()[axis].fixed();
    let places = indices(scope, places, size)?;
    scope.emit(Gather { axis: axis as i32, batch_dims: 0 }, &[table, places])
}

pub(super) fn gather_nd(scope: &mut Scope<'_, '_>) -> Built<TensorId> {
    let [table, places] = scope.pair()?;
    if scope.attributes.integer("batch_dims")?.unwrap_or(0) != 0 {
        return batched_gather_nd(scope, table, places);
    }
    let places = rows(scope, table, places)?;
    scope.emit(GatherNd {}, &[table, places])
}

/// Indices of rows, whose known negative ones count from the end of their axis.
fn rows(scope: &mut Scope<'_, '_>, table: TensorId, places: TensorId) -> Built<TensorId> {
    let Some(values) = scope.known_integers(places).filter(|values| values.iter().any(|value| *value < 0))
    else {
        return Ok(places);
    };
    let shape = scope.sizes(places)?;
    let depth = shape.last().copied().unwrap_or(0);
    let sizes = (0..depth).map(|axis| scope.size(table, axis)).collect::<Built<Vec<_>>>()?;
    let from_end = |(place, value): (usize, i64)| {
        if value < 0 { value + sizes[place % depth.max(1)] as i64 } else { value }
    };
    let values: Vec<i64> = values.into_iter().enumerate().map(from_end).collect();
    scope.integers("indices", scope.dtype(places), &shape, &values)
}

/// The places of the samples that share leading axes are put before the given ones.
fn batched_gather_nd(scope: &mut Scope<'_, '_>, table: TensorId, places: TensorId) -> Built<TensorId> {
    let batch = scope.attributes.integer("batch_dims")?.unwrap_or(0);
    let batch = scope.size_from(batch, "the number of shared axes")?;
    let (sizes, shape) = (scope.sizes(table)?, scope.sizes(places)?);
    let (Some((depth, outer)), true) = (shape.split_last(), batch < shape.len() && batch < sizes.len())
    else {
        return Err(scope.broken("its shared axes do not fit its inputs").into());
    };
    let count = scope.listable(outer)?;
    let inner: usize = outer[batch..].iter().product();
    let mut values = Vec::with_capacity(count * batch);
    for row in 0..count {
        let mut sample = row / inner.max(1);
        let mut place = vec![0; batch];
        for axis in (0..batch).rev() {
            place[axis] = (sample % shape[axis]) as i64;
            sample /= shape[axis];
        }
        values.extend(place);
    }
    if depth + batch > sizes.len() {
        return Err(scope.broken("its indices have too many axes").into());
    }
    let whole = [outer, &[batch]].concat();
    let samples = scope.integers("samples", scope.dtype(places), &whole, &values)?;
    let axis = outer.len() as i32;
    let places = scope.emit(Concat { axis, ..Concat::default() }, &[samples, places])?;
    let places = rows(scope, table, places)?;
    scope.emit(GatherNd {}, &[table, places])
}

/// For each element of the indices, the one at the same place but along one axis.
pub(super) fn gather_elements(scope: &mut Scope<'_, '_>) -> Built<TensorId> {
    let [table, places] = scope.pair()?;
    let rank = scope.rank(table);
    let axis = scope.attributes.integer("axis")?.unwrap_or(0);
    let axis = scope.axis(axis, rank)?;
    let size = scope.shape(table).dims()[axis].fixed();
    let places = indices(scope, places, size)?;
    let rows = element_rows(scope, places, axis)?;
    scope.emit(GatherNd {}, &[table, rows])
}

/// The whole place of each element of which the index along one axis is given.
fn element_rows(scope: &mut Scope<'_, '_>, places: TensorId, axis: usize) -> Built<TensorId> {
    let (shape, dtype) = (scope.sizes(places)?, scope.dtype(places));
    let count = scope.listable(&shape)?;
    if scope.rank(places) == 0 {
        return Err(scope.broken("its indices are no list").into());
    }
    let mut parts = Vec::with_capacity(shape.len());
    let mut inner = count;
    for (own, size) in shape.iter().enumerate() {
        inner /= (*size).max(1);
        parts.push(if own == axis {
            places
        } else {
            let values: Vec<i64> = (0..count).map(|place| (place / inner.max(1) % size) as i64).collect();
            scope.integers("places", dtype, &shape, &values)?
        });
    }
    for part in &mut parts {
        *part = scope.emit(ExpandDims { axis: -1 }, &[*part])?;
    }
    match parts.as_slice() {
        [one] => Ok(*one),
        _ => scope.emit(Concat { axis: shape.len() as i32, ..Concat::default() }, &parts),
    }
}

/// How elements that are put to a place join those that are there.
fn joins(scope: &Scope<'_, '_>) -> Built<Option<BinaryKind>> {
    Ok(match scope.attributes.text("reduction")?.unwrap_or("none") {
        "none" => None,
        "add" => Some(BinaryKind::Add),
        "mul" => Some(BinaryKind::Mul),
        "max" => Some(BinaryKind::Maximum),
        "min" => Some(BinaryKind::Minimum),
        other => return Err(scope.broken(format!("its reduction is '{other}'")).into()),
    })
}

pub(super) fn scatter_elements(scope: &mut Scope<'_, '_>) -> Built<TensorId> {
    let (x, places, updates) = (scope.input(0)?, scope.input(1)?, scope.input(2)?);
    let axis = scope.attributes.integer("axis")?.unwrap_or(0);
    let axis = scope.axis(axis, scope.rank(x))?;
    let (sizes, shape) = (scope.sizes(x)?, scope.sizes(places)?);
    let known = scope.integers_of(1, "the places of what is put in")?;
    if shape.len() != sizes.len() || scope.sizes(updates)? != shape {
        return Err(scope.broken("its indices and updates do not fit").into());
    }
    let mut targets = Vec::with_capacity(known.len());
    for (place, index) in known.iter().enumerate() {
        let (mut rest, mut target, mut stride) = (place, 0usize, 1usize);
        for own in (0..shape.len()).rev() {
            let mut at = (rest % shape[own]) as i64;
            rest /= shape[own];
            if own == axis {
                at = if *index < 0 { index.saturating_add(sizes[own] as i64) } else { *index };
            }
            match usize::try_from(at).ok().filter(|at| *at < sizes[own]) {
                Some(at) => target += at * stride,
                None => return Err(scope.broken(format!("index {index} lies outside")).into()),
            }
            stride *= sizes[own];
        }
        targets.push(target);
    }
    scattered(scope, x, updates, &targets, 1)
}

pub(super) fn scatter_nd(scope: &mut Scope<'_, '_>) -> Built<TensorId> {
    let (x, places, updates) = (scope.input(0)?, scope.input(1)?, scope.input(2)?);
    let (sizes, shape) = (scope.sizes(x)?, scope.sizes(places)?);
    let known = scope.integers_of(1, "the places of what is put in")?;
    let depth = shape.last().copied().unwrap_or(0);
    if depth == 0 || depth > sizes.len() {
        return Err(scope.broken(format!("its places have {depth} numbers for {} axes", sizes.len())).into());
    }
    let width = scope.affordable(&sizes[depth..])?;
    let mut targets = Vec::new();
    for place in known.chunks_exact(depth) {
        let mut target = 0usize;
        for (index, size) in place.iter().zip(&sizes) {
            let index = if *index < 0 { index.saturating_add(*size as i64) } else { *index };
            match usize::try_from(index).ok().filter(|index| index < size) {
                Some(index) => target = target * size + index,
                None => return Err(scope.broken(format!("the place {place:?} does not exist")).into()),
            }
        }
        targets.push(target);
    }
    scattered(scope, x, updates, &targets, width)
}

/// Rows of `width` elements of `updates` put into `x` at known places. Those that meet at one place join one
/// after the other, in rounds: in each, every place gets at most one.
fn scattered(
    scope: &mut Scope<'_, '_>,
    x: TensorId,
    updates: TensorId,
    targets: &[usize],
    width: usize,
) -> Built<TensorId> {
    const MOST_ROUNDS: usize = 16;
    let joins = joins(scope)?;
    let sizes = scope.sizes(x)?;
    let total = scope.listable(&sizes)?;
    if total == 0 || targets.is_empty() {
        return Ok(x);
    }
    let slots = total / width.max(1);
    let updates = scope.reshaped(updates, &[targets.len(), width])?;
    let mut result = scope.reshaped(x, &[slots, width])?;
    let mut waiting: Vec<(usize, usize)> = targets.iter().copied().enumerate().collect();
    for round in 0.. {
        if waiting.is_empty() {
            break;
        }
        if round == MOST_ROUNDS {
            unsupported!("more than {MOST_ROUNDS} elements are put to one place; add them before");
        }
        let mut sources: Vec<Option<usize>> = vec![None; slots];
        let mut later = Vec::new();
        for (row, target) in waiting {
            match &mut sources[target] {
                // Where nothing joins, the last one stays.
                source @ Some(_) if joins.is_none() => *source = Some(row),
                Some(_) => later.push((row, target)),
                source => *source = Some(row),
            }
        }
        waiting = later;
        let rows: Vec<i64> = sources.iter().map(|source| source.unwrap_or(0) as i64).collect();
        let rows = scope.integers("rows", DType::I32, &[slots], &rows)?;
        let put = scope.emit(Gather { axis: 0, batch_dims: 0 }, &[updates, rows])?;
        let put = match joins {
            Some(kind) => combined(scope, kind, result, put)?,
            None => put,
        };
        let held: Vec<bool> = sources.iter().map(Option::is_some).collect();
        if held.iter().all(|held| *held) {
            result = put;
            continue;
        }
        let held = scope.truths(&[slots, 1], &held);
        result = scope.emit(Select {}, &[held, put, result])?;
    }
    scope.reshaped(result, &sizes)
}

/// Indices, depth, and the values elsewhere and at the place.
pub(super) fn one_hot(scope: &mut Scope<'_, '_>) -> Built<TensorId> {
    let (places, depth, values) = (scope.input(0)?, scope.input(1)?, scope.input(2)?);
    let Some(depth) = scope.known_number(depth) else {
        unsupported!("its depth must be constant; it is computed while the model runs");
    };
    let depth = scope.size_from(depth as i64, "its depth")?;
    let axis = scope.attributes.integer("axis")?.unwrap_or(-1);
    let axis = if axis == -1 { -1 } else { scope.axis_i32(axis, scope.rank(places) + 1)? };
    let places = scope.cast(places, DType::I64)?;
    // Negative ones count from the end; what lies outside is nowhere.
    let size = scope.number("depth", DType::I64, depth as f64)?;
    let from_end = scope.binary(BinaryKind::Add, places, size)?;
    let zero = scope.number("zero", DType::I64, 0.0)?;
    let kind = litesmith_graph::ops::CompareKind::Less;
    let negative = scope.emit(litesmith_graph::ops::Compare { kind }, &[places, zero])?;
    let places = scope.emit(Select {}, &[negative, from_end, places])?;
    let mut ends = [values; 2];
    for (place, end) in ends.iter_mut().enumerate() {
        let part = scope.part(values, 0, place, 1)?;
        *end = scope.emit(Reshape::to(Vec::new()), &[part])?;
    }
    let [off, on] = ends;
    scope.emit(OneHot { depth, axis }, &[places, on, off])
}

/// The upper or lower triangle of matrices, zeros elsewhere.
pub(super) fn triangle(scope: &mut Scope<'_, '_>) -> Built<TensorId> {
    let x = scope.input(0)?;
    let offset = scope.integers_if_any(1, "its diagonal")?.and_then(|values| values.first().copied());
    let offset = offset.unwrap_or(0);
    let upper = scope.attributes.flag("upper", true)?;
    let rank = scope.rank(x);
    if rank < 2 {
        return Err(scope.broken("its input is no matrix").into());
    }
    let (rows, columns) = (scope.size(x, rank - 2)?, scope.size(x, rank - 1)?);
    let count = scope.affordable(&[rows, columns])?;
    let inside = |place: usize| {
        let distance = (place % columns) as i64 - (place / columns) as i64;
        if upper { distance >= offset } else { distance <= offset }
    };
    let mask: Vec<bool> = (0..count).map(inside).collect();
    let mask = scope.truths(&[rows, columns], &mask);
    let zero = scope.number_like(x, 0.0)?;
    scope.emit(Select {}, &[mask, x, zero])
}

/// One at the place of the largest element along an axis, zero elsewhere.
pub(super) fn hard_max(scope: &mut Scope<'_, '_>) -> Built<TensorId> {
    use litesmith_graph::ops::{ArgKind, ArgReduce};
    let x = scope.input(0)?;
    scope.expect_floats(x)?;
    let usual = if scope.target.opset < 13 { 1 } else { -1 };
    let axis = scope.attributes.integer("axis")?.unwrap_or(usual);
    let axis = scope.axis(axis, scope.rank(x))?;
    if scope.target.opset < 13 && axis + 1 != scope.rank(x) {
        unsupported!("over several axes it is not supported; bring the model to opset 13");
    }
    let depth = scope.size(x, axis)?;
    let op = ArgReduce { kind: ArgKind::Max, axis: axis as i32, dtype: DType::I64 };
    let places = scope.emit(op, &[x])?;
    let (one, zero) = (scope.scalar("one", 1.0)?, scope.scalar("zero", 0.0)?);
    scope.emit(OneHot { depth, axis: axis as i32 }, &[places, one, zero])
}

/// The first elements of each sample along one axis turned round, as many as are given for it.
pub(super) fn reverse_sequence(scope: &mut Scope<'_, '_>) -> Built<TensorId> {
    let x = scope.input(0)?;
    let lengths = scope.integers_of(1, "the lengths of its sequences")?;
    let batch = scope.attributes.integer("batch_axis")?.unwrap_or(1);
    let time = scope.attributes.integer("time_axis")?.unwrap_or(0);
    let rank = scope.rank(x);
    let (batch, time) = (scope.axis(batch, rank)?, scope.axis(time, rank)?);
    if batch > 1 || time > 1 || batch == time {
        return Err(scope.broken("its axes of batch and time are not the first two").into());
    }
    let sizes = [scope.size(x, 0)?, scope.size(x, 1)?];
    if lengths.len() != sizes[batch] {
        return Err(scope.broken("it does not have one length for each sample").into());
    }
    let count = scope.listable(&sizes)?;
    let mut places = Vec::with_capacity(count * 2);
    for place in 0..count {
        let mut at = [(place / sizes[1]) as i64, (place % sizes[1]) as i64];
        let length = lengths[at[batch] as usize];
        if length < 0 || length > sizes[time] as i64 {
            return Err(scope.broken(format!("a sequence has length {length}")).into());
        }
        if at[time] < length {
            at[time] = length - 1 - at[time];
        }
        places.extend(at);
    }
    let places = scope.integers("places", DType::I32, &[sizes[0], sizes[1], 2], &places)?;
    scope.emit(GatherNd {}, &[x, places])
}

/// A constant of whole indices along one axis, and what it gathers.
pub(super) fn chosen_along(
    scope: &mut Scope<'_, '_>,
    x: TensorId,
    axis: usize,
    places: &[i64],
) -> Built<TensorId> {
    let places = scope.integers("places", DType::I32, &[places.len()], places)?;
    scope.emit(Gather { axis: axis as i32, batch_dims: 0 }, &[x, places])
}

/// The elements along an axis that a constant condition names.
pub(super) fn compress(scope: &mut Scope<'_, '_>) -> Built<TensorId> {
    let mut x = scope.input(0)?;
    let condition = scope.integers_of(1, "its condition")?;
    let axis = match scope.attributes.integer("axis")? {
        Some(axis) => scope.axis(axis, scope.rank(x))?,
        None => {
            x = scope.emit(Reshape::to(vec![ReshapeDim::Infer]), &[x])?;
            0
        }
    };
    let places: Vec<i64> =
        condition.iter().zip(0..).filter(|(holds, _)| **holds != 0).map(|(_, place)| place).collect();
    chosen_along(scope, x, axis, &places)
}
