//! Transposed convolutions over one, two or three axes, and convolutions of volumes.

use litesmith_graph::TensorId;
use litesmith_graph::ops::{
    BinaryKind, Concat, Conv3D, ExpandDims, Pack, Pad, Padding, Reshape, ReshapeDim, ShapeOf, Slice, Squeeze,
    StridedSlice, Transpose, TransposeConv2D, TransposeConv3D,
};

use super::convolution::{bias, padding};
use crate::emit::Emit;
use crate::keras::activations;
use crate::keras::config::{Built, Config, unsupported};
use crate::keras::scope::Scope;

pub(super) fn conv_3d(scope: &mut Scope<'_>) -> Built<TensorId> {
    let volume = scope.ranked(5)?;
    let config = scope.config();
    let (filters, groups) = (config.count("filters")?, config.count_or("groups", 1)?);
    let [depth, height, width] = config.counts("kernel_size")?;
    let op = Conv3D {
        stride: config.counts_or("strides", [1; 3])?,
        dilation: config.counts_or("dilation_rate", [1; 3])?,
        padding: padding(config)?,
        ..Conv3D::default()
    };
    let channels = scope.channels(volume)?;
    if channels % groups != 0 || filters % groups != 0 {
        let reason =
            format!("{channels} channels and {filters} filters cannot be split into {groups} groups");
        return Err(config.broken(reason).into());
    }
    let kernel = scope.weight("kernel", &[depth, height, width, channels / groups, filters])?;
    let bias = bias(scope, filters)?;
    let convolved = if groups == 1 {
        scope.emit_some(op, vec![Some(volume), Some(kernel), bias])?
    } else {
        in_groups(scope, &op, [volume, kernel], bias, groups)?
    };
    activations::of_layer(scope, convolved)
}

/// A convolution for each group of channels: operators for volumes know no groups.
fn in_groups(
    scope: &mut Scope<'_>,
    op: &Conv3D,
    [volume, kernel]: [TensorId; 2],
    bias: Option<TensorId>,
    groups: usize,
) -> Built<TensorId> {
    let [inputs, filters] = [scope.channels(volume)? / groups, scope.channels(kernel)? / groups];
    let mut results = Vec::new();
    for group in 0..groups {
        // Of the last axis this group's part, of the others all.
        let part = |rank: usize| {
            let (mut begin, mut size) = (vec![0; rank], vec![-1; rank]);
            (begin[rank - 1], size[rank - 1]) = (group * filters, filters as i64);
            Slice { begin, size }
        };
        let own = scope.part(volume, 4, group * inputs, inputs)?;
        let kernel = scope.laid_out(kernel, part(5))?;
        let bias = bias.map(|bias| scope.laid_out(bias, part(1))).transpose()?;
        results.push(scope.emit_some(op.clone(), vec![Some(own), Some(kernel), bias])?);
    }
    scope.emit(Concat { axis: 4, ..Concat::default() }, &results)
}

/// A transposed convolution over time is one over an image of height 1.
pub(super) fn conv_1d(scope: &mut Scope<'_>) -> Built<TensorId> {
    let input = scope.ranked(3)?;
    let window = Window::<1>::of(scope.config())?;
    let filters = scope.config().count("filters")?;
    let channels = scope.channels(input)?;
    let kernel = scope.weight("kernel", &[window.kernel[0], filters, channels])?;
    let kernel = spread(scope, kernel, &window, [filters, channels])?;
    let kernel = scope.laid_out(kernel, Transpose::by(&[1, 0, 2]))?;
    let kernel = scope.laid_out(kernel, ExpandDims { axis: 1 })?;
    let image = scope.emit(ExpandDims { axis: 1 }, &[input])?;
    let growth = [Growth { factor: 1, extra: 0 }, window.growth(0)];
    let shape = output_shape(scope, image, &growth, filters)?;
    let bias = bias(scope, filters)?;
    let op = TransposeConv2D {
        stride: [1, window.stride[0]],
        padding: window.padding,
        ..TransposeConv2D::default()
    };
    let convolved = scope.emit_some(op, vec![Some(shape), Some(kernel), Some(image), bias])?;
    let squeezed = scope.emit(Squeeze { axes: vec![1] }, &[convolved])?;
    activations::of_layer(scope, squeezed)
}

pub(super) fn conv_2d(scope: &mut Scope<'_>) -> Built<TensorId> {
    let image = scope.ranked(4)?;
    let window = Window::<2>::of(scope.config())?;
    let filters = scope.config().count("filters")?;
    let channels = scope.channels(image)?;
    let [height, width] = window.kernel;
    let kernel = scope.weight("kernel", &[height, width, filters, channels])?;
    let kernel = spread(scope, kernel, &window, [filters, channels])?;
    let kernel = scope.laid_out(kernel, Transpose::by(&[2, 0, 1, 3]))?;
    let shape = output_shape(scope, image, &[window.growth(0), window.growth(1)], filters)?;
    let bias = bias(scope, filters)?;
    let op = TransposeConv2D { stride: window.stride, padding: window.padding, ..TransposeConv2D::default() };
    let convolved = scope.emit_some(op, vec![Some(shape), Some(kernel), Some(image), bias])?;
    activations::of_layer(scope, convolved)
}

pub(super) fn transpose_conv_3d(scope: &mut Scope<'_>) -> Built<TensorId> {
    let volume = scope.ranked(5)?;
    let window = Window::<3>::of(scope.config())?;
    let filters = scope.config().count("filters")?;
    let channels = scope.channels(volume)?;
    let [depth, height, width] = window.kernel;
    let kernel = scope.weight("kernel", &[depth, height, width, filters, channels])?;
    let kernel = spread(scope, kernel, &window, [filters, channels])?;
    let growth = [0, 1, 2].map(|axis| window.growth(axis));
    let shape = output_shape(scope, volume, &growth, filters)?;
    let bias = bias(scope, filters)?;
    let op = TransposeConv3D { stride: window.stride, padding: window.padding, ..TransposeConv3D::default() };
    let convolved = scope.emit_some(op, vec![Some(shape), Some(kernel), Some(volume), bias])?;
    activations::of_layer(scope, convolved)
}

/// How a kernel moves over `N` axes.
struct Window<const N: usize> {
    kernel: [usize; N],
    stride: [usize; N],
    dilation: [usize; N],
    padding: Padding,
    /// How far the output goes beyond the smallest that leads back to the input.
    output_padding: Option<[i64; N]>,
}

/// The size of an axis of the output: `factor * size + extra`.
#[derive(Clone, Copy)]
struct Growth {
    factor: usize,
    extra: i64,
}

impl<const N: usize> Window<N> {
    fn of(config: Config<'_>) -> Built<Window<N>> {
        let window = Window {
            kernel: config.counts("kernel_size")?,
            stride: config.counts_or("strides", [1; N])?,
            dilation: config.counts_or("dilation_rate", [1; N])?,
            padding: padding(config)?,
            output_padding: output_padding(config)?,
        };
        let all = [window.kernel, window.stride, window.dilation];
        if all.iter().flatten().any(|size| *size > LARGEST) {
            unsupported!("kernels, strides and dilations beyond {LARGEST} are not supported");
        }
        Ok(window)
    }

    /// The extent of the dilated kernel along an axis.
    fn reach(&self, axis: usize) -> usize {
        (self.kernel[axis] - 1) * self.dilation[axis] + 1
    }

    /// How an axis grows, by Keras' rule.
    fn growth(&self, axis: usize) -> Growth {
        let (reach, stride) = (self.reach(axis) as i64, self.stride[axis] as i64);
        let extra = match (self.padding, self.output_padding) {
            (Padding::Same, None) => 0,
            (Padding::Same, Some(padding)) => reach % 2 + padding[axis] - stride,
            (_, None) => (reach - stride).max(0),
            (_, Some(padding)) => reach + padding[axis] - stride,
        };
        Growth { factor: self.stride[axis], extra }
    }
}

/// Largest kernel, stride or dilation; far beyond what makes sense, so that no product of them
/// overflows.
const LARGEST: usize = 1 << 15;

fn output_padding<const N: usize>(config: Config<'_>) -> Built<Option<[i64; N]>> {
    let Some(given) = config.integers("output_padding")? else { return Ok(None) };
    let padding = match given.as_slice() {
        [one] => Some([*one; N]),
        several => <[i64; N]>::try_from(several).ok(),
    };
    match padding.filter(|padding| padding.iter().all(|size| (0..=LARGEST as i64).contains(size))) {
        Some(padding) => Ok(Some(padding)),
        None => Err(config.broken(format!("its output padding is {given:?}")).into()),
    }
}

/// A kernel `[..., out, in]` with zeros between its places, instead of dilation.
fn spread<const N: usize>(
    scope: &mut Scope<'_>,
    kernel: TensorId,
    window: &Window<N>,
    channels: [usize; 2],
) -> Built<TensorId> {
    if window.dilation == [1; N] {
        return Ok(kernel);
    }
    let (mut apart, mut amounts, mut together, mut kept) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for axis in 0..N {
        let (places, dilation) = (window.kernel[axis], window.dilation[axis]);
        apart.extend([ReshapeDim::Fixed(places), ReshapeDim::Fixed(1)]);
        amounts.extend([[0, 0], [0, dilation - 1]]);
        together.push(ReshapeDim::Fixed(places * dilation));
        kept.push(window.reach(axis) as i64);
    }
    for size in channels {
        apart.push(ReshapeDim::Fixed(size));
        amounts.push([0, 0]);
        together.push(ReshapeDim::Fixed(size));
        kept.push(size as i64);
    }
    let kernel = scope.laid_out(kernel, Reshape::to(apart))?;
    let kernel = scope.laid_out(kernel, Pad { amounts, ..Pad::default() })?;
    let kernel = scope.laid_out(kernel, Reshape::to(together))?;
    scope.laid_out(kernel, Slice { begin: vec![0; N + 2], size: kept })
}

/// The shape `[batch, sizes..., filters]` of the output, computed where the input's is free.
fn output_shape(scope: &mut Scope<'_>, x: TensorId, growth: &[Growth], filters: usize) -> Built<TensorId> {
    let dims = scope.shape(x);
    let unchanged = Growth { factor: 1, extra: 0 };
    let axes: Vec<Growth> = std::iter::once(unchanged).chain(growth.iter().copied()).collect();
    let fixed = |(axis, growth): (usize, &Growth)| {
        let size = dims.dims()[axis].fixed().map(i64::try_from)?.ok()?;
        size.checked_mul(growth.factor as i64)?.checked_add(growth.extra)
    };
    let fixed: Vec<Option<i64>> = axes.iter().enumerate().map(fixed).chain([Some(filters as i64)]).collect();
    if let Some(sizes) = fixed.iter().copied().collect::<Option<Vec<i64>>>() {
        let sizes = sizes.into_iter().map(|size| narrow(scope, size)).collect::<Built<Vec<i32>>>()?;
        return Ok(scope.small_integers("output_shape", &[sizes.len()], &sizes));
    }
    let shape = scope.emit(ShapeOf::default(), &[x])?;
    let mut sizes = Vec::new();
    for (axis, size) in fixed.into_iter().enumerate() {
        sizes.push(match (size, axes.get(axis)) {
            (Some(size), _) => integer(scope, size)?,
            (None, growth) => grown(scope, shape, axis, *growth.unwrap_or(&unchanged))?,
        });
    }
    scope.emit(Pack { axis: 0 }, &sizes)
}

/// The size of an axis of the output, from the shape of the input.
fn grown(scope: &mut Scope<'_>, shape: TensorId, axis: usize, growth: Growth) -> Built<TensorId> {
    let slice = StridedSlice {
        begin: vec![axis as i64],
        end: vec![axis as i64 + 1],
        strides: vec![1],
        shrink_axis_mask: 1,
        ..StridedSlice::default()
    };
    let mut size = scope.emit(slice, &[shape])?;
    if growth.factor != 1 {
        let factor = integer(scope, growth.factor as i64)?;
        size = scope.binary(BinaryKind::Mul, size, factor)?;
    }
    if growth.extra != 0 {
        let extra = integer(scope, growth.extra)?;
        size = scope.binary(BinaryKind::Add, size, extra)?;
    }
    Ok(size)
}

fn integer(scope: &mut Scope<'_>, value: i64) -> Built<TensorId> {
    let value = narrow(scope, value)?;
    Ok(scope.small_integers("size", &[], &[value]))
}

fn narrow(scope: &Scope<'_>, size: i64) -> Built<i32> {
    match i32::try_from(size) {
        Ok(size) => Ok(size),
        Err(_) => Err(scope.config().broken("its output is too large").into()),
    }
}
