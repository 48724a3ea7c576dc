//! Transposed convolutions of images and volumes.

use litesmith_graph::Dim;
use litesmith_graph::ops::{Activation, Padding, TransposeConv2D, TransposeConv3D};

use super::window::{Window, pads};
use crate::onnx::write::Refusal;
use crate::onnx::write::drafts::Attribute;
use crate::onnx::write::spelling::Spelling;
use crate::onnx::write::values::Value;

/// Axes of `[out, height, width, in]` as ONNX's `[in, out, height, width]`.
const IMAGE: [usize; 4] = [3, 0, 1, 2];
/// Axes of `[depth, height, width, out, in]` as ONNX's `[in, out, depth, height, width]`.
const VOLUME: [usize; 5] = [4, 3, 0, 1, 2];

pub(super) fn conv_2d(s: &mut Spelling<'_, '_>, op: &TransposeConv2D) -> Result<(), Refusal> {
    let weights = s.fixed_sizes(1)?;
    let window = Window {
        kernel: weights[1..3].to_vec(),
        stride: op.stride.to_vec(),
        dilation: vec![1; 2],
        padding: op.padding,
    };
    transposed(s, &window, &IMAGE, op.activation)
}

pub(super) fn conv_3d(s: &mut Spelling<'_, '_>, op: &TransposeConv3D) -> Result<(), Refusal> {
    let weights = s.fixed_sizes(1)?;
    let window = Window {
        kernel: weights[..3].to_vec(),
        stride: op.stride.to_vec(),
        dilation: vec![1; 3],
        padding: op.padding,
    };
    transposed(s, &window, &VOLUME, op.activation)
}

fn transposed(
    s: &mut Spelling<'_, '_>,
    window: &Window,
    order: &[usize],
    activation: Activation,
) -> Result<(), Refusal> {
    let (image, weights, bias) = (s.image(2)?, s.weights(1, order)?, s.bias(3, 2, 1)?);
    let mut attributes = vec![
        ("kernel_shape", Attribute::sizes(&window.kernel)),
        ("strides", Attribute::sizes(&window.stride)),
    ];
    let (input, output) = (s.shape(2)?.dims(), s.output_facts(0)?.shape.dims());
    let space = 1..input.len() - 1;
    let value = match cuts(window, &input[space.clone()], &output[space]) {
        Some(cuts) => {
            attributes.push(pads(&cuts.iter().map(|cut| (cut.before, cut.after)).collect::<Vec<_>>()));
            let beyond: Vec<usize> = cuts.iter().map(|cut| cut.beyond).collect();
            if beyond.iter().any(|beyond| *beyond > 0) {
                attributes.push(("output_padding", Attribute::sizes(&beyond)));
            }
            s.emit("ConvTranspose", &[image, weights, bias], attributes)
        }
        None => {
            let beyond: Vec<usize> = window.stride.iter().map(|stride| stride - 1).collect();
            attributes.push(("output_padding", Attribute::sizes(&beyond)));
            let whole = s.emit("ConvTranspose", &[image, weights, bias], attributes);
            cut_at_run_time(s, window, whole)?
        }
    };
    let value = s.activated(0, value, activation)?;
    s.output_image(0, value)
}

/// What an axis of the output lacks of all that the kernel reaches, and goes beyond it.
struct Cut {
    before: usize,
    after: usize,
    beyond: usize,
}

/// `None` where sizes are not known.
fn cuts(window: &Window, input: &[Dim], output: &[Dim]) -> Option<Vec<Cut>> {
    let cut = |axis: usize| {
        let (input, size) = (input[axis].fixed()?, output[axis].fixed()?);
        let (before, after) = window.amounts(axis, &output[axis])?;
        let whole =
            input.checked_sub(1)?.checked_mul(window.stride[axis])?.checked_add(window.reach(axis))?;
        let beyond = (size + before + after).checked_sub(whole)?;
        Some(Cut { before, after, beyond })
    };
    (0..input.len()).map(cut).collect()
}

/// Takes the output out of all that the kernel can reach and `stride - 1` more, by the sizes that the
/// first input asks for.
fn cut_at_run_time(s: &mut Spelling<'_, '_>, window: &Window, whole: Value) -> Result<Value, Refusal> {
    let axes = window.kernel.len() as i64;
    let asked = s.raw(0)?;
    let asked = s.cast(asked, litesmith_graph::DType::I64);
    let (one, two, last) = (s.ints(&[1]), s.ints(&[2]), s.ints(&[1 + axes]));
    let asked = s.emit("Slice", &[asked, one, last], []);
    let start = if window.padding == Padding::Same {
        let shape = s.emit("Shape", &[whole], []);
        let end = s.ints(&[2 + axes]);
        let reached = s.emit("Slice", &[shape, two, end], []);
        let beyond: Vec<i64> = window.stride.iter().map(|stride| *stride as i64 - 1).collect();
        let (beyond, zero) = (s.ints(&beyond), s.ints(&[0]));
        let reached = s.emit("Sub", &[reached, beyond], []);
        let total = s.emit("Sub", &[reached, asked], []);
        let total = s.emit("Max", &[total, zero], []);
        s.emit("Div", &[total, two], [])
    } else {
        s.ints(&vec![0; window.kernel.len()])
    };
    let end = s.emit("Add", &[start, asked], []);
    let axes = s.ints(&(2..2 + axes).collect::<Vec<_>>());
    Ok(s.emit("Slice", &[whole, start, end, axes], []))
}
