//! Shape inference over whole graphs, for free or for given input shapes.

use smallvec::SmallVec;

use crate::dtype::DType;
use crate::graph::{Graph, Node, NodeId};
use crate::model::{GraphId, Model};
use crate::op::Op;
use crate::operator::{Facts, Inputs, Number};
use crate::ops::While;
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
        // What it is always given may have been made a constant.
        if !stated.is_fixed() {
            facts[tensor.index()] = argument.clone();
        }
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

/// Infers all graphs and stores the shapes and types of activations in them. A graph that others call
/// gets what its calls agree on.
///
/// # Errors
/// As [`infer_shapes`].
pub fn infer_model(model: &mut Model) -> Result<(), ModelError> {
    let all = infer_graphs(model)?;
    for (graph, facts) in model.graphs.iter_mut().zip(all) {
        for (tensor, facts) in graph.tensors.iter_mut().zip(facts) {
            if matches!(tensor.kind, TensorKind::Activation | TensorKind::Input) {
                tensor.shape = facts.shape;
                tensor.dtype = facts.dtype;
            }
        }
    }
    Ok(())
}

/// Infers the facts of every tensor of every graph. What holds in a graph that others call holds for
/// all its calls.
///
/// # Errors
/// As [`infer_shapes`].
pub fn infer_graphs(model: &Model) -> Result<Vec<Vec<Facts>>, ModelError> {
    let mut waiting = vec![0usize; model.graphs.len()];
    for GraphId(id) in model.graphs.iter().flat_map(|graph| &graph.nodes).flat_map(|node| node.op.calls()) {
        if let Some(waiting) = waiting.get_mut(id as usize) {
            *waiting += 1;
        }
    }
    let mut arguments: Vec<Option<Vec<Facts>>> = vec![None; model.graphs.len()];
    let mut all: Vec<Vec<Facts>> = vec![Vec::new(); model.graphs.len()];
    let mut ready: Vec<usize> = (0..model.graphs.len()).filter(|index| waiting[*index] == 0).collect();
    while let Some(index) = ready.pop() {
        let id = GraphId(index as u32);
        let facts = match &arguments[index] {
            Some(arguments) => infer_called(model, id, arguments)?,
            None => infer_shapes(model, id, None)?,
        };
        for node in &model.graphs[index].nodes {
            for (GraphId(callee), given) in call_arguments(model, node, &facts)? {
                let callee = callee as usize;
                let known = arguments[callee].take();
                arguments[callee] = Some(match known {
                    Some(known) => common_all(known, given).map_err(ModelError::Model)?,
                    None => given,
                });
                waiting[callee] -= 1;
                if waiting[callee] == 0 {
                    ready.push(callee);
                }
            }
        }
        all[index] = facts;
    }
    Ok(all)
}

/// The graphs that a node runs, each with what is known of its inputs.
///
/// # Errors
/// If a loop's body does not fit its inputs.
pub fn call_arguments(
    model: &Model,
    node: &Node,
    facts: &[Facts],
) -> Result<Vec<(GraphId, Vec<Facts>)>, ModelError> {
    let given = |skipped: usize| {
        let inputs = node.inputs.iter().skip(skipped).flatten();
        inputs.map(|input| facts[input.index()].clone()).collect::<Vec<Facts>>()
    };
    Ok(match &node.op {
        Op::If(op) => [op.then_graph, op.else_graph].map(|graph| (graph, given(1))).into(),
        Op::While(op) => {
            let variables = loop_variables(model, *op, given(0))?;
            [op.condition, op.body].map(|graph| (graph, variables.clone())).into()
        }
        _ => Vec::new(),
    })
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
    let inputs: SmallVec<[Option<&Facts>; 4]> =
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
            loop_variables(model, *op, arguments)?
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
    match inputs.first().copied().flatten() {
        Some(condition) if is_truth(condition) => {}
        _ => return Err(error("its condition is no single truth value".into())),
    }
    let arguments: Vec<Facts> = inputs.iter().skip(1).flatten().map(|facts| (*facts).clone()).collect();
    let (one, other) = (called(model, graphs[0], &arguments)?, called(model, graphs[1], &arguments)?);
    if one.len() != other.len() {
        return Err(error(format!("its graphs give {} and {} outputs", one.len(), other.len())));
    }
    common_all(one, other).map_err(error)
}

/// The outputs of a graph that is called with these arguments.
fn called(model: &Model, id: GraphId, arguments: &[Facts]) -> Result<Vec<Facts>, ModelError> {
    let facts = infer_called(model, id, arguments)?;
    let outputs = &model.graphs[id.0 as usize].outputs;
    Ok(outputs.iter().map(|output| facts[output.index()].clone()).collect())
}

fn is_truth(facts: &Facts) -> bool {
    facts.dtype == DType::Bool && facts.shape.elements().is_none_or(|elements| elements == 1)
}

/// Times that a loop's body is inferred at most. Each time its variables lose sizes that change; after
/// the last but one all of them are taken for unknown.
pub(crate) const MOST_PASSES: u64 = 4;

/// The facts of a loop's variables that hold in every round.
fn loop_variables(model: &Model, op: While, arguments: Vec<Facts>) -> Result<Vec<Facts>, ModelError> {
    let broken = |graph: GraphId, reason: String| {
        ModelError::Model(format!("loop graph '{}': {reason}", model.graphs[graph.0 as usize].name))
    };
    let mut variables: Vec<Facts> = arguments.into_iter().map(|facts| facts.with_value(None)).collect();
    for pass in 1..=MOST_PASSES {
        let after = called(model, op.body, &variables)?;
        if after.len() != variables.len() {
            let (inputs, outputs) = (variables.len(), after.len());
            return Err(broken(op.body, format!("it takes {inputs} inputs and gives {outputs} outputs")));
        }
        let mut common = common_all(variables.clone(), after).map_err(|reason| broken(op.body, reason))?;
        if common == variables {
            break;
        }
        if pass + 1 == MOST_PASSES {
            common.iter_mut().for_each(|facts| facts.shape.0.fill(Dim::Unknown));
        }
        variables = common;
    }
    match called(model, op.condition, &variables)?.as_slice() {
        [condition] if is_truth(condition) => Ok(variables),
        _ => Err(broken(op.condition, "it does not give a single truth value".into())),
    }
}

fn common_all(one: Vec<Facts>, other: Vec<Facts>) -> Result<Vec<Facts>, String> {
    one.into_iter().zip(&other).map(|(one, other)| common(one, other)).collect()
}

/// What two facts agree on.
///
/// # Errors
/// If their types or numbers of axes differ.
pub fn common(one: Facts, other: &Facts) -> Result<Facts, String> {
    if one.dtype != other.dtype || one.shape.rank() != other.shape.rank() {
        return Err(format!(
            "a value is {}{} one time and {}{} another time",
            one.dtype, one.shape, other.dtype, other.shape
        ));
    }
    let value = if one.value == other.value { one.value } else { None };
    let dims = one.shape.0.into_iter().zip(&other.shape.0);
    let dims = dims.map(|(one, other)| if one == *other { one } else { Dim::Unknown }).collect();
    Ok(Facts::new(one.dtype, Shape(dims)).with_value(value))
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
