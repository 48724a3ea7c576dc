//! In which order the source keeps each tensor.
//!
//! Layout-bound operators say it of their images, and transpositions from one order to another say it of
//! both sides. Operators that leave axes in place carry it on. What nobody says anything of counts as
//! channels last.

use litesmith_graph::{Graph, NodeId, Op, TensorId};

use super::order::{Order, has_order, permutation};
use super::reorder::{Asked, Operand, reordered};
use super::roles::image;

/// Weight of a layout-bound operator's word against that of transpositions, which serve other ends too.
const BOUND: i64 = 1 << 32;

/// The order of every tensor.
pub(super) fn native_orders(graph: &Graph) -> Vec<Order> {
    let mut groups = Groups::new(graph);
    for id in graph.node_ids() {
        groups.join_alike(graph, id);
    }
    let mut votes = vec![0i64; graph.tensors.len()];
    for id in graph.node_ids() {
        let node = &graph[id];
        let mut vote = |tensor: TensorId, order: Order, weight: i64| {
            let weight = if order == Order::Last { weight } else { -weight };
            votes[groups.of(tensor)] += weight;
        };
        if let Some(image) = image(node) {
            vote(image, Order::Last, BOUND);
            node.outputs.iter().for_each(|output| vote(*output, Order::Last, BOUND));
        }
        if let Some((input, from)) = changes_order(graph, id) {
            vote(input, from, 1);
            vote(node.outputs[0], from.other(), 1);
        }
    }
    let mut orders: Vec<Option<Order>> = votes
        .into_iter()
        .map(|votes| match votes {
            0 => None,
            _ => Some(if votes > 0 { Order::Last } else { Order::First }),
        })
        .collect();
    carry_on(graph, &mut groups, &mut orders);
    graph.tensor_ids().map(|id| orders[groups.of(id)].unwrap_or(Order::Last)).collect()
}

/// Carries orders over nodes that change the number of axes, and over transpositions of sequences, which
/// do not say by themselves which side is which.
fn carry_on(graph: &Graph, groups: &mut Groups, orders: &mut [Option<Order>]) {
    // There and back; what is still not reached then lies behind several changes of direction.
    for pass in 0..4 {
        let mut changed = false;
        let mut ids: Vec<NodeId> = graph.node_ids().collect();
        if pass % 2 == 1 {
            ids.reverse();
        }
        for id in ids {
            let [Some(input), Some(output)] = ends(graph, id) else { continue };
            let sides = [groups.of(input), groups.of(output)];
            let (known, unknown) = match sides.map(|side| orders[side]) {
                [Some(order), None] => (order, sides[1]),
                [None, Some(order)] => (order, sides[0]),
                _ => continue,
            };
            if let Some(order) = beyond(graph, id, known) {
                orders[unknown] = Some(order);
                changed = true;
            }
        }
        if !changed && pass > 0 {
            return;
        }
    }
}

/// First input and output, where they have an order.
fn ends(graph: &Graph, id: NodeId) -> [Option<TensorId>; 2] {
    let ordered = |tensor: &TensorId| !graph[*tensor].is_fixed() && has_order(graph[*tensor].shape.rank());
    let node = &graph[id];
    let input = node.inputs.first().copied().flatten().filter(ordered);
    [input, node.outputs.first().copied().filter(ordered)]
}

/// The order on one side of a node whose other side has the order `known`.
fn beyond(graph: &Graph, id: NodeId, known: Order) -> Option<Order> {
    let node = &graph[id];
    if let Op::Transpose(op) = &node.op {
        return (op.permutation == [0, 2, 1]).then(|| known.other());
    }
    let other = reordered(Asked { graph, node, native: known, brackets: false })?;
    (other.outputs && other.inputs.first() == Some(&Operand::Ordered)).then_some(known)
}

/// The input of a transposition from one order to the other, and the order that it has.
fn changes_order(graph: &Graph, id: NodeId) -> Option<(TensorId, Order)> {
    let Op::Transpose(op) = &graph[id].op else { return None };
    let rank = op.permutation.len();
    // Those of sequences are their own inverses and do not say it.
    let from = [Order::Last, Order::First]
        .into_iter()
        .find(|from| (4..=5).contains(&rank) && op.permutation == permutation(rank, *from, from.other()))?;
    graph[id].inputs[0].filter(|input| !graph[*input].is_fixed()).map(|input| (input, from))
}

/// Tensors that have the same order because nodes between them leave axes in place.
struct Groups {
    parents: Vec<usize>,
}

impl Groups {
    fn new(graph: &Graph) -> Groups {
        Groups { parents: (0..graph.tensors.len()).collect() }
    }

    fn of(&mut self, id: TensorId) -> usize {
        let mut place = id.index();
        while self.parents[place] != place {
            self.parents[place] = self.parents[self.parents[place]];
            place = self.parents[place];
        }
        place
    }

    /// Joins what a node reads and computes, as far as it has as many axes as the output.
    fn join_alike(&mut self, graph: &Graph, id: NodeId) {
        let node = &graph[id];
        let Some(&first) = node.outputs.first() else { return };
        let rank = graph[first].shape.rank();
        if !has_order(rank) || !leaves_axes_in_place(&node.op) {
            return;
        }
        for tensor in node.present_inputs().chain(node.outputs.iter().copied()) {
            if graph[tensor].shape.rank() == rank && !graph[tensor].is_fixed() {
                let (one, other) = (self.of(first), self.of(tensor));
                self.parents[one] = other;
            }
        }
    }
}

/// Whether axis `i` of the output is axis `i` of the inputs, if they have as many.
fn leaves_axes_in_place(op: &Op) -> bool {
    match op {
        Op::Reduce(op) => op.keep_dims,
        Op::Binary(_)
        | Op::BatchNorm(_)
        | Op::BroadcastTo(_)
        | Op::Cast(_)
        | Op::Compare(_)
        | Op::Concat(_)
        | Op::CumSum(_)
        | Op::Dequantize(_)
        | Op::Dropout(_)
        | Op::FakeQuant(_)
        | Op::FullyConnected(_)
        | Op::Identity(_)
        | Op::L2Norm(_)
        | Op::Logical(_)
        | Op::Pad(_)
        | Op::Prelu(_)
        | Op::Quantize(_)
        | Op::Reverse(_)
        | Op::Select(_)
        | Op::Slice(_)
        | Op::Softmax(_)
        | Op::Split(_)
        | Op::StridedSlice(_)
        | Op::Tile(_)
        | Op::Unary(_)
        | Op::UpdateSlice(_) => true,
        _ => false,
    }
}
