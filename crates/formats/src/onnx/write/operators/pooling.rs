//! Pooling of images.

use litesmith_graph::ops::{Pool2D, PoolKind};

use super::window::Window;
use crate::onnx::write::Refusal;
use crate::onnx::write::spelling::Spelling;

pub(super) fn pool(s: &mut Spelling<'_, '_>, op: &Pool2D) -> Result<(), Refusal> {
    let window = Window {
        kernel: op.kernel.to_vec(),
        stride: op.stride.to_vec(),
        dilation: vec![1; 2],
        padding: op.padding,
    };
    let attributes = window.attributes(&s.shape(0)?.dims()[1..3]);
    let image = s.image(0)?;
    let operator = match op.kind {
        PoolKind::Max => "MaxPool",
        PoolKind::Average => "AveragePool",
    };
    let value = s.emit(operator, &[image], attributes);
    let value = s.activated(0, value, op.activation)?;
    s.output_image(0, value)
}
