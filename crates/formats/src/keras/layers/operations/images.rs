//! Pooling, normalization and images, as functions.

use litesmith_graph::TensorId;
use litesmith_graph::ops::{
    BinaryKind, Concat, ExpandDims, Pad, Pool2D, PoolKind, Reduce, ReduceKind, Squeeze, StridedSlice,
    UnaryKind,
};
use serde_json::Value;

use crate::emit::Emit;
use crate::keras::config::{Built, unsupported};
use crate::keras::layers::convolution::padding;
use crate::keras::layers::operations::{axes, class};
use crate::keras::layers::resizing;
use crate::keras::scope::{Operand, Scope};

fn check_layout(scope: &Scope<'_>) -> Built<()> {
    if scope.config().text("data_format")? == Some("channels_first") {
        unsupported!("channels_first is not supported in operations; use channels_last");
    }
    Ok(())
}

/// Windows over one axis or two.
pub(in crate::keras::layers) fn pool(scope: &mut Scope<'_>) -> Built<TensorId> {
    check_layout(scope)?;
    let kind = if class(scope) == "MaxPool" { PoolKind::Max } else { PoolKind::Average };
    let mut image = scope.floats()?;
    let config = scope.config();
    let padding = padding(config)?;
    let single = scope.rank(image) == 3;
    let (kernel, stride) = if single {
        let [kernel] = config.counts_or("pool_size", [2])?;
        let [stride] = config.counts_or("strides", [kernel])?;
        image = scope.emit(ExpandDims { axis: 1 }, &[image])?;
        ([1, kernel], [1, stride])
    } else {
        let kernel = config.counts_or("pool_size", [2, 2])?;
        (kernel, config.counts_or("strides", kernel)?)
    };
    let pooled = scope.emit(Pool2D { kind, kernel, stride, padding, ..Pool2D::default() }, &[image])?;
    if single { scope.emit(Squeeze { axes: vec![1] }, &[pooled]) } else { Ok(pooled) }
}

/// By the root of the mean square, or by mean and variance, times a scale and plus an offset.
pub(in crate::keras::layers) fn normalization(scope: &mut Scope<'_>) -> Built<TensorId> {
    let x = scope.float_operand(0, &["x"])?;
    let (axes, _) = axes(scope, x)?;
    let epsilon = scope.config().optional_number("epsilon")?;
    let mean = |scope: &mut Scope<'_>, x| {
        scope.emit(Reduce { kind: ReduceKind::Mean, axes: axes.clone(), keep_dims: true }, &[x])
    };
    let rms = class(scope) == "RMSNorm";
    let centered = if rms {
        x
    } else {
        let center = mean(scope, x)?;
        scope.binary(BinaryKind::Sub, x, center)?
    };
    let square = scope.unary(UnaryKind::Square, centered)?;
    let variance = mean(scope, square)?;
    let shifted = scope.with_scalar(BinaryKind::Add, variance, epsilon.unwrap_or(1e-7))?;
    let inverse = scope.unary(UnaryKind::Rsqrt, shifted)?;
    let scaled = if scope.config().flag("rms_scaling", false)? { x } else { centered };
    let mut result = scope.binary(BinaryKind::Mul, scaled, inverse)?;
    let factors: &[(usize, &[&str], BinaryKind)] = if rms {
        &[(1, &["scale"], BinaryKind::Mul)]
    } else {
        &[(1, &["gamma"], BinaryKind::Mul), (2, &["beta"], BinaryKind::Add)]
    };
    for (place, names, kind) in factors {
        let given = scope.operand(*place, names);
        if given.is_some_and(|operand| *operand != Operand::Value(Value::Null)) {
            let factor = scope.float_operand(*place, names)?;
            result = scope.binary(*kind, result, factor)?;
        }
    }
    Ok(result)
}

/// Images scaled to a size.
pub(in crate::keras::layers) fn resize(scope: &mut Scope<'_>) -> Built<TensorId> {
    check_layout(scope)?;
    let size = scope.config().counts("size")?;
    resizing::resized(scope, size)
}

/// Zeros around an image, or its border cut off.
pub(in crate::keras::layers) fn border(scope: &mut Scope<'_>) -> Built<TensorId> {
    check_layout(scope)?;
    let image = scope.floats()?;
    let rank = scope.rank(image);
    if rank != 3 && rank != 4 {
        return Err(scope.config().broken("it takes an image or a batch of images").into());
    }
    let pads = class(scope) == "PadImages";
    let word = if pads { "padding" } else { "cropping" };
    let mut amounts = vec![[0, 0]; rank];
    for (axis, before, after, target) in
        [(rank - 3, "top", "bottom", "target_height"), (rank - 2, "left", "right", "target_width")]
    {
        let config = scope.config();
        let amount = |side: &str| match config.get(&format!("{side}_{word}")) {
            None => Ok(None),
            Some(value) => match value.as_u64().filter(|amount| *amount < 1 << 32) {
                Some(amount) => Ok(Some(amount as usize)),
                None => Err(config.broken(format!("its {side} {word} is {value}"))),
            },
        };
        let (before, after) = (amount(before)?, amount(after)?);
        let known = match (before, after, config.get(target)) {
            (Some(before), Some(after), _) => Some([before, after]),
            (one, other, Some(_)) => {
                let (size, target) = (scope.size(image, axis)?, config.count(target)?);
                let rest = if pads { target.checked_sub(size) } else { size.checked_sub(target) };
                let side = one.or(other).unwrap_or(0);
                rest.and_then(|rest| rest.checked_sub(side))
                    .map(|left| if one.is_some() { [side, left] } else { [left, side] })
            }
            _ => None,
        };
        amounts[axis] = known.ok_or_else(|| config.broken(format!("its {word} does not fit")))?;
    }
    if pads {
        return scope.emit(Pad { amounts, ..Pad::default() }, &[image]);
    }
    let mut cut = image;
    for (axis, [before, after]) in amounts.into_iter().enumerate().filter(|(_, sides)| *sides != [0, 0]) {
        let size = scope.size(cut, axis)?;
        match size.checked_sub(before).and_then(|rest| rest.checked_sub(after)).filter(|rest| *rest > 0) {
            Some(rest) => cut = scope.part(cut, axis, before, rest)?,
            None => return Err(scope.config().broken("it cuts more than the image").into()),
        }
    }
    Ok(cut)
}

/// The pixels of each window, as channels.
pub(in crate::keras::layers) fn patches(scope: &mut Scope<'_>) -> Built<TensorId> {
    check_layout(scope)?;
    let image = scope.ranked(4)?;
    let config = scope.config();
    let size: [usize; 2] = config.counts("size")?;
    let stride: [usize; 2] = config.counts_or("strides", size)?;
    let [dilation] = config.counts_or("dilation_rate", [1])?;
    if dilation != 1 || config.text("padding")? == Some("same") {
        unsupported!("patches that are padded or dilated are not supported; pad the image before");
    }
    window_pixels(scope, image, size, stride)
}

/// The pixels of each window of an image, window by window, as channels: rows, columns, channels.
pub(in crate::keras::layers) fn window_pixels(
    scope: &mut Scope<'_>,
    image: TensorId,
    size: [usize; 2],
    stride: [usize; 2],
) -> Built<TensorId> {
    const MOST_PIXELS: usize = 1 << 10;
    let mut counts = [0; 2];
    for axis in [0, 1] {
        let length = scope.size(image, axis + 1)?;
        match length.checked_sub(size[axis]) {
            Some(room) => counts[axis] = room / stride[axis] + 1,
            None => return Err(scope.config().broken("its windows are larger than the image").into()),
        }
    }
    if size[0].saturating_mul(size[1]) > MOST_PIXELS {
        unsupported!("windows of more than {MOST_PIXELS} pixels are not supported");
    }
    let mut pixels = Vec::new();
    for row in 0..size[0] {
        for column in 0..size[1] {
            let starts = [row, column];
            let end = |axis: usize| (starts[axis] + (counts[axis] - 1) * stride[axis] + 1) as i64;
            let slice = StridedSlice {
                begin: vec![0, row as i64, column as i64, 0],
                end: vec![0, end(0), end(1), 0],
                strides: vec![1, stride[0] as i64, stride[1] as i64, 1],
                begin_mask: 0b1001,
                end_mask: 0b1001,
                shrink_axis_mask: 0,
            };
            pixels.push(scope.emit(slice, &[image])?);
        }
    }
    scope.emit(Concat { axis: -1, ..Concat::default() }, &pixels)
}
