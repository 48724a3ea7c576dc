//! The operands of every operator: its inputs, and constants for attributes that the format has as
//! inputs.

use half::f16;
use litesmith_graph::ops::{Pad, PadMode, Reshape, ReshapeDim, Split};
use litesmith_graph::{DType, Dim, Op};

use super::constants::{narrow, pairs, scalar, sizes, vector};
use super::{Constant, Operand, Site};

/// The operands of a node.
///
/// # Errors
/// The reason why TFLite has no such operator.
pub(super) fn of(site: &Site<'_>) -> Result<Vec<Operand>, String> {
    Ok(match &site.node.op {
        Op::ArgReduce(op) => site.operands_and([scalar("axis", op.axis)]),
        Op::BatchToSpace(op) => site.operands_and([sizes("block", &op.block)?, pairs("crops", &op.crops)?]),
        Op::BroadcastTo(op) if site.node.inputs.len() == 1 => site.operands_and([sizes("shape", &op.shape)?]),
        Op::Conv2D(_) | Op::DepthwiseConv2D(_) if site.tensor(2).is_none() => {
            site.operands_and([zero_bias(site)?])
        }
        Op::CumSum(op) => site.operands_and([scalar("axis", op.axis)]),
        Op::ExpandDims(op) => site.operands_and([scalar("axis", op.axis)]),
        Op::FullyConnected(_) => {
            let mut operands = site.operands();
            // Only newer runtimes know it with two inputs.
            operands.resize_with(3, || Operand::Absent);
            operands
        }
        Op::OneHot(op) => {
            let mut operands = site.operands();
            operands.insert(1, Operand::Constant(scalar("depth", narrow(op.depth, "depth")?)));
            operands
        }
        Op::Pad(op) => pad_operands(site, op)?,
        Op::Reduce(op) => site.operands_and([vector("axes", &op.axes)]),
        Op::Reshape(op) => reshape_operands(site, op)?,
        Op::Resize(op) if site.node.inputs.len() == 1 => site.operands_and([sizes("size", &op.size)?]),
        Op::Reverse(op) => site.operands_and([vector("axes", &op.axes)]),
        Op::Slice(op) if site.node.inputs.len() == 1 => {
            let size = op.size.iter().map(|size| i32::try_from(*size)).collect::<Result<Vec<_>, _>>();
            let size = size.map_err(|_| "its size is beyond 32 bits".to_owned())?;
            site.operands_and([sizes("begin", &op.begin)?, vector("size", &size)])
        }
        Op::SpaceToBatch(op) => {
            site.operands_and([sizes("block", &op.block)?, pairs("padding", &op.padding)?])
        }
        Op::Split(Split { axis, sizes: parts, .. }) => {
            let mut operands = site.operands();
            if parts.is_empty() {
                operands.insert(0, Operand::Constant(scalar("axis", *axis)));
                operands
            } else {
                site.operands_and([sizes("sizes", parts)?, scalar("axis", *axis)])
            }
        }
        Op::StridedSlice(op) if site.node.inputs.len() == 1 => {
            // No axis is longer than 32 bits tell, so that clamping changes nothing.
            let clamp = |index: &i64| (*index).clamp(i32::MIN.into(), i32::MAX.into()) as i32;
            let list = |name, list: &[i64]| vector(name, &list.iter().map(clamp).collect::<Vec<_>>());
            let lists = [list("begin", &op.begin), list("end", &op.end), list("strides", &op.strides)];
            site.operands_and(lists)
        }
        Op::Tile(op) if site.node.inputs.len() == 1 => {
            site.operands_and([sizes("multiples", &op.multiples)?])
        }
        Op::TopK(op) => site.operands_and([scalar("k", narrow(op.k, "number of elements")?)]),
        Op::Transpose(op) => site.operands_and([sizes("permutation", &op.permutation)?]),
        _ => site.operands(),
    })
}

/// A bias of zeros: runtimes take no convolution without one.
fn zero_bias(site: &Site<'_>) -> Result<Constant, String> {
    let output = site.node.outputs.first().map(|id| &site.facts[id.index()].shape);
    let Some(channels) = output.and_then(|shape| shape.last()).and_then(Dim::fixed) else {
        return Err("its number of output channels is not fixed".into());
    };
    let input = site.tensor(0).and_then(|tensor| tensor.quantization.as_ref()?.single());
    let weights = site.tensor(1).and_then(|tensor| tensor.quantization.as_ref());
    let (dtype, quantization) = match (site.input_type(0), input, weights) {
        (Some(DType::F32 | DType::F16), ..) => (DType::F32, None),
        (Some(dtype), Some((scale, _)), Some(weights)) => {
            let scales = weights.scales.iter().map(|of_weights| (scale * of_weights).to_bits()).collect();
            (if dtype == DType::I16 { DType::I64 } else { DType::I32 }, Some((scales, 0)))
        }
        _ => return Err("its bias is missing, and its type is not known without quantization".into()),
    };
    let bytes = vec![0; dtype.bytes(channels).ok_or("it has too many channels")?];
    Ok(Constant { name: "bias", dtype, shape: vec![channels], bytes, quantization })
}

/// The new shape as a constant, unless it is computed.
fn reshape_operands(site: &Site<'_>, op: &Reshape) -> Result<Vec<Operand>, String> {
    let Some(shape) = &op.shape else { return Ok(site.operands()) };
    let input = site.facts(0).map(|facts| facts.shape.dims()).unwrap_or_default();
    let mut dims = Vec::new();
    for dim in shape {
        dims.push(match dim {
            ReshapeDim::Fixed(size) => narrow(*size, "new shape")?,
            ReshapeDim::Infer => -1,
            ReshapeDim::Copy(axis) => match input.get(*axis).and_then(Dim::fixed) {
                Some(size) => narrow(size, "new shape")?,
                None => -1,
            },
        });
    }
    if dims.iter().filter(|dim| **dim == -1).count() > 1 {
        return Err("more than one axis of the new shape is known only at run time: legalize the model \
                    first, which computes the shape"
            .into());
    }
    let first = site.operands().into_iter().take(1);
    Ok(first.chain([Operand::Constant(vector("shape", &dims))]).collect())
}

fn pad_operands(site: &Site<'_>, op: &Pad) -> Result<Vec<Operand>, String> {
    if site.node.inputs.len() > 1 {
        return match op.mode {
            PadMode::Value(value) => Ok(site.operands_and([pad_value(site, value)?])),
            PadMode::Zero | PadMode::Reflect | PadMode::Symmetric => Ok(site.operands()),
        };
    }
    let amounts = pairs("padding", &op.amounts)?;
    match op.mode {
        PadMode::Value(value) => Ok(site.operands_and([amounts, pad_value(site, value)?])),
        PadMode::Zero | PadMode::Reflect | PadMode::Symmetric => Ok(site.operands_and([amounts])),
    }
}

/// The value that PADV2 pads with, in the type and quantization of its input.
fn pad_value(site: &Site<'_>, value: f32) -> Result<Constant, String> {
    let Some(input) = site.tensor(0) else { return Err("it has no input".into()) };
    let dtype = input.dtype;
    let single = input.quantization.as_ref().map(|quantization| quantization.single());
    let (integer, quantization) = match single {
        Some(Some((scale, zero_point))) => {
            let integer = (value / scale).round() + zero_point as f32;
            (integer, Some((vec![scale.to_bits()], zero_point)))
        }
        Some(None) => return Err("its input has a scale for each channel".into()),
        None => (value, None),
    };
    // Casts to integers saturate, which is what quantization does.
    let bytes = match dtype {
        DType::F32 => value.to_le_bytes().to_vec(),
        DType::F16 => f16::from_f32(value).to_le_bytes().to_vec(),
        _ if quantization.is_none() && integer.fract() != 0.0 => {
            return Err(format!("{value} is no {dtype}"));
        }
        DType::I8 => (integer as i8).to_le_bytes().to_vec(),
        DType::U8 => (integer as u8).to_le_bytes().to_vec(),
        DType::I16 => (integer as i16).to_le_bytes().to_vec(),
        DType::I32 => (integer as i32).to_le_bytes().to_vec(),
        DType::I64 => (integer as i64).to_le_bytes().to_vec(),
        _ => return Err(format!("TFLite pads no {dtype} with a value")),
    };
    Ok(Constant { name: "value", dtype, shape: Vec::new(), bytes, quantization })
}
