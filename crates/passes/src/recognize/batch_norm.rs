//! Batch normalization in all its spellings, with the parameters that training changes. It must be
//! recognized before constants are folded: behind that, only a factor and an offset are left.

use litesmith_graph::model::Parameter;
use litesmith_graph::ops::BatchNorm;
use litesmith_graph::{Graph, NodeId};

use super::normal::normal;
use super::view::View;
use super::{Operand, Replacement, rewrite};

pub(crate) fn apply(graph: &mut Graph, parameters: &[Parameter]) -> usize {
    rewrite(graph, parameters, batch_norm)
}

fn batch_norm(view: &View<'_>, root: NodeId) -> Option<Replacement> {
    let node = &view.graph[root];
    let found = normal(view, node)?;
    let (x, mean) = (found.x, found.mean?);
    if view.is_fixed(x) || view.dims(x) != view.dims(node.outputs[0]) {
        return None;
    }
    let (channels, rank) = (view.channels(x)?, view.dims(x).len());
    let vector = |id| view.vector(id, &[channels], rank);
    let optional = |id: Option<_>| id.map_or(Some(Operand::Absent), vector);
    let (gamma, beta) = (optional(found.inverse.gamma)?, optional(found.beta)?);
    let (mean, variance) = (vector(mean)?, vector(found.inverse.variance)?);
    let op = BatchNorm { epsilon: found.inverse.epsilon, ..BatchNorm::default() };
    Some(Replacement::one(op, vec![Operand::Tensor(x), gamma, beta, mean, variance]))
}

#[cfg(test)]
mod tests {
    use crate::testing::{check, stays};

    const PARAMETERS: &str = "parameter @bn/gamma: f32[2] trainable = [2,1]
         parameter @bn/beta: f32[2] trainable = [1,0.5]
         parameter @bn/mean: f32[2] = [3,-1]
         parameter @bn/variance: f32[2] = [4,16]";

    fn becomes(statements: &str, inputs: &str) {
        check(
            &[super::apply],
            &format!(
                "{PARAMETERS}
                 graph main(%x: f32[batch,3,2]) -> (%z) {{
                   %e: f32[] = [0.5]
                   %one: f32[] = [1]
                   {statements}
                 }}"
            ),
            &format!(
                r#"{PARAMETERS}
                   graph main(%x: f32[batch,3,2]) -> (%z) {{
                     %z: f32[batch,3,2] = BatchNorm(%x, {inputs}) {{"epsilon":0.5}} # bn
                   }}"#
            ),
        );
    }

    const ALL: &str = "@bn/gamma, @bn/beta, @bn/mean, @bn/variance";
    const INVERSE: &str = r#"%s: f32[2] = Binary(@bn/variance, %e)
         %i: f32[2] = Unary(%s) {"kind":"rsqrt"}"#;
    const FACTOR: &str = r#"%s: f32[2] = Binary(@bn/variance, %e)
         %i: f32[2] = Unary(%s) {"kind":"rsqrt"}
         %m: f32[2] = Binary(%i, @bn/gamma) {"kind":"mul"}"#;

    #[test]
    fn as_keras_writes_it() {
        becomes(
            &format!(
                r#"{FACTOR}
                   %p: f32[batch,3,2] = Binary(%x, %m) {{"kind":"mul"}}
                   %q: f32[2] = Binary(@bn/mean, %m) {{"kind":"mul"}}
                   %o: f32[2] = Binary(@bn/beta, %q) {{"kind":"sub"}}
                   %z: f32[batch,3,2] = Binary(%p, %o) # bn"#
            ),
            ALL,
        );
        // Without gamma and beta.
        becomes(
            &format!(
                r#"{INVERSE}
                   %p: f32[batch,3,2] = Binary(%x, %i) {{"kind":"mul"}}
                   %n: f32[2] = Unary(@bn/mean) {{"kind":"neg"}}
                   %q: f32[2] = Binary(%n, %i) {{"kind":"mul"}}
                   %z: f32[batch,3,2] = Binary(%p, %q) # bn"#
            ),
            "_, _, @bn/mean, @bn/variance",
        );
        // Without beta.
        becomes(
            &format!(
                r#"{FACTOR}
                   %p: f32[batch,3,2] = Binary(%m, %x) {{"kind":"mul"}}
                   %q: f32[2] = Binary(@bn/mean, %m) {{"kind":"mul"}}
                   %z: f32[batch,3,2] = Binary(%p, %q) {{"kind":"sub"}} # bn"#
            ),
            "@bn/gamma, _, @bn/mean, @bn/variance",
        );
    }

    #[test]
    fn as_it_is_defined() {
        for scaled in [
            format!(
                r#"{INVERSE}
                   %n: f32[batch,3,2] = Binary(%d, %i) {{"kind":"mul"}}
                   %g: f32[batch,3,2] = Binary(%n, @bn/gamma) {{"kind":"mul"}}"#
            ),
            format!(
                r#"{FACTOR}
                   %g: f32[batch,3,2] = Binary(%m, %d) {{"kind":"mul"}}"#
            ),
            r#"%s: f32[2] = Binary(%e, @bn/variance)
               %i: f32[2] = Unary(%s) {"kind":"sqrt"}
               %n: f32[batch,3,2] = Binary(%d, %i) {"kind":"div"}
               %g: f32[batch,3,2] = Binary(@bn/gamma, %n) {"kind":"mul"}"#
                .to_owned(),
            r#"%s: f32[2] = Binary(@bn/variance, %e)
               %i: f32[2] = Unary(%s) {"kind":"sqrt"}
               %h: f32[batch,3,2] = Binary(%d, @bn/gamma) {"kind":"mul"}
               %g: f32[batch,3,2] = Binary(%h, %i) {"kind":"div"}"#
                .to_owned(),
            r#"%s: f32[2] = Binary(@bn/variance, %e)
               %i: f32[2] = Unary(%s) {"kind":"sqrt"}
               %m: f32[2] = Binary(@bn/gamma, %i) {"kind":"div"}
               %g: f32[batch,3,2] = Binary(%d, %m) {"kind":"mul"}"#
                .to_owned(),
        ] {
            becomes(
                &format!(
                    r#"%d: f32[batch,3,2] = Binary(%x, @bn/mean) {{"kind":"sub"}}
                       {scaled}
                       %z: f32[batch,3,2] = Binary(%g, @bn/beta) # bn"#
                ),
                ALL,
            );
        }
    }

    #[test]
    fn parameters_may_be_brought_to_other_shapes() {
        let reshaped =
            |name: &str| format!(r#"%{name}: f32[1,1,2] = Reshape(@bn/{name}) {{"shape":[1,1,2]}}"#);
        let shapes = ["gamma", "beta", "mean", "variance"].map(reshaped).join("\n");
        becomes(
            &format!(
                r#"{shapes}
                   %s: f32[1,1,2] = Binary(%variance, %e)
                   %i: f32[1,1,2] = Unary(%s) {{"kind":"rsqrt"}}
                   %m: f32[1,1,2] = Binary(%gamma, %i) {{"kind":"mul"}}
                   %p: f32[batch,3,2] = Binary(%x, %m) {{"kind":"mul"}}
                   %q: f32[1,1,2] = Binary(%mean, %m) {{"kind":"mul"}}
                   %o: f32[1,1,2] = Binary(%beta, %q) {{"kind":"sub"}}
                   %z: f32[batch,3,2] = Binary(%p, %o) # bn"#
            ),
            ALL,
        );
    }

    #[test]
    fn a_clamp_behind_it_stays() {
        check(
            &[super::apply],
            r#"graph main(%x: f32[batch,2]) -> (%z) {
                 %e: f32[] = [0.5]
                 %mean: f32[1,2] = [1,2]
                 %variance: f32[2] = [3,4]
                 %s: f32[2] = Binary(%variance, %e)
                 %i: f32[2] = Unary(%s) {"kind":"rsqrt"}
                 %d: f32[batch,2] = Binary(%x, %mean) {"kind":"sub"}
                 %z: f32[batch,2] = Binary(%d, %i) {"kind":"mul","activation":"relu"} # bn
               }"#,
            r#"graph main(%x: f32[batch,2]) -> (%z) {
                 %z/mean: f32[2] = [1,2]
                 %variance: f32[2] = [3,4]
                 %z/unclamped: f32[batch,2] = BatchNorm(%x, _, _, %z/mean, %variance) {"epsilon":0.5} # bn
                 %z: f32[batch,2] = Unary(%z/unclamped) # bn
               }"#,
        );
    }

    #[test]
    fn along_another_axis_or_read_in_between_it_stays() {
        for text in [
            r#"graph main(%x: f32[batch,2,3]) -> (%z) {
                 %mean: f32[2,1] = [1,2]
                 %variance: f32[2,1] = [3,4]
                 %i: f32[2,1] = Unary(%variance) {"kind":"rsqrt"}
                 %d: f32[batch,2,3] = Binary(%x, %mean) {"kind":"sub"}
                 %z: f32[batch,2,3] = Binary(%d, %i) {"kind":"mul"}
               }"#,
            r#"graph main(%x: f32[batch,2]) -> (%z, %d) {
                 %mean: f32[2] = [1,2]
                 %variance: f32[2] = [3,4]
                 %i: f32[2] = Unary(%variance) {"kind":"rsqrt"}
                 %d: f32[batch,2] = Binary(%x, %mean) {"kind":"sub"}
                 %z: f32[batch,2] = Binary(%d, %i) {"kind":"mul"}
               }"#,
        ] {
            stays(super::apply, text);
        }
    }
}
