//! New shapes that follow the input's free sizes.

use litesmith_graph::ops::{Pack, Reshape, ReshapeDim, ShapeOf, StridedSlice};
use litesmith_graph::{Dim, Graph, NodeId, Op, Tensor, TensorId};

use super::Builder;

/// A reshape whose axes are fixed but for one becomes `[-1, …]`; one with more free axes gets its
/// shape computed by SHAPE, STRIDED_SLICE and PACK.
pub(super) fn reshape(graph: &mut Graph, id: NodeId) {
    let Op::Reshape(Reshape { shape: Some(shape) }) = &graph[id].op else { return };
    let (shape, output) = (shape.clone(), graph[id].outputs[0]);
    let dims = graph[output].shape.dims().to_vec();
    let open = dims.iter().filter(|dim| dim.fixed().is_none()).count();
    let known = |dim: &Dim| dim.fixed().map_or(ReshapeDim::Infer, ReshapeDim::Fixed);
    // With a size of zero somewhere, what is left over is not determined.
    let simple = open == 0 || (open == 1 && !dims.contains(&Dim::Fixed(0)));
    if simple {
        graph[id].op = Reshape::to(dims.iter().map(known).collect()).into();
        return;
    }
    if shape.iter().any(|dim| matches!(dim, ReshapeDim::Copy(_))) {
        compute_shape(graph, id, &shape, &dims);
    }
}

fn compute_shape(graph: &mut Graph, id: NodeId, shape: &[ReshapeDim], dims: &[Dim]) {
    let mut build = Builder::new(graph, id);
    let Some(x) = build.input(0) else { return };
    let sizes = build.push("shape", ShapeOf::default(), &[x]);
    let parts: Vec<TensorId> = shape
        .iter()
        .zip(dims)
        .map(|(part, dim)| match (part, dim) {
            (_, Dim::Fixed(size)) => integer(&mut build, *size as i32),
            (ReshapeDim::Copy(axis), _) => {
                let begin = *axis as i64;
                let slice = StridedSlice {
                    begin: vec![begin],
                    end: vec![begin + 1],
                    strides: vec![1],
                    shrink_axis_mask: 1,
                    ..StridedSlice::default()
                };
                build.push("size", slice, &[sizes])
            }
            _ => integer(&mut build, -1),
        })
        .collect();
    let packed = build.push("pack", Pack { axis: 0 }, &parts);
    build.finish(Reshape { shape: None }, &[x, packed]);
}

fn integer(build: &mut Builder<'_>, value: i32) -> TensorId {
    let name = build.name("size");
    let mut tensor = Tensor::integers(&name, &[value]);
    tensor.shape = litesmith_graph::Shape::default();
    build.graph.add_tensor(tensor)
}
