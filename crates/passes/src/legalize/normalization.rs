//! Batch normalization that no convolution took in.

use litesmith_graph::model::Parameter;
use litesmith_graph::ops::{Binary, BinaryKind};
use litesmith_graph::{Graph, NodeId, Tensor};

use super::Builder;
use crate::fold_batch_norm::affine;

/// `x * m + (beta - mean * m)` with `m = gamma / sqrt(variance + epsilon)`.
pub(super) fn batch_norm(graph: &mut Graph, parameters: &[Parameter], id: NodeId) -> Result<(), String> {
    let Some(affine) = affine(graph, parameters, &graph[id]) else {
        return Err("its statistics are computed by the model; only fixed ones can be converted".into());
    };
    let mut build = Builder::new(graph, id);
    let Some(x) = build.input(0) else { return Ok(()) };
    let channels = affine.factors.len();
    let (factor_name, offset_name) = (build.name("factor"), build.name("offset"));
    let factors = build.graph.add_tensor(Tensor::floats(&factor_name, &[channels], affine.factors));
    if affine.offsets.iter().all(|offset| *offset == 0.0) {
        build.finish(Binary::from(BinaryKind::Mul), &[x, factors]);
        return Ok(());
    }
    let product = build.push("mul", Binary::from(BinaryKind::Mul), &[x, factors]);
    let offsets = build.graph.add_tensor(Tensor::floats(&offset_name, &[channels], affine.offsets));
    build.finish(Binary::from(BinaryKind::Add), &[product, offsets]);
    Ok(())
}
