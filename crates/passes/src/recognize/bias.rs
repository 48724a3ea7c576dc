//! The bias of a convolution or matrix product, added by an operator of its own, right behind or behind
//! changes of shape. It stays the source's parameter, so that training finds it.

use litesmith_graph::model::Parameter;
use litesmith_graph::ops::BinaryKind;
use litesmith_graph::{Dim, Graph, Node, NodeId, Op, TensorId};

use super::view::View;
use super::{Operand, Replacement, rewrite};
use crate::groups::is_linear;

/// What results are called between changes of shape; no more changes are looked through.
const MOVED: [&str; 4] = ["moved", "moved_1", "moved_2", "moved_3"];

pub(crate) fn apply(graph: &mut Graph, parameters: &[Parameter]) -> usize {
    rewrite(graph, parameters, bias)
}

fn bias(view: &View<'_>, root: NodeId) -> Option<Replacement> {
    let [a, b] = view.operands(&view.graph[root], BinaryKind::Add)?;
    let (x, bias) = if view.is_fixed(b) { (a, b) } else { (b, a) };
    let (linear, moves) = product_before(view, x)?;
    let rule = linear.op.quantization().weights?;
    let bare = linear.op.clone().activation_mut().is_some_and(|activation| activation.is_none());
    if !bare || linear.inputs.get(rule.bias).copied().flatten().is_some() {
        return None;
    }
    let sizes = channels_of(view.dims(x), view.channels(*linear.outputs.first()?)?)?;
    let bias = view.vector(bias, &sizes, view.dims(x).len())?;
    let mut inputs = operands(linear);
    inputs.resize(rule.bias, Operand::Absent);
    inputs.truncate(rule.bias);
    inputs.push(bias);
    let mut replacement = Replacement::new();
    let mut result = replacement.push("product", linear.op.clone(), inputs);
    for (node, suffix) in moves.iter().rev().zip(MOVED) {
        let mut inputs = operands(node);
        *inputs.first_mut()? = result;
        result = replacement.push(suffix, node.op.clone(), inputs);
    }
    replacement.name = Some(linear.name.clone());
    Some(replacement)
}

fn operands(node: &Node) -> Vec<Operand> {
    node.inputs.iter().map(|id| id.map_or(Operand::Absent, Operand::Tensor)).collect()
}

/// The product that a tensor comes from, and what changed its shape since, the last change first. None
/// of these takes elements apart that have the same place among the channels.
fn product_before<'a>(view: &View<'a>, x: TensorId) -> Option<(&'a Node, Vec<&'a Node>)> {
    let mut moves = Vec::new();
    let mut node = view.node(x)?;
    while !is_linear(&node.op) {
        let changes_shape =
            matches!(&node.op, Op::Reshape(_) | Op::Squeeze(_) | Op::ExpandDims(_) | Op::BatchToSpace(_));
        if !changes_shape || moves.len() == MOVED.len() {
            return None;
        }
        moves.push(node);
        node = view.node((*node.inputs.first()?)?)?;
    }
    // Blocks lie along other axes than the last: the channels must be there, whole.
    let channels = view.channels(*node.outputs.first()?)?;
    let whole = |node: &Node| node.inputs.first().copied().flatten().and_then(|id| view.channels(id));
    let fits = |node: &&Node| !matches!(node.op, Op::BatchToSpace(_)) || whole(node) == Some(channels);
    moves.iter().all(fits).then_some((node, moves))
}

/// Sizes of the last axes that together are the channels: of one axis, or of those that it was split into.
fn channels_of(dims: &[Dim], channels: usize) -> Option<Vec<usize>> {
    let mut count = 1usize;
    for (start, dim) in dims.iter().enumerate().rev() {
        count = count.checked_mul(dim.fixed()?)?;
        if count == channels {
            return dims[start..].iter().map(Dim::fixed).collect();
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use crate::testing::{check, stays};

    #[test]
    fn a_parameter_becomes_the_bias_whatever_its_shape() {
        check(
            &[super::apply],
            r#"parameter @conv/bias: f32[2] trainable = [5,6]
               graph main(%x: f32[batch,1,1,1]) -> (%z) {
                 %w: f32[2,1,1,1] = [1,2]
                 %r: f32[1,1,1,2] = Reshape(@conv/bias) {"shape":[1,1,1,2]} # conv
                 %s: f32[2] = Squeeze(%r) # conv
                 %y: f32[batch,1,1,2] = Conv2D(%x, %w) # conv
                 %z: f32[batch,1,1,2] = Binary(%y, %s) {"activation":"relu"} # conv
               }"#,
            r#"parameter @conv/bias: f32[2] trainable = [5,6]
               graph main(%x: f32[batch,1,1,1]) -> (%z) {
                 %w: f32[2,1,1,1] = [1,2]
                 %z: f32[batch,1,1,2] = Conv2D(%x, %w, @conv/bias) {"activation":"relu"} # conv
               }"#,
        );
        check(
            &[super::apply],
            "graph main(%x: f32[batch,1,1,1]) -> (%z) {
               %w: f32[2,1,1,1] = [1,2]
               %b: f32[1,1,2] = [5,6]
               %y: f32[batch,1,1,2] = Conv2D(%x, %w, _) # conv
               %z: f32[batch,1,1,2] = Binary(%b, %y) # bias
             }",
            "graph main(%x: f32[batch,1,1,1]) -> (%z) {
               %w: f32[2,1,1,1] = [1,2]
               %z/b: f32[2] = [5,6]
               %z: f32[batch,1,1,2] = Conv2D(%x, %w, %z/b) # conv
             }",
        );
    }

    #[test]
    fn behind_the_dropped_height_of_a_convolution_over_time() {
        check(
            &[super::apply],
            r#"graph main(%x: f32[batch,1,4,1]) -> (%z) {
                 %w: f32[2,1,1,1] = [1,2]
                 %b: f32[2] = [5,6]
                 %y: f32[batch,1,4,2] = Conv2D(%x, %w) # conv
                 %s: f32[batch,4,2] = Squeeze(%y) {"axes":[-3]} # conv
                 %z: f32[batch,4,2] = Binary(%s, %b) # conv
               }"#,
            r#"graph main(%x: f32[batch,1,4,1]) -> (%z) {
                 %w: f32[2,1,1,1] = [1,2]
                 %b: f32[2] = [5,6]
                 %z/product: f32[batch,1,4,2] = Conv2D(%x, %w, %b) # conv
                 %z: f32[batch,4,2] = Squeeze(%z/product) {"axes":[-3]} # conv
               }"#,
        );
    }

    #[test]
    fn behind_a_split_of_the_channels() {
        let spelled = |bias: &str| {
            format!(
                r#"graph main(%x: f32[batch,7,4]) -> (%z) {{
                     %w: f32[6,4] = [1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24]
                     %b: f32{bias}
                     %y: f32[batch,7,6] = FullyConnected(%x, %w) {{"keep_num_dims":true}} # dense
                     %r: f32[batch,7,2,3] = Reshape(%y) {{"shape":[{{"copy":0}},{{"copy":1}},2,3]}} # dense
                     %z: f32[batch,7,2,3] = Binary(%r, %b) # add
                   }}"#
            )
        };
        check(
            &[super::apply],
            &spelled("[2,3] = [1,2,3,4,5,6]"),
            r#"graph main(%x: f32[batch,7,4]) -> (%z) {
                 %w: f32[6,4] = [1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24]
                 %z/b: f32[6] = [1,2,3,4,5,6]
                 %z/product: f32[batch,7,6] = FullyConnected(%x, %w, %z/b) {"keep_num_dims":true} # dense
                 %z: f32[batch,7,2,3] = Reshape(%z/product) {"shape":[{"copy":0},{"copy":1},2,3]} # dense
               }"#,
        );
        // One for each part of the channels alone.
        stays(super::apply, &spelled("[3] = [1,2,3]"));
    }

    #[test]
    fn behind_blocks_that_were_batches() {
        check(
            &[super::apply],
            r#"graph main(%x: f32[8,1,2,1]) -> (%z) {
                 %w: f32[2,1,1,1] = [1,2]
                 %b: f32[2] = [5,6]
                 %y: f32[8,1,2,2] = Conv2D(%x, %w) # conv
                 %s: f32[4,1,4,2] = BatchToSpace(%y) {"block":[1,2],"crops":[[0,0],[0,0]]} # conv
                 %q: f32[4,4,2] = Squeeze(%s) {"axes":[1]} # conv
                 %z: f32[4,4,2] = Binary(%q, %b) # conv
               }"#,
            r#"graph main(%x: f32[8,1,2,1]) -> (%z) {
                 %w: f32[2,1,1,1] = [1,2]
                 %b: f32[2] = [5,6]
                 %z/product: f32[8,1,2,2] = Conv2D(%x, %w, %b) # conv
                 %z/moved: f32[4,1,4,2] = BatchToSpace(%z/product) {"block":[1,2],"crops":[[0,0],[0,0]]} # conv
                 %z: f32[4,4,2] = Squeeze(%z/moved) {"axes":[1]} # conv
               }"#,
        );
    }

    #[test]
    fn a_second_bias_and_one_for_each_place_stay() {
        for text in [
            "graph main(%x: f32[2,1]) -> (%z) {
               %w: f32[2,1] = [1,2]
               %b: f32[2,2] = [1,2,3,4]
               %y: f32[2,2] = FullyConnected(%x, %w)
               %z: f32[2,2] = Binary(%y, %b)
             }",
            "graph main(%x: f32[2,1]) -> (%z) {
               %w: f32[2,1] = [1,2]
               %b: f32[2] = [1,2]
               %y: f32[2,2] = FullyConnected(%x, %w, %b)
               %z: f32[2,2] = Binary(%y, %b)
             }",
        ] {
            stays(super::apply, text);
        }
    }
}
