//! The algebra of normalization: a difference from a mean, divided by a root, scaled and shifted, in
//! whichever order a graph computes it.

use litesmith_graph::ops::{BinaryKind, UnaryKind};
use litesmith_graph::{Node, TensorId};

use super::view::View;

/// `(x - mean) / sqrt(variance + epsilon) * gamma + beta`, as far as it has them.
pub(super) struct Normal {
    pub(super) x: TensorId,
    pub(super) mean: Option<TensorId>,
    pub(super) inverse: Inverse,
    pub(super) beta: Option<TensorId>,
}

/// `gamma / sqrt(variance + epsilon)`
pub(super) struct Inverse {
    pub(super) variance: TensorId,
    pub(super) epsilon: f32,
    pub(super) gamma: Option<TensorId>,
}

/// The result of a node as a normalization. Nothing is said yet of what mean and variance are.
pub(super) fn normal(view: &View<'_>, node: &Node) -> Option<Normal> {
    distributed(view, node).or_else(|| shifted(view, node)).or_else(|| scaled(view, node))
}

/// `x * m + (beta - mean * m)` with `m = gamma / sqrt(variance + epsilon)`
fn distributed(view: &View<'_>, node: &Node) -> Option<Normal> {
    let (ways, minus) = match view.operands(node, BinaryKind::Add) {
        Some([a, b]) => (vec![(a, b), (b, a)], false),
        None => (vec![view.operands(node, BinaryKind::Sub)?.into()], true),
    };
    ways.into_iter().find_map(|(product, offset)| {
        let [a, b] = view.binary(product, BinaryKind::Mul)?;
        [(a, b), (b, a)].into_iter().find_map(|(x, m)| {
            let inverse = inverse(view, m).filter(|_| !view.is_fixed(x))?;
            let (mean, beta) =
                if minus { (times(view, offset, m)?, None) } else { offset_of(view, offset, m)? };
            Some(Normal { x, mean: Some(mean), inverse, beta })
        })
    })
}

/// Mean and beta of `beta - mean * m`.
fn offset_of(view: &View<'_>, id: TensorId, m: TensorId) -> Option<(TensorId, Option<TensorId>)> {
    if let Some([beta, product]) = view.binary(id, BinaryKind::Sub) {
        return Some((times(view, product, m)?, Some(beta))).filter(|_| view.is_fixed(beta));
    }
    if let Some([a, b]) = view.binary(id, BinaryKind::Add) {
        let mean = |(product, beta)| {
            Some((minus_times(view, product, m)?, Some(beta))).filter(|_| view.is_fixed(beta))
        };
        return mean((a, b)).or_else(|| mean((b, a)));
    }
    Some((minus_times(view, id, m)?, None))
}

/// What is multiplied by `m`.
fn times(view: &View<'_>, id: TensorId, m: TensorId) -> Option<TensorId> {
    let [a, b] = view.binary(id, BinaryKind::Mul)?;
    if b == m { Some(a) } else { (a == m).then_some(b) }
}

/// What is negated and multiplied by `m`.
fn minus_times(view: &View<'_>, id: TensorId, m: TensorId) -> Option<TensorId> {
    match view.argument(id, UnaryKind::Neg) {
        Some(product) => times(view, product, m),
        None => view.argument(times(view, id, m)?, UnaryKind::Neg),
    }
}

/// Something normalized plus beta.
fn shifted(view: &View<'_>, node: &Node) -> Option<Normal> {
    let [a, b] = view.operands(node, BinaryKind::Add)?;
    let (inner, beta) = if view.is_fixed(b) { (a, b) } else { (b, a) };
    let normal = scaled(view, view.bare(inner)?)?;
    view.is_fixed(beta).then_some(Normal { beta: Some(beta), ..normal })
}

/// `(x - mean) * m`, or gamma times that.
fn scaled(view: &View<'_>, node: &Node) -> Option<Normal> {
    if let Some([a, b]) = view.operands(node, BinaryKind::Mul) {
        return [(a, b), (b, a)].into_iter().find_map(|(centered, m)| match inverse(view, m) {
            Some(inverse) => Some(around_mean(view, centered, inverse)),
            None if view.is_fixed(m) => {
                let normal = divided(view, view.bare(centered)?)?;
                let inverse = Inverse { gamma: Some(m), ..normal.inverse };
                Some(Normal { inverse, ..normal })
            }
            None => None,
        });
    }
    if let Some(normal) = divided(view, node) {
        let scale = normal.mean.is_none().then(|| view.binary(normal.x, BinaryKind::Mul)).flatten();
        let gamma =
            scale.and_then(
                |[a, b]| if view.is_fixed(b) { Some((a, b)) } else { view.is_fixed(a).then_some((b, a)) },
            );
        return Some(match gamma {
            Some((centered, gamma)) if view.binary(centered, BinaryKind::Sub).is_some() => {
                around_mean(view, centered, Inverse { gamma: Some(gamma), ..normal.inverse })
            }
            _ => normal,
        });
    }
    None
}

/// `(x - mean) / sqrt(variance + epsilon)` without gamma.
fn divided(view: &View<'_>, node: &Node) -> Option<Normal> {
    if let Some([centered, root]) = view.operands(node, BinaryKind::Div) {
        let (variance, epsilon) = sum(view, view.argument(root, UnaryKind::Sqrt)?);
        return Some(around_mean(view, centered, Inverse { variance, epsilon, gamma: None }));
    }
    let [a, b] = view.operands(node, BinaryKind::Mul)?;
    [(a, b), (b, a)].into_iter().find_map(|(centered, root)| {
        let (variance, epsilon) = inverse_root(view, root)?;
        Some(around_mean(view, centered, Inverse { variance, epsilon, gamma: None }))
    })
}

fn around_mean(view: &View<'_>, centered: TensorId, inverse: Inverse) -> Normal {
    match view.binary(centered, BinaryKind::Sub) {
        Some([x, mean]) => Normal { x, mean: Some(mean), inverse, beta: None },
        None => Normal { x: centered, mean: None, inverse, beta: None },
    }
}

fn inverse(view: &View<'_>, id: TensorId) -> Option<Inverse> {
    if let Some((variance, epsilon)) = inverse_root(view, id) {
        return Some(Inverse { variance, epsilon, gamma: None });
    }
    if let Some([gamma, root]) = view.binary(id, BinaryKind::Div) {
        let (variance, epsilon) = sum(view, view.argument(root, UnaryKind::Sqrt)?);
        return view.is_fixed(gamma).then_some(Inverse { variance, epsilon, gamma: Some(gamma) });
    }
    let [a, b] = view.binary(id, BinaryKind::Mul)?;
    [(a, b), (b, a)].into_iter().find_map(|(root, gamma)| {
        let (variance, epsilon) = inverse_root(view, root)?;
        view.is_fixed(gamma).then_some(Inverse { variance, epsilon, gamma: Some(gamma) })
    })
}

/// Variance and epsilon of `1 / sqrt(variance + epsilon)`.
fn inverse_root(view: &View<'_>, id: TensorId) -> Option<(TensorId, f32)> {
    if let Some(shifted) = view.argument(id, UnaryKind::Rsqrt) {
        return Some(sum(view, shifted));
    }
    let root = match view.binary(id, BinaryKind::Div) {
        Some([one, root]) => (view.number(one) == Some(1.0)).then_some(root)?,
        None => view.argument(id, UnaryKind::Reciprocal)?,
    };
    view.argument(root, UnaryKind::Sqrt).map(|shifted| sum(view, shifted))
}

/// Variance and epsilon of their sum.
fn sum(view: &View<'_>, id: TensorId) -> (TensorId, f32) {
    let Some([a, b]) = view.binary(id, BinaryKind::Add) else { return (id, 0.0) };
    match (view.number(b), view.number(a)) {
        (Some(epsilon), _) => (a, epsilon),
        (None, Some(epsilon)) => (b, epsilon),
        (None, None) => (id, 0.0),
    }
}
