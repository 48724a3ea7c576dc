//! Pooling under windows and of whole images.

use litesmith_graph::TensorId;
use litesmith_graph::ops::{
    BinaryKind, ExpandDims, Pad, PadMode, Padding, Pool2D, PoolKind, Quantize, Reduce, ReduceKind, Squeeze,
    StridedSlice, UnaryKind,
};

use super::convolution::as_rows;
use super::window::{Border, Window, three, two};
use crate::composed;
use crate::emit::Emit;
use crate::onnx::read::scope::Scope;
use crate::refusal::{Built, unsupported};

/// The window of a pooling.
fn window(scope: &mut Scope<'_, '_>, x: TensorId) -> Built<Window> {
    let Some(kernel) = scope.attributes.integers("kernel_shape")? else {
        return Err(scope.broken("its attribute 'kernel_shape' is missing").into());
    };
    if scope.rank(x) != kernel.len() + 2 || !(1..=3).contains(&kernel.len()) {
        unsupported!("a window {kernel:?} over {} is not supported; 1 to 3 axes are", scope.shape(x));
    }
    let kernel = scope.sizes_from(kernel, "the size of its window")?;
    if kernel.contains(&0) {
        return Err(scope.broken("its window is empty").into());
    }
    let mut window = Window::of(scope, x, &kernel)?;
    let same = scope.attributes.text("auto_pad")?.is_some_and(|mode| mode.starts_with("SAME"));
    if same && window.dilation.iter().any(|dilation| *dilation != 1) {
        unsupported!("'auto_pad' under a dilated window means different things; give 'pads'");
    }
    if scope.attributes.flag("ceil_mode", false)? {
        window.round_up(scope, x)?;
    }
    Ok(window)
}

pub(super) fn maximum(scope: &mut Scope<'_, '_>) -> Built<TensorId> {
    scope.attributes.ignore(&["storage_order"]);
    let x = scope.input(0)?;
    let dtype = scope.dtype(x);
    let window = window(scope, x)?;
    if let Some(real) = scope.draft.quantized.get(&x).copied() {
        // The largest integer stands for the largest number.
        let pooled = pooled(scope, real, &window, PoolKind::Max, Border::Value(f32::MIN))?;
        let quantization = scope.draft.graph[x].quantization.clone();
        let result = scope.emit(Quantize { to: dtype }, &[pooled])?;
        scope.draft.graph[result].quantization = quantization;
        scope.draft.quantized.insert(result, pooled);
        return Ok(result);
    }
    // Of bytes by way of real numbers, which hold them.
    let narrow = !dtype.is_float();
    if narrow && super::elementwise::wide(dtype).is_none_or(|wide| wide != litesmith_graph::DType::I32) {
        unsupported!("it is not supported for {dtype}; cast its input to float32");
    }
    let image = if narrow { scope.cast(x, litesmith_graph::DType::F32)? } else { x };
    let pooled = pooled(scope, image, &window, PoolKind::Max, Border::Value(f32::MIN))?;
    if narrow { scope.cast(pooled, dtype) } else { Ok(pooled) }
}

/// Pools `x`, whose channels stand in second place.
fn pooled(
    scope: &mut Scope<'_, '_>,
    x: TensorId,
    window: &Window,
    kind: PoolKind,
    border: Border,
) -> Built<TensorId> {
    if window.dilation.iter().any(|dilation| *dilation != 1) {
        return by_taps(scope, x, window, kind);
    }
    let mut image = scope.channels_to_last(x)?;
    let rows = window.kernel.len() == 1;
    let mut window = window.clone();
    if rows {
        window = as_rows(&window);
        image = scope.emit(ExpandDims { axis: 1 }, &[image])?;
    }
    // A maximum leaves out what is padded by itself.
    let by_itself = if kind == PoolKind::Max { Border::Nothing } else { border };
    let volume = window.kernel.len() == 3;
    let (image, padding) = window.padded(scope, image, if volume { border } else { by_itself })?;
    let mut result = if volume {
        composed::volumes::pool(scope, image, kind, three(&window.kernel), three(&window.stride), padding)?
    } else {
        let (kernel, stride) = (two(&window.kernel), two(&window.stride));
        scope.emit(Pool2D { kind, kernel, stride, padding, ..Pool2D::default() }, &[image])?
    };
    if rows {
        result = scope.emit(Squeeze { axes: vec![1] }, &[result])?;
    }
    scope.channels_to_first(result)
}

/// Under a window whose taps lie apart: each tap is a slice of the input.
fn by_taps(scope: &mut Scope<'_, '_>, x: TensorId, window: &Window, kind: PoolKind) -> Built<TensorId> {
    const MOST_TAPS: usize = 64;
    let axes = window.kernel.len();
    let taps = scope.affordable(&window.kernel)?;
    if taps > MOST_TAPS {
        unsupported!("a dilated window of {taps} taps is not supported, at most {MOST_TAPS} are");
    }
    let mut amounts = vec![[0, 0]; 2];
    amounts.extend(
        window.pads.iter().zip(&window.excess).map(|([before, after], more)| [*before, after + more]),
    );
    let (mode, join) = match kind {
        PoolKind::Max => (PadMode::Value(f32::MIN), BinaryKind::Maximum),
        PoolKind::Average => (PadMode::Zero, BinaryKind::Add),
    };
    let padded = if amounts.iter().all(|pair| *pair == [0, 0]) {
        x
    } else {
        scope.emit(Pad { amounts, mode }, &[x])?
    };
    let rank = axes + 2;
    let mut reaches = Vec::with_capacity(axes);
    for axis in 0..axes {
        let Some(room) = scope.size(padded, axis + 2)?.checked_sub(window.reach(axis)) else {
            return Err(scope.broken("its window is larger than its input").into());
        };
        reaches.push(room / window.stride[axis] * window.stride[axis] + 1);
    }
    let mut joined = None;
    for tap in 0..taps {
        let (mut rest, all) = (tap, (1u32 << rank) - 1);
        let mut slice = StridedSlice {
            begin: vec![0; rank],
            end: vec![0; rank],
            strides: vec![1; rank],
            begin_mask: all,
            end_mask: all,
            ..StridedSlice::default()
        };
        for axis in (0..axes).rev() {
            let start = rest % window.kernel[axis] * window.dilation[axis];
            rest /= window.kernel[axis];
            slice.begin[axis + 2] = start as i64;
            slice.end[axis + 2] = (start + reaches[axis]) as i64;
            slice.strides[axis + 2] = window.stride[axis] as i64;
            slice.begin_mask &= !(1 << (axis + 2));
            slice.end_mask &= !(1 << (axis + 2));
        }
        let part = scope.emit(slice, &[padded])?;
        joined = Some(match joined {
            Some(joined) => scope.binary(join, joined, part)?,
            None => part,
        });
    }
    let Some(joined) = joined else { return Err(scope.broken("its window is empty").into()) };
    match kind {
        PoolKind::Max => Ok(joined),
        PoolKind::Average => scope.with_scalar(BinaryKind::Mul, joined, 1.0 / taps as f32),
    }
}

pub(super) fn average(scope: &mut Scope<'_, '_>) -> Built<TensorId> {
    let x = scope.input(0)?;
    scope.expect_floats(x)?;
    let window = window(scope, x)?;
    let counts_padding = scope.attributes.flag("count_include_pad", false)?;
    let shape = scope.shape(x).dims()[2..].to_vec();
    let padded = window.pads.iter().any(|pads| *pads != [0, 0]);
    let excess = window.excess.iter().any(|excess| *excess > 0);
    match window.simple(&shape) {
        Some(Padding::Valid) => return pooled(scope, x, &window, PoolKind::Average, Border::Nothing),
        // What is not there does not count.
        Some(_) if (!counts_padding || !padded) && window.dilation.iter().all(|dilation| *dilation == 1) => {
            return pooled(scope, x, &window, PoolKind::Average, Border::Nothing);
        }
        _ => {}
    }
    if counts_padding && !excess {
        return of_padded(scope, x, &window);
    }
    // The mean over a whole window, padding and all, by how much of it counts.
    let Some(factors) = factors(scope, x, &window, counts_padding)? else {
        if counts_padding || window.kernel.len() == 3 {
            unsupported!("it needs fixed sizes; give the model a fixed input shape");
        }
        return pooled(scope, x, &window, PoolKind::Average, Border::Nothing);
    };
    let mean = of_padded(scope, x, &window)?;
    scope.binary(BinaryKind::Mul, mean, factors)
}

/// The mean of zeros around an image too.
fn of_padded(scope: &mut Scope<'_, '_>, x: TensorId, window: &Window) -> Built<TensorId> {
    let mut amounts = vec![[0, 0]; 2];
    amounts.extend(
        window.pads.iter().zip(&window.excess).map(|([before, after], more)| [*before, after + more]),
    );
    let padded = scope.emit(litesmith_graph::ops::Pad { amounts, ..Default::default() }, &[x])?;
    let axes = window.kernel.len();
    let plain = Window { pads: vec![[0, 0]; axes], excess: vec![0; axes], ..window.clone() };
    pooled(scope, padded, &plain, PoolKind::Average, Border::Nothing)
}

/// For each place of the output, the size of a window divided by how much of it counts; `None` where sizes
/// are open.
fn factors(
    scope: &mut Scope<'_, '_>,
    x: TensorId,
    window: &Window,
    counts_padding: bool,
) -> Built<Option<TensorId>> {
    let axes = window.kernel.len();
    let Some(sizes) = scope.shape(x).dims()[2..].iter().map(|dim| dim.fixed()).collect::<Option<Vec<_>>>()
    else {
        return Ok(None);
    };
    let mut shares: Vec<Vec<f64>> = Vec::with_capacity(axes);
    for (axis, size) in sizes.iter().enumerate() {
        let (kernel, stride, [before, after]) = (window.kernel[axis], window.stride[axis], window.pads[axis]);
        let (reach, dilation) = (window.reach(axis), window.dilation[axis]);
        let Some(room) = (size + before + after + window.excess[axis]).checked_sub(reach) else {
            return Err(scope.broken("its window is larger than its input").into());
        };
        let (low, high) = if counts_padding { (0, before + size + after) } else { (before, before + size) };
        scope.affordable(&[room / stride + 1, kernel])?;
        let share = |place: usize| {
            let taps = (0..kernel).map(|tap| place * stride + tap * dilation);
            let inside = taps.filter(|at| (low..high).contains(at)).count();
            kernel as f64 / inside.max(1) as f64
        };
        shares.push((0..=room / stride).map(share).collect());
    }
    let lengths: Vec<usize> = shares.iter().map(Vec::len).collect();
    let count = scope.affordable(&lengths)?;
    let value = |place: usize| {
        let mut rest = place;
        let factors = shares.iter().rev().map(|shares| {
            let at = rest % shares.len();
            rest /= shares.len();
            shares[at]
        });
        factors.product::<f64>() as f32
    };
    let values = (0..count).map(value).collect();
    let shape = [&[1, 1], lengths.as_slice()].concat();
    Ok(Some(scope.floats("shares", &shape, values)))
}

/// The p-norm under a window.
pub(super) fn norm(scope: &mut Scope<'_, '_>) -> Built<TensorId> {
    let x = scope.input(0)?;
    scope.expect_floats(x)?;
    let p = scope.attributes.integer("p")?.unwrap_or(2) as f32;
    let window = window(scope, x)?;
    let area = scope.affordable(&window.kernel)? as f32;
    let powers = powers(scope, x, p)?;
    let mean = of_padded(scope, powers, &window)?;
    let sum = scope.with_scalar(BinaryKind::Mul, mean, area)?;
    root(scope, sum, p)
}

fn powers(scope: &mut Scope<'_, '_>, x: TensorId, p: f32) -> Built<TensorId> {
    if p == 2.0 {
        return scope.unary(UnaryKind::Square, x);
    }
    let size = scope.unary(UnaryKind::Abs, x)?;
    if p == 1.0 { Ok(size) } else { scope.with_scalar(BinaryKind::Pow, size, p) }
}

fn root(scope: &mut Scope<'_, '_>, sum: TensorId, p: f32) -> Built<TensorId> {
    if p == 2.0 {
        return scope.unary(UnaryKind::Sqrt, sum);
    }
    if p == 1.0 { Ok(sum) } else { scope.with_scalar(BinaryKind::Pow, sum, 1.0 / p) }
}

/// Over all places of an image.
pub(super) fn global(scope: &mut Scope<'_, '_>, kind: ReduceKind) -> Built<TensorId> {
    let x = scope.input(0)?;
    if scope.rank(x) < 3 {
        return Err(scope.broken(format!("its input {} is no image", scope.shape(x))).into());
    }
    let axes: Vec<i32> = (2..scope.rank(x) as i32).collect();
    let op = |kind| Reduce { kind, axes: axes.clone(), keep_dims: true };
    if scope.op != "GlobalLpPool" {
        return scope.emit(op(kind), &[x]);
    }
    scope.expect_floats(x)?;
    let p = scope.attributes.integer("p")?.unwrap_or(2) as f32;
    let powers = powers(scope, x, p)?;
    let sum = scope.emit(op(ReduceKind::Sum), &[powers])?;
    root(scope, sum, p)
}
