//! Squares, roots and their inverses, and the squared difference.

use litesmith_graph::model::Parameter;
use litesmith_graph::ops::{Activation, Binary, BinaryKind, UnaryKind};
use litesmith_graph::{Graph, NodeId, Op};

use super::view::View;
use super::{Operand, Replacement, rewrite};

pub(crate) fn apply(graph: &mut Graph, parameters: &[Parameter]) -> usize {
    rewrite(graph, parameters, power)
}

fn power(view: &View<'_>, root: NodeId) -> Option<Replacement> {
    let node = &view.graph[root];
    let output = node.outputs[0];
    // A clamp would have to become an operator of its own.
    if matches!(&node.op, Op::Binary(Binary { activation, .. }) if *activation != Activation::None) {
        return None;
    }
    let same_shape = |x| view.dims(x) == view.dims(output);
    if let Some(x) = view.squared(output) {
        if let Some([a, b]) = view.binary(x, BinaryKind::Sub)
            && view.readers(x).len() == 1
            && !view.is_given_out(x)
        {
            let op = Binary::from(BinaryKind::SquaredDifference);
            return Some(Replacement::one(op, vec![Operand::Tensor(a), Operand::Tensor(b)]));
        }
        return same_shape(x).then(|| Replacement::unary(UnaryKind::Square, x));
    }
    if let Some([x, exponent]) = view.binary(output, BinaryKind::Pow) {
        let kind = match view.number(exponent)? {
            0.5 => UnaryKind::Sqrt,
            -0.5 => UnaryKind::Rsqrt,
            _ => return None,
        };
        return same_shape(x).then(|| Replacement::unary(kind, x));
    }
    let root = match view.binary(output, BinaryKind::Div) {
        Some([one, root]) => (view.number(one) == Some(1.0)).then_some(root)?,
        None => view.argument(output, UnaryKind::Reciprocal)?,
    };
    let x = view.argument(root, UnaryKind::Sqrt).filter(|x| same_shape(*x))?;
    Some(Replacement::unary(UnaryKind::Rsqrt, x))
}

#[cfg(test)]
mod tests {
    use crate::testing::{check, stays};

    fn becomes(statements: &str, result: &str) {
        check(
            &[super::apply],
            &format!(
                "graph main(%x: f32[4], %y: f32[4]) -> (%z) {{
                   %one: f32[] = [1]
                   %two: f32[] = [2]
                   %half: f32[] = [-0.5]
                   {statements}
                 }}"
            ),
            &format!("graph main(%x: f32[4], %y: f32[4]) -> (%z) {{\n%z: f32[4] = {result} # p\n}}"),
        );
    }

    #[test]
    fn powers_have_their_names() {
        becomes(r#"%z: f32[4] = Binary(%x, %x) {"kind":"mul"} # p"#, r#"Unary(%x) {"kind":"square"}"#);
        becomes(r#"%z: f32[4] = Binary(%x, %two) {"kind":"pow"} # p"#, r#"Unary(%x) {"kind":"square"}"#);
        becomes(r#"%z: f32[4] = Binary(%x, %half) {"kind":"pow"} # p"#, r#"Unary(%x) {"kind":"rsqrt"}"#);
        becomes(
            r#"%r: f32[4] = Unary(%x) {"kind":"sqrt"}
               %z: f32[4] = Binary(%one, %r) {"kind":"div"} # p"#,
            r#"Unary(%x) {"kind":"rsqrt"}"#,
        );
        becomes(
            r#"%d: f32[4] = Binary(%x, %y) {"kind":"sub"}
               %z: f32[4] = Unary(%d) {"kind":"square"} # p"#,
            r#"Binary(%x, %y) {"kind":"squared_difference"}"#,
        );
    }

    #[test]
    fn a_difference_that_others_read_is_squared_by_itself() {
        check(
            &[super::apply],
            r#"graph main(%x: f32[4], %y: f32[4]) -> (%z, %d) {
                 %d: f32[4] = Binary(%x, %y) {"kind":"sub"}
                 %z: f32[4] = Binary(%d, %d) {"kind":"mul"}
               }"#,
            r#"graph main(%x: f32[4], %y: f32[4]) -> (%z, %d) {
                 %d: f32[4] = Binary(%x, %y) {"kind":"sub"}
                 %z: f32[4] = Unary(%d) {"kind":"square"}
               }"#,
        );
    }

    #[test]
    fn a_clamped_product_stays() {
        let text = r#"graph main(%x: f32[4]) -> (%z) {
             %z: f32[4] = Binary(%x, %x) {"kind":"mul","activation":"relu6"}
           }"#;
        stays(super::apply, text);
    }
}
