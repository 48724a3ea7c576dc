//! Lists of tensors, as far as their length is known.

use litesmith_graph::TensorId;
use litesmith_graph::ops::{Concat, ExpandDims, Squeeze};

use crate::emit::Emit;
use crate::onnx::read::draft::Bound;
use crate::onnx::read::scope::Scope;
use crate::refusal::{Built, unsupported};

/// Tensors of a list one behind the other, along an axis or along a new one.
pub(super) fn joined(scope: &mut Scope<'_, '_>) -> Built<TensorId> {
    let Some(Bound::Sequence(parts)) = scope.bound(0) else {
        return Err(scope.broken("its input is no list of tensors").into());
    };
    let Some(first) = parts.first() else { unsupported!("a list without tensors is not supported") };
    let new = scope.attributes.flag("new_axis", false)?;
    let rank = scope.rank(*first) + usize::from(new);
    let axis = scope.attributes.integer("axis")?.unwrap_or(0);
    let axis = scope.axis_i32(axis, rank)?;
    let mut whole = Vec::with_capacity(parts.len());
    for part in &parts {
        whole.push(if new { scope.emit(ExpandDims { axis }, &[*part])? } else { *part });
    }
    match whole.as_slice() {
        [one] => Ok(*one),
        _ => scope.emit(Concat { axis, ..Concat::default() }, &whole),
    }
}

/// A list of tensors.
pub(super) fn listed(scope: &mut Scope<'_, '_>) -> Built<Vec<Bound>> {
    let parts = scope.tensors_from(0)?;
    Ok(vec![Bound::Sequence(parts)])
}

/// A tensor of a list.
pub(super) fn element(scope: &mut Scope<'_, '_>) -> Built<TensorId> {
    let Some(Bound::Sequence(parts)) = scope.bound(0) else {
        return Err(scope.broken("its input is no list of tensors").into());
    };
    let index = scope.integer_of(1, "its place")?;
    let place = if index < 0 { index.saturating_add(parts.len() as i64) } else { index };
    match usize::try_from(place).ok().and_then(|place| parts.get(place)) {
        Some(part) => Ok(*part),
        None => Err(scope.broken(format!("the list has no element {index}")).into()),
    }
}

/// A tensor cut into a list.
pub(super) fn cut(scope: &mut Scope<'_, '_>) -> Built<Vec<Bound>> {
    let x = scope.input(0)?;
    let rank = scope.rank(x);
    let axis = scope.attributes.integer("axis")?.unwrap_or(0);
    let axis = scope.axis(axis, rank)?;
    let length = scope.size(x, axis)?;
    let keep = scope.attributes.flag("keepdims", true)?;
    let given = scope.optional(1)?;
    let sizes = match given {
        None => {
            scope.listable(&[length])?;
            vec![1; length]
        }
        Some(split) => {
            let values = scope.integers_of(1, "the sizes of its parts")?;
            let sizes = scope.sizes_from(&values, "the size of a part")?;
            match sizes.as_slice() {
                [size] if scope.rank(split) == 0 && *size > 0 => {
                    scope.listable(&[length / size])?;
                    (0..length).step_by(*size).map(|start| (*size).min(length - start)).collect()
                }
                _ => sizes,
            }
        }
    };
    if sizes.iter().sum::<usize>() != length || sizes.len() > 1 << 12 {
        return Err(scope.broken(format!("parts of {sizes:?} do not make an axis of {length}")).into());
    }
    let (mut start, mut parts) = (0, Vec::with_capacity(sizes.len()));
    for size in sizes {
        let mut part = scope.part(x, axis, start, size)?;
        if given.is_none() && !keep {
            part = scope.emit(Squeeze { axes: vec![axis as i32] }, &[part])?;
        }
        parts.push(part);
        start += size;
    }
    Ok(vec![Bound::Sequence(parts)])
}
