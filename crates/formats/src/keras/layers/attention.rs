//! Attention: sums of values, weighted by how well keys fit queries (Vaswani et al. 2017).

use litesmith_graph::TensorId;
use litesmith_graph::ops::{
    BatchMatMul, BinaryKind, ExpandDims, Reduce, ReduceKind, Softmax, Transpose, UnaryKind,
};
use serde_json::Value;

use crate::keras::config::{Built, Config, unsupported};
use crate::keras::layers::dense::contracted;
use crate::keras::scope::{Operand, Scope};
use crate::keras::weights::Variable;

pub(super) fn dot_variables(config: Config<'_>) -> Built<Vec<Variable>> {
    let scaled = config.flag("use_scale", false)?;
    Ok(if scaled { vec![Variable::trained("scale", "")] } else { Vec::new() })
}

pub(super) fn additive_variables(config: Config<'_>) -> Built<Vec<Variable>> {
    let scaled = config.flag("use_scale", true)?;
    Ok(if scaled { vec![Variable::trained("scale", "")] } else { Vec::new() })
}

pub(super) fn multi_head_variables(config: Config<'_>) -> Built<Vec<Variable>> {
    let use_bias = config.flag("use_bias", true)?;
    let parts = [
        ("query_dense", "query/kernel", "query/bias"),
        ("key_dense", "key/kernel", "key/bias"),
        ("value_dense", "value/kernel", "value/bias"),
        ("output_dense", "attention_output/kernel", "attention_output/bias"),
    ];
    let mut variables = Vec::new();
    for (part, kernel, bias) in parts {
        variables.push(Variable::trained(kernel, "kernel_regularizer").of(part));
        if use_bias {
            variables.push(Variable::trained(bias, "bias_regularizer").of(part));
        }
    }
    Ok(variables)
}

/// Refuses masks and whatever else a call may ask for.
fn check_call(scope: &Scope<'_>) -> Built<()> {
    for (name, operand) in &scope.keywords {
        let plain = match operand {
            Operand::Value(Value::Null | Value::Bool(false)) => true,
            Operand::Value(_) => name == "training",
            _ => matches!(name.as_str(), "query" | "value" | "key"),
        };
        if !plain {
            unsupported!("attention called with '{name}' is not supported");
        }
    }
    Ok(())
}

/// Query, value and key of a layer that takes them as a list; the value is the key where none is
/// given.
fn listed(scope: &mut Scope<'_>) -> Built<[TensorId; 3]> {
    check_call(scope)?;
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

/// Weights out of scores, and the sums of values.
fn attended(scope: &mut Scope<'_>, scores: TensorId, value: TensorId) -> Built<TensorId> {
    let weights = scope.emit(Softmax::default(), &[scores])?;
    scope.emit(BatchMatMul::default(), &[weights, value])
}

pub(super) fn dot(scope: &mut Scope<'_>) -> Built<TensorId> {
    if scope.config().text("score_mode")?.is_some_and(|mode| mode != "dot") {
        unsupported!("only score_mode 'dot' is supported; AdditiveAttention is the other");
    }
    let [query, value, key] = listed(scope)?;
    let mut scores = scope.emit(BatchMatMul { adjoint_b: true, ..BatchMatMul::default() }, &[query, key])?;
    if scope.config().flag("use_scale", false)? {
        let scale = scope.weight("scale", &[])?;
        scores = scope.binary(BinaryKind::Mul, scores, scale)?;
    }
    attended(scope, scores, value)
}

/// Scores are sums over channels of `scale * tanh(query + key)` (Bahdanau et al. 2015).
pub(super) fn additive(scope: &mut Scope<'_>) -> Built<TensorId> {
    let [query, value, key] = listed(scope)?;
    let channels = scope.channels(key)?;
    let queries = scope.emit(ExpandDims { axis: 2 }, &[query])?;
    let keys = scope.emit(ExpandDims { axis: 1 }, &[key])?;
    let sum = scope.binary(BinaryKind::Add, queries, keys)?;
    let mut fit = scope.unary(UnaryKind::Tanh, sum)?;
    if scope.config().flag("use_scale", true)? {
        let scale = scope.weight("scale", &[channels])?;
        fit = scope.binary(BinaryKind::Mul, fit, scale)?;
    }
    let scores = scope.emit(Reduce { kind: ReduceKind::Sum, axes: vec![3], keep_dims: false }, &[fit])?;
    attended(scope, scores, value)
}

pub(super) fn multi_head(scope: &mut Scope<'_>) -> Built<TensorId> {
    check_call(scope)?;
    let config = scope.config();
    if config.flag("use_gate", false)? || config.get("sliding_window").is_some() {
        unsupported!("gates and sliding windows are not supported");
    }
    if config.integers("attention_axes")?.is_some_and(|axes| axes != [1]) {
        unsupported!("attention over other axes than the second is not supported");
    }
    let query = scope.float_operand(0, &["query"])?;
    let value = scope.float_operand(1, &["value"])?;
    let key = match scope.operand(2, &["key"]) {
        Some(Operand::Tensor(_)) => scope.float_operand(2, &["key"])?,
        _ => value,
    };
    if [query, value, key].iter().any(|input| scope.rank(*input) != 3) || scope.arguments.len() > 3 {
        unsupported!("attention over tensors of other than three axes, or with a mask, is not supported");
    }
    let heads = config.count("num_heads")?;
    let key_size = config.count("key_dim")?;
    let value_size = config.count_or("value_dim", key_size)?;
    let output = match config.integers("output_shape")?.as_deref() {
        None => scope.channels(query)?,
        Some([size]) => usize::try_from(*size).map_err(|_| config.broken("its output_shape is negative"))?,
        Some(shape) => unsupported!("an output_shape of several axes {shape:?} is not supported"),
    };
    let use_bias = config.flag("use_bias", true)?;
    let bias = |name: &'static str| use_bias.then_some(name);
    let query = contracted(scope, query, 1, &[heads, key_size], "query/kernel", bias("query/bias"))?;
    let key = contracted(scope, key, 1, &[heads, key_size], "key/kernel", bias("key/bias"))?;
    let value = contracted(scope, value, 1, &[heads, value_size], "value/kernel", bias("value/bias"))?;
    let query = scope.with_scalar(BinaryKind::Mul, query, 1.0 / (key_size as f32).sqrt())?;
    // From time, head to head, time.
    let [query, key, value] = [query, key, value].map(|x| scope.emit(Transpose::by(&[0, 2, 1, 3]), &[x]));
    let scores = scope.emit(BatchMatMul { adjoint_b: true, ..BatchMatMul::default() }, &[query?, key?])?;
    let sums = attended(scope, scores, value?)?;
    let sums = scope.emit(Transpose::by(&[0, 2, 1, 3]), &[sums])?;
    contracted(scope, sums, 2, &[output], "attention_output/kernel", bias("attention_output/bias"))
}
