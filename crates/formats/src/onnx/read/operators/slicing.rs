//! Parts of tensors, and tensors put together.

use litesmith_graph::ops::{Concat, Split, StridedSlice};
use litesmith_graph::{DType, TensorId};

use crate::emit::Emit;
use crate::onnx::read::draft::Bound;
use crate::onnx::read::scope::Scope;
use crate::refusal::{Built, unsupported};

pub(super) fn concat(scope: &mut Scope<'_, '_>) -> Built<TensorId> {
    let inputs = scope.tensors_from(0)?;
    let Some(first) = inputs.first() else { return Err(scope.broken("it has no inputs").into()) };
    let axis = scope.attributes.integer("axis")?.unwrap_or(1);
    let axis = scope.axis_i32(axis, scope.rank(*first))?;
    match inputs.as_slice() {
        [one] => Ok(*one),
        _ => scope.emit(Concat { axis, ..Concat::default() }, &inputs),
    }
}

pub(super) fn slice(scope: &mut Scope<'_, '_>) -> Built<TensorId> {
    let x = scope.input(0)?;
    let rank = scope.rank(x);
    if scope.target.opset < 10 {
        let list = |key: &'static str| scope.attributes.integers(key);
        let (starts, ends, axes) = (list("starts")?, list("ends")?, list("axes")?);
        let (Some(starts), Some(ends)) = (starts, ends) else {
            return Err(scope.broken("it has no starts or ends").into());
        };
        let axes = match axes {
            Some(axes) => scope.axes(axes, rank)?,
            None => (0..starts.len()).collect(),
        };
        return known(scope, x, &axes, starts, ends, &vec![1; starts.len()]);
    }
    let (starts, ends) = (scope.input(1)?, scope.input(2)?);
    let Some(count) = scope.shape(starts).elements() else {
        unsupported!("starts whose number is not known are not supported");
    };
    if count > rank {
        return Err(scope.broken(format!("it slices {count} axes of {rank}")).into());
    }
    let axes = match scope.integers_if_any(3, "its axes")? {
        Some(axes) => scope.axes(&axes, rank)?,
        None => (0..count).collect(),
    };
    let steps = scope.integers_if_any(4, "its steps")?.unwrap_or_else(|| vec![1; count]);
    match (scope.known_integers(starts), scope.known_integers(ends)) {
        (Some(starts), Some(ends)) => known(scope, x, &axes, &starts, &ends, &steps),
        _ => computed(scope, x, &axes, [starts, ends], &steps),
    }
}

/// A slice that takes all of so many axes.
fn whole(axes: usize) -> StridedSlice {
    let mask = if axes >= 32 { u32::MAX } else { (1u32 << axes) - 1 };
    StridedSlice {
        begin: vec![0; axes],
        end: vec![0; axes],
        strides: vec![1; axes],
        begin_mask: mask,
        end_mask: mask,
        ..StridedSlice::default()
    }
}

fn known(
    scope: &mut Scope<'_, '_>,
    x: TensorId,
    axes: &[usize],
    starts: &[i64],
    ends: &[i64],
    steps: &[i64],
) -> Built<TensorId> {
    if axes.len() != starts.len() || axes.len() != ends.len() || axes.len() != steps.len() {
        return Err(scope.broken("its starts, ends, axes and steps are of different lengths").into());
    }
    // Beyond the length of any axis.
    const FAR: i64 = i32::MAX as i64;
    let rank = scope.rank(x);
    let mut slice = whole(rank);
    for (((axis, start), end), step) in axes.iter().zip(starts).zip(ends).zip(steps) {
        if *axis >= rank || *step == 0 {
            return Err(scope.broken(format!("it slices axis {axis} of {rank} by steps of {step}")).into());
        }
        let bit = 1u32 << axis;
        let from_first = if *step > 0 { *start == 0 || *start <= -FAR } else { *start >= FAR };
        let to_last = if *step > 0 { *end >= FAR } else { *end <= -FAR };
        slice.strides[*axis] = *step;
        if !from_first {
            slice.begin[*axis] = (*start).clamp(-FAR, FAR);
            slice.begin_mask &= !bit;
        }
        if !to_last {
            slice.end[*axis] = (*end).clamp(-FAR, FAR);
            slice.end_mask &= !bit;
        }
    }
    // What takes everything is what it takes.
    let all = whole(rank);
    if slice == all { Ok(x) } else { scope.emit(slice, &[x]) }
}

/// A slice whose starts or ends are computed.
fn computed(
    scope: &mut Scope<'_, '_>,
    x: TensorId,
    axes: &[usize],
    given: [TensorId; 2],
    steps: &[i64],
) -> Built<TensorId> {
    if axes.len() != steps.len() || axes.iter().any(|axis| *axis >= scope.rank(x)) {
        return Err(scope.broken("its starts, axes and steps are of different lengths").into());
    }
    let count = axes.iter().max().map_or(0, |axis| axis + 1);
    let mut slice = whole(count);
    slice.begin.clear();
    slice.end.clear();
    slice.strides.clear();
    let mut strides = vec![1; count];
    for (axis, step) in axes.iter().zip(steps) {
        strides[*axis] = *step;
        slice.begin_mask &= !(1 << axis);
        slice.end_mask &= !(1 << axis);
    }
    let mut lists = Vec::with_capacity(3);
    for list in given {
        let list = scope.cast(list, DType::I64)?;
        let zero = scope.integers("whole", DType::I64, &[1], &[0])?;
        let mut parts = Vec::with_capacity(count);
        for axis in 0..count {
            parts.push(match axes.iter().position(|own| *own == axis) {
                Some(place) => scope.part(list, 0, place, 1)?,
                None => zero,
            });
        }
        lists.push(match parts.as_slice() {
            [one] => *one,
            _ => scope.emit(Concat::default(), &parts)?,
        });
    }
    let strides = scope.integers("strides", DType::I64, &[count], &strides)?;
    scope.emit(slice, &[x, lists[0], lists[1], strides])
}

pub(super) fn split(scope: &mut Scope<'_, '_>) -> Built<Vec<Bound>> {
    let x = scope.input(0)?;
    let axis = scope.attributes.integer("axis")?.unwrap_or(0);
    let axis = scope.axis(axis, scope.rank(x))?;
    let given = scope.integers_by_opset("split", 13, 1)?;
    let parts = scope.node.output.len();
    if scope.attributes.integer("num_outputs")?.is_some_and(|stated| stated != parts as i64) {
        return Err(scope.broken("it does not have one output for each of its parts").into());
    }
    let sizes = match given {
        Some(sizes) => scope.sizes_from(&sizes, "the size of a part")?,
        None => {
            let length = scope.size(x, axis)?;
            // The last part may be shorter.
            let part = length.div_ceil(parts.max(1));
            (0..parts).map(|index| length.saturating_sub(index * part).min(part)).collect()
        }
    };
    if sizes.is_empty() {
        return Err(scope.broken("it has no parts").into());
    }
    if sizes.len() == 1 {
        return Ok(vec![Bound::Tensor(x)]);
    }
    let equal = sizes.iter().all(|size| *size == sizes[0]);
    let parts = sizes.len();
    let op = Split { axis: axis as i32, parts, sizes: if equal { Vec::new() } else { sizes.clone() } };
    let op = if scope.shape(x).dims()[axis].fixed().is_none() { Split { sizes, ..op } } else { op };
    Ok(scope.emit_several(op, vec![Some(x)])?.into_iter().map(Bound::Tensor).collect())
}

/// Elements cut off, or zeros put around, so that axes have these sizes, evenly at both ends.
pub(super) fn center_crop_pad(scope: &mut Scope<'_, '_>) -> Built<TensorId> {
    let mut x = scope.input(0)?;
    let rank = scope.rank(x);
    let asked = scope.integers_of(1, "its shape")?;
    let asked = scope.sizes_from(&asked, "a size")?;
    let axes = match scope.attributes.integers("axes")? {
        Some(axes) => scope.axes(axes, rank)?,
        None => (0..rank).collect(),
    };
    if axes.len() != asked.len() {
        return Err(scope.broken("it does not have one size for each axis").into());
    }
    for (axis, asked) in axes.into_iter().zip(asked) {
        let own = scope.size(x, axis)?;
        if own > asked {
            x = scope.part(x, axis, (own - asked) / 2, asked)?;
        } else if own < asked {
            let mut amounts = vec![[0, 0]; rank];
            amounts[axis] = [(asked - own) / 2, (asked - own).div_ceil(2)];
            x = scope.emit(litesmith_graph::ops::Pad { amounts, ..Default::default() }, &[x])?;
        }
    }
    Ok(x)
}
