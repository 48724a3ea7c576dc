//! Products of matrices.

use litesmith_graph::ops::{BatchMatMul, FullyConnected, Transpose};
use litesmith_graph::{Dim, TensorId};

use crate::composed;
use crate::emit::Emit;
use crate::refusal::Built;
use crate::savedmodel::translate::scope::Scope;

pub(super) fn matmul(scope: &mut Scope<'_>) -> Built<TensorId> {
    let (a, b) = (scope.input(0)?, scope.input(1)?);
    if scope.rank(a) != 2 || scope.rank(b) != 2 {
        let (a, b) = (scope.shape(a), scope.shape(b));
        return Err(scope.broken(format!("its operands are of shapes {a} and {b}, not matrices")).into());
    }
    let (flip_a, flip_b) =
        (scope.node.attributes.flag("transpose_a"), scope.node.attributes.flag("transpose_b"));
    product(scope, [a, b], [flip_a, flip_b])
}

pub(super) fn batch_matmul(scope: &mut Scope<'_>) -> Built<TensorId> {
    let (a, b) = (scope.input(0)?, scope.input(1)?);
    let (flip_a, flip_b) = (scope.node.attributes.flag("adj_x"), scope.node.attributes.flag("adj_y"));
    product(scope, [a, b], [flip_a, flip_b])
}

/// With a matrix of weights a fully connected layer, else a batch of products.
fn product(scope: &mut Scope<'_>, [a, b]: [TensorId; 2], [flip_a, flip_b]: [bool; 2]) -> Built<TensorId> {
    let weights = scope.is_fixed(b) && !scope.is_fixed(a) && scope.rank(b) == 2 && scope.rank(a) >= 2;
    if !weights || scope.shape(b).to_fixed().is_none() {
        let op = BatchMatMul { adjoint_a: flip_a, adjoint_b: flip_b, ..BatchMatMul::default() };
        return scope.emit(op, &[a, b]);
    }
    let matrix = if flip_b { b } else { scope.laid_out(b, Transpose::by(&[1, 0]))? };
    let rank = scope.rank(a);
    let rows = if flip_a {
        let mut order: Vec<usize> = (0..rank).collect();
        order.swap(rank - 1, rank - 2);
        scope.emit(Transpose::by(&order), &[a])?
    } else {
        a
    };
    let inner = scope.shape(rows).last().cloned().unwrap_or(Dim::Unknown);
    if inner.unify(&Dim::Fixed(scope.size(matrix, 1)?)).is_none() {
        let (a, b) = (scope.shape(a), scope.shape(b));
        return Err(scope.broken(format!("its operands of shapes {a} and {b} do not fit")).into());
    }
    let op = FullyConnected { keep_num_dims: rank > 2, ..FullyConnected::default() };
    scope.emit_some(op, vec![Some(rows), Some(matrix), None])
}

pub(super) fn einsum(scope: &mut Scope<'_>) -> Built<TensorId> {
    let Some(equation) = scope.node.attributes.text("equation") else {
        return Err(scope.broken("its attribute 'equation' is missing").into());
    };
    let inputs = scope.tensors()?;
    let kernel = matches!(inputs.as_slice(), [a, b] if scope.is_fixed(*b) && !scope.is_fixed(*a));
    composed::einsum::evaluate(scope, equation, &inputs, kernel)
}
