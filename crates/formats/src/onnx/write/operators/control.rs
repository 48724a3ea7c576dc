//! Operators that run other graphs of the model, which become nested graphs of ONNX.

use litesmith_graph::ops::{If, While};
use litesmith_graph::{DType, GraphId, Shape};

use crate::onnx::write::Refusal;
use crate::onnx::write::drafts::Attribute;
use crate::onnx::write::spelling::Spelling;
use crate::onnx::write::values::Value;
use crate::onnx::write::writer::Writer;

pub(super) fn if_else(spelling: &mut Spelling<'_, '_>, op: &If) -> Result<(), Refusal> {
    let layer = spelling.layer();
    let (condition, rank) = (spelling.raw(0)?, spelling.shape(0)?.rank());
    let condition = scalar(spelling.writer, &layer, condition, rank);
    let arguments = (1..spelling.inputs()).map(|index| spelling.raw(index)).collect::<Result<Vec<_>, _>>()?;
    let mut branch = |name, graph| {
        spelling.nested(name, &[], &mut |writer, _| writer.inline(graph, &arguments)).map(Attribute::Graph)
    };
    let branches =
        [("then_branch", branch("then", op.then_graph)?), ("else_branch", branch("else", op.else_graph)?)];
    let outputs = spelling.emit_many("If", &[condition], branches, spelling.outputs());
    give(spelling, outputs)
}

/// ONNX's loop asks its body whether it goes on: the condition is computed in front of the loop, and
/// by the body for the next round.
pub(super) fn while_loop(spelling: &mut Spelling<'_, '_>, op: &While) -> Result<(), Refusal> {
    let layer = spelling.layer();
    let initial = (0..spelling.inputs()).map(|index| spelling.raw(index)).collect::<Result<Vec<_>, _>>()?;
    let goes_on = condition(spelling.writer, &layer, op.condition, &initial)?;
    let carried = carried(spelling.writer, op.body, initial.len())?;
    let mut formal: Vec<(&str, DType, Shape)> =
        vec![("iteration", DType::I64, Shape::default()), ("condition", DType::Bool, Shape::default())];
    formal.extend(carried);
    let mut round = |writer: &mut Writer<'_>, formal: &[Value]| {
        let next = writer.inline(op.body, formal.get(2..).unwrap_or_default())?;
        let goes_on = condition(writer, &layer, op.condition, &next)?;
        Ok([&[goes_on], next.as_slice()].concat())
    };
    let body = Attribute::Graph(spelling.nested("body", &formal, &mut round)?);
    let inputs = [&[Value::ABSENT, goes_on], initial.as_slice()].concat();
    let outputs = spelling.emit_many("Loop", &inputs, [("body", body)], spelling.outputs());
    give(spelling, outputs)
}

fn give(spelling: &mut Spelling<'_, '_>, outputs: Vec<Value>) -> Result<(), Refusal> {
    outputs.into_iter().enumerate().try_for_each(|(index, output)| spelling.output_raw(index, output))
}

/// What a body's inputs are called, and what they hold.
fn carried<'a>(
    writer: &Writer<'a>,
    body: GraphId,
    count: usize,
) -> Result<Vec<(&'a str, DType, Shape)>, Refusal> {
    let graph = writer.model.graphs.get(body.0 as usize);
    let (Some(graph), Some(facts)) = (graph, writer.facts.get(body.0 as usize)) else {
        return Err(Refusal("the graph that it runs does not exist".into()));
    };
    if graph.inputs.len() != count {
        return Err(Refusal(format!("its body takes {} inputs, not {count}", graph.inputs.len())));
    }
    let input = |id: &litesmith_graph::TensorId| {
        let facts = facts.get(id.index())?;
        Some((graph[*id].name.as_str(), facts.dtype, facts.shape.clone()))
    };
    let inputs: Option<Vec<_>> = graph.inputs.iter().map(input).collect();
    inputs.ok_or_else(|| Refusal("nothing is known of its body".into()))
}

/// Whether a loop goes on with these values.
fn condition(
    writer: &mut Writer<'_>,
    layer: &str,
    graph: GraphId,
    values: &[Value],
) -> Result<Value, Refusal> {
    let outputs = writer.inline(graph, values)?;
    let [goes_on] = outputs[..] else { return Err(Refusal("its condition is no single value".into())) };
    let rank = writer.values.get(goes_on).kind.as_ref().map_or(0, |(_, shape)| shape.rank());
    Ok(scalar(writer, layer, goes_on, rank))
}

/// A value of one element as a scalar.
fn scalar(writer: &mut Writer<'_>, layer: &str, value: Value, rank: usize) -> Value {
    if rank == 0 {
        return value;
    }
    let shape = writer.constant("ints_", DType::I64, &[0], Vec::new());
    writer.emit(layer, "Reshape", &[value, shape], Vec::new(), 1)[0]
}
