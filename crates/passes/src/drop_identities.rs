//! Drops operators that change nothing at inference.

use litesmith_graph::model::Parameter;
use litesmith_graph::ops::BinaryKind;
use litesmith_graph::{Graph, Node, Op, TensorId};

use crate::constants::floats;

pub(crate) fn apply(graph: &mut Graph, parameters: &[Parameter]) -> usize {
    drop_unchanged(graph, parameters, |_| true) + cancel_transposes(graph)
}

/// Drops copies alone, not arithmetic with neutral constants: a factor of ones may be a weight that has
/// not been trained yet, and what it is part of is to be recognized with it.
pub(crate) fn copies(graph: &mut Graph, parameters: &[Parameter]) -> usize {
    let count = drop_unchanged(graph, parameters, |node| !matches!(node.op, Op::Binary(_)));
    // What is left over would be a second reader.
    if count > 0 {
        graph.remove_dead();
    }
    count
}

fn drop_unchanged(graph: &mut Graph, parameters: &[Parameter], candidate: impl Fn(&Node) -> bool) -> usize {
    let mut count = 0;
    for id in graph.node_ids() {
        if !candidate(&graph[id]) {
            continue;
        }
        let Some(kept) = unchanged_input(graph, parameters, &graph[id]) else { continue };
        let output = graph[id].outputs[0];
        if graph.is_output(output) && !pass_output_on(graph, kept, output) {
            continue;
        }
        graph.replace_uses(output, kept);
        count += 1;
    }
    count
}

/// Makes the tensor that an identity passes on carry the output's name, so that the caller finds it.
/// Not possible where the tensor is no activation or is another output already.
fn pass_output_on(graph: &mut Graph, kept: TensorId, output: TensorId) -> bool {
    let free = graph[kept].kind == litesmith_graph::TensorKind::Activation && !graph.is_output(kept);
    if free {
        graph[kept].name = graph[output].name.clone();
    }
    free
}

/// The input that a node gives out as it is.
fn unchanged_input(graph: &Graph, parameters: &[Parameter], node: &Node) -> Option<TensorId> {
    let input = node.inputs.first().copied().flatten()?;
    let output = *node.outputs.first()?;
    let same_type =
        graph[input].dtype == graph[output].dtype && graph[input].quantization == graph[output].quantization;
    // The shape must be known to be the same: two sizes that are not known may differ.
    let known = |id: TensorId| !graph[id].shape.dims().contains(&litesmith_graph::Dim::Unknown);
    let same_shape = graph[input].shape == graph[output].shape && known(input);
    match &node.op {
        Op::Identity(_) | Op::Dropout(_) => Some(input),
        _ if !same_type => None,
        Op::Reshape(_) | Op::Squeeze(_) | Op::ExpandDims(_) | Op::BroadcastTo(_) if same_shape => Some(input),
        Op::Transpose(op) if op.permutation.iter().copied().eq(0..op.permutation.len()) => Some(input),
        // Where amounts and multiples are operands, the attributes are empty.
        Op::Pad(op) if node.inputs.len() == 1 && op.amounts.iter().all(|amounts| *amounts == [0, 0]) => {
            Some(input)
        }
        Op::Cast(_) if same_shape => Some(input),
        Op::Concat(op) if node.inputs.len() == 1 && op.activation.is_none() => Some(input),
        Op::Tile(op) if node.inputs.len() == 1 && op.multiples.iter().all(|count| *count == 1) => Some(input),
        Op::Binary(op) if op.activation.is_none() => {
            let operands = [input, node.inputs.get(1).copied().flatten()?];
            let neutral = |id: TensorId, number: f32| {
                floats(graph, parameters, id)
                    .is_some_and(|values| values.iter().all(|value| *value == number))
            };
            let (number, commutes) = match op.kind {
                BinaryKind::Add => (0.0, true),
                BinaryKind::Sub => (0.0, false),
                BinaryKind::Mul => (1.0, true),
                BinaryKind::Div => (1.0, false),
                _ => return None,
            };
            match operands {
                [x, constant] if neutral(constant, number) && spreads_over(graph, constant, x) => Some(x),
                [constant, x]
                    if commutes && neutral(constant, number) && spreads_over(graph, constant, x) =>
                {
                    Some(x)
                }
                _ => None,
            }
        }
        _ => None,
    }
}

/// Whether an operation of a tensor with a constant has the tensor's shape, even if sizes are not known.
fn spreads_over(graph: &Graph, constant: TensorId, x: TensorId) -> bool {
    let (of_constant, of_x) = (graph[constant].shape.dims(), graph[x].shape.dims());
    let mut pairs = of_constant.iter().rev().zip(of_x.iter().rev());
    of_constant.len() <= of_x.len()
        && pairs.all(|(size, dim)| size.fixed().is_some_and(|size| size == 1 || dim.fixed() == Some(size)))
}

/// A transposition that undoes the one before it.
fn cancel_transposes(graph: &mut Graph) -> usize {
    let producers = graph.producers();
    let mut count = 0;
    for id in graph.node_ids() {
        let (Op::Transpose(second), Some(middle)) = (&graph[id].op, graph[id].inputs[0]) else { continue };
        let Some(first) = producers[middle.index()] else { continue };
        let Op::Transpose(op) = &graph[first].op else { continue };
        let undone =
            second.permutation.iter().enumerate().all(|(i, axis)| op.permutation.get(*axis) == Some(&i));
        let output = graph[id].outputs[0];
        if let (true, Some(source), false) = (undone, graph[first].inputs[0], graph.is_output(output)) {
            graph.replace_uses(output, source);
            count += 1;
        }
    }
    count
}

#[cfg(test)]
mod tests {
    use crate::testing::check;

    #[test]
    fn what_changes_nothing_goes() {
        check(
            &[super::apply, crate::remove_dead::apply],
            r#"graph main(%x: f32[batch,2]) -> (%z) {
               %one: f32[] = [1]
               %zero: f32[2] = [0,0]
               %a: f32[batch,2] = Dropout(%x) {"rate":0.5}
               %b: f32[batch,2] = Binary(%one, %a) {"kind":"mul"}
               %c: f32[batch,2] = Binary(%b, %zero) {"kind":"sub"}
               %d: f32[2,batch] = Transpose(%c) {"permutation":[1,0]}
               %e: f32[batch,2] = Transpose(%d) {"permutation":[1,0]}
               %f: f32[batch,2] = Reshape(%e) {"shape":["infer",2]}
               %z: f32[batch,2] = Unary(%f)
             }"#,
            "graph main(%x: f32[batch,2]) -> (%z) {
               %z: f32[batch,2] = Unary(%x)
             }",
        );
    }

    #[test]
    fn neutral_numbers_go_whatever_the_sizes_are() {
        check(
            &[super::apply, crate::remove_dead::apply],
            r#"graph main(%x: f32[?,2]) -> (%z) {
               %one: f32[] = [1]
               %zero: f32[1,2] = [0,0]
               %wide: f32[1,1,2] = [0,0]
               %b: f32[?,2] = Binary(%one, %x) {"kind":"mul"}
               %c: f32[?,2] = Binary(%b, %zero)
               %z: f32[1,?,2] = Binary(%c, %wide)
             }"#,
            "graph main(%x: f32[?,2]) -> (%z) {
               %wide: f32[1,1,2] = [0,0]
               %z: f32[1,?,2] = Binary(%x, %wide)
             }",
        );
    }

    #[test]
    fn an_output_keeps_its_name() {
        check(
            &[super::apply, crate::remove_dead::apply],
            r#"graph main(%x: f32[2]) -> (%z) {
               %y: f32[2] = Unary(%x)
               %z: f32[2] = Identity(%y)
             }"#,
            "graph main(%x: f32[2]) -> (%z) {
               %z: f32[2] = Unary(%x)
             }",
        );
    }

    #[test]
    fn an_output_that_is_an_input_stays() {
        let text = "graph main(%x: f32[2]) -> (%z) {
               %z: f32[2] = Identity(%x)
             }";
        check(&[super::apply, crate::remove_dead::apply], text, text);
    }
}
