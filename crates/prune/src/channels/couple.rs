//! Which channels of which tensors are one and the same, and which must stay.

use std::collections::{BTreeMap, HashSet};

use litesmith_graph::ops::{BinaryKind, ReshapeDim};
use litesmith_graph::{Dim, Facts, Graph, Model, Node, NodeId, Op, TensorId};

use super::sets::Sets;

/// Channels are places on the last axis of tensors that are computed.
pub(super) struct Coupling<'a> {
    graph: &'a Graph,
    facts: &'a [Facts],
    /// Of each tensor the number of its first channel, and how many it has; 0 where it has none.
    places: Vec<(u32, usize)>,
    sets: Sets,
    /// Why channels must stay.
    reasons: Vec<String>,
    not_followed: BTreeMap<String, usize>,
}

/// What a node does with channels.
enum Follows {
    /// It is understood.
    Yes,
    /// It is not: what it reads and computes stays whole.
    No,
}

impl<'a> Coupling<'a> {
    pub(super) fn new(model: &'a Model, facts: &'a [Facts]) -> Coupling<'a> {
        let graph = model.main();
        let mut places = Vec::with_capacity(graph.tensors.len());
        let mut next = 0;
        for id in graph.tensor_ids() {
            let shape = &facts[id.index()].shape;
            let last = shape.last().and_then(Dim::fixed).filter(|_| shape.rank() >= 2);
            let count = if graph[id].is_fixed() { 0 } else { last.unwrap_or(0) };
            places.push((next, count));
            next += count as u32;
        }
        let sets = Sets::new(next as usize);
        let (reasons, not_followed) = (Vec::new(), BTreeMap::new());
        let mut coupling = Coupling { graph, facts, places, sets, reasons, not_followed };
        for id in graph.inputs.iter().chain(&graph.outputs) {
            coupling.hold(*id, "an input or output of the model has its channels");
        }
        for id in graph.node_ids() {
            if let Follows::No = coupling.follow(id) {
                coupling.hold_node(id);
            }
        }
        coupling
    }

    /// Operators that are not understood, and how many of each there are.
    pub(super) fn not_followed(&self) -> BTreeMap<String, usize> {
        self.not_followed.clone()
    }

    /// Number of channels of a tensor.
    pub(super) fn count(&self, id: TensorId) -> usize {
        self.places[id.index()].1
    }

    /// The set that a channel of a tensor belongs to.
    pub(super) fn set(&mut self, id: TensorId, channel: usize) -> u32 {
        let (first, _) = self.places[id.index()];
        self.sets.find(first + channel as u32)
    }

    /// Why a set must stay, if it must.
    pub(super) fn held(&mut self, set: u32) -> Option<&str> {
        let reason = self.sets.held(set)?;
        Some(&self.reasons[reason as usize])
    }

    /// Lets all channels of a tensor stay.
    pub(super) fn hold(&mut self, id: TensorId, reason: &str) {
        let reason = match self.reasons.iter().position(|known| known == reason) {
            Some(known) => known,
            None => {
                self.reasons.push(reason.to_owned());
                self.reasons.len() - 1
            }
        };
        let (first, count) = self.places[id.index()];
        (first..first + count as u32).for_each(|channel| self.sets.hold(channel, reason as u32));
    }

    /// Of each tensor the channels that stay when these sets go.
    pub(super) fn kept(&mut self, gone: &HashSet<u32>) -> Vec<Vec<usize>> {
        let ids: Vec<TensorId> = self.graph.tensor_ids().collect();
        ids.iter()
            .map(|id| {
                (0..self.count(*id)).filter(|channel| !gone.contains(&self.set(*id, *channel))).collect()
            })
            .collect()
    }

    fn hold_node(&mut self, id: NodeId) {
        let node = &self.graph[id];
        let operator = node.op.builtin_name();
        *self.not_followed.entry(operator.to_owned()).or_insert(0) += 1;
        let reason = format!("channels are not followed through {operator} '{}'", node.name);
        let graph = self.graph;
        for tensor in graph[id].present_inputs().chain(graph[id].outputs.iter().copied()) {
            self.hold(tensor, &reason);
        }
    }

    /// Makes channel `channel(k)` of one tensor and channel `k` of another the same, for all `k`.
    fn couple(&mut self, from: TensorId, to: TensorId, channel: impl Fn(usize) -> usize) -> Follows {
        let ((first, count), (target, targets)) = (self.places[from.index()], self.places[to.index()]);
        for k in 0..targets {
            let source = channel(k);
            if source >= count {
                return Follows::No;
            }
            self.sets.union(first + source as u32, target + k as u32);
        }
        if count == 0 || targets == 0 { Follows::No } else { Follows::Yes }
    }

    fn fixed(&self, id: TensorId) -> bool {
        self.graph[id].is_fixed()
    }

    fn last(&self, id: TensorId) -> Option<usize> {
        self.facts[id.index()].shape.last().and_then(Dim::fixed)
    }

    fn follow(&mut self, id: NodeId) -> Follows {
        let node = &self.graph[id];
        let input = |place: usize| node.inputs.get(place).copied().flatten();
        let (Some(x), Some(y)) = (input(0), node.outputs.first().copied()) else { return Follows::No };
        let weights_fixed =
            |places: &[usize]| places.iter().all(|place| input(*place).is_none_or(|id| self.fixed(id)));
        match &node.op {
            // The channels of what they read and of what they compute are not the same.
            Op::Conv2D(op) if op.groups == 1 && weights_fixed(&[1, 2]) => Follows::Yes,
            Op::FullyConnected(_) if weights_fixed(&[1, 2]) => self.reads_whole_rows(node),
            Op::DepthwiseConv2D(op) if weights_fixed(&[1, 2]) && op.multiplier > 0 => {
                let multiplier = op.multiplier;
                self.couple(x, y, |k| k / multiplier)
            }
            Op::Unary(_) | Op::Pool2D(_) | Op::Resize(_) | Op::Identity(_) => self.couple(x, y, |k| k),
            Op::Cast(_) if self.facts[x.index()].dtype.is_float() => self.couple(x, y, |k| k),
            Op::Prelu(_) if weights_fixed(&[1]) => self.couple(x, y, |k| k),
            Op::Pad(op) if node.inputs.len() == 1 && op.amounts.last() == Some(&[0, 0]) => {
                self.couple(x, y, |k| k)
            }
            Op::Reduce(op) => {
                let rank = self.facts[x.index()].shape.rank();
                match op.resolved_axes(rank) {
                    Ok(axes) if !axes.contains(&(rank - 1)) => self.couple(x, y, |k| k),
                    _ => Follows::No,
                }
            }
            Op::Concat(op) => self.follow_concatenation(node, op.axis),
            Op::Binary(op) => self.follow_binary(node, op.kind),
            Op::Reshape(op) => self.follow_reshape(x, y, op.shape.as_deref()),
            Op::Squeeze(_) | Op::ExpandDims(_)
                if self.last(x) == self.last(y) && self.keeps_last_axis(node) =>
            {
                self.couple(x, y, |k| k)
            }
            _ => Follows::No,
        }
    }

    /// Whether the last axis stays the last one.
    fn keeps_last_axis(&self, node: &Node) -> bool {
        let rank = |id: Option<TensorId>| id.map_or(0, |id| self.facts[id.index()].shape.rank());
        let (before, after) = (rank(node.inputs[0]), rank(node.outputs.first().copied()));
        let place =
            |axis: i32, rank: usize| if axis < 0 { i64::from(axis) + rank as i64 } else { i64::from(axis) };
        match &node.op {
            Op::ExpandDims(op) => place(op.axis, after) != after as i64 - 1,
            Op::Squeeze(op) => {
                !op.axes.is_empty() && op.axes.iter().all(|axis| place(*axis, before) != before as i64 - 1)
            }
            _ => false,
        }
    }

    /// Whether a matrix product takes rows whose length is a multiple of the input's channels: what was
    /// flattened on the way.
    fn reads_whole_rows(&self, node: &Node) -> Follows {
        let (Some(x), Some(weights)) = (node.inputs[0], node.inputs[1]) else { return Follows::No };
        let (channels, depth) = (self.count(x), self.last(weights).unwrap_or(0));
        if channels > 0 && depth.is_multiple_of(channels) { Follows::Yes } else { Follows::No }
    }

    fn follow_concatenation(&mut self, node: &Node, axis: i32) -> Follows {
        let y = node.outputs[0];
        let rank = self.facts[y.index()].shape.rank();
        let axis = if axis < 0 { axis + rank as i32 } else { axis };
        let inputs: Vec<TensorId> = node.present_inputs().collect();
        if inputs.iter().any(|id| self.count(*id) == 0) || self.count(y) == 0 {
            return Follows::No;
        }
        let mut start = 0;
        for input in inputs {
            let count = self.count(input);
            let offset = if axis as usize + 1 == rank { start } else { 0 };
            let ((first, _), (target, targets)) = (self.places[input.index()], self.places[y.index()]);
            if offset + count > targets {
                return Follows::No;
            }
            (0..count as u32).for_each(|k| self.sets.union(first + k, target + offset as u32 + k));
            start += count;
        }
        Follows::Yes
    }

    /// Element-wise: operands of one channel, or one for all, follow by themselves.
    fn follow_binary(&mut self, node: &Node, kind: BinaryKind) -> Follows {
        let y = node.outputs[0];
        let channels = self.count(y);
        if channels == 0 || matches!(kind, BinaryKind::FloorDiv | BinaryKind::FloorMod) {
            return Follows::No;
        }
        let mut coupled = false;
        for id in node.present_inputs() {
            if self.fixed(id) {
                continue;
            }
            match self.last(id) {
                Some(last) if last == channels && self.count(id) == channels => {
                    self.couple(id, y, |k| k);
                    coupled = true;
                }
                // It has no channels that could go: those of a set of its own.
                Some(1) => self.hold(id, "one channel is spread over many"),
                _ => return Follows::No,
            }
        }
        if coupled { Follows::Yes } else { Follows::No }
    }

    /// Flattening, and axes of one element put in or left out before the channels.
    fn follow_reshape(&mut self, x: TensorId, y: TensorId, shape: Option<&[ReshapeDim]>) -> Follows {
        let (from, to) = (self.count(x), self.count(y));
        let Some([.., last]) = shape else { return Follows::No };
        if from == 0 || to == 0 || matches!(last, ReshapeDim::Copy(_)) {
            return Follows::No;
        }
        let sizes = |id: TensorId| -> Vec<Option<usize>> {
            self.facts[id.index()].shape.dims().iter().map(Dim::fixed).collect()
        };
        // Whether the last axes of one shape, taken together, are the last axis of the other.
        let ends_in = |sizes: &[Option<usize>], whole: usize| {
            let mut product = 1usize;
            sizes.iter().rev().any(|size| {
                product = product.saturating_mul(size.unwrap_or(usize::MAX));
                product == whole
            })
        };
        if to.is_multiple_of(from) && ends_in(&sizes(x), to) {
            self.couple(x, y, |k| k % from)
        } else if from.is_multiple_of(to) && ends_in(&sizes(y), from) {
            let (first, _) = self.places[x.index()];
            let (target, _) = self.places[y.index()];
            (0..from).for_each(|k| self.sets.union(first + k as u32, target + (k % to) as u32));
            Follows::Yes
        } else {
            Follows::No
        }
    }
}
