//! Nodes as they are before values have names.

use std::collections::HashSet;

use litesmith_graph::DType;

use super::values::Value;

/// A node in the making.
pub(super) struct Draft {
    pub operator: &'static str,
    pub name: String,
    pub inputs: Vec<Value>,
    pub outputs: Vec<Value>,
    pub attributes: Vec<(&'static str, Attribute)>,
}

/// A node's attribute.
#[derive(Debug)]
pub(super) enum Attribute {
    Int(i64),
    Ints(Vec<i64>),
    Float(f32),
    Text(&'static str),
    /// An element type, as its number.
    Type(DType),
    /// A graph that the node runs.
    Graph(Body),
}

impl Attribute {
    /// A list of sizes.
    pub fn sizes(sizes: &[usize]) -> Attribute {
        Attribute::Ints(sizes.iter().map(|size| i64::try_from(*size).unwrap_or(i64::MAX)).collect())
    }
}

/// A graph that a node runs. It sees the values around it.
pub(super) struct Body {
    pub name: String,
    pub inputs: Vec<Value>,
    pub outputs: Vec<Value>,
    pub nodes: Vec<Draft>,
}

impl std::fmt::Debug for Body {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Body({} nodes)", self.nodes.len())
    }
}

/// All values that nodes read, those of nested graphs and what these give counted in.
pub(super) fn read(nodes: &[Draft]) -> HashSet<Value> {
    let mut found = HashSet::new();
    let mut waiting: Vec<&[Draft]> = vec![nodes];
    while let Some(nodes) = waiting.pop() {
        for node in nodes {
            found.extend(&node.inputs);
            for (_, attribute) in &node.attributes {
                if let Attribute::Graph(body) = attribute {
                    found.extend(&body.outputs);
                    waiting.push(&body.nodes);
                }
            }
        }
    }
    found
}
