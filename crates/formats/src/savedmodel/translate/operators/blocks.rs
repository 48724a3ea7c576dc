//! Blocks of pixels as batches or channels.

use litesmith_graph::TensorId;
use litesmith_graph::ops::{BatchToSpace, DepthToSpace, SpaceToBatch, SpaceToDepth};

use super::padding::pairs;
use crate::emit::Emit;
use crate::refusal::{Built, unsupported};
use crate::savedmodel::translate::scope::Scope;

fn block(scope: &Scope<'_>) -> Built<Vec<usize>> {
    let given = scope.integers_of(1, "the size of its blocks")?;
    given.into_iter().map(|size| scope.size_from(size, "the size of a block")).collect()
}

pub(super) fn space_to_batch(scope: &mut Scope<'_>) -> Built<TensorId> {
    let x = scope.input(0)?;
    let op = SpaceToBatch { block: block(scope)?, padding: pairs(scope, 2, "its padding")? };
    scope.emit(op, &[x])
}

pub(super) fn batch_to_space(scope: &mut Scope<'_>) -> Built<TensorId> {
    let x = scope.input(0)?;
    let op = BatchToSpace { block: block(scope)?, crops: pairs(scope, 2, "its crops")? };
    scope.emit(op, &[x])
}

pub(super) fn space_to_depth(scope: &mut Scope<'_>) -> Built<TensorId> {
    let (x, block) = image(scope)?;
    scope.emit(SpaceToDepth { block }, &[x])
}

pub(super) fn depth_to_space(scope: &mut Scope<'_>) -> Built<TensorId> {
    let (x, block) = image(scope)?;
    scope.emit(DepthToSpace { block }, &[x])
}

fn image(scope: &Scope<'_>) -> Built<(TensorId, usize)> {
    let format = scope.text("data_format", "NHWC");
    if format != "NHWC" {
        unsupported!("the data format '{format}' is not supported; use NHWC");
    }
    Ok((scope.input(0)?, scope.size_from(scope.attribute("block_size")?, "its block")?))
}
