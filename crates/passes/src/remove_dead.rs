//! Drops nodes and tensors that no output needs.

use litesmith_graph::Graph;
use litesmith_graph::model::Parameter;

pub(crate) fn apply(graph: &mut Graph, _parameters: &[Parameter]) -> usize {
    graph.remove_dead()
}

#[cfg(test)]
mod tests {
    use crate::testing::check;

    #[test]
    fn what_no_output_needs_goes() {
        check(
            &[super::apply],
            "graph main(%x: f32[2]) -> (%y) {
               %unused: f32[2] = Unary(%x)
               %y: f32[2] = Unary(%x)
             }",
            "graph main(%x: f32[2]) -> (%y) {
               %y: f32[2] = Unary(%x)
             }",
        );
    }
}
