//! Options of layers with windows and weights.

use litesmith_graph::DType;
use litesmith_graph::ops::{
    Activation, BatchMatMul, Conv2D, DepthwiseConv2D, FullyConnected, Padding, Pool2D, Resize, ResizeKind,
    TransposeConv2D,
};

use super::Site;
use super::constants::narrow;
use super::options::Options;
use crate::tflite::flatbuffer::builder::Table;
use crate::tflite::schema::{self, options};

pub(super) fn batch_matmul(op: &BatchMatMul) -> Options {
    use options::batch_matmul as slot;
    let table = Table::default()
        .scalar(slot::ADJ_X, op.adjoint_a, false)
        .scalar(slot::ADJ_Y, op.adjoint_b, false)
        .scalar(slot::ASYMMETRIC_QUANTIZE_INPUTS, op.asymmetric_quantize_inputs, false);
    (slot::KIND, table)
}

pub(super) fn conv_2d(site: &Site<'_>, op: &Conv2D) -> Result<Options, String> {
    use options::conv_2d as slot;
    let table = Table::default()
        .scalar(slot::PADDING, padding(op.padding)?, schema::PADDING_SAME)
        .scalar(slot::STRIDE_W, narrow(op.stride[1], "stride")?, 0)
        .scalar(slot::STRIDE_H, narrow(op.stride[0], "stride")?, 0)
        .scalar(slot::ACTIVATION, schema::activation_code(op.activation), 0)
        .scalar(slot::DILATION_W, narrow(op.dilation[1], "dilation")?, 1)
        .scalar(slot::DILATION_H, narrow(op.dilation[0], "dilation")?, 1)
        .scalar(slot::QUANTIZED_BIAS_TYPE, bias_type(site, 0, 2), 0);
    Ok((slot::KIND, table))
}

pub(super) fn depthwise_conv_2d(op: &DepthwiseConv2D) -> Result<Options, String> {
    use options::depthwise_conv_2d as slot;
    let table = Table::default()
        .scalar(slot::PADDING, padding(op.padding)?, schema::PADDING_SAME)
        .scalar(slot::STRIDE_W, narrow(op.stride[1], "stride")?, 0)
        .scalar(slot::STRIDE_H, narrow(op.stride[0], "stride")?, 0)
        .scalar(slot::DEPTH_MULTIPLIER, narrow(op.multiplier, "multiplier")?, 0)
        .scalar(slot::ACTIVATION, schema::activation_code(op.activation), 0)
        .scalar(slot::DILATION_W, narrow(op.dilation[1], "dilation")?, 1)
        .scalar(slot::DILATION_H, narrow(op.dilation[0], "dilation")?, 1);
    Ok((slot::KIND, table))
}

pub(super) fn transpose_conv_2d(site: &Site<'_>, op: &TransposeConv2D) -> Result<Options, String> {
    use options::transpose_conv as slot;
    let table = Table::default()
        .scalar(slot::PADDING, padding(op.padding)?, schema::PADDING_SAME)
        .scalar(slot::STRIDE_W, narrow(op.stride[1], "stride")?, 0)
        .scalar(slot::STRIDE_H, narrow(op.stride[0], "stride")?, 0)
        .scalar(slot::ACTIVATION, schema::activation_code(op.activation), 0)
        .scalar(slot::QUANTIZED_BIAS_TYPE, bias_type(site, 2, 3), 0);
    Ok((slot::KIND, table))
}

/// The options of convolutions of volumes, transposed or not.
pub(super) fn conv_3d(
    stride: [usize; 3],
    dilation: [usize; 3],
    around: Padding,
    activation: Activation,
) -> Result<Options, String> {
    use options::conv_3d as slot;
    let table = Table::default()
        .scalar(slot::PADDING, padding(around)?, schema::PADDING_SAME)
        .scalar(slot::STRIDE_D, narrow(stride[0], "stride")?, 0)
        .scalar(slot::STRIDE_W, narrow(stride[2], "stride")?, 0)
        .scalar(slot::STRIDE_H, narrow(stride[1], "stride")?, 0)
        .scalar(slot::ACTIVATION, schema::activation_code(activation), 0)
        .scalar(slot::DILATION_D, narrow(dilation[0], "dilation")?, 1)
        .scalar(slot::DILATION_W, narrow(dilation[2], "dilation")?, 1)
        .scalar(slot::DILATION_H, narrow(dilation[1], "dilation")?, 1);
    Ok((slot::KIND, table))
}

pub(super) fn fully_connected(site: &Site<'_>, op: &FullyConnected) -> Options {
    use options::fully_connected as slot;
    let table = Table::default()
        .scalar(slot::ACTIVATION, schema::activation_code(op.activation), 0)
        .scalar(slot::KEEP_NUM_DIMS, op.keep_num_dims, false)
        .scalar(slot::ASYMMETRIC_QUANTIZE_INPUTS, op.asymmetric_quantize_inputs, false)
        .scalar(slot::QUANTIZED_BIAS_TYPE, bias_type(site, 0, 2), 0);
    (slot::KIND, table)
}

/// The type of a quantized bias, which is told only where activations have 16 bits. `image` and `bias`
/// are the operands' places.
fn bias_type(site: &Site<'_>, image: usize, bias: usize) -> i8 {
    match (site.input_type(image), site.input_type(bias).unwrap_or(DType::I64)) {
        (Some(DType::I16), bias @ (DType::I32 | DType::I64)) => schema::type_code(bias),
        _ => 0,
    }
}

pub(super) fn pool_2d(op: &Pool2D) -> Result<Options, String> {
    use options::pool_2d as slot;
    let table = Table::default()
        .scalar(slot::PADDING, padding(op.padding)?, schema::PADDING_SAME)
        .scalar(slot::STRIDE_W, narrow(op.stride[1], "stride")?, 0)
        .scalar(slot::STRIDE_H, narrow(op.stride[0], "stride")?, 0)
        .scalar(slot::FILTER_WIDTH, narrow(op.kernel[1], "window")?, 0)
        .scalar(slot::FILTER_HEIGHT, narrow(op.kernel[0], "window")?, 0)
        .scalar(slot::ACTIVATION, schema::activation_code(op.activation), 0);
    Ok((slot::KIND, table))
}

pub(super) fn resize(op: &Resize) -> Options {
    use options::{resize_bilinear, resize_nearest_neighbor};
    let (kind, corners, centers) = match op.kind {
        ResizeKind::Bilinear => {
            (resize_bilinear::KIND, resize_bilinear::ALIGN_CORNERS, resize_bilinear::HALF_PIXEL_CENTERS)
        }
        ResizeKind::Nearest => (
            resize_nearest_neighbor::KIND,
            resize_nearest_neighbor::ALIGN_CORNERS,
            resize_nearest_neighbor::HALF_PIXEL_CENTERS,
        ),
    };
    let table = Table::default().scalar(corners, op.align_corners, false);
    (kind, table.scalar(centers, op.half_pixel_centers, false))
}

/// The padding that a file names.
fn padding(padding: Padding) -> Result<i8, String> {
    match padding {
        Padding::Same => Ok(schema::PADDING_SAME),
        Padding::Valid => Ok(schema::PADDING_VALID),
        Padding::Explicit { .. } => {
            Err("TFLite pads with SAME, VALID or a PAD operator: legalize the model first".into())
        }
    }
}
