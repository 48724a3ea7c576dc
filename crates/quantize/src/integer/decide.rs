//! Which operators become integer, and why others do not.

use litesmith_graph::ops::{Unary, UnaryKind};
use litesmith_graph::{DType, Graph, Node, Op, OutputRule, TensorId, Width};

use crate::ranges::is_observed;
use crate::recipe::{Choice, Recipe};
use crate::report::{Outcome, Precision, Report};
use crate::statistics::Range;

/// What becomes of one node.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Decision {
    /// It has an integer kernel and its real-valued tensors become integers.
    Integer(Choice),
    /// It stays float, for this reason.
    Float(String),
    /// It has no real-valued tensor.
    Untouched,
}

impl Decision {
    pub(crate) fn is_integer(&self) -> bool {
        matches!(self, Decision::Integer(_))
    }
}

/// Decides on every node of a graph.
pub(crate) fn decide(
    graph: &Graph,
    recipe: &Recipe,
    width: Width,
    ranges: &[Option<Range>],
) -> Vec<Decision> {
    let decided = |node: &Node| {
        let decision = match decide_node(graph, recipe, node, width) {
            Decision::Integer(_) if lacks_range(graph, node, ranges) => Decision::Float(NO_RANGE.to_owned()),
            decision => decision,
        };
        let vanishes = width == Width::Sixteen && decision.is_integer() && is_steep(node, ranges);
        if vanishes { Decision::Float(STEEP.to_owned()) } else { decision }
    };
    let mut decisions: Vec<Decision> = graph.nodes.iter().map(decided).collect();
    if width == Width::Sixteen {
        keep_before_logarithms(graph, ranges, &mut decisions);
    }
    decisions
}

/// Why an operator stays float whose numbers were not rounded in training.
const NO_RANGE: &str = "training has rounded neither all that it reads nor what it gives";

/// Whether a tensor that would become integers has no range. That of a fixed one is known.
fn lacks_range(graph: &Graph, node: &Node, ranges: &[Option<Range>]) -> bool {
    let fixed = matches!(node.op.quantization().output, OutputRule::Fixed { .. });
    let outputs = node.outputs.iter().filter(|_| !fixed).copied();
    let mut tensors = operands(graph, node).into_iter().map(|(_, id)| id).chain(outputs);
    tensors.any(|id| is_observed(graph, id) && ranges[id.index()].is_none())
}

/// Why a steep function of 16 bits stays float.
const STEEP: &str = "its int16 kernel, a table of 512 steps, is too coarse for operands as small as these";

/// Why what a logarithm is taken of stays float.
const VANISHING: &str = "a logarithm is taken of numbers that 16 bits cannot tell from zero";

/// Where the smallest operands of a logarithm have fewer than 16 steps of 32767, the arithmetic that leads
/// to them stays float, back to the products that it starts from: no step in between may lose them.
fn keep_before_logarithms(graph: &Graph, ranges: &[Option<Range>], decisions: &mut [Decision]) {
    let mut delicate = vec![false; graph.tensors.len()];
    for (node, decision) in graph.nodes.iter().zip(decisions).rev() {
        let rule = node.op.quantization();
        let arithmetic = rule.weights.is_none()
            && !matches!(rule.output, OutputRule::Fixed { .. })
            && !matches!(node.op, Op::BatchMatMul(_) | Op::Gather(_));
        let vanishes = match &node.op {
            Op::Unary(Unary { kind: UnaryKind::Log }) => {
                let range = node.inputs[0].and_then(|id| ranges[id.index()]);
                range.is_some_and(|range| range.min < range.max / 2048.0)
            }
            _ => false,
        };
        let leads_there = arithmetic && node.outputs.iter().any(|id| delicate[id.index()]);
        if !vanishes && !leads_there {
            continue;
        }
        operands(graph, node).iter().for_each(|(_, id)| delicate[id.index()] = true);
        if decision.is_integer() {
            *decision = Decision::Float(VANISHING.to_owned());
        }
    }
}

/// Whether operands go so near to zero that int16 kernels cannot compute this function of them: the
/// logarithm and the inverse root change most where the table has one step.
fn is_steep(node: &Node, ranges: &[Option<Range>]) -> bool {
    let Op::Unary(Unary { kind: UnaryKind::Log | UnaryKind::Rsqrt }) = &node.op else { return false };
    let range = node.inputs[0].and_then(|id| ranges[id.index()]);
    range.is_some_and(|range| range.min < range.max / 256.0)
}

fn decide_node(graph: &Graph, recipe: &Recipe, node: &Node, width: Width) -> Decision {
    let tensors = node.present_inputs().chain(node.outputs.iter().copied());
    let types: Vec<DType> = tensors.map(|id| graph[id].dtype).collect();
    if types.iter().all(|dtype| !dtype.is_float()) {
        return Decision::Untouched;
    }
    let names: Vec<&str> = crate::node_names(graph, node).collect();
    let choice = recipe.choice(&names, node.op.builtin_name());
    let rule = node.op.quantization();
    let fixed =
        |place: usize| node.inputs.get(place).copied().flatten().is_none_or(|id| graph[id].is_fixed());
    let reason = if choice.skip {
        "the recipe keeps it float"
    } else if !rule.has_kernel(width) || matches!(node.op, Op::Dequantize(_) | Op::Quantize(_)) {
        match width {
            Width::Eight => "TFLite has no int8 kernel for it",
            Width::Sixteen => "TFLite has no int16 kernel for it",
        }
    } else if types.iter().any(|dtype| matches!(dtype, DType::F16 | DType::F64)) {
        "it works on another floating-point type than float32"
    } else if rule.weights.is_some_and(|weights| !fixed(weights.input) || !fixed(weights.bias)) {
        "its weights are computed by the model"
    } else if node.present_inputs().any(|id| graph[id].quantization.is_some()) {
        "it reads a quantized tensor already"
    } else {
        return Decision::Integer(choice);
    };
    Decision::Float(reason.to_owned())
}

/// The decisions as a report.
pub(super) fn report(graph: &Graph, decisions: &[Decision], width: Width) -> Report {
    let integer = match width {
        Width::Eight => Precision::Int8,
        Width::Sixteen => Precision::Int16x8,
    };
    let mut report = Report::default();
    for (node, decision) in graph.nodes.iter().zip(decisions) {
        let (precision, reason) = match decision {
            Decision::Integer(_) => (integer, None),
            Decision::Float(reason) => (Precision::Float32, Some(reason.clone())),
            Decision::Untouched => continue,
        };
        let operator = node.op.builtin_name().to_owned();
        report.outcomes.push(Outcome { layer: node.name.clone(), operator, precision, reason });
    }
    report
}

/// The real-valued inputs of a node that are no weights or biases, with their places.
pub(super) fn operands(graph: &Graph, node: &Node) -> Vec<(usize, TensorId)> {
    let weights = node.op.quantization().weights;
    let is_weight =
        |place: usize| weights.is_some_and(|weights| place == weights.input || place == weights.bias);
    let inputs = node.inputs.iter().enumerate().filter_map(|(place, id)| Some((place, (*id)?)));
    inputs.filter(|(place, id)| !is_weight(*place) && graph[*id].dtype == DType::F32).collect()
}
