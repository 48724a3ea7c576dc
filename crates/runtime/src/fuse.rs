//! Nodes that one kernel can do together, in the graph that `run` runs.

use litesmith_graph::ops::{BinaryKind, PadMode, Padding, PoolKind, Unary, UnaryKind};
use litesmith_graph::{DType, Facts, Graph, Model, NodeId, Op, TensorId};

use crate::dead_pixels::skip_dead_pixels;
use crate::updates::fuse_updates;

/// Rewrites all graphs, given what is known of the tensors of the main one; results keep every bit, but for
/// floats of convolutions that another kernel computes once they have another stride, and, on Arm, for the
/// sign of a zero that meets a bound of zero. Tensor ids stay.
pub(crate) fn fuse(model: &mut Model, facts: &[Facts]) {
    for graph in &mut model.graphs {
        fuse_padding(graph);
        fuse_silu(graph);
        fuse_clamps(graph);
        fuse_updates(graph);
    }
    skip_dead_pixels(model.main_mut(), facts);
}

/// Moves zero padding of height and width that only a convolution or a pooling reads into that node,
/// whose kernel pads as it goes.
fn fuse_padding(graph: &mut Graph) {
    let (producers, consumers) = (graph.producers(), graph.consumers());
    let mut rewrites = Vec::new();
    for id in graph.node_ids() {
        let Some(Some(image)) = graph[id].inputs.first() else { continue };
        let only_here = consumers[image.index()] == [id] && !graph.is_output(*image);
        let reads_once = graph[id].present_inputs().filter(|input| input == image).count() == 1;
        let Some(pad) = producers[image.index()].filter(|_| only_here && reads_once) else { continue };
        let Some((source, padding)) = padding_of(graph, pad) else { continue };
        let suits = match &graph[id].op {
            Op::Conv2D(_) | Op::DepthwiseConv2D(_) => true,
            // A pooling leaves padding out: zeros are nothing to it where nothing is below zero, as
            // long as each window sees something else.
            Op::Pool2D(op) => {
                let above = producers[source.index()].is_some_and(|source| is_above_zero(&graph[source].op));
                op.kind == PoolKind::Max && above && lies_within(padding, op.kernel)
            }
            _ => false,
        };
        if suits {
            rewrites.push((id, source, padding));
        }
    }
    for (id, source, padding) in rewrites {
        let node = &mut graph[id];
        let own = match &mut node.op {
            Op::Conv2D(op) => &mut op.padding,
            Op::DepthwiseConv2D(op) => &mut op.padding,
            Op::Pool2D(op) => &mut op.padding,
            _ => continue,
        };
        if *own == Padding::Valid {
            *own = padding;
            node.inputs[0] = Some(source);
        }
    }
}

/// Whether an operator gives nothing below zero.
fn is_above_zero(op: &Op) -> bool {
    let activation = match op {
        Op::Conv2D(op) => op.activation,
        Op::DepthwiseConv2D(op) => op.activation,
        Op::Binary(op) => op.activation,
        Op::Unary(op) => return matches!(op.kind, UnaryKind::Relu | UnaryKind::Relu6),
        _ => return false,
    };
    activation.bounds().0 >= 0.0
}

/// Whether padding is too narrow for a window to see nothing else.
fn lies_within(padding: Padding, kernel: [usize; 2]) -> bool {
    match padding {
        Padding::Explicit { before, after } => {
            (0..2).all(|axis| before[axis] < kernel[axis] && after[axis] < kernel[axis])
        }
        Padding::Same | Padding::Valid => true,
    }
}

/// What a node pads, and by how much, if it puts zeros around the height and width of an image.
fn padding_of(graph: &Graph, id: NodeId) -> Option<(TensorId, Padding)> {
    let node = &graph[id];
    let Op::Pad(pad) = &node.op else { return None };
    let ([Some(source)], [output]) = (node.inputs.as_slice(), node.outputs.as_slice()) else { return None };
    let zero = matches!(pad.mode, PadMode::Zero) || pad.mode == PadMode::Value(0.0);
    let [[0, 0], height, width, [0, 0]] = pad.amounts[..] else { return None };
    let same = graph[*source].quantization == graph[*output].quantization;
    let padding = Padding::Explicit { before: [height[0], width[0]], after: [height[1], width[1]] };
    (zero && same).then_some((*source, padding))
}

/// Makes a clamp of real numbers part of the operator that alone makes them, if it has bounds and none yet.
fn fuse_clamps(graph: &mut Graph) {
    let (producers, consumers) = (graph.producers(), graph.consumers());
    let mut fused = Vec::new();
    for id in graph.node_ids() {
        let Op::Unary(unary) = &graph[id].op else { continue };
        let (Some(activation), Some(Some(input))) = (unary.kind.activation(), graph[id].inputs.first())
        else {
            continue;
        };
        let (input, output) = (*input, graph[id].outputs[0]);
        let real = [input, output].iter().all(|id| graph[*id].dtype == DType::F32);
        let only_here = consumers[input.index()] == [id] && !graph.is_output(input);
        let Some(producer) = producers[input.index()].filter(|_| real && only_here) else { continue };
        match graph[producer].op.activation_mut() {
            Some(own) if own.is_none() => *own = activation,
            _ => continue,
        }
        graph[producer].outputs = vec![output];
        fused.push(id);
    }
    if !fused.is_empty() {
        // They were found in order.
        let kept = graph.node_ids().filter(|id| fused.binary_search(id).is_err());
        graph.nodes = kept.map(|id| graph[id].clone()).collect();
    }
}

/// Makes `x * logistic(x)` on real numbers one operator.
fn fuse_silu(graph: &mut Graph) {
    let producers = graph.producers();
    let logistic_of = |id: TensorId| {
        let node = &graph[producers[id.index()]?];
        let logistic = Op::from(Unary::from(UnaryKind::Logistic));
        if node.op == logistic && graph[id].quantization.is_none() { node.inputs[0] } else { None }
    };
    let mut rewrites = Vec::new();
    for id in graph.node_ids() {
        let (Op::Binary(op), [Some(a), Some(b)]) = (&graph[id].op, &graph[id].inputs[..]) else { continue };
        if op.kind != BinaryKind::Mul || !op.activation.is_none() {
            continue;
        }
        if logistic_of(*b) == Some(*a) {
            rewrites.push((id, *a));
        } else if logistic_of(*a) == Some(*b) {
            rewrites.push((id, *b));
        }
    }
    for (id, input) in rewrites {
        let node = &mut graph[id];
        node.op = Unary::from(UnaryKind::Silu).into();
        node.inputs = vec![Some(input)];
    }
}
