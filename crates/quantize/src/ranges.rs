//! From statistics to the range of each tensor of a graph.

use std::collections::HashMap;

use litesmith_graph::ops::{self, BinaryKind, UnaryKind};
use litesmith_graph::{DType, Graph, NodeId, Op, TensorId, TensorKind, Width};

use crate::error::QuantizeError;
use crate::mode::{Options, Ranges};
use crate::observer::Observer;
use crate::parameters::activation;
use crate::recipe::Recipe;
use crate::statistics::{Range, Statistics};

/// The names under which statistics keep the tensors of a graph: their own, with a number behind where
/// several have the same.
pub(crate) fn keys(graph: &Graph) -> Vec<String> {
    let mut seen: HashMap<&str, usize> = HashMap::new();
    let mut keys = Vec::with_capacity(graph.tensors.len());
    for tensor in &graph.tensors {
        let count = seen.entry(&tensor.name).or_insert(0);
        keys.push(if *count == 0 { tensor.name.clone() } else { format!("{}#{count}", tensor.name) });
        *count += 1;
    }
    keys
}

/// Whether calibration looks at a tensor: real numbers that are computed or given. States are looked at
/// where they are read.
pub(crate) fn is_observed(graph: &Graph, id: TensorId) -> bool {
    let tensor = &graph[id];
    tensor.dtype == DType::F32 && !tensor.is_fixed() && !matches!(tensor.kind, TensorKind::State(_))
}

/// The range of each observed tensor.
///
/// # Errors
/// If the statistics lack one, unless they come from training.
pub(crate) fn of_graph(
    graph: &Graph,
    statistics: &Statistics,
    options: &Options,
    recipe: &Recipe,
) -> Result<Vec<Option<Range>>, QuantizeError> {
    let width = options.mode.width().unwrap_or(Width::Eight);
    let producers = graph.producers();
    let mut known = Vec::with_capacity(graph.tensors.len());
    for (id, key) in graph.tensor_ids().zip(keys(graph)) {
        if !is_observed(graph, id) {
            known.push(None);
            continue;
        }
        match observer(graph, &producers, id, options, recipe).range(statistics, &key, width)? {
            Some(range) => known.push(Some(range)),
            None if statistics.trained.is_some() => known.push(None),
            None => return Err(QuantizeError::MissingRange(graph[id].name.clone())),
        }
    }
    if options.ranges == Ranges::Tensorflow {
        widen(graph, &mut known);
    }
    limit_inverse_roots(graph, width, &mut known);
    Ok(known)
}

/// How the range of a tensor is found.
pub(crate) fn observer(
    graph: &Graph,
    producers: &[Option<NodeId>],
    id: TensorId,
    options: &Options,
    recipe: &Recipe,
) -> Observer {
    let choice = match producers[id.index()].map(|producer| &graph[producer]) {
        Some(node) => {
            let names: Vec<&str> = crate::node_names(graph, node).collect();
            recipe.choice(&names, node.op.builtin_name())
        }
        None => recipe.choice(&[&graph[id].name], ""),
    };
    choice.observer.unwrap_or(options.observer)
}

/// `1 / sqrt(x)` has no bound, but behind an integer `x` it has: that of the smallest `x` above zero.
/// What lies beyond would take levels from values that can occur.
fn limit_inverse_roots(graph: &Graph, width: Width, ranges: &mut [Option<Range>]) {
    for node in &graph.nodes {
        let Op::Unary(ops::Unary { kind: UnaryKind::Rsqrt }) = &node.op else { continue };
        let input = node.inputs[0].and_then(|id| ranges[id.index()]);
        let Some((step, _)) = input.and_then(|range| activation(width, range).single()) else { continue };
        if let Some(range) = &mut ranges[node.outputs[0].index()] {
            range.max = range.max.min(1.0 / step.sqrt());
            range.min = range.min.min(range.max);
        }
    }
}

/// TensorFlow's calibrator looks at tensors after ADD, MUL or SUB may have overwritten an operand in
/// place: the operand's range is then that of both. The operand is the first that is no constant, has
/// as many bytes as the result, and has no other reader. Chains are followed from their end.
fn widen(graph: &Graph, ranges: &mut [Option<Range>]) {
    let consumers = graph.consumers();
    let overwritten = |node: NodeId, operand: TensorId| {
        is_observed(graph, operand)
            && graph[operand].shape == graph[graph[node].outputs[0]].shape
            && consumers[operand.index()] == [node]
            && !graph.is_output(operand)
            && !graph.inputs.contains(&operand)
    };
    for node in graph.node_ids().collect::<Vec<_>>().into_iter().rev() {
        let Op::Binary(op) = &graph[node].op else { continue };
        if !matches!(op.kind, BinaryKind::Add | BinaryKind::Mul | BinaryKind::Sub) {
            continue;
        }
        let operand = graph[node].present_inputs().find(|operand| overwritten(node, *operand));
        let result = ranges[graph[node].outputs[0].index()];
        if let (Some(operand), Some(result)) = (operand, result) {
            let range = &mut ranges[operand.index()];
            *range = range.map(|own| own.union(result));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mode::Mode;
    use crate::observer::Observer;
    use litesmith_graph::text;

    #[test]
    fn overwritten_operands_take_the_range_of_the_result() {
        let model = text::parse(
            r#"graph main(%x: f32[1,4]) -> (%z) {
                 %a: f32[1,4] = Unary(%x)
                 %b: f32[1,4] = Unary(%x) {"kind":"tanh"}
                 %c: f32[1,4] = Binary(%a, %b)
                 %z: f32[1,4] = Binary(%c, %b) {"kind":"mul"}
               }"#,
        )
        .unwrap();
        let mut statistics = Statistics::new();
        for (name, max) in [("x", 1.0), ("a", 2.0), ("b", 3.0), ("c", 5.0), ("z", 9.0)] {
            statistics.record(name, Range { min: 0.0, max });
        }
        let max = |ranges| {
            let options = Options { ranges, ..Options::new(Mode::Int8) };
            let ranges = of_graph(model.main(), &statistics, &options, &Recipe::default()).unwrap();
            ranges.into_iter().map(|range| range.unwrap().max).collect::<Vec<_>>()
        };
        assert_eq!(max(Ranges::Exact), [1.0, 2.0, 3.0, 5.0, 9.0]);
        assert_eq!(max(Ranges::Tensorflow), [1.0, 9.0, 3.0, 9.0, 9.0]);
    }

    #[test]
    fn inverse_roots_end_where_their_operands_do() {
        let source =
            "graph main(%x: f32[1]) -> (%y) {\n%y: f32[1] = Unary(%x) {\"kind\":\"rsqrt\"} # root\n}";
        let model = text::parse(source).unwrap();
        let mut statistics = Statistics::new();
        let of = |min, max| Range { min, max };
        statistics.record_run(1, vec![("x", of(0.0, 255.0)), ("y", of(0.1, 1000.0))]);
        statistics.record_run(1, vec![("x", of(0.0, 127.5)), ("y", of(0.1, 0.2))]);
        let max = |mode, observer| {
            let options = Options { observer, ..Options::new(mode) };
            let rule = "[[rule]]\nlayers = \"x\"\nobserver = \"min-max\"";
            let recipe = Recipe::from_toml(rule).unwrap();
            of_graph(model.main(), &statistics, &options, &recipe).unwrap()[1].unwrap().max
        };
        assert_eq!(max(Mode::Int8, Observer::MinMax), 1.0);
        assert_eq!(max(Mode::Int16x8, Observer::MinMax), 1.0 / (255f32 / 32767.0).sqrt());
        assert_eq!(max(Mode::Int8, Observer::Ema { decay: 0.0 }), 0.2);
    }

    #[test]
    fn a_missing_range_is_named() {
        let model = text::parse("graph main(%x: f32[1]) -> (%y) {\n%y: f32[1] = Unary(%x)\n}").unwrap();
        let mut statistics = Statistics::new();
        statistics.record("x", Range { min: 0.0, max: 1.0 });
        let options = Options::new(Mode::Int8);
        let error = of_graph(model.main(), &statistics, &options, &Recipe::default()).unwrap_err();
        assert!(matches!(error, QuantizeError::MissingRange(name) if name == "y"));
    }
}
