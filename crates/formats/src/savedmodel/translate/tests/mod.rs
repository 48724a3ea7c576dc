//! Small flows, family by family: what they become.

mod families;
mod flows;
mod patterns;
mod refusals;

use litesmith_graph::{Model, text};

use super::translate;
use crate::error::FormatError;

/// The model of a flow in text form.
fn model(source: &str) -> Result<Model, FormatError> {
    let (flow, variables) = flows::parse(source);
    translate(flow, variables, "TensorFlow".to_owned())
}

/// The main graph of a flow, and graphs that it runs, as text.
fn graph(source: &str) -> String {
    let printed = text::print(&model(source).unwrap());
    let start = printed.find("graph main").unwrap();
    printed[start..].to_owned()
}

/// The operators of the main graph in order, with their attributes.
fn operators(source: &str) -> Vec<String> {
    let model = model(source).unwrap();
    let operator = |node: &litesmith_graph::Node| match serde_json::Value::from(node.op.attributes()) {
        attributes if attributes.as_object().is_some_and(serde_json::Map::is_empty) => {
            node.op.name().to_owned()
        }
        attributes => format!("{} {attributes}", node.op.name()),
    };
    model.main().nodes.iter().map(operator).collect()
}
