//! The same elements under another shape or in another order, shapes themselves, and repeated elements.

use litesmith_graph::operator::Number;
use litesmith_graph::ops::{
    BinaryKind, BroadcastTo, Concat, ExpandDims, Reduce, ReduceKind, Reshape, ReshapeDim, ShapeOf, Squeeze,
    Tile, Transpose,
};
use litesmith_graph::{DType, Dim, TensorId};

use crate::emit::Emit;
use crate::onnx::read::scope::Scope;
use crate::refusal::{Built, unsupported};

pub(super) fn reshape(scope: &mut Scope<'_, '_>) -> Built<TensorId> {
    let [x, shape] = scope.pair()?;
    let copies = !scope.attributes.flag("allowzero", false)?;
    if let Some(dims) = target(scope, x, shape, copies)? {
        return scope.emit(Reshape::to(dims), &[x]);
    }
    let shape = without_zeros(scope, x, shape, copies)?;
    scope.emit(Reshape { shape: None }, &[x, shape])
}

/// The axes of a new shape that the values of a tensor give; `None` if more than one of them is open.
fn target(
    scope: &Scope<'_, '_>,
    x: TensorId,
    shape: TensorId,
    copies: bool,
) -> Built<Option<Vec<ReshapeDim>>> {
    let known = scope.known_integers(shape).map(|values| values.into_iter().map(Number::Int).collect());
    let Some(values): Option<Vec<Number>> = scope.facts(shape).value.clone().or(known) else {
        return Ok(None);
    };
    let input = scope.shape(x);
    let mut dims = Vec::with_capacity(values.len());
    for (axis, value) in values.into_iter().enumerate() {
        dims.push(match value {
            Number::Int(-1) => ReshapeDim::Infer,
            Number::Int(0) if copies => ReshapeDim::Copy(axis),
            Number::Int(size) => ReshapeDim::Fixed(scope.size_from(size, "an axis of its new shape")?),
            Number::Free(symbol) => {
                let free = Dim::Free(symbol);
                match input.dims().iter().position(|dim| *dim == free) {
                    Some(axis) => ReshapeDim::Copy(axis),
                    // What is left over would be of a size that is not known; computed, it is.
                    None => return Ok(None),
                }
            }
            Number::Unknown => ReshapeDim::Infer,
        });
    }
    let open = dims.iter().filter(|dim| **dim == ReshapeDim::Infer).count();
    Ok((open <= 1).then_some(dims))
}

/// The number of axes that a tensor holds the sizes of.
fn length_of(scope: &Scope<'_, '_>, shape: TensorId) -> Built<usize> {
    const MOST_AXES: usize = 16;
    match scope.shape(shape).elements() {
        Some(rank) if rank <= MOST_AXES => Ok(rank),
        Some(rank) => Err(scope.broken(format!("a shape has {rank} axes")).into()),
        None => unsupported!("a shape whose length is not known is not supported"),
    }
}

/// A computed shape whose zeros, which stand for sizes of the input, are replaced by these.
fn without_zeros(scope: &mut Scope<'_, '_>, x: TensorId, shape: TensorId, copies: bool) -> Built<TensorId> {
    let values = scope.facts(shape).value.clone();
    // What is known of it holds no zero.
    let zero = |number: &Number| *number == Number::Int(0);
    if !copies || values.is_some_and(|values| !values.iter().any(zero)) {
        return Ok(shape);
    }
    let rank = length_of(scope, shape)?;
    let own = scope.emit(ShapeOf { dtype: DType::I64 }, &[x])?;
    let own_rank = scope.rank(x);
    let own = if own_rank >= rank {
        scope.part(own, 0, 0, rank)?
    } else {
        let ones = scope.integers("ones", DType::I64, &[rank - own_rank], &vec![1; rank - own_rank])?;
        scope.emit(Concat::default(), &[own, ones])?
    };
    let nothing = scope.number("zero", DType::I64, 0.0)?;
    let kind = litesmith_graph::ops::CompareKind::Equal;
    let is_zero = scope.emit(litesmith_graph::ops::Compare { kind }, &[shape, nothing])?;
    crate::composed::truth::chosen(scope, is_zero, own, shape)
}

/// To a matrix: the axes before one, and those from it on.
pub(super) fn flatten(scope: &mut Scope<'_, '_>) -> Built<TensorId> {
    let x = scope.input(0)?;
    let rank = scope.rank(x);
    let axis = scope.attributes.integer("axis")?.unwrap_or(1);
    let axis = if axis == rank as i64 { rank } else { scope.axis(axis, rank.max(1))? };
    matrix(scope, x, axis)
}

/// A tensor as a matrix: the axes before one, and those from it on.
pub(super) fn matrix(scope: &mut Scope<'_, '_>, x: TensorId, axis: usize) -> Built<TensorId> {
    let shape = scope.shape(x);
    let product =
        |dims: &[Dim]| dims.iter().try_fold(1usize, |product, dim| product.checked_mul(dim.fixed()?));
    let (rows, columns) = shape.dims().split_at(axis);
    let dims = match (product(rows), product(columns)) {
        (Some(rows), Some(columns)) => [ReshapeDim::Fixed(rows), ReshapeDim::Fixed(columns)],
        (None, Some(columns)) if rows.len() == 1 => [ReshapeDim::Copy(0), ReshapeDim::Fixed(columns)],
        (None, Some(columns)) => [ReshapeDim::Infer, ReshapeDim::Fixed(columns)],
        (Some(rows), None) => [ReshapeDim::Fixed(rows), ReshapeDim::Infer],
        (None, None) if rows.len() == 1 => [ReshapeDim::Copy(0), ReshapeDim::Infer],
        (None, None) => unsupported!("{shape} cannot be flattened: too many of its sizes are open; fix some"),
    };
    scope.emit(Reshape::to(dims.to_vec()), &[x])
}

pub(super) fn squeeze(scope: &mut Scope<'_, '_>) -> Built<TensorId> {
    let x = scope.input(0)?;
    let shape = scope.shape(x);
    let given = scope.integers_by_opset("axes", 13, 1)?;
    let axes = match given {
        Some(axes) => scope.axes(&axes, shape.rank())?,
        None if shape.to_fixed().is_some() => {
            (0..shape.rank()).filter(|axis| shape.dims()[*axis] == Dim::Fixed(1)).collect()
        }
        None => unsupported!("which axes of {shape} go is only known while the model runs; name them"),
    };
    if axes.is_empty() {
        return Ok(x);
    }
    scope.emit(Squeeze { axes: axes.into_iter().map(|axis| axis as i32).collect() }, &[x])
}

pub(super) fn unsqueeze(scope: &mut Scope<'_, '_>) -> Built<TensorId> {
    let x = scope.input(0)?;
    let Some(given) = scope.integers_by_opset("axes", 13, 1)? else {
        return Err(scope.broken("its axes are missing").into());
    };
    let mut axes = scope.axes(&given, scope.rank(x) + given.len())?;
    axes.sort_unstable();
    axes.into_iter().try_fold(x, |x, axis| scope.emit(ExpandDims { axis: axis as i32 }, &[x]))
}

pub(super) fn transpose(scope: &mut Scope<'_, '_>) -> Built<TensorId> {
    let x = scope.input(0)?;
    let rank = scope.rank(x);
    let order = match scope.attributes.integers("perm")? {
        Some(order) => scope.axes(order, rank)?,
        None => (0..rank).rev().collect(),
    };
    if order.iter().copied().eq(0..rank) {
        return Ok(x);
    }
    if scope.is_fixed(x) {
        scope.laid_out(x, Transpose::by(&order))
    } else {
        scope.emit(Transpose::by(&order), &[x])
    }
}

pub(super) fn shape(scope: &mut Scope<'_, '_>) -> Built<TensorId> {
    let x = scope.input(0)?;
    let rank = scope.rank(x) as i64;
    let bound =
        |value: i64| (if value < 0 { value.saturating_add(rank) } else { value }).clamp(0, rank) as usize;
    let start = bound(scope.attributes.integer("start")?.unwrap_or(0));
    let end = bound(scope.attributes.integer("end")?.unwrap_or(rank));
    let sizes = scope.emit(ShapeOf { dtype: DType::I64 }, &[x])?;
    if (start, end) == (0, rank as usize) {
        return Ok(sizes);
    }
    scope.part(sizes, 0, start, end.saturating_sub(start))
}

/// Number of elements.
pub(super) fn size(scope: &mut Scope<'_, '_>) -> Built<TensorId> {
    let x = scope.input(0)?;
    if let Some(elements) = scope.shape(x).elements().and_then(|elements| i64::try_from(elements).ok()) {
        return scope.integers("size", DType::I64, &[], &[elements]);
    }
    let shape = scope.emit(ShapeOf { dtype: DType::I64 }, &[x])?;
    scope.emit(Reduce { kind: ReduceKind::Prod, axes: vec![0], keep_dims: false }, &[shape])
}

/// To a shape and the input's own, broadcast to each other.
pub(super) fn expand(scope: &mut Scope<'_, '_>) -> Built<TensorId> {
    let [x, shape] = scope.pair()?;
    broadcast(scope, x, shape)
}

pub(super) fn broadcast(scope: &mut Scope<'_, '_>, x: TensorId, shape: TensorId) -> Built<TensorId> {
    let own = scope.shape(x);
    if let Some(asked) = scope.known_integers(shape) {
        let asked = scope.sizes_from(&asked, "a size")?;
        let Some(result) = own.broadcast(&litesmith_graph::Shape::fixed(&asked)) else {
            return Err(scope.broken(format!("shape {own} does not broadcast to {asked:?}")).into());
        };
        if result == own {
            return Ok(x);
        }
        if let Some(shape) = result.to_fixed() {
            return scope.emit(BroadcastTo { shape }, &[x]);
        }
    }
    let rank = length_of(scope, shape)?;
    // Both have either the result's size or 1.
    let target = if own.rank() == 0 {
        shape
    } else {
        let mut pair = [scope.emit(ShapeOf { dtype: DType::I64 }, &[x])?, shape];
        let most = rank.max(own.rank());
        for (sizes, length) in pair.iter_mut().zip([own.rank(), rank]) {
            if length < most {
                let ones = scope.integers("ones", DType::I64, &[most - length], &vec![1; most - length])?;
                *sizes = scope.emit(Concat::default(), &[ones, *sizes])?;
            }
        }
        if scope.facts(pair[0]).integers().is_some_and(|sizes| sizes.iter().all(|size| *size == 1)) {
            pair[1]
        } else {
            scope.binary(BinaryKind::Maximum, pair[0], pair[1])?
        }
    };
    scope.emit(BroadcastTo::default(), &[x, target])
}

pub(super) fn tile(scope: &mut Scope<'_, '_>) -> Built<TensorId> {
    let [x, repeats] = scope.pair()?;
    let Some(given) = scope.known_integers(repeats) else {
        return scope.emit(Tile::default(), &[x, repeats]);
    };
    let multiples = scope.sizes_from(&given, "a repetition")?;
    if multiples.iter().all(|count| *count == 1) {
        return Ok(x);
    }
    scope.emit(Tile { multiples }, &[x])
}
