//! Decomposes what the target lacks: the only place that does.

mod activations;
mod integer;
mod normalization;
mod padding;
mod recurrent;
mod reshape;
#[cfg(test)]
mod tests;
mod writer;

pub use integer::lower;

use litesmith_graph::model::Parameter;
use litesmith_graph::{Graph, GraphId, Model, ModelError, Op, Tensor, TensorId};
use thiserror::Error;

use writer::Writer;

use crate::{Pass, drop_identities, fold_affine, fold_constants, fuse_activations, remove_dead, run, share};

/// What a model is made ready for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Target {
    /// TFLite's builtin operators.
    Tflite,
    /// ONNX's operators of any version: writing expands single ones that came later.
    ///
    /// The graph is the one that TFLite gets, so that a quantized model has the same integers in both;
    /// only means that leave out explicit padding stay as they are, which TFLite cannot say. After
    /// quantization, [`absorb_padding`](crate::absorb_padding) and
    /// [`channels_first`](crate::channels_first) give it the form that ONNX wants.
    Onnx,
}

/// Why a model cannot be made ready for a target.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum LegalizeError {
    /// Operators that the target cannot express.
    #[error("not supported by the target: {}", .0.iter().map(Refused::to_string).collect::<Vec<_>>().join("; "))]
    Refused(Vec<Refused>),
    /// The model does not fit itself.
    #[error(transparent)]
    Model(#[from] ModelError),
}

/// An operator that the target cannot express.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("layer '{layer}' ({operator}): {reason}")]
pub struct Refused {
    /// Name of the layer.
    pub layer: String,
    /// Name of the operator.
    pub operator: String,
    /// Why, and what to do.
    pub reason: String,
}

/// What follows decomposition: what it has opened is folded and fused once more.
const AFTERWARDS: &[Pass] = &[
    Pass { name: "fold-constants", apply: fold_constants::apply },
    Pass { name: "drop-identities", apply: drop_identities::apply },
    Pass { name: "fold-affine", apply: fold_affine::apply },
    Pass { name: "fuse-activations", apply: fuse_activations::apply },
    Pass { name: "share", apply: share::apply },
    Pass { name: "remove-dead", apply: remove_dead::apply },
];

/// Rewrites every operator that `target` lacks into operators that it has. Parameters become
/// constants.
///
/// # Errors
/// All operators for which there is no such rewrite.
pub fn legalize(model: &mut Model, target: Target) -> Result<(), LegalizeError> {
    litesmith_graph::infer_model(model)?;
    let Model { graphs, parameters, .. } = model;
    let mut refused = Vec::new();
    let mut next = 0;
    // Loops bring graphs of their own, which come last.
    while next < graphs.len() {
        let mut called = Called { first: graphs.len(), graphs: Vec::new() };
        let graph = &mut graphs[next];
        parameters_to_constants(graph, parameters);
        // What a node becomes is looked at as well.
        let mut index = 0;
        while index < graph.nodes.len() {
            let id = litesmith_graph::NodeId(index as u32);
            if let Err(reason) = decompose(graph, parameters, id, target, &mut called) {
                let (layer, operator) = (graph[id].name.clone(), graph[id].op.name().to_owned());
                refused.push(Refused { layer, operator, reason });
            }
            index += 1;
        }
        if !graph.sort() {
            return Err(ModelError::Model(format!("graph '{}' has a cycle", graph.name)).into());
        }
        graphs.extend(called.graphs);
        next += 1;
    }
    if !refused.is_empty() {
        return Err(LegalizeError::Refused(refused));
    }
    run(model, AFTERWARDS, &mut |_, _| {})?;
    model.graphs.iter_mut().for_each(pass_inputs_on);
    Ok(())
}

/// What is left of identities gives an input or a constant out as it is: the output becomes that very
/// tensor.
fn pass_inputs_on(graph: &mut Graph) {
    for id in graph.node_ids() {
        if let (Op::Identity(_), Some(input)) = (&graph[id].op, graph[id].inputs[0]) {
            let output = graph[id].outputs[0];
            graph.replace_uses(output, input);
        }
    }
    graph.remove_dead();
}

fn parameters_to_constants(graph: &mut Graph, parameters: &[Parameter]) {
    for tensor in &mut graph.tensors {
        if let Some(data) = crate::constants::data(tensor, parameters).cloned() {
            tensor.kind = litesmith_graph::TensorKind::Constant(data);
        }
    }
}

/// New graphs that nodes call.
struct Called {
    /// The index that the first of them will have in the model.
    first: usize,
    graphs: Vec<Graph>,
}

impl Called {
    fn add(&mut self, graph: Graph) -> GraphId {
        self.graphs.push(graph);
        GraphId((self.first + self.graphs.len() - 1) as u32)
    }
}

/// Rewrites one node in place: it keeps its outputs and becomes the last of the new nodes.
fn decompose(
    graph: &mut Graph,
    parameters: &[Parameter],
    id: litesmith_graph::NodeId,
    target: Target,
    called: &mut Called,
) -> Result<(), String> {
    match &graph[id].op {
        Op::Recurrent(_) => recurrent::recurrent(graph, parameters, id, called),
        Op::BatchNorm(_) => normalization::batch_norm(graph, parameters, id),
        Op::Unary(unary) => {
            let kind = unary.kind;
            activations::unary(graph, id, kind);
            Ok(())
        }
        Op::Dropout(_) => {
            graph[id].op = litesmith_graph::ops::Identity::default().into();
            Ok(())
        }
        Op::Conv2D(_) | Op::DepthwiseConv2D(_) => {
            padding::convolution(graph, id);
            zero_bias(graph, id);
            Ok(())
        }
        Op::Pool2D(_) => padding::pool(graph, id, target),
        Op::Reshape(_) => {
            reshape::reshape(graph, id);
            Ok(())
        }
        Op::FakeQuant(_) => {
            Err("simulated quantization cannot be written: convert it to integers first".into())
        }
        _ => Ok(()),
    }
}

/// Gives a convolution without bias one of zeros: kernels for small devices demand it.
fn zero_bias(graph: &mut Graph, id: litesmith_graph::NodeId) {
    let Some(rule) = graph[id].op.quantization().weights else { return };
    let channels = graph[graph[id].outputs[0]].shape.last().and_then(|dim| dim.fixed());
    let float = graph[graph[id].outputs[0]].dtype == litesmith_graph::DType::F32;
    let (Some(channels), true, None) = (channels, float, graph[id].inputs.get(rule.bias).copied().flatten())
    else {
        return;
    };
    let name = format!("{}/bias", graph[id].name);
    let bias = graph.add_tensor(Tensor::floats(&name, &[channels], vec![0.0; channels]));
    graph[id].inputs.resize(rule.bias + 1, None);
    graph[id].inputs[rule.bias] = Some(bias);
}

/// Builds the nodes that stand for one high-level node.
struct Builder<'a> {
    graph: &'a mut Graph,
    node: litesmith_graph::NodeId,
}

impl<'a> Builder<'a> {
    fn new(graph: &'a mut Graph, node: litesmith_graph::NodeId) -> Builder<'a> {
        Builder { graph, node }
    }

    /// An input of the node that is replaced.
    fn input(&self, index: usize) -> Option<TensorId> {
        self.graph[self.node].inputs.get(index).copied().flatten()
    }

    fn name(&self, suffix: &str) -> String {
        let output = &self.graph[self.graph[self.node].outputs[0]];
        format!("{}/{suffix}", output.name)
    }

    /// A constant number.
    fn number(&mut self, value: f32) -> TensorId {
        let name = self.name("constant");
        self.graph.add_tensor(Tensor::floats(&name, &[], vec![value]))
    }

    /// A new node before the replaced one; its result has the shape and type that it infers.
    fn push(&mut self, suffix: &str, op: impl Into<Op>, inputs: &[TensorId]) -> TensorId {
        let node = &self.graph[self.node];
        let (layer, prefix) = (node.name.clone(), self.graph[node.outputs[0]].name.clone());
        Writer::new(self.graph, &layer, &prefix).push(suffix, op, inputs)
    }

    /// Lets the replaced node be this one.
    fn finish(self, op: impl Into<Op>, inputs: &[TensorId]) {
        let node = &mut self.graph[self.node];
        node.op = op.into();
        node.inputs = inputs.iter().copied().map(Some).collect();
    }
}
