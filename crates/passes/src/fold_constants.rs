//! Computes what depends on constants alone once and for all: the layout changes and the small
//! arithmetic that readers put between a weight as the source keeps it and the operator that uses it.

use litesmith_graph::model::Parameter;
use litesmith_graph::ops::{BinaryKind, UnaryKind};
use litesmith_graph::{Data, Graph, Node, NodeId, Op, TensorKind};
use litesmith_kernels::ThreadPool;
use litesmith_kernels::elementwise::{self, Broadcast};

use crate::constants::{data, floats, transposed};
use crate::fold_batch_norm::remove;

pub(crate) fn apply(graph: &mut Graph, parameters: &[Parameter]) -> usize {
    let mut folded = Vec::new();
    for id in graph.node_ids() {
        let Some(result) = evaluate(graph, parameters, id) else { continue };
        let output = graph[id].outputs[0];
        graph[output].kind = TensorKind::Constant(result);
        folded.push(id);
    }
    remove(graph, &folded);
    folded.len()
}

/// The elements that a node computes, if its inputs are fixed and it is cheap.
fn evaluate(graph: &Graph, parameters: &[Parameter], id: NodeId) -> Option<Data> {
    let node = &graph[id];
    let input = &graph[node.inputs.first().copied().flatten()?];
    let data = data(input, parameters)?;
    let output = &graph[*node.outputs.first()?];
    if input.quantization != output.quantization {
        return None;
    }
    match &node.op {
        Op::Reshape(_) | Op::Squeeze(_) | Op::ExpandDims(_) | Op::Identity(_) | Op::Dropout(_) => {
            // A fixed shape of as many elements: another input cannot change it any more.
            (output.shape.elements() == input.shape.elements()).then(|| data.clone())
        }
        Op::Transpose(op) => {
            let shape = input.shape.to_fixed()?;
            transposed(input.dtype, data, &shape, &op.permutation)
        }
        Op::Unary(op) => unary(graph, parameters, node, op.kind),
        Op::Binary(op) if op.activation.is_none() => binary(graph, parameters, node, op.kind),
        _ => None,
    }
}

fn unary(graph: &Graph, parameters: &[Parameter], node: &Node, kind: UnaryKind) -> Option<Data> {
    let function = match kind {
        UnaryKind::Sqrt => elementwise::Unary::Sqrt,
        UnaryKind::Rsqrt => elementwise::Unary::Rsqrt,
        UnaryKind::Neg => elementwise::Unary::Neg,
        UnaryKind::Square => elementwise::Unary::Square,
        UnaryKind::Abs => elementwise::Unary::Abs,
        _ => return None,
    };
    let values = floats(graph, parameters, node.inputs[0]?)?;
    Some(Data::from_vec(values.iter().map(|x| function.value(*x)).collect()))
}

fn binary(graph: &Graph, parameters: &[Parameter], node: &Node, kind: BinaryKind) -> Option<Data> {
    let function = match kind {
        BinaryKind::Add => elementwise::Binary::Add,
        BinaryKind::Sub => elementwise::Binary::Sub,
        BinaryKind::Mul => elementwise::Binary::Mul,
        BinaryKind::Div => elementwise::Binary::Div,
        BinaryKind::Maximum => elementwise::Binary::Maximum,
        BinaryKind::Minimum => elementwise::Binary::Minimum,
        _ => return None,
    };
    let [Some(a), Some(b)] = node.inputs[..] else { return None };
    let shapes = (graph[a].shape.to_fixed()?, graph[b].shape.to_fixed()?);
    let values = (floats(graph, parameters, a)?, floats(graph, parameters, b)?);
    // What broadcasts to much more than it is made of is cheaper to compute than to store.
    let elements = graph[node.outputs[0]].shape.elements()?;
    if elements > values.0.len().max(values.1.len()) {
        return None;
    }
    let plan = Broadcast::new([&shapes.0, &shapes.1]).ok()?;
    let mut output = vec![0f32; elements];
    let open = [f32::NEG_INFINITY, f32::INFINITY];
    let (isa, pool) = (litesmith_kernels::Isa::Portable, ThreadPool::new(1));
    elementwise::binary(isa, &pool, function, &plan, [&values.0, &values.1], open, &mut output).ok()?;
    Some(Data::from_vec(output))
}

#[cfg(test)]
mod tests {
    use crate::testing::check;

    #[test]
    fn arithmetic_of_constants_is_done_once() {
        check(
            &[super::apply, crate::remove_dead::apply],
            r#"parameter @norm/variance: f32[2] = [4,9]
             graph main(%x: f32[batch,2]) -> (%y) {
               %s: f32[2] = Unary(@norm/variance) {"kind":"sqrt"} # norm
               %e: f32[] = [2.5]
               %m: f32[2] = Binary(%s, %e) {"kind":"maximum"} # norm
               %y: f32[batch,2] = Binary(%x, %m) {"kind":"div"} # norm
             }"#,
            r#"parameter @norm/variance: f32[2] = [4,9]
             graph main(%x: f32[batch,2]) -> (%y) {
               %m: f32[2] = [2.5,3]
               %y: f32[batch,2] = Binary(%x, %m) {"kind":"div"} # norm
             }"#,
        );
    }

    #[test]
    fn layouts_of_weights_are_computed_once() {
        check(
            &[super::apply],
            r#"parameter @dense/kernel: f32[2,3] trainable = [1,2,3,4,5,6]
             graph main(%x: f32[batch,2]) -> (%y) {
               %w: f32[3,2] = Transpose(@dense/kernel) {"permutation":[1,0]} # dense
               %r: f32[3,2,1] = ExpandDims(%w) {"axis":-1} # dense
               %s: f32[3,2] = Squeeze(%r) # dense
               %y: f32[batch,3] = FullyConnected(%x, %s, _) # dense
             }"#,
            r#"parameter @dense/kernel: f32[2,3] trainable = [1,2,3,4,5,6]
             graph main(%x: f32[batch,2]) -> (%y) {
               %s: f32[3,2] = [1,4,2,5,3,6]
               %y: f32[batch,3] = FullyConnected(%x, %s, _) # dense
             }"#,
        );
    }
}
