//! States as TFLite has them: variables behind handles, and a subgraph that is run once and gives them
//! their first values.

use std::collections::HashMap;

use bytes::Bytes;
use litesmith_graph::infer::called_graphs;
use litesmith_graph::{DType, GraphId, Model, Shape, TensorKind};

use super::buffers::Buffers;
use super::graph::{Codes, Tensors, Written};
use crate::error::Unsupported;
use crate::tflite::flatbuffer::builder::Table;
use crate::tflite::schema::{self, Builtin, options};

/// Most bytes of a state of zeros, which a file has to spell out.
const MOST_ZEROS: usize = 1 << 28;

/// For each graph, whether its states must have been given their first values when it is entered: it is
/// called by no other, and it or a graph that it leads to uses states.
pub(super) fn entries(model: &Model) -> Vec<bool> {
    let uses = |index: usize| {
        let tensors = &model.graphs[index].tensors;
        tensors.iter().any(|tensor| matches!(tensor.kind, TensorKind::State(_)))
    };
    let called = called_graphs(model);
    let leads_to_use = |entry: usize| {
        let (mut seen, mut waiting) = (vec![false; model.graphs.len()], vec![entry]);
        while let Some(index) = waiting.pop() {
            if std::mem::replace(&mut seen[index], true) {
                continue;
            }
            if uses(index) {
                return true;
            }
            let callees = model.graphs[index].nodes.iter().flat_map(|node| node.op.calls());
            waiting.extend(callees.map(|GraphId(id)| id as usize).filter(|id| *id < model.graphs.len()));
        }
        false
    };
    (0..model.graphs.len()).map(|index| !called[index] && leads_to_use(index)).collect()
}

/// The subgraph that gives all states their first values.
pub(super) fn write_first_values(
    model: &Model,
    buffers: &mut Buffers,
    codes: &mut Codes,
    refused: &mut Vec<Unsupported>,
) -> Written {
    let mut tensors = Tensors { buffers, tables: Vec::new(), constants: HashMap::new() };
    let mut operators = Vec::new();
    for state in &model.states {
        let bytes = match &state.initial {
            Some(data) => Some(data.shared()),
            None => {
                let bytes = state.shape.elements().and_then(|elements| state.dtype.bytes(elements));
                bytes.filter(|bytes| *bytes <= MOST_ZEROS).map(|bytes| Bytes::from(vec![0; bytes]))
            }
        };
        let handle = tensors.table(&state.name, DType::Resource, &Shape::default(), Bytes::new(), None);
        let value = bytes
            .ok_or_else(|| "it is too large to be filled with zeros".to_owned())
            .and_then(|bytes| tensors.table(&state.name, state.dtype, &state.shape, bytes, None));
        match (handle, value) {
            (Ok(handle), Ok(value)) => {
                let place = tensors.tables.len() as i32;
                tensors.tables.extend([handle, value]);
                operators.push(var_handle(codes, &state.name, place));
                operators.push(operator(codes, Builtin::ASSIGN_VARIABLE, &[place, place + 1], &[]));
            }
            (Err(reason), _) | (_, Err(reason)) => {
                refused.push(Unsupported { layer: state.name.clone(), operator: "state".into(), reason });
            }
        }
    }
    let table = Table::default()
        .tables(schema::subgraph::TENSORS, tensors.tables)
        .numbers::<i32>(schema::subgraph::INPUTS, &[])
        .numbers::<i32>(schema::subgraph::OUTPUTS, &[])
        .tables(schema::subgraph::OPERATORS, operators)
        .text(schema::subgraph::NAME, "first_values");
    Written { table, inputs: Vec::new(), outputs: Vec::new() }
}

/// The operator that makes a handle of the state of this name.
pub(super) fn var_handle(codes: &mut Codes, name: &str, place: i32) -> Table {
    use options::var_handle as slot;
    let options = Table::default().text(slot::CONTAINER, "").text(slot::SHARED_NAME, name);
    let table = operator(codes, Builtin::VAR_HANDLE, &[], &[place]);
    with_options(table, slot::KIND, options)
}

/// The operator that runs a subgraph the first time that it is met.
pub(super) fn call_once(codes: &mut Codes, subgraph: i32) -> Table {
    use options::call_once as slot;
    let options = Table::default().scalar(slot::INIT_SUBGRAPH_INDEX, subgraph, 0);
    with_options(operator(codes, Builtin::CALL_ONCE, &[], &[]), slot::KIND, options)
}

fn operator(codes: &mut Codes, builtin: Builtin, inputs: &[i32], outputs: &[i32]) -> Table {
    use schema::operator as slot;
    Table::default()
        .scalar(slot::OPCODE_INDEX, codes.index(builtin, "", 1), 0)
        .numbers(slot::INPUTS, inputs)
        .numbers(slot::OUTPUTS, outputs)
}

fn with_options(table: Table, kind: schema::UnionType, options: Table) -> Table {
    use schema::operator as slot;
    table.scalar(slot::BUILTIN_OPTIONS_TYPE, kind, 0).table(slot::BUILTIN_OPTIONS, options)
}
