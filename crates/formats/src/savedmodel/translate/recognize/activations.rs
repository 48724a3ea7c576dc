//! Activations that are spelled as products and sums.

use std::f64::consts::{FRAC_1_SQRT_2, FRAC_2_SQRT_PI};

use super::pattern::{View, close};
use super::{GELU, GELU_APPROXIMATE, HARD_SIGMOID, HARD_SWISH, PRELU, Recognized, SILU, UNIT_NORM};
use crate::savedmodel::flow::Value;

/// What a product or a quotient is.
pub(super) fn product(view: &View<'_>, index: usize) -> Option<Recognized> {
    let root = Value::Node { node: index, output: 0 };
    let (factor, values) = view.product(root);
    match values.as_slice() {
        // With `* (1 / 6)` the product can become part of what is behind it.
        [gate] if view.flow.nodes[index].op == "RealDiv" && close(factor, 1.0 / 6.0) => {
            Some(Recognized::plain(HARD_SIGMOID, vec![hard_gate(view, *gate)?]))
        }
        [a, b] => of_two(view, factor, *a, *b).or_else(|| of_two(view, factor, *b, *a)),
        _ => None,
    }
}

/// `factor * x * gate`
fn of_two(view: &View<'_>, factor: f64, x: Value, gate: Value) -> Option<Recognized> {
    let of_x = |value: Value| Some(value).filter(|value| view.same(*value, x));
    let named = |op| Some(Recognized::plain(op, vec![x]));
    if close(factor, 1.0) {
        if let Some(inner) = view.input(gate, &["Sigmoid"]) {
            let (scale, inner) = view.scaled(inner)?;
            return of_x(inner).filter(|_| close(scale, 1.0)).and_then(|_| named(SILU));
        }
        if let Some(inner) = view.input(gate, &[HARD_SIGMOID]) {
            return of_x(inner).and_then(|_| named(HARD_SWISH));
        }
        if is_inverse_length(view, x, gate) {
            return named(UNIT_NORM);
        }
    }
    if close(factor, 1.0 / 6.0) {
        return hard_gate(view, gate).and_then(of_x).and_then(|_| named(HARD_SWISH));
    }
    if !close(factor, 0.5) {
        return None;
    }
    let (scale, inner) = match (view.input(gate, &["Erfc"]), view.shifted(gate)) {
        // erfc(-x) = 1 + erf(x)
        (Some(inner), _) => view.scaled(inner).map(|(scale, inner)| (-scale, inner))?,
        (None, Some((inner, shift))) if close(shift, 1.0) => {
            if let Some(inner) = view.input(inner, &["Tanh"]) {
                return is_cubic(view, x, inner).then(|| named(GELU_APPROXIMATE)).flatten();
            }
            view.scaled(view.input(inner, &["Erf"])?)?
        }
        _ => return None,
    };
    of_x(inner).filter(|_| close(scale, FRAC_1_SQRT_2)).and_then(|_| named(GELU))
}

/// `x` of `relu6(x + 3)`.
fn hard_gate(view: &View<'_>, gate: Value) -> Option<Value> {
    let (x, shift) = view.shifted(view.input(gate, &["Relu6"])?)?;
    close(shift, 3.0).then_some(x)
}

/// Whether a value is `sqrt(2 / pi) * (x + 0.044715 * x^3)`, however it is multiplied out.
fn is_cubic(view: &View<'_>, x: Value, value: Value) -> bool {
    const CUBE: f64 = 0.044_715;
    let (factor, values) = view.product(value);
    if !close(factor, FRAC_2_SQRT_PI * FRAC_1_SQRT_2) {
        return false;
    }
    let is_power = |value: Value, power: usize| {
        let (factor, values) = view.product(value);
        let product = values.len() == power && values.iter().all(|value| view.same(*value, x));
        let raised = match values.as_slice() {
            [value] => match view.inputs(*value, &["Pow"]) {
                Some([base, exponent]) => view.same(base, x) && view.number(exponent) == Some(power as f64),
                None => power == 2 && view.input(*value, &["Square"]).is_some_and(|base| view.same(base, x)),
            },
            _ => false,
        };
        close(factor, CUBE) && (product || raised)
    };
    match values.as_slice() {
        [sum] => view.pairs(*sum, &["AddV2", "Add"]).iter().any(|[a, b]| view.same(*a, x) && is_power(*b, 3)),
        [a, b] => [[a, b], [b, a]].iter().any(|[other, sum]| {
            let one = |[one, rest]: &[Value; 2]| view.number(*one) == Some(1.0) && is_power(*rest, 2);
            view.same(**other, x) && view.pairs(**sum, &["AddV2", "Add"]).iter().any(one)
        }),
        _ => false,
    }
}

/// Whether a value is `rsqrt(max(sum(x * x), a little))` along the last axis.
fn is_inverse_length(view: &View<'_>, x: Value, value: Value) -> bool {
    let Some(bounded) = view.input(value, &["Rsqrt"]) else { return false };
    view.pairs(bounded, &["Maximum"]).into_iter().any(|[sum, least]| {
        let little = view.number(least).is_some_and(|least| (0.0..=1e-6).contains(&least));
        let kept = view.node(sum).is_some_and(|node| node.attributes.flag("keep_dims"));
        let Some([square, axes]) = view.inputs(sum, &["Sum"]) else { return false };
        let squared = view.input(square, &["Square"]).is_some_and(|base| view.same(base, x))
            || view.inputs(square, &["Mul"]).is_some_and(|[a, b]| view.same(a, x) && view.same(b, x));
        little && kept && squared && view.integers(axes).as_deref() == Some(&[-1])
    })
}

/// What a sum or a difference is.
pub(super) fn sum(view: &View<'_>, index: usize) -> Option<Recognized> {
    let root = Value::Node { node: index, output: 0 };
    let node = &view.flow.nodes[index];
    let (sign, pairs) = match node.op.as_str() {
        "Sub" => (1.0, view.inputs(root, &["Sub"]).into_iter().collect()),
        _ => (-1.0, view.pairs(root, &["AddV2", "Add"])),
    };
    pairs.into_iter().find_map(|[positive, negative]: [Value; 2]| {
        let x = view.input(positive, &["Relu"])?;
        let (factor, values) = view.product(negative);
        let [a, b] = values[..] else { return None };
        let below = |value: Value| {
            let (scale, inner) = view.scaled(view.input(value, &["Relu"])?)?;
            (scale == -1.0 && view.same(inner, x)).then_some(())
        };
        let alpha = below(a).map(|()| b).or_else(|| below(b).map(|()| a))?;
        (factor == sign).then(|| Recognized::plain(PRELU, vec![x, alpha]))
    })
}
