//! Transposed convolutions of images, and convolutions of volumes. The shape that a transposed
//! convolution is given has been used when shapes were inferred.

use std::borrow::Cow;

use litesmith_graph::DType;
use litesmith_graph::ops::{Conv3D, Padding, TransposeConv2D, TransposeConv3D};
use litesmith_kernels::int16::TransposeConv2d as WordTransposeConv2d;
use litesmith_kernels::quantized::{Requantize, Rescale};
use litesmith_kernels::reference::transposed::{TransposeShape, transpose_conv2d};
use litesmith_kernels::reference::volume::{Volume, conv3d, transpose_conv3d};
use litesmith_kernels::transposed::{
    HybridTransposeConv2d, QuantizedTransposeConv2d, TransposeConv2d, TransposeWindow,
};
use litesmith_kernels::volume::{Conv3d, TransposeConv3d, TransposeVolumeWindow, VolumeWindow};
use litesmith_kernels::{Isa, Window};

use super::convolution::{Kind, Layer, check_bias, clamp, scaled_bias, symmetric_weights};
use super::site::stored_bounds;
use super::window::LONGEST;
use super::{Bound, Operand, Site, Task, int16};
use crate::error::{Refusal, refuse};

/// Where the operands of a transposed convolution stand among its inputs.
const WEIGHTS: usize = 1;
const IMAGE: usize = 2;
const BIAS: usize = 3;

pub(super) fn transpose_conv_2d(site: &Site<'_>, op: &TransposeConv2D) -> Result<Bound, Refusal> {
    let (weights, image, output) = (site.input(WEIGHTS)?, site.input(IMAGE)?, site.output()?);
    let pair = |shape: &[usize]| [shape[1], shape[2]];
    let kernel = pair(&weights.shape);
    let [vertical, horizontal] = [0, 1].map(|axis| {
        let [input, output] = [image.shape[axis + 1], output.shape[axis + 1]];
        reach_back(input, output, kernel[axis], op.stride[axis], op.padding)
    });
    let (vertical, horizontal) = (vertical?, horizontal?);
    let window = TransposeWindow {
        kernel,
        stride: op.stride,
        crop: [vertical.crop, horizontal.crop],
        tail: [vertical.tail, horizontal.tail],
    };
    let layer = Layer {
        shape: [image.shape[0], image.shape[1], image.shape[2]],
        window: key(&window),
        in_channels: image.shape[3],
        out_channels: weights.shape[0],
        kind: Kind::Conv { groups: 1 },
        activation: op.activation,
    };
    if layer.in_channels == 0 || layer.out_channels == 0 {
        refuse!("a layer without channels is not supported");
    }
    match (image.dtype, weights.dtype) {
        (DType::F32, DType::F32) => bind_float(site, layer, window),
        (DType::F64, DType::F64) => bind_double(site, layer, window),
        (DType::F32, DType::I8 | DType::I4) => bind_hybrid(site, layer, window),
        (DType::I8 | DType::U8, DType::I8 | DType::I4) => bind_quantized(site, layer, window),
        (DType::I16, DType::I8 | DType::I4) => bind_words(site, layer, window),
        (image, weights) => refuse!("there is no kernel for inputs of {image} with weights of {weights}"),
    }
}

/// Where the output begins and how far it goes on, along one axis of a transposed convolution.
struct Back {
    crop: usize,
    tail: usize,
}

/// The cropping that leads from `output` back to `input` when a convolution with this padding is
/// transposed.
fn reach_back(
    input: usize,
    output: usize,
    kernel: usize,
    stride: usize,
    padding: Padding,
) -> Result<Back, Refusal> {
    if input == 0 || kernel == 0 || stride == 0 {
        refuse!("an image without pixels is not supported");
    }
    if [kernel, stride, input, output].iter().any(|size| *size > LONGEST) {
        refuse!("a kernel of {kernel} with stride {stride} over {input} elements is too large");
    }
    let crop = padding.amounts([output; 2], [kernel; 2], [stride; 2]).0[0];
    // The longest axis times the longest stride is far from the end of 64 bits.
    match output.checked_sub((input - 1) * stride) {
        Some(tail @ 1..) => Ok(Back { crop, tail }),
        _ => refuse!("an output of {output} elements does not lead back to {input}"),
    }
}

/// A window that differs where packed weights do.
fn key(window: &TransposeWindow) -> Window {
    let TransposeWindow { kernel, stride, crop, tail } = *window;
    Window { kernel, stride, dilation: [1; 2], pad_before: crop, pad_after: tail }
}

fn bind_float(site: &Site<'_>, layer: Layer, window: TransposeWindow) -> Result<Bound, Refusal> {
    check_bias(site, BIAS, DType::F32)?;
    let (weights, bias) = (site.input(WEIGHTS)?, site.optional(BIAS));
    let channels = [layer.in_channels, layer.out_channels];
    let (shape, clamp) = (layer.shape, clamp(layer.activation));
    let make = move |isa: Isa, weights: &[f32], bias: Option<&[f32]>| {
        TransposeConv2d::new(isa, window, channels, weights, bias, clamp)
    };
    if weights.data.is_none() || bias.is_some_and(|bias| bias.data.is_none()) {
        // Weights that change are packed in every run.
        return Ok(Task::new(move |machine, mut io| {
            let bias = Some(io.inputs.get::<f32>(BIAS)).filter(|bias| !bias.is_empty());
            let kernel = make(machine.isa, io.inputs.get(WEIGHTS), bias);
            let mut scratch = vec![0.0; kernel.scratch(shape)];
            kernel.run(machine.pool, io.inputs.get(IMAGE), shape, &mut scratch, io.output_as());
            Ok(())
        })
        .into());
    }
    let weights = weights.floats("weights")?;
    let bias = bias.map(|bias| bias.floats("bias")).transpose()?;
    let kernel = site.pack(layer.window, || make(site.isa, &weights, bias.as_deref()));
    let scratch = kernel.scratch(shape) * size_of::<f32>();
    Ok(Task::new(move |machine, io| {
        let (scratch, output) = (bytemuck::cast_slice_mut(io.scratch), bytemuck::cast_slice_mut(io.output));
        kernel.run(machine.pool, io.inputs.get(IMAGE), shape, scratch, output);
        Ok(())
    })
    .with_scratch(scratch)
    .into())
}

fn bind_double(site: &Site<'_>, layer: Layer, window: TransposeWindow) -> Result<Bound, Refusal> {
    check_bias(site, BIAS, DType::F64)?;
    let Layer { shape: input, in_channels, out_channels, activation, .. } = layer;
    let (shape, clamp) = (TransposeShape { input, window, in_channels, out_channels }, clamp(activation));
    Ok(Task::new(move |_, mut io| {
        let [image, weights, bias] = [IMAGE, WEIGHTS, BIAS].map(|input| io.inputs.get::<f64>(input));
        let bias = (!bias.is_empty()).then_some(bias);
        let result = transpose_conv2d(&shape, image, weights, bias, clamp.widen());
        io.output_as::<f64>().copy_from_slice(&result);
        Ok(())
    })
    .into())
}

fn bind_quantized(site: &Site<'_>, layer: Layer, window: TransposeWindow) -> Result<Bound, Refusal> {
    let (input, output) = (site.input(IMAGE)?.affine()?, site.output()?.affine()?);
    let (weights, scales) = symmetric_weights(site.input(WEIGHTS)?, &layer)?;
    let bias = scaled_bias(site, BIAS)?;
    let Some(scale) = Requantize::scales(input.scale, scales, output.scale) else {
        refuse!("the scales of input, weights and output do not fit each other")
    };
    let [min, max] = stored_bounds(layer.activation, output);
    let requantize = Requantize { scale, zero_point: output.zero_point, min, max };
    let channels = [layer.in_channels, layer.out_channels];
    let kernel = site.pack(layer.window, || {
        let bias = bias.as_deref();
        QuantizedTransposeConv2d::new(
            site.isa,
            window,
            channels,
            &weights,
            bias,
            input.zero_point,
            &requantize,
        )
    });
    let shape = layer.shape;
    let scratch = kernel.scratch(shape);
    Ok(Task::new(move |machine, io| {
        kernel.run(machine.pool, io.inputs.bytes(IMAGE), shape, io.scratch, io.output);
        Ok(())
    })
    .with_scratch(scratch)
    .into())
}

fn bind_words(site: &Site<'_>, layer: Layer, window: TransposeWindow) -> Result<Bound, Refusal> {
    let places = int16::Places { image: IMAGE, weights: WEIGHTS, bias: BIAS };
    let int16::Weighted { weights, bias, requantize } = int16::weighted(site, &layer, &places)?;
    let channels = [layer.in_channels, layer.out_channels];
    let kernel = site.pack(layer.window, || {
        let bias = bias.as_deref();
        WordTransposeConv2d::new(site.isa, window, channels, &weights, bias, &requantize)
    });
    let shape = layer.shape;
    let scratch = kernel.scratch(shape) * size_of::<i16>();
    Ok(Task::new(move |machine, io| {
        let (scratch, output) = (bytemuck::cast_slice_mut(io.scratch), bytemuck::cast_slice_mut(io.output));
        kernel.run(machine.pool, io.inputs.get(IMAGE), shape, scratch, output);
        Ok(())
    })
    .with_scratch(scratch)
    .into())
}

/// Bytes before floats in scratch memory, which is aligned at its start.
const ALIGNMENT: usize = 64;

fn bind_hybrid(site: &Site<'_>, layer: Layer, window: TransposeWindow) -> Result<Bound, Refusal> {
    let (weights, scales) = symmetric_weights(site.input(WEIGHTS)?, &layer)?;
    let bias = site.optional(BIAS).map(|bias| bias.floats("bias")).transpose()?;
    let bias = bias.map(Cow::into_owned);
    let rescale = Rescale { scale: scales.to_vec(), bias, clamp: clamp(layer.activation) };
    let channels = [layer.in_channels, layer.out_channels];
    let kernel = site
        .pack(layer.window, || HybridTransposeConv2d::new(site.isa, window, channels, &weights, &rescale));
    let (shape, bytes) = (layer.shape, site.input(IMAGE)?.elements);
    let floats = bytes.next_multiple_of(ALIGNMENT);
    let scratch = floats + kernel.scratch(shape) * size_of::<f32>();
    Ok(Task::new(move |machine, io| {
        let (quantized, results) = io.scratch.split_at_mut(floats);
        let (results, output) = (bytemuck::cast_slice_mut(results), bytemuck::cast_slice_mut(io.output));
        kernel.run(machine.pool, io.inputs.get(IMAGE), shape, &mut quantized[..bytes], results, output);
        Ok(())
    })
    .with_scratch(scratch)
    .into())
}

pub(super) fn conv_3d(site: &Site<'_>, op: &Conv3D) -> Result<Bound, Refusal> {
    let (volume, weights) = (site.input(0)?, site.input(1)?);
    let (shape, size) = batch_and_size(volume)?;
    let kernel = [weights.shape[0], weights.shape[1], weights.shape[2]];
    let reach =
        [0, 1, 2].map(|i| kernel[i].saturating_sub(1).saturating_mul(op.dilation[i]).saturating_add(1));
    if [kernel, op.stride, op.dilation, reach, size].iter().flatten().any(|size| *size > LONGEST) {
        refuse!("a kernel of {kernel:?} that reaches over {reach:?} is too large");
    }
    let (mut pad_before, mut pad_after) = ([0; 3], [0; 3]);
    for axis in 0..3 {
        let (before, after) = op.padding.amounts([size[axis]; 2], [reach[axis]; 2], [op.stride[axis]; 2]);
        (pad_before[axis], pad_after[axis]) = (before[0], after[0]);
    }
    let window = VolumeWindow { kernel, stride: op.stride, dilation: op.dilation, pad_before, pad_after };
    let channels = [volume.shape[4], weights.shape[4]];
    let key = Window {
        pad_before: [pad_before[1], pad_before[2]],
        pad_after: [pad_after[1], pad_after[2]],
        stride: [pad_before[0] + 1, pad_after[0] + 1],
        ..Window::POINT
    };
    let places = Places { volume: 0, weights: 1, bias: 2 };
    let clamp = clamp(op.activation);
    if volume.dtype == DType::F64 {
        let input = Volume { batch: shape[0], size, channels: channels[0] };
        return bind_doubles(site, places, move |x, weights, bias| {
            conv3d(&window, input, channels[1], x, weights, bias, clamp.widen())
        });
    }
    let make = move |isa: Isa, weights: &[f32], bias: Option<&[f32]>| {
        Conv3d::new(isa, window, channels, weights, bias, clamp)
    };
    bind_volume(site, places, channels, shape, key, make, Conv3d::scratch, Conv3d::run)
}

pub(super) fn transpose_conv_3d(site: &Site<'_>, op: &TransposeConv3D) -> Result<Bound, Refusal> {
    let (weights, volume, output) = (site.input(WEIGHTS)?, site.input(IMAGE)?, site.output()?);
    let (shape, size) = batch_and_size(volume)?;
    let kernel = [weights.shape[0], weights.shape[1], weights.shape[2]];
    let (mut crop, mut tail) = ([0; 3], [0; 3]);
    for axis in 0..3 {
        let back = reach_back(size[axis], output.shape[axis + 1], kernel[axis], op.stride[axis], op.padding)?;
        (crop[axis], tail[axis]) = (back.crop, back.tail);
    }
    let window = TransposeVolumeWindow { kernel, stride: op.stride, crop, tail };
    let channels = [volume.shape[4], weights.shape[3]];
    let key = Window {
        pad_before: [crop[1], crop[2]],
        pad_after: [tail[1], tail[2]],
        stride: [crop[0] + 1, tail[0]],
        ..Window::POINT
    };
    let places = Places { volume: IMAGE, weights: WEIGHTS, bias: BIAS };
    let clamp = clamp(op.activation);
    if volume.dtype == DType::F64 {
        let input = Volume { batch: shape[0], size, channels: channels[0] };
        return bind_doubles(site, places, move |x, weights, bias| {
            transpose_conv3d(&window, input, channels[1], x, weights, bias, clamp.widen())
        });
    }
    let make = move |isa: Isa, weights: &[f32], bias: Option<&[f32]>| {
        TransposeConv3d::new(isa, window, channels, weights, bias, clamp)
    };
    bind_volume(site, places, channels, shape, key, make, TransposeConv3d::scratch, TransposeConv3d::run)
}

/// Batch, depth, height and width of a volume, and the last three again.
fn batch_and_size(volume: &Operand<'_>) -> Result<([usize; 4], [usize; 3]), Refusal> {
    let [batch, depth, height, width, _] = volume.shape[..] else {
        refuse!("a volume of shape {:?} is not supported", volume.shape)
    };
    if [depth, height, width].contains(&0) {
        refuse!("a volume without voxels is not supported");
    }
    Ok(([batch, depth, height, width], [depth, height, width]))
}

/// Where the operands of a convolution of volumes stand among its inputs.
#[derive(Clone, Copy)]
struct Places {
    volume: usize,
    weights: usize,
    bias: usize,
}

/// A float kernel whose weights `make` packs.
// What differs between the two kernels, and nothing more.
#[allow(clippy::too_many_arguments)]
fn bind_volume<K: Send + Sync + 'static>(
    site: &Site<'_>,
    places: Places,
    channels: [usize; 2],
    shape: [usize; 4],
    key: Window,
    make: impl Fn(Isa, &[f32], Option<&[f32]>) -> K + Send + Sync + 'static,
    scratch: impl Fn(&K, [usize; 4]) -> usize + Send + Sync + 'static,
    run: impl Fn(&K, &litesmith_kernels::ThreadPool, &[f32], [usize; 4], &mut [f32], &mut [f32])
    + Send
    + Sync
    + 'static,
) -> Result<Bound, Refusal> {
    let (volume, weights, bias) =
        (site.input(places.volume)?, site.input(places.weights)?, site.optional(places.bias));
    if (volume.dtype, weights.dtype) != (DType::F32, DType::F32) {
        refuse!("there is no kernel for inputs of {} with weights of {}", volume.dtype, weights.dtype);
    }
    if channels.contains(&0) {
        refuse!("a layer without channels is not supported");
    }
    check_bias(site, places.bias, DType::F32)?;
    if weights.data.is_none() || bias.is_some_and(|bias| bias.data.is_none()) {
        // Weights that change are packed in every run.
        return Ok(Task::new(move |machine, mut io| {
            let bias = Some(io.inputs.get::<f32>(places.bias)).filter(|bias| !bias.is_empty());
            let kernel = make(machine.isa, io.inputs.get(places.weights), bias);
            let mut memory = vec![0.0; scratch(&kernel, shape)];
            run(&kernel, machine.pool, io.inputs.get(places.volume), shape, &mut memory, io.output_as());
            Ok(())
        })
        .into());
    }
    let weights = weights.floats("weights")?;
    let bias = bias.map(|bias| bias.floats("bias")).transpose()?;
    let kernel = site.pack(key, || make(site.isa, &weights, bias.as_deref()));
    let bytes = scratch(&kernel, shape) * size_of::<f32>();
    Ok(Task::new(move |machine, io| {
        let (memory, output) = (bytemuck::cast_slice_mut(io.scratch), bytemuck::cast_slice_mut(io.output));
        run(&kernel, machine.pool, io.inputs.get(places.volume), shape, memory, output);
        Ok(())
    })
    .with_scratch(bytes)
    .into())
}

/// The plain loop in double precision.
fn bind_doubles(
    site: &Site<'_>,
    places: Places,
    compute: impl Fn(&[f64], &[f64], Option<&[f64]>) -> Vec<f64> + Send + Sync + 'static,
) -> Result<Bound, Refusal> {
    check_bias(site, places.bias, DType::F64)?;
    let weights = site.input(places.weights)?.dtype;
    if weights != DType::F64 {
        refuse!("there is no kernel for inputs of f64 with weights of {weights}");
    }
    Ok(Task::new(move |_, mut io| {
        let [x, weights, bias] =
            [places.volume, places.weights, places.bias].map(|input| io.inputs.get::<f64>(input));
        let bias = (!bias.is_empty()).then_some(bias);
        let result = compute(x, weights, bias);
        io.output_as::<f64>().copy_from_slice(&result);
        Ok(())
    })
    .into())
}
