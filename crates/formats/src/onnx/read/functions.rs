//! Operators that a model brings along: nodes that stand for one. Each call is replaced by them.

use std::collections::HashMap;

use super::is_own;
use crate::error::FormatError;
use crate::onnx::proto::{AttributeProto, FunctionProto, GraphProto, ModelProto, NodeProto};

/// Most nodes that calls may become.
const MOST_NODES: usize = 1 << 19;
/// Deepest call inside calls.
const DEEPEST: usize = 32;

/// Functions by domain and name.
type Functions = HashMap<(String, String), FunctionProto>;

/// Replaces the calls of a model's own functions.
///
/// # Errors
/// If functions call each other too deeply or become too many nodes.
pub(super) fn inline(model: &mut ModelProto) -> Result<(), FormatError> {
    if model.functions.is_empty() {
        return Ok(());
    }
    let key = |function: &FunctionProto| {
        (function.domain.clone().unwrap_or_default(), function.name.clone().unwrap_or_default())
    };
    let functions: Functions =
        std::mem::take(&mut model.functions).into_iter().map(|function| (key(&function), function)).collect();
    let mut inliner = Inliner { functions: &functions, calls: 0, left: MOST_NODES };
    if let Some(graph) = &mut model.graph {
        inliner.graph(graph, 0)?;
    }
    Ok(())
}

struct Inliner<'f> {
    functions: &'f Functions,
    /// Calls so far: each gets names of its own.
    calls: usize,
    left: usize,
}

impl Inliner<'_> {
    fn graph(&mut self, graph: &mut GraphProto, depth: usize) -> Result<(), FormatError> {
        graph.node = self.nodes(std::mem::take(&mut graph.node), depth)?;
        Ok(())
    }

    fn nodes(&mut self, nodes: Vec<NodeProto>, depth: usize) -> Result<Vec<NodeProto>, FormatError> {
        let mut result = Vec::with_capacity(nodes.len());
        for mut node in nodes {
            self.left = self.left.checked_sub(1).ok_or_else(|| {
                FormatError::broken(
                    "the model's functions",
                    format!("they become more than {MOST_NODES} nodes"),
                )
            })?;
            let domain = node.domain.clone().unwrap_or_default();
            let key = (domain, node.op_type.clone().unwrap_or_default());
            if let Some(function) = self.functions.get(&key).filter(|_| !is_own(Some(&key.0))) {
                if depth >= DEEPEST {
                    return Err(FormatError::broken(format!("function '{}'", key.1), "it calls itself"));
                }
                let body = self.call(function, &node);
                result.extend(self.nodes(body, depth + 1)?);
                continue;
            }
            for attribute in &mut node.attribute {
                if let Some(graph) = &mut attribute.g {
                    self.graph(graph, depth)?;
                }
            }
            result.push(node);
        }
        Ok(result)
    }

    /// The nodes of a function as this call runs them.
    fn call(&mut self, function: &FunctionProto, call: &NodeProto) -> Vec<NodeProto> {
        self.calls += 1;
        let layer = call.name.clone().unwrap_or_default();
        let mut names: HashMap<&str, String> = HashMap::new();
        let given = call.input.iter().map(String::as_str).chain(std::iter::repeat(""));
        names.extend(function.input.iter().map(String::as_str).zip(given.map(str::to_owned)));
        // What the call leaves out has a name inside all the same.
        let gotten = function.output.iter().map(String::as_str).zip(call.output.iter().cloned());
        names.extend(gotten.filter(|(_, name)| !name.is_empty()));
        let mut attributes: HashMap<&str, &AttributeProto> = HashMap::new();
        for attribute in function.attribute_proto.iter().chain(&call.attribute) {
            attributes.insert(attribute.name.as_deref().unwrap_or(""), attribute);
        }
        let prefix = format!("{layer}/{}_{}", function.name.as_deref().unwrap_or(""), self.calls);
        let renaming = Renaming { prefix, names, attributes };
        function.node.iter().map(|node| renaming.node(node)).collect()
    }
}

/// What names and attributes inside a function stand for in one call.
struct Renaming<'a> {
    prefix: String,
    names: HashMap<&'a str, String>,
    attributes: HashMap<&'a str, &'a AttributeProto>,
}

impl Renaming<'_> {
    fn name(&self, name: &str) -> String {
        match self.names.get(name) {
            _ if name.is_empty() => String::new(),
            Some(outer) => outer.clone(),
            None => format!("{}/{name}", self.prefix),
        }
    }

    fn node(&self, node: &NodeProto) -> NodeProto {
        let mut node = node.clone();
        node.input.iter_mut().chain(&mut node.output).for_each(|name| *name = self.name(name));
        node.name = Some(self.name(node.name.as_deref().unwrap_or("")));
        node.attribute = node.attribute.iter().filter_map(|attribute| self.attribute(attribute)).collect();
        node
    }

    /// An attribute; one that stands for an attribute of the call is left out where the call has none.
    fn attribute(&self, attribute: &AttributeProto) -> Option<AttributeProto> {
        let outer = attribute.ref_attr_name.as_deref().filter(|name| !name.is_empty());
        if let Some(outer) = outer {
            let given = (*self.attributes.get(outer)?).clone();
            return Some(AttributeProto { name: attribute.name.clone(), ..given });
        }
        let mut attribute = attribute.clone();
        if let Some(graph) = &mut attribute.g {
            self.graph(graph);
        }
        Some(attribute)
    }

    fn graph(&self, graph: &mut GraphProto) {
        graph.node = graph.node.iter().map(|node| self.node(node)).collect();
        let values = graph.input.iter_mut().chain(&mut graph.output).map(|value| &mut value.name);
        let constants = graph.initializer.iter_mut().map(|tensor| &mut tensor.name);
        for name in values.chain(constants) {
            *name = Some(self.name(name.as_deref().unwrap_or("")));
        }
    }
}
