//! Which layers of an integer model are repaired.

use litesmith_graph::{Graph, NodeId, Op, TensorId, Width};

use super::decide::Decision;
use super::{Made, Parts};
use crate::error::QuantizeError;
use crate::mode::{InterfaceType, Mode, Options, Ranges};
use crate::observer::Observer;
use crate::ranges::observer;
use crate::recipe::Recipe;
use crate::repair::{Knowledge, Moments, Product, Repair, Repaired, correct_in_sequence, nearness};
use crate::statistics::{Range, Statistics};
use crate::weights::{Weights, shared};

/// Lets a softmax stay float whose result only the caller wants, as real numbers: int8 cuts off what is
/// below 1/512.
pub(super) fn keep_last_softmax(graph: &Graph, decisions: &mut [Decision], options: &Options) {
    if options.repair != Repair::Auto
        || options.mode != Mode::Int8
        || options.outputs != InterfaceType::Float32
    {
        return;
    }
    let consumers = graph.consumers();
    for (node, decision) in graph.nodes.iter().zip(decisions) {
        let result = node.outputs[0];
        let is_last = graph.is_output(result) && consumers[result.index()].is_empty();
        if matches!(node.op, Op::Softmax(_)) && is_last && decision.is_integer() {
            *decision = Decision::Float("its result is wanted as real numbers (--repair auto)".to_owned());
        }
    }
}

/// The repair of the layers for which it is asked.
pub(super) struct Repairs<'a> {
    knowledge: Knowledge<'a>,
    moments: Option<&'a Moments>,
    /// For each node, whether it is to be repaired.
    asked: Vec<bool>,
    /// Nodes that were repaired.
    pub(super) repaired: usize,
    /// Nodes that were to be repaired, but of whose inputs too little is known.
    pub(super) unrepaired: usize,
}

impl<'a> Repairs<'a> {
    pub(super) fn new(
        graph: &Graph,
        decisions: &[Decision],
        options: &Options,
        statistics: &Statistics,
        moments: Option<&'a Moments>,
    ) -> Repairs<'a> {
        let asked = |(decision, shared): (&Decision, bool)| match decision {
            Decision::Integer(choice) => choice.repair.unwrap_or(options.repair) != Repair::None && !shared,
            Decision::Float(_) | Decision::Untouched => false,
        };
        let asked = decisions.iter().zip(shared(graph)).map(asked).collect();
        let knowledge = Knowledge::new(graph, Some(statistics), moments);
        Repairs { knowledge, moments, asked, repaired: 0, unrepaired: 0 }
    }

    /// Equalizes channels and fits the ranges of inputs, which 16 bits have no need of. Ranges that are
    /// not simply what calibration saw are somebody's wish and stay.
    pub(super) fn change_ranges(
        &mut self,
        graph: &mut Graph,
        ranges: &mut [Option<Range>],
        options: &Options,
        recipe: &Recipe,
    ) {
        if options.mode.width() != Some(Width::Eight) || options.ranges != Ranges::Exact {
            return;
        }
        let producers = graph.producers();
        let plain: Vec<bool> = graph
            .tensor_ids()
            .map(|id| observer(graph, &producers, id, options, recipe) == Observer::MinMax)
            .collect();
        let asked = &self.asked;
        let may_change = |tensor: TensorId, node: NodeId| plain[tensor.index()] && asked[node.index()];
        self.knowledge.equalize(graph, ranges, &may_change);
        // Whoever quantizes inputs by himself may rely on what their range looks like.
        if options.inputs == InterfaceType::Float32 && options.repair != Repair::None {
            let inputs = graph.inputs.iter().copied().filter(|id| plain[id.index()]);
            self.knowledge.fit_inputs(&inputs.collect::<Vec<_>>(), ranges);
        }
    }

    /// The repaired weights of a node, if it is to be repaired and can be.
    pub(super) fn repair(
        &mut self,
        graph: &Graph,
        node: NodeId,
        plain: &Weights,
        input_scale: f32,
    ) -> Option<Repaired> {
        let product = Product::of(graph, node).filter(|_| self.asked[node.index()])?;
        let repaired = self.knowledge.repair(graph, &product, plain, Some(input_scale));
        match &repaired {
            Some(_) => self.repaired += 1,
            None => self.unrepaired += 1,
        }
        repaired
    }

    /// None at all.
    fn none(nodes: usize) -> Repairs<'a> {
        let knowledge = Knowledge::new(&Graph::new(""), None, None);
        Repairs { knowledge, moments: None, asked: vec![false; nodes], repaired: 0, unrepaired: 0 }
    }
}

/// Of the repaired model, what more could be done to it, and the model without any repair, the one whose
/// outputs are nearest to those of the real model.
pub(super) fn nearest(parts: &Parts<'_>, repairs: &Repairs<'_>, made: Made) -> Result<Made, QuantizeError> {
    let Some(moments) = repairs.moments.filter(|_| made.is_repaired) else { return Ok(made) };
    // 16 bits leave no error that another could be hidden by.
    if parts.options.mode.width() != Some(Width::Eight) {
        return Ok(made);
    }
    let Some(mut best) = nearness(&made.quantized, moments)? else { return Ok(made) };
    let plain = parts.make(&mut Repairs::none(parts.decisions.len()))?;
    let mut others = vec![plain];
    if parts.options.repair == Repair::Auto {
        let mut corrected = made.quantized.clone();
        correct_in_sequence(&made.float, &mut corrected, &repairs.asked, moments)?;
        others.push(Made { float: made.float.clone(), quantized: corrected, is_repaired: true });
    }
    let mut chosen = made;
    for other in others {
        if let Some(found) = nearness(&other.quantized, moments)?.filter(|found| *found > best) {
            (best, chosen) = (found, other);
        }
    }
    Ok(chosen)
}
