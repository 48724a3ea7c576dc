//! Convolutions of images and volumes.

use litesmith_graph::ops::{Activation, Conv2D, Conv3D, DepthwiseConv2D};

use super::window::Window;
use crate::onnx::write::Refusal;
use crate::onnx::write::drafts::Attribute;
use crate::onnx::write::spelling::Spelling;

/// Axes of `[out, height, width, in]` as ONNX's `[out, in, height, width]`.
const OUT_FIRST: [usize; 4] = [0, 3, 1, 2];
/// Axes of `[1, height, width, out]` as ONNX's `[out, 1, height, width]`.
const OUT_LAST: [usize; 4] = [3, 0, 1, 2];
/// Axes of `[depth, height, width, in, out]` as ONNX's `[out, in, depth, height, width]`.
const VOLUME: [usize; 5] = [4, 3, 0, 1, 2];

pub(super) fn conv_2d(s: &mut Spelling<'_, '_>, op: &Conv2D) -> Result<(), Refusal> {
    let weights = s.fixed_sizes(1)?;
    let window = Window {
        kernel: weights[1..3].to_vec(),
        stride: op.stride.to_vec(),
        dilation: op.dilation.to_vec(),
        padding: op.padding,
    };
    convolution(s, &window, op.groups, &OUT_FIRST, op.activation)
}

pub(super) fn depthwise(s: &mut Spelling<'_, '_>, op: &DepthwiseConv2D) -> Result<(), Refusal> {
    let weights = s.fixed_sizes(1)?;
    let window = Window {
        kernel: weights[1..3].to_vec(),
        stride: op.stride.to_vec(),
        dilation: op.dilation.to_vec(),
        padding: op.padding,
    };
    let groups = weights[3] / op.multiplier.max(1);
    convolution(s, &window, groups, &OUT_LAST, op.activation)
}

pub(super) fn conv_3d(s: &mut Spelling<'_, '_>, op: &Conv3D) -> Result<(), Refusal> {
    let weights = s.fixed_sizes(1)?;
    let window = Window {
        kernel: weights[..3].to_vec(),
        stride: op.stride.to_vec(),
        dilation: op.dilation.to_vec(),
        padding: op.padding,
    };
    convolution(s, &window, 1, &VOLUME, op.activation)
}

fn convolution(
    s: &mut Spelling<'_, '_>,
    window: &Window,
    groups: usize,
    order: &[usize],
    activation: Activation,
) -> Result<(), Refusal> {
    let dims = s.shape(0)?.dims();
    let mut attributes = window.attributes(&dims[1..dims.len() - 1]);
    if groups != 1 {
        attributes.push(("group", Attribute::Int(groups as i64)));
    }
    let value = if s.is_hybrid(0, 1) {
        let image = s.image(0)?;
        s.dynamic_convolution(image, order, attributes)?
    } else {
        let (image, weights, bias) = (s.image(0)?, s.weights(1, order)?, s.bias(2, 0, 1)?);
        s.emit("Conv", &[image, weights, bias], attributes)
    };
    let value = s.activated(0, value, activation)?;
    s.output_image(0, value)
}
