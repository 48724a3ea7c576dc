//! Losses by the classes that samples belong to.

use litesmith_graph::ops::{
    BinaryKind, Compare, CompareKind, OneHot, Reduce, ReduceKind, Softmax, UnaryKind,
};
use litesmith_graph::{DType, TensorId};

use crate::composed::truth;
use crate::emit::Emit;
use crate::onnx::read::draft::Bound;
use crate::onnx::read::scope::Scope;
use crate::refusal::Built;

pub(super) fn likelihood(scope: &mut Scope<'_, '_>) -> Built<Vec<Bound>> {
    let scores = scope.input(0)?;
    scope.expect_floats(scores)?;
    Ok(vec![Bound::Tensor(loss(scope, scores)?)])
}

pub(super) fn cross_entropy(scope: &mut Scope<'_, '_>) -> Built<Vec<Bound>> {
    let scores = scope.input(0)?;
    scope.expect_floats(scores)?;
    let op = Softmax { log: true, ..Softmax::default() };
    let logarithms = scope.along_last(scores, 1, |scope, x| scope.emit(op, &[x]))?;
    let loss = loss(scope, logarithms)?;
    Ok(vec![Bound::Tensor(loss), Bound::Tensor(logarithms)])
}

/// The negative logarithm of the probability of each sample's class, which stand along the second axis,
/// weighted and reduced as the node says.
fn loss(scope: &mut Scope<'_, '_>, logarithms: TensorId) -> Built<TensorId> {
    let classes = scope.input(1)?;
    let weights = scope.optional(2)?;
    let (rank, depth) = (scope.rank(logarithms), scope.size(logarithms, 1)?);
    let classes = scope.cast(classes, DType::I64)?;
    let (one, zero) = (scope.scalar("one", 1.0)?, scope.scalar("zero", 0.0)?);
    let mut marks = scope.emit(OneHot { depth, axis: 1 }, &[classes, one, zero])?;
    if let Some(weights) = weights {
        let shape: Vec<usize> = [depth].into_iter().chain(std::iter::repeat_n(1, rank - 2)).collect();
        let weights = scope.reshaped(weights, &shape)?;
        marks = scope.binary(BinaryKind::Mul, marks, weights)?;
    }
    if let Some(ignored) = scope.attributes.integer("ignore_index")? {
        let ignored = scope.number("ignored", DType::I64, ignored as f64)?;
        let counts = scope.emit(Compare { kind: CompareKind::NotEqual }, &[classes, ignored])?;
        let counts = scope.emit(litesmith_graph::ops::ExpandDims { axis: 1 }, &[counts])?;
        marks = truth::kept(scope, counts, marks)?;
    }
    let along = Reduce { kind: ReduceKind::Sum, axes: vec![1], keep_dims: false };
    let picked = scope.binary(BinaryKind::Mul, marks, logarithms)?;
    let picked = scope.emit(along.clone(), &[picked])?;
    let losses = scope.unary(UnaryKind::Neg, picked)?;
    let all = Reduce { kind: ReduceKind::Sum, axes: (0..rank as i32 - 1).collect(), keep_dims: false };
    match scope.attributes.text("reduction")?.unwrap_or("mean") {
        "none" => Ok(losses),
        "sum" => scope.emit(all, &[losses]),
        "mean" => {
            let sum = scope.emit(all.clone(), &[losses])?;
            let shares = scope.emit(along, &[marks])?;
            let share = scope.emit(all, &[shares])?;
            scope.binary(BinaryKind::Div, sum, share)
        }
        other => Err(scope.broken(format!("its reduction is '{other}'")).into()),
    }
}
