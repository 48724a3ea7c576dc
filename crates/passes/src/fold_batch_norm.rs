//! Folds batch normalization into the convolution or matrix product before it.
//!
//! `m = gamma / sqrt(variance + epsilon)`, `w' = w * m`, `b' = b * m + (beta - mean * m)`, all in
//! single precision and in that order, which is TensorFlow's.

use litesmith_graph::model::Parameter;
use litesmith_graph::{Graph, Node, NodeId, Op};

use crate::constants::floats;
use crate::groups::fusion_groups;
use crate::linear::{Linear, take_over};

pub(crate) fn apply(graph: &mut Graph, parameters: &[Parameter]) -> usize {
    let mut folded = Vec::new();
    for group in fusion_groups(graph) {
        let Some(batch_norm) = group.batch_norm else { continue };
        let Some(affine) = affine(graph, parameters, &graph[batch_norm]) else { continue };
        let Some(mut linear) = Linear::take(graph, parameters, group.anchor) else { continue };
        if linear.channels() != affine.factors.len() {
            continue;
        }
        linear.scale(&affine.factors);
        linear.shift(&affine.offsets);
        linear.store(graph);
        let output = graph[batch_norm].outputs[0];
        take_over(graph, group.anchor, output);
        folded.push(batch_norm);
    }
    remove(graph, &folded);
    folded.len()
}

/// Batch normalization as `x * factor + offset` for each channel.
pub(crate) struct Affine {
    pub(crate) factors: Vec<f32>,
    pub(crate) offsets: Vec<f32>,
}

/// The factors and offsets of a batch normalization with fixed statistics.
pub(crate) fn affine(graph: &Graph, parameters: &[Parameter], node: &Node) -> Option<Affine> {
    let Op::BatchNorm(op) = &node.op else { return None };
    let values = |index: usize| floats(graph, parameters, node.inputs[index]?);
    let (mean, variance) = (values(3)?, values(4)?);
    // Left out means 1 and 0; there but not fixed means that nothing can be folded.
    let optional = |index: usize, default: f32| match node.inputs[index] {
        Some(_) => values(index).map(|values| values.into_owned()),
        None => Some(vec![default; mean.len()]),
    };
    let (gamma, beta) = (optional(1, 1.0)?, optional(2, 0.0)?);
    let factors: Vec<f32> =
        gamma.iter().zip(variance.iter()).map(|(g, v)| g * (1.0 / (v + op.epsilon).sqrt())).collect();
    let offsets = beta.iter().zip(mean.iter()).zip(&factors).map(|((b, mean), m)| b - mean * m).collect();
    Some(Affine { factors, offsets })
}

/// Drops nodes whose outputs others compute now.
pub(crate) fn remove(graph: &mut Graph, nodes: &[NodeId]) {
    let mut index = 0;
    graph.nodes.retain(|_| {
        index += 1;
        !nodes.contains(&NodeId(index - 1))
    });
}

#[cfg(test)]
mod tests {
    use crate::testing::check;

    #[test]
    fn statistics_go_into_weights_and_bias() {
        check(
            &[super::apply, crate::remove_dead::apply],
            "graph main(%x: f32[batch,2]) -> (%z) {
               %w: f32[2,2] = [1,2,3,4]
               %gamma: f32[2] = [2,1]
               %beta: f32[2] = [1,0.5]
               %mean: f32[2] = [3,-1]
               %variance: f32[2] = [4,16]
               %y: f32[batch,2] = FullyConnected(%x, %w, _) # dense
               %bn: f32[batch,2] = BatchNorm(%y, %gamma, %beta, %mean, %variance) {\"epsilon\":0.0} # bn
               %z: f32[batch,2] = Unary(%bn) # relu
             }",
            "graph main(%x: f32[batch,2]) -> (%z) {
               %w: f32[2,2] = [1,2,0.75,1]
               %dense/bias: f32[2] = [-2,0.75]
               %\"y;bn\": f32[batch,2] = FullyConnected(%x, %w, %dense/bias) # dense
               %z: f32[batch,2] = Unary(%\"y;bn\") # relu
             }",
        );
    }

    #[test]
    fn transposed_convolutions_and_those_of_volumes_take_statistics_too() {
        let norm = |y: &str, z: &str, shape: &str| {
            format!(
                "%one: f32[2] = [1,1]
                 %gamma: f32[2] = [2,3]
                 %{z}: f32{shape} = BatchNorm(%{y}, %gamma, _, _, %one) {{\"epsilon\":0.0}} # bn"
            )
        };
        let text = norm("y", "z", "[1,2,2,2]").replace("_, _", "_, %zero");
        check(
            &[super::apply, crate::remove_dead::apply],
            &format!(
                "graph main(%x: f32[1,1,1,1]) -> (%z) {{
                   %zero: f32[2] = [0,0]
                   %s: i32[4] = [1,2,2,2]
                   %w: f32[2,1,2,1] = [1,2,3,4]
                   %b: f32[2] = [5,6]
                   %y: f32[1,2,2,2] = TransposeConv2D(%s, %w, %x, %b) {{\"stride\":[2,2],\"padding\":\"same\"}} # up
                   {text}
                 }}"
            ),
            "graph main(%x: f32[1,1,1,1]) -> (%z) {
               %s: i32[4] = [1,2,2,2]
               %w: f32[2,1,2,1] = [2,4,9,12]
               %b: f32[2] = [10,18]
               %z: f32[1,2,2,2] = TransposeConv2D(%s, %w, %x, %b) {\"stride\":[2,2],\"padding\":\"same\"} # up
             }",
        );
        let text = norm("y", "z", "[1,1,1,1,2]").replace("_, _", "_, %zero");
        check(
            &[super::apply, crate::remove_dead::apply],
            &format!(
                "graph main(%x: f32[1,1,1,1,2]) -> (%z) {{
                   %zero: f32[2] = [0,0]
                   %w: f32[1,1,1,2,2] = [1,2,3,4]
                   %b: f32[2] = [5,6]
                   %y: f32[1,1,1,1,2] = Conv3D(%x, %w, %b) # volume
                   {text}
                 }}"
            ),
            "graph main(%x: f32[1,1,1,1,2]) -> (%z) {
               %w: f32[1,1,1,2,2] = [2,6,6,12]
               %b: f32[2] = [10,18]
               %z: f32[1,1,1,1,2] = Conv3D(%x, %w, %b) # volume
             }",
        );
    }

    #[test]
    fn a_second_reader_keeps_them_apart() {
        let text = "graph main(%x: f32[1,1]) -> (%y, %z) {
               %w: f32[1,1] = [2]
               %s: f32[1] = [1]
               %y: f32[1,1] = FullyConnected(%x, %w, _)
               %z: f32[1,1] = BatchNorm(%y, _, _, %s, %s)
             }";
        let printed = litesmith_graph::text::print(&litesmith_graph::text::parse(text).unwrap());
        check(&[super::apply], text, &printed);
    }
}
