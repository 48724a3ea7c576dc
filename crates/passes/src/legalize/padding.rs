//! Explicit padding, which TFLite's convolutions lack.

use litesmith_graph::ops::{Pad, PadMode, Padding, PoolKind};
use litesmith_graph::{Graph, NodeId, Op};

use super::{Builder, Target};

/// A `Pad` before a convolution without padding; `same` where that adds as much.
pub(super) fn convolution(graph: &mut Graph, id: NodeId) {
    let (Op::Conv2D(litesmith_graph::ops::Conv2D { padding, .. })
    | Op::DepthwiseConv2D(litesmith_graph::ops::DepthwiseConv2D { padding, .. })) = &mut graph[id].op
    else {
        return;
    };
    let Padding::Explicit { before, after } = *padding else { return };
    *padding = Padding::Valid;
    if before != [0, 0] || after != [0, 0] {
        insert_pad(graph, id, before, after, PadMode::Zero);
    }
}

/// A `Pad` with the lowest number before a maximum; a mean cannot be written so, only as it is.
pub(super) fn pool(graph: &mut Graph, id: NodeId, target: Target) -> Result<(), String> {
    let Op::Pool2D(pool) = &mut graph[id].op else { return Ok(()) };
    let Padding::Explicit { before, after } = pool.padding else { return Ok(()) };
    if pool.kind == PoolKind::Average {
        return match target {
            Target::Onnx => Ok(()),
            Target::Tflite => Err("a mean that leaves out explicit padding cannot be written: use padding \
                                   'same' or 'valid'"
                .into()),
        };
    }
    pool.padding = Padding::Valid;
    insert_pad(graph, id, before, after, PadMode::Value(f32::MIN));
    Ok(())
}

fn insert_pad(graph: &mut Graph, id: NodeId, before: [usize; 2], after: [usize; 2], mode: PadMode) {
    let mut build = Builder::new(graph, id);
    let Some(x) = build.input(0) else { return };
    let amounts = vec![[0, 0], [before[0], after[0]], [before[1], after[1]], [0, 0]];
    let padded = build.push("pad", Pad { amounts, mode }, &[x]);
    graph[id].inputs[0] = Some(padded);
}
