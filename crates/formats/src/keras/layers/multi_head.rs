//! Attention of several heads (Vaswani et al. 2017), also with heads that share keys (Ainslie et al.
//! 2023).

use litesmith_graph::ops::{
    BatchMatMul, BinaryKind, CompareKind, ExpandDims, Reshape, ReshapeDim, Transpose, UnaryKind,
};
use litesmith_graph::{DType, TensorId};
use serde_json::Value;

use crate::composed::truth;
use crate::emit::Emit;
use crate::keras::config::{Built, Config, Version, unsupported};
use crate::keras::layers::attention::{asked, band, check_keywords, weights};
use crate::keras::layers::dense::contracted;
use crate::keras::layers::reshaping::repeated;
use crate::keras::scope::{Operand, Scope};
use crate::keras::weights::Variable;

/// What a call may name.
const KEYWORDS: [&str; 8] =
    ["query", "value", "key", "query_mask", "value_mask", "key_mask", "attention_mask", "use_causal_mask"];

pub(super) fn variables(config: Config<'_>) -> Built<Vec<Variable>> {
    let use_bias = config.flag("use_bias", true)?;
    let gate = config.flag("use_gate", false)?;
    let parts = [
        ("query_dense", "query/kernel", "query/bias"),
        ("key_dense", "key/kernel", "key/bias"),
        ("gate_dense", "gate/kernel", "gate/bias"),
        ("value_dense", "value/kernel", "value/bias"),
        ("output_dense", "attention_output/kernel", "attention_output/bias"),
    ];
    let mut variables = Vec::new();
    for (part, kernel, bias) in parts.into_iter().filter(|(part, ..)| gate || *part != "gate_dense") {
        variables.push(Variable::trained(kernel, "kernel_regularizer").of(part));
        if use_bias {
            variables.push(Variable::trained(bias, "bias_regularizer").of(part));
        }
    }
    Ok(variables)
}

/// Numbers of heads and sizes of their vectors.
struct Heads {
    query: usize,
    key: usize,
    key_size: usize,
    value_size: usize,
    /// What the layer makes in place of the channels.
    output: Vec<usize>,
    /// The axes over which attention goes.
    axes: Vec<usize>,
}

pub(super) fn multi_head(scope: &mut Scope<'_>) -> Built<Vec<TensorId>> {
    let [query, value, key] = operands(scope)?;
    let config = scope.config();
    let rank = scope.rank(query);
    let heads = config.count("num_heads")?;
    let key_size = config.count("key_dim")?;
    let output = match config.integers("output_shape")? {
        None => vec![scope.channels(query)?],
        Some(sizes) => match sizes.iter().map(|size| usize::try_from(*size)).collect() {
            Ok(sizes) => sizes,
            Err(_) => return Err(config.broken("its output_shape is negative").into()),
        },
    };
    let axes = match config.integers("attention_axes")? {
        None => (1..rank - 1).collect(),
        Some(axes) => axes.into_iter().map(|axis| scope.axis(axis, rank)).collect::<Built<Vec<_>>>()?,
    };
    if axes.is_empty() || axes.iter().any(|axis| *axis == 0 || axis + 1 == rank) {
        return Err(config.broken(format!("it attends along the axes {axes:?} of {rank}")).into());
    }
    let value_size = config.count_or("value_dim", key_size)?;
    let heads = Heads { query: heads, key: heads, key_size, value_size, output, axes };
    let [given_query, given_value, given_key] = [0, 1, 2].map(|place| given(scope, place));
    let mask = given_query.and_then(|query| scope.carried_mask(query));
    let outputs = attended(scope, [query, value, key], &heads)?;
    if scope.version == Version::Keras3 {
        // Keras takes the masks off the tensors; layers that read them afterwards see none.
        for tensor in [given_query, given_value, given_key].into_iter().flatten() {
            scope.set_mask(tensor, None);
        }
    }
    scope.set_mask(outputs[0], mask);
    Ok(outputs)
}

pub(super) fn grouped_query(scope: &mut Scope<'_>) -> Built<Vec<TensorId>> {
    let [query, value, key] = operands(scope)?;
    let config = scope.config();
    let size = config.count("head_dim")?;
    let (queries, keys) = (config.count("num_query_heads")?, config.count("num_key_value_heads")?);
    if scope.rank(query) != 3 || !queries.is_multiple_of(keys) {
        return Err(config.broken(format!("{queries} query heads do not share {keys} key heads")).into());
    }
    let output = vec![scope.channels(query)?];
    let heads = Heads { query: queries, key: keys, key_size: size, value_size: size, output, axes: vec![1] };
    let mask = given(scope, 0).and_then(|query| scope.carried_mask(query));
    let outputs = attended(scope, [query, value, key], &heads)?;
    scope.set_mask(outputs[0], mask);
    Ok(outputs)
}

/// The tensor that a call gives as query, value or key.
fn given(scope: &Scope<'_>, place: usize) -> Option<TensorId> {
    match scope.operand(place, &[["query", "value", "key"][place]]) {
        Some(Operand::Tensor(id)) => Some(*id),
        _ => None,
    }
}

/// Query, value and key; the value is the key where none is given.
fn operands(scope: &mut Scope<'_>) -> Built<[TensorId; 3]> {
    check_keywords(scope, &[&KEYWORDS[..], &["return_attention_scores"]].concat())?;
    if scope.arguments.len() > 3 {
        unsupported!("a mask by place is not supported; give it by name");
    }
    let query = scope.float_operand(0, &["query"])?;
    let value = scope.float_operand(1, &["value"])?;
    let key = if given(scope, 2).is_some() { scope.float_operand(2, &["key"])? } else { value };
    let rank = scope.rank(query);
    if rank < 3 || [value, key].iter().any(|input| scope.rank(*input) != rank) {
        unsupported!("attention between tensors of {rank} and another number of axes is not supported");
    }
    Ok([query, value, key])
}

fn attended(scope: &mut Scope<'_>, inputs: [TensorId; 3], heads: &Heads) -> Built<Vec<TensorId>> {
    let [query, value, key] = inputs;
    let config = scope.config();
    let use_bias = config.flag("use_bias", true)?;
    let bias = |name: &'static str| use_bias.then_some(name);
    let mask = mask(scope, [query, value], heads)?;
    let gate = if config.flag("use_gate", false)? {
        let gate =
            contracted(scope, query, 1, &[heads.query, heads.key_size], "gate/kernel", bias("gate/bias"))?;
        Some(scope.unary(UnaryKind::Logistic, gate)?)
    } else {
        None
    };
    let query =
        contracted(scope, query, 1, &[heads.query, heads.key_size], "query/kernel", bias("query/bias"))?;
    let key = contracted(scope, key, 1, &[heads.key, heads.key_size], "key/kernel", bias("key/bias"))?;
    let value =
        contracted(scope, value, 1, &[heads.key, heads.value_size], "value/kernel", bias("value/bias"))?;
    let query = scope.with_scalar(BinaryKind::Mul, query, 1.0 / (heads.key_size as f32).sqrt())?;
    let (key, value) = if heads.key == heads.query {
        (key, value)
    } else {
        let times = heads.query / heads.key;
        (repeated(scope, key, 2, times)?, repeated(scope, value, 2, times)?)
    };
    let sizes = heads.axes.iter().map(|axis| scope.shape(query).dims()[*axis].fixed()).collect::<Vec<_>>();
    let [query, key, value] = [query, key, value].map(|x| by_head(scope, x, heads));
    let scores = scope.emit(BatchMatMul { adjoint_b: true, ..BatchMatMul::default() }, &[query?, key?])?;
    let mut weights = weights(scope, scores, mask)?;
    if let Some(mask) = mask.filter(|_| zeroes_masked(scope)) {
        weights = truth::kept(scope, mask, weights)?;
    }
    let sums = scope.emit(BatchMatMul::default(), &[weights, value?])?;
    let mut sums = by_place(scope, sums, heads, &sizes)?;
    if let Some(gate) = gate {
        sums = scope.binary(BinaryKind::Mul, sums, gate)?;
    }
    let bias = bias("attention_output/bias");
    let output = contracted(scope, sums, 2, &heads.output, "attention_output/kernel", bias)?;
    Ok(if asked(scope, "return_attention_scores") { vec![output, weights] } else { vec![output] })
}

/// Whether rows without any step that counts become zeros: Keras 3 does so wherever it does not use
/// its fused attention.
fn zeroes_masked(scope: &Scope<'_>) -> bool {
    let dropout = scope.config().number("dropout", 0.0).is_ok_and(|rate| rate > 0.0);
    scope.version == Version::Keras3 && (dropout || asked(scope, "return_attention_scores"))
}

/// Axes in the order batch, heads, places of attention, vector.
fn order(rank: usize, heads: &Heads) -> Vec<usize> {
    let batch = (0..rank - 2).filter(|axis| !heads.axes.contains(axis));
    batch.chain([rank - 2]).chain(heads.axes.iter().copied()).chain([rank - 1]).collect()
}

/// From places, head, vector to head, places, vector, the places of attention as one axis.
fn by_head(scope: &mut Scope<'_>, x: TensorId, heads: &Heads) -> Built<TensorId> {
    let rank = scope.rank(x);
    let turned = scope.emit(Transpose::by(&order(rank, heads)), &[x])?;
    if heads.axes.len() == 1 {
        return Ok(turned);
    }
    let kept = rank - 1 - heads.axes.len();
    let mut shape: Vec<ReshapeDim> = (0..kept).map(ReshapeDim::Copy).collect();
    shape.extend([ReshapeDim::Infer, ReshapeDim::Copy(rank - 1)]);
    scope.emit(Reshape::to(shape), &[turned])
}

/// The way back; `sizes` are those of the places of attention.
fn by_place(scope: &mut Scope<'_>, x: TensorId, heads: &Heads, sizes: &[Option<usize>]) -> Built<TensorId> {
    let mut x = x;
    let rank = scope.rank(x) + heads.axes.len() - 1;
    if heads.axes.len() > 1 {
        let kept = rank - 1 - heads.axes.len();
        let mut shape: Vec<ReshapeDim> = (0..kept).map(ReshapeDim::Copy).collect();
        for size in sizes {
            let Some(size) = size else { unsupported!("attention over several axes needs fixed sizes") };
            shape.push(ReshapeDim::Fixed(*size));
        }
        shape.push(ReshapeDim::Copy(kept + 1));
        x = scope.emit(Reshape::to(shape), &[x])?;
    }
    let order = order(rank, heads);
    let mut back = vec![0; rank];
    order.iter().enumerate().for_each(|(place, axis)| back[*axis] = place);
    scope.emit(Transpose::by(&back), &[x])
}

/// What counts among the scores `[batch, heads, query, key]`, by all masks of the call together.
fn mask(scope: &mut Scope<'_>, [query, value]: [TensorId; 2], heads: &Heads) -> Built<Option<TensorId>> {
    let mut counts = None;
    for (place, name, axes) in [(0, "query_mask", [1, 3]), (1, "value_mask", [1, 1]), (2, "key_mask", [1, 1])]
    {
        let carried = given(scope, place).and_then(|tensor| scope.carried_mask(tensor));
        let named = match named(scope, name) {
            Some(Operand::Tensor(mask)) if place > 0 || scope.layer.class != "MultiHeadAttention" => {
                Some(mask)
            }
            _ => None,
        };
        let Some(mut mask) = named.or(carried) else { continue };
        for axis in axes {
            mask = scope.emit(ExpandDims { axis }, &[mask])?;
        }
        counts = truth::both(scope, counts, Some(mask))?;
    }
    let causal = asked(scope, "use_causal_mask");
    let window = scope.config().get("sliding_window").and_then(Value::as_u64).map(|window| window as usize);
    if causal || window.is_some() {
        let [queries, keys] = [query, value].map(|x| scope.size(x, heads.axes[0]));
        let band = band(scope, queries?, keys?, causal, window)?;
        counts = truth::both(scope, counts, Some(band))?;
    }
    if let Some(Operand::Tensor(mut mask)) = named(scope, "attention_mask") {
        if scope.dtype(mask) != DType::Bool {
            let numbers = scope.as_floats(mask)?;
            mask = truth::compared(scope, CompareKind::NotEqual, numbers, 0.0)?;
        }
        if scope.rank(mask) == 3 {
            mask = scope.emit(ExpandDims { axis: 1 }, &[mask])?;
        }
        counts = truth::both(scope, counts, Some(mask))?;
    }
    if counts.is_some() && scope.rank(query) != 3 {
        unsupported!("masks of attention over tensors of more than three axes are not supported");
    }
    Ok(counts)
}

fn named(scope: &Scope<'_>, name: &str) -> Option<Operand> {
    scope.keywords.iter().find(|(known, _)| known == name).map(|(_, operand)| operand.clone())
}
