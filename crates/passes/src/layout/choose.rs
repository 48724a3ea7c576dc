//! Which order each node works in: the choice that leaves the fewest transpositions.
//!
//! A tensor needs one transposition, shared by all who read it in the other order, unless all of its
//! readers want the order that it is computed in. With two orders to choose from, the cheapest choice is
//! a cheapest cut of a network: nodes on one side work channels first, those on the other channels last.
//! A tensor with several readers is two network nodes, which everything in one order pulls to its side;
//! the edge between them is cut where not all agree. Of equally cheap choices that with most nodes in the
//! preferred order is taken.

use litesmith_graph::{Graph, NodeId, TensorId};

use super::Pinned;
use super::cut::{ENDLESS, Network};
use super::order::{Order, is_trivial};
use super::roles::{Role, Roles, Want, is_ordered};

/// One transposition; below it count the bytes that transpositions move.
const TRANSPOSITION: u64 = 1 << 40;
const MOST_BYTES: u64 = 1 << 24;
/// An operator that could do without a bracket.
const BRACKET: u64 = 1;

/// The order of each node that has a choice, and that of those that have none.
pub(super) fn choose(graph: &Graph, roles: &Roles, pinned: Pinned) -> Vec<Order> {
    let mut network = Network::new();
    let places: Vec<usize> = roles.roles.iter().map(|role| place(&mut network, role, pinned)).collect();
    for (tensor, wants) in wants(graph, roles, pinned) {
        let mut meeting: Vec<usize> = wants
            .into_iter()
            .filter_map(|want| match want {
                Want::Order(order) => Some(side(order, pinned)),
                Want::OfNode(node) => Some(places[node.index()]),
                Want::Any => None,
            })
            .collect();
        meeting.sort_unstable();
        meeting.dedup();
        add_tensor(&mut network, &meeting, cost(graph, roles, tensor));
    }
    let other = network.cut();
    let preferred = pinned.preferred;
    places.into_iter().map(|place| if other[place] { preferred.other() } else { preferred }).collect()
}

/// Where a node stands in the network.
fn place(network: &mut Network, role: &Role, pinned: Pinned) -> usize {
    match role {
        Role::Bound => side(pinned.preferred, pinned),
        Role::Flexible(other) => {
            let node = network.add_node();
            if other.bracketed {
                network.add_edge(side(other.native, pinned), node, BRACKET, BRACKET);
            }
            node
        }
        Role::Transposes | Role::Reshapes { .. } => network.add_node(),
        Role::Converts | Role::Sizes | Role::Fixed => Network::SINK,
    }
}

fn side(order: Order, pinned: Pinned) -> usize {
    if order == pinned.preferred { Network::SINK } else { Network::SOURCE }
}

/// For each tensor that is no other order of another one, what its producer gives and what all who read
/// it or another order of it want.
fn wants(graph: &Graph, roles: &Roles, pinned: Pinned) -> Vec<(TensorId, Vec<Want>)> {
    let mut wants: Vec<Vec<Want>> = vec![Vec::new(); graph.tensors.len()];
    let ordered: Vec<bool> = graph.tensor_ids().map(|id| is_ordered(graph, id)).collect();
    for input in graph.inputs.iter().filter(|id| ordered[id.index()]) {
        wants[input.index()].push(Want::Order(pinned.order(graph, &roles.native, *input)));
    }
    for output in graph.outputs.iter().filter(|id| ordered[id.index()]) {
        let want = Want::Order(pinned.order(graph, &roles.native, *output));
        wants[roles.root(*output).index()].push(want);
    }
    for id in graph.node_ids().filter(|id| roles.roles[id.index()] != Role::Converts) {
        for (place, input) in graph[id].inputs.iter().enumerate() {
            if let Some(input) = input.filter(|input| ordered[input.index()]) {
                wants[roles.root(input).index()].push(roles.wants_input(graph, id, place));
            }
        }
        for output in graph[id].outputs.iter().filter(|id| ordered[id.index()]) {
            wants[output.index()].push(roles.gives(id, *output));
        }
    }
    graph.tensor_ids().zip(wants).filter(|(_, wants)| wants.len() > 1).collect()
}

fn cost(graph: &Graph, roles: &Roles, tensor: TensorId) -> u64 {
    let tensor_order = roles.native[tensor.index()];
    let tensor = &graph[tensor];
    if is_trivial(tensor_order, &tensor.shape) {
        return 1;
    }
    let bits = tensor.shape.elements_per_sample().saturating_mul(tensor.dtype.bits().unwrap_or(8) as u64);
    TRANSPOSITION + (bits / 8).min(MOST_BYTES)
}

/// A tensor that costs this much unless all network nodes that it meets are on one side.
fn add_tensor(network: &mut Network, meeting: &[usize], cost: u64) {
    match meeting {
        // Two sides that are given: nothing can be saved.
        [Network::SOURCE, Network::SINK, ..] | [] | [_] => {}
        [one, other] => network.add_edge(*one, *other, cost, cost),
        _ => {
            // On the source's side if any is, and if all are.
            let (any, all) = (network.add_node(), network.add_node());
            network.add_edge(any, all, cost, 0);
            for place in meeting {
                network.add_edge(*place, any, ENDLESS, 0);
                network.add_edge(all, *place, ENDLESS, 0);
            }
        }
    }
}

impl Roles {
    /// The order that a want comes down to, given what was chosen.
    pub fn order_of(&self, want: Want, chosen: &[Order]) -> Option<Order> {
        match want {
            Want::Order(order) => Some(order),
            Want::OfNode(NodeId(index)) => Some(chosen[index as usize]),
            Want::Any => None,
        }
    }
}
