//! Products and polynomials, however they are bracketed.

use litesmith_graph::ops::{BinaryKind, UnaryKind};
use litesmith_graph::{NodeId, Op, TensorId};

use super::view::View;

/// Deepest nesting of products and sums that is looked into.
const DEEPEST: usize = 6;
/// Most factors of a product.
const MOST_FACTORS: usize = 8;
/// Constants that differ by no more than this, relatively, are the same: a few steps of single
/// precision, since they are products of rounded constants.
const TOLERANCE: f64 = 1e-6;

/// Whether a number is the expected one.
pub(super) fn near(value: f64, expected: f64) -> bool {
    (value - expected).abs() <= TOLERANCE * expected.abs().max(if expected == 0.0 { 1.0 } else { 0.0 })
}

/// A number times tensors.
pub(super) struct Product {
    pub(super) number: f64,
    pub(super) factors: Vec<TensorId>,
}

/// The result of `root` as a product. `whole` is not looked into, nor is anything that clamps.
pub(super) fn product(view: &View<'_>, root: NodeId, whole: Option<TensorId>) -> Option<Product> {
    let mut product = Product { number: 1.0, factors: Vec::new() };
    let output = *view.graph[root].outputs.first()?;
    let mut waiting = vec![(output, 0)];
    while let Some((id, depth)) = waiting.pop() {
        // The root may clamp: that is applied to what is made of it.
        let node = view.node(id).filter(|node| {
            let clamps = matches!(&node.op, Op::Binary(op) if !op.activation.is_none());
            Some(id) != whole && depth < DEEPEST && (depth == 0 || !clamps)
        });
        let binary = |kind| view.operands(node?, kind);
        let divided = || {
            let [a, divisor] = binary(BinaryKind::Div)?;
            Some((a, f64::from(view.number(divisor)?)))
        };
        if let Some(number) = view.number(id) {
            product.number *= f64::from(number);
        } else if let Some([a, b]) = binary(BinaryKind::Mul) {
            waiting.extend([(a, depth + 1), (b, depth + 1)]);
        } else if let Some((a, divisor)) = divided() {
            product.number /= divisor;
            waiting.push((a, depth + 1));
        } else if let Some(a) = node.and_then(|_| view.argument(id, UnaryKind::Neg)) {
            product.number = -product.number;
            waiting.push((a, depth + 1));
        } else {
            product.factors.push(id);
        }
        if product.factors.len() + waiting.len() > MOST_FACTORS {
            return None;
        }
    }
    Some(product)
}

/// Coefficients of a polynomial, the constant one first.
pub(super) type Polynomial = [f64; 4];

/// A tensor as a polynomial of `x` up to the third power.
pub(super) fn polynomial(view: &View<'_>, id: TensorId, x: TensorId) -> Option<Polynomial> {
    expand(view, id, x, 0)
}

/// As [`polynomial`], whatever clamps the sum itself.
pub(super) fn clamped_sum(view: &View<'_>, id: TensorId, x: TensorId) -> Option<Polynomial> {
    let [a, b] = view.operands(view.node(id)?, BinaryKind::Add)?;
    Some(sum(expand(view, a, x, 1)?, expand(view, b, x, 1)?, 1.0))
}

fn expand(view: &View<'_>, id: TensorId, x: TensorId, depth: usize) -> Option<Polynomial> {
    if id == x {
        return Some([0.0, 1.0, 0.0, 0.0]);
    }
    if let Some(number) = view.number(id) {
        return Some([f64::from(number), 0.0, 0.0, 0.0]);
    }
    if depth == DEEPEST {
        return None;
    }
    let part = |id| expand(view, id, x, depth + 1);
    if let Some((kind, a)) = view.unary(id) {
        return match kind {
            UnaryKind::Neg => part(a).map(|a| a.map(|a| -a)),
            UnaryKind::Square => part(a).and_then(|a| times(a, a)),
            _ => None,
        };
    }
    let Op::Binary(op) = &view.node(id)?.op else { return None };
    let [a, b] = view.binary(id, op.kind)?;
    match op.kind {
        BinaryKind::Add => Some(sum(part(a)?, part(b)?, 1.0)),
        BinaryKind::Sub => Some(sum(part(a)?, part(b)?, -1.0)),
        BinaryKind::Mul => times(part(a)?, part(b)?),
        BinaryKind::Div => {
            let divisor = f64::from(view.number(b)?);
            Some(part(a)?.map(|a| a / divisor))
        }
        BinaryKind::Pow => {
            let (a, exponent) = (part(a)?, view.number(b)?);
            let square = times(a, a)?;
            match exponent {
                2.0 => Some(square),
                3.0 => times(square, a),
                _ => None,
            }
        }
        _ => None,
    }
}

fn sum(a: Polynomial, b: Polynomial, sign: f64) -> Polynomial {
    std::array::from_fn(|power| a[power] + sign * b[power])
}

/// The product, if it has no power above the third.
fn times(a: Polynomial, b: Polynomial) -> Option<Polynomial> {
    let mut product = [0.0; 4];
    for (i, a) in a.into_iter().enumerate() {
        for (j, b) in b.into_iter().enumerate() {
            match product.get_mut(i + j) {
                Some(power) => *power += a * b,
                None if a * b == 0.0 => {}
                None => return None,
            }
        }
    }
    Some(product)
}

/// Whether all coefficients are the expected ones.
pub(super) fn is_near(polynomial: Polynomial, expected: Polynomial) -> bool {
    polynomial.into_iter().zip(expected).all(|(value, expected)| near(value, expected))
}
