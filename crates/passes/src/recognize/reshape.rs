//! New shapes that are computed but known: those that follow the input's own sizes.
//!
//! Frozen graphs take the batch out of the input's shape and pack it with constants. What is left of
//! that once shapes are inferred is an attribute.

use litesmith_graph::model::Parameter;
use litesmith_graph::ops::{Reshape, ReshapeDim};
use litesmith_graph::{Dim, Graph, Op};

use super::is_quantized;

pub(crate) fn apply(graph: &mut Graph, _parameters: &[Parameter]) -> usize {
    if is_quantized(graph) {
        return 0;
    }
    let mut count = 0;
    for id in graph.node_ids() {
        let (Op::Reshape(Reshape { shape: None }), [Some(x), Some(_)]) =
            (&graph[id].op, &graph[id].inputs[..])
        else {
            continue;
        };
        let x = *x;
        let Some(output) = graph[id].outputs.first() else { continue };
        let Some(shape) = attribute(graph[x].shape.dims(), graph[*output].shape.dims()) else { continue };
        graph[id].op = Reshape::to(shape).into();
        graph[id].inputs.truncate(1);
        count += 1;
    }
    if count > 0 {
        graph.remove_dead();
    }
    count
}

/// The new shape in terms of the input's, if no more than one size is left over.
fn attribute(before: &[Dim], after: &[Dim]) -> Option<Vec<ReshapeDim>> {
    let axes = after.iter().enumerate().map(|(axis, dim)| match dim {
        // A shape was computed so that the batch could be another one.
        Dim::Fixed(_) if axis == 0 && before.first() == Some(dim) => Some(ReshapeDim::Copy(0)),
        Dim::Fixed(size) => Some(ReshapeDim::Fixed(*size)),
        // As what is left over of a size that is not known, it would not be known either.
        Dim::Free(_) => before.iter().position(|known| known == dim).map(ReshapeDim::Copy),
        Dim::Unknown => Some(ReshapeDim::Infer),
    });
    let shape = axes.collect::<Option<Vec<ReshapeDim>>>()?;
    let left_over = shape.iter().filter(|dim| **dim == ReshapeDim::Infer).count();
    // Beside a size of zero, what is left over is not determined.
    (left_over == 0 || (left_over == 1 && !after.contains(&Dim::Fixed(0)))).then_some(shape)
}

#[cfg(test)]
mod tests {
    use crate::testing::{check, stays};

    #[test]
    fn a_shape_that_keeps_the_batch_is_an_attribute() {
        for batch in ["batch", "3"] {
            check(
                &[super::apply],
                &format!(
                    r#"graph main(%x: f32[{batch},2,3]) -> (%z) {{
                         %s: i32[3] = ShapeOf(%x) # flatten
                         %b: i32[] = StridedSlice(%s) {{"begin":[0],"end":[1],"strides":[1],"shrink_axis_mask":1}} # flatten
                         %n: i32[] = [6]
                         %p: i32[2] = Pack(%b, %n) # flatten
                         %z: f32[{batch},6] = Reshape(%x, %p) # flatten
                       }}"#
                ),
                &format!(
                    r#"graph main(%x: f32[{batch},2,3]) -> (%z) {{
                         %z: f32[{batch},6] = Reshape(%x) {{"shape":[{{"copy":0}},6]}} # flatten
                       }}"#
                ),
            );
        }
    }

    #[test]
    fn one_size_may_be_left_over() {
        check(
            &[super::apply],
            r#"graph main(%x: f32[batch,2,3]) -> (%z) {
                 %p: i32[2] = [-1,3]
                 %z: f32[?,3] = Reshape(%x, %p)
               }"#,
            r#"graph main(%x: f32[batch,2,3]) -> (%z) {
                 %z: f32[?,3] = Reshape(%x) {"shape":["infer",3]}
               }"#,
        );
    }

    #[test]
    fn what_the_caller_chooses_stays() {
        let text = "graph main(%x: f32[batch,6], %s: i32[2]) -> (%z) {
             %z: f32[?,?] = Reshape(%x, %s)
           }";
        stays(super::apply, text);
    }
}
