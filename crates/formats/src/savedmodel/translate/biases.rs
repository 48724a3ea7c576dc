//! Sums that are the bias of the product before them.

use litesmith_graph::ops::{Binary, BinaryKind, Reshape, ReshapeDim};
use litesmith_graph::{Graph, NodeId, Op, Shape, Tensor, TensorId};

/// Puts what is added to a convolution or matrix product without bias, and to nothing else, into its place
/// among the product's inputs, if it is one number for each channel. Between the two the result may
/// get another shape. What nobody reads is dropped.
pub(super) fn join(graph: &mut Graph) {
    graph.remove_dead();
    let fixed = fixed(graph);
    let consumers = graph.consumers();
    let mut gone = vec![false; graph.nodes.len()];
    for id in graph.node_ids() {
        let Some(place) = bias_place(&graph[id].op) else { continue };
        if graph[id].inputs.get(place).is_some_and(Option::is_some) {
            continue;
        }
        let Some(channels) = graph[graph[id].outputs[0]].shape.last().and_then(|dim| dim.fixed()) else {
            continue;
        };
        let Some((sum, last)) = sum_behind(graph, &consumers, id) else { continue };
        let [Some(a), Some(b)] = graph[sum].inputs[..] else { continue };
        let bias = if a == last { b } else { a };
        if !fixed.get(bias.index()).is_some_and(|fixed| *fixed) || !fits(graph, last, bias, channels) {
            continue;
        }
        let bias = as_vector(graph, bias, channels);
        let inputs = &mut graph.nodes[id.index()].inputs;
        inputs.resize(place + 1, None);
        inputs[place] = Some(bias);
        // What was before the sum now makes its result.
        let result = graph[sum].outputs[0];
        let before = graph.nodes.iter_mut().find(|node| node.outputs.first() == Some(&last));
        if let Some(before) = before {
            before.outputs[0] = result;
        }
        gone[sum.index()] = true;
    }
    let mut places = gone.into_iter();
    graph.nodes.retain(|_| !places.next().unwrap_or(false));
    // The layout of a bias may stand behind the product. A bias depends on no product: there is no cycle.
    let _sorted = graph.sort();
    graph.remove_dead();
}

/// Which tensors depend on constants and parameters alone.
fn fixed(graph: &Graph) -> Vec<bool> {
    let mut fixed: Vec<bool> = graph.tensors.iter().map(Tensor::is_fixed).collect();
    for node in &graph.nodes {
        if !node.inputs.is_empty() && node.present_inputs().all(|input| fixed[input.index()]) {
            node.outputs.iter().for_each(|output| fixed[output.index()] = true);
        }
    }
    fixed
}

/// The only reader of a product that is a sum, behind nothing but changes of shape, and what it reads.
fn sum_behind(graph: &Graph, consumers: &[Vec<NodeId>], product: NodeId) -> Option<(NodeId, TensorId)> {
    let mut last = graph[product].outputs[0];
    loop {
        let [reader] = *consumers.get(last.index())?.as_slice() else { return None };
        if graph.is_output(last) {
            return None;
        }
        match &graph[reader].op {
            Op::Binary(Binary { kind: BinaryKind::Add, activation }) if activation.is_none() => {
                return (graph[reader].inputs[0] != graph[reader].inputs[1]).then_some((reader, last));
            }
            Op::Reshape(_) | Op::Squeeze(_) | Op::ExpandDims(_)
                if graph[reader].inputs.first() == Some(&Some(last)) =>
            {
                last = graph[reader].outputs[0];
            }
            // Channels stay channels where blocks lie along other axes.
            Op::BatchToSpace(op) if op.block.len() + 1 < graph[last].shape.rank() => {
                last = graph[reader].outputs[0];
            }
            _ => return None,
        }
    }
}

/// Whether a bias is one number for each of the elements along the last axes of a tensor, which together
/// are the channels.
fn fits(graph: &Graph, x: TensorId, bias: TensorId, channels: usize) -> bool {
    let Some(sizes) = graph[bias].shape.to_fixed() else { return false };
    let ones = sizes.iter().take_while(|size| **size == 1).count();
    let sizes = if sizes.len() > graph[x].shape.rank() { return false } else { &sizes[ones..] };
    let dims = graph[x].shape.dims();
    let behind = &dims[dims.len() - sizes.len()..];
    graph[bias].shape.elements() == Some(channels)
        && behind.iter().map(|dim| dim.fixed()).eq(sizes.iter().copied().map(Some))
}

fn as_vector(graph: &mut Graph, bias: TensorId, channels: usize) -> TensorId {
    if graph[bias].shape.rank() == 1 {
        return bias;
    }
    let shape = Shape::fixed(&[channels]);
    let (name, dtype) = (format!("{}/reshape", graph[bias].name), graph[bias].dtype);
    let vector = graph.add_tensor(Tensor::activation(&name, dtype, shape));
    let op = Reshape::to(vec![ReshapeDim::Fixed(channels)]);
    let layer = graph[bias].name.clone();
    graph.add_node(&layer, op, vec![Some(bias)], vec![vector]);
    vector
}

/// Where a product with weights has its bias.
fn bias_place(op: &Op) -> Option<usize> {
    match op {
        Op::Conv2D(op) if op.activation.is_none() => Some(2),
        Op::Conv3D(op) if op.activation.is_none() => Some(2),
        Op::DepthwiseConv2D(op) if op.activation.is_none() => Some(2),
        Op::FullyConnected(op) if op.activation.is_none() => Some(2),
        Op::TransposeConv2D(op) if op.activation.is_none() => Some(3),
        Op::TransposeConv3D(op) if op.activation.is_none() => Some(3),
        _ => None,
    }
}
