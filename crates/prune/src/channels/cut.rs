//! Taking channels out of weights.

use litesmith_graph::ops::ReshapeDim;
use litesmith_graph::{DType, Data, Dim, Model, NodeId, Op, TensorId, TensorKind};

use super::couple::Coupling;

/// Gives every node its own copies of the constants that it reads: nodes may lose different channels.
pub(super) fn separate_constants(model: &mut Model) {
    let graph = model.main_mut();
    let mut read = vec![false; graph.tensors.len()];
    for node in 0..graph.nodes.len() {
        for place in 0..graph.nodes[node].inputs.len() {
            let Some(id) = graph.nodes[node].inputs[place] else { continue };
            if !matches!(graph[id].kind, TensorKind::Constant(_)) {
                continue;
            }
            if std::mem::replace(&mut read[id.index()], true) {
                // The elements are shared, not copied.
                let copy = graph[id].clone();
                let copy = graph.add_tensor(copy);
                graph.nodes[node].inputs[place] = Some(copy);
                read.push(true);
            }
        }
    }
}

/// One axis of a constant, and which of its places stay.
struct Slice {
    tensor: TensorId,
    axis: usize,
    kept: Vec<usize>,
}

/// What of the constants of a node belongs to channels that stay: those of outputs, and of inputs.
struct Slices {
    outputs: Vec<Slice>,
    inputs: Vec<Slice>,
}

fn slices(model: &Model, coupling: &Coupling<'_>, keep: &[Vec<usize>], id: NodeId) -> Slices {
    let graph = model.main();
    let node = &graph[id];
    let mut slices = Slices { outputs: Vec::new(), inputs: Vec::new() };
    let input = |place: usize| node.inputs.get(place).copied().flatten();
    let (Some(x), Some(y)) = (input(0), node.outputs.first().copied()) else { return slices };
    let whole = |tensor: TensorId| keep[tensor.index()].len() == coupling.count(tensor);
    let rank = |tensor: TensorId| graph[tensor].shape.rank();
    let mut output = |tensor: Option<TensorId>, axis: usize| {
        if let Some(tensor) = tensor.filter(|_| !whole(y)) {
            slices.outputs.push(Slice { tensor, axis, kept: keep[y.index()].clone() });
        }
    };
    match &node.op {
        Op::Conv2D(_) | Op::FullyConnected(_) => {
            output(input(1), 0);
            output(input(2), 0);
            if let Some(weights) = input(1).filter(|_| !whole(x)) {
                let axis = rank(weights) - 1;
                let depth = graph[weights].shape.last().and_then(Dim::fixed).unwrap_or(0);
                let channels = coupling.count(x);
                let stays = place_set(&keep[x.index()], channels);
                let kept = (0..depth).filter(|place| stays[place % channels]).collect();
                slices.inputs.push(Slice { tensor: weights, axis, kept });
            }
        }
        Op::DepthwiseConv2D(_) => {
            output(input(1), 3);
            output(input(2), 0);
        }
        Op::Binary(_) | Op::Prelu(_) => {
            for tensor in node.present_inputs().filter(|id| graph[*id].is_fixed()) {
                if graph[tensor].shape.last().and_then(Dim::fixed) == Some(coupling.count(y))
                    && coupling.count(y) > 1
                {
                    output(Some(tensor), rank(tensor) - 1);
                }
            }
        }
        _ => {}
    }
    slices
}

fn place_set(kept: &[usize], count: usize) -> Vec<bool> {
    let mut set = vec![false; count];
    kept.iter().for_each(|place| set[*place] = true);
    set
}

/// Takes out what does not stay. `keep` names the channels of each tensor that do.
pub(super) fn cut(model: &mut Model, coupling: &Coupling<'_>, keep: &[Vec<usize>]) {
    let nodes: Vec<NodeId> = model.main().node_ids().collect();
    let mut all = Vec::new();
    for id in &nodes {
        let own = slices(model, coupling, keep, *id);
        all.extend(own.outputs.into_iter().chain(own.inputs));
    }
    for slice in all {
        take(model, &slice);
    }
    for id in nodes {
        let graph = model.main_mut();
        let output = graph[id].outputs.first().copied();
        let kept = output.map_or(0, |output| keep[output.index()].len());
        if let Op::Reshape(op) = &mut graph[id].op
            && let Some([.., last @ ReshapeDim::Fixed(_)]) = op.shape.as_deref_mut()
            && kept > 0
        {
            *last = ReshapeDim::Fixed(kept);
        }
    }
}

/// The model with zeros for what is read of channels that go.
pub(super) fn masked(model: &Model, coupling: &Coupling<'_>, keep: &[Vec<usize>]) -> Model {
    let mut masked = model.clone();
    for id in model.main().node_ids() {
        for slice in slices(model, coupling, keep, id).inputs {
            clear(&mut masked, &slice);
        }
    }
    masked
}

/// Sizes of a tensor before, at and behind an axis.
fn extents(shape: &[usize], axis: usize) -> [usize; 3] {
    [shape[..axis].iter().product(), shape[axis], shape[axis + 1..].iter().product()]
}

fn take(model: &mut Model, slice: &Slice) {
    let tensor = &mut model.main_mut()[slice.tensor];
    let (Some(mut shape), TensorKind::Constant(data)) = (tensor.shape.to_fixed(), &tensor.kind) else {
        return;
    };
    let [outer, size, inner] = extents(&shape, slice.axis);
    let run = inner * tensor.dtype.bytes(1).unwrap_or(1);
    let mut bytes = Vec::with_capacity(outer * slice.kept.len() * run);
    for line in data.bytes().chunks_exact((size * run).max(1)) {
        slice.kept.iter().for_each(|place| bytes.extend_from_slice(&line[place * run..][..run]));
    }
    shape[slice.axis] = slice.kept.len();
    tensor.kind = TensorKind::Constant(Data::new(bytes.into()));
    tensor.shape = litesmith_graph::Shape::fixed(&shape);
}

fn clear(model: &mut Model, slice: &Slice) {
    let tensor = &mut model.main_mut()[slice.tensor];
    let (Some(shape), true) = (tensor.shape.to_fixed(), tensor.dtype == DType::F32) else { return };
    let [_, size, inner] = extents(&shape, slice.axis);
    let stays = place_set(&slice.kept, size);
    if let TensorKind::Constant(data) = &mut tensor.kind {
        data.change(|elements: &mut [f32]| {
            for (place, element) in elements.iter_mut().enumerate() {
                if !stays[place / inner % size] {
                    *element = 0.0;
                }
            }
        });
    }
}
