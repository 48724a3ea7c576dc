//! Images of other sizes: scaled, or with pixels for channels.

use litesmith_graph::ops::{DepthToSpace, Resize, ResizeKind, SpaceToDepth};
use litesmith_graph::{DType, Dim};

use crate::onnx::write::Refusal;
use crate::onnx::write::drafts::Attribute;
use crate::onnx::write::spelling::Spelling;
use crate::onnx::write::values::Value;

pub(super) fn resize(s: &mut Spelling<'_, '_>, op: &Resize) -> Result<(), Refusal> {
    let image = s.image(0)?;
    let coordinates = match (op.align_corners, op.half_pixel_centers) {
        (true, _) => "align_corners",
        (_, true) => "half_pixel",
        _ => "asymmetric",
    };
    let mut attributes = vec![("coordinate_transformation_mode", Attribute::Text(coordinates))];
    match op.kind {
        ResizeKind::Bilinear => attributes.push(("mode", Attribute::Text("linear"))),
        ResizeKind::Nearest => {
            // The pixel whose square the center lies in: half pixels are taken off again by rounding.
            let nearest = if coordinates == "asymmetric" { "floor" } else { "round_prefer_ceil" };
            attributes.push(("mode", Attribute::Text("nearest")));
            attributes.push(("nearest_mode", Attribute::Text(nearest)));
        }
    }
    let value = match exact_scales(s.shape(0)?.dims(), s.output_facts(0)?.shape.dims()) {
        Some([height, width]) => {
            let scales = [1.0, 1.0, height, width];
            let scales = s.floats("scales", &[4], &scales);
            s.emit("Resize", &[image, Value::ABSENT, scales], attributes)
        }
        None => {
            let sizes = sizes(s, image)?;
            s.emit("Resize", &[image, Value::ABSENT, Value::ABSENT, sizes], attributes)
        }
    };
    s.output_image(0, value)
}

/// Factors of height and width, where they have no rounding error and the batch need not be known.
fn exact_scales(input: &[Dim], output: &[Dim]) -> Option<[f32; 2]> {
    let factor = |axis: usize| {
        let (from, to) = (input.get(axis)?.fixed()?, output.get(axis)?.fixed()?);
        (from > 0 && to.is_multiple_of(from)).then_some((to / from) as f32)
    };
    Some([factor(1)?, factor(2)?])
}

/// All sizes of the scaled image, channels first.
fn sizes(s: &mut Spelling<'_, '_>, image: Value) -> Result<Value, Refusal> {
    let (input, output) = (s.shape(0)?.dims(), s.output_facts(0)?.shape.dims());
    let fixed = |dim: &Dim| dim.fixed().map(|size| size as i64);
    let space = match [&output[1], &output[2]].map(fixed) {
        [Some(height), Some(width)] => s.ints(&[height, width]),
        _ => {
            let asked = s.raw(1)?;
            if s.facts(1)?.dtype == DType::I64 { asked } else { s.cast(asked, DType::I64) }
        }
    };
    let others = match [&input[0], &input[3]].map(fixed) {
        [Some(batch), Some(channels)] => s.ints(&[batch, channels]),
        _ => {
            let shape = s.emit("Shape", &[image], []);
            let (start, end) = (s.ints(&[0]), s.ints(&[2]));
            s.emit("Slice", &[shape, start, end], [])
        }
    };
    Ok(s.emit("Concat", &[others, space], [("axis", Attribute::Int(0))]))
}

pub(super) fn depth_to_space(s: &mut Spelling<'_, '_>, op: &DepthToSpace) -> Result<(), Refusal> {
    blocks(s, "DepthToSpace", op.block)
}

pub(super) fn space_to_depth(s: &mut Spelling<'_, '_>, op: &SpaceToDepth) -> Result<(), Refusal> {
    blocks(s, "SpaceToDepth", op.block)
}

fn blocks(s: &mut Spelling<'_, '_>, operator: &'static str, block: usize) -> Result<(), Refusal> {
    let image = s.image(0)?;
    let value = s.emit(operator, &[image], [("blocksize", Attribute::Int(block as i64))]);
    s.output_image(0, value)
}
