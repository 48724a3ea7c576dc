//! Operators with weights or windows, and reductions.

use litesmith_graph::Dim;
use litesmith_graph::ops::{
    ArgKind, ArgReduce, BatchMatMul, Conv2D, Conv3D, DepthwiseConv2D, FullyConnected, Padding, Pool2D,
    PoolKind, Reduce, ReduceKind, Resize, ResizeKind, TransposeConv2D, TransposeConv3D,
};

use super::{Decode, Decoded, first, whole};
use crate::tflite::read::call::{Call, Refusal, unsupported};
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

pub(super) fn transpose_conv_2d(call: &Call<'_>) -> Decode {
    use options::transpose_conv as slot;
    let options = call.options(slot::KIND)?;
    let op = TransposeConv2D {
        stride: call.pair(&options, slot::STRIDE_H, slot::STRIDE_W, 0, "stride")?,
        padding: call.padding(&options, slot::PADDING)?,
        activation: options.activation(slot::ACTIVATION)?,
    };
    whole(call, op)
}

/// MediaPipe's custom operator: a transposed convolution that works its output's size out from its
/// input's; `None` if it is another operator, or the size is not fixed.
pub(super) fn transpose_conv_with_bias(call: &Call<'_>) -> Result<Option<Decoded>, Refusal> {
    if call.code.custom != "Convolution2DTransposeBias" {
        return Ok(None);
    }
    call.takes(3)?;
    let options = call.custom_options()?;
    // Padding, horizontal and vertical stride.
    let (numbers, _) = options.as_chunks::<4>();
    let [padding, width, height] = match numbers {
        [a, b, c, ..] => [a, b, c].map(|number| i32::from_le_bytes(*number)),
        _ => return Err(call.broken("its options are cut short")),
    };
    let padding = match padding {
        1 => Padding::Same,
        2 => Padding::Valid,
        padding => return Err(call.broken(format!("its padding is {padding}"))),
    };
    let stride = [call.size(height, "stride")?, call.size(width, "stride")?];
    let (image, weights) = (call.facts(0)?.shape.to_fixed(), call.facts(1)?.shape.to_fixed());
    let (Some([batch, rows, columns, _]), Some([out, high, wide, _])) =
        (image.as_deref(), weights.as_deref())
    else {
        return Ok(None);
    };
    let size = |length: usize, stride: usize, window: usize| match padding {
        Padding::Same => length.checked_mul(stride),
        _ => length.checked_sub(1)?.checked_mul(stride)?.checked_add(window),
    };
    let sizes = [Some(*batch), size(*rows, stride[0], *high), size(*columns, stride[1], *wide), Some(*out)];
    let sizes: Option<Vec<i32>> = sizes.into_iter().map(|size| i32::try_from(size?).ok()).collect();
    let op = TransposeConv2D { stride, padding, ..TransposeConv2D::default() };
    let inputs = vec![Some(call.input(1)?), Some(call.input(0)?), Some(call.input(2)?)];
    Ok(sizes.map(|sizes| Decoded::NodeWithShape(op.into(), sizes, inputs)))
}

pub(super) fn conv_3d(call: &Call<'_>) -> Decode {
    use options::conv_3d as slot;
    let options = call.options(slot::KIND)?;
    let op = Conv3D {
        stride: call.triple(&options, [slot::STRIDE_D, slot::STRIDE_H, slot::STRIDE_W], 0, "stride")?,
        dilation: call.triple(
            &options,
            [slot::DILATION_D, slot::DILATION_H, slot::DILATION_W],
            1,
            "dilation",
        )?,
        padding: call.padding(&options, slot::PADDING)?,
        activation: options.activation(slot::ACTIVATION)?,
    };
    whole(call, op)
}

pub(super) fn transpose_conv_3d(call: &Call<'_>) -> Decode {
    use options::conv_3d as slot;
    let options = call.options(slot::KIND)?;
    let dilation =
        call.triple(&options, [slot::DILATION_D, slot::DILATION_H, slot::DILATION_W], 1, "dilation")?;
    if dilation != [1; 3] {
        return unsupported("a transposed convolution with dilation is not supported");
    }
    let op = TransposeConv3D {
        stride: call.triple(&options, [slot::STRIDE_D, slot::STRIDE_H, slot::STRIDE_W], 0, "stride")?,
        padding: call.padding(&options, slot::PADDING)?,
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
    let op = Resize {
        kind,
        size: [0; 2],
        align_corners: options.flag(corners)?,
        half_pixel_centers: options.flag(centers)?,
    };
    if !call.knows(1)? {
        return whole(call, op);
    }
    let size = call.sizes(1, "size")?;
    match <[usize; 2]>::try_from(size.as_slice()) {
        Ok(size) => first(call, Resize { size, ..op }),
        Err(_) => Err(call.broken(format!("its size has {} numbers", size.len()))),
    }
}
