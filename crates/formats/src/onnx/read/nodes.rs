//! The nodes of a graph: each is translated by the table of operators.

use std::cell::RefCell;
use std::collections::HashSet;

use litesmith_graph::TensorKind;

use super::attributes::Attributes;
use super::draft::{Bound, Draft, Environment, Target};
use super::scope::Scope;
use super::tensor::{self, Fault};
use super::{gelu, is_own, operators};
use crate::error::{FormatError, Unsupported};
use crate::onnx::proto::{GraphProto, NodeProto};
use crate::refusal::{Built, Refusal};

/// Most nodes that are translated, those in loops and branches as often as they are.
const MOST_TRANSLATED: usize = 1 << 20;

/// Binds the constants of a graph to their names.
pub(super) fn add_constants<'a>(
    target: &mut Target<'_>,
    graph: &'a GraphProto,
    environment: &mut Environment<'a>,
) -> Result<(), FormatError> {
    if !graph.sparse_initializer.is_empty() {
        target.refuse(Unsupported {
            layer: graph.name.clone().unwrap_or_default(),
            operator: "sparse_initializer".into(),
            reason: "sparse constants are not supported; store them dense".into(),
        });
    }
    for proto in &graph.initializer {
        let name = proto.name.as_deref().unwrap_or("");
        let place = format!("constant '{name}'");
        let bound = match tensor::decode(proto, target.external, &place) {
            Ok(constant) => target.add_weight(name, constant),
            Err(Fault::Error(error)) => return Err(error),
            Err(Fault::Unsupported(reason)) => {
                let (layer, operator) = (name.to_owned(), "constant".to_owned());
                target.refuse(Unsupported { layer, operator, reason });
                Bound::Refused
            }
        };
        environment.insert(name, bound);
    }
    Ok(())
}

/// Translates the nodes of a graph into a draft. What is not supported is noted.
pub(super) fn run<'a>(
    target: &mut Target<'a>,
    draft: &mut Draft,
    graph: &'a GraphProto,
    environment: &mut Environment<'a>,
) -> Result<(), FormatError> {
    let (live, formulas) = (live(graph), gelu::find(graph));
    for (index, (node, _)) in graph.node.iter().zip(live).enumerate().filter(|(_, (_, live))| *live) {
        let formula = formulas.get(&index).copied();
        let outputs = match translate(target, draft, node, environment, formula) {
            Ok(outputs) => outputs,
            Err(Refusal::Error(error)) => return Err(error),
            Err(Refusal::Unsupported(reason)) => {
                let (layer, operator) = (layer_of(node).to_owned(), qualified(node));
                target.refuse(Unsupported { layer, operator, reason });
                vec![Bound::Refused; node.output.len()]
            }
            Err(Refusal::Listed) => vec![Bound::Refused; node.output.len()],
        };
        for (name, bound) in node.output.iter().zip(outputs).filter(|(name, _)| !name.is_empty()) {
            environment.insert(name, bound);
        }
    }
    Ok(())
}

/// What a node is called in reports: by its own name, else by what it computes.
fn layer_of(node: &NodeProto) -> &str {
    let named = node.name.as_deref().filter(|name| !name.is_empty());
    let output = || node.output.iter().map(String::as_str).find(|name| !name.is_empty());
    named.or_else(output).unwrap_or("")
}

/// A node's operator, with its domain if that is not ONNX's own.
fn qualified(node: &NodeProto) -> String {
    let op = node.op_type.as_deref().unwrap_or("");
    match node.domain.as_deref() {
        domain if is_own(domain) => op.to_owned(),
        domain => format!("{}.{op}", domain.unwrap_or("")),
    }
}

/// The outputs of one node. Where it ends a formula that the graph has an operator for, `formula` is the name
/// of the operand.
fn translate<'a>(
    target: &mut Target<'a>,
    draft: &mut Draft,
    node: &'a NodeProto,
    environment: &Environment<'a>,
    formula: Option<&str>,
) -> Built<Vec<Bound>> {
    let (layer, op) = (layer_of(node).to_owned(), node.op_type.as_deref().unwrap_or(""));
    let place = format!("node '{layer}' ({op})");
    target.translated += 1;
    if target.translated > MOST_TRANSLATED {
        return Err(FormatError::broken(place, "its graph runs others too often").into());
    }
    let mut inputs = Vec::with_capacity(node.input.len());
    for name in formula.map_or_else(|| node.input.iter().map(String::as_str).collect(), |x| vec![x]) {
        inputs.push(match environment.get(name) {
            _ if name.is_empty() => None,
            Some(Bound::Refused) => return Err(Refusal::Listed),
            Some(bound) => Some(bound.clone()),
            None => {
                let reason = format!("it reads '{name}', which nothing before it computes");
                return Err(FormatError::broken(place, reason).into());
            }
        });
    }
    let (domain, own) = if formula.is_some() { (None, "Gelu") } else { (node.domain.as_deref(), op) };
    let Some(translate) = operators::find(domain, own) else {
        let reason = "the operator is not supported; leave it out of the model, or replace it";
        return Err(Refusal::Unsupported(reason.into()));
    };
    let first = draft.graph.tensors.len();
    let attributes = Attributes::new(node, place);
    let looked_at = RefCell::new(vec![false; inputs.len()]);
    let mut scope = Scope { target, draft, environment, node, op, layer, attributes, inputs, looked_at };
    let outputs = translate.apply(&mut scope)?;
    scope.check_complete(outputs.len())?;
    name_results(draft, node, &outputs, first);
    Ok(outputs)
}

/// Lets new tensors that a node gives have the names that the file gives them.
fn name_results(draft: &mut Draft, node: &NodeProto, outputs: &[Bound], first: usize) {
    for (name, bound) in node.output.iter().zip(outputs).filter(|(name, _)| !name.is_empty()) {
        if let Bound::Tensor(id) = bound
            && id.index() >= first
            && draft.graph[*id].kind == TensorKind::Activation
        {
            draft.graph[*id].name = draft.unique(name);
        }
    }
}

impl Scope<'_, '_> {
    /// Refuses a node of which something has not been understood.
    fn check_complete(&self, outputs: usize) -> Built<()> {
        if let Some(key) = self.attributes.left_over().first() {
            return Err(Refusal::Unsupported(format!(
                "its attribute '{key}' is not supported; leave it out"
            )));
        }
        let looked_at = self.looked_at.borrow();
        let mut given = self.inputs.iter().zip(looked_at.iter()).enumerate();
        if let Some((index, _)) = given.find(|(_, (input, looked_at))| input.is_some() && !**looked_at) {
            return Err(Refusal::Unsupported(format!("its input {index} is not supported; leave it out")));
        }
        if let Some(index) = (outputs..self.node.output.len()).find(|index| self.wants(*index)) {
            return Err(Refusal::Unsupported(format!("its output {index} is not supported; leave it out")));
        }
        Ok(())
    }
}

/// Which nodes some output of the graph depends on.
fn live(graph: &GraphProto) -> Vec<bool> {
    let mut needed: HashSet<&str> = graph.output.iter().filter_map(|output| output.name.as_deref()).collect();
    let mut live = vec![false; graph.node.len()];
    for (node, live) in graph.node.iter().zip(&mut live).rev() {
        if node.output.iter().any(|output| needed.contains(output.as_str())) {
            *live = true;
            needed.extend(node.input.iter().map(String::as_str).filter(|name| !name.is_empty()));
            for body in bodies(node) {
                captured(body, &mut needed);
            }
        }
    }
    live
}

/// The graphs that a node runs.
fn bodies(node: &NodeProto) -> impl Iterator<Item = &GraphProto> {
    node.attribute.iter().filter_map(|attribute| attribute.g.as_deref())
}

/// Adds the names of values that a graph reads and does not compute itself.
pub(super) fn captured<'a>(graph: &'a GraphProto, names: &mut HashSet<&'a str>) {
    let mut read: HashSet<&str> = HashSet::new();
    for node in &graph.node {
        read.extend(node.input.iter().map(String::as_str).filter(|name| !name.is_empty()));
        for body in bodies(node) {
            captured(body, &mut read);
        }
    }
    read.extend(graph.output.iter().filter_map(|output| output.name.as_deref()));
    let own: HashSet<&str> = graph
        .node
        .iter()
        .flat_map(|node| node.output.iter().map(String::as_str))
        .chain(graph.input.iter().filter_map(|input| input.name.as_deref()))
        .chain(graph.initializer.iter().filter_map(|tensor| tensor.name.as_deref()))
        .collect();
    names.extend(read.difference(&own));
}
