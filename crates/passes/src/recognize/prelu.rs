//! Rectifiers with a slope below zero.

use litesmith_graph::model::Parameter;
use litesmith_graph::ops::{BinaryKind, Prelu, UnaryKind};
use litesmith_graph::{Graph, NodeId, Tensor, TensorId};

use super::terms::product;
use super::view::View;
use super::{Operand, Replacement, rewrite};

pub(crate) fn apply(graph: &mut Graph, parameters: &[Parameter]) -> usize {
    rewrite(graph, parameters, |view, root| leaky(view, root).or_else(|| parametric(view, root)))
}

/// `max(x, slope * x)` with a slope between 0 and 1.
fn leaky(view: &View<'_>, root: NodeId) -> Option<Replacement> {
    let [a, b] = view.operands(&view.graph[root], BinaryKind::Maximum)?;
    [(a, b), (b, a)].into_iter().find_map(|(x, bent)| {
        let whole = product(view, view.producer(bent)?, Some(x))?;
        let slope = whole.number as f32;
        let fits = whole.factors == [x] && slope > 0.0 && slope < 1.0 && view.dims(x) == view.dims(bent);
        fits.then(|| Replacement::unary(UnaryKind::LeakyRelu(slope), x))
    })
}

/// `relu(x) - alpha * relu(-x)`, the minus sign at alpha or before the product.
fn parametric(view: &View<'_>, root: NodeId) -> Option<Replacement> {
    let node = &view.graph[root];
    let (positive, bent, minus) = match view.operands(node, BinaryKind::Sub) {
        Some([positive, bent]) => (positive, bent, true),
        None => {
            let [a, b] = view.operands(node, BinaryKind::Add)?;
            if view.argument(a, UnaryKind::Relu).is_some() { (a, b, false) } else { (b, a, false) }
        }
    };
    let x = view.argument(positive, UnaryKind::Relu)?;
    let [a, b] = view.binary(bent, BinaryKind::Mul)?;
    let (alpha, negative) = if view.is_fixed(a) { (a, b) } else { (b, a) };
    let mirrored = view.argument(view.argument(negative, UnaryKind::Relu)?, UnaryKind::Neg)?;
    let fits = view.is_fixed(alpha) && view.is_plain(alpha) && mirrored == x;
    if !fits || view.dims(alpha).len() > view.dims(x).len() || view.dims(x) != view.dims(bent) {
        return None;
    }
    let alpha = if minus { Operand::Tensor(alpha) } else { negated(view, alpha)? };
    Some(Replacement::one(Prelu {}, vec![Operand::Tensor(x), alpha]))
}

/// What a fixed tensor is the negative of.
fn negated(view: &View<'_>, id: TensorId) -> Option<Operand> {
    if let Some(alpha) = view.argument(id, UnaryKind::Neg) {
        return Some(Operand::Tensor(alpha));
    }
    let values = view.values(id)?.iter().map(|value| -value).collect();
    let shape = view.graph[id].shape.to_fixed()?;
    Some(Operand::from(Tensor::floats("alpha", &shape, values)))
}

#[cfg(test)]
mod tests {
    use crate::testing::{check, stays};

    #[test]
    fn one_slope_is_leaky() {
        check(
            &[super::apply],
            r#"graph main(%x: f32[batch,4]) -> (%z) {
                 %slope: f32[] = [0.25]
                 %b: f32[batch,4] = Binary(%slope, %x) {"kind":"mul"}
                 %z: f32[batch,4] = Binary(%x, %b) {"kind":"maximum"} # act
               }"#,
            r#"graph main(%x: f32[batch,4]) -> (%z) {
                 %z: f32[batch,4] = Unary(%x) {"kind":{"leaky_relu":0.25}} # act
               }"#,
        );
    }

    #[test]
    fn many_slopes_are_parametric() {
        let spelled = |alpha: &str, kind: &str| {
            format!(
                r#"parameter @act/alpha: f32[4] trainable = [1,2,3,4]
                   graph main(%x: f32[batch,4]) -> (%z) {{
                     {alpha}
                     %p: f32[batch,4] = Unary(%x) # act
                     %m: f32[batch,4] = Unary(%x) {{"kind":"neg"}} # act
                     %r: f32[batch,4] = Unary(%m) # act
                     %b: f32[batch,4] = Binary(%n, %r) {{"kind":"mul"}} # act
                     %z: f32[batch,4] = Binary(%p, %b) {{"kind":"{kind}"}} # act
                   }}"#
            )
        };
        let result = "parameter @act/alpha: f32[4] trainable = [1,2,3,4]
               graph main(%x: f32[batch,4]) -> (%z) {
                 %z: f32[batch,4] = Prelu(%x, @act/alpha) # act
               }";
        check(&[super::apply], &spelled(r#"%n: f32[4] = Unary(@act/alpha) {"kind":"neg"}"#, "add"), result);
        let minus = spelled("", "sub").replace("%n", "@act/alpha");
        check(&[super::apply], &minus, result);
        let constant = spelled("%n: f32[4] = [-1,-2,-3,-4]", "add");
        let result = r#"parameter @act/alpha: f32[4] trainable = [1,2,3,4]
               graph main(%x: f32[batch,4]) -> (%z) {
                 %z/alpha: f32[4] = [1,2,3,4]
                 %z: f32[batch,4] = Prelu(%x, %z/alpha) # act
               }"#;
        check(&[super::apply], &constant, result);
    }

    #[test]
    fn a_slope_above_one_stays() {
        let text = r#"graph main(%x: f32[4]) -> (%z) {
             %slope: f32[] = [1.5]
             %b: f32[4] = Binary(%slope, %x) {"kind":"mul"}
             %z: f32[4] = Binary(%x, %b) {"kind":"maximum"}
           }"#;
        stays(super::apply, text);
    }
}
