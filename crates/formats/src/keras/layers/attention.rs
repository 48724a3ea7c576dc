//! Attention: sums of values, weighted by how well keys fit queries.

use litesmith_graph::TensorId;
use litesmith_graph::ops::{
    BatchMatMul, BinaryKind, CompareKind, ExpandDims, Reduce, ReduceKind, Softmax, UnaryKind,
};
use serde_json::Value;

use crate::composed::truth;
use crate::emit::Emit;
use crate::keras::config::{Built, Config, Numbers, unsupported};
use crate::keras::scope::{Operand, Scope};
use crate::keras::weights::Variable;

/// What is taken off the least score of a row to make that of a step that does not count: its weight is
/// below the rounding of the others, and the range of scores stays fit for quantization, which it would
/// not with Keras' thousand millions.
const BELOW: f32 = 20.0;

pub(super) fn dot_variables(config: Config<'_>) -> Built<Vec<Variable>> {
    let mut variables = Vec::new();
    if config.flag("use_scale", false)? {
        variables.push(Variable::trained("scale", ""));
    }
    if config.text("score_mode")? == Some("concat") {
        variables.push(Variable::trained("concat_score_weight", ""));
    }
    Ok(variables)
}

pub(super) fn additive_variables(config: Config<'_>) -> Built<Vec<Variable>> {
    let scaled = config.flag("use_scale", true)?;
    Ok(if scaled { vec![Variable::trained("scale", "")] } else { Vec::new() })
}

/// Whether a call sets a keyword.
pub(super) fn asked(scope: &Scope<'_>, name: &str) -> bool {
    scope
        .keywords
        .iter()
        .any(|(known, operand)| known == name && matches!(operand, Operand::Value(Value::Bool(true))))
}

/// Refuses what a call may say beyond these keywords.
pub(super) fn check_keywords(scope: &Scope<'_>, known: &[&str]) -> Built<()> {
    for (name, operand) in &scope.keywords {
        let nothing = matches!(operand, Operand::Value(Value::Null | Value::Bool(false)));
        if !nothing && name != "training" && !known.contains(&name.as_str()) {
            unsupported!("attention called with '{name}' is not supported");
        }
    }
    Ok(())
}

/// Which keys a query may look at: those that are not later (`causal`), and those fewer than `window`
/// steps away.
pub(super) fn band(
    scope: &mut Scope<'_>,
    queries: usize,
    keys: usize,
    causal: bool,
    window: Option<usize>,
) -> Built<TensorId> {
    scope.affordable(&[queries, keys])?;
    let seen = |query: usize, key: usize| {
        (!causal || key <= query) && window.is_none_or(|window| query.abs_diff(key) < window)
    };
    let pairs = (0..queries).flat_map(|query| (0..keys).map(move |key| (query, key)));
    let values = pairs.map(|(query, key)| f32::from(u8::from(seen(query, key)))).collect();
    let band = scope.constant("band", Numbers { shape: vec![queries, keys], values })?;
    truth::compared(scope, CompareKind::Greater, band, 0.5)
}

/// Weights out of scores, of those that `mask` lets count.
pub(super) fn weights(scope: &mut Scope<'_>, scores: TensorId, mask: Option<TensorId>) -> Built<TensorId> {
    let scores = match mask {
        None => scores,
        Some(mask) => {
            let least = Reduce { kind: ReduceKind::Min, axes: vec![-1], keep_dims: true };
            let least = scope.emit(least, &[scores])?;
            let below = scope.with_scalar(BinaryKind::Sub, least, BELOW)?;
            truth::chosen(scope, mask, scores, below)?
        }
    };
    scope.emit(Softmax::default(), &[scores])
}

/// Query, value and key of a layer that takes them as a list; the value is the key where none is
/// given.
fn listed(scope: &mut Scope<'_>) -> Built<[TensorId; 3]> {
    check_keywords(scope, &["use_causal_mask", "return_attention_scores"])?;
    let inputs = scope.all_floats()?;
    let inputs = match *inputs.as_slice() {
        [query, value] => [query, value, value],
        [query, value, key] => [query, value, key],
        _ => unsupported!("attention over {} tensors is not supported", inputs.len()),
    };
    if inputs.iter().any(|input| scope.rank(*input) != 3) {
        unsupported!("attention over tensors of other than three axes is not supported");
    }
    Ok(inputs)
}

/// The sums of values, and the weights where the call asks for them. The mask of the values says what
/// counts; steps of the query that do not count become zeros.
fn attended(
    scope: &mut Scope<'_>,
    scores: TensorId,
    query: TensorId,
    value: TensorId,
) -> Built<Vec<TensorId>> {
    let given = scope.tensors();
    let masks = scope.masks(&given)?;
    let mask_of = |place: usize| masks.get(place).copied().flatten();
    let mut counts = None;
    if let Some(mask) = mask_of(1) {
        counts = Some(scope.emit(ExpandDims { axis: 1 }, &[mask])?);
    }
    if asked(scope, "use_causal_mask") || scope.config().flag("causal", false)? {
        let (queries, keys) = (scope.size(query, 1)?, scope.size(value, 1)?);
        let band = band(scope, queries, keys, true, None)?;
        counts = truth::both(scope, counts, Some(band))?;
    }
    let weights = weights(scope, scores, counts)?;
    let mut sums = scope.emit(BatchMatMul::default(), &[weights, value])?;
    if let Some(mask) = mask_of(0) {
        let steps = scope.emit(ExpandDims { axis: 2 }, &[mask])?;
        sums = truth::kept(scope, steps, sums)?;
        scope.set_mask(sums, Some(mask));
    }
    Ok(if asked(scope, "return_attention_scores") { vec![sums, weights] } else { vec![sums] })
}

/// Scores are products (Luong et al. 2015), or sums as in [`additive`] with `score_mode="concat"`.
pub(super) fn dot(scope: &mut Scope<'_>) -> Built<Vec<TensorId>> {
    let [query, value, key] = listed(scope)?;
    let scale =
        if scope.config().flag("use_scale", false)? { Some(scope.weight("scale", &[])?) } else { None };
    let scores = match scope.config().text("score_mode")? {
        Some("concat") => {
            let scores = bent(scope, query, key, scale, None)?;
            let weight = scope.weight("concat_score_weight", &[])?;
            scope.binary(BinaryKind::Mul, scores, weight)?
        }
        _ => {
            let op = BatchMatMul { adjoint_b: true, ..BatchMatMul::default() };
            let scores = scope.emit(op, &[query, key])?;
            match scale {
                Some(scale) => scope.binary(BinaryKind::Mul, scores, scale)?,
                None => scores,
            }
        }
    };
    attended(scope, scores, query, value)
}

/// Scores are sums over channels of `scale * tanh(query + key)` (Bahdanau et al. 2015).
pub(super) fn additive(scope: &mut Scope<'_>) -> Built<Vec<TensorId>> {
    let [query, value, key] = listed(scope)?;
    let channels = scope.channels(key)?;
    let scaled = scope.config().flag("use_scale", true)?;
    let scale = if scaled { Some(scope.weight("scale", &[channels])?) } else { None };
    let scores = bent(scope, query, key, None, scale)?;
    attended(scope, scores, query, value)
}

/// Sums over channels of `outer * tanh(inner * (query + key))`.
fn bent(
    scope: &mut Scope<'_>,
    query: TensorId,
    key: TensorId,
    inner: Option<TensorId>,
    outer: Option<TensorId>,
) -> Built<TensorId> {
    let queries = scope.emit(ExpandDims { axis: 2 }, &[query])?;
    let keys = scope.emit(ExpandDims { axis: 1 }, &[key])?;
    let mut fit = scope.binary(BinaryKind::Add, queries, keys)?;
    if let Some(inner) = inner {
        fit = scope.binary(BinaryKind::Mul, fit, inner)?;
    }
    fit = scope.unary(UnaryKind::Tanh, fit)?;
    if let Some(outer) = outer {
        fit = scope.binary(BinaryKind::Mul, fit, outer)?;
    }
    scope.emit(Reduce { kind: ReduceKind::Sum, axes: vec![3], keep_dims: false }, &[fit])
}
