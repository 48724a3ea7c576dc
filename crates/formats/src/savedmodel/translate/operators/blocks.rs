//! Blocks of pixels as batches or channels.

use litesmith_graph::ops::{BatchToSpace, DepthToSpace, SpaceToBatch, SpaceToDepth};
use litesmith_graph::{Dim, Op, TensorId};

use super::padding::pairs;
use crate::emit::Emit;
use crate::refusal::{Built, unsupported};
use crate::savedmodel::translate::scope::Scope;

/// Most operators between blocks that become batches and batches that become blocks again.
const FARTHEST: usize = 8;

fn block(scope: &Scope<'_>) -> Built<Vec<usize>> {
    let given = scope.integers_of(1, "the size of its blocks")?;
    given.into_iter().map(|size| scope.size_from(size, "the size of a block")).collect()
}

pub(super) fn space_to_batch(scope: &mut Scope<'_>) -> Built<TensorId> {
    let (block, padding) = (block(scope)?, pairs(scope, 2, "its padding")?);
    over_images(scope, block, padding, |scope, x, block, padding| {
        scope.emit(SpaceToBatch { block, padding }, &[x])
    })
}

pub(super) fn batch_to_space(scope: &mut Scope<'_>) -> Built<TensorId> {
    let (block, crops) = (block(scope)?, pairs(scope, 2, "its crops")?);
    over_images(scope, block, crops, |scope, x, block, crops| {
        let batch = batch_before(scope, x, &block);
        let result = scope.emit(BatchToSpace { block, crops }, &[x])?;
        let first = scope.draft.facts[result.index()].shape.0.first_mut();
        if let (Some(first @ Dim::Unknown), Some(batch)) = (first, batch) {
            *first = batch;
        }
        Ok(result)
    })
}

/// The batch before blocks became batches, if nothing but a few convolutions and functions of single
/// numbers stands between.
fn batch_before(scope: &Scope<'_>, x: TensorId, block: &[usize]) -> Option<Dim> {
    let mut x = x;
    for _ in 0..FARTHEST {
        let node = scope.draft.graph.nodes.iter().rev().find(|node| node.outputs.first() == Some(&x))?;
        let place = match &node.op {
            Op::SpaceToBatch(op) if op.block == block => {
                return scope.shape(node.inputs.first().copied().flatten()?).0.first().cloned();
            }
            Op::Conv2D(_) | Op::DepthwiseConv2D(_) | Op::Unary(_) | Op::BatchNorm(_) => 0,
            Op::Binary(_) => {
                node.inputs.iter().position(|input| input.is_some_and(|id| !scope.is_fixed(id)))?
            }
            _ => return None,
        };
        x = node.inputs[place]?;
    }
    None
}

/// A sequence is an image of height 1, as convolutions take it.
fn over_images(
    scope: &mut Scope<'_>,
    mut block: Vec<usize>,
    mut amounts: Vec<[usize; 2]>,
    apply: impl FnOnce(&mut Scope<'_>, TensorId, Vec<usize>, Vec<[usize; 2]>) -> Built<TensorId>,
) -> Built<TensorId> {
    let x = scope.input(0)?;
    if scope.rank(x) != 3 || block.len() != 1 || amounts.len() != 1 {
        return apply(scope, x, block, amounts);
    }
    block.insert(0, 1);
    amounts.insert(0, [0, 0]);
    let image = scope.expanded(x, 1)?;
    let image = apply(scope, image, block, amounts)?;
    scope.squeezed(image, vec![1])
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
