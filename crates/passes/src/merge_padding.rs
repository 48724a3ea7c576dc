//! Lets a convolution pad by itself: where a `Pad` before it adds just what `same` padding would, or,
//! for targets that know explicit padding, whatever it adds.

use litesmith_graph::model::Parameter;
use litesmith_graph::ops::{Pad, PadMode, Padding, PoolKind};
use litesmith_graph::{Graph, NodeId, Op};

use crate::groups::Readers;

pub(crate) fn apply(graph: &mut Graph, _parameters: &[Parameter]) -> usize {
    let readers = Readers::new(graph);
    let mut merged = 0;
    for pad in graph.node_ids() {
        let Some(convolution) = readers.only_of(graph, pad) else { continue };
        if !adds_what_same_adds(graph, pad, convolution) {
            continue;
        }
        match &mut graph[convolution].op {
            Op::Conv2D(op) => op.padding = Padding::Same,
            Op::DepthwiseConv2D(op) => op.padding = Padding::Same,
            _ => continue,
        }
        graph[convolution].inputs[0] = graph[pad].inputs[0];
        merged += 1;
    }
    merged
}

/// Makes every `Pad` of height and width explicit padding of the convolution, or of the largest value under
/// a window, that alone reads it. What comes out keeps every bit.
pub(crate) fn absorb(graph: &mut Graph, _parameters: &[Parameter]) -> usize {
    let readers = Readers::new(graph);
    let mut absorbed = 0;
    for pad in graph.node_ids() {
        let (Op::Pad(op), [Some(image)]) = (&graph[pad].op, graph[pad].inputs.as_slice()) else { continue };
        let (op, image, padded) = (op.clone(), *image, graph[pad].outputs[0]);
        let Some(reader) = readers.only_of(graph, pad) else { continue };
        let same_numbers = graph[image].quantization == graph[padded].quantization;
        if !same_numbers || graph[reader].inputs[0] != Some(padded) {
            continue;
        }
        let explicit = explicit(&op);
        let padding = match &mut graph[reader].op {
            Op::Conv2D(reader) if is_zero(op.mode) => &mut reader.padding,
            Op::DepthwiseConv2D(reader) if is_zero(op.mode) => &mut reader.padding,
            // No window may lie in the padding alone.
            Op::Pool2D(reader) if reader.kind == PoolKind::Max && op.mode == PadMode::Value(f32::MIN) => {
                let within =
                    |axis: usize| op.amounts[axis + 1].iter().all(|count| *count < reader.kernel[axis]);
                if explicit.is_none() || !(0..2).all(within) {
                    continue;
                }
                &mut reader.padding
            }
            _ => continue,
        };
        if let (Padding::Valid, Some(explicit)) = (*padding, explicit) {
            *padding = explicit;
            graph[reader].inputs[0] = Some(image);
            absorbed += 1;
        }
    }
    absorbed
}

fn is_zero(mode: PadMode) -> bool {
    mode == PadMode::Zero || mode == PadMode::Value(0.0)
}

/// What is added to height and width, if nothing else grows.
fn explicit(pad: &Pad) -> Option<Padding> {
    let [[0, 0], height, width, [0, 0]] = pad.amounts[..] else { return None };
    Some(Padding::Explicit { before: [height[0], width[0]], after: [height[1], width[1]] })
}

impl Readers {
    /// The node that alone reads the only output of `node`.
    fn only_of(&self, graph: &Graph, node: NodeId) -> Option<NodeId> {
        match graph[node].outputs.as_slice() {
            [output] => self.only(*output),
            _ => None,
        }
    }
}

fn adds_what_same_adds(graph: &Graph, pad: NodeId, convolution: NodeId) -> bool {
    let Op::Pad(op) = &graph[pad].op else { return false };
    let (stride, dilation, padding) = match &graph[convolution].op {
        Op::Conv2D(op) => (op.stride, op.dilation, op.padding),
        Op::DepthwiseConv2D(op) => (op.stride, op.dilation, op.padding),
        _ => return false,
    };
    let [batch, height, width, channels] = op.amounts.as_slice() else { return false };
    if op.mode != PadMode::Zero || padding != Padding::Valid || *batch != [0, 0] || *channels != [0, 0] {
        return false;
    }
    let (Some(input), Some(weights)) = (graph[pad].inputs[0], graph[convolution].inputs[1]) else {
        return false;
    };
    if graph[convolution].inputs[0] != graph[pad].outputs.first().copied() {
        return false;
    }
    let [Some(kernel_height), Some(kernel_width)] = [1, 2].map(|i| graph[weights].shape.dims()[i].fixed())
    else {
        return false;
    };
    let reach = [(kernel_height - 1) * dilation[0] + 1, (kernel_width - 1) * dilation[1] + 1];
    (0..2).all(|axis| {
        let amounts = [height, width][axis];
        match graph[input].shape.dims()[axis + 1].fixed() {
            Some(size) => {
                let (before, after) = Padding::Same.amounts([size; 2], [reach[axis]; 2], [stride[axis]; 2]);
                *amounts == [before[0], after[0]]
            }
            // Without steps the amounts do not depend on the size.
            None => stride[axis] == 1 && *amounts == [(reach[axis] - 1) / 2, reach[axis] / 2],
        }
    })
}

#[cfg(test)]
mod tests {
    use crate::testing::check;

    /// A 3x3 convolution with stride 2 over 8x8 pixels, padded before or by itself.
    fn model(statements: &str) -> String {
        let weights = vec!["1"; 27].join(",");
        format!("graph main(%x: f32[1,8,8,3]) -> (%y) {{\n{}\n}}", statements.replace("WEIGHTS", &weights))
    }

    #[test]
    fn the_padding_that_same_gives_is_merged() {
        check(
            &[super::apply, crate::remove_dead::apply],
            &model(
                r#"%p: f32[1,9,9,3] = Pad(%x) {"amounts":[[0,0],[0,1],[0,1],[0,0]]} # pad
                   %w: f32[1,3,3,3] = [WEIGHTS]
                   %y: f32[1,4,4,1] = Conv2D(%p, %w, _) {"stride":[2,2]} # conv"#,
            ),
            &model(
                r#"%w: f32[1,3,3,3] = [WEIGHTS]
                   %y: f32[1,4,4,1] = Conv2D(%x, %w, _) {"stride":[2,2],"padding":"same"} # conv"#,
            ),
        );
    }

    #[test]
    fn another_padding_stays() {
        let text = model(
            r#"%p: f32[1,10,10,3] = Pad(%x) {"amounts":[[0,0],[1,1],[1,1],[0,0]]} # pad
               %w: f32[1,3,3,3] = [WEIGHTS]
               %y: f32[1,4,4,1] = Conv2D(%p, %w, _) {"stride":[2,2]} # conv"#,
        );
        check(&[super::apply, crate::remove_dead::apply], &text, &text);
    }

    #[test]
    fn any_padding_can_be_absorbed() {
        let text = |conv: &str, pool: &str| {
            format!(
                r#"graph main(%x: f32[1,4,4,1]) -> (%p) {{
                   %w: f32[1,1,1,1] = [2]
                   {conv}
                   {pool}
                 }}"#
            )
        };
        let lowest = f32::MIN;
        check(
            &[super::absorb, crate::remove_dead::apply],
            &text(
                r#"%a: f32[1,7,5,1] = Pad(%x) {"amounts":[[0,0],[1,2],[0,1],[0,0]]}
                   %y: f32[1,7,5,1] = Conv2D(%a, %w)"#,
                &format!(
                    r#"%b: f32[1,8,5,1] = Pad(%y) {{"amounts":[[0,0],[1,0],[0,0],[0,0]],"mode":{{"value":{lowest}}}}}
                   %p: f32[1,7,4,1] = Pool2D(%b) {{"kernel":[2,2]}}"#
                ),
            ),
            &text(
                r#"%y: f32[1,7,5,1] = Conv2D(%x, %w) {"padding":{"explicit":{"before":[1,0],"after":[2,1]}}}"#,
                r#"%p: f32[1,7,4,1] = Pool2D(%y) {"kernel":[2,2],"padding":{"explicit":{"before":[1,0],"after":[0,0]}}}"#,
            ),
        );
        // A window of one element lies in the padding alone, where nothing would be the largest.
        let alone = text(
            r#"%a: f32[1,5,4,1] = Pad(%x) {"amounts":[[0,0],[1,0],[0,0],[0,0]],"mode":{"value":3.0}}
               %y: f32[1,5,4,1] = Conv2D(%a, %w)"#,
            &format!(
                r#"%b: f32[1,6,4,1] = Pad(%y) {{"amounts":[[0,0],[1,0],[0,0],[0,0]],"mode":{{"value":{lowest}}}}}
               %p: f32[1,6,4,1] = Pool2D(%b)"#
            ),
        );
        let printed = litesmith_graph::text::print(&litesmith_graph::text::parse(&alone).unwrap());
        check(&[super::absorb], &alone, &printed);
    }
}
