//! Normalization that is spelled as a product and a sum.

use std::collections::BTreeMap;

use super::pattern::View;
use super::{BATCH_NORM, LAYER_NORM, Recognized};
use crate::savedmodel::attributes::{Attribute, Attributes};
use crate::savedmodel::flow::Value;

const SUMS: &[&str] = &["AddV2", "Add"];

/// `x * scale + (beta - mean * scale)`, where `scale = gamma / sqrt(variance + epsilon)`.
struct Affine {
    x: Value,
    gamma: Option<Value>,
    beta: Option<Value>,
    mean: Value,
    variance: Value,
    epsilon: f64,
}

/// What a sum or a difference is.
pub(super) fn sum(view: &View<'_>, index: usize) -> Option<Recognized> {
    let root = Value::Node { node: index, output: 0 };
    let affine = affine(view, root)?;
    let mut inputs = vec![affine.x];
    inputs.extend(affine.gamma);
    inputs.extend(affine.beta);
    let mut attributes = BTreeMap::from([
        ("epsilon".to_owned(), Attribute::Number(affine.epsilon as f32)),
        ("scale".to_owned(), Attribute::Flag(affine.gamma.is_some())),
        ("center".to_owned(), Attribute::Flag(affine.beta.is_some())),
    ]);
    let vectors = [Some(affine.mean), Some(affine.variance), affine.gamma, affine.beta];
    if vectors.into_iter().flatten().all(|vector| view.is_vector(vector)) {
        inputs.extend([affine.mean, affine.variance]);
        return Some(Recognized { op: BATCH_NORM, inputs, attributes: Attributes(attributes) });
    }
    let axes = statistics(view, &affine)?;
    attributes.insert("axes".to_owned(), Attribute::Integers(axes));
    Some(Recognized { op: LAYER_NORM, inputs, attributes: Attributes(attributes) })
}

fn affine(view: &View<'_>, root: Value) -> Option<Affine> {
    if let Some([product, subtracted]) = view.inputs(root, &["Sub"]) {
        // Without beta: x * scale - mean * scale.
        return view.pairs(product, &["Mul"]).into_iter().find_map(|[x, scale]| {
            let mean = other_factor(view, subtracted, scale)?;
            let (gamma, variance, epsilon) = inverse_deviation(view, scale)?;
            Some(Affine { x, gamma, beta: None, mean, variance, epsilon })
        });
    }
    view.pairs(root, SUMS).into_iter().find_map(|[product, shift]| {
        view.pairs(product, &["Mul"]).into_iter().find_map(|[x, scale]| {
            let (gamma, variance, epsilon) = inverse_deviation(view, scale)?;
            let (beta, mean) = offset(view, shift, scale)?;
            Some(Affine { x, gamma, beta, mean, variance, epsilon })
        })
    })
}

/// The other factor of a product with `scale`.
fn other_factor(view: &View<'_>, product: Value, scale: Value) -> Option<Value> {
    let pairs = view.pairs(product, &["Mul"]);
    pairs.into_iter().find(|[_, other]| view.same(*other, scale)).map(|[factor, _]| factor)
}

/// Gamma, variance and epsilon of `gamma * rsqrt(variance + epsilon)`.
fn inverse_deviation(view: &View<'_>, scale: Value) -> Option<(Option<Value>, Value, f64)> {
    let plain = |value: Value| view.shifted(view.input(value, &["Rsqrt"])?);
    if let Some((variance, epsilon)) = plain(scale) {
        return Some((None, variance, epsilon));
    }
    view.pairs(scale, &["Mul"]).into_iter().find_map(|[root, gamma]| {
        let (variance, epsilon) = plain(root)?;
        Some((Some(gamma), variance, epsilon))
    })
}

/// Beta and mean of `beta - mean * scale`, however it is spelled.
fn offset(view: &View<'_>, shift: Value, scale: Value) -> Option<(Option<Value>, Value)> {
    if let Some([beta, product]) = view.inputs(shift, &["Sub"]) {
        return Some((Some(beta), other_factor(view, product, scale)?));
    }
    if let Some(mean) = negated_mean(view, shift, scale) {
        return Some((None, mean));
    }
    view.pairs(shift, SUMS)
        .into_iter()
        .find_map(|[product, beta]| Some((Some(beta), negated_mean(view, product, scale)?)))
}

/// The mean of `-mean * scale`.
fn negated_mean(view: &View<'_>, value: Value, scale: Value) -> Option<Value> {
    match view.input(value, &["Neg"]) {
        Some(product) => other_factor(view, product, scale),
        None => view.input(other_factor(view, value, scale)?, &["Neg"]),
    }
}

/// The axes along which mean and variance are those of `x` itself.
fn statistics(view: &View<'_>, affine: &Affine) -> Option<Vec<i64>> {
    let mean_of = |value: Value| {
        let kept = view.node(value).filter(|node| node.attributes.flag("keep_dims"));
        kept?;
        let [x, axes] = view.inputs(value, &["Mean"])?;
        Some((x, view.integers(axes)?))
    };
    let (x, axes) = mean_of(affine.mean)?;
    let (square, other_axes) = mean_of(affine.variance)?;
    let centered = |pair: [Value; 2]| view.same(pair[0], affine.x) && view.same(pair[1], affine.mean);
    let squared = view.pairs(square, &["SquaredDifference"]).into_iter().any(centered)
        || view
            .input(square, &["Square"])
            .and_then(|difference| view.inputs(difference, &["Sub"]))
            .is_some_and(centered);
    (view.same(x, affine.x) && squared && axes == other_axes).then_some(axes)
}
