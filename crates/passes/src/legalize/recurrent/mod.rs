//! Recurrent layers: one copy of the cell for each step where steps are fixed and few, else a loop.
//!
//! The input's products of all steps are one fully connected layer before the first step. The builtin
//! LSTM of TFLite is not used: it holds its states between runs and has a fixed batch.

mod cell;
mod looped;
#[cfg(test)]
mod tests;
mod unrolled;

use litesmith_graph::model::Parameter;
use litesmith_graph::ops::{FullyConnected, GateFunction, Identity, Recurrent, RecurrentCell, UnaryKind};
use litesmith_graph::{DType, Dim, Graph, NodeId, Op, TensorId, TensorKind};

use super::Called;
use super::writer::Writer;
use crate::constants;
use cell::{States, Weights, transposed};

/// Most steps for which the cell is copied without being asked to.
const MOST_COPIES: usize = 32;
/// Most steps for which the cell is copied because the source asks for it.
const MOST_COPIES_ASKED_FOR: usize = 1024;

/// A layer that is taken apart.
struct Layer {
    op: Recurrent,
    weights: Weights,
    /// The input's products `[batch, time, gates * units]`.
    products: TensorId,
    before: States,
    /// `bool[batch, time]`.
    mask: Option<TensorId>,
    batch: Dim,
    time: Dim,
    units: usize,
    /// Whether anybody reads the outputs of all steps.
    sequence_read: bool,
}

/// What becomes of the layer: tensors for its outputs, the sequence where it is read.
struct Results {
    sequence: Option<TensorId>,
    states: States,
}

/// Takes a layer apart. A loop adds two graphs to `called`.
pub(super) fn recurrent(
    graph: &mut Graph,
    parameters: &[Parameter],
    id: NodeId,
    called: &mut Called,
) -> Result<(), String> {
    let node = graph[id].clone();
    let Op::Recurrent(op) = &node.op else { return Ok(()) };
    let prefix = graph[node.outputs[0]].name.clone();
    let mut layer = layer(graph, parameters, id, op, &prefix)?;
    let sequence = node.outputs[0];
    layer.sequence_read = graph.is_output(sequence)
        || graph.nodes.iter().any(|node| node.present_inputs().any(|input| input == sequence));
    let mut writer = Writer::new(graph, &node.name, &prefix);
    let results = match copies(&layer) {
        Some(time) => unrolled::unrolled(&mut writer, &layer, time),
        None => looped::looped(&mut writer, &layer, called),
    };
    let States { h, c } = results.states;
    retire(writer.graph, id);
    for (old, new) in node.outputs.iter().zip([results.sequence, h, c]) {
        if let Some(new) = new {
            take_over(writer.graph, *old, new);
        }
    }
    Ok(())
}

/// Lets the node that computes `new` compute `old` instead, which has the layer's name.
fn take_over(graph: &mut Graph, old: TensorId, new: TensorId) {
    graph.replace_uses(new, old);
    let outputs = graph.nodes.iter_mut().flat_map(|node| &mut node.outputs);
    outputs.filter(|output| **output == new).for_each(|output| *output = old);
}

/// How many copies of the cell there will be; `None` for a loop.
fn copies(layer: &Layer) -> Option<usize> {
    let most = if layer.op.unroll { MOST_COPIES_ASKED_FOR } else { MOST_COPIES };
    layer.time.fixed().filter(|time| (1..=most).contains(time))
}

/// What is left of the layer computes nothing that is read: the outputs have other nodes.
fn retire(graph: &mut Graph, id: NodeId) {
    let input = graph[id].inputs[0];
    let unread = input.map(|input| graph[input].clone()).map(|mut tensor| {
        tensor.kind = TensorKind::Activation;
        tensor
    });
    if let Some(unread) = unread {
        let unread = graph.add_tensor(unread);
        let node = &mut graph[id];
        node.op = Identity {}.into();
        node.inputs = vec![input];
        node.outputs = vec![unread];
    }
}

fn layer(
    graph: &mut Graph,
    parameters: &[Parameter],
    id: NodeId,
    op: &Recurrent,
    prefix: &str,
) -> Result<Layer, String> {
    let node = graph[id].clone();
    let input = |index: usize| node.inputs.get(index).copied().flatten();
    let missing = || "it lacks an input".to_owned();
    let x = input(0).ok_or_else(missing)?;
    if graph[x].dtype != DType::F32 {
        return Err(format!("recurrent layers of {} cannot be converted", graph[x].dtype));
    }
    let fixed = |index: usize| {
        let id = input(index).ok_or_else(missing)?;
        constants::floats(graph, parameters, id)
            .map(std::borrow::Cow::into_owned)
            .ok_or_else(|| "weights that are computed cannot be converted; make them constant".to_owned())
    };
    let (kernel, recurrent) = (fixed(1)?, fixed(2)?);
    let bias = if input(3).is_some() { Some(fixed(3)?) } else { None };
    let [batch, time, features] = graph[x].shape.dims() else { return Err(missing()) };
    let (batch, time) = (batch.clone(), time.clone());
    let width = graph[input(1).ok_or_else(missing)?].shape.last().and_then(Dim::fixed).ok_or_else(missing)?;
    let Some(features) = features.fixed().or_else(|| kernel.len().checked_div(width)) else {
        return Err(missing());
    };
    let units = width / op.cell.gates();
    let (bias, recurrent_bias) = match (op.cell, &bias) {
        (RecurrentCell::Gru { reset_after: true }, Some(bias)) if bias.len() == 2 * width => {
            (Some(&bias[..width]), Some(&bias[width..]))
        }
        (_, bias) => (bias.as_deref(), None),
    };
    let weights = Weights::new(op.cell, units, &recurrent, recurrent_bias);
    let mut writer = Writer::new(graph, &node.name, prefix);
    let matrix = writer.floats("input/weights", &[width, features], transposed(&kernel, width, 0..width));
    let bias = bias.map(|bias| writer.floats("input/bias", &[width], bias.to_vec()));
    let product = FullyConnected { keep_num_dims: true, ..FullyConnected::default() };
    let products = writer.push_some("input", product, &[Some(x), Some(matrix), bias])[0];
    let before = States { h: input(4), c: input(5) };
    let mut op = op.clone();
    simplify(&mut op.activation);
    simplify(&mut op.recurrent_activation);
    Ok(Layer { op, weights, products, before, mask: input(6), batch, time, units, sequence_read: true })
}

/// Keras 3's function has a spelling of two operators.
fn simplify(function: &mut GateFunction) {
    if let GateFunction::HardSigmoid { slope, offset } = *function
        && (slope, offset) == (1.0 / 6.0, 0.5)
    {
        *function = GateFunction::Function(UnaryKind::HardSigmoid);
    }
}
