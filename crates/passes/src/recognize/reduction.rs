//! Functions of whole vectors: means, softmax, vectors of length 1.

use litesmith_graph::model::Parameter;
use litesmith_graph::ops::{Binary, BinaryKind, L2Norm, Reduce, ReduceKind, Softmax, UnaryKind};
use litesmith_graph::{Dim, Graph, NodeId, Op, TensorId};

use super::terms::{near, product};
use super::view::View;
use super::{Operand, Replacement, rewrite};

/// The least length that [`L2Norm`] divides by.
const LEAST_LENGTH: f64 = 1e-6;

pub(crate) fn apply(graph: &mut Graph, parameters: &[Parameter]) -> usize {
    rewrite(graph, parameters, |view, root| {
        let Op::Binary(Binary { kind: BinaryKind::Mul | BinaryKind::Div, .. }) = &view.graph[root].op else {
            return None;
        };
        mean(view, root).or_else(|| softmax(view, root)).or_else(|| unit(view, root))
    })
}

/// A sum divided by the number of its terms.
fn mean(view: &View<'_>, root: NodeId) -> Option<Replacement> {
    let product = product(view, root, None)?;
    let [sum] = product.factors[..] else { return None };
    let (x, op) = view.reduction(sum)?;
    let axes = op.resolved_axes(view.dims(x).len()).ok()?;
    let mut sizes = axes.iter().map(|axis| view.dims(x)[*axis].fixed());
    let count = sizes.try_fold(1.0, |count, size| Some(count * size? as f64))?;
    let same_shape = view.dims(sum) == view.dims(view.graph[root].outputs[0]);
    let is_mean = op.kind == ReduceKind::Sum && same_shape && near(product.number * count, 1.0);
    let op = Reduce { kind: ReduceKind::Mean, ..op.clone() };
    is_mean.then(|| Replacement::one(op, vec![Operand::Tensor(x)]))
}

/// `exp(x - max(x)) / sum(exp(x - max(x)))` along the last axis. Any other number in the place of the
/// largest gives the same.
fn softmax(view: &View<'_>, root: NodeId) -> Option<Replacement> {
    let [powers, sum] = view.operands(&view.graph[root], BinaryKind::Div)?;
    let x = view.argument(powers, UnaryKind::Exp)?;
    let last = view.dims(x).len().checked_sub(1)?;
    let along_last = |id, kind| view.reduced(id, kind).filter(|(_, axes)| *axes == [last]).map(|(x, _)| x);
    if along_last(sum, ReduceKind::Sum) != Some(powers) {
        return None;
    }
    let below = view.binary(x, BinaryKind::Sub);
    let x = match below {
        Some([x, most]) if along_last(most, ReduceKind::Max) == Some(x) => x,
        _ => x,
    };
    Some(Replacement::one(Softmax::default(), vec![Operand::Tensor(x)]))
}

/// `x / max(length, 1e-6)` along the last axis, the bound at the length, its square or its inverse.
fn unit(view: &View<'_>, root: NodeId) -> Option<Replacement> {
    let node = &view.graph[root];
    let (x, squares) = match view.operands(node, BinaryKind::Div) {
        Some([x, length]) => (x, length_squared(view, length)?),
        None => {
            let [a, b] = view.operands(node, BinaryKind::Mul)?;
            [(a, b), (b, a)]
                .into_iter()
                .find_map(|(x, inverse)| Some((x, inverse_squared(view, inverse)?)))?
        }
    };
    let (square, axes) = view.reduced(squares, ReduceKind::Sum)?;
    let along_last = axes == [view.dims(x).len().checked_sub(1)?];
    let is_unit =
        view.squared(square) == Some(x) && along_last && matches!(view.dims(x).last(), Some(Dim::Fixed(_)));
    is_unit.then(|| Replacement::one(L2Norm {}, vec![Operand::Tensor(x)]))
}

/// The sum of squares of which a tensor is the root, bounded from below.
fn length_squared(view: &View<'_>, id: TensorId) -> Option<TensorId> {
    match view.argument(id, UnaryKind::Sqrt) {
        Some(squares) => at_least(view, squares, LEAST_LENGTH * LEAST_LENGTH),
        None => view.argument(at_least(view, id, LEAST_LENGTH)?, UnaryKind::Sqrt),
    }
}

/// The sum of squares of which a tensor is the inverse root, bounded from above.
fn inverse_squared(view: &View<'_>, id: TensorId) -> Option<TensorId> {
    if let Some(squares) = view.argument(id, UnaryKind::Rsqrt) {
        return at_least(view, squares, LEAST_LENGTH * LEAST_LENGTH);
    }
    let (inverse, most) = view.plus_number(view.binary(id, BinaryKind::Minimum)?)?;
    near(f64::from(most) * LEAST_LENGTH, 1.0).then(|| view.argument(inverse, UnaryKind::Rsqrt))?
}

fn at_least(view: &View<'_>, id: TensorId, least: f64) -> Option<TensorId> {
    let (x, number) = view.plus_number(view.binary(id, BinaryKind::Maximum)?)?;
    near(f64::from(number), least).then_some(x)
}

#[cfg(test)]
mod tests {
    use crate::testing::{check, stays};

    #[test]
    fn a_sum_over_its_count_is_a_mean() {
        check(
            &[super::apply],
            r#"graph main(%x: f32[batch,2,4,8]) -> (%z) {
                 %n: f32[] = [0.125]
                 %s: f32[batch,8] = Reduce(%x) {"kind":"sum","axes":[1,2]}
                 %z: f32[batch,8] = Binary(%s, %n) {"kind":"mul"} # gap
               }"#,
            r#"graph main(%x: f32[batch,2,4,8]) -> (%z) {
                 %z: f32[batch,8] = Reduce(%x) {"axes":[1,2]} # gap
               }"#,
        );
        let text = r#"graph main(%x: f32[batch,2]) -> (%z) {
             %n: f32[] = [3]
             %s: f32[batch] = Reduce(%x) {"kind":"sum","axes":[1]}
             %z: f32[batch] = Binary(%s, %n) {"kind":"div"}
           }"#;
        stays(super::apply, text);
    }

    #[test]
    fn shares_of_powers_are_softmax() {
        let spelled = |axis: usize| {
            format!(
                r#"graph main(%x: f32[batch,4,4]) -> (%z) {{
                     %m: f32[batch,{sizes}] = Reduce(%x) {{"kind":"max","axes":[{axis}],"keep_dims":true}}
                     %d: f32[batch,4,4] = Binary(%x, %m) {{"kind":"sub"}}
                     %e: f32[batch,4,4] = Unary(%d) {{"kind":"exp"}}
                     %s: f32[batch,{sizes}] = Reduce(%e) {{"kind":"sum","axes":[{axis}],"keep_dims":true}}
                     %z: f32[batch,4,4] = Binary(%e, %s) {{"kind":"div"}} # act
                   }}"#,
                sizes = if axis == 2 { "4,1" } else { "1,4" }
            )
        };
        check(
            &[super::apply],
            &spelled(2),
            "graph main(%x: f32[batch,4,4]) -> (%z) {
               %z: f32[batch,4,4] = Softmax(%x) # act
             }",
        );
        stays(super::apply, &spelled(1));
    }

    #[test]
    fn vectors_of_length_one() {
        let spelled = |rest: &str| {
            format!(
                r#"graph main(%x: f32[batch,4]) -> (%z) {{
                     %least: f32[] = [0.000000000001]
                     %length: f32[] = [0.000001]
                     %most: f32[] = [1000000]
                     %far: f32[] = [1000000000000]
                     %q: f32[batch,4] = Unary(%x) {{"kind":"square"}}
                     %s: f32[batch,1] = Reduce(%q) {{"kind":"sum","axes":[-1],"keep_dims":true}}
                     {rest}
                   }}"#
            )
        };
        let result = "graph main(%x: f32[batch,4]) -> (%z) {
             %z: f32[batch,4] = L2Norm(%x) # unit
           }";
        for rest in [
            r#"%m: f32[batch,1] = Binary(%s, %least) {"kind":"maximum"}
               %r: f32[batch,1] = Unary(%m) {"kind":"rsqrt"}
               %z: f32[batch,4] = Binary(%x, %r) {"kind":"mul"} # unit"#,
            r#"%r: f32[batch,1] = Unary(%s) {"kind":"sqrt"}
               %m: f32[batch,1] = Binary(%length, %r) {"kind":"maximum"}
               %z: f32[batch,4] = Binary(%x, %m) {"kind":"div"} # unit"#,
            r#"%r: f32[batch,1] = Unary(%s) {"kind":"rsqrt"}
               %m: f32[batch,1] = Binary(%r, %most) {"kind":"minimum"}
               %z: f32[batch,4] = Binary(%x, %m) {"kind":"mul"} # unit"#,
        ] {
            check(&[super::apply], &spelled(rest), result);
        }
        // Shorter vectors than the operator's bound would come out otherwise.
        let text = spelled(
            r#"%r: f32[batch,1] = Unary(%s) {"kind":"rsqrt"}
               %m: f32[batch,1] = Binary(%r, %far) {"kind":"minimum"}
               %z: f32[batch,4] = Binary(%x, %m) {"kind":"mul"}"#,
        );
        stays(super::apply, &text);
    }
}
