//! Recurrent layers.

use litesmith_graph::ops::{
    BinaryKind, Compare, CompareKind, Concat, ExpandDims, GateFunction, Gather, Recurrent, RecurrentCell,
    Reshape, ReshapeDim, Reverse, Squeeze, Transpose, UnaryKind,
};
use litesmith_graph::{DType, TensorId};

use crate::emit::Emit;
use crate::onnx::read::draft::Bound;
use crate::onnx::read::scope::Scope;
use crate::refusal::{Built, unsupported};

/// The parts of a layer for one direction.
struct Layer {
    cell: RecurrentCell,
    /// For each of the graph's blocks of gates, ONNX' one.
    order: &'static [usize],
    units: usize,
    /// Whether the batch is the first axis.
    batch_first: bool,
}

pub(super) fn lstm(scope: &mut Scope<'_, '_>) -> Built<Vec<Bound>> {
    if scope.attributes.flag("input_forget", false)? {
        unsupported!("coupled input and forget gates are not supported; use separate ones");
    }
    // ONNX has the gates i, o, f, c.
    layers(scope, RecurrentCell::Lstm, &[0, 2, 3, 1])
}

pub(super) fn gru(scope: &mut Scope<'_, '_>) -> Built<Vec<Bound>> {
    let reset_after = scope.attributes.flag("linear_before_reset", false)?;
    layers(scope, RecurrentCell::Gru { reset_after }, &[0, 1, 2])
}

pub(super) fn simple(scope: &mut Scope<'_, '_>) -> Built<Vec<Bound>> {
    layers(scope, RecurrentCell::Simple, &[0])
}

fn layers(scope: &mut Scope<'_, '_>, cell: RecurrentCell, order: &'static [usize]) -> Built<Vec<Bound>> {
    let (mut x, kernel, recurrent) = (scope.input(0)?, scope.input(1)?, scope.input(2)?);
    scope.expect_floats(x)?;
    if scope.attributes.number("clip")?.is_some_and(|clip| clip > 0.0) {
        unsupported!("clipped gates are not supported; leave 'clip' out");
    }
    let shape = scope.sizes(recurrent)?;
    let [directions, rows, units] = shape[..] else {
        return Err(scope.broken(format!("its recurrent weights have shape {shape:?}")).into());
    };
    let stated = scope.attributes.integer("hidden_size")?;
    if units == 0 || rows != units * cell.gates() || stated.is_some_and(|stated| stated != units as i64) {
        return Err(scope.broken(format!("its recurrent weights of shape {shape:?} do not fit")).into());
    }
    let backwards: &[bool] = match (scope.attributes.text("direction")?.unwrap_or("forward"), directions) {
        ("forward", 1) => &[false],
        ("reverse", 1) => &[true],
        ("bidirectional", 2) => &[false, true],
        (other, _) => return Err(scope.broken(format!("its direction is '{other}'")).into()),
    };
    let batch_first = scope.attributes.flag("layout", false)?;
    let layer = Layer { cell, order, units, batch_first };
    if !batch_first {
        x = scope.emit(Transpose::by(&[1, 0, 2]), &[x])?;
    }
    let mask = layer.mask(scope, x)?;
    let functions = functions(scope, cell, directions)?;
    let mut all: Vec<Vec<TensorId>> = Vec::new();
    for (direction, backwards) in backwards.iter().copied().enumerate() {
        let weights = [kernel, recurrent].map(|weights| layer.matrix(scope, weights, direction));
        let [kernel, recurrent] = weights;
        let bias = layer.bias(scope, direction)?;
        let (h, c) = (layer.state(scope, 5, direction)?, layer.state(scope, 6, direction)?);
        let op = Recurrent {
            cell,
            activation: functions[direction][1],
            recurrent_activation: functions[direction][0],
            backwards,
            unroll: false,
            zero_masked: mask.is_some(),
        };
        let mut operands = vec![Some(x), Some(kernel?), Some(recurrent?), bias, h, c, mask];
        while operands.last() == Some(&None) {
            operands.pop();
        }
        let mut outputs = scope.emit_several(op, operands)?;
        if backwards {
            outputs[0] = scope.emit(Reverse { axes: vec![1] }, &[outputs[0]])?;
        }
        for (place, output) in outputs.into_iter().enumerate() {
            let output = layer.laid_out(scope, output, place)?;
            match all.get_mut(place) {
                Some(known) => known.push(output),
                None => all.push(vec![output]),
            }
        }
    }
    let mut results = Vec::with_capacity(all.len());
    for (place, parts) in all.into_iter().enumerate() {
        let axis = match (place, batch_first) {
            (0, true) => 2,
            (0, false) => 1,
            (_, true) => 1,
            (_, false) => 0,
        };
        results.push(Bound::Tensor(match parts.as_slice() {
            [one] => *one,
            _ => scope.emit(Concat { axis, ..Concat::default() }, &parts)?,
        }));
    }
    Ok(results)
}

/// For each direction, the function of the gates and that of the candidate.
fn functions(scope: &Scope<'_, '_>, cell: RecurrentCell, directions: usize) -> Built<Vec<[GateFunction; 2]>> {
    let each = match cell {
        RecurrentCell::Simple => 1,
        RecurrentCell::Gru { .. } => 2,
        RecurrentCell::Lstm => 3,
    };
    let factors =
        [scope.attributes.numbers("activation_alpha")?, scope.attributes.numbers("activation_beta")?];
    if factors.iter().any(|factors| factors.is_some_and(|factors| !factors.is_empty())) {
        unsupported!("functions with factors of their own are not supported; use the usual ones");
    }
    let named = scope.attributes.texts("activations")?;
    let usual: &[&str] = if each == 1 { &["Tanh"] } else { &["Sigmoid", "Tanh", "Tanh"][..each] };
    let names: Vec<&str> = match named {
        Some(names) if !names.is_empty() => names,
        _ => usual.repeat(directions),
    };
    if names.len() != each * directions {
        return Err(scope
            .broken(format!("it has {} functions for {directions} directions", names.len()))
            .into());
    }
    let function = |name: &str| -> Built<GateFunction> {
        Ok(match name.to_ascii_lowercase().as_str() {
            "sigmoid" => UnaryKind::Logistic.into(),
            "tanh" => UnaryKind::Tanh.into(),
            "relu" => UnaryKind::Relu.into(),
            "softsign" => UnaryKind::Softsign.into(),
            "softplus" => UnaryKind::Softplus.into(),
            "hardsigmoid" => GateFunction::HardSigmoid { slope: 0.2, offset: 0.5 },
            other => unsupported!("the function '{other}' is not supported; use Sigmoid, Tanh or Relu"),
        })
    };
    let mut all = Vec::with_capacity(directions);
    for names in names.chunks_exact(each) {
        all.push(match names {
            [one] => [function(one)?, function(one)?],
            [gate, candidate] => [function(gate)?, function(candidate)?],
            [gate, candidate, output] if candidate.eq_ignore_ascii_case(output) => {
                [function(gate)?, function(candidate)?]
            }
            _ => unsupported!("different functions of candidate and output are not supported; use one"),
        });
    }
    Ok(all)
}

impl Layer {
    /// A direction's part of a tensor whose first axis is directions, under this shape.
    fn part(
        &self,
        scope: &mut Scope<'_, '_>,
        x: TensorId,
        direction: usize,
        shape: &[usize],
    ) -> Built<TensorId> {
        let rank = scope.rank(x);
        let (mut begin, mut size) = (vec![0; rank], vec![-1; rank]);
        (begin[0], size[0]) = (direction, 1);
        let own = if scope.size(x, 0)? == 1 {
            x
        } else {
            scope.laid_out(x, litesmith_graph::ops::Slice { begin, size })?
        };
        let shape = shape.iter().copied().map(ReshapeDim::Fixed).collect();
        scope.laid_out(own, Reshape::to(shape))
    }

    /// The places of ONNX' rows in the order of the graph's blocks.
    fn rows(&self) -> Vec<i64> {
        let units = self.units;
        self.order.iter().flat_map(|gate| (0..units).map(move |unit| (gate * units + unit) as i64)).collect()
    }

    fn is_ordered(&self) -> bool {
        self.order.iter().copied().eq(0..self.order.len())
    }

    /// Weights `[directions, gates * units, inputs]` as `[inputs, gates * units]`.
    fn matrix(&self, scope: &mut Scope<'_, '_>, weights: TensorId, direction: usize) -> Built<TensorId> {
        let (rows, inputs) = (self.units * self.cell.gates(), scope.size(weights, 2)?);
        let mut own = self.part(scope, weights, direction, &[rows, inputs])?;
        if !self.is_ordered() {
            own = self.reordered(scope, own, 0)?;
        }
        scope.laid_out(own, Transpose::by(&[1, 0]))
    }

    fn reordered(&self, scope: &mut Scope<'_, '_>, x: TensorId, axis: i32) -> Built<TensorId> {
        let rows = self.rows();
        let places = scope.integers("gates", DType::I32, &[rows.len()], &rows)?;
        scope.emit(Gather { axis, batch_dims: 0 }, &[x, places])
    }

    /// Two biases for each gate, as one where they are only added up.
    fn bias(&self, scope: &mut Scope<'_, '_>, direction: usize) -> Built<Option<TensorId>> {
        let Some(bias) = scope.optional(3)? else { return Ok(None) };
        let rows = self.units * self.cell.gates();
        if scope.size(bias, 1)? != 2 * rows {
            return Err(scope.broken("its bias does not fit its weights").into());
        }
        let mut both = self.part(scope, bias, direction, &[2, rows])?;
        if !self.is_ordered() {
            both = self.reordered(scope, both, 1)?;
        }
        if self.cell == (RecurrentCell::Gru { reset_after: true }) {
            return Ok(Some(both));
        }
        let halves = [0, 1].map(|half| {
            let slice = litesmith_graph::ops::Slice { begin: vec![half, 0], size: vec![1, -1] };
            let half = scope.laid_out(both, slice)?;
            scope.laid_out(half, Reshape::to(vec![ReshapeDim::Fixed(rows)]))
        });
        let [input, recurrent] = halves;
        let (input, recurrent) = (input?, recurrent?);
        scope.binary(BinaryKind::Add, input, recurrent).map(Some)
    }

    /// The state before the first step.
    fn state(&self, scope: &mut Scope<'_, '_>, index: usize, direction: usize) -> Built<Option<TensorId>> {
        if index == 6 && self.cell != RecurrentCell::Lstm {
            return Ok(None);
        }
        let Some(state) = scope.optional(index)? else { return Ok(None) };
        let axis = usize::from(self.batch_first);
        let own =
            if scope.size(state, axis)? == 1 { state } else { scope.part(state, axis, direction, 1)? };
        scope.emit(Squeeze { axes: vec![axis as i32] }, &[own]).map(Some)
    }

    /// Which steps count, where sequences have lengths of their own; `x` is `[batch, time, features]`.
    fn mask(&self, scope: &mut Scope<'_, '_>, x: TensorId) -> Built<Option<TensorId>> {
        let Some(lengths) = scope.optional(4)? else { return Ok(None) };
        let steps = scope.size(x, 1)?;
        if scope
            .known_integers(lengths)
            .is_some_and(|known| known.iter().all(|length| *length == steps as i64))
        {
            return Ok(None);
        }
        scope.listable(&[steps])?;
        let places: Vec<i64> = (0..steps as i64).collect();
        let places = scope.integers("steps", DType::I32, &[1, steps], &places)?;
        let lengths = scope.cast(lengths, DType::I32)?;
        let lengths = scope.emit(ExpandDims { axis: 1 }, &[lengths])?;
        scope.emit(Compare { kind: CompareKind::Less }, &[places, lengths]).map(Some)
    }

    /// An output as ONNX has it: all steps, or a state.
    fn laid_out(&self, scope: &mut Scope<'_, '_>, output: TensorId, place: usize) -> Built<TensorId> {
        match (place, self.batch_first) {
            (0, true) => scope.emit(ExpandDims { axis: 2 }, &[output]),
            (0, false) => {
                let steps_first = scope.emit(Transpose::by(&[1, 0, 2]), &[output])?;
                scope.emit(ExpandDims { axis: 1 }, &[steps_first])
            }
            (_, true) => scope.emit(ExpandDims { axis: 1 }, &[output]),
            (_, false) => scope.emit(ExpandDims { axis: 0 }, &[output]),
        }
    }
}
