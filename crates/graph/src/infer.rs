//! Shape inference over whole graphs, for free or for given input shapes.

use crate::graph::{Graph, NodeId};
use crate::model::{GraphId, Model};
use crate::op::Op;
use crate::operator::{Facts, Inputs, Number};
use crate::shape::{Dim, Shape};
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
    infer_nodes(model, graph, &mut facts)?;
    Ok(facts)
}

/// Infers the facts of every tensor of a graph that another one calls with these arguments. The shapes
/// that its inputs state are not used: the caller's count.
///
/// # Errors
/// If there are too many or too few arguments, one has another type, or a node does not fit its inputs.
pub fn infer_called(model: &Model, id: GraphId, arguments: &[Facts]) -> Result<Vec<Facts>, ModelError> {
    let graph = &model.graphs[id.0 as usize];
    if arguments.len() != graph.inputs.len() {
        let (given, taken) = (arguments.len(), graph.inputs.len());
        return Err(ModelError::Model(format!(
            "graph '{}' takes {taken} inputs, its caller gives {given}",
            graph.name
        )));
    }
    let mut facts: Vec<Facts> = graph.tensors.iter().map(|tensor| stated_facts(model, tensor)).collect();
    for (tensor, argument) in graph.inputs.iter().zip(arguments) {
        let stated = &graph[*tensor];
        if stated.dtype != argument.dtype {
            let (own, given) = (stated.dtype, argument.dtype);
            return Err(ModelError::Model(format!(
                "input '{}' of graph '{}' is {own}, its caller gives {given}",
                stated.name, graph.name
            )));
        }
        facts[tensor.index()] = argument.clone();
    }
    infer_nodes(model, graph, &mut facts)?;
    Ok(facts)
}

fn infer_nodes(model: &Model, graph: &Graph, facts: &mut [Facts]) -> Result<(), ModelError> {
    for node in graph.node_ids() {
        let outputs = infer_node(model, graph, node, facts)?;
        for (tensor, output) in graph[node].outputs.iter().zip(outputs) {
            facts[tensor.index()] = output;
        }
    }
    Ok(())
}

/// Infers all graphs and stores the shapes and types of activations in them. A graph that another one
/// calls gets the shapes of the call (of the last one, where there are several).
///
/// # Errors
/// As [`infer_shapes`].
pub fn infer_model(model: &mut Model) -> Result<(), ModelError> {
    let called = called_graphs(model);
    for index in 0..model.graphs.len() {
        if !called[index] {
            let facts = infer_shapes(model, GraphId(index as u32), None)?;
            store(model, GraphId(index as u32), facts)?;
        }
    }
    Ok(())
}

/// For each graph, whether a node of another one runs it.
#[must_use]
pub fn called_graphs(model: &Model) -> Vec<bool> {
    let mut called = vec![false; model.graphs.len()];
    for node in model.graphs.iter().flat_map(|graph| &graph.nodes) {
        for GraphId(id) in node.op.calls() {
            if let Some(called) = called.get_mut(id as usize) {
                *called = true;
            }
        }
    }
    called
}

fn store(model: &mut Model, id: GraphId, facts: Vec<Facts>) -> Result<(), ModelError> {
    let mut calls = Vec::new();
    let graph = &model.graphs[id.0 as usize];
    for node in &graph.nodes {
        let arguments = |skipped: usize| {
            let given = node.inputs[skipped.min(node.inputs.len())..].iter().flatten();
            given.map(|input| facts[input.index()].clone()).collect::<Vec<Facts>>()
        };
        match &node.op {
            Op::If(op) => calls.extend([op.then_graph, op.else_graph].map(|graph| (graph, arguments(1)))),
            Op::While(op) => {
                let variables = loop_variables(model, op.body, arguments(0))?;
                calls.extend([op.condition, op.body].map(|graph| (graph, variables.clone())));
            }
            _ => {}
        }
    }
    for (tensor, facts) in model.graphs[id.0 as usize].tensors.iter_mut().zip(facts) {
        if matches!(tensor.kind, TensorKind::Activation | TensorKind::Input) {
            tensor.shape = facts.shape;
            tensor.dtype = facts.dtype;
        }
    }
    for (graph, arguments) in calls {
        let facts = infer_called(model, graph, &arguments)?;
        store(model, graph, facts)?;
    }
    Ok(())
}

/// Infers the outputs of one node of a graph from the facts of all its tensors.
///
/// # Errors
/// If the node does not fit its inputs.
pub fn infer_node(
    model: &Model,
    graph: &Graph,
    id: NodeId,
    facts: &[Facts],
) -> Result<Vec<Facts>, ModelError> {
    let node = &graph[id];
    let inputs: Vec<Option<&Facts>> =
        node.inputs.iter().map(|input| input.map(|t| &facts[t.index()])).collect();
    let error = |reason: String| ModelError::Node {
        graph: graph.name.clone(),
        node: node.name.clone(),
        operator: node.op.name().to_owned(),
        reason,
    };
    let mut outputs = match &node.op {
        Op::If(op) => branches(model, [op.then_graph, op.else_graph], &inputs, &error)?,
        Op::While(op) => {
            let arguments: Vec<Facts> = inputs.iter().flatten().map(|facts| (*facts).clone()).collect();
            loop_variables(model, op.body, arguments)?
        }
        op => op.infer(Inputs(&inputs)).map_err(|reason| error(reason.to_string()))?,
    };
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

/// What both graphs of an `If` agree on.
fn branches(
    model: &Model,
    graphs: [GraphId; 2],
    inputs: &[Option<&Facts>],
    error: &dyn Fn(String) -> ModelError,
) -> Result<Vec<Facts>, ModelError> {
    let arguments: Vec<Facts> = inputs.iter().skip(1).flatten().map(|facts| (*facts).clone()).collect();
    let outputs = |id: GraphId| {
        let facts = infer_called(model, id, &arguments)?;
        let graph = &model.graphs[id.0 as usize];
        Ok(graph.outputs.iter().map(|output| facts[output.index()].clone()).collect::<Vec<Facts>>())
    };
    let (one, other) = (outputs(graphs[0])?, outputs(graphs[1])?);
    if one.len() != other.len() {
        return Err(error(format!("its graphs give {} and {} outputs", one.len(), other.len())));
    }
    let both = one.into_iter().zip(other);
    both.map(|(one, other)| common(one, &other).map_err(error)).collect()
}

/// The facts of a loop's variables that hold in every round.
fn loop_variables(model: &Model, body: GraphId, arguments: Vec<Facts>) -> Result<Vec<Facts>, ModelError> {
    let mut variables: Vec<Facts> = arguments.into_iter().map(|facts| facts.with_value(None)).collect();
    loop {
        let facts = infer_called(model, body, &variables)?;
        let graph = &model.graphs[body.0 as usize];
        let broken = |reason: String| ModelError::Model(format!("loop body '{}': {reason}", graph.name));
        if graph.outputs.len() != variables.len() {
            let (inputs, outputs) = (variables.len(), graph.outputs.len());
            return Err(broken(format!("it takes {inputs} inputs and gives {outputs} outputs")));
        }
        let after = graph.outputs.iter().map(|output| &facts[output.index()]);
        let common = variables.iter().zip(after).map(|(before, after)| common(before.clone(), after));
        let common = common.collect::<Result<Vec<Facts>, String>>().map_err(broken)?;
        // Sizes only become unknown, so that this ends.
        if common == variables {
            return Ok(variables);
        }
        variables = common;
    }
}

/// What two facts agree on; their types and numbers of axes must be the same.
fn common(one: Facts, other: &Facts) -> Result<Facts, String> {
    if one.dtype != other.dtype || one.shape.rank() != other.shape.rank() {
        return Err(format!(
            "a value is {}{} one time and {}{} another time",
            one.dtype, one.shape, other.dtype, other.shape
        ));
    }
    let dims = one.shape.0.into_iter().zip(&other.shape.0);
    let dims = dims.map(|(one, other)| if one == *other { one } else { Dim::Unknown }).collect();
    Ok(Facts::new(one.dtype, Shape(dims)))
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::parse;
    use crate::validate::validate;

    fn output_shape(text: &str) -> Result<String, ModelError> {
        let model = parse(text).unwrap();
        validate(&model)?;
        let facts = infer_shapes(&model, GraphId(0), None)?;
        Ok(facts[model.main().outputs[0].index()].shape.to_string())
    }

    #[test]
    fn branches_agree_on_what_is_the_same() {
        let text = r#"
            graph main(%c: bool[], %x: f32[batch,4]) -> (%y) {
              %y: f32[?,?] = If(%c, %x) {"then_graph":1,"else_graph":2}
            }
            graph keep(%a: f32[1,1]) -> (%a) {
            }
            graph double(%a: f32[1,1]) -> (%b) {
              %b: f32[1,1] = Concat(%a, %a) {"axis":1}
            }
        "#;
        assert_eq!(output_shape(text).unwrap(), "[batch,?]");
        assert!(output_shape(&text.replace("f32[1,1]) -> (%b)", "i32[1,1]) -> (%b)")).is_err());
    }

    #[test]
    fn a_loop_keeps_what_every_round_keeps() {
        let text = r#"
            graph main(%x: f32[batch,4]) -> (%y) {
              %y: f32[?,?] = While(%x) {"condition":1,"body":2}
            }
            graph more(%a: f32[1,1]) -> (%go) {
              %zero: f32[] = [0]
              %sum: f32[] = Reduce(%a) {"kind":"sum","axes":[0,1]}
              %go: bool[] = Compare(%zero, %sum) {"kind":"less"}
            }
            graph grow(%a: f32[1,1]) -> (%b) {
              %b: f32[1,1] = Concat(%a, %a) {"axis":1}
            }
        "#;
        assert_eq!(output_shape(text).unwrap(), "[batch,?]");
        let still = text.replace(r#"Concat(%a, %a) {"axis":1}"#, "Binary(%a, %a)");
        assert_eq!(output_shape(&still).unwrap(), "[batch,4]");
    }

    #[test]
    fn states_have_the_shape_that_they_hold() {
        let text = r#"
            state $memory: f32[1,3] = [1,2,3]
            graph main(%x: f32[1,3]) -> (%old) {
              %old: f32[?,?] = ReadState($memory)
              AssignState($memory, %x)
            }
        "#;
        assert_eq!(output_shape(text).unwrap(), "[1,3]");
        assert!(output_shape(&text.replace("%x: f32[1,3]", "%x: f32[1,4]")).is_err());
        let model = parse(text).unwrap();
        assert_eq!(parse(&crate::text::print(&model)).unwrap(), model);
    }
}
