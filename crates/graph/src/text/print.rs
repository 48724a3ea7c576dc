use std::fmt::Write;

use serde_json::Value;

use crate::data::Data;
use crate::dtype::DType;
use crate::graph::{Graph, Node, TensorId};
use crate::model::Model;
use crate::tensor::{Tensor, TensorKind};

/// Most elements of a constant that are printed.
const MOST_ELEMENTS: usize = 32;

/// The text form of a model.
#[must_use]
pub fn print(model: &Model) -> String {
    let mut text = String::new();
    for parameter in &model.parameters {
        let shape: Vec<_> = parameter.shape.iter().map(usize::to_string).collect();
        let name = format!("{}/{}", parameter.origin.layer, parameter.origin.variable);
        let _ = writeln!(
            text,
            "parameter @{}: {}[{}]{} = {}",
            quoted(&name),
            parameter.dtype,
            shape.join(","),
            if parameter.trainable { " trainable" } else { "" },
            literal(&parameter.data, parameter.dtype)
        );
    }
    for state in &model.states {
        let _ = write!(text, "state ${}: {}{}", quoted(&state.name), state.dtype, state.shape);
        if let Some(initial) = &state.initial {
            let _ = write!(text, " = {}", literal(initial, state.dtype));
        }
        text.push('\n');
    }
    for graph in &model.graphs {
        print_graph(model, graph, &mut text);
    }
    text
}

fn print_graph(model: &Model, graph: &Graph, text: &mut String) {
    let names = Names { model, graph };
    let inputs: Vec<_> = graph.inputs.iter().map(|id| names.declared(*id)).collect();
    let outputs: Vec<_> = graph.outputs.iter().map(|id| names.of(Some(*id))).collect();
    let _ =
        writeln!(text, "graph {}({}) -> ({}) {{", quoted(&graph.name), inputs.join(", "), outputs.join(", "));
    let mut printed = vec![false; graph.tensors.len()];
    for node in &graph.nodes {
        for id in node.present_inputs() {
            if let (TensorKind::Constant(data), false) = (&graph[id].kind, printed[id.index()]) {
                let _ = writeln!(text, "  {} = {}", names.declared(id), literal(data, graph[id].dtype));
                printed[id.index()] = true;
            }
        }
        print_node(&names, node, text);
    }
    for id in &graph.outputs {
        if let (TensorKind::Constant(data), false) = (&graph[*id].kind, printed[id.index()]) {
            let _ = writeln!(text, "  {} = {}", names.declared(*id), literal(data, graph[*id].dtype));
            printed[id.index()] = true;
        }
    }
    text.push_str("}\n");
}

fn print_node(names: &Names<'_>, node: &Node, text: &mut String) {
    let outputs: Vec<_> = node.outputs.iter().map(|id| names.declared(*id)).collect();
    let inputs: Vec<_> = node.inputs.iter().map(|id| names.of(*id)).collect();
    let equals = if outputs.is_empty() { "" } else { " = " };
    let (outputs, inputs) = (outputs.join(", "), inputs.join(", "));
    let _ = write!(text, "  {outputs}{equals}{}({inputs})", node.op.name());
    let attributes = node.op.attributes();
    if !attributes.is_empty() {
        let _ = write!(text, " {}", Value::Object(attributes));
    }
    if !node.name.is_empty() {
        let _ = write!(text, " # {}", node.name.replace(['\n', '\r'], " "));
    }
    text.push('\n');
}

struct Names<'a> {
    model: &'a Model,
    graph: &'a Graph,
}

impl Names<'_> {
    fn of(&self, id: Option<TensorId>) -> String {
        let Some(id) = id else { return "_".to_owned() };
        let tensor = &self.graph[id];
        match &tensor.kind {
            TensorKind::Parameter(parameter) => match self.model.parameter(*parameter) {
                Some(p) => format!("@{}", quoted(&format!("{}/{}", p.origin.layer, p.origin.variable))),
                None => "@?".to_owned(),
            },
            TensorKind::State(state) => match self.model.states.get(state.0 as usize) {
                Some(state) => format!("${}", quoted(&state.name)),
                None => "$?".to_owned(),
            },
            _ => format!("%{}", quoted(&self.unique(id, tensor))),
        }
    }

    /// The tensor's name, with its id behind it where an earlier tensor has the same.
    fn unique(&self, id: TensorId, tensor: &Tensor) -> String {
        let earlier = &self.graph.tensors[..id.index()];
        if tensor.name.is_empty() || earlier.iter().any(|other| other.name == tensor.name) {
            format!("{}.{}", tensor.name, id.0)
        } else {
            tensor.name.clone()
        }
    }

    fn declared(&self, id: TensorId) -> String {
        let tensor = &self.graph[id];
        let mut text = format!("{}: {}{}", self.of(Some(id)), tensor.dtype, tensor.shape);
        if let Some(quantization) = &tensor.quantization {
            let json = serde_json::to_string(quantization).unwrap_or_default();
            let _ = write!(text, " q{json}");
        }
        text
    }
}

fn quoted(name: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_./-".contains(c);
    if !name.is_empty() && name.chars().all(plain) { name.to_owned() } else { Value::from(name).to_string() }
}

fn literal(data: &Data, dtype: DType) -> String {
    let elements: Vec<String> = if let Some(floats) = short(data, dtype).and_then(|data| data.floats(dtype)) {
        floats.iter().map(f32::to_string).collect()
    } else if let Some(integers) = short(data, dtype).and_then(|data| data.integers(dtype)) {
        integers.iter().map(i64::to_string).collect()
    } else {
        return format!("<{} bytes>", data.len());
    };
    format!("[{}]", elements.join(","))
}

fn short(data: &Data, dtype: DType) -> Option<&Data> {
    let most = dtype.bytes(MOST_ELEMENTS)?;
    (data.len() <= most).then_some(data)
}
