//! Elements chosen, and put, by their places.

use litesmith_graph::ops::{Cast, Concat, Fill, Gather, GatherNd, OneHot, Reshape, ReshapeDim};
use litesmith_graph::{DType, TensorId};

use crate::emit::Emit;
use crate::refusal::{Built, unsupported};
use crate::savedmodel::translate::scope::Scope;

pub(super) fn gather(scope: &mut Scope<'_>) -> Built<TensorId> {
    let axis = scope.integer_of(2, "its axis")?;
    gathered(scope, axis)
}

/// Along the first axis behind those shared.
pub(super) fn gather_first(scope: &mut Scope<'_>) -> Built<TensorId> {
    let axis = scope.node.attributes.integer("batch_dims").unwrap_or(0);
    gathered(scope, axis)
}

fn gathered(scope: &mut Scope<'_>, axis: i64) -> Built<TensorId> {
    let (table, indices) = (scope.input(0)?, scope.input(1)?);
    let axis = scope.axis_i32(axis, scope.rank(table))?;
    let batch = scope.node.attributes.integer("batch_dims").unwrap_or(0);
    let batch = if batch < 0 { batch.saturating_add(scope.rank(indices) as i64) } else { batch };
    let batch_dims = scope.size_from(batch, "the number of shared axes")?;
    scope.emit(Gather { axis, batch_dims }, &[table, indices])
}

pub(super) fn gather_nd(scope: &mut Scope<'_>) -> Built<TensorId> {
    let (table, indices) = (scope.input(0)?, scope.input(1)?);
    scope.emit(GatherNd {}, &[table, indices])
}

/// Indices, depth, the value at the place, the value elsewhere.
pub(super) fn one_hot(scope: &mut Scope<'_>) -> Built<TensorId> {
    let (mut indices, on, off) = (scope.input(0)?, scope.input(2)?, scope.input(3)?);
    let depth = scope.integer_of(1, "its depth")?;
    let depth = scope.size_from(depth, "its depth")?;
    let axis = scope.node.attributes.integer("axis").unwrap_or(-1);
    let axis = if axis == -1 { -1 } else { scope.axis_i32(axis, scope.rank(indices) + 1)? };
    if !matches!(scope.dtype(indices), DType::I32 | DType::I64) {
        indices = scope.emit(Cast { to: DType::I32 }, &[indices])?;
    }
    scope.emit(OneHot { depth, axis }, &[indices, on, off])
}

/// Zeros with slices put into them, at places that are known: each row of the result is one of the rows
/// put in, or zero.
pub(super) fn scatter_nd(scope: &mut Scope<'_>) -> Built<TensorId> {
    let (places, rows) = (scope.input(0)?, scope.input(1)?);
    let indices = scope.integers_of(0, "the places of what is scattered")?;
    let given = scope.integers_of(2, "the shape of the result")?;
    let sizes = given.into_iter().map(|size| scope.size_from(size, "a size")).collect::<Built<Vec<_>>>()?;
    let Some((depth, batch)) =
        scope.shape(places).to_fixed().and_then(|mut shape| Some((shape.pop()?, shape)))
    else {
        return Err(scope.broken("its places have no axis").into());
    };
    if depth == 0 || depth > sizes.len() {
        return Err(scope.broken(format!("its places have {depth} numbers for {} axes", sizes.len())).into());
    }
    let (outer, inner) = sizes.split_at(depth);
    let count = scope.affordable(&batch)?;
    let (slots, width) = (scope.affordable(outer)?, scope.affordable(inner)?);
    let mut sources = vec![count as i64; slots];
    for (row, place) in indices.chunks_exact(depth).enumerate() {
        let slot = place.iter().zip(outer).try_fold(0usize, |slot, (index, size)| {
            let index = usize::try_from(*index).ok().filter(|index| index < size)?;
            slot.checked_mul(*size)?.checked_add(index)
        });
        let Some(source) = slot.and_then(|slot| sources.get_mut(slot)) else {
            return Err(scope.broken(format!("the place {place:?} does not exist")).into());
        };
        if *source != count as i64 {
            unsupported!("what is scattered to one place twice is added up, which is not supported");
        }
        *source = row as i64;
    }
    let dtype = scope.dtype(rows);
    let fixed = |sizes: &[usize]| Reshape::to(sizes.iter().copied().map(ReshapeDim::Fixed).collect());
    let rows = scope.emit(fixed(&[count, width]), &[rows])?;
    let zero = scope.number("zero", dtype, 0.0)?;
    let shape = scope.integers("row", DType::I32, &[2], &[1, width as i64])?;
    let empty = scope.emit(Fill {}, &[shape, zero])?;
    let table = scope.emit(Concat { axis: 0, ..Concat::default() }, &[rows, empty])?;
    let sources = scope.integers("sources", DType::I32, &[slots], &sources)?;
    let chosen = scope.emit(Gather { axis: 0, batch_dims: 0 }, &[table, sources])?;
    scope.emit(fixed(&sizes), &[chosen])
}
