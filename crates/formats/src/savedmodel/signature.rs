//! The flow of a signature, or of a graph without any.

use std::collections::{HashMap, HashSet};

use super::draft::{DraftFlow, refuse};
use super::flow::{Flow, FlowInput, Variable};
use super::functions::{Frame, Inliner};
use super::program::{Body, Program, Reference};
use super::proto::{Attribute, MetaGraph, NodeDef, ShapeProto, SignatureDef};
use super::resources::Resources;
use super::tensor::{self, Element};
use crate::error::FormatError;

/// Bytes that all constants may take beyond those in the file.
const MOST_REPEATED: usize = 1 << 29;

/// Signatures that are taken where none is asked for, the first of them that there is.
const USUAL: [&str; 2] = ["serving_default", "serve"];

/// A placeholder: what the signature calls it, and its node.
struct Argument<'a> {
    name: &'a str,
    node: usize,
    input: FlowInput,
}

/// The signature of a name, or the usual one, or the only one.
///
/// # Errors
/// If there is none of that name, or none is asked for and it is not clear which is meant.
pub(super) fn choose<'a>(
    graph: &'a MetaGraph,
    wanted: Option<&str>,
) -> Result<(&'a str, &'a SignatureDef), FormatError> {
    // Signatures of the format itself, such as that of the initializer, start with two underscores.
    let known: Vec<(&String, &SignatureDef)> =
        graph.signatures.iter().filter(|(name, _)| !name.starts_with("__")).collect();
    let of = |name: &str| known.iter().find(|(key, _)| *key == name);
    let names = || known.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(", ");
    let found = match wanted {
        Some(name) => of(name).ok_or_else(|| {
            refuse(name, "signature", &format!("the model does not have it; it has {}", names()))
        }),
        None => match (USUAL.iter().find_map(|name| of(name)), known.as_slice()) {
            (Some(found), _) | (None, [found]) => Ok(found),
            (None, []) => {
                let reason = "the model has none, so nothing says what to run; save it with signatures";
                Err(refuse("saved_model.pb", "signature", reason))
            }
            _ => {
                let reason =
                    format!("the model has several, and none of the usual name: {}; name one", names());
                Err(refuse("saved_model.pb", "signature", &reason))
            }
        },
    }?;
    Ok((found.0, found.1))
}

/// The flow of a signature and the variables that it needs.
///
/// # Errors
/// If the graph contradicts itself, or holds what cannot be followed.
pub(super) fn flow(
    program: &Program<'_>,
    resources: Resources<'_>,
    (key, signature): (&str, &SignatureDef),
) -> Result<(Flow, Vec<Variable>), FormatError> {
    let mut arguments = Vec::new();
    for (name, info) in &signature.inputs {
        let place = format!("input '{name}' of signature '{key}'");
        let node = place_of(&program.graph, &info.name, name, "input")?;
        let input = input(name, info.dtype, info.shape.as_ref(), &place)?;
        arguments.push(Argument { name, node, input });
    }
    let mut outputs = Vec::new();
    for (name, info) in &signature.outputs {
        place_of(&program.graph, &info.name, name, "output")?;
        outputs.push((name.as_str(), info.name.as_str()));
    }
    let order = Order::of(program, &arguments, &outputs);
    arguments.sort_by_key(|argument| (order.inputs.get(&argument.node).copied(), argument.name));
    outputs.sort_by_key(|(name, _)| (order.outputs.get(name).copied(), *name));
    run(program, resources, key, arguments, outputs)
}

/// The flow of a graph without signature: from its placeholders to what nothing reads.
///
/// # Errors
/// As [`flow`]; also if it has no outputs.
pub(super) fn flow_of_graph(
    program: &Program<'_>,
    resources: Resources<'_>,
) -> Result<(Flow, Vec<Variable>), FormatError> {
    let body = &program.graph;
    let mut read = HashSet::new();
    for input in body.nodes.iter().flat_map(|node| &node.inputs) {
        match body.reference(input)? {
            Reference::Node { node, .. } | Reference::Control(node) => read.insert(node),
            Reference::Argument(_) => false,
        };
    }
    let gives_nothing =
        ["NoOp", "Assert", "Const", "Placeholder", "PlaceholderWithDefault", "VarHandleOp", "VariableV2"];
    let is_output = |(place, node): &(usize, &NodeDef)| {
        !read.contains(place) && !gives_nothing.contains(&node.op.as_str())
    };
    let outputs: Vec<(&str, &str)> = body
        .nodes
        .iter()
        .enumerate()
        .filter(is_output)
        .map(|(_, node)| (node.name.as_str(), node.name.as_str()))
        .collect();
    if outputs.is_empty() {
        return Err(FormatError::broken("the graph", "it has no outputs"));
    }
    let mut arguments = Vec::new();
    for (place, node) in body.nodes.iter().enumerate() {
        if node.op == "Placeholder" && read.contains(&place) {
            let attribute = |name: &str| node.attributes.get(name).and_then(|value| value.value.as_ref());
            let dtype = if let Some(Attribute::Type(dtype)) = attribute("dtype") { *dtype } else { 0 };
            let shape =
                if let Some(Attribute::Shape(shape)) = attribute("shape") { Some(shape) } else { None };
            let input = input(&node.name, dtype, shape, &format!("node '{}'", node.name))?;
            arguments.push(Argument { name: &node.name, node: place, input });
        }
    }
    run(program, resources, "main", arguments, outputs)
}

fn run<'a>(
    program: &Program<'a>,
    resources: Resources<'a>,
    key: &str,
    arguments: Vec<Argument<'_>>,
    outputs: Vec<(&'a str, &'a str)>,
) -> Result<(Flow, Vec<Variable>), FormatError> {
    let mut inliner = Inliner::new(program, resources);
    let mut frame = Frame::new(&program.graph);
    for (number, argument) in arguments.iter().enumerate() {
        frame.feed(argument.node, number);
    }
    let mut draft = DraftFlow { name: key.to_owned(), ..DraftFlow::default() };
    for (name, tensor) in outputs {
        let slot = inliner.evaluate(&mut frame, tensor)?;
        draft.outputs.push((name.to_owned(), slot));
    }
    draft.inputs = arguments.into_iter().map(|argument| argument.input).collect();
    draft.nodes = std::mem::take(&mut inliner.nodes);
    let Inliner { mut resources, mut changed, .. } = inliner;
    changed.extend(resources.masked_by(&changed));
    let mut bytes_left = MOST_REPEATED;
    let flow = draft.finish(&mut resources, &changed, &mut bytes_left)?;
    Ok((flow, resources.into_variables()))
}

/// The node of a signature's input or output.
fn place_of(graph: &Body<'_>, tensor: &str, name: &str, kind: &str) -> Result<usize, FormatError> {
    if tensor.is_empty() {
        return Err(refuse(name, kind, "it is not one dense tensor; give the model dense tensors"));
    }
    match graph.reference(tensor)? {
        Reference::Node { node, .. } => Ok(node),
        _ => Err(FormatError::broken(format!("{kind} '{name}'"), "it is no tensor")),
    }
}

fn input(name: &str, dtype: i32, shape: Option<&ShapeProto>, place: &str) -> Result<FlowInput, FormatError> {
    let dtype = Element::of(dtype, place)?.dtype().map_err(|reason| refuse(name, "input", &reason))?;
    if dtype.bits().is_none() {
        return Err(refuse(name, "input", "it takes text or handles; feed the model numbers"));
    }
    let shape = shape.map_or(Ok(None), |shape| tensor::sizes(shape, place))?;
    Ok(FlowInput { name: name.to_owned(), dtype, shape })
}

/// In which order a model has its inputs and outputs: signatures keep them by name, but the function
/// that they wrap has them in the order of the source.
#[derive(Default)]
struct Order<'a> {
    /// The place of each placeholder.
    inputs: HashMap<usize, usize>,
    /// The place of each output, by the signature's name of it.
    outputs: HashMap<&'a str, usize>,
}

impl<'a> Order<'a> {
    /// The order of the function behind the call that gives all outputs; nothing where there is none.
    fn of(program: &Program<'a>, arguments: &[Argument<'_>], outputs: &[(&'a str, &'a str)]) -> Order<'a> {
        Order::found(program, arguments, outputs).unwrap_or_default()
    }

    fn found(
        program: &Program<'a>,
        arguments: &[Argument<'_>],
        outputs: &[(&'a str, &'a str)],
    ) -> Option<Order<'a>> {
        let graph = &program.graph;
        let results: Option<Vec<(usize, usize)>> =
            outputs.iter().map(|(_, tensor)| output_of(program, graph, tensor)).collect();
        let results = results?;
        let call = results.first()?.0;
        if results.iter().any(|(node, _)| *node != call) {
            return None;
        }
        let call = &graph.nodes[call];
        let places = |body: &Body<'a>, call: &'a NodeDef| -> Vec<Option<Reference<'a>>> {
            call.inputs.iter().map(|input| body.reference(input).ok()).collect()
        };
        let given = places(graph, call);
        let at = |node: usize| {
            given.iter().position(
                |input| matches!(input, Some(Reference::Node { node: place, .. }) if *place == node),
            )
        };
        let mut order = Order::default();
        for argument in arguments {
            order.inputs.insert(argument.node, at(argument.node)?);
        }
        for ((name, _), (_, place)) in outputs.iter().zip(&results) {
            order.outputs.insert(name, *place);
        }
        // The function that the call names may itself only call the model's own.
        let wrapper = program.function(function_of(call)?)?;
        let inner: Option<Vec<(usize, usize)>> =
            wrapper.results.iter().map(|result| output_of(program, &wrapper.body, result)).collect();
        let Some(inner) = inner else { return Some(order) };
        let Some(model) = inner.first().map(|(node, _)| *node) else { return Some(order) };
        let model_call = &wrapper.body.nodes[model];
        if inner.iter().any(|(node, _)| *node != model) || function_of(model_call).is_none() {
            return Some(order);
        }
        let given = places(&wrapper.body, model_call);
        let at = |number: usize| given.iter().position(|input| *input == Some(Reference::Argument(number)));
        let renumbered: Option<HashMap<usize, usize>> =
            order.inputs.iter().map(|(node, number)| Some((*node, at(*number)?))).collect();
        order.inputs = renumbered.unwrap_or(order.inputs);
        let outputs = order.outputs.iter();
        let renumbered: Option<HashMap<&str, usize>> =
            outputs.map(|(name, number)| Some((*name, inner.get(*number)?.1))).collect();
        order.outputs = renumbered.unwrap_or(order.outputs);
        Some(order)
    }
}

/// The node and output that a tensor is, identities left out.
fn output_of<'a>(program: &Program<'a>, body: &Body<'a>, tensor: &'a str) -> Option<(usize, usize)> {
    let mut tensor = tensor;
    for _ in 0..8 {
        let Reference::Node { node, output } = body.reference(tensor).ok()? else { return None };
        let def = &body.nodes[node];
        if def.op != "Identity" {
            return Some((node, program.output(def, output).ok()?));
        }
        tensor = def.inputs.first()?;
    }
    None
}

fn function_of(node: &NodeDef) -> Option<&str> {
    match node.attributes.get("f")?.value.as_ref()? {
        Attribute::Function(function) => Some(&function.name),
        _ => None,
    }
}
