//! Pooling under a window.

use litesmith_graph::TensorId;
use litesmith_graph::ops::{ExpandDims, Pool2D, PoolKind, Reshape, ReshapeDim, Squeeze};

use crate::keras::config::Built;
use crate::keras::layers::convolution::padding;
use crate::keras::scope::Scope;

pub(super) fn max_1d(scope: &mut Scope<'_>) -> Built<TensorId> {
    pool_1d(scope, PoolKind::Max)
}

pub(super) fn average_1d(scope: &mut Scope<'_>) -> Built<TensorId> {
    pool_1d(scope, PoolKind::Average)
}

pub(super) fn max_2d(scope: &mut Scope<'_>) -> Built<TensorId> {
    pool_2d(scope, PoolKind::Max)
}

pub(super) fn average_2d(scope: &mut Scope<'_>) -> Built<TensorId> {
    pool_2d(scope, PoolKind::Average)
}

pub(super) fn max_3d(scope: &mut Scope<'_>) -> Built<TensorId> {
    pool_3d(scope, PoolKind::Max)
}

pub(super) fn average_3d(scope: &mut Scope<'_>) -> Built<TensorId> {
    pool_3d(scope, PoolKind::Average)
}

fn pool_1d(scope: &mut Scope<'_>, kind: PoolKind) -> Built<TensorId> {
    let input = scope.ranked(3)?;
    let config = scope.config();
    let [kernel] = config.counts_or("pool_size", [2])?;
    let [stride] = config.counts_or("strides", [kernel])?;
    let padding = padding(config)?;
    let image = scope.emit(ExpandDims { axis: 1 }, &[input])?;
    let op = Pool2D { kind, kernel: [1, kernel], stride: [1, stride], padding, ..Pool2D::default() };
    let pooled = scope.emit(op, &[image])?;
    scope.emit(Squeeze { axes: vec![1] }, &[pooled])
}

fn pool_2d(scope: &mut Scope<'_>, kind: PoolKind) -> Built<TensorId> {
    let image = scope.ranked(4)?;
    let config = scope.config();
    let kernel = config.counts_or("pool_size", [2, 2])?;
    let stride = config.counts_or("strides", kernel)?;
    scope.emit(Pool2D { kind, kernel, stride, padding: padding(config)?, ..Pool2D::default() }, &[image])
}

/// Over height and width, then over depth. Means of means are means here: how many places a window
/// has inside the volume is a product over the axes.
fn pool_3d(scope: &mut Scope<'_>, kind: PoolKind) -> Built<TensorId> {
    let volume = scope.ranked(5)?;
    let config = scope.config();
    let kernel: [usize; 3] = config.counts_or("pool_size", [2, 2, 2])?;
    let stride: [usize; 3] = config.counts_or("strides", kernel)?;
    let padding = padding(config)?;
    let depth = scope.size(volume, 1)?;
    let pool = |kernel, stride| Pool2D { kind, kernel, stride, padding, ..Pool2D::default() };
    let slices = [ReshapeDim::Infer, ReshapeDim::Copy(2), ReshapeDim::Copy(3), ReshapeDim::Copy(4)];
    let slices = scope.emit(Reshape::to(slices.to_vec()), &[volume])?;
    let slices = scope.emit(pool([kernel[1], kernel[2]], [stride[1], stride[2]]), &[slices])?;
    let (height, width, channels) = (scope.size(slices, 1)?, scope.size(slices, 2)?, scope.size(slices, 3)?);
    let Some(area) = height.checked_mul(width) else {
        return Err(scope.config().broken("its input is too large").into());
    };
    let fixed = |sizes: &[usize]| -> Vec<ReshapeDim> {
        [ReshapeDim::Infer].into_iter().chain(sizes.iter().copied().map(ReshapeDim::Fixed)).collect()
    };
    let columns = scope.emit(Reshape::to(fixed(&[depth, area, channels])), &[slices])?;
    let columns = scope.emit(pool([kernel[0], 1], [stride[0], 1]), &[columns])?;
    let depth = scope.size(columns, 1)?;
    scope.emit(Reshape::to(fixed(&[depth, height, width, channels])), &[columns])
}
