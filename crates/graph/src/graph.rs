//! Graphs: nodes in topological order over tensors.

use std::ops::{Index, IndexMut};

use crate::op::Op;
use crate::shared::Shared;
use crate::tensor::{Tensor, TensorKind};

/// Index of a tensor in its graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TensorId(pub u32);

/// Index of a node in its graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId(pub u32);

impl TensorId {
    /// As an index.
    #[must_use]
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

impl NodeId {
    /// As an index.
    #[must_use]
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// One application of an operator.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// The name of the layer that it comes from: what reports and errors call it.
    pub name: String,
    /// What it does.
    pub op: Op,
    /// Its inputs in the operator's order; `None` where an optional one is left out.
    pub inputs: Vec<Option<TensorId>>,
    /// Its outputs in the operator's order.
    pub outputs: Vec<TensorId>,
}

impl Node {
    /// The inputs that are there.
    pub fn present_inputs(&self) -> impl Iterator<Item = TensorId> + '_ {
        self.inputs.iter().flatten().copied()
    }
}

/// Nodes in topological order over tensors.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Graph {
    /// Its name.
    pub name: String,
    /// All tensors; ids are indices.
    pub tensors: Shared<Tensor>,
    /// All nodes, each after those whose outputs it reads.
    pub nodes: Shared<Node>,
    /// Tensors given by the caller, in order.
    pub inputs: Vec<TensorId>,
    /// Tensors given to the caller, in order.
    pub outputs: Vec<TensorId>,
}

impl Index<TensorId> for Graph {
    type Output = Tensor;

    fn index(&self, id: TensorId) -> &Tensor {
        &self.tensors[id.index()]
    }
}

impl IndexMut<TensorId> for Graph {
    fn index_mut(&mut self, id: TensorId) -> &mut Tensor {
        &mut self.tensors[id.index()]
    }
}

impl Index<NodeId> for Graph {
    type Output = Node;

    fn index(&self, id: NodeId) -> &Node {
        &self.nodes[id.index()]
    }
}

impl IndexMut<NodeId> for Graph {
    fn index_mut(&mut self, id: NodeId) -> &mut Node {
        &mut self.nodes[id.index()]
    }
}

impl Graph {
    /// An empty graph.
    #[must_use]
    pub fn new(name: &str) -> Graph {
        Graph { name: name.to_owned(), ..Graph::default() }
    }

    /// Adds a tensor. One of kind [`TensorKind::Input`] also becomes the next input.
    pub fn add_tensor(&mut self, tensor: Tensor) -> TensorId {
        let id = TensorId(self.tensors.len() as u32);
        if tensor.kind == TensorKind::Input {
            self.inputs.push(id);
        }
        self.tensors.push(tensor);
        id
    }

    /// Adds a node behind all others.
    pub fn add_node(
        &mut self,
        name: &str,
        op: impl Into<Op>,
        inputs: Vec<Option<TensorId>>,
        outputs: Vec<TensorId>,
    ) -> NodeId {
        let id = NodeId(self.nodes.len() as u32);
        self.nodes.push(Node { name: name.to_owned(), op: op.into(), inputs, outputs });
        id
    }

    /// Ids of all nodes in order.
    pub fn node_ids(&self) -> impl Iterator<Item = NodeId> + use<> {
        (0..self.nodes.len() as u32).map(NodeId)
    }

    /// Ids of all tensors.
    pub fn tensor_ids(&self) -> impl Iterator<Item = TensorId> + use<> {
        (0..self.tensors.len() as u32).map(TensorId)
    }

    /// For each tensor, the node that computes it.
    #[must_use]
    pub fn producers(&self) -> Vec<Option<NodeId>> {
        let mut producers = vec![None; self.tensors.len()];
        for id in self.node_ids() {
            for output in &self[id].outputs {
                producers[output.index()] = Some(id);
            }
        }
        producers
    }

    /// For each tensor, the nodes that read it, each once, in order. Graph outputs do not count:
    /// see [`Graph::is_output`].
    #[must_use]
    pub fn consumers(&self) -> Vec<Vec<NodeId>> {
        let mut consumers = vec![Vec::new(); self.tensors.len()];
        for id in self.node_ids() {
            for input in self[id].present_inputs() {
                let readers: &mut Vec<NodeId> = &mut consumers[input.index()];
                if readers.last() != Some(&id) {
                    readers.push(id);
                }
            }
        }
        consumers
    }

    /// Whether the caller gets this tensor.
    #[must_use]
    pub fn is_output(&self, id: TensorId) -> bool {
        self.outputs.contains(&id)
    }

    /// Lets every node and every graph output that reads `old` read `new` instead.
    pub fn replace_uses(&mut self, old: TensorId, new: TensorId) {
        let inputs = self.nodes.iter_mut().flat_map(|node| node.inputs.iter_mut().flatten());
        for id in inputs.chain(&mut self.outputs) {
            if *id == old {
                *id = new;
            }
        }
    }

    /// Orders the nodes so that each stands after those whose outputs it reads, otherwise keeping
    /// their order. Returns `false`, with nothing changed, where nodes form a cycle.
    #[must_use]
    pub fn sort(&mut self) -> bool {
        let producers = self.producers();
        let consumers = self.consumers();
        let mut waiting: Vec<usize> = vec![0; self.nodes.len()];
        for (count, node) in waiting.iter_mut().zip(&self.nodes) {
            let mut needed: Vec<_> = node.present_inputs().filter_map(|t| producers[t.index()]).collect();
            needed.sort_unstable();
            needed.dedup();
            *count = needed.len();
        }
        let mut ready: std::collections::BTreeSet<usize> =
            (0..self.nodes.len()).filter(|i| waiting[*i] == 0).collect();
        let mut order = Vec::with_capacity(self.nodes.len());
        while let Some(next) = ready.pop_first() {
            order.push(next);
            let mut released: Vec<_> = self.nodes[next]
                .outputs
                .iter()
                .flat_map(|t| &consumers[t.index()])
                .map(|n| n.index())
                .collect();
            released.sort_unstable();
            released.dedup();
            for reader in released {
                waiting[reader] -= 1;
                if waiting[reader] == 0 {
                    ready.insert(reader);
                }
            }
        }
        if order.len() != self.nodes.len() {
            return false;
        }
        let mut nodes: Vec<Option<Node>> = std::mem::take(&mut self.nodes).into_iter().map(Some).collect();
        self.nodes = order.into_iter().filter_map(|i| nodes[i].take()).collect();
        true
    }

    /// Drops nodes from which no output can be reached (those with effects stay), then tensors that
    /// nothing refers to. Inputs stay. Returns the number of dropped nodes.
    pub fn remove_dead(&mut self) -> usize {
        let mut live = vec![false; self.tensors.len()];
        for id in &self.outputs {
            live[id.index()] = true;
        }
        let before = self.nodes.len();
        let mut kept = Vec::with_capacity(before);
        for node in std::mem::take(&mut self.nodes).into_iter().rev() {
            if node.op.has_effect() || node.outputs.iter().any(|t| live[t.index()]) {
                for input in node.present_inputs() {
                    live[input.index()] = true;
                }
                kept.push(node);
            }
        }
        kept.reverse();
        self.nodes = kept.into();
        self.remove_unused_tensors();
        before - self.nodes.len()
    }

    fn remove_unused_tensors(&mut self) {
        let mut used = vec![false; self.tensors.len()];
        let ids =
            self.nodes.iter().flat_map(|node| node.present_inputs().chain(node.outputs.iter().copied()));
        for id in ids.chain(self.inputs.iter().copied()).chain(self.outputs.iter().copied()) {
            used[id.index()] = true;
        }
        let mut renumbered = vec![TensorId(0); self.tensors.len()];
        let mut tensors = Vec::new();
        for (i, tensor) in std::mem::take(&mut self.tensors).into_iter().enumerate() {
            if used[i] {
                renumbered[i] = TensorId(tensors.len() as u32);
                tensors.push(tensor);
            }
        }
        self.tensors = tensors.into();
        let nodes = self.nodes.iter_mut();
        let ids = nodes.flat_map(|node| node.inputs.iter_mut().flatten().chain(&mut node.outputs));
        for id in ids.chain(&mut self.inputs).chain(&mut self.outputs) {
            *id = renumbered[id.index()];
        }
    }
}
