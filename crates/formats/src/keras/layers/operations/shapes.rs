//! New shapes: axes moved, joined, cut and repeated.

use litesmith_graph::ops::{
    Concat, DepthToSpace, ExpandDims, Pack, Pad, PadMode, Reshape, ReshapeDim, Reverse, SpaceToDepth,
    Squeeze, Tile, Transpose, Unpack,
};
use litesmith_graph::{Op, TensorId};
use serde_json::Value;

use crate::emit::Emit;
use crate::keras::config::{Built, integers, unsupported};
use crate::keras::layers::operations::{axis, class, list};
use crate::keras::layers::reshaping::{repeated, reshape_dim};
use crate::keras::scope::Scope;

/// The new shape includes the batch.
pub(in crate::keras::layers) fn reshape(scope: &mut Scope<'_>) -> Built<TensorId> {
    let x = scope.input()?;
    let shape = scope.attribute("newshape").or_else(|| scope.attribute("shape"));
    let Some(sizes) = shape.as_ref().and_then(integers) else {
        unsupported!("its new shape must consist of integers");
    };
    let mut shape = Vec::with_capacity(sizes.len());
    for size in sizes {
        shape.push(reshape_dim(scope.config(), size)?);
    }
    // -1 in front of sizes that make up a sample is the batch, whose name is kept that way.
    let sample = |dims: &[ReshapeDim]| {
        dims.iter().try_fold(1u64, |product, dim| match dim {
            ReshapeDim::Fixed(size) => product.checked_mul(*size as u64),
            _ => None,
        })
    };
    let whole = scope.shape(x);
    if shape.first() == Some(&ReshapeDim::Infer)
        && whole.rank() > 0
        && whole.dims()[1..].iter().all(|dim| dim.fixed().is_some())
        && whole.dims()[0].fixed().is_none()
        && sample(&shape[1..]) == Some(whole.elements_per_sample())
    {
        shape[0] = ReshapeDim::Copy(0);
    }
    scope.emit(Reshape::to(shape), &[x])
}

/// All axes as one.
pub(in crate::keras::layers) fn ravel(scope: &mut Scope<'_>) -> Built<TensorId> {
    let x = scope.input()?;
    scope.emit(Reshape::to(vec![ReshapeDim::Infer]), &[x])
}

pub(in crate::keras::layers) fn transpose(scope: &mut Scope<'_>) -> Built<TensorId> {
    let x = scope.input()?;
    let rank = scope.rank(x);
    let axes = match class(scope) {
        "Swapaxes" => {
            let (a, b) = (axis(scope, x, "axis1", 0)?, axis(scope, x, "axis2", 0)?);
            let mut order: Vec<usize> = (0..rank).collect();
            order.swap(a, b);
            order
        }
        "Moveaxis" => moved(scope, rank)?,
        _ => {
            let axes = match scope.attribute("axes").or_else(|| scope.attribute("perm")) {
                None => (0..rank as i64).rev().collect(),
                Some(axes) => {
                    integers(&axes).ok_or_else(|| scope.config().broken("its axes are no integers"))?
                }
            };
            axes.into_iter().map(|axis| scope.axis(axis, rank)).collect::<Built<Vec<_>>>()?
        }
    };
    scope.emit(Transpose::by(&axes), &[x])
}

/// The order in which axes of `source` stand in `destination`, the others around them.
fn moved(scope: &Scope<'_>, rank: usize) -> Built<Vec<usize>> {
    let named = |name: &str| -> Built<Vec<usize>> {
        let axes = scope.attribute(name).as_ref().and_then(integers).unwrap_or_default();
        axes.into_iter().map(|axis| scope.axis(axis, rank)).collect()
    };
    let (source, destination) = (named("source")?, named("destination")?);
    let mut order: Vec<usize> = (0..rank).filter(|axis| !source.contains(axis)).collect();
    let mut pairs: Vec<_> = destination.into_iter().zip(source).collect();
    pairs.sort_unstable();
    for (place, axis) in pairs {
        order.insert(place.min(order.len()), axis);
    }
    Ok(order)
}

pub(in crate::keras::layers) fn expand_dims(scope: &mut Scope<'_>) -> Built<TensorId> {
    let mut x = scope.input()?;
    let axes = scope.attribute("axis").as_ref().and_then(integers).unwrap_or_default();
    let rank = scope.rank(x) + axes.len();
    let mut axes = axes.into_iter().map(|axis| scope.axis(axis, rank)).collect::<Built<Vec<_>>>()?;
    axes.sort_unstable();
    for axis in axes {
        x = scope.emit(ExpandDims { axis: axis as i32 }, &[x])?;
    }
    Ok(x)
}

pub(in crate::keras::layers) fn squeeze(scope: &mut Scope<'_>) -> Built<TensorId> {
    let x = scope.input()?;
    let rank = scope.rank(x);
    let axes = match scope.attribute("axis") {
        None => Vec::new(),
        Some(value) => integers(&value).ok_or_else(|| scope.config().broken("its axis is no integer"))?,
    };
    let axes =
        axes.into_iter().map(|axis| Ok(scope.axis(axis, rank)? as i32)).collect::<Built<Vec<i32>>>()?;
    scope.emit(Squeeze { axes }, &[x])
}

/// Tensors along a new axis.
pub(in crate::keras::layers) fn stack(scope: &mut Scope<'_>) -> Built<TensorId> {
    let inputs = list(scope)?;
    let axis = scope.attribute("axis").as_ref().and_then(Value::as_i64).unwrap_or(0);
    let axis = scope.axis(axis, scope.rank(inputs[0]) + 1)?;
    scope.emit(Pack { axis: axis as i32 }, &inputs)
}

/// Tensors behind one another along an axis that the name tells.
pub(in crate::keras::layers) fn stacked(scope: &mut Scope<'_>) -> Built<TensorId> {
    let mut inputs = list(scope)?;
    let (least, axis) = match class(scope) {
        "Dstack" => (3, 2),
        "Vstack" => (2, 0),
        _ => (1, if scope.rank(inputs[0]) == 1 { 0 } else { 1 }),
    };
    if class(scope) == "Append" {
        let axis = match scope.attribute("axis") {
            Some(_) => crate::keras::layers::operations::axis(scope, inputs[0], "axis", 0)?,
            None => unsupported!("appending without an axis is not supported; name one"),
        };
        return scope.emit(Concat { axis: axis as i32, ..Concat::default() }, &inputs);
    }
    for input in &mut inputs {
        if scope.rank(*input) < least {
            unsupported!("stacking tensors of fewer than {least} axes is not supported");
        }
    }
    scope.emit(Concat { axis, ..Concat::default() }, &inputs)
}

/// Slices along an axis, which goes.
pub(in crate::keras::layers) fn unstack(scope: &mut Scope<'_>) -> Built<Vec<TensorId>> {
    let x = scope.input()?;
    let axis = axis(scope, x, "axis", 0)?;
    let parts = scope.size(x, axis)?;
    scope.emit_several(Unpack { axis: axis as i32, parts }, vec![Some(x)])
}

/// Parts along an axis: a number of them, or the places of the cuts.
pub(in crate::keras::layers) fn split(scope: &mut Scope<'_>) -> Built<Vec<TensorId>> {
    const MOST_PARTS: usize = 1 << 12;
    let x = scope.input()?;
    let axis = match class(scope) {
        "Hsplit" => scope.axis(if scope.rank(x) == 1 { 0 } else { 1 }, scope.rank(x))?,
        "Dsplit" => scope.axis(2, scope.rank(x))?,
        "Vsplit" => 0,
        _ => axis(scope, x, "axis", 0)?,
    };
    let size = scope.size(x, axis)?;
    let wanted = scope.attribute("indices_or_sections").unwrap_or(Value::Null);
    let cuts: Vec<usize> = match &wanted {
        Value::Number(parts) => {
            let parts = parts.as_u64().map_or(0, |parts| parts as usize);
            let even = class(scope) == "ArraySplit" || (parts > 0 && size.is_multiple_of(parts));
            if parts == 0 || !even || parts > MOST_PARTS {
                return Err(scope.config().broken(format!("it cuts {size} into {wanted} parts")).into());
            }
            // Where they are not even, the first ones are longer by one.
            (1..parts).map(|part| part * (size / parts) + part.min(size % parts)).collect()
        }
        places => match integers(places) {
            Some(places) if places.len() < MOST_PARTS => {
                let clamp =
                    |place: i64| if place < 0 { place + size as i64 } else { place }.clamp(0, size as i64);
                places.into_iter().map(|place| clamp(place) as usize).collect()
            }
            _ => return Err(scope.config().broken("its cuts are no integers").into()),
        },
    };
    let ends: Vec<usize> = cuts.iter().copied().chain([size]).collect();
    let starts = [0].into_iter().chain(cuts);
    let mut parts = Vec::with_capacity(ends.len());
    for (start, end) in starts.zip(ends) {
        if end <= start {
            unsupported!("an empty part is not supported");
        }
        parts.push(scope.part(x, axis, start, end - start)?);
    }
    Ok(parts)
}

pub(in crate::keras::layers) fn tile(scope: &mut Scope<'_>) -> Built<TensorId> {
    let mut x = scope.input()?;
    let repeats = scope.attribute("repeats").as_ref().and_then(integers).unwrap_or_default();
    while scope.rank(x) < repeats.len() {
        x = scope.emit(ExpandDims { axis: 0 }, &[x])?;
    }
    let mut multiples = vec![1; scope.rank(x) - repeats.len()];
    for repeat in repeats {
        match usize::try_from(repeat) {
            Ok(repeat) if repeat > 0 => multiples.push(repeat),
            _ => return Err(scope.config().broken(format!("it repeats {repeat} times")).into()),
        }
    }
    scope.emit(Tile { multiples }, &[x])
}

/// Each element along an axis several times in a row.
pub(in crate::keras::layers) fn repeat(scope: &mut Scope<'_>) -> Built<TensorId> {
    let x = scope.input()?;
    let factor = scope.attribute("repeats").as_ref().and_then(Value::as_u64);
    let (Some(factor), Some(_)) =
        (factor.filter(|factor| (1..1 << 24).contains(factor)), scope.attribute("axis"))
    else {
        unsupported!("repeating by several numbers, or without an axis, is not supported");
    };
    let axis = axis(scope, x, "axis", 0)?;
    repeated(scope, x, axis, factor as usize)
}

/// The other way round along some axes.
pub(in crate::keras::layers) fn flip(scope: &mut Scope<'_>) -> Built<TensorId> {
    let x = scope.input()?;
    let rank = scope.rank(x);
    let axes: Vec<i64> = match class(scope) {
        "Fliplr" => vec![1],
        "Flipud" => vec![0],
        _ => match scope.attribute("axis") {
            None => (0..rank as i64).collect(),
            Some(axis) => integers(&axis).ok_or_else(|| scope.config().broken("its axis is no integer"))?,
        },
    };
    let mut flipped = x;
    for axis in axes {
        let axis = scope.axis(axis, rank)?;
        flipped = scope.emit(Reverse { axes: vec![axis as i32] }, &[flipped])?;
    }
    Ok(flipped)
}

/// Elements moved along an axis, the last to the front.
pub(in crate::keras::layers) fn roll(scope: &mut Scope<'_>) -> Built<TensorId> {
    let x = scope.input()?;
    let (Some(shift), Some(_)) = (scope.attribute("shift").and_then(|s| s.as_i64()), scope.attribute("axis"))
    else {
        unsupported!("rolling over several axes is not supported; name one");
    };
    let axis = axis(scope, x, "axis", 0)?;
    let size = scope.size(x, axis)?;
    let shift = shift.rem_euclid(size.max(1) as i64) as usize;
    if shift == 0 {
        return Ok(x);
    }
    let back = scope.part(x, axis, size - shift, shift)?;
    let front = scope.part(x, axis, 0, size - shift)?;
    scope.emit(Concat { axis: axis as i32, ..Concat::default() }, &[back, front])
}

/// A quarter turn or several in the plane of two axes, from the first towards the second.
pub(in crate::keras::layers) fn rotate(scope: &mut Scope<'_>) -> Built<TensorId> {
    let x = scope.input()?;
    let rank = scope.rank(x);
    let turns = scope.attribute("k").and_then(|k| k.as_i64()).unwrap_or(1).rem_euclid(4);
    let axes = scope.attribute("axes").as_ref().and_then(integers).unwrap_or_else(|| vec![0, 1]);
    let [from, to] = axes.as_slice() else {
        return Err(scope.config().broken("it turns in the plane of two axes").into());
    };
    let (from, to) = (scope.axis(*from, rank)?, scope.axis(*to, rank)?);
    let flip = |scope: &mut Scope<'_>, x, axis: usize| scope.emit(Reverse { axes: vec![axis as i32] }, &[x]);
    let mut exchange: Vec<usize> = (0..rank).collect();
    exchange.swap(from, to);
    match turns {
        0 => Ok(x),
        1 => {
            let flipped = flip(scope, x, to)?;
            scope.emit(Transpose::by(&exchange), &[flipped])
        }
        2 => {
            let flipped = flip(scope, x, from)?;
            flip(scope, flipped, to)
        }
        _ => {
            let turned = scope.emit(Transpose::by(&exchange), &[x])?;
            flip(scope, turned, to)
        }
    }
}

pub(in crate::keras::layers) fn pad(scope: &mut Scope<'_>) -> Built<TensorId> {
    let x = scope.float_operand(0, &["x"])?;
    let mode = match scope.attribute("mode").as_ref().and_then(Value::as_str) {
        Some("reflect") => PadMode::Reflect,
        Some("symmetric") => PadMode::Symmetric,
        Some("constant") | None => match scope.attribute("constant_values") {
            None => PadMode::Zero,
            Some(value) => match value.as_f64() {
                Some(0.0) => PadMode::Zero,
                Some(value) => PadMode::Value(value as f32),
                None => unsupported!("padding by several values is not supported"),
            },
        },
        Some(other) => unsupported!("padding mode '{other}' is not known"),
    };
    let width = scope.attribute("pad_width").unwrap_or(Value::Null);
    let pair = |value: &Value| match integers(value).as_deref() {
        Some([both]) => usize::try_from(*both).ok().map(|both| [both; 2]),
        Some([before, after]) => Some([usize::try_from(*before).ok()?, usize::try_from(*after).ok()?]),
        _ => None,
    };
    let rank = scope.rank(x);
    let amounts: Option<Vec<[usize; 2]>> = match &width {
        Value::Array(axes) if axes.iter().all(Value::is_array) => axes.iter().map(pair).collect(),
        all => pair(all).map(|all| vec![all; rank]),
    };
    let amounts = match amounts {
        Some(one) if one.len() == 1 => vec![one[0]; rank],
        Some(amounts) => amounts,
        None => return Err(scope.config().broken("its pad_width must say how much for each side").into()),
    };
    scope.emit(Pad { amounts, mode }, &[x])
}

/// Squares of channels and places.
pub(in crate::keras::layers) fn blocks(scope: &mut Scope<'_>) -> Built<TensorId> {
    let image = scope.ranked(4)?;
    let block = scope.config().count("block_size")?;
    let op: Op = if class(scope) == "DepthToSpace" {
        DepthToSpace { block }.into()
    } else {
        SpaceToDepth { block }.into()
    };
    scope.emit(op, &[image])
}
