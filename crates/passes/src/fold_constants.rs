//! Computes layout changes of constants once and for all: what readers put between a weight as the
//! source keeps it and the operator that uses it.

use litesmith_graph::model::Parameter;
use litesmith_graph::{Data, Graph, NodeId, Op, TensorKind};
use litesmith_kernels::{ThreadPool, movement};

use crate::constants::data;
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

/// The elements that a node computes, if its first input is fixed and the node only moves elements.
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
            Some(match input.dtype.bits()? {
                8 => transpose::<u8>(data, &shape, &op.permutation),
                16 => transpose::<u16>(data, &shape, &op.permutation),
                32 => transpose::<u32>(data, &shape, &op.permutation),
                64 => transpose::<u64>(data, &shape, &op.permutation),
                _ => return None,
            })
        }
        _ => None,
    }
}

fn transpose<T: bytemuck::Pod + Send + Sync>(data: &Data, shape: &[usize], permutation: &[usize]) -> Data {
    let input = data.elements::<T>();
    let mut output = vec![T::zeroed(); input.len()];
    movement::transpose(&ThreadPool::new(1), shape, permutation, &input, &mut output);
    Data::from_vec(output)
}

#[cfg(test)]
mod tests {
    use crate::testing::check;

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
