//! Convolutions of images and volumes, plain, depthwise and transposed.

use litesmith_graph::TensorId;
use litesmith_graph::ops::{
    Concat, Conv2D, Conv3D, DepthwiseConv2D, Pad, Padding, Reshape, ReshapeDim, Slice, Transpose,
    TransposeConv2D, TransposeConv3D,
};

use crate::emit::Emit;
use crate::refusal::{Built, unsupported};
use crate::savedmodel::translate::scope::Scope;

/// How a window moves over `N` axes between batch and channels.
pub(super) struct Window<const N: usize> {
    /// Whether channels stand before the axes.
    pub channels_first: bool,
    pub stride: [usize; N],
    pub dilation: [usize; N],
    pub padding: Padding,
    /// Explicit padding of each of the axes.
    pub amounts: [[usize; 2]; N],
}

impl<const N: usize> Window<N> {
    pub fn of(scope: &Scope<'_>) -> Built<Window<N>> {
        let format = scope.text("data_format", "");
        let channels_first = match format {
            "" | "NHWC" | "NDHWC" => false,
            "NCHW" | "NCDHW" => true,
            other => unsupported!("the data format '{other}' is not supported; use NHWC"),
        };
        let stride = spatial(scope, "strides", channels_first)?;
        let dilation = spatial(scope, "dilations", channels_first)?;
        let mut amounts = [[0; 2]; N];
        let padding = match scope.text("padding", "") {
            "SAME" => Padding::Same,
            "VALID" => Padding::Valid,
            "EXPLICIT" => {
                let given = scope.node.attributes.integers("explicit_paddings");
                if given.len() != 2 * (N + 2) {
                    return Err(scope.broken("its explicit paddings do not fit its axes").into());
                }
                let first = if channels_first { 2 } else { 1 };
                for (axis, amounts) in amounts.iter_mut().enumerate() {
                    for (side, amount) in amounts.iter_mut().enumerate() {
                        *amount = scope.size_from(given[2 * (first + axis) + side], "an explicit padding")?;
                    }
                }
                Padding::Valid
            }
            other => return Err(scope.broken(format!("its padding is '{other}'")).into()),
        };
        Ok(Window { channels_first, stride, dilation, padding, amounts })
    }

    /// The input with channels behind the other axes.
    pub fn to_last(&self, scope: &mut Scope<'_>, x: TensorId) -> Built<TensorId> {
        if scope.rank(x) != N + 2 {
            let shape = scope.shape(x);
            return Err(scope.broken(format!("it takes {} axes, its input has shape {shape}", N + 2)).into());
        }
        if self.channels_first { scope.channels_to_last(x) } else { Ok(x) }
    }

    /// The output with channels where they were.
    pub fn back(&self, scope: &mut Scope<'_>, x: TensorId) -> Built<TensorId> {
        if self.channels_first { scope.channels_to_first(x) } else { Ok(x) }
    }

    /// The input with zeros around it where padding is explicit.
    pub fn padded(&self, scope: &mut Scope<'_>, x: TensorId) -> Built<TensorId> {
        if self.amounts == [[0; 2]; N] {
            return Ok(x);
        }
        let mut amounts = vec![[0, 0]];
        amounts.extend(self.amounts);
        amounts.push([0, 0]);
        scope.emit(Pad { amounts, ..Pad::default() }, &[x])
    }
}

/// The entries of an attribute for the axes between batch and channels, whose own must be 1.
pub(super) fn spatial<const N: usize>(
    scope: &Scope<'_>,
    key: &str,
    channels_first: bool,
) -> Built<[usize; N]> {
    let given = scope.node.attributes.integers(key);
    if given.is_empty() {
        return Ok([1; N]);
    }
    if given.len() != N + 2 {
        return Err(scope.broken(format!("its attribute '{key}' does not fit its axes")).into());
    }
    let first = if channels_first { 2 } else { 1 };
    let channels = if channels_first { 1 } else { N + 1 };
    if given[0] != 1 || given[channels] != 1 {
        unsupported!("{key} along batch or channels are not supported");
    }
    let mut sizes = [1; N];
    for (size, value) in sizes.iter_mut().zip(&given[first..first + N]) {
        *size = scope.size_from(*value, key)?;
        if *size == 0 {
            return Err(scope.broken(format!("its attribute '{key}' has a 0")).into());
        }
    }
    Ok(sizes)
}

/// The sizes of a kernel, which must be fixed.
fn kernel_sizes<const N: usize>(scope: &Scope<'_>, kernel: TensorId) -> Built<[usize; N]> {
    let shape = scope.shape(kernel);
    match shape.to_fixed().and_then(|sizes| <[usize; N]>::try_from(sizes).ok()) {
        Some(sizes) => Ok(sizes),
        None => unsupported!("a kernel of shape {shape} is not supported; its shape must be fixed"),
    }
}

/// In how many groups a kernel takes the channels of an input.
fn groups(scope: &Scope<'_>, channels: usize, depth: usize, filters: usize) -> Built<usize> {
    match channels.checked_div(depth) {
        Some(groups) if groups > 0 && groups * depth == channels && filters.is_multiple_of(groups) => {
            Ok(groups)
        }
        _ => {
            let reason =
                format!("{channels} channels do not fit a kernel of {depth} inputs and {filters} outputs");
            Err(scope.broken(reason).into())
        }
    }
}

pub(super) fn conv_2d(scope: &mut Scope<'_>) -> Built<TensorId> {
    let window = Window::<2>::of(scope)?;
    let image = scope.input(0)?;
    let image = window.to_last(scope, image)?;
    let kernel = scope.input(1)?;
    let [_, _, depth, filters] = kernel_sizes(scope, kernel)?;
    let groups = groups(scope, scope.channels(image)?, depth, filters)?;
    let kernel = scope.laid_out(kernel, Transpose::by(&[3, 0, 1, 2]))?;
    let op = Conv2D {
        stride: window.stride,
        dilation: window.dilation,
        padding: window.padding,
        groups,
        ..Conv2D::default()
    };
    let image = window.padded(scope, image)?;
    let convolved = scope.emit_some(op, vec![Some(image), Some(kernel), None])?;
    window.back(scope, convolved)
}

pub(super) fn depthwise(scope: &mut Scope<'_>) -> Built<TensorId> {
    let window = Window::<2>::of(scope)?;
    let image = scope.input(0)?;
    let image = window.to_last(scope, image)?;
    let kernel = scope.input(1)?;
    let [height, width, channels, multiplier] = kernel_sizes(scope, kernel)?;
    let outputs = scope.affordable(&[channels, multiplier])?;
    let flat = [1, height, width, outputs].map(ReshapeDim::Fixed).to_vec();
    let kernel = scope.laid_out(kernel, Reshape::to(flat))?;
    let op = DepthwiseConv2D {
        stride: window.stride,
        dilation: window.dilation,
        padding: window.padding,
        multiplier,
        ..DepthwiseConv2D::default()
    };
    let image = window.padded(scope, image)?;
    let convolved = scope.emit_some(op, vec![Some(image), Some(kernel), None])?;
    window.back(scope, convolved)
}

pub(super) fn conv_3d(scope: &mut Scope<'_>) -> Built<TensorId> {
    let window = Window::<3>::of(scope)?;
    let volume = scope.input(0)?;
    let volume = window.to_last(scope, volume)?;
    let kernel = scope.input(1)?;
    let [_, _, _, depth, filters] = kernel_sizes(scope, kernel)?;
    let groups = groups(scope, scope.channels(volume)?, depth, filters)?;
    let op = Conv3D {
        stride: window.stride,
        dilation: window.dilation,
        padding: window.padding,
        ..Conv3D::default()
    };
    let volume = window.padded(scope, volume)?;
    let mut parts = Vec::new();
    for group in 0..groups {
        let (own, kernel) = match groups {
            1 => (volume, kernel),
            _ => {
                let (mut begin, mut size) = (vec![0; 5], vec![-1; 5]);
                (begin[4], size[4]) = (group * (filters / groups), (filters / groups) as i64);
                let kernel = scope.laid_out(kernel, Slice { begin, size })?;
                (scope.part(volume, 4, group * depth, depth)?, kernel)
            }
        };
        parts.push(scope.emit_some(op.clone(), vec![Some(own), Some(kernel), None])?);
    }
    let convolved = match parts.as_slice() {
        [whole] => *whole,
        parts => scope.emit(Concat { axis: 4, ..Concat::default() }, parts)?,
    };
    window.back(scope, convolved)
}

/// The sizes of the output, kernel, and the gradient of a convolution by its input: a transposed
/// convolution.
pub(super) fn transposed_2d(scope: &mut Scope<'_>) -> Built<TensorId> {
    let window = transposed_window::<2>(scope)?;
    let (sizes, kernel, image) = (scope.input(0)?, scope.input(1)?, scope.input(2)?);
    let image = window.to_last(scope, image)?;
    let sizes = output_sizes(scope, sizes, &window)?;
    let [_, _, outputs, inputs] = kernel_sizes(scope, kernel)?;
    check_depth(scope, image, inputs)?;
    let kernel = scope.laid_out(kernel, Transpose::by(&[2, 0, 1, 3]))?;
    let sizes = checked_sizes(scope, sizes, outputs)?;
    let op = TransposeConv2D { stride: window.stride, padding: window.padding, ..TransposeConv2D::default() };
    let convolved = scope.emit_some(op, vec![Some(sizes), Some(kernel), Some(image), None])?;
    window.back(scope, convolved)
}

pub(super) fn transposed_3d(scope: &mut Scope<'_>) -> Built<TensorId> {
    let window = transposed_window::<3>(scope)?;
    let (sizes, kernel, volume) = (scope.input(0)?, scope.input(1)?, scope.input(2)?);
    let volume = window.to_last(scope, volume)?;
    let sizes = output_sizes(scope, sizes, &window)?;
    let [_, _, _, outputs, inputs] = kernel_sizes(scope, kernel)?;
    check_depth(scope, volume, inputs)?;
    let sizes = checked_sizes(scope, sizes, outputs)?;
    let op = TransposeConv3D { stride: window.stride, padding: window.padding, ..TransposeConv3D::default() };
    let convolved = scope.emit_some(op, vec![Some(sizes), Some(kernel), Some(volume), None])?;
    window.back(scope, convolved)
}

fn transposed_window<const N: usize>(scope: &Scope<'_>) -> Built<Window<N>> {
    let window = Window::<N>::of(scope)?;
    if window.dilation != [1; N] || window.amounts != [[0; 2]; N] {
        unsupported!(
            "a transposed convolution with dilation or explicit padding is not supported; use 'SAME' or \
             'VALID'"
        );
    }
    Ok(window)
}

fn check_depth(scope: &Scope<'_>, x: TensorId, depth: usize) -> Built<()> {
    let channels = scope.channels(x)?;
    if channels != depth {
        return Err(scope.broken(format!("its kernel takes {depth} channels, there are {channels}")).into());
    }
    Ok(())
}

/// The sizes of the output with channels last.
fn output_sizes<const N: usize>(
    scope: &mut Scope<'_>,
    sizes: TensorId,
    window: &Window<N>,
) -> Built<TensorId> {
    if !window.channels_first {
        return Ok(sizes);
    }
    let order: Vec<i64> = [0].into_iter().chain(2..N as i64 + 2).chain([1]).collect();
    let order = scope.integers("order", litesmith_graph::DType::I32, &[N + 2], &order)?;
    scope.emit(litesmith_graph::ops::Gather { axis: 0, batch_dims: 0 }, &[sizes, order])
}

/// The sizes as the operators take them: 32 bits, channels known.
fn checked_sizes(scope: &mut Scope<'_>, sizes: TensorId, channels: usize) -> Built<TensorId> {
    let rank = scope.rank(sizes);
    let last = scope.shape(sizes).to_fixed().unwrap_or_default();
    let ([count], 1) = (last.as_slice(), rank) else {
        return Err(scope.broken("the sizes of its output are no vector").into());
    };
    // What the kernel makes is what the output has.
    if let Some(values) = &scope.facts(sizes).value
        && let Some(litesmith_graph::operator::Number::Int(given)) = values.last()
        && usize::try_from(*given).ok() != Some(channels)
    {
        return Err(scope.broken(format!("its kernel makes {channels} channels, not {given}")).into());
    }
    if *count < 3 {
        return Err(scope.broken("the sizes of its output are too few").into());
    }
    if scope.dtype(sizes) == litesmith_graph::DType::I32 {
        return Ok(sizes);
    }
    scope.emit(litesmith_graph::ops::Cast { to: litesmith_graph::DType::I32 }, &[sizes])
}
