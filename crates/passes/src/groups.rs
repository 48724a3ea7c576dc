//! Fusion groups: which nodes belong together. Decided here once; passes rewrite by it,
//! quantization-aware training places fake quantization by it, reports name layers by it.

use litesmith_graph::ops::{BinaryKind, PoolKind, UnaryKind};
use litesmith_graph::{Graph, NodeId, Op, TensorId};

/// A node with those behind it that become part of it: `anchor`, then batch normalization, then an
/// activation, each the only reader of the one before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FusionGroup {
    /// The convolution, matrix product, sum, … that the others fuse into.
    pub anchor: NodeId,
    /// Batch normalization of its result (behind convolutions and matrix products only).
    pub batch_norm: Option<NodeId>,
    /// A clamp of the result that can become a fused activation.
    pub activation: Option<NodeId>,
}

/// All groups of a graph that have more than their anchor, in the order of their anchors.
#[must_use]
pub fn fusion_groups(graph: &Graph) -> Vec<FusionGroup> {
    let readers = Readers::new(graph);
    let mut groups = Vec::new();
    for anchor in graph.node_ids() {
        let Some(mut end) = anchor_output(graph, anchor) else { continue };
        let mut group = FusionGroup { anchor, batch_norm: None, activation: None };
        if is_linear(&graph[anchor].op)
            && let Some(next) = readers.only(end)
            && matches!(graph[next].op, Op::BatchNorm(_))
            && graph[next].inputs[0] == Some(end)
        {
            group.batch_norm = Some(next);
            end = graph[next].outputs[0];
        }
        group.activation = readers.only(end).filter(|next| is_clamp(&graph[*next].op));
        if group.batch_norm.is_some() || group.activation.is_some() {
            groups.push(group);
        }
    }
    groups
}

/// Whether a node is a product with weights.
pub(crate) fn is_linear(op: &Op) -> bool {
    matches!(
        op,
        Op::Conv2D(_)
            | Op::Conv3D(_)
            | Op::DepthwiseConv2D(_)
            | Op::FullyConnected(_)
            | Op::TransposeConv2D(_)
            | Op::TransposeConv3D(_)
    )
}

/// The only output of a node that others may fuse into: one that has a fused activation and none yet.
fn anchor_output(graph: &Graph, id: NodeId) -> Option<TensorId> {
    let node = &graph[id];
    let free = match &node.op {
        Op::Conv2D(op) => op.activation.is_none(),
        Op::Conv3D(op) => op.activation.is_none(),
        Op::DepthwiseConv2D(op) => op.activation.is_none(),
        Op::TransposeConv2D(op) => op.activation.is_none(),
        Op::TransposeConv3D(op) => op.activation.is_none(),
        Op::FullyConnected(op) => op.activation.is_none(),
        Op::Pool2D(op) => op.activation.is_none() && op.kind == PoolKind::Max,
        Op::Binary(op) => {
            op.activation.is_none() && matches!(op.kind, BinaryKind::Add | BinaryKind::Sub | BinaryKind::Mul)
        }
        _ => false,
    };
    let float = graph[*node.outputs.first()?].dtype.is_float();
    (free && float).then(|| node.outputs[0])
}

fn is_clamp(op: &Op) -> bool {
    matches!(op, Op::Unary(unary) if matches!(unary.kind, UnaryKind::Relu | UnaryKind::Relu6 | UnaryKind::ReluN1To1))
}

/// Who reads which tensor.
pub(crate) struct Readers {
    readers: Vec<Vec<NodeId>>,
    outputs: Vec<bool>,
}

impl Readers {
    pub(crate) fn new(graph: &Graph) -> Readers {
        let outputs = graph.tensor_ids().map(|id| graph.is_output(id)).collect();
        Readers { readers: graph.consumers(), outputs }
    }

    /// The node that alone reads a tensor, if the caller does not get the tensor too.
    pub(crate) fn only(&self, id: TensorId) -> Option<NodeId> {
        match self.readers[id.index()].as_slice() {
            [reader] if !self.outputs[id.index()] => Some(*reader),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use litesmith_graph::text;

    #[test]
    fn a_chain_of_single_readers_is_one_group() {
        let model = text::parse(
            "graph main(%x: f32[1,8]) -> (%z, %b) {
               %w: f32[4,8] = random(1)
               %m: f32[4] = random(2)
               %a: f32[1,4] = FullyConnected(%x, %w, _)
               %b: f32[1,4] = BatchNorm(%a, _, _, %m, %m)
               %c: f32[1,4] = Unary(%b)
               %d: f32[1,4] = FullyConnected(%x, %w, _)
               %e: f32[1,4] = BatchNorm(%d, _, _, %m, %m)
               %z: f32[1,4] = Unary(%e)
             }",
        )
        .unwrap();
        let groups = fusion_groups(model.main());
        // The caller gets %b, so its activation stays apart.
        let first = FusionGroup { anchor: NodeId(0), batch_norm: Some(NodeId(1)), activation: None };
        let second =
            FusionGroup { anchor: NodeId(3), batch_norm: Some(NodeId(4)), activation: Some(NodeId(5)) };
        assert_eq!(groups, [first, second]);
    }
}
