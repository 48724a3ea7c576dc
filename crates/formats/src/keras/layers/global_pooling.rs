//! Pooling over all places, and over as many windows as asked for.

use litesmith_graph::TensorId;
use litesmith_graph::ops::{BinaryKind, Concat, ExpandDims, FullyConnected, Reduce, ReduceKind};

use crate::composed::truth;
use crate::emit::Emit;
use crate::keras::config::{Built, Numbers};
use crate::keras::scope::Scope;

/// Number of places' axes, from the class's name.
fn places(scope: &Scope<'_>) -> usize {
    match scope.layer.class.as_bytes() {
        [.., b'1', b'D'] => 1,
        [.., b'3', b'D'] => 3,
        _ => 2,
    }
}

pub(super) fn global_average(scope: &mut Scope<'_>) -> Built<TensorId> {
    global(scope, ReduceKind::Mean)
}

pub(super) fn global_max(scope: &mut Scope<'_>) -> Built<TensorId> {
    global(scope, ReduceKind::Max)
}

/// Over all axes but the first and the last. Channels in front go behind first, and with `keepdims`
/// stand in front again.
fn global(scope: &mut Scope<'_>, kind: ReduceKind) -> Built<TensorId> {
    let input = scope.ranked(places(scope) + 2)?;
    let axes = (1..scope.rank(input) as i32 - 1).collect();
    let keep_dims = scope.config().flag("keepdims", false)?;
    scope.emit(Reduce { kind, axes, keep_dims }, &[input])
}

/// Over the steps that count, where there is a mask.
pub(super) fn global_average_1d(scope: &mut Scope<'_>) -> Built<TensorId> {
    let given = scope.input()?;
    let Some(mask) = scope.mask(given)? else { return global_average(scope) };
    let input = scope.ranked(3)?;
    let keep_dims = scope.config().flag("keepdims", false)?;
    let counts = scope.emit(ExpandDims { axis: 2 }, &[mask])?;
    let kept = truth::kept(scope, counts, input)?;
    let sum = |scope: &mut Scope<'_>, x| {
        scope.emit(Reduce { kind: ReduceKind::Sum, axes: vec![1], keep_dims }, &[x])
    };
    let total = sum(scope, kept)?;
    let numbers = truth::as_numbers(scope, counts)?;
    let count = sum(scope, numbers)?;
    scope.binary(BinaryKind::Div, total, count)
}

/// First place of a window and the one behind its last: `floor(i * n / m)` to `ceil((i + 1) * n / m)`.
fn window(place: usize, input: usize, output: usize) -> (usize, usize) {
    (place * input / output, ((place + 1) * input).div_ceil(output))
}

pub(super) fn adaptive_average(scope: &mut Scope<'_>) -> Built<TensorId> {
    adaptive(scope, |scope, x, axis, output| {
        let input = scope.size(x, axis)?;
        let mut values = vec![0.0; input * output];
        for (place, row) in values.chunks_exact_mut(input).enumerate() {
            let (start, end) = window(place, input, output);
            row[start..end].fill(1.0 / (end - start) as f32);
        }
        weighted_sums(scope, x, axis, Numbers { shape: vec![output, input], values })
    })
}

pub(super) fn adaptive_max(scope: &mut Scope<'_>) -> Built<TensorId> {
    adaptive(scope, |scope, x, axis, output| {
        let input = scope.size(x, axis)?;
        let mut largest = Vec::with_capacity(output);
        for place in 0..output {
            let (start, end) = window(place, input, output);
            let part = scope.part(x, axis, start, end - start)?;
            let op = Reduce { kind: ReduceKind::Max, axes: vec![axis as i32], keep_dims: true };
            largest.push(scope.emit(op, &[part])?);
        }
        scope.emit(Concat { axis: axis as i32, ..Concat::default() }, &largest)
    })
}

/// Windows are boxes: one axis after the other.
fn adaptive(
    scope: &mut Scope<'_>,
    mut along: impl FnMut(&mut Scope<'_>, TensorId, usize, usize) -> Built<TensorId>,
) -> Built<TensorId> {
    /// Beyond it no pooling is honest, and each window is a node.
    const MOST: usize = 1 << 12;
    let places = places(scope);
    let mut x = scope.ranked(places + 2)?;
    let sizes = scope.config().sizes("output_size")?;
    for axis in 1..=places {
        let wanted = if sizes.len() == 1 { sizes[0] } else { sizes.get(axis - 1).copied().flatten() };
        let Some(output) = wanted else { continue };
        let input = scope.size(x, axis)?;
        if output > MOST || input > MOST {
            return Err(scope.config().broken(format!("it makes {output} windows of {input} places")).into());
        }
        if output != input {
            x = along(scope, x, axis, output)?;
        }
    }
    Ok(x)
}

/// Sums along an axis with the rows of a constant matrix as weights.
pub(super) fn weighted_sums(
    scope: &mut Scope<'_>,
    x: TensorId,
    axis: usize,
    matrix: Numbers,
) -> Built<TensorId> {
    let matrix = scope.constant("weights", matrix)?;
    scope.along_last(x, axis, |scope, x| {
        let op = FullyConnected { keep_num_dims: true, ..FullyConnected::default() };
        scope.emit_some(op, vec![Some(x), Some(matrix), None])
    })
}
