//! Layers that move or repeat elements.

use litesmith_graph::ops::{ExpandDims, Reshape, ReshapeDim, Tile, Transpose};
use litesmith_graph::{Dim, TensorId};

use crate::emit::Emit;
use crate::keras::config::{Built, Config};
use crate::keras::scope::Scope;

/// Channels are the last of a sample's axes, wherever they stand.
pub(super) fn flatten(scope: &mut Scope<'_>) -> Built<TensorId> {
    let mut input = scope.input()?;
    match scope.rank(input) {
        0 => return Err(scope.config().broken("its input has no axis").into()),
        1 => return scope.emit(ExpandDims { axis: 1 }, &[input]),
        _ => {}
    }
    if scope.config().text("data_format")? == Some("channels_first") {
        input = scope.channels_to_last(input)?;
    }
    // Behind a batch whose size nothing tells, what is left over would be unknown too.
    let shape = scope.shape(input);
    let sample = shape.dims()[1..].iter().try_fold(1usize, |product, dim| product.checked_mul(dim.fixed()?));
    let rest = match sample {
        Some(sample) if shape.dims()[0] == Dim::Unknown => ReshapeDim::Fixed(sample),
        _ => ReshapeDim::Infer,
    };
    scope.emit(Reshape::to(vec![ReshapeDim::Copy(0), rest]), &[input])
}

/// The batch stays; `target_shape` says the rest.
pub(super) fn reshape(scope: &mut Scope<'_>) -> Built<TensorId> {
    let input = scope.input()?;
    let sizes = scope.config().integers("target_shape")?.unwrap_or_default();
    let mut shape = vec![ReshapeDim::Copy(0)];
    for size in sizes {
        shape.push(reshape_dim(scope.config(), size)?);
    }
    scope.emit(Reshape::to(shape), &[input])
}

/// One axis of a new shape as Keras writes it: -1 is what is left over.
pub(super) fn reshape_dim(config: Config<'_>, size: i64) -> Built<ReshapeDim> {
    match usize::try_from(size) {
        Ok(size) => Ok(ReshapeDim::Fixed(size)),
        Err(_) if size == -1 => Ok(ReshapeDim::Infer),
        Err(_) => Err(config.broken(format!("its new shape has an axis of {size}")).into()),
    }
}

/// `dims` counts from 1: axis 0 is the batch.
pub(super) fn permute(scope: &mut Scope<'_>) -> Built<TensorId> {
    let input = scope.input()?;
    let dims = scope.config().integers("dims")?.unwrap_or_default();
    let mut permutation = vec![0];
    for axis in dims {
        permutation.push(scope.axis(axis, scope.rank(input))?);
    }
    scope.emit(Transpose::by(&permutation), &[input])
}

pub(super) fn repeat_vector(scope: &mut Scope<'_>) -> Built<TensorId> {
    let input = scope.ranked(2)?;
    let count = scope.config().count("n")?;
    let row = scope.emit(ExpandDims { axis: 1 }, &[input])?;
    scope.emit(Tile { multiples: vec![1, count, 1] }, &[row])
}

pub(super) fn up_sampling_1d(scope: &mut Scope<'_>) -> Built<TensorId> {
    let input = scope.ranked(3)?;
    let factor = scope.config().count_or("size", 2)?;
    repeated(scope, input, 1, factor)
}

pub(super) fn up_sampling_3d(scope: &mut Scope<'_>) -> Built<TensorId> {
    let mut volume = scope.ranked(5)?;
    let factors: [usize; 3] = scope.config().counts_or("size", [2; 3])?;
    for (place, factor) in factors.into_iter().enumerate() {
        volume = repeated(scope, volume, place + 1, factor)?;
    }
    Ok(volume)
}

/// Each element along an axis several times in a row.
pub(super) fn repeated(scope: &mut Scope<'_>, x: TensorId, axis: usize, factor: usize) -> Built<TensorId> {
    if factor == 1 {
        return Ok(x);
    }
    let rank = scope.rank(x);
    let apart = scope.emit(ExpandDims { axis: axis as i32 + 1 }, &[x])?;
    let mut multiples = vec![1; rank + 1];
    multiples[axis + 1] = factor;
    let tiled = scope.emit(Tile { multiples }, &[apart])?;
    let mut shape: Vec<ReshapeDim> = (0..rank + 1).map(ReshapeDim::Copy).collect();
    shape.remove(axis + 1);
    shape[axis] = match scope.shape(x).dims()[axis].fixed() {
        None => ReshapeDim::Infer,
        Some(length) => match length.checked_mul(factor) {
            Some(length) => ReshapeDim::Fixed(length),
            None => return Err(scope.config().broken("its output is too large").into()),
        },
    };
    scope.emit(Reshape::to(shape), &[tiled])
}
