//! What an operator becomes when the tensors that it works on have their axes in another order.

use litesmith_graph::ops::{self, Conv2D, ReshapeDim, Slice, StridedSlice};
use litesmith_graph::{DType, Dim, Graph, Node, Op, Shape, TensorId};

use super::order::{Order, has_order, is_identity, moved, permutation, permuted, permuted_shape, without};

/// A node for tensors in another order.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Reordered {
    /// The order that it is not.
    pub native: Order,
    pub op: Op,
    /// For each input.
    pub inputs: Vec<Operand>,
    /// For all outputs: whether they come in the other order too.
    pub outputs: bool,
    /// Whether the operator itself goes on working in the old order, between two transpositions.
    pub bracketed: bool,
}

/// What a node of another order takes for one of its inputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operand {
    /// The input itself.
    Same,
    /// The input in the other order.
    Ordered,
    /// What broadcasts to this many axes, permuted as they are.
    Broadcast(usize),
    /// A list with an entry for each axis, its entries permuted as the axes are.
    Entries(usize),
    /// Weights `[out, in]` as those of a convolution of single pixels.
    PixelWeights,
}

/// A node and the order that its tensors have in the source.
#[derive(Clone, Copy)]
pub(super) struct Asked<'a> {
    pub graph: &'a Graph,
    pub node: &'a Node,
    pub native: Order,
    /// Whether operators that are bound to their last axis may go between two transpositions.
    pub brackets: bool,
}

/// The node for tensors in the order that is not its native one; `None` where there is none.
pub(super) fn reordered(asked: Asked<'_>) -> Option<Reordered> {
    let node = asked.node;
    match &node.op {
        Op::Unary(_) | Op::Quantize(_) | Op::Dequantize(_) | Op::Cast(_) | Op::Identity(_) => {
            asked.alike(node.op.clone())
        }
        Op::Dropout(op) => {
            let permutation = asked.permutation(asked.rank(0)?);
            let axes = op.shared_axes.iter().map(|axis| moved(&permutation, *axis)).collect();
            asked.alike(ops::Dropout { shared_axes: axes, ..op.clone() })
        }
        Op::FakeQuant(op) => {
            let mut op = op.clone();
            let permutation = asked.permutation(asked.rank(0)?);
            op.quantization.axis = op.quantization.axis.map(|axis| moved(&permutation, axis));
            asked.alike(op)
        }
        Op::Binary(_) | Op::Compare(_) | Op::Logical(_) | Op::Select(_) | Op::Prelu(_) => {
            let rank = asked.output()?.rank();
            let operand = |place| asked.broadcast(place, rank);
            let inputs = (0..node.inputs.len()).map(operand).collect::<Option<_>>()?;
            asked.with(node.op.clone(), inputs, true)
        }
        Op::Concat(op) => {
            let rank = asked.rank(0)?;
            let axis = moved(&asked.permutation(rank), resolved(op.axis, rank)?) as i32;
            let inputs = vec![Operand::Ordered; node.inputs.len()];
            asked.with(ops::Concat { axis, ..op.clone() }, inputs, true)
        }
        Op::Split(op) => asked.along(op.axis, |axis| ops::Split { axis, ..op.clone() }),
        Op::CumSum(op) => asked.along(op.axis, |axis| ops::CumSum { axis, ..op.clone() }),
        Op::Reverse(op) => {
            let axes = asked.axes(&op.axes)?;
            asked.alike(ops::Reverse { axes })
        }
        Op::Softmax(_) | Op::L2Norm(_) | Op::BatchNorm(_) => bound_to_last(asked),
        Op::FullyConnected(op) => fully_connected(asked, op),
        Op::BroadcastTo(_) | Op::Fill(_) | Op::Pad(_) | Op::Tile(_) | Op::Slice(_) | Op::UpdateSlice(_) => {
            entries(asked)
        }
        Op::StridedSlice(op) => strided_slice(asked, op),
        Op::Gather(op) => gather(asked, op),
        Op::Reduce(op) if op.keep_dims => {
            let axes = asked.axes(&op.axes)?;
            asked.alike(ops::Reduce { axes, ..op.clone() })
        }
        Op::Reduce(op) => {
            let dropped = op.resolved_axes(asked.rank(0)?).ok()?;
            let axes = asked.axes(&op.axes)?;
            asked.dropping(&dropped, ops::Reduce { axes, ..op.clone() })
        }
        Op::ArgReduce(op) => {
            let rank = asked.rank(0)?;
            let (dropped, axes) = (resolved(op.axis, rank)?, asked.axes(&[op.axis])?);
            asked.dropping(&[dropped], ops::ArgReduce { axis: axes[0], ..op.clone() })
        }
        Op::Unpack(op) => {
            let rank = asked.rank(0)?;
            let (dropped, axes) = (resolved(op.axis, rank)?, asked.axes(&[op.axis])?);
            asked.dropping(&[dropped], ops::Unpack { axis: axes[0], ..op.clone() })
        }
        Op::Squeeze(op) => {
            let shape = asked.shape(0)?;
            let dropped: Vec<usize> = if op.axes.is_empty() {
                // Of a size that is not known yet it is not known either whether it goes.
                shape.to_fixed()?;
                (0..shape.rank()).filter(|axis| shape.dims()[*axis] == Dim::Fixed(1)).collect()
            } else {
                op.axes.iter().map(|axis| resolved(*axis, shape.rank())).collect::<Option<_>>()?
            };
            let axes = asked.axes(&dropped.iter().map(|axis| *axis as i32).collect::<Vec<_>>())?;
            // An empty list would mean all axes of size 1.
            if axes.is_empty() { None } else { asked.dropping(&dropped, ops::Squeeze { axes }) }
        }
        Op::ExpandDims(op) => {
            let rank = asked.output()?.rank();
            asked.adding(resolved(op.axis, rank)?, |axis| ops::ExpandDims { axis })
        }
        Op::Pack(op) => {
            let rank = asked.output()?.rank();
            asked.adding(resolved(op.axis, rank)?, |axis| ops::Pack { axis })
        }
        Op::OneHot(op) => {
            let rank = asked.output()?.rank();
            let axis = if op.axis == -1 { rank - 1 } else { usize::try_from(op.axis).ok()? };
            let mut reordered = asked.adding(axis, |axis| ops::OneHot { axis, ..op.clone() })?;
            reordered.inputs[1..].fill(Operand::Same);
            Some(reordered)
        }
        Op::Reshape(_) => spatial_reshape(asked),
        _ => None,
    }
}

impl Asked<'_> {
    fn shape(&self, place: usize) -> Option<&Shape> {
        Some(&self.graph[self.node.inputs.get(place).copied().flatten()?].shape)
    }

    fn output(&self) -> Option<&Shape> {
        Some(&self.graph[*self.node.outputs.first()?].shape)
    }

    fn rank(&self, place: usize) -> Option<usize> {
        self.shape(place).map(Shape::rank)
    }

    /// From the native order to the other one.
    fn permutation(&self, rank: usize) -> Vec<usize> {
        if has_order(rank) {
            permutation(rank, self.native, self.native.other())
        } else {
            (0..rank).collect()
        }
    }

    fn with(&self, op: impl Into<Op>, inputs: Vec<Operand>, outputs: bool) -> Option<Reordered> {
        // Nothing depends on an order where neither side has one.
        let ordered = outputs || inputs.contains(&Operand::Ordered);
        let fits = |(input, operand): (&Option<TensorId>, &Operand)| match operand {
            Operand::Ordered => input.is_some_and(|id| has_order(self.graph[id].shape.rank())),
            Operand::Entries(rank) => {
                input.is_some_and(|id| self.graph[id].shape.dims().first() == Some(&Dim::Fixed(*rank)))
            }
            _ => true,
        };
        let outputs_fit =
            !outputs || self.node.outputs.iter().all(|id| has_order(self.graph[*id].shape.rank()));
        let inputs_fit = self.node.inputs.iter().zip(&inputs).all(fits);
        (ordered && outputs_fit && inputs_fit).then(|| Reordered {
            native: self.native,
            op: op.into(),
            inputs,
            outputs,
            bracketed: false,
        })
    }

    /// First input and outputs in the other order, all other inputs as they are.
    fn alike(&self, op: impl Into<Op>) -> Option<Reordered> {
        let mut inputs = vec![Operand::Same; self.node.inputs.len()];
        *inputs.first_mut()? = Operand::Ordered;
        self.with(op, inputs, true)
    }

    fn along<O: Into<Op>>(&self, axis: i32, op: impl FnOnce(i32) -> O) -> Option<Reordered> {
        self.alike(op(self.axes(&[axis])?[0]))
    }

    /// The new numbers of axes of the first input.
    fn axes(&self, axes: &[i32]) -> Option<Vec<i32>> {
        let rank = self.rank(0)?;
        let permutation = self.permutation(rank);
        axes.iter().map(|axis| Some(moved(&permutation, resolved(*axis, rank)?) as i32)).collect()
    }

    /// The first input in the other order, and outputs that lack some of its axes.
    fn dropping(&self, dropped: &[usize], op: impl Into<Op>) -> Option<Reordered> {
        let left = without(&self.permutation(self.rank(0)?), dropped);
        let outputs = if is_identity(&left) {
            false
        } else if left == self.permutation(left.len()) {
            true
        } else {
            return None;
        };
        let mut inputs = vec![Operand::Same; self.node.inputs.len()];
        inputs[0] = Operand::Ordered;
        self.with(op, inputs, outputs)
    }

    /// Outputs in the other order, made of inputs that lack one of their axes.
    fn adding<O: Into<Op>>(&self, axis: usize, op: impl FnOnce(i32) -> O) -> Option<Reordered> {
        let permutation = self.permutation(self.output()?.rank());
        let left = without(&permutation, &[axis]);
        let operand = if is_identity(&left) {
            Operand::Same
        } else if left == self.permutation(left.len()) {
            Operand::Ordered
        } else {
            return None;
        };
        let op = op(moved(&permutation, axis) as i32);
        self.with(op, vec![operand; self.node.inputs.len()], true)
    }

    /// How an operand joins a result of `rank` axes.
    fn broadcast(&self, place: usize, rank: usize) -> Option<Operand> {
        let tensor = &self.graph[self.node.inputs[place]?];
        let shape = &tensor.shape;
        let long = shape.dims().iter().filter(|dim| **dim != Dim::Fixed(1)).count();
        match shape.rank() {
            _ if long == 0 && shape.rank() < rank => Some(Operand::Same),
            own if own == rank => Some(Operand::Ordered),
            // What is computed is only given another shape, not moved.
            own if own < rank && (tensor.is_fixed() || long == 1) => Some(Operand::Broadcast(rank)),
            _ => None,
        }
    }
}

fn resolved(axis: i32, rank: usize) -> Option<usize> {
    let axis = if axis < 0 { i64::from(axis) + rank as i64 } else { i64::from(axis) };
    usize::try_from(axis).ok().filter(|axis| *axis < rank)
}

/// Operators on the last axis, which is that of channels.
fn bound_to_last(asked: Asked<'_>) -> Option<Reordered> {
    let reordered = asked.alike(asked.node.op.clone())?;
    (asked.brackets && asked.native == Order::Last).then_some(Reordered { bracketed: true, ..reordered })
}

/// A product of each pixel's channels is a convolution of single pixels.
fn fully_connected(asked: Asked<'_>, op: &ops::FullyConnected) -> Option<Reordered> {
    let (graph, node) = (asked.graph, asked.node);
    let dtype = |place: usize| node.inputs.get(place).copied().flatten().map(|id| graph[id].dtype);
    // On int16 the two operators do not round alike. With int8 weights alone, ONNX Runtime takes twice as long
    // for a convolution as for a product between two transpositions.
    let alike = matches!(dtype(0), Some(DType::F32 | DType::I8)) && dtype(0) == dtype(1);
    if !alike || !op.keep_num_dims || asked.rank(0) != Some(4) {
        return None;
    }
    let mut reordered = bound_to_last(asked)?;
    reordered.op = Conv2D { activation: op.activation, ..Conv2D::default() }.into();
    reordered.inputs[1] = Operand::PixelWeights;
    Some(reordered)
}

/// Operators with one or two numbers for each axis, as attributes or as inputs.
fn entries(asked: Asked<'_>) -> Option<Reordered> {
    let node = asked.node;
    let rank = asked.output()?.rank();
    let permutation = asked.permutation(rank);
    let mut op = node.op.clone();
    // `None` where inputs say it.
    let first_list = match &mut op {
        Op::Pad(op) if node.inputs.len() == 1 => {
            op.amounts = list(&permutation, &op.amounts)?;
            None
        }
        Op::Tile(op) if node.inputs.len() == 1 => {
            op.multiples = list(&permutation, &op.multiples)?;
            None
        }
        Op::BroadcastTo(op) if node.inputs.len() == 1 => {
            op.shape = list(&permutation, &op.shape)?;
            None
        }
        Op::Slice(op) if node.inputs.len() == 1 => {
            *op = Slice { begin: list(&permutation, &op.begin)?, size: list(&permutation, &op.size)? };
            None
        }
        Op::Fill(_) => Some(0),
        Op::UpdateSlice(_) => Some(2),
        _ => Some(1),
    };
    let operand = |place: usize| match (&node.op, first_list) {
        (Op::Fill(_), _) if place > 0 => Some(Operand::Same),
        (_, Some(first)) if place >= first => Some(Operand::Entries(rank)),
        (Op::BroadcastTo(_), _) => asked.broadcast(place, rank),
        _ => Some(Operand::Ordered),
    };
    let inputs = (0..node.inputs.len()).map(operand).collect::<Option<_>>()?;
    asked.with(op, inputs, true)
}

fn list<T: Clone>(permutation: &[usize], entries: &[T]) -> Option<Vec<T>> {
    (entries.len() == permutation.len()).then(|| permuted(permutation, entries))
}

fn strided_slice(asked: Asked<'_>, op: &StridedSlice) -> Option<Reordered> {
    let shape = asked.shape(0)?;
    let rank = shape.rank();
    let permutation = asked.permutation(rank);
    let computed = asked.node.inputs.len() > 1;
    let given = if computed { asked.shape(1)?.elements()? } else { op.begin.len() };
    if !has_order(rank) || given > rank || (computed && (given < rank || op.shrink_axis_mask != 0)) {
        return None;
    }
    // Axes that are left out are taken whole.
    let rest = (u32::MAX << given) & !(u32::MAX << rank);
    let bits = |mask: u32| {
        let bit = |(new, old): (usize, &usize)| (mask >> old & 1) << new;
        permutation.iter().enumerate().map(bit).fold(0, |mask, bit| mask | bit)
    };
    let numbers = |list: &[i64], rest: i64| {
        let padded: Vec<i64> = list.iter().copied().chain(std::iter::repeat(rest)).take(rank).collect();
        if computed { Vec::new() } else { permuted(&permutation, &padded) }
    };
    let new = StridedSlice {
        begin: numbers(&op.begin, 0),
        end: numbers(&op.end, 0),
        strides: numbers(&op.strides, 1),
        begin_mask: bits(op.begin_mask | rest),
        end_mask: bits(op.end_mask | rest),
        shrink_axis_mask: bits(op.shrink_axis_mask & !rest),
    };
    let dropped: Vec<usize> = (0..given).filter(|axis| op.shrink_axis_mask >> axis & 1 == 1).collect();
    let mut reordered = asked.dropping(&dropped, new)?;
    reordered.inputs[1..].fill(Operand::Entries(rank));
    Some(reordered)
}

fn gather(asked: Asked<'_>, op: &ops::Gather) -> Option<Reordered> {
    let (table, indices) = (asked.rank(0)?, asked.rank(1)?);
    let axis = resolved(op.axis, table)?;
    let new = ops::Gather { axis: moved(&asked.permutation(table), axis) as i32, batch_dims: 0 };
    match indices {
        _ if op.batch_dims > 0 => None,
        0 => asked.dropping(&[axis], new),
        1 => asked.alike(new),
        _ => None,
    }
}

/// A reshape that keeps batch and channels and only joins or splits the places between them.
fn spatial_reshape(asked: Asked<'_>) -> Option<Reordered> {
    let (from, to) = (asked.shape(0)?, asked.output()?);
    if !has_order(from.rank()) || !has_order(to.rank()) {
        return None;
    }
    let ends = |shape: &Shape| {
        let channels = if asked.native == Order::Last { shape.rank() - 1 } else { 1 };
        [shape.dims()[0].clone(), shape.dims()[channels].clone()]
    };
    if ends(from) != ends(to) || ends(from).contains(&Dim::Unknown) {
        return None;
    }
    let target = permuted_shape(&asked.permutation(to.rank()), to);
    asked.alike(reshape_to(&target)?).map(|mut reordered| {
        reordered.inputs.truncate(1);
        reordered
    })
}

/// A reshape to these sizes, if at most one of them is open.
pub(super) fn reshape_to(shape: &Shape) -> Option<ops::Reshape> {
    let open = shape.dims().iter().filter(|dim| dim.fixed().is_none()).count();
    // With a size of zero somewhere, what is left over is not determined.
    if open > 1 || (open == 1 && shape.dims().contains(&Dim::Fixed(0))) {
        return None;
    }
    let size = |dim: &Dim| dim.fixed().map_or(ReshapeDim::Infer, ReshapeDim::Fixed);
    Some(ops::Reshape::to(shape.dims().iter().map(size).collect()))
}
