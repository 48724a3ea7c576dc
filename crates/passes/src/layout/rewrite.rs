//! Builds the nodes of a graph anew, each in the order that was chosen for it.

mod operands;

use std::collections::HashMap;

use litesmith_graph::model::Parameter;
use litesmith_graph::ops::{Gather, Reshape, ReshapeDim, Transpose};
use litesmith_graph::{Graph, Node, NodeId, Op, Shape, Tensor, TensorId, TensorKind};

use self::operands::Made;
use super::Pinned;
use super::order::{
    Order, composed, inverse, is_identity, is_trivial, moved, permutation, permuted_quantization,
    permuted_shape,
};
use super::reorder::{Operand, Reordered, reshape_to};
use super::roles::{Role, Roles, image_place, is_ordered};

/// Rewrites a graph by what was chosen for its nodes.
pub(super) fn rewrite(
    graph: &mut Graph,
    parameters: &[Parameter],
    roles: &Roles,
    chosen: &[Order],
    pinned: Pinned,
) {
    let kept = orders_kept(graph, roles, chosen, pinned);
    let source = graph.tensors.iter().map(|tensor| tensor.shape.clone()).collect();
    for id in graph.tensor_ids() {
        if let Some(order) = kept[id.index()] {
            let permutation = permutation(graph[id].shape.rank(), roles.native[id.index()], order);
            let tensor = &mut graph[id];
            tensor.shape = permuted_shape(&permutation, &tensor.shape);
            tensor.quantization = permuted_quantization(&permutation, tensor.quantization.as_ref());
        }
    }
    let places = graph.tensor_ids().collect();
    let nodes = std::mem::take(&mut graph.nodes);
    let mut rewriter = Rewriter {
        graph,
        parameters,
        roles,
        source,
        kept,
        places,
        turned: HashMap::new(),
        made: HashMap::new(),
        permuted_from: HashMap::new(),
        permuted_to: HashMap::new(),
        layer: String::new(),
    };
    for (index, node) in nodes.into_iter().enumerate() {
        rewriter.layer.clone_from(&node.name);
        rewriter.node(NodeId(index as u32), node, chosen[index]);
    }
    rewriter.outputs(pinned);
    graph.remove_dead();
}

/// The order that each ordered tensor is kept in.
fn orders_kept(graph: &Graph, roles: &Roles, chosen: &[Order], pinned: Pinned) -> Vec<Option<Order>> {
    let mut kept = vec![None; graph.tensors.len()];
    for input in &graph.inputs {
        kept[input.index()] = Some(pinned.order(graph, &roles.native, *input));
    }
    for id in graph.node_ids() {
        for output in &graph[id].outputs {
            kept[output.index()] = roles.order_of(roles.gives(id, *output), chosen);
        }
    }
    graph.tensor_ids().zip(kept).map(|(id, order)| order.filter(|_| is_ordered(graph, id))).collect()
}

struct Rewriter<'a> {
    graph: &'a mut Graph,
    parameters: &'a [Parameter],
    roles: &'a Roles,
    /// The shape of each tensor as it was.
    source: Vec<Shape>,
    /// In which order each is kept now; `None` for those without order.
    kept: Vec<Option<Order>>,
    /// Which tensor holds it.
    places: Vec<TensorId>,
    /// What holds tensors in the order that they are not kept in.
    turned: HashMap<TensorId, TensorId>,
    /// Operands that have been brought into another form.
    made: HashMap<(TensorId, Made), TensorId>,
    /// Of what and how tensors are permuted, outside brackets.
    permuted_from: HashMap<TensorId, (TensorId, Vec<usize>)>,
    /// The other way round: what there is of a tensor, permuted.
    permuted_to: HashMap<(TensorId, Vec<usize>), TensorId>,
    /// Whom new nodes belong to.
    layer: String,
}

impl Rewriter<'_> {
    fn node(&mut self, id: NodeId, mut node: Node, chosen: Order) {
        let roles = self.roles;
        match &roles.roles[id.index()] {
            Role::Converts => {}
            Role::Bound => {
                let place = image_place(&node.op).unwrap_or(0);
                for input in node.inputs.iter_mut().enumerate().filter(|(other, _)| *other != place) {
                    *input.1 = input.1.map(|id| self.as_in_source(id));
                }
                let image = |id| self.operand(id, Operand::Ordered, chosen.other(), chosen);
                match chosen {
                    Order::First => {
                        node.inputs[place] = node.inputs[place].map(image);
                        self.bracket(node, place);
                    }
                    Order::Last => {
                        node.inputs[place] = node.inputs[place].map(|id| self.as_in_source(id));
                        self.graph.nodes.push(node);
                    }
                }
            }
            Role::Flexible(other) if other.native != chosen => self.reordered(node, other, chosen),
            Role::Flexible(_) | Role::Fixed => {
                for input in node.inputs.iter_mut().flatten() {
                    *input = self.as_in_source(*input);
                }
                self.graph.nodes.push(node);
            }
            Role::Transposes => self.transposition(&node),
            Role::Reshapes { any_input, .. } => self.reshape(node, *any_input),
            Role::Sizes => self.sizes(node),
        }
    }

    /// The node in the order that is not its native one.
    fn reordered(&mut self, mut node: Node, other: &Reordered, order: Order) {
        let inputs = node.inputs.iter().zip(&other.inputs);
        let inputs: Vec<Option<TensorId>> = inputs
            .map(|(id, operand)| id.map(|id| self.operand(id, *operand, other.native, order)))
            .collect();
        node.inputs = inputs;
        node.op = other.op.clone();
        if other.bracketed {
            self.bracket(node, 0);
        } else {
            self.graph.nodes.push(node);
        }
    }

    /// A node that works channels last between two transpositions of its own.
    fn bracket(&mut self, mut node: Node, place: usize) {
        let (Some(image), output) = (node.inputs[place], node.outputs[0]) else { return };
        let rank = self.graph[image].shape.rank();
        let last = permutation(rank, Order::First, Order::Last);
        let inner = self.turned_tensor(image, &last, Order::Last);
        let result = self.turned_tensor(output, &last, Order::Last);
        // One image may stand in several brackets.
        self.graph[inner].name = format!("{}/image", self.graph[output].name);
        self.graph[result].name = format!("{}/result", self.graph[output].name);
        let name = node.name.clone();
        let to = |from: Order| Transpose { permutation: permutation(rank, from, from.other()) };
        self.graph.add_node(&name, to(Order::First), vec![Some(image)], vec![inner]);
        node.inputs[place] = Some(inner);
        node.outputs[0] = result;
        self.graph.nodes.push(node);
        self.graph.add_node(&name, to(Order::Last), vec![Some(result)], vec![output]);
    }

    /// A new tensor: this one permuted.
    fn turned_tensor(&mut self, id: TensorId, permutation: &[usize], order: Order) -> TensorId {
        let tensor = &self.graph[id];
        let name = format!("{}/{}", tensor.name, order.suffix());
        let mut turned = Tensor::activation(&name, tensor.dtype, permuted_shape(permutation, &tensor.shape));
        turned.quantization = permuted_quantization(permutation, tensor.quantization.as_ref());
        self.graph.add_tensor(turned)
    }

    /// A permutation of axes, which may be that of several behind one another; what comes out of it, which
    /// is not `output` where nothing is permuted in the end.
    fn permute(&mut self, input: TensorId, by: Vec<usize>, output: TensorId) -> TensorId {
        let (source, by) = match self.permuted_from.get(&input) {
            Some((source, before)) => (*source, composed(before, &by)),
            None => (input, by),
        };
        if is_identity(&by) {
            return source;
        }
        let known = self.permuted_to.get(&(source, by.clone())).copied();
        if let Some(known) =
            known.filter(|id| self.graph[*id].quantization == self.graph[output].quantization)
        {
            return known;
        }
        let layer = self.layer.clone();
        self.graph.add_node(&layer, Transpose::by(&by), vec![Some(source)], vec![output]);
        self.permuted_from.insert(output, (source, by.clone()));
        self.permuted_to.insert((source, by), output);
        output
    }

    fn transposition(&mut self, node: &Node) {
        let (Op::Transpose(op), Some(input), output) = (&node.op, node.inputs[0], node.outputs[0]) else {
            return;
        };
        let rank = op.permutation.len();
        let native = |id: TensorId| self.roles.native[id.index()];
        let (place, kept) = self.anyhow(input);
        let before = permutation(rank, native(input), kept.unwrap_or(native(input)));
        let after = permutation(rank, native(output), self.kept[output.index()].unwrap_or(native(output)));
        let by = composed(&composed(&inverse(&before), &op.permutation), &after);
        self.places[output.index()] = self.permute(place, by, output);
    }

    fn reshape(&mut self, mut node: Node, any_input: bool) {
        let (Some(input), output) = (node.inputs[0], node.outputs[0]) else { return };
        let native = |id: TensorId| self.roles.native[id.index()];
        let (place, kept) = if any_input { self.anyhow(input) } else { (self.as_in_source(input), None) };
        let before = kept.map(|order| permutation(self.source[input.index()].rank(), native(input), order));
        let turned = self.kept[output.index()].is_some_and(|order| order != native(output));
        node.inputs[0] = Some(place);
        match &mut node.op {
            _ if turned => {
                if let Some(op) = reshape_to(&self.graph[output].shape) {
                    node.op = op.into();
                    node.inputs.truncate(1);
                }
            }
            Op::Reshape(Reshape { shape: Some(shape) }) => {
                for dim in shape {
                    if let (ReshapeDim::Copy(axis), Some(before)) = (dim, &before) {
                        *axis = moved(before, *axis);
                    }
                }
            }
            _ => {}
        }
        self.graph.nodes.push(node);
    }

    /// Sizes of axes, put back into the source's order.
    fn sizes(&mut self, mut node: Node) {
        let (Some(input), output) = (node.inputs[0], node.outputs[0]) else { return };
        let native = self.roles.native[input.index()];
        let (place, kept) = self.anyhow(input);
        node.inputs[0] = Some(place);
        match kept {
            Some(order) if order != native => {
                let rank = self.graph[place].shape.rank();
                let back = inverse(&permutation(rank, native, order));
                let (name, dtype) =
                    (format!("{}/{}", self.graph[output].name, order.suffix()), self.graph[output].dtype);
                let sizes = Tensor::activation(&name, dtype, self.graph[output].shape.clone());
                node.outputs[0] = self.graph.add_tensor(sizes);
                let (sizes, layer) = (node.outputs[0], node.name.clone());
                self.graph.nodes.push(node);
                let axes = self.axes(&name, &back);
                self.graph.add_node(&layer, Gather::default(), vec![Some(sizes), Some(axes)], vec![output]);
            }
            _ => self.graph.nodes.push(node),
        }
    }

    /// What holds a tensor, in whichever order, and which that is.
    fn anyhow(&self, id: TensorId) -> (TensorId, Option<Order>) {
        let root = self.roles.root(id);
        (self.places[root.index()], self.kept[root.index()])
    }

    fn as_in_source(&mut self, id: TensorId) -> TensorId {
        self.read(id, self.roles.native[id.index()])
    }

    /// What holds a tensor in this order.
    fn read(&mut self, id: TensorId, order: Order) -> TensorId {
        let (place, kept) = self.anyhow(id);
        let Some(kept) = kept.filter(|kept| *kept != order) else { return place };
        let root = self.roles.root(id);
        if let Some(turned) = self.turned.get(&root) {
            return *turned;
        }
        let rank = self.graph[place].shape.rank();
        let by = permutation(rank, kept, order);
        let turned = self.turned_tensor(place, &by, order);
        let reshape = reshape_to(&self.graph[turned].shape);
        let turned = match reshape {
            Some(reshape) if is_trivial(kept, &self.graph[place].shape) => {
                let layer = self.layer.clone();
                self.graph.add_node(&layer, reshape, vec![Some(place)], vec![turned]);
                turned
            }
            _ => self.permute(place, by, turned),
        };
        self.turned.insert(root, turned);
        turned
    }

    /// Gives the caller what it asks for, under the names that it knows.
    fn outputs(&mut self, pinned: Pinned) {
        let before = std::mem::take(&mut self.graph.outputs);
        let mut names: Vec<String> = before.iter().map(|id| self.graph[*id].name.clone()).collect();
        for (id, name) in before.into_iter().zip(&mut names) {
            self.layer.clone_from(name);
            let order = pinned.asked(&self.source[id.index()], self.roles.native[id.index()]);
            let given = self.read(id, order);
            let free = self.graph[given].kind == TensorKind::Activation && !self.graph.is_output(given);
            if given != id && free {
                if let Some(kept) = self.kept[id.index()].filter(|_| !self.graph.is_output(id)) {
                    self.graph[id].name = format!("{name}/{}", kept.suffix());
                }
                self.graph[given].name.clone_from(name);
            }
            self.graph.outputs.push(given);
        }
    }
}
