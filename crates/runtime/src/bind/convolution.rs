//! Convolutions, dense layers and matrix products: float32, quantized, and hybrid (8-bit weights
//! with float activations, also called dynamic range). Plain loops for float64.

use std::borrow::Cow;

use litesmith_graph::DType;
use litesmith_graph::ops::{Activation, BatchMatMul, Conv2D, DepthwiseConv2D, FullyConnected};
use litesmith_kernels::float::{self, Clamp, MatMul};
use litesmith_kernels::quantized::{
    self, Filter, HybridConv2d, HybridDepthwise, Requantize, Rescale, WeightOrder,
};
use litesmith_kernels::reference::convolution as reference;
use litesmith_kernels::{Isa, Window};

use super::float_layer::FloatLayer;
use super::layer::{Form, Kernel, PackedLayer};
use super::samples::{Pixels, Samples};
use super::site::stored_bounds;
use super::window::window;
use super::{Bound, Operand, Site, Task, gradient, int16, legacy};
use crate::error::{Refusal, refuse};
use crate::plan::Mode;

/// The geometry of a layer that multiplies by weights.
#[derive(Clone, Copy)]
pub(super) struct Layer {
    /// Batch, height and width of the input.
    pub(super) shape: [usize; 3],
    pub(super) window: Window,
    pub(super) in_channels: usize,
    pub(super) out_channels: usize,
    pub(super) kind: Kind,
    pub(super) activation: Activation,
}

#[derive(Clone, Copy)]
pub(super) enum Kind {
    /// Weights `[out, height, width, in / groups]`.
    Conv { groups: usize },
    /// Weights `[1, height, width, in * multiplier]`.
    Depthwise { multiplier: usize },
}

impl Kind {
    /// The axis of the weights that runs over output channels.
    fn channel_axis(self) -> usize {
        match self {
            Kind::Conv { .. } => 0,
            Kind::Depthwise { .. } => 3,
        }
    }
}

/// A convolution of this image by these weights.
pub(super) fn conv_layer(image: &Operand<'_>, weights: &Operand<'_>, op: &Conv2D) -> Result<Layer, Refusal> {
    let window = window(image, [weights.shape[1], weights.shape[2]], op.stride, op.dilation, op.padding)?;
    Ok(Layer {
        shape: [image.shape[0], image.shape[1], image.shape[2]],
        window,
        in_channels: image.shape[3],
        out_channels: weights.shape[0],
        kind: Kind::Conv { groups: op.groups },
        activation: op.activation,
    })
}

/// A depthwise convolution of this image by these weights.
pub(super) fn depthwise_layer(
    image: &Operand<'_>,
    weights: &Operand<'_>,
    op: &DepthwiseConv2D,
) -> Result<Layer, Refusal> {
    let window = window(image, [weights.shape[1], weights.shape[2]], op.stride, op.dilation, op.padding)?;
    Ok(Layer {
        shape: [image.shape[0], image.shape[1], image.shape[2]],
        window,
        in_channels: image.shape[3],
        out_channels: weights.shape[3],
        kind: Kind::Depthwise { multiplier: op.multiplier },
        activation: op.activation,
    })
}

/// A product of these rows with these weights.
pub(super) fn dense_layer(
    input: &Operand<'_>,
    weights: &Operand<'_>,
    op: &FullyConnected,
) -> Result<Layer, Refusal> {
    let [out_channels, in_channels] = [weights.shape[0], weights.shape[1]];
    if in_channels == 0 {
        refuse!("a layer without inputs is not supported");
    }
    Ok(Layer {
        shape: [input.elements / in_channels, 1, 1],
        window: Window::POINT,
        in_channels,
        out_channels,
        kind: Kind::Conv { groups: 1 },
        activation: op.activation,
    })
}

pub(super) fn conv_2d(site: &Site<'_>, op: &Conv2D) -> Result<Bound, Refusal> {
    bind(site, conv_layer(site.input(0)?, site.input(1)?, op)?)
}

pub(super) fn depthwise(site: &Site<'_>, op: &DepthwiseConv2D) -> Result<Bound, Refusal> {
    bind(site, depthwise_layer(site.input(0)?, site.input(1)?, op)?)
}

pub(super) fn fully_connected(site: &Site<'_>, op: &FullyConnected) -> Result<Bound, Refusal> {
    bind(site, dense_layer(site.input(0)?, site.input(1)?, op)?)
}

fn bind(site: &Site<'_>, layer: Layer) -> Result<Bound, Refusal> {
    let (input, weights) = (site.input(0)?, site.input(1)?);
    if layer.in_channels == 0 || layer.out_channels == 0 {
        refuse!("a layer without channels is not supported");
    }
    match (input.dtype, weights.dtype) {
        (DType::F32, DType::F32) => bind_float(site, layer),
        (DType::F64, DType::F64) => bind_double(site, layer),
        (DType::F32, DType::I8 | DType::I4) => bind_hybrid(site, layer),
        (DType::I8 | DType::U8, DType::I8 | DType::I4) => bind_quantized(site, layer),
        (DType::U8, DType::U8) => legacy::layer(site, &layer),
        (DType::I16, DType::I8 | DType::I4) => int16::layer(site, &layer),
        (input, weights) => refuse!("there is no kernel for inputs of {input} with weights of {weights}"),
    }
}

/// Refuses a bias, input `place`, of another type.
pub(super) fn check_bias(site: &Site<'_>, place: usize, expected: DType) -> Result<(), Refusal> {
    match site.optional(place) {
        Some(bias) if bias.dtype != expected => refuse!("the bias is {} instead of {expected}", bias.dtype),
        _ => Ok(()),
    }
}

pub(super) fn clamp(activation: Activation) -> Clamp {
    let (min, max) = activation.bounds();
    Clamp { min, max }
}

fn float_conv(
    form: float::Form,
    isa: Isa,
    layer: &Layer,
    groups: usize,
    weights: &[f32],
    bias: Option<&[f32]>,
) -> float::Conv2d {
    let &Layer { window, in_channels, out_channels, activation, .. } = layer;
    let clamp = clamp(activation);
    float::Conv2d::with_form(form, isa, window, groups, in_channels, out_channels, weights, bias, clamp)
}

fn float_depthwise(
    isa: Isa,
    layer: &Layer,
    multiplier: usize,
    weights: &[f32],
    bias: Option<&[f32]>,
) -> float::Depthwise {
    let &Layer { window, in_channels, activation, .. } = layer;
    float::Depthwise::new(isa, window, in_channels, multiplier, weights, bias, clamp(activation))
}

/// The form in which a float convolution is packed. Where activations are observed it is the direct one,
/// which is more exact: scales follow from their ranges.
fn float_form(mode: Mode, layer: &Layer, groups: usize, weights: &[f32]) -> float::Form {
    let &Layer { shape: [_, height, width], window, in_channels, out_channels, .. } = layer;
    match mode {
        Mode::Inference => {
            float::Form::best_for(weights, &window, groups, in_channels, out_channels, [height, width])
        }
        Mode::Observe | Mode::Train(_) => float::Form::Direct,
    }
}

fn bind_float(site: &Site<'_>, layer: Layer) -> Result<Bound, Refusal> {
    check_bias(site, 2, DType::F32)?;
    let (weights, bias) = (site.input(1)?, site.optional(2));
    let shape = layer.shape;
    if weights.data.is_none() || bias.is_some_and(|bias| bias.data.is_none()) {
        // Weights that change are packed in every run.
        return Ok(gradient::forward(site, layer, bias.is_some()));
    }
    let weights = weights.floats("weights")?;
    let bias = bias.map(|bias| bias.floats("bias")).transpose()?;
    let (isa, bias) = (site.isa, bias.as_deref());
    let kernel = match layer.kind {
        Kind::Conv { groups } => {
            let form = float_form(site.mode, &layer, groups, &weights);
            let make = || float_conv(form, isa, &layer, groups, &weights, bias);
            Form::Conv(site.pack_as(layer.window, form, make))
        }
        Kind::Depthwise { multiplier } => Form::Depthwise(
            site.pack(layer.window, || float_depthwise(isa, &layer, multiplier, &weights, bias)),
        ),
    };
    let kernel = Kernel::Float(FloatLayer::new(isa, kernel, clamp(layer.activation)));
    Ok(Bound::Layer(PackedLayer { kernel, shape }))
}

fn bind_double(site: &Site<'_>, layer: Layer) -> Result<Bound, Refusal> {
    check_bias(site, 2, DType::F64)?;
    let Layer { shape, window, in_channels, out_channels, kind, activation } = layer;
    let clamp = clamp(activation).widen();
    let groups = if let Kind::Conv { groups } = kind { groups } else { in_channels };
    let shape = reference::ConvShape { input: shape, window, groups, in_channels, out_channels };
    Ok(Task::new(move |_, mut io| {
        let (input, weights, bias) = (io.inputs.get(0), io.inputs.get(1), io.inputs.get(2));
        let bias = (!bias.is_empty()).then_some(bias);
        let result = match kind {
            Kind::Conv { .. } => reference::conv2d(&shape, input, weights, bias, clamp),
            Kind::Depthwise { .. } => reference::depthwise(&shape, input, weights, bias, clamp),
        };
        io.output_as::<f64>().copy_from_slice(&result);
        Ok(())
    })
    .into())
}

/// Symmetric 8-bit weights and their scales: one, or one for each output channel.
pub(super) fn symmetric_weights<'a>(
    weights: &'a Operand<'_>,
    layer: &Layer,
) -> Result<(Cow<'a, [i8]>, &'a [f32]), Refusal> {
    let Some(data) = weights.data else { refuse!("quantized weights must be constant") };
    let Some(quantization) = weights.quantization else { refuse!("the weights have no scales") };
    if quantization.zero_points.iter().any(|point| *point != 0) {
        refuse!("weights with zero points other than 0 are not supported");
    }
    let scales = &*quantization.scales;
    let by_channel =
        quantization.axis == Some(layer.kind.channel_axis()) && scales.len() == layer.out_channels;
    if scales.len() != 1 && !by_channel {
        refuse!(
            "the weights have {} scales along axis {:?}, there are {} output channels",
            scales.len(),
            quantization.axis,
            layer.out_channels
        );
    }
    let values: Cow<'a, [i8]> = match weights.dtype {
        DType::I4 => {
            let unpacked = data.integers(DType::I4).unwrap_or_default();
            unpacked.into_iter().take(weights.elements).map(|value| value as i8).collect()
        }
        _ => data.elements(),
    };
    Ok((values, scales))
}

/// The bias of a quantized layer, input `place`.
pub(super) fn scaled_bias<'a>(site: &'a Site<'_>, place: usize) -> Result<Option<Cow<'a, [i32]>>, Refusal> {
    match site.optional(place).map(|bias| (bias.dtype, bias.data)) {
        None => Ok(None),
        Some((DType::I32, Some(data))) => Ok(Some(data.elements::<i32>())),
        Some((DType::I32, None)) => refuse!("the bias of a quantized layer must be constant"),
        Some((dtype, _)) => refuse!("the bias of a quantized layer must be int32, not {dtype}"),
    }
}

fn bind_quantized(site: &Site<'_>, layer: Layer) -> Result<Bound, Refusal> {
    let (input, output) = (site.input(0)?.affine()?, site.output()?.affine()?);
    let (weights, scales) = symmetric_weights(site.input(1)?, &layer)?;
    let bias = scaled_bias(site, 2)?;
    let Some(scale) = Requantize::scales(input.scale, scales, output.scale) else {
        refuse!("the scales of input, weights and output do not fit each other")
    };
    let [min, max] = stored_bounds(layer.activation, output);
    let requantize = Requantize { scale, zero_point: output.zero_point, min, max };
    let (isa, bias, zero_point) = (site.isa, bias.as_deref(), input.zero_point);
    let Layer { shape, window, in_channels, out_channels, .. } = layer;
    let form = match layer.kind {
        Kind::Conv { groups } => {
            let (order, weights) = (WeightOrder::OutputFirst, &weights[..]);
            let filter = Filter { window, groups, in_channels, out_channels, order, weights };
            let form = quantized::best_form(isa, &filter, [shape[1], shape[2]]);
            let make = || quantized::Conv2d::with_form(form, isa, &filter, bias, zero_point, &requantize);
            Form::Conv(site.pack_as(window, form, make))
        }
        Kind::Depthwise { multiplier } => Form::Depthwise(site.pack(window, || {
            let requantize = requantize.clone();
            quantized::Depthwise::new(
                isa,
                window,
                in_channels,
                multiplier,
                &weights,
                bias,
                zero_point,
                requantize,
            )
        })),
    };
    Ok(Bound::Layer(PackedLayer { kernel: Kernel::Quantized(form), shape }))
}

/// Each sample is quantized by its own range with a zero point, also where the model does not ask
/// for one (`asymmetric_quantize_inputs`): that only makes the steps finer.
fn bind_hybrid(site: &Site<'_>, mut layer: Layer) -> Result<Bound, Refusal> {
    let (weights, scales) = symmetric_weights(site.input(1)?, &layer)?;
    let bias = site.optional(2).map(|bias| bias.floats("bias")).transpose()?;
    let bias = bias.map(Cow::into_owned);
    let rescale = Rescale { scale: scales.to_vec(), bias, clamp: clamp(layer.activation) };
    let mut samples = Samples { elements: site.input(0)?.elements, batch: layer.shape[0], pixels: None };
    // Of pixels that are stepped over only the range counts: the others are quantized, side by side.
    let [batch, height, width] = layer.shape;
    let image = [height, width, layer.in_channels];
    if let (Kind::Conv { .. }, Mode::Inference, Some(pixels)) =
        (layer.kind, site.mode, Pixels::seen(&layer.window, image))
        && samples.elements > 0
    {
        let [rows, columns] = layer.window.output([height, width]);
        let elements = batch * rows * columns * layer.in_channels;
        samples = Samples { elements, pixels: Some(pixels), ..samples };
        (layer.shape, layer.window) = ([batch, rows, columns], Window::POINT);
    }
    let Layer { shape, window, in_channels, out_channels, .. } = layer;
    let isa = site.isa;
    let form = match layer.kind {
        Kind::Conv { groups } => {
            let (order, weights) = (WeightOrder::OutputFirst, &weights[..]);
            let filter = Filter { window, groups, in_channels, out_channels, order, weights };
            let form = quantized::best_form(isa, &filter, [shape[1], shape[2]]);
            let make = || HybridConv2d::with_form(form, isa, &filter, &rescale);
            Form::Conv(site.pack_as(window, form, make))
        }
        Kind::Depthwise { multiplier } => {
            let make = || HybridDepthwise::new(isa, window, in_channels, multiplier, &weights, &rescale);
            Form::Depthwise(site.pack(window, make))
        }
    };
    let kernel = Kernel::Hybrid(form, samples);
    Ok(Bound::Layer(PackedLayer { kernel, shape }))
}

pub(super) fn batch_matmul(site: &Site<'_>, op: &BatchMatMul) -> Result<Bound, Refusal> {
    let (a, b) = (site.input(0)?, site.input(1)?);
    let quantized = a.is_quantized() && b.is_quantized();
    let wide = a.is_wide() && b.is_wide();
    let double = (a.dtype, b.dtype) == (DType::F64, DType::F64)
        && a.shape[..a.shape.len() - 2] == b.shape[..b.shape.len() - 2];
    if !quantized && !wide && !double && (a.dtype, b.dtype) != (DType::F32, DType::F32) {
        refuse!("there is no kernel for products of {} and {}", a.dtype, b.dtype);
    }
    let (a_batch, a_matrix) = a.shape.split_at(a.shape.len() - 2);
    let (b_batch, b_matrix) = b.shape.split_at(b.shape.len() - 2);
    let (a_batch, b_batch) = (a_batch.to_vec(), b_batch.to_vec());
    let (rows, depth) = if op.adjoint_a { (a_matrix[1], a_matrix[0]) } else { (a_matrix[0], a_matrix[1]) };
    let columns = if op.adjoint_b { b_matrix[0] } else { b_matrix[1] };
    let matrices = MatMul { rows, depth, columns, adjoint_a: op.adjoint_a, adjoint_b: op.adjoint_b };
    if double {
        return Ok(double_matmul(matrices));
    }
    if wide {
        return int16::batch_matmul(site, matrices, [a_batch, b_batch]);
    }
    if quantized {
        return quantized_matmul(site, matrices, a_batch, b_batch);
    }
    Ok(Task::new(move |machine, mut io| {
        let (a, b) = (io.inputs.get(0), io.inputs.get(1));
        float::matmul(machine.isa, machine.pool, matrices, a, &a_batch, b, &b_batch, io.output_as());
        Ok(())
    })
    .into())
}

/// Plain loops.
fn double_matmul(matrices: MatMul) -> Bound {
    let MatMul { rows, depth, columns, .. } = matrices;
    Task::new(move |_, mut io| {
        let (a, b) = (io.inputs.get::<f64>(0), io.inputs.get::<f64>(1));
        let pairs = a.chunks((rows * depth).max(1)).zip(b.chunks((depth * columns).max(1)));
        let outputs = io.output_as::<f64>().chunks_mut((rows * columns).max(1));
        for (output, (a, b)) in outputs.zip(pairs) {
            output.copy_from_slice(&reference::matmul(&matrices, a, b));
        }
        Ok(())
    })
    .into()
}

fn quantized_matmul(
    site: &Site<'_>,
    matrices: MatMul,
    a_batch: Vec<usize>,
    b_batch: Vec<usize>,
) -> Result<Bound, Refusal> {
    let (a, b, output) = (site.input(0)?.affine()?, site.input(1)?.affine()?, site.output()?.affine()?);
    let scale = (a.scale * b.scale) / output.scale;
    if !scale.is_finite() {
        refuse!("the scales of operands and output do not fit each other");
    }
    let requantize = Requantize { scale: vec![scale], zero_point: output.zero_point, min: 0, max: u8::MAX };
    Ok(Task::new(move |machine, io| {
        let a = quantized::Matrices { data: io.inputs.bytes(0), batch: &a_batch, zero_point: a.zero_point };
        let b = quantized::Matrices { data: io.inputs.bytes(1), batch: &b_batch, zero_point: b.zero_point };
        quantized::matmul(machine.pool, matrices, a, b, &requantize, io.output);
        Ok(())
    })
    .into())
}
