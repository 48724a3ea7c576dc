//! Channels that become pixels, and back.

use litesmith_graph::TensorId;
use litesmith_graph::ops::{DepthToSpace, SpaceToDepth};

use crate::emit::Emit;
use crate::onnx::read::scope::Scope;
use crate::refusal::Built;

fn block(scope: &Scope<'_, '_>) -> Built<usize> {
    let block = scope.attributes.integer("blocksize")?.unwrap_or(0);
    let block = scope.size_from(block, "the size of its blocks")?;
    if block == 0 { Err(scope.broken("its blocks have no size").into()) } else { Ok(block) }
}

pub(super) fn depth_to_space(scope: &mut Scope<'_, '_>) -> Built<TensorId> {
    let x = scope.input(0)?;
    let block = block(scope)?;
    let image = scope.channels_to_last(x)?;
    let result = match scope.attributes.text("mode")?.unwrap_or("DCR") {
        "DCR" => scope.emit(DepthToSpace { block }, &[image])?,
        "CRD" => by_columns(scope, image, block)?,
        other => return Err(scope.broken(format!("its mode is '{other}'")).into()),
    };
    scope.channels_to_first(result)
}

/// The channels of a block stand apart: those of one result lie side by side in the input.
fn by_columns(scope: &mut Scope<'_, '_>, image: TensorId, block: usize) -> Built<TensorId> {
    let channels = scope.size(image, 3)?;
    let Some(area) = block.checked_mul(block).filter(|area| channels % area == 0) else {
        return Err(scope.broken(format!("{channels} channels do not fill blocks of {block}")).into());
    };
    scope.listable(&[channels])?;
    let left = channels / area;
    // [.., C * b * b] to [.., b * b * C].
    let places: Vec<i64> = (0..channels).map(|place| (place % left * area + place / left) as i64).collect();
    let image = super::gathering::chosen_along(scope, image, 3, &places)?;
    scope.emit(DepthToSpace { block }, &[image])
}

pub(super) fn space_to_depth(scope: &mut Scope<'_, '_>) -> Built<TensorId> {
    let x = scope.input(0)?;
    let block = block(scope)?;
    let image = scope.channels_to_last(x)?;
    let result = scope.emit(SpaceToDepth { block }, &[image])?;
    scope.channels_to_first(result)
}
