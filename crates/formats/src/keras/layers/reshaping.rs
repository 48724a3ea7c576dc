//! Layers that move or repeat elements.

use litesmith_graph::TensorId;
use litesmith_graph::ops::{ExpandDims, Reshape, ReshapeDim, Resize, ResizeKind, Squeeze, Tile, Transpose};

use crate::keras::config::{Built, Config, unsupported};
use crate::keras::scope::Scope;

pub(super) fn flatten(scope: &mut Scope<'_>) -> Built<TensorId> {
    let input = scope.input()?;
    scope.emit(Reshape::to(vec![ReshapeDim::Copy(0), ReshapeDim::Infer]), &[input])
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

/// Nearest repeats each pixel; bilinear takes pixels as squares, as TensorFlow's image functions do.
pub(super) fn up_sampling_2d(scope: &mut Scope<'_>) -> Built<TensorId> {
    let image = scope.ranked(4)?;
    let factors: [usize; 2] = scope.config().counts_or("size", [2, 2])?;
    let kind = interpolation(scope.config(), "nearest")?;
    let mut size = [0; 2];
    for (axis, size) in size.iter_mut().enumerate() {
        let factor = factors[axis];
        let length = scope.size(image, axis + 1)?;
        *size = length.checked_mul(factor).ok_or_else(|| scope.config().broken("its output is too large"))?;
    }
    scope.emit(Resize { kind, size, align_corners: false, half_pixel_centers: true }, &[image])
}

pub(super) fn up_sampling_1d(scope: &mut Scope<'_>) -> Built<TensorId> {
    let input = scope.ranked(3)?;
    let factor = scope.config().count_or("size", 2)?;
    let (length, channels) = (scope.size(input, 1)?, scope.channels(input)?);
    let apart = scope.emit(ExpandDims { axis: 2 }, &[input])?;
    let repeated = scope.emit(Tile { multiples: vec![1, 1, factor, 1] }, &[apart])?;
    let Some(length) = length.checked_mul(factor) else {
        return Err(scope.config().broken("its output is too large").into());
    };
    let shape = vec![ReshapeDim::Copy(0), ReshapeDim::Fixed(length), ReshapeDim::Fixed(channels)];
    scope.emit(Reshape::to(shape), &[repeated])
}

/// Images scaled to a size.
pub(super) fn resizing(scope: &mut Scope<'_>) -> Built<TensorId> {
    let mut image = scope.floats()?;
    let config = scope.config();
    let single = scope.rank(image) == 3;
    for kept in ["crop_to_aspect_ratio", "pad_to_aspect_ratio", "antialias"] {
        if config.flag(kept, false)? {
            unsupported!("{kept} is not supported; resize the images before the model");
        }
    }
    let size = [config.count("height")?, config.count("width")?];
    let kind = interpolation(config, "bilinear")?;
    if single {
        image = scope.emit(ExpandDims { axis: 0 }, &[image])?;
    }
    let op = Resize { kind, size, align_corners: false, half_pixel_centers: true };
    let resized = scope.emit(op, &[image])?;
    if single { scope.emit(Squeeze { axes: vec![0] }, &[resized]) } else { Ok(resized) }
}

fn interpolation(config: Config<'_>, default: &str) -> Built<ResizeKind> {
    match config.text("interpolation")?.unwrap_or(default) {
        "nearest" => Ok(ResizeKind::Nearest),
        "bilinear" => Ok(ResizeKind::Bilinear),
        other => unsupported!("interpolation '{other}' is not supported; use 'bilinear' or 'nearest'"),
    }
}
