//! Clamps spelled with minimum and maximum, one or several behind one another.

use litesmith_graph::model::Parameter;
use litesmith_graph::ops::{BinaryKind, UnaryKind};
use litesmith_graph::{Graph, NodeId, TensorId};

use super::view::View;
use super::{Replacement, rewrite};

/// Longest chain of clamps that is looked at as one.
const LONGEST: usize = 8;

pub(crate) fn apply(graph: &mut Graph, parameters: &[Parameter]) -> usize {
    rewrite(graph, parameters, clamp)
}

fn clamp(view: &View<'_>, root: NodeId) -> Option<Replacement> {
    let output = view.graph[root].outputs[0];
    let (mut x, mut bounds) = bound(view, output)?;
    let mut length = 1;
    while length < LONGEST
        && view.readers(x).len() == 1
        && let Some((inner, first)) = bound(view, x)
    {
        // What comes first is bounded by what follows.
        bounds = [bounds[0].max(first[0]).min(bounds[1]), first[1].min(bounds[1]).max(bounds[0])];
        (x, length) = (inner, length + 1);
    }
    let kind = match bounds {
        [0.0, f32::INFINITY] => UnaryKind::Relu,
        [0.0, 6.0] => UnaryKind::Relu6,
        [-1.0, 1.0] => UnaryKind::ReluN1To1,
        [min, max] => UnaryKind::Clip { min, max },
    };
    // One bound alone is one operator in either spelling.
    let known = length == 1 && (matches!(kind, UnaryKind::Clip { .. }) || view.unary(output).is_some());
    (!known).then(|| Replacement::unary(kind, x))
}

/// A tensor as another one between two bounds.
fn bound(view: &View<'_>, id: TensorId) -> Option<(TensorId, [f32; 2])> {
    if let Some((kind, x)) = view.unary(id) {
        return match kind {
            UnaryKind::Relu => Some((x, [0.0, f32::INFINITY])),
            UnaryKind::Relu6 => Some((x, [0.0, 6.0])),
            UnaryKind::ReluN1To1 => Some((x, [-1.0, 1.0])),
            UnaryKind::Clip { min, max } if min <= max => Some((x, [min, max])),
            _ => None,
        };
    }
    let sided = |kind| {
        let (x, number) = view.plus_number(view.binary(id, kind)?)?;
        // The constant must not bring axes of its own.
        (view.dims(x) == view.dims(id) && !number.is_nan()).then_some((x, number))
    };
    match (sided(BinaryKind::Maximum), sided(BinaryKind::Minimum)) {
        (Some((x, min)), _) => Some((x, [min, f32::INFINITY])),
        (None, Some((x, max))) => Some((x, [f32::NEG_INFINITY, max])),
        (None, None) => None,
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{check, stays};

    fn becomes(statements: &str, kind: &str) {
        let kind = if kind == "relu" { String::new() } else { format!(r#" {{"kind":{kind}}}"#) };
        check(
            &[super::apply],
            &format!(
                "graph main(%x: f32[batch,4]) -> (%z) {{
                   %zero: f32[] = [0]
                   %six: f32[] = [6]
                   %three: f32[1] = [3]
                   %one: f32[] = [1]
                   %minus: f32[] = [-1]
                   {statements}
                 }}"
            ),
            &format!(
                "graph main(%x: f32[batch,4]) -> (%z) {{
                   %z: f32[batch,4] = Unary(%x){kind} # act
                 }}"
            ),
        );
    }

    #[test]
    fn bounds_have_their_names() {
        becomes(r#"%z: f32[batch,4] = Binary(%zero, %x) {"kind":"maximum"} # act"#, "relu");
        becomes(
            r#"%m: f32[batch,4] = Binary(%x, %zero) {"kind":"maximum"}
               %z: f32[batch,4] = Binary(%m, %six) {"kind":"minimum"} # act"#,
            r#""relu6""#,
        );
        becomes(
            r#"%m: f32[batch,4] = Binary(%x, %one) {"kind":"minimum"}
               %z: f32[batch,4] = Binary(%m, %minus) {"kind":"maximum"} # act"#,
            r#""relu_n1_to1""#,
        );
    }

    #[test]
    fn chains_are_one_clamp() {
        becomes(
            r#"%r: f32[batch,4] = Unary(%x)
               %m: f32[batch,4] = Binary(%r, %three) {"kind":"minimum"}
               %z: f32[batch,4] = Binary(%m, %zero) {"kind":"maximum"} # act"#,
            r#"{"clip":{"min":0.0,"max":3.0}}"#,
        );
        // The last bound wins over those before it.
        becomes(
            r#"%m: f32[batch,4] = Binary(%x, %one) {"kind":"minimum"}
               %z: f32[batch,4] = Binary(%m, %three) {"kind":"maximum"} # act"#,
            r#"{"clip":{"min":3.0,"max":3.0}}"#,
        );
    }

    #[test]
    fn what_others_read_stays() {
        for text in [
            r#"graph main(%x: f32[4]) -> (%z, %m) {
                 %zero: f32[] = [0]
                 %six: f32[] = [6]
                 %m: f32[4] = Binary(%x, %six) {"kind":"minimum"}
                 %z: f32[4] = Binary(%m, %six) {"kind":"maximum"}
               }"#,
            r#"graph main(%x: f32[4]) -> (%z) {
                 %zero: f32[1,1] = [0]
                 %z: f32[1,4] = Binary(%x, %zero) {"kind":"maximum"}
               }"#,
        ] {
            stays(super::apply, text);
        }
    }
}
