//! Logistic gates and their piecewise linear kin: logistic, swish, hard sigmoid, hard swish.

use litesmith_graph::model::Parameter;
use litesmith_graph::ops::{Activation, BinaryKind, UnaryKind};
use litesmith_graph::{Graph, NodeId, Op, TensorId};

use super::terms::{clamped_sum, is_near, near, polynomial, product};
use super::view::View;
use super::{Replacement, rewrite};

pub(crate) fn apply(graph: &mut Graph, parameters: &[Parameter]) -> usize {
    rewrite(graph, parameters, |view, root| logistic(view, root).or_else(|| gated(view, root)))
}

/// `1 / (1 + exp(-x))`
fn logistic(view: &View<'_>, root: NodeId) -> Option<Replacement> {
    let output = view.graph[root].outputs[0];
    let divisor = match view.operands(&view.graph[root], BinaryKind::Div) {
        Some([one, divisor]) => (view.number(one) == Some(1.0)).then_some(divisor)?,
        None => view.argument(output, UnaryKind::Reciprocal)?,
    };
    let (power, number) = view.plus_number(view.binary(divisor, BinaryKind::Add)?)?;
    let exponent = view.argument(power, UnaryKind::Exp).filter(|_| number == 1.0)?;
    let x = view.argument(exponent, UnaryKind::Neg)?;
    Some(Replacement::unary(UnaryKind::Logistic, x))
}

/// A function of `x` between 0 and `scale`.
struct Gate {
    x: TensorId,
    scale: f64,
    hard: bool,
}

/// A gate alone or times its own operand.
fn gated(view: &View<'_>, root: NodeId) -> Option<Replacement> {
    let output = view.graph[root].outputs[0];
    if let Some(gate) = gate(view, output).filter(|gate| gate.hard && gate.scale == 1.0) {
        let known = matches!(view.unary(output), Some((UnaryKind::HardSigmoid, _)));
        return (!known).then(|| Replacement::unary(UnaryKind::HardSigmoid, gate.x));
    }
    if !matches!(&view.graph[root].op, Op::Binary(op) if matches!(op.kind, BinaryKind::Mul | BinaryKind::Div))
    {
        return None;
    }
    product(view, root, None)?.factors.into_iter().find_map(|factor| {
        let gate = gate(view, factor)?;
        let whole = product(view, root, Some(gate.x))?;
        if !near(whole.number * gate.scale, 1.0) {
            return None;
        }
        let kind = match whole.factors.as_slice() {
            [only] if *only == factor && gate.hard => UnaryKind::HardSigmoid,
            [a, b] if [*a, *b] == [gate.x, factor] || [*b, *a] == [gate.x, factor] => {
                if gate.hard {
                    UnaryKind::HardSwish
                } else {
                    UnaryKind::Silu
                }
            }
            _ => return None,
        };
        Some(Replacement::unary(kind, gate.x))
    })
}

/// A tensor as a gate.
fn gate(view: &View<'_>, id: TensorId) -> Option<Gate> {
    let node = view.node(id)?;
    if let Op::Binary(op) = &node.op {
        if op.activation != Activation::Relu6 {
            return None;
        }
        let (x, _) = view.plus_number(view.operands(node, BinaryKind::Add)?)?;
        let shifted = is_near(clamped_sum(view, id, x)?, [3.0, 1.0, 0.0, 0.0]);
        return shifted.then_some(Gate { x, scale: 6.0, hard: true });
    }
    let (kind, inner) = view.unary(id)?;
    let gate = |expected, scale| {
        let (x, _) = view.plus_number(view.binary(inner, BinaryKind::Add)?)?;
        let candidates = [Some(x), operand(view, x)];
        let x = candidates
            .into_iter()
            .flatten()
            .find(|x| polynomial(view, inner, *x).is_some_and(|polynomial| is_near(polynomial, expected)))?;
        Some(Gate { x, scale, hard: true })
    };
    match kind {
        UnaryKind::Logistic => Some(Gate { x: inner, scale: 1.0, hard: false }),
        UnaryKind::HardSigmoid => Some(Gate { x: inner, scale: 1.0, hard: true }),
        UnaryKind::Relu6 => gate([3.0, 1.0, 0.0, 0.0], 6.0),
        UnaryKind::Clip { min: 0.0, max: 6.0 } => gate([3.0, 1.0, 0.0, 0.0], 6.0),
        UnaryKind::Clip { min: 0.0, max: 1.0 } => gate([0.5, 1.0 / 6.0, 0.0, 0.0], 1.0),
        _ => None,
    }
}

/// What a tensor is a constant multiple of.
fn operand(view: &View<'_>, id: TensorId) -> Option<TensorId> {
    match (view.binary(id, BinaryKind::Mul), view.binary(id, BinaryKind::Div)) {
        (Some([a, b]), _) => Some(if view.number(a).is_some() { b } else { a }),
        (None, Some([a, _])) => Some(a),
        (None, None) => None,
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{check, stays};

    fn becomes(statements: &str, kind: &str) {
        check(
            &[super::apply],
            &format!(
                "graph main(%x: f32[batch,4]) -> (%z) {{
                   %one: f32[] = [1]
                   %three: f32[] = [3]
                   %six: f32[] = [6]
                   %sixth: f32[1] = [0.16666667]
                   %half: f32[] = [0.5]
                   {statements}
                 }}"
            ),
            &format!(
                r#"graph main(%x: f32[batch,4]) -> (%z) {{
                     %z: f32[batch,4] = Unary(%x) {{"kind":"{kind}"}} # act
                   }}"#
            ),
        );
    }

    #[test]
    fn soft_gates_have_their_names() {
        becomes(
            r#"%g: f32[batch,4] = Unary(%x) {"kind":"logistic"} # act
               %z: f32[batch,4] = Binary(%g, %x) {"kind":"mul"} # act"#,
            "silu",
        );
        becomes(
            r#"%n: f32[batch,4] = Unary(%x) {"kind":"neg"}
               %e: f32[batch,4] = Unary(%n) {"kind":"exp"}
               %s: f32[batch,4] = Binary(%one, %e)
               %z: f32[batch,4] = Binary(%one, %s) {"kind":"div"} # act"#,
            "logistic",
        );
    }

    #[test]
    fn hard_gates_have_their_names_in_every_spelling() {
        let clamped = r#"%s: f32[batch,4] = Binary(%x, %three)
                         %c: f32[batch,4] = Unary(%s) {"kind":"relu6"}"#;
        let fused = r#"%c: f32[batch,4] = Binary(%three, %x) {"activation":"relu6"}"#;
        for clamped in [clamped, fused] {
            let with = |rest: &str| format!("{clamped}\n{rest}");
            becomes(&with(r#"%z: f32[batch,4] = Binary(%c, %six) {"kind":"div"} # act"#), "hard_sigmoid");
            becomes(&with(r#"%z: f32[batch,4] = Binary(%sixth, %c) {"kind":"mul"} # act"#), "hard_sigmoid");
            for rest in [
                r#"%d: f32[batch,4] = Binary(%c, %six) {"kind":"div"}
                   %z: f32[batch,4] = Binary(%x, %d) {"kind":"mul"} # act"#,
                r#"%d: f32[batch,4] = Binary(%c, %x) {"kind":"mul"}
                   %z: f32[batch,4] = Binary(%d, %sixth) {"kind":"mul"} # act"#,
                r#"%d: f32[batch,4] = Binary(%x, %six) {"kind":"div"}
                   %z: f32[batch,4] = Binary(%d, %c) {"kind":"mul"} # act"#,
            ] {
                becomes(&with(rest), "hard_swish");
            }
        }
        let clip = r#"%s: f32[batch,4] = Binary(%x, %sixth) {"kind":"mul"}
                      %t: f32[batch,4] = Binary(%s, %half)"#;
        let last = r#"%z: f32[batch,4] = Unary(%t) {"kind":{"clip":{"min":0.0,"max":1.0}}} # act"#;
        becomes(&format!("{clip}\n{last}"), "hard_sigmoid");
        becomes(
            r#"%h: f32[batch,4] = Unary(%x) {"kind":"hard_sigmoid"}
               %z: f32[batch,4] = Binary(%h, %x) {"kind":"mul"} # act"#,
            "hard_swish",
        );
    }

    #[test]
    fn a_gate_of_something_else_or_with_other_readers_stays() {
        for text in [
            r#"graph main(%x: f32[4], %y: f32[4]) -> (%z) {
                 %g: f32[4] = Unary(%x) {"kind":"logistic"}
                 %z: f32[4] = Binary(%g, %y) {"kind":"mul"}
               }"#,
            r#"graph main(%x: f32[4]) -> (%z, %g) {
                 %g: f32[4] = Unary(%x) {"kind":"logistic"}
                 %z: f32[4] = Binary(%g, %x) {"kind":"mul"}
               }"#,
            r#"graph main(%x: f32[4]) -> (%z) {
                 %c: f32[] = [0.2]
                 %three: f32[] = [3]
                 %s: f32[4] = Binary(%x, %three) {"activation":"relu6"}
                 %z: f32[4] = Binary(%s, %c) {"kind":"mul"}
               }"#,
            r#"graph main(%x: f32[4]) -> (%z, %q) {
                 %g: f32[4] = Unary(%x) {"kind":"logistic"}
                 %z: f32[4] = Binary(%g, %x) {"kind":"mul"}
                 %q: i8[4] q{"scales":[0.1],"zero_points":[0]} = Quantize(%x)
               }"#,
        ] {
            stays(super::apply, text);
        }
    }
}
