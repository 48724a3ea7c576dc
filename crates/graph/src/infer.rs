//! Shape inference over whole graphs, for free or for given input shapes.

use crate::graph::{Graph, NodeId};
use crate::model::{GraphId, Model};
use crate::operator::{Facts, Inputs, Number};
use crate::shape::Shape;
use crate::tensor::{Tensor, TensorKind};
use crate::validate::ModelError;

/// Most integers of a tensor whose values are followed through shape arithmetic. Without a limit a
/// chain of concatenations of a tensor with itself would grow without end.
const LONGEST_VALUE: usize = 64;

/// Infers the facts of every tensor of a graph, given the shapes of its inputs in order (those the
/// graph states where `inputs` is `None`). The stored shapes of inner tensors are not used.
///
/// # Errors
/// If an input shape contradicts the stated one, or a node does not fit its inputs.
pub fn infer_shapes(model: &Model, id: GraphId, inputs: Option<&[Shape]>) -> Result<Vec<Facts>, ModelError> {
    let graph = &model.graphs[id.0 as usize];
    let mut facts: Vec<Facts> = graph.tensors.iter().map(|tensor| stated_facts(model, tensor)).collect();
    if let Some(shapes) = inputs {
        for ((index, tensor), shape) in graph.inputs.iter().enumerate().zip(shapes) {
            let stated = &graph[*tensor];
            let Some(unified) = stated.shape.unify(shape) else {
                return Err(ModelError::InputShape {
                    index,
                    name: stated.name.clone(),
                    expected: stated.shape.to_string(),
                    got: shape.to_string(),
                });
            };
            facts[tensor.index()].shape = unified;
        }
    }
    for node in graph.node_ids() {
        let outputs = infer_node(graph, node, &facts)?;
        for (tensor, output) in graph[node].outputs.iter().zip(outputs) {
            facts[tensor.index()] = output;
        }
    }
    Ok(facts)
}

/// Infers all graphs and stores the shapes and types of activations in them.
///
/// # Errors
/// As [`infer_shapes`].
pub fn infer_model(model: &mut Model) -> Result<(), ModelError> {
    for index in 0..model.graphs.len() {
        let facts = infer_shapes(model, GraphId(index as u32), None)?;
        for (tensor, facts) in model.graphs[index].tensors.iter_mut().zip(facts) {
            if tensor.kind == TensorKind::Activation {
                tensor.shape = facts.shape;
                tensor.dtype = facts.dtype;
            }
        }
    }
    Ok(())
}

/// Infers the outputs of one node from the facts of all tensors.
///
/// # Errors
/// If the node does not fit its inputs.
pub fn infer_node(graph: &Graph, id: NodeId, facts: &[Facts]) -> Result<Vec<Facts>, ModelError> {
    let node = &graph[id];
    let inputs: Vec<Option<&Facts>> =
        node.inputs.iter().map(|input| input.map(|t| &facts[t.index()])).collect();
    let error = |reason: String| ModelError::Node {
        graph: graph.name.clone(),
        node: node.name.clone(),
        operator: node.op.name().to_owned(),
        reason,
    };
    let mut outputs = node.op.infer(Inputs(&inputs)).map_err(|reason| error(reason.to_string()))?;
    for facts in &mut outputs {
        facts.value = facts.value.take().filter(|value| value.len() <= LONGEST_VALUE);
    }
    if outputs.len() != node.outputs.len() {
        return Err(error(format!(
            "it has {} outputs, its operator gives {}",
            node.outputs.len(),
            outputs.len()
        )));
    }
    Ok(outputs)
}

/// What a tensor says of itself: its stated type and shape and, of few constant integers, the values.
#[must_use]
pub fn stated_facts(model: &Model, tensor: &Tensor) -> Facts {
    let facts = Facts::new(tensor.dtype, tensor.shape.clone());
    let few = tensor.shape.elements().is_some_and(|elements| elements <= LONGEST_VALUE);
    if !few || !tensor.dtype.is_integer() || tensor.quantization.is_some() || tensor.sparsity.is_some() {
        return facts;
    }
    let integers = model.data(tensor).and_then(|data| data.integers(tensor.dtype));
    facts.with_value(integers.map(|values| values.into_iter().map(Number::Int).collect()))
}
