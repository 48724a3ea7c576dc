//! Pooling under a window.

use litesmith_graph::TensorId;
use litesmith_graph::ops::{ExpandDims, Pool2D, PoolKind, Squeeze};

use crate::composed::volumes;
use crate::emit::Emit;
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

fn pool_3d(scope: &mut Scope<'_>, kind: PoolKind) -> Built<TensorId> {
    let volume = scope.ranked(5)?;
    let config = scope.config();
    let kernel: [usize; 3] = config.counts_or("pool_size", [2, 2, 2])?;
    let stride: [usize; 3] = config.counts_or("strides", kernel)?;
    volumes::pool(scope, volume, kind, kernel, stride, padding(config)?)
}
