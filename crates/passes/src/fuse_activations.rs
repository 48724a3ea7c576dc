//! Makes a clamp part of the operator before it.

use litesmith_graph::model::Parameter;
use litesmith_graph::{Graph, Op};

use crate::fold_batch_norm::remove;
use crate::groups::fusion_groups;
use crate::linear::take_over;

pub(crate) fn apply(graph: &mut Graph, _parameters: &[Parameter]) -> usize {
    let mut fused = Vec::new();
    for group in fusion_groups(graph) {
        let (None, Some(clamp)) = (group.batch_norm, group.activation) else { continue };
        let Op::Unary(unary) = &graph[clamp].op else { continue };
        let Some(activation) = unary.kind.activation() else { continue };
        let Some(place) = graph[group.anchor].op.activation_mut() else { continue };
        *place = activation;
        let output = graph[clamp].outputs[0];
        take_over(graph, group.anchor, output);
        fused.push(clamp);
    }
    remove(graph, &fused);
    fused.len()
}

#[cfg(test)]
mod tests {
    use crate::testing::check;

    #[test]
    fn clamps_fuse_into_sums_but_not_into_concatenations() {
        check(
            &[super::apply],
            r#"graph main(%x: f32[2]) -> (%z) {
               %s: f32[2] = Binary(%x, %x) # add
               %r: f32[2] = Unary(%s) {"kind":"relu6"} # relu
               %c: f32[4] = Concat(%r, %r) # concat
               %z: f32[4] = Unary(%c) # last
             }"#,
            r#"graph main(%x: f32[2]) -> (%z) {
               %"s;r": f32[2] = Binary(%x, %x) {"activation":"relu6"} # add
               %c: f32[4] = Concat(%"s;r", %"s;r") # concat
               %z: f32[4] = Unary(%c) # last
             }"#,
        );
    }
}
