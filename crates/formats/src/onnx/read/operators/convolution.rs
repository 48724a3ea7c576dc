//! Convolutions of sequences, images and volumes.

use litesmith_graph::TensorId;
use litesmith_graph::ops::{Concat, Conv2D, Conv3D, DepthwiseConv2D, ExpandDims, Slice, Squeeze, Transpose};

use super::window::{Border, Window, three, two};
use crate::emit::Emit;
use crate::onnx::read::scope::Scope;
use crate::refusal::{Built, unsupported};

pub(super) fn convolution(scope: &mut Scope<'_, '_>) -> Built<TensorId> {
    let [x, kernel] = scope.pair()?;
    let bias = scope.optional(2)?;
    scope.expect_floats(x)?;
    convolved(scope, x, kernel, bias)
}

/// The convolution that a node's attributes state.
pub(super) fn convolved(
    scope: &mut Scope<'_, '_>,
    x: TensorId,
    kernel: TensorId,
    bias: Option<TensorId>,
) -> Built<TensorId> {
    let sizes = scope.sizes(kernel)?;
    if scope.rank(x) != sizes.len() || !(3..=5).contains(&sizes.len()) {
        let (x, kernel) = (scope.shape(x), scope.shape(kernel));
        unsupported!("a convolution of {x} with {kernel} is not supported; 1 to 3 axes of space are");
    }
    check_kernel(scope, &sizes[2..])?;
    let groups = scope.attributes.integer("group")?.unwrap_or(1);
    let groups = scope.size_from(groups, "the number of its groups")?;
    let mut window = Window::of(scope, x, &sizes[2..])?;
    let (filters, depth) = (sizes[0], sizes[1]);
    if groups == 0 || filters % groups != 0 {
        return Err(scope.broken(format!("{filters} filters cannot be split into {groups} groups")).into());
    }
    let image = scope.channels_to_last(x)?;
    if sizes.len() == 5 {
        return volumes(scope, image, kernel, bias, &window, groups);
    }
    let (image, flat) = if sizes.len() == 3 {
        window = as_rows(&window);
        (scope.emit(ExpandDims { axis: 1 }, &[image])?, true)
    } else {
        (image, false)
    };
    let (image, padding) = window.padded(scope, image, Border::Value(0.0))?;
    let (stride, dilation) = (two(&window.stride), two(&window.dilation));
    let depthwise = groups > 1 && depth == 1;
    let order: &[usize] = match (depthwise, flat) {
        (true, false) => &[1, 2, 3, 0],
        (true, true) => &[1, 2, 0],
        (false, false) => &[0, 2, 3, 1],
        (false, true) => &[0, 2, 1],
    };
    let mut kernel = scope.laid_out(kernel, Transpose::by(order))?;
    if flat {
        kernel = scope.laid_out(kernel, ExpandDims { axis: 1 })?;
    }
    let operands = vec![Some(image), Some(kernel), bias];
    let result = if depthwise {
        let multiplier = filters / groups;
        let op = DepthwiseConv2D { stride, dilation, padding, multiplier, ..DepthwiseConv2D::default() };
        scope.emit_some(op, operands)?
    } else {
        let op = Conv2D { stride, dilation, padding, groups, ..Conv2D::default() };
        scope.emit_some(op, operands)?
    };
    let result = if flat { scope.emit(Squeeze { axes: vec![1] }, &[result])? } else { result };
    scope.channels_to_first(result)
}

/// Refuses a stated kernel shape that is not that of the weights.
fn check_kernel(scope: &Scope<'_, '_>, sizes: &[usize]) -> Built<()> {
    let stated = scope.attributes.integers("kernel_shape")?;
    let same = stated.is_none_or(|stated| stated.iter().copied().eq(sizes.iter().map(|size| *size as i64)));
    if !same || sizes.contains(&0) {
        return Err(scope.broken(format!("its kernel is {sizes:?}, it says {stated:?}")).into());
    }
    Ok(())
}

/// A window over sequences as one over images of one row.
pub(super) fn as_rows(window: &Window) -> Window {
    let with = |first: usize, rest: &[usize]| [&[first], rest].concat();
    Window {
        kernel: with(1, &window.kernel),
        stride: with(1, &window.stride),
        dilation: with(1, &window.dilation),
        pads: [&[[0, 0]], window.pads.as_slice()].concat(),
        excess: with(0, &window.excess),
    }
}

fn volumes(
    scope: &mut Scope<'_, '_>,
    volume: TensorId,
    kernel: TensorId,
    bias: Option<TensorId>,
    window: &Window,
    groups: usize,
) -> Built<TensorId> {
    const MOST_GROUPS: usize = 64;
    if groups > MOST_GROUPS {
        unsupported!("{groups} groups over volumes are not supported, at most {MOST_GROUPS} are");
    }
    let (volume, padding) = window.padded(scope, volume, Border::Value(0.0))?;
    let op = Conv3D {
        stride: three(&window.stride),
        dilation: three(&window.dilation),
        padding,
        ..Conv3D::default()
    };
    let kernel = scope.laid_out(kernel, Transpose::by(&[2, 3, 4, 1, 0]))?;
    let result = if groups == 1 {
        scope.emit_some(op, vec![Some(volume), Some(kernel), bias])?
    } else {
        let (depth, filters) = (scope.size(kernel, 3)?, scope.size(kernel, 4)? / groups);
        let mut results = Vec::with_capacity(groups);
        for group in 0..groups {
            let own = scope.part(volume, 4, group * depth, depth)?;
            let (mut begin, mut size) = (vec![0; 5], vec![-1; 5]);
            (begin[4], size[4]) = (group * filters, filters as i64);
            let weights = scope.laid_out(kernel, Slice { begin, size })?;
            let slice = Slice { begin: vec![group * filters], size: vec![filters as i64] };
            let bias = bias.map(|bias| scope.laid_out(bias, slice)).transpose()?;
            results.push(scope.emit_some(op.clone(), vec![Some(own), Some(weights), bias])?);
        }
        scope.emit(Concat { axis: 4, ..Concat::default() }, &results)?
    };
    scope.channels_to_first(result)
}
