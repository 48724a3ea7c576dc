//! Operators with weights or windows, and reductions.

use litesmith_graph::Dim;
use litesmith_graph::ops::{
    ArgKind, ArgReduce, BatchMatMul, Conv2D, DepthwiseConv2D, FullyConnected, Pool2D, PoolKind, Reduce,
    ReduceKind, Resize, ResizeKind,
};

use super::{Decode, first, whole};
use crate::tflite::read::call::{Call, unsupported};
use crate::tflite::schema::{UnionType, options};

pub(super) fn conv_2d(call: &Call<'_>) -> Decode {
    use options::conv_2d as slot;
    let options = call.options(slot::KIND)?;
    let channels = call.facts(0)?.shape.last().and_then(Dim::fixed);
    let depth = call.facts(1)?.shape.last().and_then(Dim::fixed);
    let groups = match (channels, depth) {
        (Some(channels), Some(depth)) if depth > 0 && channels % depth == 0 => channels / depth,
        _ => 1,
    };
    let op = Conv2D {
        stride: call.pair(&options, slot::STRIDE_H, slot::STRIDE_W, 0, "stride")?,
        dilation: call.pair(&options, slot::DILATION_H, slot::DILATION_W, 1, "dilation")?,
        padding: call.padding(&options, slot::PADDING)?,
        groups,
        activation: options.activation(slot::ACTIVATION)?,
    };
    whole(call, op)
}

pub(super) fn depthwise_conv_2d(call: &Call<'_>) -> Decode {
    use options::depthwise_conv_2d as slot;
    let options = call.options(slot::KIND)?;
    let channels = call.facts(0)?.shape.last().and_then(Dim::fixed);
    let out = call.facts(1)?.shape.last().and_then(Dim::fixed);
    // Runtimes go by the shapes, too, where these and the option disagree.
    let multiplier = match (channels, out) {
        (Some(channels), Some(out)) if channels > 0 && out % channels == 0 => out / channels,
        _ => call.size(options.int(slot::DEPTH_MULTIPLIER)?, "depth multiplier")?,
    };
    let op = DepthwiseConv2D {
        stride: call.pair(&options, slot::STRIDE_H, slot::STRIDE_W, 0, "stride")?,
        dilation: call.pair(&options, slot::DILATION_H, slot::DILATION_W, 1, "dilation")?,
        padding: call.padding(&options, slot::PADDING)?,
        multiplier,
        activation: options.activation(slot::ACTIVATION)?,
    };
    whole(call, op)
}

pub(super) fn fully_connected(call: &Call<'_>) -> Decode {
    use options::fully_connected as slot;
    let options = call.options(slot::KIND)?;
    if options.get(slot::WEIGHTS_FORMAT, 0i8)? != 0 {
        return unsupported("shuffled weights are not supported");
    }
    if options.has(slot::QUANT_SPEC)? {
        return unsupported("a quantization specification of its own is not supported");
    }
    let op = FullyConnected {
        keep_num_dims: options.flag(slot::KEEP_NUM_DIMS)?,
        asymmetric_quantize_inputs: options.flag(slot::ASYMMETRIC_QUANTIZE_INPUTS)?,
        activation: options.activation(slot::ACTIVATION)?,
    };
    whole(call, op)
}

pub(super) fn batch_matmul(call: &Call<'_>) -> Decode {
    use options::batch_matmul as slot;
    let options = call.options(slot::KIND)?;
    let op = BatchMatMul {
        adjoint_a: options.flag(slot::ADJ_X)?,
        adjoint_b: options.flag(slot::ADJ_Y)?,
        asymmetric_quantize_inputs: options.flag(slot::ASYMMETRIC_QUANTIZE_INPUTS)?,
    };
    whole(call, op)
}

pub(super) fn pool_2d(call: &Call<'_>, kind: PoolKind) -> Decode {
    use options::pool_2d as slot;
    let options = call.options(slot::KIND)?;
    let op = Pool2D {
        kind,
        kernel: call.pair(&options, slot::FILTER_HEIGHT, slot::FILTER_WIDTH, 0, "window")?,
        stride: call.pair(&options, slot::STRIDE_H, slot::STRIDE_W, 0, "stride")?,
        padding: call.padding(&options, slot::PADDING)?,
        activation: options.activation(slot::ACTIVATION)?,
    };
    whole(call, op)
}

pub(super) fn reduce(call: &Call<'_>, kind: ReduceKind) -> Decode {
    call.takes(2)?;
    let keep_dims = call.options(options::reducer::KIND)?.flag(options::reducer::KEEP_DIMS)?;
    first(call, Reduce { kind, axes: call.narrow_integers(1, "axes")?, keep_dims })
}

pub(super) fn arg_reduce(call: &Call<'_>, kind: ArgKind) -> Decode {
    call.takes(2)?;
    first(call, ArgReduce { kind, axis: call.integer(1, "axis")?, dtype: call.output()?.dtype })
}

pub(super) fn resize(
    call: &Call<'_>,
    kind: ResizeKind,
    union: UnionType,
    corners: usize,
    centers: usize,
) -> Decode {
    call.takes(2)?;
    let options = call.options(union)?;
    let size = call.sizes(1, "size")?;
    let Ok(size) = <[usize; 2]>::try_from(size.as_slice()) else {
        return Err(call.broken(format!("its size has {} numbers", size.len())));
    };
    let op = Resize {
        kind,
        size,
        align_corners: options.flag(corners)?,
        half_pixel_centers: options.flag(centers)?,
    };
    first(call, op)
}
