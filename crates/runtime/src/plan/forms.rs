//! Forms of tensors beside their numbers, for layers of dynamic range: their samples quantized, and the
//! ranges of these.

use std::collections::HashMap;

use litesmith_graph::{DType, Facts, Graph, Node, Op, TensorId};

use crate::bind::Samples;

/// Which tensors are read as samples, and what there is of them.
pub(super) struct Forms {
    /// For each tensor, the layers that read it as samples.
    readers: Vec<Readers>,
    /// Which tensor holds the quantized samples of another, and which one the ranges.
    quantized: HashMap<(TensorId, Samples), TensorId>,
    ranges: HashMap<(TensorId, Samples), TensorId>,
}

/// Layers that read a tensor as samples.
#[derive(Clone, Copy, Default)]
struct Readers {
    count: usize,
    /// The number of samples that they see; 0 where it is not the same for all.
    batch: usize,
    /// Whether one may step over pixels.
    steps: bool,
}

impl Forms {
    pub(super) fn new(graph: &Graph, facts: &[Facts]) -> Forms {
        let mut readers = vec![Readers::default(); graph.tensors.len()];
        for (node, (id, batch)) in
            graph.nodes.iter().filter_map(|node| Some((node, samples_read(node, facts)?)))
        {
            let own: &mut Readers = &mut readers[id.index()];
            own.steps |= may_step_over_pixels(node, facts);
            own.batch = if own.count == 0 || own.batch == batch { batch } else { 0 };
            own.count += 1;
        }
        Forms { readers, quantized: HashMap::new(), ranges: HashMap::new() }
    }

    /// The samples of a tensor, if somebody reads them and they are `batch`.
    pub(super) fn wanted(&self, id: TensorId, batch: usize, facts: &[Facts]) -> Option<Samples> {
        let Readers { count, batch: read, .. } = self.readers[id.index()];
        let elements = facts[id.index()].shape.elements()?;
        (count > 0 && read == batch && batch > 0 && elements > 0).then_some(Samples {
            elements,
            batch,
            pixels: None,
        })
    }

    /// The samples of a tensor, if it is read as these, all of them, and in no other way; `readers` are all
    /// that read it.
    pub(super) fn sole_samples(&self, id: TensorId, readers: &[usize], facts: &[Facts]) -> Option<Samples> {
        let Readers { count, batch, steps } = self.readers[id.index()];
        self.wanted(id, batch, facts).filter(|_| count == readers[id.index()] && !steps)
    }

    /// The tensor that holds these quantized samples of another one.
    pub(super) fn quantized(&self, id: TensorId, samples: Samples) -> Option<TensorId> {
        self.quantized.get(&(id, samples)).copied()
    }

    pub(super) fn keep_quantized(&mut self, id: TensorId, samples: Samples, form: TensorId) {
        self.quantized.insert((id, samples), form);
    }

    /// The tensor that holds the ranges of these samples of another one.
    pub(super) fn ranges(&self, id: TensorId, samples: Samples) -> Option<TensorId> {
        self.ranges.get(&(id, samples)).copied()
    }

    pub(super) fn keep_ranges(&mut self, id: TensorId, samples: Samples, ranges: TensorId) {
        self.ranges.insert((id, samples), ranges);
    }
}

/// The tensor that a layer of dynamic range reads, and the number of its samples.
fn samples_read(node: &Node, facts: &[Facts]) -> Option<(TensorId, usize)> {
    let [Some(input), Some(weights), ..] = node.inputs[..] else { return None };
    let [own, other] = [input, weights].map(|id| &facts[id.index()]);
    if own.dtype != DType::F32 || !matches!(other.dtype, DType::I8 | DType::I4) {
        return None;
    }
    let batch = match node.op {
        Op::Conv2D(_) | Op::DepthwiseConv2D(_) => own.shape.to_fixed()?.first().copied()?,
        Op::FullyConnected(_) => {
            own.shape.elements()?.checked_div(other.shape.to_fixed()?.get(1).copied()?)?
        }
        _ => return None,
    };
    Some((input, batch))
}

/// Whether a layer may be one of those that step over pixels (`Pixels::seen` in `bind`).
fn may_step_over_pixels(node: &Node, facts: &[Facts]) -> bool {
    let is_point = |weights: &TensorId| {
        let dims = facts[weights.index()].shape.to_fixed();
        matches!(dims.as_deref(), Some([_, 1, 1, _]))
    };
    matches!(&node.op, Op::Conv2D(op) if op.stride != [1, 1])
        && node.inputs.get(1).copied().flatten().as_ref().is_some_and(is_point)
}
