//! Convolutions, plain, depthwise and separable, over one or two axes.

use litesmith_graph::TensorId;
use litesmith_graph::ops::{
    Conv2D, DepthwiseConv2D, ExpandDims, Pad, Padding, Reshape, ReshapeDim, Squeeze, Transpose,
};

use crate::emit::Emit;
use crate::keras::activations;
use crate::keras::config::{Built, Config, unsupported};
use crate::keras::scope::Scope;
use crate::keras::weights::Variable;

pub(super) fn variables(config: Config<'_>) -> Built<Vec<Variable>> {
    with_bias(config, vec![Variable::trained("kernel", "kernel_regularizer")])
}

pub(super) fn depthwise_variables(config: Config<'_>) -> Built<Vec<Variable>> {
    with_bias(config, vec![Variable::trained("depthwise_kernel", "depthwise_regularizer")])
}

pub(super) fn separable_variables(config: Config<'_>) -> Built<Vec<Variable>> {
    let depthwise = Variable::trained("depthwise_kernel", "depthwise_regularizer");
    with_bias(config, vec![depthwise, Variable::trained("pointwise_kernel", "pointwise_regularizer")])
}

fn with_bias(config: Config<'_>, mut kernels: Vec<Variable>) -> Built<Vec<Variable>> {
    if config.flag("use_bias", true)? {
        kernels.push(Variable::trained("bias", "bias_regularizer"));
    }
    Ok(kernels)
}

/// How a kernel moves, over two axes; one-dimensional layers move along the second.
struct Window {
    kernel: [usize; 2],
    stride: [usize; 2],
    dilation: [usize; 2],
    padding: Padding,
    /// Steps of zeros before the first, for causal padding.
    before: usize,
}

fn window_2d(config: Config<'_>) -> Built<Window> {
    Ok(Window {
        kernel: config.counts("kernel_size")?,
        stride: config.counts_or("strides", [1, 1])?,
        dilation: config.counts_or("dilation_rate", [1, 1])?,
        padding: padding(config)?,
        before: 0,
    })
}

fn window_1d(config: Config<'_>) -> Built<Window> {
    let [kernel] = config.counts("kernel_size")?;
    let [stride] = config.counts_or("strides", [1])?;
    let [dilation] = config.counts_or("dilation_rate", [1])?;
    let causal = config.text("padding")? == Some("causal");
    let before = if causal { (kernel - 1).checked_mul(dilation) } else { Some(0) };
    let before = before.ok_or_else(|| config.broken("its kernel is too large"))?;
    Ok(Window {
        kernel: [1, kernel],
        stride: [1, stride],
        dilation: [1, dilation],
        padding: if causal { Padding::Valid } else { padding(config)? },
        before,
    })
}

/// The padding that a layer's setting names.
pub(super) fn padding(config: Config<'_>) -> Built<Padding> {
    match config.text("padding")?.map(str::to_ascii_lowercase).as_deref() {
        Some("same") => Ok(Padding::Same),
        Some("valid") | None => Ok(Padding::Valid),
        Some(other) => unsupported!("padding '{other}' is not known; use 'same' or 'valid'"),
    }
}

pub(super) fn conv_2d(scope: &mut Scope<'_>) -> Built<TensorId> {
    let image = scope.ranked(4)?;
    let convolved = convolve(scope, image, &window_2d(scope.config())?, true)?;
    activations::of_layer(scope, convolved)
}

pub(super) fn conv_1d(scope: &mut Scope<'_>) -> Built<TensorId> {
    one_dimensional(scope, |scope, image, window| convolve(scope, image, window, false))
}

pub(super) fn depthwise_2d(scope: &mut Scope<'_>) -> Built<TensorId> {
    let image = scope.ranked(4)?;
    let convolved = depthwise(scope, image, &window_2d(scope.config())?, true, true)?;
    activations::of_layer(scope, convolved)
}

pub(super) fn depthwise_1d(scope: &mut Scope<'_>) -> Built<TensorId> {
    one_dimensional(scope, |scope, image, window| depthwise(scope, image, window, false, true))
}

pub(super) fn separable_2d(scope: &mut Scope<'_>) -> Built<TensorId> {
    let image = scope.ranked(4)?;
    let convolved = separable(scope, image, &window_2d(scope.config())?, true)?;
    activations::of_layer(scope, convolved)
}

pub(super) fn separable_1d(scope: &mut Scope<'_>) -> Built<TensorId> {
    one_dimensional(scope, |scope, image, window| separable(scope, image, window, false))
}

/// A convolution over time is one over an image of height 1.
fn one_dimensional(
    scope: &mut Scope<'_>,
    convolve: impl FnOnce(&mut Scope<'_>, TensorId, &Window) -> Built<TensorId>,
) -> Built<TensorId> {
    let mut input = scope.ranked(3)?;
    let window = window_1d(scope.config())?;
    if window.before > 0 {
        let amounts = vec![[0, 0], [window.before, 0], [0, 0]];
        input = scope.emit(Pad { amounts, ..Pad::default() }, &[input])?;
    }
    let image = scope.emit(ExpandDims { axis: 1 }, &[input])?;
    let convolved = convolve(scope, image, &window)?;
    let squeezed = scope.emit(Squeeze { axes: vec![1] }, &[convolved])?;
    activations::of_layer(scope, squeezed)
}

/// The shape of a kernel in the file: one-dimensional ones have no height.
fn kernel_shape(window: &Window, two_dimensional: bool, inner: [usize; 2]) -> Vec<usize> {
    let [height, width] = window.kernel;
    let spatial = if two_dimensional { vec![height, width] } else { vec![width] };
    [spatial, inner.to_vec()].concat()
}

fn convolve(
    scope: &mut Scope<'_>,
    image: TensorId,
    window: &Window,
    two_dimensional: bool,
) -> Built<TensorId> {
    let config = scope.config();
    let filters = config.count("filters")?;
    let groups = config.count_or("groups", 1)?;
    let channels = scope.channels(image)?;
    if channels % groups != 0 || filters % groups != 0 {
        let reason =
            format!("{channels} channels and {filters} filters cannot be split into {groups} groups");
        return Err(config.broken(reason).into());
    }
    let depth = channels / groups;
    let kernel = scope.weight("kernel", &kernel_shape(window, two_dimensional, [depth, filters]))?;
    let kernel = if two_dimensional {
        scope.laid_out(kernel, Transpose::by(&[3, 0, 1, 2]))?
    } else {
        let rows = scope.laid_out(kernel, Transpose::by(&[2, 0, 1]))?;
        scope.laid_out(rows, ExpandDims { axis: 1 })?
    };
    let bias = bias(scope, filters)?;
    let op = Conv2D {
        stride: window.stride,
        dilation: window.dilation,
        padding: window.padding,
        groups,
        ..Conv2D::default()
    };
    scope.emit_some(op, vec![Some(image), Some(kernel), bias])
}

/// The bias of a layer that has one.
pub(super) fn bias(scope: &mut Scope<'_>, filters: usize) -> Built<Option<TensorId>> {
    if scope.config().flag("use_bias", true)? { scope.weight("bias", &[filters]).map(Some) } else { Ok(None) }
}

fn depthwise(
    scope: &mut Scope<'_>,
    image: TensorId,
    window: &Window,
    two_dimensional: bool,
    with_bias: bool,
) -> Built<TensorId> {
    let channels = scope.channels(image)?;
    let multiplier = scope.config().count_or("depth_multiplier", 1)?;
    let Some(outputs) = channels.checked_mul(multiplier) else {
        return Err(scope.config().broken("it has too many channels").into());
    };
    let shape = kernel_shape(window, two_dimensional, [channels, multiplier]);
    let kernel = scope.weight("depthwise_kernel", &shape)?;
    let [height, width] = window.kernel;
    let flat = [1, height, width, outputs].map(ReshapeDim::Fixed).to_vec();
    let kernel = scope.laid_out(kernel, Reshape::to(flat))?;
    let bias = if with_bias { bias(scope, outputs)? } else { None };
    let op = DepthwiseConv2D {
        stride: window.stride,
        dilation: window.dilation,
        padding: window.padding,
        multiplier,
        ..DepthwiseConv2D::default()
    };
    scope.emit_some(op, vec![Some(image), Some(kernel), bias])
}

fn separable(
    scope: &mut Scope<'_>,
    image: TensorId,
    window: &Window,
    two_dimensional: bool,
) -> Built<TensorId> {
    let spatial = depthwise(scope, image, window, two_dimensional, false)?;
    let filters = scope.config().count("filters")?;
    let channels = scope.channels(spatial)?;
    let point =
        Window { kernel: [1, 1], stride: [1, 1], dilation: [1, 1], padding: Padding::Valid, before: 0 };
    let kernel =
        scope.weight("pointwise_kernel", &kernel_shape(&point, two_dimensional, [channels, filters]))?;
    let kernel = if two_dimensional {
        scope.laid_out(kernel, Transpose::by(&[3, 0, 1, 2]))?
    } else {
        let rows = scope.laid_out(kernel, Transpose::by(&[2, 0, 1]))?;
        scope.laid_out(rows, ExpandDims { axis: 1 })?
    };
    let bias = bias(scope, filters)?;
    scope.emit_some(Conv2D::default(), vec![Some(spatial), Some(kernel), bias])
}
