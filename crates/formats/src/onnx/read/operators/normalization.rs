//! Normalization by means and variances, norms, and softmax.

use litesmith_graph::TensorId;
use litesmith_graph::ops::{
    BatchNorm, BinaryKind, Reduce, ReduceKind, Reshape, ReshapeDim, Softmax, UnaryKind,
};

use super::shapes::matrix;
use crate::emit::Emit;
use crate::onnx::read::scope::Scope;
use crate::refusal::{Built, unsupported};

pub(super) fn softmax(scope: &mut Scope<'_, '_>) -> Built<TensorId> {
    let x = scope.input(0)?;
    let log = scope.op == "LogSoftmax";
    let rank = scope.rank(x);
    let op = Softmax { log, ..Softmax::default() };
    let usual = if scope.target.opset < 13 { 1 } else { -1 };
    let axis = scope.attributes.integer("axis")?.unwrap_or(usual);
    let axis = scope.axis(axis, rank)?;
    if scope.target.opset >= 13 || axis + 1 == rank {
        return scope.along_last(x, axis, |scope, x| scope.emit(op, &[x]));
    }
    // Over all axes from one on, if there is more than one element beside it.
    let shape = scope.shape(x);
    let rest = &shape.dims()[axis + 1..];
    if rest.iter().all(|dim| dim.fixed() == Some(1)) {
        return scope.along_last(x, axis, |scope, x| scope.emit(op, &[x]));
    }
    let flat = matrix(scope, x, axis)?;
    let result = scope.emit(op, &[flat])?;
    as_before(scope, result, x)
}

/// A tensor under the shape of another one.
fn as_before(scope: &mut Scope<'_, '_>, x: TensorId, like: TensorId) -> Built<TensorId> {
    let shape = scope.shape(like);
    if shape.dims().iter().filter(|dim| dim.fixed().is_none()).count() <= 1 {
        let dim = |dim: &litesmith_graph::Dim| dim.fixed().map_or(ReshapeDim::Infer, ReshapeDim::Fixed);
        return scope.emit(Reshape::to(shape.dims().iter().map(dim).collect()), &[x]);
    }
    let sizes = scope.emit(litesmith_graph::ops::ShapeOf { dtype: litesmith_graph::DType::I64 }, &[like])?;
    scope.emit(Reshape { shape: None }, &[x, sizes])
}

pub(super) fn batch(scope: &mut Scope<'_, '_>) -> Built<TensorId> {
    scope.attributes.ignore(&["momentum"]);
    if scope.attributes.flag("training_mode", false)? || !scope.attributes.flag("spatial", true)? {
        unsupported!("it is supported as used, over channels; export the model in evaluation mode");
    }
    let mut operands = vec![None];
    for index in 1..5 {
        operands.push(Some(scope.input(index)?));
    }
    // Running statistics are no weights.
    scope.keep_from_training(3);
    scope.keep_from_training(4);
    let x = scope.input(0)?;
    scope.expect_floats(x)?;
    let epsilon = scope.attributes.number("epsilon")?.unwrap_or(1e-5);
    let last = scope.channels_to_last(x)?;
    operands[0] = Some(last);
    let result = scope.emit_some(BatchNorm { epsilon, ..BatchNorm::default() }, operands)?;
    scope.channels_to_first(result)
}

fn mean(scope: &mut Scope<'_, '_>, x: TensorId, axes: &[i32]) -> Built<TensorId> {
    scope.emit(Reduce { kind: ReduceKind::Mean, axes: axes.to_vec(), keep_dims: true }, &[x])
}

/// `(x - mean) / sqrt(variance + epsilon)` over some axes, with mean and `1 / sqrt(…)`.
fn standardized(scope: &mut Scope<'_, '_>, x: TensorId, axes: &[i32], epsilon: f32) -> Built<[TensorId; 3]> {
    let center = mean(scope, x, axes)?;
    let deviation = scope.binary(BinaryKind::Sub, x, center)?;
    let square = scope.unary(UnaryKind::Square, deviation)?;
    let variance = mean(scope, square, axes)?;
    let shifted = scope.with_scalar(BinaryKind::Add, variance, epsilon)?;
    let inverse = scope.unary(UnaryKind::Rsqrt, shifted)?;
    Ok([scope.binary(BinaryKind::Mul, deviation, inverse)?, center, inverse])
}

pub(super) fn layer(scope: &mut Scope<'_, '_>) -> Built<Vec<crate::onnx::read::draft::Bound>> {
    scope.attributes.ignore(&["stash_type"]);
    let x = scope.input(0)?;
    scope.expect_floats(x)?;
    let (scale, bias) = (scope.input(1)?, scope.optional(2)?);
    let rank = scope.rank(x);
    let axis = scope.attributes.integer("axis")?.unwrap_or(-1);
    let axis = scope.axis(axis, rank)? as i32;
    let epsilon = scope.attributes.number("epsilon")?.unwrap_or(1e-5);
    let axes: Vec<i32> = (axis..rank as i32).collect();
    let [normal, center, inverse] = standardized(scope, x, &axes, epsilon)?;
    let mut result = scope.binary(BinaryKind::Mul, normal, scale)?;
    if let Some(bias) = bias {
        result = scope.binary(BinaryKind::Add, result, bias)?;
    }
    Ok([result, center, inverse].map(crate::onnx::read::draft::Bound::Tensor).to_vec())
}

/// Divided by the root of the mean square.
pub(super) fn root_mean_square(scope: &mut Scope<'_, '_>) -> Built<TensorId> {
    scope.attributes.ignore(&["stash_type"]);
    let [x, scale] = scope.pair()?;
    scope.expect_floats(x)?;
    let rank = scope.rank(x);
    let axis = scope.attributes.integer("axis")?.unwrap_or(-1);
    let axis = scope.axis(axis, rank)? as i32;
    let epsilon = scope.attributes.number("epsilon")?.unwrap_or(1e-5);
    let axes: Vec<i32> = (axis..rank as i32).collect();
    let square = scope.unary(UnaryKind::Square, x)?;
    let square = mean(scope, square, &axes)?;
    let shifted = scope.with_scalar(BinaryKind::Add, square, epsilon)?;
    let inverse = scope.unary(UnaryKind::Rsqrt, shifted)?;
    let normal = scope.binary(BinaryKind::Mul, x, inverse)?;
    scope.binary(BinaryKind::Mul, normal, scale)
}

/// A vector with one number for each channel, for a tensor whose channels stand in second place.
fn per_channel(scope: &mut Scope<'_, '_>, vector: TensorId, rank: usize) -> Built<TensorId> {
    let channels = scope.size(vector, 0)?;
    let shape: Vec<usize> =
        [channels].into_iter().chain(std::iter::repeat_n(1, rank.saturating_sub(2))).collect();
    scope.reshaped(vector, &shape)
}

pub(super) fn instance(scope: &mut Scope<'_, '_>) -> Built<TensorId> {
    let (x, scale, bias) = (scope.input(0)?, scope.input(1)?, scope.input(2)?);
    scope.expect_floats(x)?;
    let rank = scope.rank(x);
    let epsilon = scope.attributes.number("epsilon")?.unwrap_or(1e-5);
    let axes: Vec<i32> = (2..rank as i32).collect();
    if axes.is_empty() {
        return Err(scope.broken(format!("its input {} is no image", scope.shape(x))).into());
    }
    let [normal, ..] = standardized(scope, x, &axes, epsilon)?;
    let (scale, bias) = (per_channel(scope, scale, rank)?, per_channel(scope, bias, rank)?);
    let scaled = scope.binary(BinaryKind::Mul, normal, scale)?;
    scope.binary(BinaryKind::Add, scaled, bias)
}

pub(super) fn group(scope: &mut Scope<'_, '_>) -> Built<TensorId> {
    scope.attributes.ignore(&["stash_type"]);
    let (x, mut scale, mut bias) = (scope.input(0)?, scope.input(1)?, scope.input(2)?);
    scope.expect_floats(x)?;
    let rank = scope.rank(x);
    let groups = scope.attributes.integer("num_groups")?.unwrap_or(1);
    let groups = scope.size_from(groups, "the number of its groups")?;
    let epsilon = scope.attributes.number("epsilon")?.unwrap_or(1e-5);
    let channels = scope.size(x, 1)?;
    if rank < 3 || groups == 0 || channels % groups != 0 {
        return Err(scope.broken(format!("{channels} channels cannot be split into {groups} groups")).into());
    }
    let mut shape =
        vec![ReshapeDim::Copy(0), ReshapeDim::Fixed(groups), ReshapeDim::Fixed(channels / groups)];
    shape.extend((2..rank).map(ReshapeDim::Copy));
    let apart = scope.emit(Reshape::to(shape), &[x])?;
    let axes: Vec<i32> = (2..=rank as i32).collect();
    let [normal, ..] = standardized(scope, apart, &axes, epsilon)?;
    let normal = as_before(scope, normal, x)?;
    // Until version 21 there was one number for each group.
    for vector in [&mut scale, &mut bias] {
        if scope.target.opset < 21 && groups != channels {
            scope.listable(&[channels])?;
            let places: Vec<i64> =
                (0..channels).map(|channel| (channel / (channels / groups)) as i64).collect();
            *vector = super::gathering::chosen_along(scope, *vector, 0, &places)?;
        }
        *vector = per_channel(scope, *vector, rank)?;
    }
    let scaled = scope.binary(BinaryKind::Mul, normal, scale)?;
    scope.binary(BinaryKind::Add, scaled, bias)
}

pub(super) fn mean_variance(scope: &mut Scope<'_, '_>) -> Built<TensorId> {
    let x = scope.input(0)?;
    scope.expect_floats(x)?;
    let axes = scope.attributes.integers("axes")?.unwrap_or(&[0, 2, 3]);
    let axes: Vec<i32> = scope.axes(axes, scope.rank(x))?.into_iter().map(|axis| axis as i32).collect();
    let [normal, ..] = standardized(scope, x, &axes, 1e-9)?;
    Ok(normal)
}

/// Divided by the norm along an axis.
pub(super) fn norm(scope: &mut Scope<'_, '_>) -> Built<TensorId> {
    let x = scope.input(0)?;
    scope.expect_floats(x)?;
    let axis = scope.attributes.integer("axis")?.unwrap_or(-1);
    let axis = scope.axis(axis, scope.rank(x))? as i32;
    let sum = |scope: &mut Scope<'_, '_>, x: TensorId| {
        scope.emit(Reduce { kind: ReduceKind::Sum, axes: vec![axis], keep_dims: true }, &[x])
    };
    let length = match scope.attributes.integer("p")?.unwrap_or(2) {
        1 => {
            let size = scope.unary(UnaryKind::Abs, x)?;
            sum(scope, size)?
        }
        2 => {
            let square = scope.unary(UnaryKind::Square, x)?;
            let sum = sum(scope, square)?;
            scope.unary(UnaryKind::Sqrt, sum)?
        }
        p => unsupported!("the norm of order {p} is not supported; those of order 1 and 2 are"),
    };
    scope.binary(BinaryKind::Div, x, length)
}

/// Across neighbouring channels.
pub(super) fn local_response(scope: &mut Scope<'_, '_>) -> Built<TensorId> {
    const MOST: usize = 64;
    let x = scope.input(0)?;
    scope.expect_floats(x)?;
    let rank = scope.rank(x);
    let size = scope.attributes.integer("size")?.unwrap_or(1);
    let size = scope.size_from(size, "the number of channels")?;
    let alpha = scope.attributes.number("alpha")?.unwrap_or(1e-4);
    let beta = scope.attributes.number("beta")?.unwrap_or(0.75);
    let bias = scope.attributes.number("bias")?.unwrap_or(1.0);
    if size == 0 || size > MOST || rank < 3 {
        unsupported!("over {size} channels of {} it is not supported; 1 to {MOST} are", scope.shape(x));
    }
    let channels = scope.size(x, 1)?;
    let square = scope.unary(UnaryKind::Square, x)?;
    let mut amounts = vec![[0, 0]; rank];
    amounts[1] = [(size - 1) / 2, size / 2];
    let padded = scope.emit(litesmith_graph::ops::Pad { amounts, ..Default::default() }, &[square])?;
    let mut sum = scope.part(padded, 1, 0, channels)?;
    for shift in 1..size {
        let next = scope.part(padded, 1, shift, channels)?;
        sum = scope.binary(BinaryKind::Add, sum, next)?;
    }
    let scaled = scope.with_scalar(BinaryKind::Mul, sum, alpha / size as f32)?;
    let shifted = scope.with_scalar(BinaryKind::Add, scaled, bias)?;
    let power = scope.with_scalar(BinaryKind::Pow, shifted, beta)?;
    scope.binary(BinaryKind::Div, x, power)
}
