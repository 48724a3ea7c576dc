//! Differentiation: a rewrite that adds to a graph of fixed shapes the nodes that compute the gradients of
//! a number, the loss, from its gradients with respect to some tensors (reverse mode, by the chain rule).

mod builder;

use litesmith_graph::{Graph, NodeId, TensorId};

pub(crate) use builder::Builder;

use crate::error::{TrainError, Unsupported};
use crate::gradients::{Chain, differentiate_node};

/// Adds nodes that compute the loss' gradients with respect to `variables`, from its gradients `seeds`
/// with respect to `results`. A variable that no result depends on has none.
///
/// # Errors
/// If operators between variables and results have no gradient: all of them.
pub(crate) fn differentiate(
    builder: &mut Builder,
    results: &[TensorId],
    seeds: &[TensorId],
    variables: &[TensorId],
) -> Result<Vec<Option<TensorId>>, TrainError> {
    let nodes: Vec<NodeId> = builder.graph.node_ids().collect();
    let depends = depending(&builder.graph, variables);
    let mut sums: Vec<Option<TensorId>> = vec![None; builder.graph.tensors.len()];
    let mut refused = Vec::new();
    for (result, seed) in results.iter().zip(seeds) {
        let layer = "loss";
        let sum = add(builder, layer, sums[result.index()], *seed);
        sums[result.index()] = Some(sum.map_err(|refusal| unsupported(layer, "SEED", refusal.0))?);
    }
    for id in nodes.into_iter().rev() {
        let node = builder.graph[id].clone();
        let received: Vec<Option<TensorId>> = node.outputs.iter().map(|id| sums[id.index()]).collect();
        let wanted: Vec<bool> =
            node.inputs.iter().map(|id| id.is_some_and(|id| depends[id.index()])).collect();
        if received.iter().all(Option::is_none) || !wanted.contains(&true) {
            continue;
        }
        let chain = Chain { builder: &mut *builder, node: &node, received, wanted };
        let gradients = match differentiate_node(chain) {
            Ok(gradients) => gradients,
            Err(refusal) => {
                let (layer, operator) = (node.name.clone(), node.op.builtin_name().to_owned());
                refused.push(Unsupported { layer, operator, reason: refusal.0 });
                continue;
            }
        };
        for (input, gradient) in node.inputs.iter().zip(gradients) {
            let (Some(input), Some(gradient)) = (input, gradient) else { continue };
            if depends[input.index()] {
                let sum = add(builder, &node.name, sums[input.index()], gradient);
                let sum =
                    sum.map_err(|refusal| unsupported(&node.name, node.op.builtin_name(), refusal.0))?;
                sums[input.index()] = Some(sum);
            }
        }
    }
    if !refused.is_empty() {
        // In the order of the model.
        refused.reverse();
        return Err(TrainError::Unsupported(refused));
    }
    Ok(variables.iter().map(|id| sums[id.index()]).collect())
}

fn unsupported(layer: &str, operator: &str, reason: String) -> TrainError {
    let (layer, operator) = (layer.to_owned(), operator.to_owned());
    TrainError::Unsupported(vec![Unsupported { layer, operator, reason }])
}

/// For each tensor, whether it depends on a variable.
fn depending(graph: &Graph, variables: &[TensorId]) -> Vec<bool> {
    let mut depends = vec![false; graph.tensors.len()];
    variables.iter().for_each(|id| depends[id.index()] = true);
    for node in &graph.nodes {
        if node.present_inputs().any(|id| depends[id.index()]) {
            node.outputs.iter().for_each(|id| depends[id.index()] = true);
        }
    }
    depends
}

/// The sum of what several readers of a tensor contribute.
fn add(
    builder: &mut Builder,
    layer: &str,
    sum: Option<TensorId>,
    more: TensorId,
) -> Result<TensorId, crate::error::Refusal> {
    match sum {
        None => Ok(more),
        Some(sum) => builder.emit(layer, litesmith_graph::ops::Binary::default(), &[Some(sum), Some(more)]),
    }
}
