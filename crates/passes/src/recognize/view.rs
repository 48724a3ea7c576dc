//! A graph as patterns look at it: from a tensor to the node that computes it.

use litesmith_graph::model::Parameter;
use litesmith_graph::ops::{BinaryKind, Reduce, ReduceKind, UnaryKind};
use litesmith_graph::{DType, Dim, Graph, Node, NodeId, Op, Tensor, TensorId, TensorKind};

use super::Operand;
use crate::constants::{data, floats};

/// A graph with its producers and readers. Nodes that nothing needs do not count as readers.
pub(super) struct View<'a> {
    pub(super) graph: &'a Graph,
    parameters: &'a [Parameter],
    producers: Vec<Option<NodeId>>,
    readers: Vec<Vec<NodeId>>,
    given_out: Vec<bool>,
    live: Vec<bool>,
    fixed: Vec<bool>,
}

impl<'a> View<'a> {
    pub(super) fn new(graph: &'a Graph, parameters: &'a [Parameter]) -> View<'a> {
        let mut given_out = vec![false; graph.tensors.len()];
        graph.outputs.iter().for_each(|id| given_out[id.index()] = true);
        let live = live_nodes(graph, &given_out);
        let mut readers = graph.consumers();
        readers.iter_mut().for_each(|readers| readers.retain(|reader| live[reader.index()]));
        let producers = graph.producers();
        let fixed = fixed_tensors(graph);
        View { graph, parameters, producers, readers, given_out, live, fixed }
    }

    /// Whether a node is needed.
    pub(super) fn is_live(&self, id: NodeId) -> bool {
        self.live[id.index()]
    }

    /// The nodes that read a tensor.
    pub(super) fn readers(&self, id: TensorId) -> &[NodeId] {
        &self.readers[id.index()]
    }

    /// Whether the caller gets a tensor.
    pub(super) fn is_given_out(&self, id: TensorId) -> bool {
        self.given_out[id.index()]
    }

    /// Whether a tensor depends on constants and parameters alone.
    pub(super) fn is_fixed(&self, id: TensorId) -> bool {
        self.fixed[id.index()]
    }

    /// Whether a tensor holds single-precision numbers as such.
    pub(super) fn is_plain(&self, id: TensorId) -> bool {
        let tensor = &self.graph[id];
        tensor.dtype == DType::F32 && tensor.quantization.is_none()
    }

    /// Whether a node gives plain numbers that depend on an input.
    pub(super) fn is_plain_node(&self, id: NodeId) -> bool {
        match self.graph[id].outputs.as_slice() {
            [output] => self.is_plain(*output) && !self.is_fixed(*output),
            _ => false,
        }
    }

    /// The node that computes a tensor.
    pub(super) fn producer(&self, id: TensorId) -> Option<NodeId> {
        self.producers[id.index()]
    }

    /// The node that computes a tensor.
    pub(super) fn node(&self, id: TensorId) -> Option<&'a Node> {
        self.producer(id).map(|node| &self.graph[node])
    }

    /// Axes of a tensor.
    pub(super) fn dims(&self, id: TensorId) -> &'a [Dim] {
        self.graph[id].shape.dims()
    }

    /// Size of the last axis.
    pub(super) fn channels(&self, id: TensorId) -> Option<usize> {
        self.dims(id).last()?.fixed()
    }

    /// The value of a constant that is one number.
    pub(super) fn number(&self, id: TensorId) -> Option<f32> {
        match floats(self.graph, self.parameters, id)?.as_ref() {
            [value] => Some(*value),
            _ => None,
        }
    }

    /// The elements of a constant or parameter.
    pub(super) fn values(&self, id: TensorId) -> Option<std::borrow::Cow<'a, [f32]>> {
        floats(self.graph, self.parameters, id)
    }

    /// The operands of an element-wise function of two, whatever clamps its result.
    pub(super) fn operands(&self, node: &Node, kind: BinaryKind) -> Option<[TensorId; 2]> {
        match (&node.op, node.inputs.as_slice()) {
            (Op::Binary(op), [Some(a), Some(b)]) if op.kind == kind => Some([*a, *b]),
            _ => None,
        }
    }

    /// The node that computes a tensor, if it clamps nothing.
    pub(super) fn bare(&self, id: TensorId) -> Option<&'a Node> {
        self.node(id).filter(|node| !matches!(&node.op, Op::Binary(op) if !op.activation.is_none()))
    }

    /// The operands of the function that gives a tensor, if nothing clamps it.
    pub(super) fn binary(&self, id: TensorId, kind: BinaryKind) -> Option<[TensorId; 2]> {
        self.operands(self.bare(id)?, kind)
    }

    /// The function of one number that gives a tensor, with its operand.
    pub(super) fn unary(&self, id: TensorId) -> Option<(UnaryKind, TensorId)> {
        match self.node(id)? {
            Node { op: Op::Unary(op), inputs, .. } => Some((op.kind, (*inputs.first()?)?)),
            _ => None,
        }
    }

    /// The operand of this function of one number.
    pub(super) fn argument(&self, id: TensorId, kind: UnaryKind) -> Option<TensorId> {
        self.unary(id).filter(|(found, _)| *found == kind).map(|(_, x)| x)
    }

    /// What this reduction, which keeps its axes with size 1, is computed from, and the axes.
    pub(super) fn reduced(&self, id: TensorId, kind: ReduceKind) -> Option<(TensorId, Vec<usize>)> {
        let (x, op) = self.reduction(id)?;
        let axes = op.resolved_axes(self.dims(x).len()).ok()?;
        (op.kind == kind && op.keep_dims && !axes.is_empty()).then_some((x, axes))
    }

    /// The reduction that gives a tensor.
    pub(super) fn reduction(&self, id: TensorId) -> Option<(TensorId, &'a Reduce)> {
        match self.node(id)? {
            Node { op: Op::Reduce(op), inputs, .. } => Some(((*inputs.first()?)?, op)),
            _ => None,
        }
    }

    /// What is squared, in any spelling.
    pub(super) fn squared(&self, id: TensorId) -> Option<TensorId> {
        if let Some(x) = self.argument(id, UnaryKind::Square) {
            return Some(x);
        }
        if let Some([x, exponent]) = self.binary(id, BinaryKind::Pow) {
            return (self.number(exponent) == Some(2.0)).then_some(x);
        }
        self.binary(id, BinaryKind::Mul).filter(|[a, b]| a == b).map(|[x, _]| x)
    }

    /// A sum of something and a constant number.
    pub(super) fn plus_number(&self, operands: [TensorId; 2]) -> Option<(TensorId, f32)> {
        let [a, b] = operands;
        match (self.number(a), self.number(b)) {
            (None, Some(number)) => Some((a, number)),
            (Some(number), None) => Some((b, number)),
            _ => None,
        }
    }

    /// Whether a tensor has these sizes along the last axes, and broadcasts along the others of `rank`.
    pub(super) fn spreads(&self, id: TensorId, sizes: &[usize], rank: usize) -> bool {
        let dims = self.dims(id);
        let mut others = dims.iter().rev().skip(sizes.len());
        let alike = dims.iter().rev().zip(sizes.iter().rev()).all(|(dim, size)| dim.fixed() == Some(*size));
        let missing = sizes.iter().rev().skip(dims.len()).all(|size| *size == 1);
        dims.len() <= rank && alike && missing && others.all(|dim| dim.fixed() == Some(1))
    }

    /// A fixed tensor that has these sizes along the last axes and broadcasts along the others of `rank`,
    /// as a vector: as the source keeps it, if it was only brought to another shape.
    pub(super) fn vector(&self, id: TensorId, sizes: &[usize], rank: usize) -> Option<Operand> {
        if !self.is_fixed(id) || !self.is_plain(id) || !self.spreads(id, sizes, rank) {
            return None;
        }
        let is_vector = |id: TensorId| self.dims(id).len() == 1;
        let source = self.source(id);
        if is_vector(source) {
            return Some(Operand::Tensor(source));
        }
        if is_vector(id) {
            return Some(Operand::Tensor(id));
        }
        let tensor = &self.graph[source];
        let shape = litesmith_graph::Shape::fixed(&[sizes
            .iter()
            .try_fold(1usize, |count, size| count.checked_mul(*size))?]);
        let data = data(tensor, self.parameters)?.clone();
        Some(Operand::from(Tensor::constant(&tensor.name, DType::F32, shape, data)))
    }

    /// Where a fixed tensor that was only brought to other shapes comes from.
    pub(super) fn source(&self, mut id: TensorId) -> TensorId {
        while let Some(node) = self.node(id) {
            let moves =
                matches!(node.op, Op::Reshape(_) | Op::Squeeze(_) | Op::ExpandDims(_) | Op::Identity(_));
            match node.inputs.first() {
                Some(Some(input)) if moves && self.is_plain(*input) && self.is_fixed(*input) => id = *input,
                _ => break,
            }
        }
        id
    }
}

fn live_nodes(graph: &Graph, given_out: &[bool]) -> Vec<bool> {
    let mut needed = given_out.to_vec();
    let mut live = vec![false; graph.nodes.len()];
    for (index, node) in graph.nodes.iter().enumerate().rev() {
        live[index] = node.op.has_effect() || node.outputs.iter().any(|id| needed[id.index()]);
        if live[index] {
            node.present_inputs().for_each(|id| needed[id.index()] = true);
        }
    }
    live
}

/// Which tensors depend on constants and parameters alone. Operators without inputs may read states.
fn fixed_tensors(graph: &Graph) -> Vec<bool> {
    let is_state = |tensor: &Tensor| matches!(tensor.kind, TensorKind::State(_));
    let mut fixed: Vec<bool> = graph.tensors.iter().map(Tensor::is_fixed).collect();
    for node in &graph.nodes {
        let mut inputs = node.present_inputs().peekable();
        let all = inputs.peek().is_some() && inputs.all(|id| fixed[id.index()] && !is_state(&graph[id]));
        if all && !node.op.has_effect() && node.op.calls().is_empty() && !matches!(node.op, Op::Custom(_)) {
            node.outputs.iter().for_each(|id| fixed[id.index()] = true);
        }
    }
    fixed
}
