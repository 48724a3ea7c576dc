//! Operators that move elements: gradients move back.

use litesmith_graph::TensorId;
use litesmith_graph::ops::{
    BatchToSpace, Concat, DepthToSpace, Pack, Pad, PadMode, Reverse, Slice, SpaceToBatch, SpaceToDepth,
    Split, StridedSlice, Tile, Transpose, Unpack,
};

use super::{Chain, Gradients};
use crate::error::{Refusal, refuse};

pub(super) fn reshape(c: &mut Chain<'_>) -> Gradients {
    let (dy, shape) = (c.dy()?, c.input_shape(0)?);
    let gradient = c.reshape(dy, &shape)?;
    c.only_first(gradient)
}

pub(super) fn transpose(c: &mut Chain<'_>, op: &Transpose) -> Gradients {
    let mut permutation = vec![0; op.permutation.len()];
    for (to, from) in op.permutation.iter().enumerate() {
        permutation[*from] = to;
    }
    let dy = c.dy()?;
    let gradient = c.emit(Transpose { permutation }, &[dy])?;
    c.only_first(gradient)
}

pub(super) fn reverse(c: &mut Chain<'_>, op: &Reverse) -> Gradients {
    let dy = c.dy()?;
    let gradient = c.emit(op.clone(), &[dy])?;
    c.only_first(gradient)
}

/// What broadcasting has repeated is added up.
pub(super) fn broadcast_to(c: &mut Chain<'_>) -> Gradients {
    let (dy, shape) = (c.dy()?, c.input_shape(0)?);
    let gradient = c.sum_to(dy, &shape)?;
    c.only_first(gradient)
}

/// Repetitions, an axis each, are added up.
pub(super) fn tile(c: &mut Chain<'_>, op: &Tile) -> Gradients {
    let (dy, shape) = (c.dy()?, c.input_shape(0)?);
    if op.multiples.len() != shape.len() {
        refuse!("how often it repeats is not known before it runs");
    }
    let pairs = op.multiples.iter().zip(&shape).flat_map(|(count, size)| [*count, *size]);
    let apart: Vec<usize> = pairs.collect();
    let repeated: Vec<usize> = (0..shape.len()).map(|axis| 2 * axis).collect();
    let gradient = c.reshape(dy, &apart)?;
    let gradient = c.sum(gradient, &repeated)?;
    let gradient = c.reshape(gradient, &shape)?;
    c.only_first(gradient)
}

fn axis(axis: i32, rank: usize) -> Result<usize, Refusal> {
    let resolved = if axis < 0 { i64::from(axis) + rank as i64 } else { i64::from(axis) };
    match usize::try_from(resolved) {
        Ok(axis) if axis < rank => Ok(axis),
        _ => refuse!("axis {axis} does not exist in {rank} dimensions"),
    }
}

/// Cuts `size` elements from `begin` out of an axis.
fn cut(
    c: &mut Chain<'_>,
    from: TensorId,
    axis: usize,
    begin: usize,
    size: usize,
) -> Result<TensorId, Refusal> {
    let shape = c.builder.shape(from)?;
    let mut begins = vec![0; shape.len()];
    let mut sizes: Vec<i64> = shape.iter().map(|size| *size as i64).collect();
    (begins[axis], sizes[axis]) = (begin, size as i64);
    c.emit(Slice { begin: begins, size: sizes }, &[from])
}

/// Each part of the gradient goes to the input that it comes from.
pub(super) fn concat(c: &mut Chain<'_>, op: &Concat) -> Gradients {
    let dy = c.before(op.activation)?;
    let mut gradients = vec![None; c.node.inputs.len()];
    let mut begin = 0;
    for (input, gradient) in gradients.iter_mut().enumerate() {
        let shape = c.input_shape(input)?;
        let axis = axis(op.axis, shape.len())?;
        if c.wants(input) {
            *gradient = Some(cut(c, dy, axis, begin, shape[axis])?);
        }
        begin += shape[axis];
    }
    Ok(gradients)
}

/// The gradients of the outputs, zeros where there is none.
fn received_or_zeros(c: &mut Chain<'_>) -> Result<Vec<TensorId>, Refusal> {
    let outputs = c.node.outputs.clone();
    let received = c.received.clone();
    let or_zeros = |(output, received): (TensorId, Option<TensorId>)| match received {
        Some(received) => Ok(received),
        None => c.scale(output, 0.0),
    };
    outputs.into_iter().zip(received).map(or_zeros).collect()
}

pub(super) fn split(c: &mut Chain<'_>, op: &Split) -> Gradients {
    let parts = received_or_zeros(c)?;
    let gradient = c.emit(Concat { axis: op.axis, ..Concat::default() }, &parts)?;
    c.only_first(gradient)
}

pub(super) fn pack(c: &mut Chain<'_>, op: &Pack) -> Gradients {
    let dy = c.dy()?;
    let axis = axis(op.axis, c.builder.shape(dy)?.len())?;
    let mut gradients = vec![None; c.node.inputs.len()];
    for (input, gradient) in gradients.iter_mut().enumerate() {
        if c.wants(input) {
            let shape = c.input_shape(input)?;
            let part = cut(c, dy, axis, input, 1)?;
            *gradient = Some(c.reshape(part, &shape)?);
        }
    }
    Ok(gradients)
}

pub(super) fn unpack(c: &mut Chain<'_>, op: &Unpack) -> Gradients {
    let parts = received_or_zeros(c)?;
    let gradient = c.emit(Pack { axis: op.axis }, &parts)?;
    c.only_first(gradient)
}

/// Puts zeros around what a slice took.
fn around(c: &mut Chain<'_>, dy: TensorId, amounts: Vec<[usize; 2]>) -> Gradients {
    let gradient = c.emit(Pad { amounts, mode: PadMode::Zero }, &[dy])?;
    c.only_first(gradient)
}

pub(super) fn slice(c: &mut Chain<'_>, op: &Slice) -> Gradients {
    let (dy, shape) = (c.dy()?, c.input_shape(0)?);
    if op.begin.len() != shape.len() {
        refuse!("where it cuts is not known before it runs");
    }
    let taken = c.builder.shape(dy)?;
    let amounts = (0..shape.len()).map(|axis| {
        let begin = op.begin[axis];
        [begin, shape[axis].saturating_sub(begin + taken[axis])]
    });
    let amounts = amounts.collect();
    around(c, dy, amounts)
}

pub(super) fn strided_slice(c: &mut Chain<'_>, op: &StridedSlice) -> Gradients {
    let (dy, shape) = (c.dy()?, c.input_shape(0)?);
    if c.node.inputs.len() > 1 {
        refuse!("where it cuts is not known before it runs");
    }
    let slices = op.resolve(&shape)?;
    if slices.iter().any(|slice| slice.step != 1 && slice.length > 1) {
        refuse!("slices with steps cannot be trained");
    }
    let taken: Vec<usize> = slices.iter().map(|slice| slice.length).collect();
    let whole = c.reshape(dy, &taken)?;
    let amounts = slices
        .iter()
        .zip(&shape)
        .map(|(slice, size)| [slice.start, size.saturating_sub(slice.start + slice.length)]);
    let amounts = amounts.collect();
    around(c, whole, amounts)
}

pub(super) fn pad(c: &mut Chain<'_>, op: &Pad) -> Gradients {
    let (dy, shape) = (c.dy()?, c.input_shape(0)?);
    if op.amounts.len() != shape.len() {
        refuse!("how much it pads is not known before it runs");
    }
    match op.mode {
        PadMode::Zero | PadMode::Value(_) => {}
        PadMode::Reflect | PadMode::Symmetric => refuse!("mirrored padding cannot be trained"),
    }
    let begin = op.amounts.iter().map(|[before, _]| *before).collect();
    let size = shape.iter().map(|size| *size as i64).collect();
    let gradient = c.emit(Slice { begin, size }, &[dy])?;
    c.only_first(gradient)
}

pub(super) fn depth_to_space(c: &mut Chain<'_>, op: &DepthToSpace) -> Gradients {
    let dy = c.dy()?;
    let gradient = c.emit(SpaceToDepth { block: op.block }, &[dy])?;
    c.only_first(gradient)
}

pub(super) fn space_to_depth(c: &mut Chain<'_>, op: &SpaceToDepth) -> Gradients {
    let dy = c.dy()?;
    let gradient = c.emit(DepthToSpace { block: op.block }, &[dy])?;
    c.only_first(gradient)
}

pub(super) fn batch_to_space(c: &mut Chain<'_>, op: &BatchToSpace) -> Gradients {
    let dy = c.dy()?;
    let op = SpaceToBatch { block: op.block.clone(), padding: op.crops.clone() };
    let gradient = c.emit(op, &[dy])?;
    c.only_first(gradient)
}

pub(super) fn space_to_batch(c: &mut Chain<'_>, op: &SpaceToBatch) -> Gradients {
    let dy = c.dy()?;
    let op = BatchToSpace { block: op.block.clone(), crops: op.padding.clone() };
    let gradient = c.emit(op, &[dy])?;
    c.only_first(gradient)
}
