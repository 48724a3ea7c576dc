//! Products with a matrix of weights along the last axis, spelled by flattening the leading axes or as
//! a product of two matrices.

use litesmith_graph::model::Parameter;
use litesmith_graph::ops::{FullyConnected, Transpose};
use litesmith_graph::{Dim, Graph, Node, NodeId, Op, TensorId};

use super::view::View;
use super::{Operand, Replacement, rewrite};

pub(crate) fn apply(graph: &mut Graph, parameters: &[Parameter]) -> usize {
    rewrite(graph, parameters, |view, root| flattened(view, root).or_else(|| multiplied(view, root)))
}

/// Rows made of all leading axes, their product, and the leading axes again. The product takes rows as
/// long as those of the weights, so that it does not matter how they were made.
fn flattened(view: &View<'_>, root: NodeId) -> Option<Replacement> {
    let node = &view.graph[root];
    let Op::Reshape(_) = node.op else { return None };
    let found = Product::of(view, view.node((*node.inputs.first()?)?)?)?;
    let x = match view.node(found.x) {
        Some(node) if matches!(node.op, Op::Reshape(_)) => (*node.inputs.first()?)?,
        _ => found.x,
    };
    let (before, after) = (view.dims(x), view.dims(node.outputs[0]));
    let rank = before.len();
    let keeps = rank > 2 && after.len() == rank && same_sizes(&before[..rank - 1], &after[..rank - 1]);
    let sizes = (view.channels(x)?, view.channels(node.outputs[0])?);
    (keeps && sizes == (found.depth, found.units)).then(|| found.along_last_axis(x, true))
}

/// Whether axes have equal sizes, given that their products are equal: one that is not known follows
/// from the others.
fn same_sizes(before: &[Dim], after: &[Dim]) -> bool {
    let unknown = before.iter().filter(|dim| **dim == Dim::Unknown).count();
    let zero = before.contains(&Dim::Fixed(0));
    before == after && unknown <= 1 && (unknown == 0 || !zero)
}

/// A product with one matrix that is fixed.
fn multiplied(view: &View<'_>, root: NodeId) -> Option<Replacement> {
    let node = &view.graph[root];
    let Op::BatchMatMul(_) = node.op else { return None };
    let found = Product::of(view, node)?;
    let x = found.x;
    Some(found.along_last_axis(x, view.dims(x).len() > 2))
}

/// A product with a matrix of weights.
struct Product<'a> {
    name: &'a str,
    op: FullyConnected,
    x: TensorId,
    /// The matrix, and whether its columns are the units.
    weights: (TensorId, bool),
    bias: Option<TensorId>,
    depth: usize,
    units: usize,
}

impl<'a> Product<'a> {
    fn of(view: &View<'_>, node: &'a Node) -> Option<Product<'a>> {
        let input = |index: usize| node.inputs.get(index).copied().flatten();
        let (x, matrix) = (input(0)?, input(1)?);
        let [Dim::Fixed(first), Dim::Fixed(second)] = view.dims(matrix) else { return None };
        let (op, columns) = match &node.op {
            Op::FullyConnected(op) => (op.clone(), false),
            Op::BatchMatMul(op) if !op.adjoint_a && view.is_fixed(matrix) && view.is_plain(matrix) => {
                (FullyConnected::default(), !op.adjoint_b)
            }
            _ => return None,
        };
        let (depth, units) = if columns { (*first, *second) } else { (*second, *first) };
        let name = node.name.as_str();
        Some(Product { name, op, x, weights: (matrix, columns), bias: input(2), depth, units })
    }

    fn along_last_axis(&self, x: TensorId, keep_num_dims: bool) -> Replacement {
        let mut replacement = Replacement::new();
        let (weights, columns) = self.weights;
        let mut weights = Operand::Tensor(weights);
        if columns {
            weights = replacement.push("kernel", Transpose::by(&[1, 0]), vec![weights]);
        }
        let mut inputs = vec![Operand::Tensor(x), weights];
        inputs.extend(self.bias.map(Operand::Tensor));
        replacement.push("", FullyConnected { keep_num_dims, ..self.op.clone() }, inputs);
        replacement.name = Some(self.name.to_owned());
        replacement
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{check, stays};

    fn flattened(last: &str, shape: &str) -> String {
        format!(
            r#"graph main(%x: f32[batch,4,3]) -> (%z) {{
                 %w: f32[2,3] = [1,2,3,4,5,6]
                 %b: f32[2] = [1,2]
                 %r: f32[?,3] = Reshape(%x) {{"shape":["infer",3]}} # dense
                 %y: f32[?,2] = FullyConnected(%r, %w, %b) {{"activation":"relu"}} # dense
                 %z: f32{shape} = Reshape(%y) {{"shape":{last}}} # reshape
               }}"#
        )
    }

    #[test]
    fn leading_axes_stay() {
        // A computed shape is known to be the input's, one that is inferred is not.
        check(
            &[super::apply],
            r#"graph main(%x: f32[batch,4,3]) -> (%z) {
                 %w: f32[2,3] = [1,2,3,4,5,6]
                 %b: f32[2] = [1,2]
                 %s: i32[3] = ShapeOf(%x) # dense
                 %p: i32[2] = Slice(%s) {"begin":[0],"size":[2]} # dense
                 %u: i32[1] = [2]
                 %c: i32[3] = Concat(%p, %u) # dense
                 %r: f32[?,3] = Reshape(%x) {"shape":["infer",3]} # dense
                 %y: f32[?,2] = FullyConnected(%r, %w, %b) {"activation":"relu"} # dense
                 %z: f32[batch,4,2] = Reshape(%y, %c) # dense
               }"#,
            r#"graph main(%x: f32[batch,4,3]) -> (%z) {
                 %w: f32[2,3] = [1,2,3,4,5,6]
                 %b: f32[2] = [1,2]
                 %z: f32[batch,4,2] = FullyConnected(%x, %w, %b) {"keep_num_dims":true,"activation":"relu"} # dense
               }"#,
        );
    }

    #[test]
    fn rows_times_a_matrix_are_the_same() {
        check(
            &[super::apply, crate::fold_constants::apply],
            r#"parameter @dense/kernel: f32[3,2] trainable = [1,2,3,4,5,6]
               graph main(%x: f32[4,5,3]) -> (%z) {
                 %r: f32[20,3] = Reshape(%x) {"shape":[20,3]} # dense
                 %y: f32[20,2] = BatchMatMul(%r, @dense/kernel) # dense
                 %z: f32[4,5,2] = Reshape(%y) {"shape":[4,5,2]} # reshape
               }"#,
            r#"parameter @dense/kernel: f32[3,2] trainable = [1,2,3,4,5,6]
               graph main(%x: f32[4,5,3]) -> (%z) {
                 %z/kernel: f32[2,3] = [1,3,5,2,4,6]
                 %z: f32[4,5,2] = FullyConnected(%x, %z/kernel) {"keep_num_dims":true} # dense
               }"#,
        );
    }

    #[test]
    fn other_axes_stay_as_they_are() {
        let text = flattened(r#"["infer",8]"#, "[?,8]");
        stays(super::apply, &text);
    }

    #[test]
    fn a_fixed_matrix_is_weights() {
        check(
            &[super::apply, crate::fold_constants::apply],
            r#"parameter @dense/kernel: f32[3,2] trainable = [1,2,3,4,5,6]
               graph main(%x: f32[batch,4,3]) -> (%z) {
                 %z: f32[batch,4,2] = BatchMatMul(%x, @dense/kernel) # dense
               }"#,
            r#"parameter @dense/kernel: f32[3,2] trainable = [1,2,3,4,5,6]
               graph main(%x: f32[batch,4,3]) -> (%z) {
                 %z/kernel: f32[2,3] = [1,3,5,2,4,6]
                 %z: f32[batch,4,2] = FullyConnected(%x, %z/kernel) {"keep_num_dims":true} # dense
               }"#,
        );
    }
}
