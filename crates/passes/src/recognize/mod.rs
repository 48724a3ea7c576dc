//! Recognizes high-level operators where a graph spells them out.
//!
//! Frozen graphs and files of other formats say `x * sigmoid(x)` where a layer says swish, and bias,
//! batch normalization or a product with many leading axes in several operators. Each file knows the
//! spellings of one idea and makes one operator of them (or the spelling that readers of layers use),
//! so that a model gives the same result whatever it was read from. What these passes do is exact up
//! to the rounding of single precision.
//!
//! Common rules, kept by [`rewrite`]: everything between the inputs and the result of what is
//! recognized is plain single precision, nobody else reads it and the caller does not get it. Graphs
//! with a quantized tensor are left alone.

pub(crate) mod batch_norm;
pub(crate) mod bias;
pub(crate) mod clamp;
pub(crate) mod dense;
pub(crate) mod gate;
pub(crate) mod gelu;
pub(crate) mod grouped;
pub(crate) mod layer_norm;
mod normal;
pub(crate) mod power;
pub(crate) mod prelu;
pub(crate) mod reduction;
pub(crate) mod reshape;
mod terms;
#[cfg(test)]
mod tests;
mod view;

use litesmith_graph::model::Parameter;
use litesmith_graph::ops::{Activation, Unary, UnaryKind};
use litesmith_graph::{DType, Graph, Node, NodeId, Op, Shape, Tensor, TensorId};

use view::View;

/// Most nodes that one recognized operator stands for.
const MOST_NODES: usize = 48;

/// What stands in the place of recognized nodes, in order; the last step gives their result.
struct Replacement {
    steps: Vec<Step>,
    /// Name of the new nodes; that of the last recognized one where there is none.
    name: Option<String>,
}

/// One new node.
struct Step {
    /// What its result is called, behind the name of the whole result.
    suffix: &'static str,
    op: Op,
    inputs: Vec<Operand>,
}

/// What a new node reads.
#[derive(Clone)]
enum Operand {
    /// Nothing: an optional input is left out.
    Absent,
    /// A tensor of the graph.
    Tensor(TensorId),
    /// A new constant.
    New(Box<Tensor>),
    /// The result of an earlier step.
    Step(usize),
}

impl From<Tensor> for Operand {
    fn from(tensor: Tensor) -> Operand {
        Operand::New(Box::new(tensor))
    }
}

impl Replacement {
    fn new() -> Replacement {
        Replacement { steps: Vec::new(), name: None }
    }

    /// A single node.
    fn one(op: impl Into<Op>, inputs: Vec<Operand>) -> Replacement {
        let mut one = Replacement::new();
        one.push("", op, inputs);
        one
    }

    /// A function of one tensor.
    fn unary(kind: UnaryKind, x: TensorId) -> Replacement {
        Replacement::one(Unary::from(kind), vec![Operand::Tensor(x)])
    }

    fn push(&mut self, suffix: &'static str, op: impl Into<Op>, inputs: Vec<Operand>) -> Operand {
        self.steps.push(Step { suffix, op: op.into(), inputs });
        Operand::Step(self.steps.len() - 1)
    }

    /// Applies the clamp that the last recognized node ends with.
    fn clamp(&mut self, activation: Activation) {
        let kind = match activation {
            Activation::None => return,
            Activation::Relu => UnaryKind::Relu,
            Activation::Relu6 => UnaryKind::Relu6,
            Activation::ReluN1To1 => UnaryKind::ReluN1To1,
        };
        let last = self.steps.len().saturating_sub(1);
        let Some(step) = self.steps.last_mut() else { return };
        match step.op.activation_mut() {
            Some(place) if place.is_none() => *place = activation,
            _ => {
                step.suffix = "unclamped";
                self.push("", Unary::from(kind), vec![Operand::Step(last)]);
            }
        }
    }

    /// The tensors of the graph that it reads.
    fn reads(&self) -> Vec<TensorId> {
        let operands = self.steps.iter().flat_map(|step| &step.inputs);
        operands
            .filter_map(|operand| if let Operand::Tensor(id) = operand { Some(*id) } else { None })
            .collect()
    }

    /// Whether the graph says the same already.
    fn is_spelled_by(&self, view: &View<'_>, nodes: &[NodeId]) -> bool {
        let same = |step: &Step, id: NodeId| {
            let node = &view.graph[id];
            let mut pairs = step.inputs.iter().zip(&node.inputs);
            step.op == node.op
                && step.inputs.len() == node.inputs.len()
                && pairs.all(|(operand, input)| match (operand, input) {
                    (Operand::Absent, None) => true,
                    (Operand::Tensor(id), Some(input)) => id == input,
                    (Operand::New(_), Some(input)) => view.is_fixed(*input),
                    (Operand::Step(step), Some(input)) => {
                        nodes.get(*step).is_some_and(|node| view.graph[*node].outputs[0] == *input)
                    }
                    _ => false,
                })
        };
        self.steps.len() == nodes.len() && self.steps.iter().zip(nodes).all(|(step, id)| same(step, *id))
    }
}

/// Replaces what `find` recognizes by its last node. Larger wholes go before their parts.
fn rewrite(
    graph: &mut Graph,
    parameters: &[Parameter],
    find: impl Fn(&View<'_>, NodeId) -> Option<Replacement>,
) -> usize {
    if is_quantized(graph) {
        return 0;
    }
    let view = View::new(graph, parameters);
    let mut gone = vec![false; graph.nodes.len()];
    let mut found = Vec::new();
    for root in (0..graph.nodes.len() as u32).rev().map(NodeId) {
        if gone[root.index()] || !view.is_live(root) || !view.is_plain_node(root) {
            continue;
        }
        let Some(mut replacement) = find(&view, root) else { continue };
        let Some(nodes) = between(&view, root, &replacement.reads()) else { continue };
        if replacement.is_spelled_by(&view, &nodes) {
            continue;
        }
        let mut op = graph[root].op.clone();
        replacement.clamp(op.activation_mut().map_or(Activation::None, |activation| *activation));
        nodes.iter().for_each(|id| gone[id.index()] = true);
        found.push((root, replacement));
    }
    let count = found.len();
    if count > 0 {
        replace(graph, found, &gone);
        graph.remove_dead();
    }
    count
}

/// Whether some tensor holds integers for real numbers.
fn is_quantized(graph: &Graph) -> bool {
    graph.tensors.iter().any(|tensor| tensor.quantization.is_some())
}

/// The nodes on the ways from `reads` to the result of `root`, in order, without those that compute
/// fixed values; `None` where they are not to be replaced: another node or the caller gets a value in
/// between, one is no plain number, or there is a way from elsewhere.
fn between(view: &View<'_>, root: NodeId, reads: &[TensorId]) -> Option<Vec<NodeId>> {
    let mut nodes = vec![root];
    let mut next = 0;
    while let Some(id) = nodes.get(next).copied() {
        next += 1;
        let node = &view.graph[id];
        for (place, input) in node.present_inputs().enumerate() {
            // Who recognizes a reshape has looked at its shape, however it is computed.
            let is_shape = place > 0 && matches!(node.op, Op::Reshape(_));
            if is_shape || view.is_fixed(input) || reads.contains(&input) {
                continue;
            }
            let producer = view.producer(input)?;
            if !nodes.contains(&producer) {
                nodes.push(producer);
            }
        }
        if nodes.len() > MOST_NODES {
            return None;
        }
    }
    let inner = nodes.iter().skip(1).flat_map(|id| &view.graph[*id].outputs);
    let apart = |id: &TensorId| {
        view.is_plain(*id)
            && !view.is_given_out(*id)
            && view.readers(*id).iter().all(|reader| nodes.contains(reader))
    };
    if !inner.clone().all(apart) {
        return None;
    }
    nodes.sort_unstable();
    Some(nodes)
}

/// Puts each replacement in the place of its root and drops the other recognized nodes.
fn replace(graph: &mut Graph, found: Vec<(NodeId, Replacement)>, gone: &[bool]) {
    let nodes = std::mem::take(&mut graph.nodes);
    let mut found = found.into_iter().rev().peekable();
    for (index, node) in nodes.into_iter().enumerate() {
        match found.next_if(|(root, _)| root.index() == index) {
            Some((_, replacement)) => emit(graph, node, replacement),
            None if gone[index] => {}
            None => graph.nodes.push(node),
        }
    }
}

fn emit(graph: &mut Graph, root: Node, replacement: Replacement) {
    let prefix = graph[root.outputs[0]].name.clone();
    let name = replacement.name.unwrap_or(root.name);
    let count = replacement.steps.len();
    let mut results: Vec<TensorId> = Vec::with_capacity(count);
    for (place, step) in replacement.steps.into_iter().enumerate() {
        let mut inputs = Vec::with_capacity(step.inputs.len());
        for operand in step.inputs {
            inputs.push(match operand {
                Operand::Absent => None,
                Operand::Tensor(id) => Some(id),
                Operand::New(tensor) => {
                    let name = format!("{prefix}/{}", tensor.name);
                    Some(graph.add_tensor(Tensor { name, ..*tensor }))
                }
                Operand::Step(step) => results.get(step).copied(),
            });
        }
        let outputs = if place + 1 == count {
            root.outputs.clone()
        } else {
            // Shapes are inferred behind each pass.
            let tensor =
                Tensor::activation(&format!("{prefix}/{}", step.suffix), DType::F32, Shape::default());
            vec![graph.add_tensor(tensor)]
        };
        results.extend(outputs.first());
        graph.nodes.push(Node { name: name.clone(), op: step.op, inputs, outputs });
    }
}

/// A constant number, as an operand.
fn number(name: &str, value: f32) -> Operand {
    Operand::from(Tensor::floats(name, &[], vec![value]))
}
