//! A convolution over groups of channels, spelled as one convolution for each group between a split
//! and a concatenation.

use litesmith_graph::model::Parameter;
use litesmith_graph::ops::Conv2D;
use litesmith_graph::{Graph, NodeId, Op, Tensor, TensorId};

use super::view::View;
use super::{Operand, Replacement, rewrite};

pub(crate) fn apply(graph: &mut Graph, parameters: &[Parameter]) -> usize {
    rewrite(graph, parameters, grouped)
}

fn grouped(view: &View<'_>, root: NodeId) -> Option<Replacement> {
    let node = &view.graph[root];
    let Op::Concat(concat) = &node.op else { return None };
    let parts = node.inputs.iter().copied().collect::<Option<Vec<TensorId>>>()?;
    let last = view.dims(node.outputs[0]).len().checked_sub(1)?;
    let is_last = |axis: i32| axis == -1 || usize::try_from(axis) == Ok(last);
    if parts.len() < 2 || !is_last(concat.axis) || !concat.activation.is_none() {
        return None;
    }
    let first = convolution(view, parts[0])?;
    let cut = view.producer(first.image)?;
    let Op::Split(split) = &view.graph[cut].op else { return None };
    let cut = &view.graph[cut];
    let equal = split.sizes.iter().all(|size| Some(size) == split.sizes.first());
    if cut.outputs.len() != parts.len() || !is_last(split.axis) || !equal {
        return None;
    }
    let shape = view.graph[first.weights].shape.to_fixed()?;
    let channels = *shape.first()?;
    let mut weights = Vec::new();
    let mut biases = Vec::new();
    for (part, image) in parts.iter().zip(&cut.outputs) {
        let own = convolution(view, *part)?;
        let fits = own.image == *image
            && own.op == first.op
            && view.graph[own.weights].shape == view.graph[first.weights].shape;
        if !fits {
            return None;
        }
        weights.extend_from_slice(&view.values(own.weights)?);
        match own.bias {
            Some(bias) => biases.extend_from_slice(&view.values(bias)?),
            None => biases.resize(biases.len() + channels, 0.0),
        }
        // Biases of any shape hold one number for each channel.
        if biases.len() * shape.iter().skip(1).product::<usize>() != weights.len() {
            return None;
        }
    }
    let op = Conv2D { groups: parts.len(), ..first.op.clone() };
    let shape = [&[channels.checked_mul(parts.len())?], shape.get(1..)?].concat();
    let bias = Tensor::floats("bias", &[biases.len()], biases);
    let inputs = vec![
        Operand::Tensor((*cut.inputs.first()?)?),
        Operand::from(Tensor::floats("kernel", &shape, weights)),
        Operand::from(bias),
    ];
    let mut replacement = Replacement::one(op, inputs);
    replacement.name = Some(first.name.to_owned());
    Some(replacement)
}

/// The convolution that gives a tensor.
struct Convolution<'a> {
    name: &'a str,
    op: &'a Conv2D,
    image: TensorId,
    weights: TensorId,
    bias: Option<TensorId>,
}

fn convolution<'a>(view: &View<'a>, id: TensorId) -> Option<Convolution<'a>> {
    let node = view.node(id)?;
    let Op::Conv2D(op) = &node.op else { return None };
    let input = |index: usize| node.inputs.get(index).copied().flatten();
    let found = Convolution { name: &node.name, op, image: input(0)?, weights: input(1)?, bias: input(2) };
    (op.groups == 1).then_some(found)
}

#[cfg(test)]
mod tests {
    use crate::testing::{check, stays};

    fn spelled(first: &str, second: &str) -> String {
        format!(
            r#"graph main(%x: f32[batch,2,2,4]) -> (%z) {{
                 %a: f32[batch,2,2,2], %b: f32[batch,2,2,2] = Split(%x) {{"axis":3,"parts":2}}
                 %v: f32[1,1,1,2] = [1,2]
                 %w: f32[1,1,1,2] = [3,4]
                 %u: f32[1] = [5]
                 %c: f32[batch,2,2,1] = Conv2D({first}) {{"activation":"relu"}} # conv
                 %d: f32[batch,2,2,1] = Conv2D({second}) {{"activation":"relu"}} # conv
                 %z: f32[batch,2,2,2] = Concat(%c, %d) {{"axis":3}} # concat
               }}"#
        )
    }

    #[test]
    fn branches_over_groups_are_one_convolution() {
        check(
            &[super::apply],
            &spelled("%a, %v, %u", "%b, %w"),
            r#"graph main(%x: f32[batch,2,2,4]) -> (%z) {
                 %z/kernel: f32[2,1,1,2] = [1,2,3,4]
                 %z/bias: f32[2] = [5,0]
                 %z: f32[batch,2,2,2] = Conv2D(%x, %z/kernel, %z/bias) {"groups":2,"activation":"relu"} # conv
               }"#,
        );
    }

    #[test]
    fn another_order_stays() {
        let text = spelled("%b, %v, %u", "%a, %w");
        stays(super::apply, &text);
    }
}
