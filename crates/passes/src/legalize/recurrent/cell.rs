//! One step of a recurrent layer as TFLite's operators.

use litesmith_graph::TensorId;
use litesmith_graph::ops::{
    Binary, BinaryKind, FullyConnected, GateFunction, Recurrent, RecurrentCell, Select, Split, Unary,
    UnaryKind,
};

use super::super::writer::Writer;

/// The layer's weights as its steps need them.
pub(super) struct Weights {
    units: usize,
    /// Recurrent products: of all blocks, or of a GRU's first two and its candidate.
    recurrent: Vec<Product>,
}

/// A fully connected layer: weights `[out, units]` and a bias.
struct Product {
    name: &'static str,
    outputs: usize,
    weights: Vec<f32>,
    bias: Option<Vec<f32>>,
}

/// Constants of [`Weights`] in a graph.
pub(super) struct Placed {
    units: usize,
    recurrent: Vec<(TensorId, Option<TensorId>)>,
}

/// What a layer remembers; `None` stands for zero.
#[derive(Clone, Copy, Default)]
pub(super) struct States {
    pub h: Option<TensorId>,
    pub c: Option<TensorId>,
}

/// The columns of a kernel `[rows, width]` as the weights `[columns, rows]` of a fully connected layer.
pub(super) fn transposed(kernel: &[f32], width: usize, columns: std::ops::Range<usize>) -> Vec<f32> {
    columns.flat_map(|column| kernel.iter().skip(column).step_by(width).copied()).collect()
}

impl Weights {
    /// From a recurrent kernel `[units, gates * units]` and the bias that is added to its product.
    pub fn new(cell: RecurrentCell, units: usize, kernel: &[f32], bias: Option<&[f32]>) -> Weights {
        let width = cell.gates() * units;
        let product = |name, columns: std::ops::Range<usize>| Product {
            name,
            outputs: columns.len(),
            weights: transposed(kernel, width, columns.clone()),
            bias: bias.map(|bias| bias[columns].to_vec()),
        };
        let recurrent = match cell {
            RecurrentCell::Gru { .. } => {
                vec![product("gates", 0..2 * units), product("candidate", 2 * units..width)]
            }
            RecurrentCell::Simple | RecurrentCell::Lstm => vec![product("recurrent", 0..width)],
        };
        Weights { units, recurrent }
    }

    /// Puts them into a graph.
    pub fn place(&self, writer: &mut Writer<'_>) -> Placed {
        let place = |product: &Product| {
            let Product { name, outputs, weights, bias } = product;
            let shape = [*outputs, self.units];
            let weights = writer.floats(&format!("{name}/weights"), &shape, weights.clone());
            let bias = bias.as_ref();
            (weights, bias.map(|bias| writer.floats(&format!("{name}/bias"), &[*outputs], bias.clone())))
        };
        Placed { units: self.units, recurrent: self.recurrent.iter().map(place).collect() }
    }
}

/// The states after a step, from those before and the input's product `[batch, gates * units]`.
pub(super) fn step(
    writer: &mut Writer<'_>,
    op: &Recurrent,
    weights: &Placed,
    product: TensorId,
    before: States,
) -> States {
    let mut step = Step { writer, op, weights };
    match op.cell {
        RecurrentCell::Simple => {
            let sum = step.with_recurrent("sum", 0, product, before.h);
            States { h: Some(step.function("h", op.activation, sum)), c: None }
        }
        RecurrentCell::Lstm => step.lstm(product, before),
        RecurrentCell::Gru { reset_after } => {
            States { h: Some(step.gru(reset_after, product, before.h)), c: None }
        }
    }
}

struct Step<'s, 'a> {
    writer: &'s mut Writer<'a>,
    op: &'s Recurrent,
    weights: &'s Placed,
}

impl Step<'_, '_> {
    fn binary(&mut self, name: &str, kind: BinaryKind, a: TensorId, b: TensorId) -> TensorId {
        self.writer.push(name, Binary::from(kind), &[a, b])
    }

    fn function(&mut self, name: &str, function: GateFunction, x: TensorId) -> TensorId {
        match function {
            GateFunction::Linear => x,
            GateFunction::Function(kind) => self.writer.push(name, Unary::from(kind), &[x]),
            GateFunction::HardSigmoid { slope, offset } => {
                let slope = self.writer.number(&format!("{name}/slope"), slope);
                let offset = self.writer.number(&format!("{name}/offset"), offset);
                let product = self.binary(&format!("{name}/mul"), BinaryKind::Mul, x, slope);
                let sum = self.binary(&format!("{name}/add"), BinaryKind::Add, product, offset);
                self.writer.push(name, Unary::from(UnaryKind::Clip { min: 0.0, max: 1.0 }), &[sum])
            }
        }
    }

    /// The recurrent product of this index, of a state; `None` where that is zero and so is the bias.
    fn recurrent(&mut self, name: &str, index: usize, state: Option<TensorId>) -> Option<TensorId> {
        let (weights, bias) = self.weights.recurrent[index];
        match state {
            Some(state) => {
                let inputs = [Some(state), Some(weights), bias];
                Some(self.writer.push_some(name, FullyConnected::default(), &inputs)[0])
            }
            None => bias,
        }
    }

    /// The input's product and the recurrent one.
    fn with_recurrent(&mut self, name: &str, index: usize, x: TensorId, state: Option<TensorId>) -> TensorId {
        match self.recurrent(&format!("{name}/recurrent"), index, state) {
            Some(product) => self.binary(name, BinaryKind::Add, x, product),
            None => x,
        }
    }

    fn lstm(&mut self, product: TensorId, before: States) -> States {
        let sums = self.with_recurrent("sums", 0, product, before.h);
        let split = Split { axis: 1, parts: 4, sizes: Vec::new() };
        let blocks = self.writer.push_some("gates", split, &[Some(sums)]);
        let &[input, forget, candidate, output] = blocks.as_slice() else { return before };
        let (function, gate) = (self.op.activation, self.op.recurrent_activation);
        let input = self.function("input", gate, input);
        let candidate = self.function("candidate", function, candidate);
        let entering = self.binary("entering", BinaryKind::Mul, input, candidate);
        let c = match before.c {
            Some(c) => {
                let forget = self.function("forget", gate, forget);
                let kept = self.binary("kept", BinaryKind::Mul, forget, c);
                self.binary("c", BinaryKind::Add, kept, entering)
            }
            None => entering,
        };
        let output = self.function("output", gate, output);
        let shown = self.function("shown", function, c);
        States { h: Some(self.binary("h", BinaryKind::Mul, output, shown)), c: Some(c) }
    }

    fn gru(&mut self, reset_after: bool, product: TensorId, h: Option<TensorId>) -> TensorId {
        let units = self.weights.units;
        let split = Split { axis: 1, parts: 2, sizes: vec![2 * units, units] };
        let parts = self.writer.push_some("parts", split, &[Some(product)]);
        let &[gates, candidate] = parts.as_slice() else { return product };
        let sums = self.with_recurrent("sums", 0, gates, h);
        let opened = self.function("opened", self.op.recurrent_activation, sums);
        let split = Split { axis: 1, parts: 2, sizes: Vec::new() };
        let gates = self.writer.push_some("gates", split, &[Some(opened)]);
        let &[update, reset] = gates.as_slice() else { return product };
        let recurrent = if reset_after {
            self.recurrent("candidate/recurrent", 1, h)
                .map(|product| self.binary("candidate/reset", BinaryKind::Mul, reset, product))
        } else {
            let kept = h.map(|h| self.binary("candidate/reset", BinaryKind::Mul, reset, h));
            self.recurrent("candidate/recurrent", 1, kept)
        };
        let sum = match recurrent {
            Some(recurrent) => self.binary("candidate/sum", BinaryKind::Add, candidate, recurrent),
            None => candidate,
        };
        let candidate = self.function("candidate", self.op.activation, sum);
        match h {
            Some(h) => {
                let change = self.binary("change", BinaryKind::Sub, h, candidate);
                let kept = self.binary("kept", BinaryKind::Mul, update, change);
                self.binary("h", BinaryKind::Add, candidate, kept)
            }
            None => {
                let lost = self.binary("lost", BinaryKind::Mul, update, candidate);
                self.binary("h", BinaryKind::Sub, candidate, lost)
            }
        }
    }
}

/// What a step whose `mask` (`[batch, 1]`) may say that it does not count leaves of fresh values.
pub(super) fn masked(
    writer: &mut Writer<'_>,
    name: &str,
    mask: TensorId,
    fresh: TensorId,
    old: Option<TensorId>,
) -> TensorId {
    let old = match old {
        Some(old) => old,
        None => writer.number(&format!("{name}/zero"), 0.0),
    };
    writer.push(name, Select {}, &[mask, fresh, old])
}
