//! A graph under construction.

use std::collections::HashMap;

use litesmith_graph::infer::stated_facts;
use litesmith_graph::{Facts, Graph, Model, Op, Tensor, TensorId};

use super::lists::List;

/// What a value of a flow has become.
#[derive(Clone, Debug)]
pub(super) enum Bound {
    /// A tensor of the graph.
    Tensor(TensorId),
    /// A list of tensors.
    List(List),
    /// Nothing, since something before it is not supported; that has been listed.
    Refused,
}

/// A graph that grows, and what is known of its tensors.
pub(super) struct Draft {
    /// The graph.
    pub graph: Graph,
    /// What is known of each tensor.
    pub facts: Vec<Facts>,
    /// The tensor of each variable that is used.
    pub variables: HashMap<usize, TensorId>,
    /// Whether a tensor depends on constants and variables alone.
    pub fixed: Vec<bool>,
    /// What nodes of fixed tensors have been made of: the same node twice is one.
    pub layouts: HashMap<TensorId, Vec<(Op, TensorId)>>,
    /// For a tensor that is another one under another shape, that one.
    pub reshaped: HashMap<TensorId, TensorId>,
    /// For a tensor that an axis was taken from, what it was before and which axis.
    pub squeezed: HashMap<TensorId, (TensorId, i32)>,
    /// Whether lists are still unknown that a loop carries: the graph is thrown away.
    pub trial: bool,
    /// For each list that a loop carries, what is put into it.
    pub written: HashMap<usize, Facts>,
}

impl Draft {
    /// An empty graph.
    pub fn new(name: &str) -> Draft {
        Draft {
            graph: Graph::new(name),
            facts: Vec::new(),
            variables: HashMap::new(),
            fixed: Vec::new(),
            layouts: HashMap::new(),
            reshaped: HashMap::new(),
            squeezed: HashMap::new(),
            trial: false,
            written: HashMap::new(),
        }
    }

    /// Adds a tensor.
    pub fn add(&mut self, model: &Model, tensor: Tensor) -> TensorId {
        self.facts.push(stated_facts(model, &tensor));
        self.fixed.push(tensor.is_fixed());
        self.graph.add_tensor(tensor)
    }

    /// A tensor under its first shape: `id` itself, or what it was made of by nothing but reshaping.
    pub fn unshaped(&self, id: TensorId) -> TensorId {
        self.reshaped.get(&id).copied().unwrap_or(id)
    }
}
