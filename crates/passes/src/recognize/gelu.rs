//! The Gaussian error linear unit, by the error function or by its tanh approximation
//! (Hendrycks and Gimpel 2016), in all its bracketings.

use std::f64::consts::{FRAC_1_SQRT_2, FRAC_2_SQRT_PI};

use litesmith_graph::model::Parameter;
use litesmith_graph::ops::{BinaryKind, UnaryKind};
use litesmith_graph::{Graph, NodeId, Op, TensorId};

use super::terms::{Polynomial, is_near, near, polynomial, product};
use super::view::View;
use super::{Replacement, rewrite};

/// Factor of the third power in the approximation.
const CUBIC: f64 = 0.044_715;
/// Deepest nesting of a sum around the function.
const DEEPEST: usize = 4;

pub(crate) fn apply(graph: &mut Graph, parameters: &[Parameter]) -> usize {
    rewrite(graph, parameters, gelu)
}

/// A function that rises from -1 to 1.
#[derive(Clone, Copy, PartialEq)]
enum Rise {
    Erf,
    Tanh,
}

/// `offset + factor * rise(argument)`
struct Sum {
    offset: f64,
    factor: f64,
    rise: Rise,
    argument: TensorId,
}

fn gelu(view: &View<'_>, root: NodeId) -> Option<Replacement> {
    if !matches!(&view.graph[root].op, Op::Binary(op) if matches!(op.kind, BinaryKind::Mul | BinaryKind::Div))
    {
        return None;
    }
    let factors = product(view, root, None)?.factors;
    let (gate, sum) = factors.iter().find_map(|id| Some((*id, sum(view, *id, 0)?)))?;
    // The operand may be a product itself: any factor on the way may be it.
    let candidates = candidates(view, root);
    candidates.into_iter().find_map(|x| {
        let argument = polynomial(view, sum.argument, x)?;
        let whole = product(view, root, Some(x))?;
        let beside = whole.factors.len() == 2 && whole.factors.contains(&gate) && whole.factors.contains(&x);
        let half = near(whole.number * sum.offset, 0.5);
        let approximate = kind(&sum, argument, whole.number)?;
        (beside && half).then(|| Replacement::unary(UnaryKind::Gelu { approximate }, x))
    })
}

/// Which of the two it is, from the argument of the function that rises.
fn kind(sum: &Sum, argument: Polynomial, number: f64) -> Option<bool> {
    // Both functions are odd.
    let sign = if sum.factor * number < 0.0 { -1.0 } else { 1.0 };
    if !near(sign * sum.factor * number, 0.5) {
        return None;
    }
    let slope = FRAC_2_SQRT_PI * FRAC_1_SQRT_2;
    let (expected, approximate) = match sum.rise {
        Rise::Erf => ([0.0, FRAC_1_SQRT_2, 0.0, 0.0], false),
        Rise::Tanh => ([0.0, slope, 0.0, slope * CUBIC], true),
    };
    is_near(argument.map(|coefficient| sign * coefficient), expected).then_some(approximate)
}

/// The factors of a product at every depth.
fn candidates(view: &View<'_>, root: NodeId) -> Vec<TensorId> {
    let mut found: Vec<TensorId> = view.graph[root].present_inputs().collect();
    let mut next = 0;
    while next < found.len() && found.len() < 16 {
        for kind in [BinaryKind::Mul, BinaryKind::Div] {
            found.extend(view.binary(found[next], kind).into_iter().flatten());
        }
        found.extend(view.argument(found[next], UnaryKind::Neg));
        next += 1;
    }
    found.retain(|id| !view.is_fixed(*id));
    found
}

fn sum(view: &View<'_>, id: TensorId, depth: usize) -> Option<Sum> {
    if let Some(found) = rise(view, id) {
        return Some(found);
    }
    if depth == DEEPEST {
        return None;
    }
    let part = |id| sum(view, id, depth + 1);
    let scaled = |sum: Sum, by: f64| Sum { offset: sum.offset * by, factor: sum.factor * by, ..sum };
    if let Some(operands) = view.binary(id, BinaryKind::Add) {
        let (inner, number) = view.plus_number(operands)?;
        return part(inner).map(|sum| Sum { offset: sum.offset + f64::from(number), ..sum });
    }
    if let Some(operands @ [minuend, _]) = view.binary(id, BinaryKind::Sub) {
        let (inner, number) = view.plus_number(operands)?;
        let number = f64::from(number);
        return part(inner).map(|sum| {
            if inner == minuend {
                Sum { offset: sum.offset - number, ..sum }
            } else {
                let sum = scaled(sum, -1.0);
                Sum { offset: sum.offset + number, ..sum }
            }
        });
    }
    if let Some(operands) = view.binary(id, BinaryKind::Mul) {
        let (inner, number) = view.plus_number(operands)?;
        return part(inner).map(|sum| scaled(sum, f64::from(number)));
    }
    None
}

/// The functions themselves. TFLite and our graph have no operator for the error function: where a
/// file has it, it is one that only its name is known of.
fn rise(view: &View<'_>, id: TensorId) -> Option<Sum> {
    let node = view.node(id)?;
    let argument = (*node.inputs.first()?)?;
    let (offset, factor, rise) = match &node.op {
        Op::Unary(op) if op.kind == UnaryKind::Tanh => (0.0, 1.0, Rise::Tanh),
        Op::Custom(op) if node.inputs.len() == 1 => match op.name.as_str() {
            "Erf" | "FlexErf" => (0.0, 1.0, Rise::Erf),
            "Erfc" | "FlexErfc" => (1.0, -1.0, Rise::Erf),
            _ => return None,
        },
        _ => return None,
    };
    Some(Sum { offset, factor, rise, argument })
}

#[cfg(test)]
mod tests {
    use crate::testing::{check, stays};

    fn becomes(statements: &str, approximate: bool) {
        check(
            &[super::apply],
            &format!(
                "graph main(%x: f32[2,4]) -> (%z) {{
                   %half: f32[] = [0.5]
                   %one: f32[] = [1]
                   %root: f32[] = [1.4142135]
                   %inverse: f32[] = [0.70710678]
                   %slope: f32[] = [0.797884583]
                   %cubic: f32[] = [0.044715]
                   %product: f32[] = [0.0356774081]
                   %three: f32[] = [3]
                   {}
                 }}",
                statements.replace("CUSTOM", r#""output_types":["f32"],"output_shapes":[[2,4]]"#)
            ),
            &format!(
                r#"graph main(%x: f32[2,4]) -> (%z) {{
                     %z: f32[2,4] = Unary(%x) {{"kind":{{"gelu":{{"approximate":{approximate}}}}}}} # act
                   }}"#
            ),
        );
    }

    #[test]
    fn by_the_error_function() {
        becomes(
            r#"%a: f32[2,4] = Binary(%x, %root) {"kind":"div"}
               %e: f32[2,4] = Custom(%a) {"name":"Erf",CUSTOM}
               %s: f32[2,4] = Binary(%one, %e)
               %h: f32[2,4] = Binary(%half, %x) {"kind":"mul"}
               %z: f32[2,4] = Binary(%h, %s) {"kind":"mul"} # act"#,
            false,
        );
        becomes(
            r#"%a: f32[2,4] = Binary(%x, %inverse) {"kind":"mul"}
               %e: f32[2,4] = Custom(%a) {"name":"FlexErf",CUSTOM}
               %s: f32[2,4] = Binary(%e, %one)
               %p: f32[2,4] = Binary(%x, %s) {"kind":"mul"}
               %z: f32[2,4] = Binary(%p, %half) {"kind":"mul"} # act"#,
            false,
        );
        becomes(
            r#"%a: f32[2,4] = Binary(%x, %inverse) {"kind":"mul"}
               %e: f32[2,4] = Custom(%a) {"name":"Erf",CUSTOM}
               %p: f32[2,4] = Binary(%e, %half) {"kind":"mul"}
               %s: f32[2,4] = Binary(%p, %half)
               %z: f32[2,4] = Binary(%s, %x) {"kind":"mul"} # act"#,
            false,
        );
    }

    #[test]
    fn by_its_complement() {
        becomes(
            r#"%h: f32[2,4] = Binary(%half, %x) {"kind":"mul"}
               %n: f32[2,4] = Unary(%x) {"kind":"neg"}
               %a: f32[2,4] = Binary(%n, %inverse) {"kind":"mul"}
               %e: f32[2,4] = Custom(%a) {"name":"Erfc",CUSTOM}
               %z: f32[2,4] = Binary(%h, %e) {"kind":"mul"} # act"#,
            false,
        );
    }

    #[test]
    fn by_tanh() {
        becomes(
            r#"%c: f32[2,4] = Binary(%x, %three) {"kind":"pow"}
               %m: f32[2,4] = Binary(%cubic, %c) {"kind":"mul"}
               %a: f32[2,4] = Binary(%x, %m)
               %u: f32[2,4] = Binary(%slope, %a) {"kind":"mul"}
               %t: f32[2,4] = Unary(%u) {"kind":"tanh"}
               %s: f32[2,4] = Binary(%one, %t)
               %h: f32[2,4] = Binary(%half, %x) {"kind":"mul"}
               %z: f32[2,4] = Binary(%h, %s) {"kind":"mul"} # act"#,
            true,
        );
        becomes(
            r#"%q: f32[2,4] = Unary(%x) {"kind":"square"}
               %m: f32[2,4] = Binary(%q, %product) {"kind":"mul"}
               %a: f32[2,4] = Binary(%m, %slope)
               %u: f32[2,4] = Binary(%a, %x) {"kind":"mul"}
               %t: f32[2,4] = Unary(%u) {"kind":"tanh"}
               %s: f32[2,4] = Binary(%t, %one)
               %g: f32[2,4] = Binary(%s, %half) {"kind":"mul"}
               %z: f32[2,4] = Binary(%x, %g) {"kind":"mul"} # act"#,
            true,
        );
    }

    #[test]
    fn the_operand_may_be_a_product() {
        check(
            &[super::apply],
            r#"graph main(%u: f32[4], %v: f32[4]) -> (%z) {
                 %half: f32[] = [0.5]
                 %one: f32[] = [1]
                 %inverse: f32[] = [0.70710678]
                 %x: f32[4] = Binary(%u, %v) {"kind":"mul"}
                 %a: f32[4] = Binary(%x, %inverse) {"kind":"mul"}
                 %e: f32[4] = Custom(%a) {"name":"Erf","output_types":["f32"],"output_shapes":[[4]]}
                 %s: f32[4] = Binary(%one, %e)
                 %h: f32[4] = Binary(%half, %x) {"kind":"mul"}
                 %z: f32[4] = Binary(%h, %s) {"kind":"mul"}
               }"#,
            r#"graph main(%u: f32[4], %v: f32[4]) -> (%z) {
                 %x: f32[4] = Binary(%u, %v) {"kind":"mul"}
                 %z: f32[4] = Unary(%x) {"kind":{"gelu":{"approximate":false}}}
               }"#,
        );
    }

    #[test]
    fn other_constants_stay() {
        let text = r#"graph main(%x: f32[4]) -> (%z) {
             %half: f32[] = [0.5]
             %one: f32[] = [1]
             %inverse: f32[] = [0.7]
             %a: f32[4] = Binary(%x, %inverse) {"kind":"mul"}
             %e: f32[4] = Custom(%a) {"name":"Erf","output_types":["f32"],"output_shapes":[[4]]}
             %s: f32[4] = Binary(%one, %e)
             %h: f32[4] = Binary(%half, %x) {"kind":"mul"}
             %z: f32[4] = Binary(%h, %s) {"kind":"mul"}
           }"#;
        stays(super::apply, text);
    }
}
