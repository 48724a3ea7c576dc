//! Writing of one graph: its nodes in order, each by the table of operators.

use litesmith_graph::operator::Facts;
use litesmith_graph::{Graph, GraphId, Model, NodeId, TensorId};

use super::spelling::Spelling;
use super::values::{Origin, Value};
use super::writer::Writer;
use super::{Refusal, Unsupported, layout, operators, quantized};

/// A graph being written: its tensors as values.
pub(super) struct Frame<'a> {
    pub id: GraphId,
    pub graph: &'a Graph,
    pub facts: &'a [Facts],
    pub producers: Vec<Option<NodeId>>,
    /// Each tensor as it is stored; `None` where it is not written (yet).
    pub values: Vec<Option<Value>>,
    /// Each tensor as it is stored, channels first.
    pub first: Vec<Option<Value>>,
}

/// Writes the nodes of a graph that is given these values; returns its outputs.
pub(super) fn write_graph<'a>(
    writer: &mut Writer<'a>,
    id: GraphId,
    arguments: &[Value],
) -> Result<Vec<Value>, Refusal> {
    let (model, all): (&'a Model, &'a [Vec<Facts>]) = (writer.model, writer.facts);
    let (graph, facts) = (&model.graphs[id.0 as usize], &all[id.0 as usize]);
    if facts.len() != graph.tensors.len() {
        return Err(Refusal(format!("nothing is known of the tensors of graph '{}'", graph.name)));
    }
    let count = graph.tensors.len();
    let producers = graph.producers();
    let (values, first) = (vec![None; count], vec![None; count]);
    let mut frame = Frame { id, graph, facts, producers, values, first };
    for (input, argument) in graph.inputs.iter().zip(arguments) {
        frame.values[input.index()] = Some(*argument);
    }
    for node in graph.node_ids() {
        write_node(writer, &mut frame, node);
    }
    graph.outputs.iter().map(|output| Spelling::of_graph(writer, &mut frame).stored(*output)).collect()
}

/// Writes one node. What ONNX cannot say is noted, and the node's outputs come from nowhere.
fn write_node<'a>(writer: &mut Writer<'a>, frame: &mut Frame<'a>, id: NodeId) {
    let graph: &'a Graph = frame.graph;
    let node = &graph[id];
    if quantized::is_deferred(writer.model, frame.graph, node) || layout::absorb(writer, frame, node) {
        return;
    }
    let spelled = operators::spell(&mut Spelling::of_node(writer, frame, node));
    let missing: Vec<TensorId> =
        node.outputs.iter().copied().filter(|output| !frame.is_written(*output)).collect();
    if let Err(Refusal(reason)) = spelled {
        let operator = node.op.name().to_owned();
        writer.refused.push(Unsupported { layer: frame.layer(id), operator, reason });
    }
    for output in missing {
        let nowhere = writer.values.add(&frame.graph[output].name, Origin::Input);
        frame.values[output.index()] = Some(nowhere);
    }
}

impl Frame<'_> {
    fn is_written(&self, tensor: TensorId) -> bool {
        self.values[tensor.index()].is_some() || self.first[tensor.index()].is_some()
    }

    /// The layer that a node belongs to, or, where it has no name, its first output's.
    pub fn layer(&self, node: NodeId) -> String {
        let node = &self.graph[node];
        match node.outputs.first() {
            Some(output) if node.name.is_empty() => self.graph[*output].name.clone(),
            _ => node.name.clone(),
        }
    }
}
