//! Which tensors lie between which nodes.

use std::ops::Range;

use litesmith_graph::{Facts, Graph, Op, TensorId};

use super::slices::{Span, Traffic};
use crate::plan::{Mode, known, needed, reads};

/// Where the computed tensors of a graph come from and go to.
pub(super) struct Flow<'a> {
    graph: &'a Graph,
    facts: &'a [Facts],
    /// For each node, the computed tensors that it reads, each once; nothing if nobody needs it.
    read: Vec<Vec<TensorId>>,
    /// Which nodes are needed.
    runs: Vec<bool>,
    /// For each tensor, the node that computes it and the last one that reads it.
    born: Vec<Option<usize>>,
    last: Vec<Option<usize>>,
}

/// A part of a graph that is planned by itself.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Cut {
    /// Indices of its nodes.
    pub nodes: Range<usize>,
    /// The graph's inputs that it reads.
    pub inputs: Vec<TensorId>,
    /// What it reads of parts before it.
    pub received: Vec<TensorId>,
    /// What parts after it read.
    pub sent: Vec<TensorId>,
    /// The graph's outputs that it gives, by their place among these.
    pub outputs: Vec<usize>,
}

impl<'a> Flow<'a> {
    pub(super) fn new(graph: &'a Graph, facts: &'a [Facts]) -> Flow<'a> {
        let needed = needed(graph, facts, Mode::Inference);
        let computed = |id: &TensorId| {
            needed[id.index()] && !graph[*id].is_fixed() && known(&facts[id.index()]).is_none()
        };
        let tensors = graph.tensors.len();
        let (mut born, mut last) = (vec![None; tensors], vec![None; tensors]);
        let (mut read, mut runs) = (Vec::new(), Vec::new());
        for (index, node) in graph.nodes.iter().enumerate() {
            let needed = node.outputs.iter().any(computed) || node.op.has_effect();
            let mut own: Vec<TensorId> = Vec::new();
            for (place, input) in node.inputs.iter().enumerate() {
                if let Some(input) = input.filter(computed)
                    && needed
                    && reads(node, place)
                    && !own.contains(&input)
                {
                    own.push(input);
                    last[input.index()] = Some(index);
                }
            }
            node.outputs.iter().for_each(|output| born[output.index()] = Some(index));
            read.push(own);
            runs.push(needed);
        }
        Flow { graph, facts, read, runs, born, last }
    }

    /// What each node moves where there are this many samples.
    pub(super) fn traffic(&self, samples: usize) -> Vec<Traffic> {
        let bytes_of = |id: TensorId| bytes(&self.facts[id.index()]).unwrap_or(usize::MAX) as u64;
        let for_each = |id: TensorId| bytes_of(id) / samples.max(1) as u64;
        // What begins and what ends to lie before a node.
        let mut changes = vec![[0u64; 2]; self.graph.nodes.len() + 1];
        for id in self.graph.tensor_ids() {
            if let (Some(born), Some(last)) = (self.born[id.index()], self.last[id.index()]) {
                let [begin, _] = &mut changes[born + 1];
                *begin = begin.saturating_add(for_each(id));
                let [_, end] = &mut changes[last + 1];
                *end = end.saturating_add(for_each(id));
            }
        }
        let mut before = 0u64;
        let nodes = self.graph.nodes.iter().enumerate().map(|(index, node)| {
            let [begin, end] = changes[index];
            before = before.saturating_add(begin).saturating_sub(end);
            // These move nothing: their outputs are their inputs.
            let moves =
                !matches!(node.op, Op::ExpandDims(_) | Op::Identity(_) | Op::Reshape(_) | Op::Squeeze(_));
            if !moves || !self.runs[index] {
                return Traffic { before, ..Traffic::default() };
            }
            let fixed = node.present_inputs().filter(|id| self.graph[*id].is_fixed());
            // Of a table that it picks from, a node reads some rows.
            let weights = fixed.filter(|_| !matches!(node.op, Op::Gather(_))).map(bytes_of);
            let own = self.read[index].iter().chain(&node.outputs).map(|id| for_each(*id));
            let (weights, activations) = (total(weights), total(own));
            Traffic { weights, activations, before }
        });
        nodes.collect()
    }

    /// The graph cut into these spans of its nodes.
    pub(super) fn cut(&self, spans: &[Span]) -> Vec<Cut> {
        let stage_of = |node: usize| spans.iter().position(|span| span.nodes.contains(&node)).unwrap_or(0);
        let born = |id: TensorId| self.born[id.index()].map(stage_of);
        let last = |id: TensorId| self.last[id.index()].map(stage_of);
        let cut = |(stage, span): (usize, &Span)| {
            let is_output = |id: &TensorId| born(*id).unwrap_or(0) == stage;
            let graph_outputs = self.graph.outputs.iter().enumerate();
            let outputs: Vec<usize> =
                graph_outputs.filter(|(_, id)| is_output(id)).map(|(place, _)| place).collect();
            let mut read: Vec<TensorId> = self.read[span.nodes.clone()].concat();
            // An output that is an input is handed on by the first part.
            read.extend(
                outputs.iter().map(|place| self.graph.outputs[*place]).filter(|id| born(*id).is_none()),
            );
            read.sort_unstable_by_key(|id| id.index());
            read.dedup();
            let (inputs, computed): (Vec<_>, Vec<_>) = read.into_iter().partition(|id| born(*id).is_none());
            let received = computed.into_iter().filter(|id| born(*id) != Some(stage)).collect();
            let own = self.graph.nodes[span.nodes.clone()].iter().flat_map(|node| &node.outputs);
            let sent = own.filter(|id| last(**id).is_some_and(|last| last > stage)).copied().collect();
            Cut { nodes: span.nodes.clone(), inputs, received, sent, outputs }
        };
        spans.iter().enumerate().map(cut).collect()
    }
}

/// Bytes of a tensor; `None` where its shape is not known or too large.
pub(super) fn bytes(facts: &Facts) -> Option<usize> {
    facts.dtype.bytes(facts.shape.elements()?)
}

fn total(bytes: impl Iterator<Item = u64>) -> u64 {
    bytes.fold(0, u64::saturating_add)
}
