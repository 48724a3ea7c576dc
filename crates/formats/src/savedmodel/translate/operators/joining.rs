//! Tensors put together, cut apart and turned round.

use litesmith_graph::TensorId;
use litesmith_graph::ops::{Concat, Pack, Reverse, Split, Unpack};

use crate::emit::Emit;
use crate::refusal::{Built, unsupported};
use crate::savedmodel::translate::draft::Bound;
use crate::savedmodel::translate::scope::Scope;

/// The inputs, then the axis.
pub(super) fn concat(scope: &mut Scope<'_>) -> Built<TensorId> {
    let count = scope.inputs.len().saturating_sub(1);
    let axis = scope.integer_of(count, "its axis")?;
    joined(scope, 0..count, axis)
}

/// The axis, then the inputs.
pub(super) fn concat_first(scope: &mut Scope<'_>) -> Built<TensorId> {
    let axis = scope.integer_of(0, "its axis")?;
    joined(scope, 1..scope.inputs.len(), axis)
}

fn joined(scope: &mut Scope<'_>, places: std::ops::Range<usize>, axis: i64) -> Built<TensorId> {
    let inputs = places.map(|index| scope.input(index)).collect::<Built<Vec<_>>>()?;
    match inputs.as_slice() {
        [] => Err(scope.broken("it has no inputs").into()),
        [one] => Ok(*one),
        [first, ..] => {
            let axis = scope.axis_i32(axis, scope.rank(*first))?;
            scope.emit(Concat { axis, ..Concat::default() }, &inputs)
        }
    }
}

pub(super) fn pack(scope: &mut Scope<'_>) -> Built<TensorId> {
    let inputs = scope.tensors()?;
    let Some(first) = inputs.first() else { return Err(scope.broken("it has no inputs").into()) };
    let axis = scope.node.attributes.integer("axis").unwrap_or(0);
    let axis = scope.axis_i32(axis, scope.rank(*first) + 1)?;
    scope.emit(Pack { axis }, &inputs)
}

fn several(outputs: Vec<TensorId>) -> Vec<Bound> {
    outputs.into_iter().map(Bound::Tensor).collect()
}

pub(super) fn unpack(scope: &mut Scope<'_>) -> Built<Vec<Bound>> {
    let x = scope.input(0)?;
    let axis = scope.node.attributes.integer("axis").unwrap_or(0);
    let axis = scope.axis_i32(axis, scope.rank(x))?;
    let parts = scope.size_from(scope.attribute("num")?, "the number of its parts")?;
    Ok(several(scope.emit_several(Unpack { axis, parts }, vec![Some(x)])?))
}

/// The axis, then the tensor.
pub(super) fn split(scope: &mut Scope<'_>) -> Built<Vec<Bound>> {
    let axis = scope.integer_of(0, "its axis")?;
    let x = scope.input(1)?;
    let axis = scope.axis_i32(axis, scope.rank(x))?;
    let parts = scope.size_from(scope.attribute("num_split")?, "the number of its parts")?;
    if parts == 1 {
        return Ok(vec![Bound::Tensor(x)]);
    }
    Ok(several(scope.emit_several(Split { axis, parts, sizes: Vec::new() }, vec![Some(x)])?))
}

/// The tensor, the sizes of the parts, and the axis.
pub(super) fn split_sizes(scope: &mut Scope<'_>) -> Built<Vec<Bound>> {
    let x = scope.input(0)?;
    let given = scope.integers_of(1, "the sizes of its parts")?;
    let axis = scope.integer_of(2, "its axis")?;
    let axis = scope.axis(axis, scope.rank(x))?;
    let known: Vec<i64> = given.iter().copied().filter(|size| *size != -1).collect();
    let sum = known.iter().try_fold(0i64, |sum, size| sum.checked_add(*size));
    let rest = match given.len() - known.len() {
        0 => 0,
        1 => {
            let length = scope.size(x, axis)? as i64;
            match sum.and_then(|sum| length.checked_sub(sum)) {
                Some(rest) => rest,
                None => return Err(scope.broken("the sizes of its parts do not fit").into()),
            }
        }
        _ => return Err(scope.broken("the sizes of several parts are open").into()),
    };
    let size = |size: i64| scope.size_from(if size == -1 { rest } else { size }, "the size of a part");
    let sizes = given.into_iter().map(size).collect::<Built<Vec<usize>>>()?;
    let op = Split { axis: axis as i32, parts: sizes.len(), sizes };
    Ok(several(scope.emit_several(op, vec![Some(x)])?))
}

pub(super) fn reverse(scope: &mut Scope<'_>) -> Built<TensorId> {
    let x = scope.input(0)?;
    let axes = super::reductions::axes_of(scope, 1)?;
    if axes.is_empty() {
        return Ok(x);
    }
    scope.emit(Reverse { axes }, &[x])
}

/// The axes by one truth value for each.
pub(super) fn reverse_flags(scope: &mut Scope<'_>) -> Built<TensorId> {
    let (x, flags) = (scope.input(0)?, scope.input(1)?);
    let Some(flags) = scope.known_truths(flags) else {
        unsupported!("its axes must be constant; they are computed while the model runs");
    };
    let axes: Vec<i32> = flags.iter().zip(0..).filter(|(flag, _)| **flag).map(|(_, axis)| axis).collect();
    if axes.is_empty() {
        return Ok(x);
    }
    scope.emit(Reverse { axes }, &[x])
}

/// Elements moved along axes; those that leave at one end come in at the other.
pub(super) fn roll(scope: &mut Scope<'_>) -> Built<TensorId> {
    let mut x = scope.input(0)?;
    let shifts = scope.integers_of(1, "how far it moves")?;
    let axes = scope.integers_of(2, "its axes")?;
    if shifts.len() != axes.len() {
        return Err(scope.broken("it does not have one distance for each axis").into());
    }
    for (shift, axis) in shifts.into_iter().zip(axes) {
        let axis = scope.axis(axis, scope.rank(x))?;
        let size = scope.size(x, axis)?;
        let moved = if size == 0 { 0 } else { shift.rem_euclid(size as i64) as usize };
        if moved > 0 {
            let kept = size - moved;
            let parts = [scope.part(x, axis, kept, moved)?, scope.part(x, axis, 0, kept)?];
            x = scope.emit(Concat { axis: axis as i32, ..Concat::default() }, &parts)?;
        }
    }
    Ok(x)
}
