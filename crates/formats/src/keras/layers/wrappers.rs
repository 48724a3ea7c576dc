//! Layers that apply others.

use litesmith_graph::TensorId;
use litesmith_graph::ops::{Pack, Reshape, ReshapeDim, ShapeOf, StridedSlice};

use crate::emit::Emit;
use crate::keras::architecture::Layer;
use crate::keras::config::{Built, unsupported};
use crate::keras::scope::Scope;

/// Layers that treat each vector along the last axis by itself, so that time need not be folded away.
const POINTWISE: [&str; 9] =
    ["Activation", "Dense", "Dropout", "ELU", "GaussianNoise", "Identity", "LeakyReLU", "ReLU", "Rescaling"];

pub(super) fn inner<'a>(scope: &Scope<'a>) -> Built<&'a Layer> {
    let layer = scope.layer;
    layer.wrapped("layer").next().ok_or_else(|| layer.config().broken("it wraps no layer").into())
}

pub(super) fn only(scope: &Scope<'_>, outputs: &[TensorId]) -> Built<TensorId> {
    match outputs {
        [output] => Ok(*output),
        _ => unsupported!("it wraps '{}', which has {} outputs", scope.layer.class, outputs.len()),
    }
}

/// The stored kernel has been divided by its largest singular value.
pub(super) fn spectral_normalization(scope: &mut Scope<'_>) -> Built<TensorId> {
    let (layer, input) = (inner(scope)?, scope.input()?);
    let outputs = scope.apply(layer, &[input])?;
    only(scope, &outputs)
}

/// One layer after the other.
pub(super) fn pipeline(scope: &mut Scope<'_>) -> Built<TensorId> {
    let layer = scope.layer;
    let mut x = scope.input()?;
    for inner in layer.wrapped("layers") {
        let outputs = scope.apply(inner, &[x])?;
        x = only(scope, &outputs)?;
    }
    Ok(x)
}

/// The layer on each step: the steps of all samples become one batch.
pub(super) fn time_distributed(scope: &mut Scope<'_>) -> Built<TensorId> {
    let (layer, input) = (inner(scope)?, scope.input()?);
    let rank = scope.rank(input);
    if rank < 3 {
        return Err(scope.config().broken(format!("it takes three axes or more, not {rank}")).into());
    }
    if POINTWISE.contains(&layer.class.as_str()) {
        let outputs = scope.apply(layer, &[input])?;
        return only(scope, &outputs);
    }
    if scope.mask(input)?.is_some() && listens(layer) {
        unsupported!("it wraps a layer of class {} and has a mask, which is not supported", layer.class);
    }
    let mut steps = vec![ReshapeDim::Infer];
    steps.extend((2..rank).map(ReshapeDim::Copy));
    let folded = scope.emit(Reshape::to(steps), &[input])?;
    let outputs = scope.apply(layer, &[folded])?;
    let output = only(scope, &outputs)?;
    unfolded(scope, input, output)
}

/// Whether a layer takes a mask that its wrapper is given.
fn listens(layer: &Layer) -> bool {
    let classes = ["Bidirectional", "GRU", "GlobalAveragePooling1D", "LSTM", "RNN", "SimpleRNN", "Softmax"];
    layer.model.is_some() || classes.contains(&layer.class.as_str())
}

/// Batch and time of `input` in place of the first axis of `output`.
fn unfolded(scope: &mut Scope<'_>, input: TensorId, output: TensorId) -> Built<TensorId> {
    let rank = scope.rank(output);
    if let Some(length) = scope.shape(input).dims()[1].fixed() {
        let mut shape = vec![ReshapeDim::Infer, ReshapeDim::Fixed(length)];
        shape.extend((1..rank).map(ReshapeDim::Copy));
        return scope.emit(Reshape::to(shape), &[output]);
    }
    let (before, after) =
        (scope.emit(ShapeOf::default(), &[input])?, scope.emit(ShapeOf::default(), &[output])?);
    let mut sizes = Vec::new();
    for (shape, axis) in [(before, 0), (before, 1)].into_iter().chain((1..rank).map(|axis| (after, axis))) {
        let begin = axis as i64;
        let one = StridedSlice {
            begin: vec![begin],
            end: vec![begin + 1],
            strides: vec![1],
            shrink_axis_mask: 1,
            ..StridedSlice::default()
        };
        sizes.push(scope.emit(one, &[shape])?);
    }
    let shape = scope.emit(Pack { axis: 0 }, &sizes)?;
    scope.emit(Reshape { shape: None }, &[output, shape])
}
