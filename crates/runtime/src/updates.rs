//! A row of a tensor replaced the way TensorFlow's converter says it: what comes before the row, the
//! row, and what comes behind it, joined. As one update it needs no shape that is computed, so that a
//! loop can be planned, and writes in place.

use litesmith_graph::ops::{BinaryKind, UpdateSlice};
use litesmith_graph::{Graph, NodeId, Op, TensorId, TensorKind};

/// Rewrites `Concat(Slice(x, 0, [i, -1, …]), row, Slice(x, [i + 1, 0, …], -1))`. Tensor ids and nodes
/// keep their numbers.
pub(crate) fn fuse_updates(graph: &mut Graph) {
    let lookup = Lookup { producers: graph.producers(), graph };
    let updates: Vec<(NodeId, [TensorId; 3])> =
        graph.node_ids().filter_map(|id| Some((id, lookup.update(id)?))).collect();
    for (id, inputs) in updates {
        graph[id].op = UpdateSlice {}.into();
        graph[id].inputs = inputs.map(Some).to_vec();
    }
}

struct Lookup<'a> {
    graph: &'a Graph,
    producers: Vec<Option<NodeId>>,
}

/// An element of a vector of integers.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Entry {
    Constant(i64),
    /// The only element of this tensor.
    Of(TensorId),
}

impl Lookup<'_> {
    fn producer(&self, id: TensorId) -> Option<NodeId> {
        self.producers[id.index()]
    }

    /// What a join replaces, by what, and where it begins (-1, which is moved to 0, along the axes that
    /// are replaced whole).
    fn update(&self, id: NodeId) -> Option<[TensorId; 3]> {
        let node = &self.graph[id];
        let (Op::Concat(op), [Some(before), Some(row), Some(behind)]) = (&node.op, &node.inputs[..]) else {
            return None;
        };
        let (whole, [begin, size]) = self.slice(*before)?;
        let (other, [next, rest]) = self.slice(*behind)?;
        let dims = self.graph[*row].shape.dims();
        let axis = if op.axis < 0 { op.axis + dims.len() as i32 } else { op.axis };
        let axis = usize::try_from(axis).ok()?;
        let one_row = dims.get(axis)?.fixed() == Some(1);
        let all = |vector: TensorId, value: i64| {
            self.entries(vector)?.iter().all(|entry| *entry == Entry::Constant(value)).then_some(())
        };
        let index = self.only(size, axis, -1)?;
        let following = self.only(next, axis, 0)?;
        all(begin, 0)?;
        all(rest, -1)?;
        let fits = whole == other && one_row && op.activation.is_none() && self.follows(following, index);
        let plain = [whole, *row].iter().all(|id| self.graph[*id].quantization.is_none());
        (fits && plain).then_some([whole, *row, size])
    }

    /// What a slice cuts, and where it is told begin and size.
    fn slice(&self, id: TensorId) -> Option<(TensorId, [TensorId; 2])> {
        let node = &self.graph[self.producer(id)?];
        match (&node.op, &node.inputs[..]) {
            (Op::Slice(_), [Some(whole), Some(begin), Some(size)]) => Some((*whole, [*begin, *size])),
            _ => None,
        }
    }

    /// The one element of a vector that is no constant, at this place; all others have this value.
    fn only(&self, vector: TensorId, place: usize, others: i64) -> Option<TensorId> {
        let mut found = None;
        for (index, entry) in self.entries(vector)?.into_iter().enumerate() {
            match entry {
                Entry::Of(id) if index == place => found = Some(id),
                Entry::Constant(value) if index != place && value == others => {}
                _ => return None,
            }
        }
        found
    }

    fn entries(&self, vector: TensorId) -> Option<Vec<Entry>> {
        if let TensorKind::Constant(data) = &self.graph[vector].kind {
            let integers = data.integers(self.graph[vector].dtype)?;
            return Some(integers.into_iter().map(Entry::Constant).collect());
        }
        let node = &self.graph[self.producer(vector)?];
        let joins = match &node.op {
            Op::Concat(op) => op.axis == 0 && op.activation.is_none(),
            Op::Pack(op) => op.axis == 0,
            _ => false,
        };
        if !joins || self.graph[vector].shape.rank() != 1 {
            return None;
        }
        let mut entries = Vec::new();
        for part in node.present_inputs() {
            match &self.graph[part].kind {
                TensorKind::Constant(data) => {
                    entries.extend(data.integers(self.graph[part].dtype)?.into_iter().map(Entry::Constant));
                }
                _ if self.graph[part].shape.elements() == Some(1) => {
                    entries.push(Entry::Of(self.same_element(part)));
                }
                _ => return None,
            }
        }
        Some(entries)
    }

    /// The tensor that a single element comes from, whatever shapes it had on its way.
    fn same_element(&self, id: TensorId) -> TensorId {
        let mut id = id;
        while let Some(producer) = self.producer(id) {
            let node = &self.graph[producer];
            match (&node.op, node.inputs.first()) {
                (
                    Op::Reshape(_) | Op::ExpandDims(_) | Op::Squeeze(_) | Op::Identity(_),
                    Some(Some(input)),
                ) => {
                    id = *input;
                }
                _ => break,
            }
        }
        id
    }

    /// Whether one element is another plus 1.
    fn follows(&self, id: TensorId, index: TensorId) -> bool {
        let Some(producer) = self.producer(id) else { return false };
        let node = &self.graph[producer];
        let (Op::Binary(op), [Some(a), Some(b)]) = (&node.op, &node.inputs[..]) else { return false };
        let is_one = |id: TensorId| match &self.graph[id].kind {
            TensorKind::Constant(data) => data.integers(self.graph[id].dtype) == Some(vec![1]),
            _ => false,
        };
        let pair = |a: TensorId, b: TensorId| self.same_element(a) == index && is_one(b);
        op.kind == BinaryKind::Add && op.activation.is_none() && (pair(*a, *b) || pair(*b, *a))
    }
}
