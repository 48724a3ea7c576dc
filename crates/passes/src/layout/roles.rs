//! What each node demands of the order of its tensors.

use litesmith_graph::{Graph, Node, NodeId, Op, TensorId, TensorKind};

use super::order::{Order, has_order, is_trivial, permutation};
use super::reorder::{Asked, Operand, Reordered, reordered, reshape_to};

/// What a node does with orders.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Role {
    /// It is computed channels last, whatever stands around it.
    Bound,
    /// It works in either order, the same for all of its tensors.
    Flexible(Box<Reordered>),
    /// It brings its input from one order to the other: both are one tensor.
    Converts,
    /// It permutes axes in another way, of any order into any order.
    Transposes,
    /// It gives elements another shape: `any_input` and `any_output` say where both orders are alike
    /// in memory.
    Reshapes { any_input: bool, any_output: bool },
    /// It asks for the sizes of a tensor in any order.
    Sizes,
    /// It takes and gives what the source has.
    Fixed,
}

/// Everything that is known of the orders in a graph.
pub(super) struct Roles {
    /// The order of each tensor in the source.
    pub native: Vec<Order>,
    /// For each node.
    pub roles: Vec<Role>,
    /// For each tensor, the one that it is another order of (itself, if of none).
    roots: Vec<TensorId>,
}

/// An order that a node or the caller asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Want {
    /// This one.
    Order(Order),
    /// Whichever is chosen for this node.
    OfNode(NodeId),
    /// Any.
    Any,
}

/// The image that a layout-bound node works on.
pub(super) fn image(node: &Node) -> Option<TensorId> {
    node.inputs.get(image_place(&node.op)?).copied().flatten()
}

/// Where a layout-bound operator has its image.
pub(super) fn image_place(op: &Op) -> Option<usize> {
    match op {
        Op::Conv2D(_)
        | Op::Conv3D(_)
        | Op::DepthToSpace(_)
        | Op::DepthwiseConv2D(_)
        | Op::Pool2D(_)
        | Op::Resize(_)
        | Op::SpaceToDepth(_) => Some(0),
        Op::TransposeConv2D(_) | Op::TransposeConv3D(_) => Some(2),
        _ => None,
    }
}

/// Whether a tensor is kept in one order or the other.
pub(super) fn is_ordered(graph: &Graph, id: TensorId) -> bool {
    has_order(graph[id].shape.rank()) && matches!(graph[id].kind, TensorKind::Input | TensorKind::Activation)
}

impl Roles {
    pub fn new(graph: &Graph, native: Vec<Order>, brackets: bool) -> Roles {
        let mut roots: Vec<TensorId> = graph.tensor_ids().collect();
        let mut roles = Vec::with_capacity(graph.nodes.len());
        for id in graph.node_ids() {
            let role = role(graph, &native, id, brackets);
            if let (Role::Converts, Some(input)) = (&role, graph[id].inputs[0]) {
                // Nodes stand in topological order: the input's root is known.
                roots[graph[id].outputs[0].index()] = roots[input.index()];
            }
            roles.push(role);
        }
        Roles { native, roles, roots }
    }

    /// The tensor that this one is another order of.
    pub fn root(&self, id: TensorId) -> TensorId {
        self.roots[id.index()]
    }

    /// In which order a node takes an input that is ordered.
    pub fn wants_input(&self, graph: &Graph, node: NodeId, place: usize) -> Want {
        let native = |id: Option<TensorId>| id.map_or(Want::Any, |id| Want::Order(self.native[id.index()]));
        let input = graph[node].inputs[place];
        match &self.roles[node.index()] {
            Role::Bound if image_place(&graph[node].op) == Some(place) => Want::OfNode(node),
            Role::Flexible(other) => match other.inputs.get(place) {
                Some(Operand::Ordered) => Want::OfNode(node),
                // Only given another shape.
                Some(Operand::Broadcast(_)) => Want::Any,
                _ => native(input),
            },
            Role::Transposes | Role::Sizes => Want::Any,
            Role::Reshapes { any_input: true, .. } if place == 0 => Want::Any,
            _ => native(input),
        }
    }

    /// In which order a node gives an output that is ordered and no other order of its input.
    pub fn gives(&self, node: NodeId, output: TensorId) -> Want {
        match &self.roles[node.index()] {
            Role::Bound | Role::Transposes | Role::Reshapes { any_output: true, .. } => Want::OfNode(node),
            Role::Flexible(other) if other.outputs => Want::OfNode(node),
            _ => Want::Order(self.native[output.index()]),
        }
    }
}

fn role(graph: &Graph, native: &[Order], id: NodeId, brackets: bool) -> Role {
    let node = &graph[id];
    match &node.op {
        _ if image(node).is_some() => Role::Bound,
        Op::Transpose(op) => transposition(graph, native, node, &op.permutation),
        Op::ShapeOf(_) => Role::Sizes,
        Op::Reshape(_) => {
            let any = |id: TensorId| {
                let shape = &graph[id].shape;
                is_ordered(graph, id) && is_trivial(native[id.index()], shape) && reshape_to(shape).is_some()
            };
            let any_input = node.inputs.first().copied().flatten().is_some_and(any);
            let any_output = node.outputs.first().copied().is_some_and(any);
            match flexible(graph, native, node, brackets) {
                None if any_input || any_output => Role::Reshapes { any_input, any_output },
                role => role.map_or(Role::Fixed, |role| Role::Flexible(Box::new(role))),
            }
        }
        _ => match flexible(graph, native, node, brackets) {
            Some(other) => Role::Flexible(Box::new(other)),
            None => Role::Fixed,
        },
    }
}

fn transposition(graph: &Graph, native: &[Order], node: &Node, by: &[usize]) -> Role {
    let (Some(input), output) = (node.inputs[0], node.outputs[0]) else { return Role::Fixed };
    if !has_order(by.len()) {
        return Role::Fixed;
    }
    let [from, to] = [input, output].map(|id| native[id.index()]);
    let converts = from != to && by == permutation(by.len(), from, to);
    if converts && is_ordered(graph, input) { Role::Converts } else { Role::Transposes }
}

/// What the node is in the other order, if all of its tensors have the same one.
fn flexible(graph: &Graph, native: &[Order], node: &Node, brackets: bool) -> Option<Reordered> {
    let tensors = || node.present_inputs().chain(node.outputs.iter().copied());
    let first = tensors().find(|id| is_ordered(graph, *id))?;
    // The first that is in fact moved decides; those that only lend their elements may differ.
    let own = native[first.index()];
    let fits = |other: &Reordered| {
        let inputs = node.inputs.iter().zip(&other.inputs);
        let moved = inputs.filter(|(_, operand)| **operand == Operand::Ordered).filter_map(|(id, _)| *id);
        let given = node.outputs.iter().copied().filter(|_| other.outputs);
        moved.chain(given).all(|id| graph[id].is_fixed() || native[id.index()] == other.native)
    };
    let attempt = |native: Order| reordered(Asked { graph, node, native, brackets });
    [own, own.other()].into_iter().filter_map(attempt).find(fits)
}
