//! Folds sums and products with constants into the convolution or matrix product beside them.
//!
//! Behind it, everything per channel goes into weights and bias. Before it, a factor goes into the
//! weights whatever the padding, since zero stays zero; an offset only where no padding is read.

use litesmith_graph::model::Parameter;
use litesmith_graph::ops::{Activation, Binary, BinaryKind, PadMode};
use litesmith_graph::{Graph, NodeId, Op, TensorId};

use crate::constants::per_channel;
use crate::fold_batch_norm::remove;
use crate::groups::{Readers, is_linear};
use crate::linear::{Linear, operand, sees_inputs_alone, take_over};

pub(crate) fn apply(graph: &mut Graph, parameters: &[Parameter]) -> usize {
    let mut count = 0;
    // Each rewrite may open the next: chains are short, so start over until nothing is left.
    while fold_behind(graph, parameters) || fold_before(graph, parameters) {
        count += 1;
    }
    count
}

/// A sum or product of an activation and a constant.
struct Affine {
    kind: BinaryKind,
    activation: Activation,
    x: TensorId,
    constant: TensorId,
}

/// Reads a node as one; the shape of its result must be that of the activation.
fn affine(graph: &Graph, node: NodeId) -> Option<Affine> {
    let Op::Binary(Binary { kind, activation }) = graph[node].op else { return None };
    let [Some(a), Some(b)] = graph[node].inputs[..] else { return None };
    let commutes = match kind {
        BinaryKind::Add | BinaryKind::Mul => true,
        BinaryKind::Sub | BinaryKind::Div => false,
        _ => return None,
    };
    let (x, constant) = match (graph[a].is_fixed(), graph[b].is_fixed()) {
        (false, true) => (a, b),
        (true, false) if commutes => (b, a),
        _ => return None,
    };
    let fits = graph[x].shape.rank() >= graph[constant].shape.rank();
    fits.then_some(Affine { kind, activation, x, constant })
}

fn fold_behind(graph: &mut Graph, parameters: &[Parameter]) -> bool {
    let readers = Readers::new(graph);
    for node in graph.node_ids() {
        if !is_linear(&graph[node].op) {
            continue;
        }
        let output = graph[node].outputs[0];
        let Some(next) = readers.only(output) else { continue };
        let Some(affine) = affine(graph, next).filter(|affine| affine.x == output) else { continue };
        if graph[node].op.activation_mut().is_none_or(|activation| !activation.is_none()) {
            continue;
        }
        let Some(mut linear) = Linear::take(graph, parameters, node) else { continue };
        let Some(mut values) = per_channel(graph, parameters, affine.constant, linear.channels()) else {
            continue;
        };
        match affine.kind {
            BinaryKind::Add => linear.shift(&values),
            BinaryKind::Sub => {
                values.iter_mut().for_each(|value| *value = -*value);
                linear.shift(&values);
            }
            BinaryKind::Mul => linear.scale(&values),
            _ => linear.divide(&values),
        }
        linear.store(graph);
        if let Some(activation) = graph[node].op.activation_mut() {
            *activation = affine.activation;
        }
        let output = graph[next].outputs[0];
        take_over(graph, node, output);
        remove(graph, &[next]);
        return true;
    }
    false
}

fn fold_before(graph: &mut Graph, parameters: &[Parameter]) -> bool {
    let readers = Readers::new(graph);
    for node in graph.node_ids() {
        let Some(affine) = affine(graph, node).filter(|affine| affine.activation.is_none()) else { continue };
        let Some(reader) = readers.only(graph[node].outputs[0]) else { continue };
        let zero_padded = matches!(&graph[reader].op, Op::Pad(pad) if pad.mode == PadMode::Zero);
        let target = if zero_padded { readers.only(graph[reader].outputs[0]) } else { Some(reader) };
        let Some(target) = target.filter(|target| is_linear(&graph[*target].op)) else { continue };
        let read = graph[if zero_padded { reader } else { node }].outputs[0];
        if graph[target].inputs[operand(&graph[target].op)] != Some(read) {
            continue;
        }
        let offset = matches!(affine.kind, BinaryKind::Add | BinaryKind::Sub);
        if offset && (zero_padded || !sees_inputs_alone(&graph[target].op)) {
            continue;
        }
        let Some(mut linear) = Linear::take(graph, parameters, target) else { continue };
        // The last axis must be the channels that the weights see, not one that is flattened later.
        let channels = graph[affine.x].shape.last().and_then(|dim| dim.fixed());
        if channels != Some(linear.input_channels()) {
            continue;
        }
        let Some(mut values) = per_channel(graph, parameters, affine.constant, linear.input_channels())
        else {
            continue;
        };
        match affine.kind {
            BinaryKind::Add => linear.shift_inputs(&values),
            BinaryKind::Sub => {
                values.iter_mut().for_each(|value| *value = -*value);
                linear.shift_inputs(&values);
            }
            BinaryKind::Mul => linear.scale_inputs(&values),
            _ => {
                values.iter_mut().for_each(|value| *value = 1.0 / *value);
                linear.scale_inputs(&values);
            }
        }
        linear.store(graph);
        let output = graph[node].outputs[0];
        graph.replace_uses(output, affine.x);
        remove(graph, &[node]);
        return true;
    }
    false
}

#[cfg(test)]
mod tests {
    use crate::testing::check;

    #[test]
    fn constants_behind_and_before_go_into_weights() {
        check(
            &[super::apply, crate::remove_dead::apply],
            r#"graph main(%x: f32[batch,2]) -> (%z) {
               %half: f32[] = [0.5]
               %one: f32[1] = [1]
               %w: f32[2,2] = [2,4,6,8]
               %three: f32[2] = [3,-3]
               %a: f32[batch,2] = Binary(%x, %half) {"kind":"mul"}
               %b: f32[batch,2] = Binary(%a, %one) {"kind":"sub"}
               %y: f32[batch,2] = FullyConnected(%b, %w, _) # dense
               %z: f32[batch,2] = Binary(%three, %y) {"activation":"relu6"} # add
             }"#,
            r#"graph main(%x: f32[batch,2]) -> (%z) {
               %w: f32[2,2] = [1,2,3,4]
               %dense/bias: f32[2] = [-3,-17]
               %z: f32[batch,2] = FullyConnected(%x, %w, %dense/bias) {"activation":"relu6"} # dense
             }"#,
        );
    }

    #[test]
    fn an_offset_before_padding_stays() {
        let text = r#"graph main(%x: f32[1,1,1,1]) -> (%z) {
               %one: f32[1] = [1]
               %y: f32[1,1,1,1] = Binary(%x, %one)
               %w: f32[1,1,1,1] = [2]
               %z: f32[1,1,1,1] = Conv2D(%y, %w, _) {"padding":"same"}
             }"#;
        check(&[super::apply, crate::remove_dead::apply], text, text);
    }

    #[test]
    fn factors_before_volumes_and_transposed_convolutions_go_into_weights() {
        check(
            &[super::apply, crate::remove_dead::apply],
            r#"graph main(%x: f32[1,1,1,1,2], %u: f32[1,1,1,2]) -> (%z, %v) {
               %c: f32[2] = [10,100]
               %y: f32[1,1,1,1,2] = Binary(%x, %c) {"kind":"mul"}
               %w: f32[1,1,1,2,2] = [1,2,3,4]
               %z: f32[1,1,1,1,2] = Conv3D(%y, %w)
               %t: f32[1,1,1,2] = Binary(%u, %c) {"kind":"mul"}
               %s: i32[4] = [1,1,1,2]
               %q: f32[2,1,1,2] = [1,2,3,4]
               %v: f32[1,1,1,2] = TransposeConv2D(%s, %q, %t)
             }"#,
            r#"graph main(%x: f32[1,1,1,1,2], %u: f32[1,1,1,2]) -> (%z, %v) {
               %w: f32[1,1,1,2,2] = [10,20,300,400]
               %z: f32[1,1,1,1,2] = Conv3D(%x, %w)
               %s: i32[4] = [1,1,1,2]
               %q: f32[2,1,1,2] = [10,200,30,400]
               %v: f32[1,1,1,2] = TransposeConv2D(%s, %q, %u)
             }"#,
        );
    }

    #[test]
    fn a_factor_goes_through_zero_padding() {
        check(
            &[super::apply, crate::remove_dead::apply],
            r#"graph main(%x: f32[1,1,1,2]) -> (%z) {
               %c: f32[2] = [2,3]
               %y: f32[1,1,1,2] = Binary(%x, %c) {"kind":"mul"}
               %p: f32[1,3,1,2] = Pad(%y) {"amounts":[[0,0],[1,1],[0,0],[0,0]]}
               %w: f32[1,3,1,2] = [1,1,1,1,1,1]
               %z: f32[1,1,1,2] = DepthwiseConv2D(%p, %w, _)
             }"#,
            r#"graph main(%x: f32[1,1,1,2]) -> (%z) {
               %p: f32[1,3,1,2] = Pad(%x) {"amounts":[[0,0],[1,1],[0,0],[0,0]]}
               %w: f32[1,3,1,2] = [2,3,2,3,2,3]
               %z: f32[1,1,1,2] = DepthwiseConv2D(%p, %w, _)
             }"#,
        );
    }
}
