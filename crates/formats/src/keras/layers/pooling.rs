//! Pooling under a window, and over everything.

use litesmith_graph::TensorId;
use litesmith_graph::ops::{ExpandDims, Pool2D, PoolKind, Reduce, ReduceKind, Squeeze};

use crate::keras::config::Built;
use crate::keras::layers::convolution::padding;
use crate::keras::scope::Scope;

pub(super) fn max_2d(scope: &mut Scope<'_>) -> Built<TensorId> {
    pool_2d(scope, PoolKind::Max)
}

pub(super) fn average_2d(scope: &mut Scope<'_>) -> Built<TensorId> {
    pool_2d(scope, PoolKind::Average)
}

pub(super) fn max_1d(scope: &mut Scope<'_>) -> Built<TensorId> {
    pool_1d(scope, PoolKind::Max)
}

pub(super) fn average_1d(scope: &mut Scope<'_>) -> Built<TensorId> {
    pool_1d(scope, PoolKind::Average)
}

fn pool_2d(scope: &mut Scope<'_>, kind: PoolKind) -> Built<TensorId> {
    let image = scope.ranked(4)?;
    let config = scope.config();
    let kernel = config.counts_or("pool_size", [2, 2])?;
    let stride = config.counts_or("strides", kernel)?;
    scope.emit(Pool2D { kind, kernel, stride, padding: padding(config)?, ..Pool2D::default() }, &[image])
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

pub(super) fn global_average(scope: &mut Scope<'_>) -> Built<TensorId> {
    global(scope, ReduceKind::Mean)
}

pub(super) fn global_max(scope: &mut Scope<'_>) -> Built<TensorId> {
    global(scope, ReduceKind::Max)
}

/// Over all axes but the first and the last.
fn global(scope: &mut Scope<'_>, kind: ReduceKind) -> Built<TensorId> {
    let rank = if scope.layer.class.ends_with("1D") { 3 } else { 4 };
    let input = scope.ranked(rank)?;
    let axes = (1..rank as i32 - 1).collect();
    let keep_dims = scope.config().flag("keepdims", false)?;
    scope.emit(Reduce { kind, axes, keep_dims }, &[input])
}
