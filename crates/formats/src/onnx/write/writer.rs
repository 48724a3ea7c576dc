//! What is common to all graphs of a file while they are written: values, initializers and the lists of
//! nodes, one inside the other.

use std::collections::HashMap;

use litesmith_graph::operator::Facts;
use litesmith_graph::{DType, GraphId, Model, Shape, TensorId};

use super::drafts::{Attribute, Body, Draft};
use super::graph::write_graph;
use super::initializers::{Content, Form, Initializers};
use super::values::{Origin, Unique, Value, Values};
use super::{Refusal, Unsupported};

/// A file in the making.
pub(super) struct Writer<'a> {
    pub model: &'a Model,
    /// What is known of the tensors of each graph.
    pub facts: &'a [Vec<Facts>],
    /// The version of ONNX's operators.
    pub opset: u32,
    pub values: Values,
    pub initializers: Initializers,
    /// Constants of the model that are initializers, by their graph, the order of their axes, and the
    /// form of their integers.
    pub constants: HashMap<(GraphId, TensorId, Vec<usize>, Form), Value>,
    /// Everything that ONNX cannot say.
    pub refused: Vec<Unsupported>,
    /// The lists of nodes being written, each inside the one before.
    scopes: Vec<Scope>,
    scope_count: usize,
    node_names: Unique,
    /// Graphs being written, each called by the one before: none may call itself.
    calls: Vec<GraphId>,
}

/// Writes the nodes of a nested graph that is given these values, and returns its outputs.
pub(super) type Fill<'f, 'a> = &'f mut dyn FnMut(&mut Writer<'a>, &[Value]) -> Result<Vec<Value>, Refusal>;

/// A list of nodes.
struct Scope {
    number: usize,
    nodes: Vec<Draft>,
    /// Results of nodes that stand for the same thing whoever asks.
    shared: HashMap<Shared, Vec<Value>>,
}

#[derive(PartialEq, Eq, Hash)]
struct Shared {
    operator: &'static str,
    inputs: Vec<Value>,
    attributes: Vec<i64>,
}

impl<'a> Writer<'a> {
    pub fn new(model: &'a Model, facts: &'a [Vec<Facts>], opset: u32) -> Writer<'a> {
        Writer {
            model,
            facts,
            opset,
            values: Values::default(),
            initializers: Initializers::default(),
            constants: HashMap::new(),
            refused: Vec::new(),
            scopes: Vec::new(),
            scope_count: 0,
            node_names: Unique::default(),
            calls: Vec::new(),
        }
    }

    /// Starts a list of nodes inside the current one.
    pub fn open(&mut self) {
        self.scope_count += 1;
        let number = self.scope_count;
        self.scopes.push(Scope { number, nodes: Vec::new(), shared: HashMap::new() });
    }

    /// Ends the current list of nodes and gives it.
    pub fn close(&mut self) -> Vec<Draft> {
        self.scopes.pop().map(|scope| scope.nodes).unwrap_or_default()
    }

    /// Appends a node of `layer`; returns its outputs.
    pub fn emit(
        &mut self,
        layer: &str,
        operator: &'static str,
        inputs: &[Value],
        attributes: Vec<(&'static str, Attribute)>,
        outputs: usize,
    ) -> Vec<Value> {
        let scope = self.scopes.last().map_or(0, |scope| scope.number);
        let name = if layer.is_empty() { operator.to_owned() } else { format!("{layer}/{operator}") };
        let outputs: Vec<Value> =
            (0..outputs).map(|_| self.values.add(&format!("{name}/output"), Origin::Node(scope))).collect();
        let mut inputs = inputs.to_vec();
        while inputs.last() == Some(&Value::ABSENT) {
            inputs.pop();
        }
        let name = self.node_names.make(&name);
        let draft = Draft { operator, name, inputs, outputs: outputs.clone(), attributes };
        if let Some(scope) = self.scopes.last_mut() {
            scope.nodes.push(draft);
        }
        outputs
    }

    /// The results of a node that is written once for everybody who asks for it.
    pub fn shared(
        &mut self,
        layer: &str,
        operator: &'static str,
        inputs: &[Value],
        attribute: Option<(&'static str, Attribute)>,
    ) -> Vec<Value> {
        let numbers = match &attribute {
            Some((_, Attribute::Ints(values))) => values.clone(),
            Some((_, Attribute::Int(value))) => vec![*value],
            _ => Vec::new(),
        };
        let key = Shared { operator, inputs: inputs.to_vec(), attributes: numbers };
        if let Some(values) = self.scopes.iter().rev().find_map(|scope| scope.shared.get(&key)) {
            return values.clone();
        }
        let outputs = if operator == "DynamicQuantizeLinear" { 3 } else { 1 };
        let values = self.emit(layer, operator, inputs, attribute.into_iter().collect(), outputs);
        if let Some(scope) = self.scopes.last_mut() {
            scope.shared.insert(key, values.clone());
        }
        values
    }

    /// Values as the outputs of the current list of nodes: each is computed in it, and by itself.
    pub fn as_outputs(&mut self, layer: &str, values: &[Value]) -> Vec<Value> {
        let scope = self.scopes.last().map_or(0, |scope| scope.number);
        let mut outputs: Vec<Value> = Vec::with_capacity(values.len());
        for value in values {
            let own = self.values.get(*value).origin == Origin::Node(scope);
            if own && !outputs.contains(value) {
                outputs.push(*value);
                continue;
            }
            let copy = self.emit(layer, "Identity", &[*value], Vec::new(), 1)[0];
            if let Some((dtype, shape)) = self.values.get(*value).kind.clone() {
                self.values.describe(copy, dtype, shape);
            }
            outputs.push(copy);
        }
        outputs
    }

    /// Writes the nodes of a graph of the model into the current list; returns its outputs.
    pub fn inline(&mut self, graph: GraphId, arguments: &[Value]) -> Result<Vec<Value>, Refusal> {
        let inputs = self.model.graphs.get(graph.0 as usize).map(|graph| graph.inputs.len());
        if self.calls.contains(&graph) || inputs != Some(arguments.len()) {
            return Err(Refusal("the graph that it runs does not fit or calls itself".to_owned()));
        }
        self.calls.push(graph);
        let outputs = write_graph(self, graph, arguments);
        self.calls.pop();
        outputs
    }

    /// A graph that a node runs: `fill` writes its nodes and returns its outputs.
    pub fn nested(
        &mut self,
        name: &str,
        inputs: &[(&str, DType, Shape)],
        fill: Fill<'_, 'a>,
    ) -> Result<Body, Refusal> {
        let mut formal = Vec::with_capacity(inputs.len());
        for (input, dtype, shape) in inputs {
            let value = self.values.add(&format!("{name}/{input}"), Origin::Input);
            self.values.describe(value, *dtype, shape.clone());
            formal.push(value);
        }
        self.open();
        let outputs = fill(self, &formal).map(|outputs| self.as_outputs(name, &outputs));
        let nodes = self.close();
        Ok(Body { name: name.to_owned(), inputs: formal, outputs: outputs?, nodes })
    }

    /// A small constant; equal ones are one.
    pub fn constant(&mut self, hint: &str, dtype: DType, dims: &[usize], bytes: Vec<u8>) -> Value {
        if let Some(value) = self.initializers.known(dtype, dims, &bytes) {
            return value;
        }
        let value = self.values.add(hint, Origin::Initializer);
        self.values.describe(value, dtype, Shape::fixed(dims));
        self.initializers.add_small(value, dtype, dims, bytes);
        value
    }

    /// A weight as it will be stored.
    pub fn weight(&mut self, hint: &str, dtype: DType, dims: &[usize], content: Content) -> Value {
        let value = self.values.add(hint, Origin::Initializer);
        self.values.describe(value, dtype, Shape::fixed(dims));
        self.initializers.add(value, dtype, dims, content);
        value
    }
}
