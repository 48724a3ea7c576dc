//! Makes one dilated convolution of the three operators that TensorFlow writes for it: blocks of space
//! moved into the batch, a convolution, and blocks moved back.

use litesmith_graph::model::Parameter;
use litesmith_graph::ops::Padding;
use litesmith_graph::{Graph, NodeId, Op, TensorId};

use crate::fold_batch_norm::remove;
use crate::groups::Readers;
use crate::linear::take_over;

pub(crate) fn apply(graph: &mut Graph, _parameters: &[Parameter]) -> usize {
    let readers = Readers::new(graph);
    let mut gone = Vec::new();
    for first in graph.node_ids() {
        let Some(merged) = Merged::at(graph, &readers, first) else { continue };
        match &mut graph[merged.convolution].op {
            Op::Conv2D(op) => (op.dilation, op.padding) = (merged.dilation, merged.padding),
            Op::DepthwiseConv2D(op) => (op.dilation, op.padding) = (merged.dilation, merged.padding),
            _ => continue,
        }
        graph[merged.convolution].inputs[0] = Some(merged.image);
        let output = graph[merged.last].outputs[0];
        take_over(graph, merged.convolution, output);
        gone.extend([first, merged.last]);
    }
    remove(graph, &gone);
    gone.len() / 2
}

/// What three nodes become.
struct Merged {
    image: TensorId,
    convolution: NodeId,
    last: NodeId,
    dilation: [usize; 2],
    padding: Padding,
}

impl Merged {
    /// The three nodes that begin with this one, if they are a dilated convolution.
    fn at(graph: &Graph, readers: &Readers, first: NodeId) -> Option<Merged> {
        let Op::SpaceToBatch(cut) = &graph[first].op else { return None };
        let convolution = readers.only(graph[first].outputs[0])?;
        let (stride, own, padding) = match &graph[convolution].op {
            Op::Conv2D(op) => (op.stride, op.dilation, op.padding),
            Op::DepthwiseConv2D(op) => (op.stride, op.dilation, op.padding),
            _ => return None,
        };
        let last = readers.only(graph[convolution].outputs[0])?;
        let Op::BatchToSpace(join) = &graph[last].op else { return None };
        let plain = stride == [1; 2] && own == [1; 2] && padding == Padding::Valid;
        let (&[height, width], &[rows, columns]) = (cut.block.as_slice(), cut.padding.as_slice()) else {
            return None;
        };
        if !plain || join.block != cut.block {
            return None;
        }
        let image = graph[first].inputs[0]?;
        let passes_on = |from: TensorId, to: TensorId| graph[from].quantization == graph[to].quantization;
        if !passes_on(image, graph[first].outputs[0])
            || !passes_on(graph[convolution].outputs[0], graph[last].outputs[0])
            || graph[convolution].inputs[0] != Some(graph[first].outputs[0])
        {
            return None;
        }
        // What is padded and cropped again does not count.
        let mut amounts = [[0; 2]; 2];
        for (axis, padded) in [rows, columns].into_iter().enumerate() {
            for side in 0..2 {
                amounts[axis][side] = padded[side].checked_sub(join.crops[axis][side])?;
            }
        }
        let dilation = [height, width];
        let padding = padding_of(graph, convolution, image, dilation, amounts);
        Some(Merged { image, convolution, last, dilation, padding })
    }
}

/// Zeros around an image, by the name that they have if they are the usual ones.
fn padding_of(
    graph: &Graph,
    convolution: NodeId,
    image: TensorId,
    dilation: [usize; 2],
    amounts: [[usize; 2]; 2],
) -> Padding {
    let weights = graph[convolution].inputs.get(1).copied().flatten();
    let usual = weights.is_some_and(|weights| {
        (0..2).all(|axis| match graph[weights].shape.dims().get(axis + 1).and_then(|dim| dim.fixed()) {
            // Without steps the amounts do not depend on the size of the image.
            Some(kernel) => {
                let beyond = kernel.saturating_sub(1) * dilation[axis];
                amounts[axis] == [beyond / 2, beyond - beyond / 2]
            }
            None => false,
        })
    });
    let [rows, columns] = amounts;
    match amounts {
        _ if usual && graph[image].shape.rank() == 4 => Padding::Same,
        [[0, 0], [0, 0]] => Padding::Valid,
        _ => Padding::Explicit { before: [rows[0], columns[0]], after: [rows[1], columns[1]] },
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::check;

    fn blocks(padding: &str, crops: &str, sizes: [&str; 3]) -> String {
        let [cut, inner, whole] = sizes;
        format!(
            r#"graph main(%x: f32[1,6,7,1]) -> (%z) {{
               %w: f32[1,3,3,1] = [1,2,3,4,5,6,7,8,9]
               %b: f32[4,{cut},1] = SpaceToBatch(%x) {{"block":[2,2],"padding":{padding}}} # cut
               %y: f32[4,{inner},1] = Conv2D(%b, %w) # conv
               %z: f32[1,{whole},1] = BatchToSpace(%y) {{"block":[2,2],"crops":{crops}}} # join
             }}"#
        )
    }

    #[test]
    fn blocks_around_a_convolution_are_its_dilation() {
        let merged = |padding: &str, whole: &str| {
            format!(
                r#"graph main(%x: f32[1,6,7,1]) -> (%z) {{
                   %w: f32[1,3,3,1] = [1,2,3,4,5,6,7,8,9]
                   %z: f32[1,{whole},1] = Conv2D(%x, %w) {{"dilation":[2,2]{padding}}} # conv
                 }}"#
            )
        };
        let passes = [super::apply, crate::remove_dead::apply];
        let same = blocks("[[2,2],[2,3]]", "[[0,0],[0,1]]", ["5,6", "3,4", "6,7"]);
        check(&passes, &same, &merged(r#","padding":"same""#, "6,7"));
        let valid = blocks("[[0,0],[0,1]]", "[[0,0],[0,1]]", ["3,4", "1,2", "2,3"]);
        check(&passes, &valid, &merged("", "2,3"));
        let other = blocks("[[4,0],[0,1]]", "[[1,0],[0,0]]", ["5,4", "3,2", "5,4"]);
        let padding = r#","padding":{"explicit":{"before":[3,0],"after":[0,1]}}"#;
        check(&passes, &other, &merged(padding, "5,4"));
    }

    #[test]
    fn what_is_cropped_beyond_its_padding_stays() {
        let text = blocks("[[0,0],[0,1]]", "[[1,0],[0,1]]", ["3,4", "1,2", "1,3"]);
        let printed = litesmith_graph::text::print(&litesmith_graph::text::parse(&text).unwrap());
        check(&[super::apply], &text, &printed);
    }
}
