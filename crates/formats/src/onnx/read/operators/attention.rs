//! Attention, and the rotation of its operands by their places.

use litesmith_graph::ops::{
    BatchMatMul, BinaryKind, Concat, ExpandDims, Gather, Reshape, ReshapeDim, Softmax, Transpose, UnaryKind,
};
use litesmith_graph::{DType, TensorId};

use super::gathering::chosen_along;
use crate::composed::truth;
use crate::emit::Emit;
use crate::onnx::read::draft::Bound;
use crate::onnx::read::scope::Scope;
use crate::refusal::{Built, unsupported};

/// Heads apart: `[batch, heads, steps, size]` of `[batch, steps, heads * size]`.
fn heads_apart(scope: &mut Scope<'_, '_>, x: TensorId, heads: usize) -> Built<TensorId> {
    let width = scope.size(x, 2)?;
    if heads == 0 || width % heads != 0 {
        return Err(scope.broken(format!("{width} numbers cannot be split into {heads} heads")).into());
    }
    let shape = vec![
        ReshapeDim::Copy(0),
        ReshapeDim::Copy(1),
        ReshapeDim::Fixed(heads),
        ReshapeDim::Fixed(width / heads),
    ];
    let apart = scope.emit(Reshape::to(shape), &[x])?;
    scope.emit(Transpose::by(&[0, 2, 1, 3]), &[apart])
}

/// Heads side by side again.
fn heads_together(scope: &mut Scope<'_, '_>, x: TensorId) -> Built<TensorId> {
    let width = scope.affordable(&[scope.size(x, 1)?, scope.size(x, 3)?])?;
    let steps_first = scope.emit(Transpose::by(&[0, 2, 1, 3]), &[x])?;
    let shape = vec![ReshapeDim::Copy(0), ReshapeDim::Copy(1), ReshapeDim::Fixed(width)];
    scope.emit(Reshape::to(shape), &[steps_first])
}

pub(super) fn attention(scope: &mut Scope<'_, '_>) -> Built<Vec<Bound>> {
    let mut operands = [scope.input(0)?, scope.input(1)?, scope.input(2)?];
    let (mask, past) = (scope.optional(3)?, [scope.optional(4)?, scope.optional(5)?]);
    scope.attributes.ignore(&["qk_matmul_output_mode"]);
    for operand in operands {
        scope.expect_floats(operand)?;
    }
    if scope.attributes.integer("softmax_precision")?.is_some_and(|precision| precision != 1) {
        unsupported!("a softmax of another precision than float32 is not supported; leave it out");
    }
    let heads = [scope.attributes.integer("q_num_heads")?, scope.attributes.integer("kv_num_heads")?];
    let flat = scope.rank(operands[0]) == 3;
    if flat {
        for (place, operand) in operands.iter_mut().enumerate() {
            let Some(heads) = heads[place.min(1)] else {
                return Err(scope.broken("the number of its heads is missing").into());
            };
            let heads = scope.size_from(heads, "the number of its heads")?;
            *operand = heads_apart(scope, *operand, heads)?;
        }
    }
    let [query, mut key, mut value] = operands;
    for (operand, past) in [&mut key, &mut value].into_iter().zip(past) {
        if let Some(past) = past {
            *operand = scope.emit(Concat { axis: 2, ..Concat::default() }, &[past, *operand])?;
        }
    }
    let present = [key, value];
    let (own, shared) = (scope.size(query, 1)?, scope.size(key, 1)?);
    if own != shared {
        if shared == 0 || own % shared != 0 {
            return Err(scope.broken(format!("{own} heads cannot share {shared}")).into());
        }
        scope.listable(&[own])?;
        let places: Vec<i64> = (0..own).map(|head| (head / (own / shared)) as i64).collect();
        key = chosen_along(scope, key, 1, &places)?;
        value = chosen_along(scope, value, 1, &places)?;
    }
    let scores = scores(scope, query, key, mask, past[0].is_some())?;
    let shares = scope.emit(Softmax::default(), &[scores])?;
    let mut result = scope.emit(BatchMatMul::default(), &[shares, value])?;
    if flat {
        result = heads_together(scope, result)?;
    }
    Ok([result, present[0], present[1]].map(Bound::Tensor).to_vec())
}

/// The scaled products of queries and keys, masked.
fn scores(
    scope: &mut Scope<'_, '_>,
    query: TensorId,
    key: TensorId,
    mask: Option<TensorId>,
    continues: bool,
) -> Built<TensorId> {
    let usual = 1.0 / (scope.size(query, 3)? as f32).sqrt();
    let scale = scope.attributes.number("scale")?.unwrap_or(usual);
    let causal = scope.attributes.flag("is_causal", false)?;
    let cap = scope.attributes.number("softcap")?.unwrap_or(0.0);
    if cap > 0.0 && (causal || mask.is_some()) {
        unsupported!(
            "capped scores with a mask mean different things in different versions; leave 'softcap' out"
        );
    }
    if causal && continues {
        unsupported!(
            "a causal mask over past keys means different things in different versions; give a mask"
        );
    }
    let scaled = scope.with_scalar(BinaryKind::Mul, query, scale)?;
    let product = BatchMatMul { adjoint_b: true, ..BatchMatMul::default() };
    let mut scores = scope.emit(product, &[scaled, key])?;
    if cap > 0.0 {
        let share = scope.with_scalar(BinaryKind::Div, scores, cap)?;
        let bent = scope.unary(UnaryKind::Tanh, share)?;
        scores = scope.with_scalar(BinaryKind::Mul, bent, cap)?;
    }
    if causal {
        let (steps, keys) = (scope.size(query, 2)?, scope.size(key, 2)?);
        let count = scope.affordable(&[steps, keys])?;
        let value = |place: usize| if place % keys <= place / keys { 0.0 } else { f32::NEG_INFINITY };
        let bias = scope.floats("causal", &[steps, keys], (0..count).map(value).collect());
        scores = scope.binary(BinaryKind::Add, scores, bias)?;
    }
    let Some(mask) = mask else { return Ok(scores) };
    let keys = scope.size(key, 2)?;
    if scope.size(mask, scope.rank(mask).wrapping_sub(1))? != keys {
        unsupported!("a mask that is shorter than the keys is not supported; pad it");
    }
    if scope.dtype(mask) == DType::Bool {
        let nothing = scope.scalar("masked", f32::NEG_INFINITY)?;
        return truth::chosen(scope, mask, scores, nothing);
    }
    scope.binary(BinaryKind::Add, scores, mask)
}

/// Pairs of numbers turned by an angle that goes with their place.
pub(super) fn rotary(scope: &mut Scope<'_, '_>) -> Built<TensorId> {
    let x = scope.input(0)?;
    scope.expect_floats(x)?;
    let mut waves = [scope.input(1)?, scope.input(2)?];
    let places = scope.optional(3)?;
    let interleaved = scope.attributes.flag("interleaved", false)?;
    let rotated = scope.attributes.integer("rotary_embedding_dim")?.unwrap_or(0);
    let heads = scope.attributes.integer("num_heads")?.unwrap_or(0);
    let flat = scope.rank(x) == 3;
    let image = if flat {
        let heads = scope.size_from(heads, "the number of its heads")?;
        heads_apart(scope, x, heads)?
    } else {
        x
    };
    let width = scope.size(image, 3)?;
    let rotated = if rotated == 0 { width } else { scope.size_from(rotated, "what is rotated")? };
    if rotated > width || rotated % 2 == 1 {
        return Err(scope.broken(format!("{rotated} of {width} numbers cannot be rotated")).into());
    }
    for wave in &mut waves {
        if let Some(places) = places {
            *wave = scope.emit(Gather { axis: 0, batch_dims: 0 }, &[*wave, places])?;
        }
        // [batch, steps, half] beside [batch, heads, steps, half].
        *wave = scope.emit(ExpandDims { axis: 1 }, &[*wave])?;
    }
    scope.listable(&[width])?;
    let half = rotated / 2;
    let parts = if interleaved {
        let every = |first: i64| -> Vec<i64> { (0..half as i64).map(|place| 2 * place + first).collect() };
        [chosen_along(scope, image, 3, &every(0))?, chosen_along(scope, image, 3, &every(1))?]
    } else {
        [scope.part(image, 3, 0, half)?, scope.part(image, 3, half, half)?]
    };
    let [cosine, sine] = waves;
    let mut turned = Vec::with_capacity(3);
    for (first, second, kind) in [(cosine, sine, BinaryKind::Sub), (sine, cosine, BinaryKind::Add)] {
        let (a, b) = (
            scope.binary(BinaryKind::Mul, first, parts[0])?,
            scope.binary(BinaryKind::Mul, second, parts[1])?,
        );
        turned.push(scope.binary(kind, a, b)?);
    }
    let mut result = scope.emit(Concat { axis: 3, ..Concat::default() }, &turned)?;
    if interleaved {
        let order: Vec<i64> = (0..rotated as i64).map(|place| place / 2 + place % 2 * half as i64).collect();
        result = chosen_along(scope, result, 3, &order)?;
    }
    if rotated < width {
        let rest = scope.part(image, 3, rotated, width - rotated)?;
        result = scope.emit(Concat { axis: 3, ..Concat::default() }, &[result, rest])?;
    }
    if flat { heads_together(scope, result) } else { Ok(result) }
}
