//! A text form of flows, for tests.
//!
//! ```text
//! input x: f32[?,8]
//! variable dense/kernel: f32[8,4]
//! axes = Const i32[1] 1
//! net/y = MatMul(x, dense/kernel) transpose_b=true
//! output y
//! ```
//!
//! Lines between `branch` and `end` are a flow that the operation of the line before runs. Variables hold
//! 1, 2, 3, … `y:1` is the second output of `y`.

use std::collections::{BTreeMap, HashMap};

use half::f16;
use litesmith_graph::{DType, Data};

use crate::savedmodel::attributes::{Attribute, Attributes, Constant};
use crate::savedmodel::flow::{Flow, FlowInput, FlowNode, FlowOutput, Value, Variable};

/// A flow and its variables.
pub(super) fn parse(source: &str) -> (Flow, Vec<Variable>) {
    let mut variables = Vec::new();
    let mut lines = source.lines().map(str::trim).filter(|line| !line.is_empty());
    let flow = flow("serving_default", &mut lines, &mut variables);
    (flow, variables)
}

fn flow<'a>(name: &str, lines: &mut impl Iterator<Item = &'a str>, variables: &mut Vec<Variable>) -> Flow {
    let mut flow = Flow { name: name.to_owned(), ..Flow::default() };
    let mut known: HashMap<String, Value> = HashMap::new();
    for (index, variable) in variables.iter().enumerate() {
        known.insert(variable.name.clone(), Value::Variable(index));
    }
    while let Some(line) = lines.next() {
        if line == "end" {
            break;
        } else if line == "branch" {
            let branch = self::flow("branch", lines, variables);
            flow.nodes.last_mut().unwrap().branches.push(branch);
        } else if let Some(rest) = line.strip_prefix("input ") {
            let (name, kind) = rest.split_once(": ").unwrap();
            let (dtype, shape) = partial(kind);
            known.insert(name.to_owned(), Value::Input(flow.inputs.len()));
            flow.inputs.push(FlowInput { name: name.to_owned(), dtype, shape });
        } else if let Some(rest) = line.strip_prefix("variable ") {
            let (name, kind) = rest.split_once(": ").unwrap();
            let (dtype, shape) = full(kind);
            let count: usize = shape.iter().product();
            let data = Data::from_vec((0..count).map(|i| 1.0 + i as f32).collect::<Vec<f32>>());
            known.insert(name.to_owned(), Value::Variable(variables.len()));
            variables.push(Variable { name: name.to_owned(), dtype, shape, data, trainable: true });
        } else if let Some(rest) = line.strip_prefix("output ") {
            let value = value(&known, rest);
            flow.outputs.push(FlowOutput { name: format!("output_{}", flow.outputs.len()), value });
        } else {
            let (name, call) = line.split_once(" = ").unwrap();
            let node = match call.strip_prefix("Const ") {
                Some(constant) => constant_node(name, constant),
                None => operation(name, call, &known),
            };
            known.insert(name.to_owned(), Value::Node { node: flow.nodes.len(), output: 0 });
            flow.nodes.push(node);
        }
    }
    flow
}

fn value(known: &HashMap<String, Value>, text: &str) -> Value {
    match text.rsplit_once(':') {
        Some((name, output)) => match known[name] {
            Value::Node { node, .. } => Value::Node { node, output: output.parse().unwrap() },
            other => other,
        },
        None => *known.get(text).unwrap_or_else(|| panic!("{text} is not known")),
    }
}

fn operation(name: &str, call: &str, known: &HashMap<String, Value>) -> FlowNode {
    let (op, rest) = call.split_once('(').unwrap();
    let (inputs, attributes) = rest.split_once(')').unwrap();
    let inputs = inputs.split(", ").filter(|input| !input.is_empty()).map(|input| value(known, input));
    let attributes = attributes.split_whitespace().map(|pair| {
        let (key, value) = pair.split_once('=').unwrap();
        (key.to_owned(), attribute(value))
    });
    FlowNode {
        name: name.to_owned(),
        op: op.to_owned(),
        inputs: inputs.collect(),
        attributes: Attributes(attributes.collect()),
        branches: Vec::new(),
    }
}

fn attribute(text: &str) -> Attribute {
    if let Some(list) = text.strip_prefix('[') {
        let numbers = list.trim_end_matches(']').split(',').filter(|n| !n.is_empty());
        return Attribute::Integers(numbers.map(|n| n.parse().unwrap()).collect());
    }
    match text {
        "true" | "false" => Attribute::Flag(text == "true"),
        text if text.starts_with("type:") => Attribute::Type(text[5..].parse().unwrap()),
        text if text.contains('.') => Attribute::Number(text.parse().unwrap()),
        text => match text.parse() {
            Ok(integer) => Attribute::Integer(integer),
            Err(_) => Attribute::Text(text.to_owned()),
        },
    }
}

fn constant_node(name: &str, text: &str) -> FlowNode {
    let (kind, values) = text.split_once(' ').unwrap_or((text, ""));
    let (dtype, shape) = full(kind);
    let values = values.split(',').filter(|value| !value.is_empty());
    let data = match dtype {
        DType::F32 => Data::from_vec(values.map(|v| v.parse().unwrap()).collect::<Vec<f32>>()),
        DType::F16 => Data::from_vec(values.map(|v| f16::from_f32(v.parse().unwrap())).collect::<Vec<f16>>()),
        DType::I64 => Data::from_vec(values.map(|v| v.parse().unwrap()).collect::<Vec<i64>>()),
        DType::Bool => Data::from_vec(values.map(|v| u8::from(v == "true")).collect::<Vec<u8>>()),
        _ => Data::from_vec(values.map(|v| v.parse().unwrap()).collect::<Vec<i32>>()),
    };
    let value = Attribute::Tensor(Constant { dtype, shape, data });
    FlowNode {
        name: name.to_owned(),
        op: "Const".to_owned(),
        attributes: Attributes(BTreeMap::from([("value".to_owned(), value)])),
        inputs: Vec::new(),
        branches: Vec::new(),
    }
}

fn partial(kind: &str) -> (DType, Option<Vec<Option<usize>>>) {
    let (dtype, dims) = kind.trim_end_matches(']').split_once('[').unwrap();
    if dims == "..." {
        return (dtype.parse().unwrap(), None);
    }
    let dims = dims.split(',').filter(|dim| !dim.is_empty());
    (dtype.parse().unwrap(), Some(dims.map(|dim| dim.parse().ok()).collect()))
}

fn full(kind: &str) -> (DType, Vec<usize>) {
    let (dtype, shape) = partial(kind);
    (dtype, shape.unwrap().into_iter().map(Option::unwrap).collect())
}
