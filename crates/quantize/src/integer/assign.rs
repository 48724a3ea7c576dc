//! Scale and zero point of every real-valued tensor.
//!
//! Tensors that an operator only passes on (reshape, pooling, …) form a class with one set of
//! parameters: the fixed ones of the operator that computes its root, or those of the root's range.
//! Where inputs and output of an operator must agree (concatenation, …) the output's parameters win and
//! are given to the classes of its inputs, the last operator first. With 16 bits they are not: producers
//! keep their own, finer ones, and an operator that changes them costs next to no precision.
//!
//! Tensors that training has rounded by ranges of their own stand apart: they belong to nobody's class, and
//! take another's parameters only where no one but the operator that demands it reads them.

use std::collections::HashMap;

use litesmith_graph::{Graph, NodeId, OutputRule, Quantization, TensorId, Width};

use super::decide::{Decision, operands};
use crate::mode::Ranges;
use crate::parameters::{activation, constant};
use crate::statistics::Range;

/// The parameters that each tensor has as an integer; `None` for those that are no real numbers or
/// fixed. `apart` says of each tensor whether it stands apart; it may be empty.
pub(crate) fn assign(
    graph: &Graph,
    decisions: &[Decision],
    ranges: &[Option<Range>],
    mode: Ranges,
    width: Width,
    apart: &[bool],
) -> Vec<Option<Quantization>> {
    let roots = roots(graph, decisions, apart);
    let given = HashMap::new();
    let mut assignment = Assignment { graph, decisions, ranges, mode, width, apart, roots, given };
    for id in graph.node_ids().collect::<Vec<_>>().into_iter().rev() {
        let shared = graph[id].op.quantization().output == OutputRule::Shared;
        if width == Width::Eight && decisions[id.index()].is_integer() && shared {
            assignment.push_back(id);
        }
    }
    graph.tensor_ids().map(|id| assignment.parameters(assignment.roots[id.index()])).collect()
}

/// For each tensor the first of its class.
fn roots(graph: &Graph, decisions: &[Decision], apart: &[bool]) -> Vec<TensorId> {
    let mut roots: Vec<TensorId> = graph.tensor_ids().collect();
    for id in graph.node_ids() {
        let passes_on = decisions[id.index()].is_integer()
            && graph[id].op.quantization().output == OutputRule::SameAsInput;
        let Some((_, input)) = operands(graph, &graph[id]).first().copied().filter(|_| passes_on) else {
            continue;
        };
        let apart = |id: &TensorId| apart.get(id.index()).copied().unwrap_or(false);
        for output in graph[id].outputs.iter().filter(|id| !apart(id)) {
            roots[output.index()] = roots[input.index()];
        }
    }
    roots
}

struct Assignment<'a> {
    graph: &'a Graph,
    decisions: &'a [Decision],
    ranges: &'a [Option<Range>],
    mode: Ranges,
    width: Width,
    apart: &'a [bool],
    roots: Vec<TensorId>,
    /// Parameters given to a class, by its root.
    given: HashMap<TensorId, Quantization>,
}

impl Assignment<'_> {
    /// The parameters of a class.
    fn parameters(&self, root: TensorId) -> Option<Quantization> {
        if let Some(fixed) = self.fixed(root) {
            return Some(fixed);
        }
        if let Some(given) = self.given.get(&root) {
            return Some(given.clone());
        }
        match self.ranges[root.index()] {
            Some(range) => Some(activation(self.width, range)),
            None => self.constant_range(root).map(|range| constant(self.width, range)),
        }
    }

    /// The parameters that the operator which computes a tensor demands.
    fn fixed(&self, root: TensorId) -> Option<Quantization> {
        let id = self.graph.node_ids().find(|id| self.graph[*id].outputs.contains(&root))?;
        match self.graph[id].op.quantization().output {
            OutputRule::Fixed { scale, zero_point, scale16 } if self.decisions[id.index()].is_integer() => {
                Some(match self.width {
                    Width::Eight => Quantization::per_tensor(scale, zero_point),
                    Width::Sixteen => Quantization::per_tensor(scale16, 0),
                })
            }
            _ => None,
        }
    }

    /// The range of a constant that an operator passes on, such as a table of embeddings.
    fn constant_range(&self, root: TensorId) -> Option<Range> {
        let tensor = &self.graph[root];
        match &tensor.kind {
            litesmith_graph::TensorKind::Constant(data) => {
                data.floats(tensor.dtype).and_then(|values| Range::of(&values).ok())
            }
            _ => None,
        }
    }

    /// Gives the output's parameters to the classes of the inputs.
    fn push_back(&mut self, id: NodeId) {
        let node = &self.graph[id];
        let output = self.roots[node.outputs[0].index()];
        let Some(parameters) = self.parameters(output) else { return };
        for (_, input) in operands(self.graph, node) {
            let root = self.roots[input.index()];
            let free = root != output && self.fixed(root).is_none() && !self.given.contains_key(&root);
            if free && self.ranges[root.index()].is_some() && self.may_narrow(root, output, id) {
                self.given.insert(root, parameters.clone());
            }
        }
    }

    /// Whether a class may take the range of `output`: always as TensorFlow has it; else only if that
    /// holds its own range, or nobody but the operator itself reads the class.
    fn may_narrow(&self, root: TensorId, output: TensorId, reader: NodeId) -> bool {
        let (Some(own), Some(new)) = (self.ranges[root.index()], self.ranges[output.index()]) else {
            return false;
        };
        if self.apart.get(root.index()).copied().unwrap_or(false) {
            let other = |id: NodeId| id != reader && self.graph[id].present_inputs().any(|id| id == root);
            return !self.graph.node_ids().any(other) && !self.graph.is_output(root);
        }
        if self.mode == Ranges::Tensorflow || (new.min <= own.min && own.max <= new.max) {
            return true;
        }
        let in_class = |id: TensorId| self.roots[id.index()] == root;
        let other_reader = self.graph.node_ids().any(|id| {
            let node = &self.graph[id];
            let passes_on = node.outputs.iter().all(|output| in_class(*output));
            id != reader && !passes_on && node.present_inputs().any(in_class)
        });
        !other_reader && !self.graph.outputs.iter().any(|id| in_class(*id))
    }
}
