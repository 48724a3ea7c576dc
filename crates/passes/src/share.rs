//! Keeps one of several equal constants, and one of several nodes that compute the same.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use litesmith_graph::model::Parameter;
use litesmith_graph::{Graph, Op, TensorId, TensorKind};

pub(crate) fn apply(graph: &mut Graph, _parameters: &[Parameter]) -> usize {
    share_constants(graph) + share_nodes(graph)
}

fn share_constants(graph: &mut Graph) -> usize {
    let mut buckets: HashMap<u64, Vec<TensorId>> = HashMap::new();
    let mut replaced: HashMap<TensorId, TensorId> = HashMap::new();
    for id in graph.tensor_ids() {
        let tensor = &graph[id];
        let TensorKind::Constant(data) = &tensor.kind else { continue };
        let mut hasher = DefaultHasher::new();
        (tensor.dtype, &tensor.shape, data.bytes()).hash(&mut hasher);
        let bucket = buckets.entry(hasher.finish()).or_default();
        let equal = bucket.iter().copied().find(|other| {
            let other = &graph[*other];
            (other.dtype, &other.shape, &other.kind) == (tensor.dtype, &tensor.shape, &tensor.kind)
                && (&other.quantization, &other.sparsity) == (&tensor.quantization, &tensor.sparsity)
        });
        match equal {
            Some(first) => {
                replaced.insert(id, first);
            }
            None => bucket.push(id),
        }
    }
    let inputs = graph.nodes.iter_mut().flat_map(|node| node.inputs.iter_mut().flatten());
    let mut count = 0;
    for input in inputs {
        if let Some(first) = replaced.get(input) {
            *input = *first;
            count += 1;
        }
    }
    count
}

/// Later nodes see the replaced inputs of earlier ones, so whole chains of equal nodes merge.
fn share_nodes(graph: &mut Graph) -> usize {
    let mut known: HashMap<(String, Vec<Option<TensorId>>), Vec<usize>> = HashMap::new();
    let mut count = 0;
    for index in 0..graph.nodes.len() {
        let node = &graph.nodes[index];
        // Each dropout draws numbers of its own while training; a state may change between two reads.
        if node.op.has_effect() || matches!(node.op, Op::Dropout(_) | Op::Custom(_) | Op::ReadState(_)) {
            continue;
        }
        let key = (node.op.name().to_owned(), node.inputs.clone());
        let twins = known.entry(key).or_default();
        let twin = twins.iter().copied().find(|twin| graph.nodes[*twin].op == node.op);
        let Some(twin) = twin else {
            twins.push(index);
            continue;
        };
        let outputs = node.outputs.clone();
        // The caller's tensors keep their own names and producers.
        if outputs.iter().any(|output| graph.is_output(*output)) {
            continue;
        }
        let firsts = graph.nodes[twin].outputs.clone();
        for (old, new) in outputs.into_iter().zip(firsts) {
            graph.replace_uses(old, new);
        }
        count += 1;
    }
    count
}

#[cfg(test)]
mod tests {
    use crate::testing::check;

    #[test]
    fn equal_constants_and_chains_become_one() {
        check(
            &[super::apply, crate::remove_dead::apply],
            "graph main(%x: f32[2]) -> (%z) {
               %a: f32[1] = [3]
               %b: f32[1] = [3]
               %p: f32[2] = Binary(%x, %a)
               %q: f32[2] = Binary(%x, %b)
               %r: f32[2] = Unary(%p)
               %s: f32[2] = Unary(%q)
               %z: f32[2] = Binary(%r, %s)
             }",
            "graph main(%x: f32[2]) -> (%z) {
               %a: f32[1] = [3]
               %p: f32[2] = Binary(%x, %a)
               %r: f32[2] = Unary(%p)
               %z: f32[2] = Binary(%r, %r)
             }",
        );
    }
}
