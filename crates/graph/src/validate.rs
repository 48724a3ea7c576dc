//! The invariants of a model, checked after every reader and, in tests, after every pass.

use thiserror::Error;

use crate::graph::{Graph, Node, TensorId};
use crate::infer::{MOST_PASSES, called_graphs, infer_shapes};
use crate::model::{GraphId, Model};
use crate::quantization::Quantization;
use crate::tensor::{Tensor, TensorKind};

/// A model that contradicts itself.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ModelError {
    /// A statement about the model as a whole.
    #[error("the model is broken: {0}")]
    Model(String),
    /// A tensor contradicts itself.
    #[error("tensor '{tensor}' of graph '{graph}' is broken: {reason}")]
    Tensor {
        /// Name of the graph.
        graph: String,
        /// Name of the tensor.
        tensor: String,
        /// What is wrong.
        reason: String,
    },
    /// A node contradicts itself or its inputs.
    #[error("layer '{node}' ({operator}) of graph '{graph}': {reason}")]
    Node {
        /// Name of the graph.
        graph: String,
        /// Name of the node.
        node: String,
        /// Name of its operator.
        operator: String,
        /// What is wrong.
        reason: String,
    },
    /// An input was given a shape that it does not take.
    #[error("input {index} '{name}' takes shape {expected}, it was given {got}")]
    InputShape {
        /// Which input.
        index: usize,
        /// Its name.
        name: String,
        /// The shape that it takes.
        expected: String,
        /// The shape that it was given.
        got: String,
    },
}

/// Checks every invariant: ids exist, nodes stand in topological order, each tensor has one origin,
/// constants have as many bytes as their shape says, quantization fits the shape, states can
/// be held, calls end, signatures name inputs and outputs, and shapes can be inferred.
///
/// # Errors
/// The first invariant that does not hold, with its place.
pub fn validate(model: &Model) -> Result<(), ModelError> {
    validate_structure(model)?;
    // Called graphs are inferred with the shapes of their calls.
    let called = called_graphs(model);
    for index in (0..model.graphs.len()).filter(|index| !called[*index]) {
        infer_shapes(model, GraphId(index as u32), None)?;
    }
    Ok(())
}

/// Checks every invariant but that shapes can be inferred, for those who infer them themselves.
///
/// # Errors
/// As [`validate`].
pub fn validate_structure(model: &Model) -> Result<(), ModelError> {
    if model.graphs.is_empty() {
        return Err(ModelError::Model("it has no graph".into()));
    }
    check_parameters(model)?;
    for graph in &model.graphs {
        check_ids(graph)?;
        for id in graph.tensor_ids() {
            check_tensor(model, graph, id)?;
        }
        check_order(graph)?;
    }
    check_states(model)?;
    check_calls(model)?;
    check_signatures(model)
}

fn check_states(model: &Model) -> Result<(), ModelError> {
    for state in &model.states {
        let bytes = state.shape.elements().and_then(|elements| state.dtype.bytes(elements));
        let fits = state.initial.as_ref().is_none_or(|data| Some(data.len()) == bytes);
        if bytes.is_none() || !fits {
            let (dtype, shape) = (state.dtype, &state.shape);
            return Err(ModelError::Model(format!("state '{}' cannot hold {dtype}{shape}", state.name)));
        }
    }
    Ok(())
}

/// Graphs that are called exist, do not call themselves, and are few enough to be followed.
fn check_calls(model: &Model) -> Result<(), ModelError> {
    let mut known = vec![None; model.graphs.len()];
    for index in 0..model.graphs.len() {
        work(model, GraphId(index as u32), &mut known, 0)?;
    }
    Ok(())
}

/// How much there is to look at when a graph is inferred: its nodes and tensors, and those of the
/// graphs that it calls as often as that may happen.
fn work(model: &Model, id: GraphId, known: &mut [Option<u64>], path: usize) -> Result<u64, ModelError> {
    const MOST_WORK: u64 = 1 << 24;
    const DEEPEST: usize = 64;
    let broken = |what: String| Err(ModelError::Model(what));
    let Some(graph) = model.graphs.get(id.0 as usize) else {
        return broken(format!("a node runs graph {}, which does not exist", id.0));
    };
    if path > DEEPEST {
        return broken(format!("graph '{}' is called through more than {DEEPEST} others", graph.name));
    }
    if let Some(work) = known[id.0 as usize] {
        return Ok(work);
    }
    let mut sum = (graph.nodes.len() + graph.tensors.len()) as u64;
    for callee in graph.nodes.iter().flat_map(|node| node.op.calls()) {
        sum = sum.saturating_add(work(model, callee, known, path + 1)?.saturating_mul(MOST_PASSES));
        if sum > MOST_WORK {
            return broken(format!("graph '{}' runs others too often", graph.name));
        }
    }
    known[id.0 as usize] = Some(sum);
    Ok(sum)
}

fn check_parameters(model: &Model) -> Result<(), ModelError> {
    for parameter in &model.parameters {
        let elements = parameter.shape.iter().try_fold(1usize, |product, size| product.checked_mul(*size));
        if elements.and_then(|elements| parameter.dtype.bytes(elements)) != Some(parameter.data.len()) {
            let origin = &parameter.origin;
            let (bytes, shape) = (parameter.data.len(), &parameter.shape);
            return Err(ModelError::Model(format!(
                "variable '{}' of layer '{}' has {bytes} bytes for shape {shape:?} of {}",
                origin.variable, origin.layer, parameter.dtype
            )));
        }
    }
    Ok(())
}

fn check_ids(graph: &Graph) -> Result<(), ModelError> {
    let count = graph.tensors.len();
    let bad = |id: &TensorId| id.index() >= count;
    for node in &graph.nodes {
        if node.present_inputs().any(|id| bad(&id)) || node.outputs.iter().any(bad) {
            return Err(node_error(graph, node, "it refers to a tensor that does not exist".into()));
        }
    }
    if graph.inputs.iter().chain(&graph.outputs).any(bad) {
        return Err(ModelError::Model(format!("graph '{}' names a tensor that does not exist", graph.name)));
    }
    Ok(())
}

fn check_tensor(model: &Model, graph: &Graph, id: TensorId) -> Result<(), ModelError> {
    let tensor = &graph[id];
    let error = |reason: String| ModelError::Tensor {
        graph: graph.name.clone(),
        tensor: tensor.name.clone(),
        reason,
    };
    match &tensor.kind {
        TensorKind::Parameter(parameter) => match model.parameter(*parameter) {
            None => return Err(error("its parameter does not exist".into())),
            Some(parameter) => {
                if tensor.shape.to_fixed().as_ref() != Some(&parameter.shape)
                    || tensor.dtype != parameter.dtype
                {
                    return Err(error(format!("its parameter is {}{:?}", parameter.dtype, parameter.shape)));
                }
            }
        },
        TensorKind::State(id) => match model.states.get(id.0 as usize) {
            None => return Err(error("its state does not exist".into())),
            Some(state) if state.shape != tensor.shape || state.dtype != tensor.dtype => {
                return Err(error(format!("its state is {}{}", state.dtype, state.shape)));
            }
            Some(_) => {}
        },
        TensorKind::Constant(data) if tensor.sparsity.is_none() && tensor.dtype.bits().is_some() => {
            let bytes = tensor.shape.elements().and_then(|elements| tensor.dtype.bytes(elements));
            if bytes != Some(data.len()) {
                return Err(error(format!(
                    "it has {} bytes for {}{}",
                    data.len(),
                    tensor.dtype,
                    tensor.shape
                )));
            }
        }
        _ => {}
    }
    match &tensor.quantization {
        Some(quantization) => check_quantization(tensor, quantization).map_err(error),
        None => Ok(()),
    }
}

fn check_quantization(tensor: &Tensor, quantization: &Quantization) -> Result<(), String> {
    let Quantization { scales, zero_points, axis } = quantization;
    if scales.is_empty() || scales.len() != zero_points.len() {
        return Err(format!("it has {} scales and {} zero points", scales.len(), zero_points.len()));
    }
    // All are looked at, without a way out at each: there are many, and this can be done by vectors. The
    // sign bit is set by one below 0, or by one more in the exponent where that has no greater one.
    let odd = scales
        .iter()
        .map(|scale| scale.to_bits())
        .fold(0, |odd, bits| odd | bits | bits.wrapping_add(1 << 23));
    let is_scale = |scale: &&f32| scale.is_finite() && **scale >= 0.0;
    if odd >> 31 != 0
        && let Some(scale) = scales.iter().find(|scale| !is_scale(scale))
    {
        return Err(format!("a scale is {scale}"));
    }
    let slices = match axis {
        None => Some(1),
        Some(axis) => match tensor.shape.dims().get(*axis) {
            None => return Err(format!("its quantized dimension {axis} does not exist")),
            Some(dim) => dim.fixed(),
        },
    };
    match slices {
        Some(slices) if slices != scales.len() => {
            Err(format!("it has {} scales for {slices} slices", scales.len()))
        }
        _ => Ok(()),
    }
}

fn check_order(graph: &Graph) -> Result<(), ModelError> {
    let mut known: Vec<bool> =
        graph.tensors.iter().map(|tensor| tensor.kind != TensorKind::Activation).collect();
    for node in &graph.nodes {
        if let Some(input) = node.present_inputs().find(|input| !known[input.index()]) {
            let name = &graph[input].name;
            return Err(node_error(graph, node, format!("it reads '{name}' before it is computed")));
        }
        let (least, most) = node.op.arity().outputs;
        if node.outputs.len() < least || node.outputs.len() > most {
            return Err(node_error(graph, node, format!("it has {} outputs", node.outputs.len())));
        }
        for output in &node.outputs {
            if std::mem::replace(&mut known[output.index()], true) {
                let name = &graph[*output].name;
                return Err(node_error(graph, node, format!("its output '{name}' has another origin too")));
            }
        }
    }
    match graph.outputs.iter().find(|output| !known[output.index()]) {
        Some(output) => Err(ModelError::Model(format!(
            "output '{}' of graph '{}' is never computed",
            graph[*output].name, graph.name
        ))),
        None => Ok(()),
    }
}

fn check_signatures(model: &Model) -> Result<(), ModelError> {
    for signature in &model.signatures {
        let broken = |what: &str| ModelError::Model(format!("signature '{}' {what}", signature.key));
        let Some(graph) = model.graphs.get(signature.graph.0 as usize) else {
            return Err(broken("enters a graph that does not exist"));
        };
        if signature.inputs.iter().any(|(_, place)| *place >= graph.inputs.len()) {
            return Err(broken("names an input that the graph does not have"));
        }
        if signature.outputs.iter().any(|(_, place)| *place >= graph.outputs.len()) {
            return Err(broken("names an output that the graph does not have"));
        }
    }
    Ok(())
}

fn node_error(graph: &Graph, node: &Node, reason: String) -> ModelError {
    ModelError::Node {
        graph: graph.name.clone(),
        node: node.name.clone(),
        operator: node.op.name().to_owned(),
        reason,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Data;
    use crate::dtype::DType;
    use crate::model::StateId;
    use crate::ops::{If, Unary};
    use crate::shape::Shape;

    fn small() -> Model {
        let mut graph = Graph::new("main");
        let x = graph.add_tensor(Tensor::input("x", DType::F32, Shape::from([1, 2])));
        let y = graph.add_tensor(Tensor::activation("y", DType::F32, Shape::from([1, 2])));
        graph.add_node("relu", Unary::default(), vec![Some(x)], vec![y]);
        graph.outputs.push(y);
        Model::new(graph)
    }

    #[test]
    fn a_sound_model_passes() {
        assert_eq!(validate(&small()), Ok(()));
    }

    #[test]
    fn each_broken_invariant_is_found() {
        type Break = fn(&mut Model);
        let breaks: [Break; 10] = [
            |m| m.main_mut().nodes[0].op = If { then_graph: GraphId(0), else_graph: GraphId(0) }.into(),
            |m| m.main_mut().nodes[0].op = If { then_graph: GraphId(7), else_graph: GraphId(7) }.into(),
            |m| m.main_mut().tensors[1].kind = TensorKind::State(StateId(0)),
            |m| m.graphs.clear(),
            |m| m.main_mut().nodes[0].inputs[0] = Some(TensorId(9)),
            |m| m.main_mut().nodes[0].inputs[0] = Some(TensorId(1)),
            |m| m.main_mut().nodes[0].outputs[0] = TensorId(0),
            |m| {
                let bad = Tensor::constant("c", DType::F32, Shape::from([3]), Data::from_vec(vec![1.0f32]));
                m.main_mut().add_tensor(bad);
            },
            |m| m.main_mut().tensors[1].quantization = Some(Quantization::per_channel(vec![1.0; 3], 1)),
            |m| m.main_mut().tensors[1].quantization = Some(Quantization::per_tensor(f32::NAN, 0)),
        ];
        for (index, damage) in breaks.iter().enumerate() {
            let mut model = small();
            damage(&mut model);
            assert!(validate(&model).is_err(), "damage {index} is not found");
        }
    }
}
