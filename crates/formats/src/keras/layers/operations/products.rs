//! Products of vectors and matrices.

use litesmith_graph::TensorId;
use litesmith_graph::ops::{
    BatchMatMul, BinaryKind, Concat, ExpandDims, Reduce, ReduceKind, Squeeze, Transpose,
};
use serde_json::Value;

use crate::composed::einsum;
use crate::composed::truth;
use crate::emit::Emit;
use crate::keras::config::{Built, integers, unsupported};
use crate::keras::layers::attention::{band, weights};
use crate::keras::layers::operations::class;
use crate::keras::scope::{Operand, Scope};

fn operands(scope: &mut Scope<'_>) -> Built<[TensorId; 2]> {
    Ok([scope.float_operand(0, &["x1", "a"])?, scope.float_operand(1, &["x2", "b"])?])
}

/// Product of the last two axes; a vector is a row on the left and a column on the right.
pub(in crate::keras::layers) fn matmul(scope: &mut Scope<'_>) -> Built<TensorId> {
    let [mut a, mut b] = operands(scope)?;
    let (rank_a, rank_b) = (scope.rank(a), scope.rank(b));
    if rank_a == 0 || rank_b == 0 {
        return Err(scope.config().broken("it takes no scalars").into());
    }
    let flag = |name: &str| scope.attribute(name).and_then(|flag| flag.as_bool()).unwrap_or(false);
    let (adjoint_a, adjoint_b) = (flag("transpose_a"), flag("transpose_b"));
    if rank_a == 1 {
        a = scope.emit(ExpandDims { axis: 0 }, &[a])?;
    }
    if rank_b == 1 {
        b = scope.emit(ExpandDims { axis: 1 }, &[b])?;
    }
    let op = BatchMatMul { adjoint_a, adjoint_b, ..BatchMatMul::default() };
    let product = scope.emit(op, &[a, b])?;
    let rank = scope.rank(product) as i32;
    let mut gone = Vec::new();
    if rank_a == 1 {
        gone.push(rank - 2);
    }
    if rank_b == 1 {
        gone.push(rank - 1);
    }
    if gone.is_empty() { Ok(product) } else { scope.emit(Squeeze { axes: gone }, &[product]) }
}

/// Letters for the axes of two tensors, those of each apart.
fn letters(scope: &Scope<'_>, a: TensorId, b: TensorId) -> Built<(Vec<char>, Vec<char>)> {
    let (rank_a, rank_b) = (scope.rank(a), scope.rank(b));
    let letters: Vec<char> = ('a'..='z').take(rank_a + rank_b).collect();
    if letters.len() < rank_a + rank_b {
        unsupported!("products of tensors with {rank_a} and {rank_b} axes are not supported");
    }
    Ok((letters[..rank_a].to_vec(), letters[rank_a..].to_vec()))
}

/// Sums over named axes of both (`tensordot`), the last of one and the last but one of the other
/// (`dot`), the last of both (`inner`), or none (`outer`).
pub(in crate::keras::layers) fn contraction(scope: &mut Scope<'_>) -> Built<TensorId> {
    let [mut a, mut b] = operands(scope)?;
    let flat = |scope: &mut Scope<'_>, x| {
        use litesmith_graph::ops::{Reshape, ReshapeDim};
        scope.emit(Reshape::to(vec![ReshapeDim::Infer]), &[x])
    };
    let (rank_a, rank_b) = (scope.rank(a), scope.rank(b));
    if rank_a == 0 || rank_b == 0 {
        return scope.binary(BinaryKind::Mul, a, b);
    }
    let (axes_a, axes_b) = match class(scope) {
        "Outer" => {
            (a, b) = (flat(scope, a)?, flat(scope, b)?);
            (Vec::new(), Vec::new())
        }
        "Inner" => (vec![rank_a - 1], vec![rank_b - 1]),
        "Dot" => (vec![rank_a - 1], vec![rank_b.saturating_sub(2)]),
        _ => named_axes(scope, rank_a, rank_b)?,
    };
    if class(scope) == "Outer" {
        let column = scope.emit(ExpandDims { axis: 1 }, &[a])?;
        return scope.binary(BinaryKind::Mul, column, b);
    }
    let (left, mut right) = letters(scope, a, b)?;
    for (axis_a, axis_b) in axes_a.iter().zip(&axes_b) {
        right[*axis_b] = left[*axis_a];
    }
    let kept_a = (0..left.len()).filter(|axis| !axes_a.contains(axis)).map(|axis| left[axis]);
    let kept_b = (0..right.len()).filter(|axis| !axes_b.contains(axis)).map(|axis| right[axis]);
    let output: Vec<char> = kept_a.chain(kept_b).collect();
    einsum::two(scope, [a, b], [&left, &right], &output)
}

fn named_axes(scope: &Scope<'_>, rank_a: usize, rank_b: usize) -> Built<(Vec<usize>, Vec<usize>)> {
    let axes = scope.attribute("axes").unwrap_or(Value::from(2));
    if let Some(count) = axes.as_u64().map(|count| count as usize) {
        if count > rank_a || count > rank_b {
            return Err(scope.config().broken(format!("it sums over {count} axes")).into());
        }
        return Ok(((rank_a - count..rank_a).collect(), (0..count).collect()));
    }
    let sides = axes.as_array().map(Vec::as_slice);
    let Some([a, b]) = sides else { return Err(scope.config().broken("its axes are malformed").into()) };
    let side = |axes: &Value, rank| -> Built<Vec<usize>> {
        let axes = integers(axes).ok_or_else(|| scope.config().broken("its axes are no integers"))?;
        axes.into_iter().map(|axis| scope.axis(axis, rank)).collect()
    };
    Ok((side(a, rank_a)?, side(b, rank_b)?))
}

/// The vector at right angles to two others.
pub(in crate::keras::layers) fn cross(scope: &mut Scope<'_>) -> Built<TensorId> {
    let [a, b] = operands(scope)?;
    for name in ["axisa", "axisb", "axisc", "axis"] {
        if scope.attribute(name).is_some_and(|axis| axis.as_i64() != Some(-1)) {
            unsupported!("a cross product along another axis than the last is not supported");
        }
    }
    if scope.channels(a)? != 3 || scope.channels(b)? != 3 {
        unsupported!("a cross product of vectors of other than three elements is not supported");
    }
    let part = |scope: &mut Scope<'_>, x, place| {
        let last = scope.rank(x) - 1;
        scope.part(x, last, place, 1)
    };
    let mut parts = Vec::new();
    for (first, second) in [(1, 2), (2, 0), (0, 1)] {
        let (left, right) = (part(scope, a, first)?, part(scope, b, second)?);
        let up = scope.binary(BinaryKind::Mul, left, right)?;
        let (left, right) = (part(scope, a, second)?, part(scope, b, first)?);
        let down = scope.binary(BinaryKind::Mul, left, right)?;
        parts.push(scope.binary(BinaryKind::Sub, up, down)?);
    }
    scope.emit(Concat { axis: -1, ..Concat::default() }, &parts)
}

/// `softmax(query · key) · value` of tensors `[batch, time, heads, vector]`.
pub(in crate::keras::layers) fn attention(scope: &mut Scope<'_>) -> Built<TensorId> {
    let inputs = [(0, ["query"]), (1, ["key"]), (2, ["value"])];
    let [query, key, value] = inputs.map(|(place, name)| scope.float_operand(place, &name));
    let (query, key, value) = (query?, key?, value?);
    if [query, key, value].iter().any(|x| scope.rank(*x) != 4)
        || scope.attribute("attn_logits_soft_cap").is_some()
    {
        unsupported!("attention over tensors of other than four axes, or with a soft cap, is not supported");
    }
    let named = |name: &str| {
        scope.keywords.iter().find(|(known, _)| known == name).map(|(_, operand)| operand.clone())
    };
    let (bias, mask) = (named("bias"), named("mask"));
    let size = scope.channels(query)?;
    let scale = match named("scale").and_then(|scale| scale.value()).and_then(|scale| scale.as_f64()) {
        Some(scale) => scale as f32,
        None => 1.0 / (size as f32).sqrt(),
    };
    let mut counts = match mask {
        Some(Operand::Tensor(mask)) => Some(mask),
        None | Some(Operand::Value(Value::Null)) => None,
        Some(_) => unsupported!("a mask that is no tensor is not supported"),
    };
    if scope.config().flag("is_causal", false)? {
        let (queries, keys) = (scope.size(query, 1)?, scope.size(key, 1)?);
        let band = band(scope, queries, keys, true, None)?;
        counts = truth::both(scope, counts, Some(band))?;
    }
    let query = scope.with_scalar(BinaryKind::Mul, query, scale)?;
    let [query, key, value] = [query, key, value].map(|x| scope.emit(Transpose::by(&[0, 2, 1, 3]), &[x]));
    let op = BatchMatMul { adjoint_b: true, ..BatchMatMul::default() };
    let mut scores = scope.emit(op, &[query?, key?])?;
    match bias {
        Some(Operand::Tensor(bias)) => scores = scope.binary(BinaryKind::Add, scores, bias)?,
        None | Some(Operand::Value(Value::Null)) => {}
        Some(_) => unsupported!("a bias that is no tensor is not supported"),
    }
    let weights = weights(scope, scores, counts)?;
    let sums = scope.emit(BatchMatMul::default(), &[weights, value?])?;
    scope.emit(Transpose::by(&[0, 2, 1, 3]), &[sums])
}

/// Red, green and blue as the brightness that the eye sees.
pub(in crate::keras::layers) fn grayscale(scope: &mut Scope<'_>) -> Built<TensorId> {
    let image = scope.floats()?;
    let values = vec![0.2989, 0.587, 0.114];
    let weights = scope.constant("weights", crate::keras::config::Numbers { shape: vec![3], values })?;
    let weighted = scope.binary(BinaryKind::Mul, image, weights)?;
    scope.emit(Reduce { kind: ReduceKind::Sum, axes: vec![-1], keep_dims: true }, &[weighted])
}
