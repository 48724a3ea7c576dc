//! Tensors of one value, of counted numbers, and repeated ones.

use litesmith_graph::ops::{BinaryKind, BroadcastTo, Concat, Fill, Range, ShapeOf, Tile};
use litesmith_graph::{DType, TensorId};

use crate::emit::Emit;
use crate::refusal::{Built, unsupported};
use crate::savedmodel::translate::scope::Scope;

pub(super) fn fill(scope: &mut Scope<'_>) -> Built<TensorId> {
    let (shape, value) = (scope.input(0)?, scope.input(1)?);
    scope.emit(Fill {}, &[shape, value])
}

pub(super) fn zeros_like(scope: &mut Scope<'_>) -> Built<TensorId> {
    filled_like(scope, 0.0)
}

pub(super) fn ones_like(scope: &mut Scope<'_>) -> Built<TensorId> {
    filled_like(scope, 1.0)
}

fn filled_like(scope: &mut Scope<'_>, value: f32) -> Built<TensorId> {
    let x = scope.input(0)?;
    let value = scope.number("value", scope.dtype(x), value)?;
    if scope.rank(x) == 0 {
        return Ok(value);
    }
    let shape = scope.emit(ShapeOf { dtype: DType::I32 }, &[x])?;
    scope.emit(Fill {}, &[shape, value])
}

pub(super) fn range(scope: &mut Scope<'_>) -> Built<TensorId> {
    let (start, limit, step) = (scope.input(0)?, scope.input(1)?, scope.input(2)?);
    scope.emit(Range {}, &[start, limit, step])
}

pub(super) fn tile(scope: &mut Scope<'_>) -> Built<TensorId> {
    let (x, multiples) = (scope.input(0)?, scope.input(1)?);
    let Some(given) = scope.known_integers(multiples) else {
        return scope.emit(Tile::default(), &[x, multiples]);
    };
    let multiples =
        given.into_iter().map(|count| scope.size_from(count, "a repetition")).collect::<Built<Vec<_>>>()?;
    if multiples.iter().all(|count| *count == 1) {
        return Ok(x);
    }
    scope.emit(Tile { multiples }, &[x])
}

pub(super) fn broadcast_to(scope: &mut Scope<'_>) -> Built<TensorId> {
    let (x, shape) = (scope.input(0)?, scope.input(1)?);
    match scope.known_integers(shape) {
        Some(sizes) => {
            let shape =
                sizes.into_iter().map(|size| scope.size_from(size, "a size")).collect::<Built<_>>()?;
            scope.emit(BroadcastTo { shape }, &[x])
        }
        None => scope.emit(BroadcastTo::default(), &[x, shape]),
    }
}

/// The shape that two shapes broadcast to.
pub(super) fn broadcast_args(scope: &mut Scope<'_>) -> Built<TensorId> {
    let mut shapes = [scope.input(0)?, scope.input(1)?];
    let ranks = shapes.map(|shape| scope.shape(shape).elements());
    let [Some(a), Some(b)] = ranks else {
        unsupported!("shapes of unknown length are not supported");
    };
    for (shape, length) in shapes.iter_mut().zip([a, b]) {
        let missing = a.max(b) - length;
        if missing > 0 {
            let dtype = scope.dtype(*shape);
            let missing = scope.affordable(&[missing])?;
            let ones = scope.integers("ones", dtype, &[missing], &vec![1; missing])?;
            *shape = scope.emit(Concat { axis: 0, ..Concat::default() }, &[ones, *shape])?;
        }
    }
    let [a, b] = shapes;
    if a == b || (scope.facts(a).value.is_some() && scope.facts(a).value == scope.facts(b).value) {
        return Ok(a);
    }
    scope.binary(BinaryKind::Maximum, a, b)
}
