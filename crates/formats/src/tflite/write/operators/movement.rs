//! Options of operators that move elements.

use litesmith_graph::ops::{
    DepthToSpace, Gather, Pack, Pad, PadMode, SpaceToDepth, Split, StridedSlice, Unpack,
};

use super::Site;
use super::constants::narrow;
use super::options::Options;
use crate::tflite::flatbuffer::builder::Table;
use crate::tflite::schema::{self, options};

pub(super) fn depth_to_space(op: &DepthToSpace) -> Result<Options, String> {
    use options::depth_to_space as slot;
    Ok((slot::KIND, Table::default().scalar(slot::BLOCK_SIZE, narrow(op.block, "block")?, 0)))
}

pub(super) fn space_to_depth(op: &SpaceToDepth) -> Result<Options, String> {
    use options::space_to_depth as slot;
    Ok((slot::KIND, Table::default().scalar(slot::BLOCK_SIZE, narrow(op.block, "block")?, 0)))
}

pub(super) fn gather(op: &Gather) -> Result<Options, String> {
    use options::gather as slot;
    let table = Table::default().scalar(slot::AXIS, op.axis, 0);
    Ok((slot::KIND, table.scalar(slot::BATCH_DIMS, narrow(op.batch_dims, "number of shared axes")?, 0)))
}

pub(super) fn pack(site: &Site<'_>, op: &Pack) -> Result<Options, String> {
    use options::pack as slot;
    let count = narrow(site.node.inputs.len(), "number of inputs")?;
    Ok((slot::KIND, Table::default().scalar(slot::VALUES_COUNT, count, 0).scalar(slot::AXIS, op.axis, 0)))
}

pub(super) fn unpack(op: &Unpack) -> Result<Options, String> {
    use options::unpack as slot;
    let parts = narrow(op.parts, "number of slices")?;
    Ok((slot::KIND, Table::default().scalar(slot::NUM, parts, 0).scalar(slot::AXIS, op.axis, 0)))
}

pub(super) fn pad(op: &Pad) -> Option<Options> {
    use options::mirror_pad as slot;
    let mode = match op.mode {
        PadMode::Zero | PadMode::Value(_) => return None,
        PadMode::Reflect => schema::MIRROR_REFLECT,
        PadMode::Symmetric => schema::MIRROR_SYMMETRIC,
    };
    Some((slot::KIND, Table::default().scalar(slot::MODE, mode, 0)))
}

pub(super) fn split(op: &Split) -> Result<Options, String> {
    let parts = narrow(op.parts, "number of parts")?;
    let (kind, slot) = match op.sizes.is_empty() {
        true => (options::split::KIND, options::split::NUM_SPLITS),
        false => (options::split_v::KIND, options::split_v::NUM_SPLITS),
    };
    Ok((kind, Table::default().scalar(slot, parts, 0)))
}

pub(super) fn strided_slice(op: &StridedSlice) -> Options {
    use options::strided_slice as slot;
    let table = Table::default()
        .scalar(slot::BEGIN_MASK, op.begin_mask.cast_signed(), 0)
        .scalar(slot::END_MASK, op.end_mask.cast_signed(), 0)
        .scalar(slot::SHRINK_AXIS_MASK, op.shrink_axis_mask.cast_signed(), 0);
    (slot::KIND, table)
}
