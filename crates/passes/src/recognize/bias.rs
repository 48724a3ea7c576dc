//! The bias of a convolution or matrix product, added by an operator of its own. It stays the source's
//! parameter, so that training finds it.

use litesmith_graph::model::Parameter;
use litesmith_graph::ops::BinaryKind;
use litesmith_graph::{Graph, NodeId, Op, TensorId};

use super::view::View;
use super::{Operand, Replacement, rewrite};
use crate::groups::is_linear;
use crate::linear::activation_mut;

pub(crate) fn apply(graph: &mut Graph, parameters: &[Parameter]) -> usize {
    rewrite(graph, parameters, bias)
}

fn bias(view: &View<'_>, root: NodeId) -> Option<Replacement> {
    let [a, b] = view.operands(&view.graph[root], BinaryKind::Add)?;
    let (x, bias) = if view.is_fixed(b) { (a, b) } else { (b, a) };
    let (result, squeeze) = squeezed(view, x);
    let linear = view.node(result).filter(|node| is_linear(&node.op))?;
    let rule = linear.op.quantization().weights?;
    let bare = activation_mut(&mut linear.op.clone()).is_some_and(|activation| activation.is_none());
    if !bare || linear.inputs.get(rule.bias).copied().flatten().is_some() {
        return None;
    }
    let channels = view.channels(result)?;
    let bias = view.vector(bias, &[channels], view.dims(x).len())?;
    let mut inputs: Vec<Operand> =
        linear.inputs.iter().map(|id| id.map_or(Operand::Absent, Operand::Tensor)).collect();
    inputs.resize(rule.bias, Operand::Absent);
    inputs.truncate(rule.bias);
    inputs.push(bias);
    let mut replacement = Replacement::new();
    let result = replacement.push("product", linear.op.clone(), inputs);
    if let Some(squeeze) = squeeze {
        replacement.push("", squeeze.clone(), vec![result]);
    }
    replacement.name = Some(linear.name.clone());
    Some(replacement)
}

/// What a convolution over time gives before the axis of height is dropped, and the operator that
/// drops it.
fn squeezed<'a>(view: &View<'a>, id: TensorId) -> (TensorId, Option<&'a Op>) {
    let Some(node) = view.node(id) else { return (id, None) };
    let (Op::Squeeze(op), Some(Some(input))) = (&node.op, node.inputs.first()) else { return (id, None) };
    let last = view.dims(*input).len() as i32 - 1;
    let last_stays = !op.axes.is_empty() && op.axes.iter().all(|axis| *axis != -1 && *axis != last);
    if last_stays { (*input, Some(&node.op)) } else { (id, None) }
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
