//! Blocks of places that become batches, and back.

use litesmith_graph::ops::{BatchToSpace, SpaceToBatch};
use litesmith_graph::{DType, Dim};

use super::pad::zeros_around;
use super::pieces::{Cut, Size, number, wider};
use crate::onnx::write::Refusal;
use crate::onnx::write::spelling::Spelling;

/// What is left of an axis' size, or of what it becomes, where that is fixed.
fn size(dim: &Dim, axis: usize, times: usize, over: usize) -> Result<Size, Refusal> {
    if let Some(size) = dim.fixed() {
        return Size::fixed(size);
    }
    Ok(Size::Of { axis, times: number(times)?, over: number(over)? })
}

fn places(block: &[usize]) -> Result<usize, Refusal> {
    let places = block.iter().try_fold(1usize, |product, size| product.checked_mul(*size));
    places.ok_or_else(|| Refusal("its blocks are too large".into()))
}

pub(super) fn space_to_batch(spelling: &mut Spelling<'_, '_>, op: &SpaceToBatch) -> Result<(), Refusal> {
    let own = spelling.dtype(0)?;
    let dtype = if own == DType::Bool { own } else { wider(own) };
    let x = spelling.input_as(0, dtype)?;
    let (dims, out) = (spelling.shape(0)?.dims(), spelling.output_facts(0)?.shape.dims());
    let (rank, cut) = (dims.len(), op.block.len());
    let mut amounts = vec![[0, 0]; rank];
    amounts[1..=cut].copy_from_slice(&op.padding);
    let padded = zeros_around(spelling, x, dtype, &amounts)?;
    // Each cut axis becomes two: the blocks, and the places in a block.
    let mut sizes = vec![size(&dims[0], 0, 1, 1)?];
    for (axis, block) in (1..).zip(&op.block) {
        sizes.extend([size(&out[axis], axis, 1, *block)?, Size::fixed(*block)?]);
    }
    for (axis, dim) in dims.iter().enumerate().skip(cut + 1) {
        sizes.push(size(dim, axis, 1, 1)?);
    }
    let blocks = spelling.reshape_to(padded, &sizes)?;
    let order: Vec<usize> = (0..cut)
        .map(|axis| 2 * axis + 2)
        .chain([0])
        .chain((0..cut).map(|axis| 2 * axis + 1))
        .chain(2 * cut + 1..rank + cut)
        .collect();
    let turned = spelling.transpose(blocks, &order);
    // Places and samples become one axis. Behind them stand the axes as they will be.
    let mut sizes = vec![size(&out[0], cut, places(&op.block)?, 1)?];
    for (axis, dim) in out.iter().enumerate().skip(1) {
        sizes.push(size(dim, axis + cut, 1, 1)?);
    }
    let value = spelling.reshape_to(turned, &sizes)?;
    let value = spelling.retyped(value, dtype, own);
    spelling.output(0, value)
}

pub(super) fn batch_to_space(spelling: &mut Spelling<'_, '_>, op: &BatchToSpace) -> Result<(), Refusal> {
    let x = spelling.input(0)?;
    let (dims, out) = (spelling.shape(0)?.dims(), spelling.output_facts(0)?.shape.dims());
    let (rank, cut) = (dims.len(), op.block.len());
    let mut sizes = op.block.iter().map(|block| Size::fixed(*block)).collect::<Result<Vec<_>, _>>()?;
    sizes.push(size(&out[0], 0, 1, places(&op.block)?)?);
    for (axis, dim) in dims.iter().enumerate().skip(1) {
        sizes.push(size(dim, axis, 1, 1)?);
    }
    let places = spelling.reshape_to(x, &sizes)?;
    let order: Vec<usize> = [cut]
        .into_iter()
        .chain((0..cut).flat_map(|axis| [cut + 1 + axis, axis]))
        .chain(2 * cut + 1..rank + cut)
        .collect();
    let turned = spelling.transpose(places, &order);
    // Each axis and its places become one; those of the turned tensor stand two by two.
    let mut sizes = vec![size(&out[0], 0, 1, 1)?];
    for (axis, block) in (1..).zip(&op.block) {
        sizes.push(match dims[axis].fixed().and_then(|size| size.checked_mul(*block)) {
            Some(size) => Size::fixed(size)?,
            None => Size::Of { axis: 2 * axis - 1, times: number(*block)?, over: 1 },
        });
    }
    for (axis, dim) in dims.iter().enumerate().skip(cut + 1) {
        sizes.push(size(dim, axis + cut, 1, 1)?);
    }
    let whole = spelling.reshape_to(turned, &sizes)?;
    let mut cuts = Vec::new();
    for (axis, [before, after]) in (1..).zip(&op.crops) {
        if (*before, *after) != (0, 0) {
            let end = if *after == 0 { i64::MAX } else { -number(*after)? };
            cuts.push(Cut { axis, start: number(*before)?, end, step: 1 });
        }
    }
    let value = spelling.cut(whole, &cuts)?;
    spelling.output(0, value)
}
