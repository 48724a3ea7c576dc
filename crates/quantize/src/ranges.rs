//! From statistics to the range of each tensor of a graph.

use std::collections::HashMap;

use litesmith_graph::ops::BinaryKind;
use litesmith_graph::{DType, Graph, NodeId, Op, TensorId};

use crate::error::QuantizeError;
use crate::mode::Ranges;
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

/// Whether calibration looks at a tensor: real numbers that are computed or given.
pub(crate) fn is_observed(graph: &Graph, id: TensorId) -> bool {
    graph[id].dtype == DType::F32 && !graph[id].is_fixed()
}

/// The range of each observed tensor.
///
/// # Errors
/// If the statistics lack one.
pub(crate) fn of_graph(
    graph: &Graph,
    statistics: &Statistics,
    ranges: Ranges,
) -> Result<Vec<Option<Range>>, QuantizeError> {
    let mut known = Vec::with_capacity(graph.tensors.len());
    for (id, key) in graph.tensor_ids().zip(keys(graph)) {
        known.push(match (is_observed(graph, id), statistics.ranges.get(&key)) {
            (false, _) => None,
            (true, Some(range)) => Some(*range),
            (true, None) => return Err(QuantizeError::MissingRange(graph[id].name.clone())),
        });
    }
    if ranges == Ranges::Tensorflow {
        widen(graph, &mut known);
    }
    Ok(known)
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
            let ranges = of_graph(model.main(), &statistics, ranges).unwrap();
            ranges.into_iter().map(|range| range.unwrap().max).collect::<Vec<_>>()
        };
        assert_eq!(max(Ranges::Exact), [1.0, 2.0, 3.0, 5.0, 9.0]);
        assert_eq!(max(Ranges::Tensorflow), [1.0, 9.0, 3.0, 9.0, 9.0]);
    }

    #[test]
    fn a_missing_range_is_named() {
        let model = text::parse("graph main(%x: f32[1]) -> (%y) {\n%y: f32[1] = Unary(%x)\n}").unwrap();
        let mut statistics = Statistics::new();
        statistics.record("x", Range { min: 0.0, max: 1.0 });
        let error = of_graph(model.main(), &statistics, Ranges::Exact).unwrap_err();
        assert!(matches!(error, QuantizeError::MissingRange(name) if name == "y"));
    }
}
