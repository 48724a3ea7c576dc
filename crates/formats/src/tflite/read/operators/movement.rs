//! Operators that move, cut and pad elements.

use litesmith_graph::ops::{
    BatchToSpace, Gather, OneHot, Pad, PadMode, Reshape, ReshapeDim, SpaceToBatch, Split, StridedSlice,
    Unpack,
};
use litesmith_graph::{Data, Dim};

use super::{Decode, Decoded, first, whole};
use crate::tflite::read::call::{Call, Refusal, unsupported};
use crate::tflite::schema::{MIRROR_REFLECT, MIRROR_SYMMETRIC, options};

pub(super) fn unpack(call: &Call<'_>) -> Decode {
    let options = call.options(options::unpack::KIND)?;
    let parts = call.size(options.int(options::unpack::NUM)?, "number of slices")?;
    // Checked before shapes are inferred for as many outputs as the file claims.
    if parts != call.outputs.len() {
        return Err(call.broken(format!("it has {} outputs for {parts} slices", call.outputs.len())));
    }
    whole(call, Unpack { axis: options.int(options::unpack::AXIS)?, parts })
}

pub(super) fn split(call: &Call<'_>) -> Decode {
    call.takes(2)?;
    let options = call.options(options::split::KIND)?;
    let parts = call.size(options.int(options::split::NUM_SPLITS)?, "number of parts")?;
    if parts != call.outputs.len() {
        return Err(call.broken(format!("it has {} outputs for {parts} parts", call.outputs.len())));
    }
    let op = Split { axis: call.integer(0, "axis")?, parts, sizes: Vec::new() };
    Ok(Decoded::Node(op.into(), vec![Some(call.input(1)?)]))
}

pub(super) fn split_v(call: &Call<'_>) -> Decode {
    call.takes(3)?;
    let axis = call.integer(2, "axis")?;
    let given = call.integers(1, "sizes")?;
    if given.len() != call.outputs.len() {
        return Err(call.broken(format!("it has {} outputs for {} parts", call.outputs.len(), given.len())));
    }
    let rest = match given.iter().filter(|size| **size == -1).count() {
        0 => None,
        1 => Some(left_over(call, axis, &given)?),
        _ => return Err(call.broken("more than one part takes what is left over")),
    };
    let size = |size: &i64| match rest {
        Some(rest) if *size == -1 => Ok(rest),
        _ => call.size(*size, "part"),
    };
    let sizes = given.iter().map(size).collect::<Result<Vec<_>, _>>()?;
    first(call, Split { axis, parts: sizes.len(), sizes })
}

/// The size of the one part of a split that is given as -1.
fn left_over(call: &Call<'_>, axis: i32, given: &[i64]) -> Result<usize, Refusal> {
    let dims = call.facts(0)?.shape.dims();
    let index = if axis < 0 { i64::from(axis) + dims.len() as i64 } else { i64::from(axis) };
    let dim = usize::try_from(index).ok().and_then(|index| dims.get(index));
    let length = match dim.map(Dim::fixed) {
        Some(Some(length)) => length,
        Some(None) => return unsupported("one part takes what is left over of an axis of unknown size"),
        None => return Err(call.broken(format!("axis {axis} does not exist"))),
    };
    let others = given
        .iter()
        .filter(|size| **size != -1)
        .try_fold(0usize, |sum, size| sum.checked_add(usize::try_from(*size).ok()?));
    match others.and_then(|others| length.checked_sub(others)) {
        Some(rest) => Ok(rest),
        None => Err(call.broken(format!("parts of {given:?} do not make an axis of {length}"))),
    }
}

pub(super) fn gather(call: &Call<'_>) -> Decode {
    let options = call.options(options::gather::KIND)?;
    let batch_dims = call.size(options.int(options::gather::BATCH_DIMS)?, "number of shared axes")?;
    whole(call, Gather { axis: options.int(options::gather::AXIS)?, batch_dims })
}

pub(super) fn reshape(call: &Call<'_>) -> Decode {
    if call.inputs.len() > 1 && call.constant(1)?.is_none() {
        call.takes(2)?;
        return whole(call, Reshape { shape: None });
    }
    let shape = if call.inputs.len() > 1 {
        call.takes(2)?;
        call.integers(1, "shape")?
    } else {
        let options = call.options(options::reshape::KIND)?;
        let Some(shape) = options.numbers(options::reshape::NEW_SHAPE)? else {
            return Err(call.broken("it has no new shape"));
        };
        // Old files say [0] for a scalar.
        if shape == [0] { Vec::new() } else { shape.into_iter().map(i64::from).collect() }
    };
    let dim = |size: &i64| match size {
        -1 => Ok(ReshapeDim::Infer),
        size => call.size(*size, "new shape").map(ReshapeDim::Fixed),
    };
    first(call, Reshape::to(shape.iter().map(dim).collect::<Result<_, _>>()?))
}

pub(super) fn strided_slice(call: &Call<'_>) -> Decode {
    use options::strided_slice as slot;
    call.takes(4)?;
    let options = call.options(slot::KIND)?;
    if options.flag(slot::OFFSET)? {
        return unsupported("an end that counts from the beginning of the slice is not supported");
    }
    if options.mask(slot::NEW_AXIS_MASK)? != 0 {
        return unsupported("new axes inside a slice are not supported, EXPAND_DIMS is");
    }
    if !call.knows(1)? || !call.knows(2)? || !call.knows(3)? {
        if options.mask(slot::ELLIPSIS_MASK)? != 0 {
            return unsupported("an ellipsis is not supported where begin and end are computed");
        }
        let masks = StridedSlice {
            begin_mask: options.mask(slot::BEGIN_MASK)?,
            end_mask: options.mask(slot::END_MASK)?,
            shrink_axis_mask: options.mask(slot::SHRINK_AXIS_MASK)?,
            ..StridedSlice::default()
        };
        return whole(call, masks);
    }
    let slice = StridedSlice {
        begin: call.integers(1, "begin")?,
        end: call.integers(2, "end")?,
        strides: call.integers(3, "strides")?,
        begin_mask: options.mask(slot::BEGIN_MASK)?,
        end_mask: options.mask(slot::END_MASK)?,
        shrink_axis_mask: options.mask(slot::SHRINK_AXIS_MASK)?,
    };
    let ellipsis = options.mask(slot::ELLIPSIS_MASK)?;
    let slice = if ellipsis == 0 { slice } else { without_ellipsis(call, slice, ellipsis)? };
    first(call, slice)
}

/// A slice whose ellipsis is replaced by the whole axes that it stands for.
fn without_ellipsis(call: &Call<'_>, slice: StridedSlice, mask: u32) -> Result<StridedSlice, Refusal> {
    let at = mask.trailing_zeros() as usize;
    let (rank, given) = (call.facts(0)?.shape.rank(), slice.begin.len());
    let same = slice.end.len() == given && slice.strides.len() == given;
    if mask.count_ones() != 1 || at >= given || given > rank + 1 || !same || rank > 31 {
        return Err(call.broken("its ellipsis does not fit its input"));
    }
    let stands_for = rank + 1 - given;
    let replace = |list: &[i64], filler: i64| -> Vec<i64> {
        let middle = std::iter::repeat_n(filler, stands_for);
        list[..at].iter().copied().chain(middle).chain(list[at + 1..].iter().copied()).collect()
    };
    let low = (1u64 << at) - 1;
    let spread = |mask: u32, filler: bool| {
        let mask = u64::from(mask);
        let middle = if filler { ((1u64 << stands_for) - 1) << at } else { 0 };
        ((mask & low) | middle | (mask >> (at + 1) << (at + stands_for))) as u32
    };
    Ok(StridedSlice {
        begin: replace(&slice.begin, 0),
        end: replace(&slice.end, 0),
        strides: replace(&slice.strides, 1),
        begin_mask: spread(slice.begin_mask, true),
        end_mask: spread(slice.end_mask, true),
        shrink_axis_mask: spread(slice.shrink_axis_mask, false),
    })
}

pub(super) fn space_to_batch(call: &Call<'_>) -> Decode {
    call.takes(3)?;
    let op = SpaceToBatch { block: call.sizes(1, "block")?, padding: pairs(call, 2, "padding")? };
    first(call, op)
}

pub(super) fn batch_to_space(call: &Call<'_>) -> Decode {
    call.takes(3)?;
    let op = BatchToSpace { block: call.sizes(1, "block")?, crops: pairs(call, 2, "crops")? };
    first(call, op)
}

/// The depth becomes an attribute.
pub(super) fn one_hot(call: &Call<'_>) -> Decode {
    call.takes(4)?;
    let depth = call.size(call.integer(1, "depth")?, "depth")?;
    let axis = call.options(options::one_hot::KIND)?.int(options::one_hot::AXIS)?;
    let inputs = [0, 2, 3].map(|input| call.input(input).map(Some));
    let inputs = inputs.into_iter().collect::<Result<Vec<_>, _>>()?;
    Ok(Decoded::Node(OneHot { depth, axis }.into(), inputs))
}

/// The sizes of an input two by two.
fn pairs(call: &Call<'_>, input: usize, what: &str) -> Result<Vec<[usize; 2]>, Refusal> {
    let sizes = call.sizes(input, what)?;
    match sizes.as_chunks::<2>() {
        (pairs, []) => Ok(pairs.to_vec()),
        _ => Err(call.broken(format!("its {what} has {} numbers", sizes.len()))),
    }
}

pub(super) fn pad(call: &Call<'_>, mode: PadMode, inputs: usize) -> Decode {
    call.takes(inputs)?;
    if !call.knows(1)? {
        let operands = vec![Some(call.input(0)?), Some(call.input(1)?)];
        return Ok(Decoded::Node(Pad { amounts: Vec::new(), mode }.into(), operands));
    }
    first(call, Pad { amounts: pairs(call, 1, "padding")?, mode })
}

/// The real number that PADV2 pads with.
pub(super) fn pad_value(call: &Call<'_>) -> Result<f32, Refusal> {
    let tensor = call.tensor(2)?;
    let Some(data) = call.constant(2)? else {
        return unsupported("its value is computed while the model runs, only a constant is supported");
    };
    if let Some([value]) = data.floats(tensor.dtype).as_deref() {
        return Ok(*value);
    }
    let scale = match &tensor.quantization {
        Some(quantization) => quantization.single(),
        None => Some((1.0, 0)),
    };
    match (data.integers(tensor.dtype).as_deref(), scale) {
        (Some([integer]), Some((scale, zero_point))) => {
            let steps = integer.saturating_sub(i64::from(zero_point));
            if steps.unsigned_abs() > 1 << f32::MANTISSA_DIGITS {
                return unsupported(format!("its value {integer} is too large"));
            }
            Ok(steps as f32 * scale)
        }
        _ => unsupported("its value is no single number"),
    }
}

pub(super) fn mirror_pad(call: &Call<'_>) -> Decode {
    let options = call.options(options::mirror_pad::KIND)?;
    let mode = match options.get(options::mirror_pad::MODE, MIRROR_REFLECT)? {
        MIRROR_REFLECT => PadMode::Reflect,
        MIRROR_SYMMETRIC => PadMode::Symmetric,
        mode => return Err(call.broken(format!("its mode is {mode}"))),
    };
    pad(call, mode, 2)
}

/// DENSIFY of a constant: the constant itself, no longer sparse.
pub(super) fn densify(call: &Call<'_>) -> Decode {
    call.takes(1)?;
    let tensor = call.tensor(0)?;
    let (Some(data), Some(sparsity)) = (call.constant(0)?, &tensor.sparsity) else {
        return unsupported("only a sparse constant can be made dense");
    };
    if call.output()?.dtype != tensor.dtype || call.output()?.shape != tensor.shape {
        return Err(call.broken("its output differs from its input in type or shape"));
    }
    let shape = tensor.shape.to_fixed().unwrap_or_default();
    let size = tensor.dtype.bytes(1);
    let length = tensor.shape.elements().and_then(|elements| tensor.dtype.bytes(elements));
    let (Some(size), Some(length)) = (size, length) else { return Err(call.broken("it is too large")) };
    // What the file makes us allocate is paid for, at a rate that allows 99% of zeros.
    call.table.file().charge(length / 100)?;
    match sparsity.to_dense(&shape, size, data.bytes(), length) {
        Some(dense) => Ok(Decoded::Constant(Data::from_vec(dense))),
        None => Err(call.broken("its sparsity leads outside the tensor")),
    }
}
