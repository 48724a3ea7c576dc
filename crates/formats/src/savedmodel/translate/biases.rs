//! Sums that are the bias of the product before them.

use litesmith_graph::ops::{Binary, BinaryKind};
use litesmith_graph::{Graph, Op};

/// Puts a vector that is added to a convolution or matrix product without bias, and to nothing else,
/// into its place among the product's inputs. `fixed` says which tensors depend on constants and
/// variables alone.
pub(super) fn join(graph: &mut Graph, fixed: &[bool]) {
    let consumers = graph.consumers();
    let mut gone = vec![false; graph.nodes.len()];
    for id in graph.node_ids() {
        let Some(place) = bias_place(&graph[id].op) else { continue };
        let output = graph[id].outputs[0];
        if graph[id].inputs.get(place).is_some_and(Option::is_some) || graph.is_output(output) {
            continue;
        }
        let [reader] = consumers[output.index()][..] else { continue };
        let Op::Binary(Binary { kind: BinaryKind::Add, .. }) = graph[reader].op else { continue };
        let [Some(a), Some(b)] = graph[reader].inputs[..] else { continue };
        let bias = if a == output { b } else { a };
        let channels = graph[output].shape.last().and_then(|dim| dim.fixed());
        let vector = graph[bias].shape.rank() == 1 && graph[bias].shape.elements() == channels;
        if !vector || channels.is_none() || !fixed[bias.index()] {
            continue;
        }
        let sum = graph[reader].outputs[0];
        let node = &mut graph.nodes[id.index()];
        node.inputs.resize(place + 1, None);
        node.inputs[place] = Some(bias);
        node.outputs[0] = sum;
        gone[reader.index()] = true;
    }
    let mut places = gone.into_iter();
    graph.nodes.retain(|_| !places.next().unwrap_or(false));
    // The layout of a bias may stand behind the product. A bias depends on no product: there is no cycle.
    let _sorted = graph.sort();
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
