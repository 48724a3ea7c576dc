//! Writing of one graph: its tensors and operators.

use std::collections::HashMap;

use bytes::Bytes;
use litesmith_graph::operator::Facts;
use litesmith_graph::{
    DType, Dim, Graph, Model, Node, Op, Quantization, Shape, StateId, TensorId, TensorKind,
};

use super::buffers::Buffers;
use super::operators::{Constant, Operand, Site, encode};
use super::sparsity::sparsity_table;
use super::states;
use super::versions::version;
use crate::error::{FormatError, Unsupported};
use crate::tflite::flatbuffer::builder::Table;
use crate::tflite::schema::{self, Builtin};

/// The operator codes of a file, in the order of first use.
#[derive(Default)]
pub(super) struct Codes {
    entries: Vec<Code>,
    known: HashMap<(Builtin, String), u32>,
}

struct Code {
    builtin: Builtin,
    custom: String,
    version: i32,
}

impl Codes {
    /// The index of an operator, of which the highest version that is asked for is kept.
    pub fn index(&mut self, builtin: Builtin, custom: &str, version: i32) -> u32 {
        let next = self.entries.len() as u32;
        let index = *self.known.entry((builtin, custom.to_owned())).or_insert(next);
        match self.entries.get_mut(index as usize) {
            Some(code) => code.version = code.version.max(version),
            None => self.entries.push(Code { builtin, custom: custom.to_owned(), version }),
        }
        index
    }

    /// All builtins with their versions.
    pub fn builtins(&self) -> impl Iterator<Item = (Builtin, i32)> + '_ {
        self.entries.iter().map(|code| (code.builtin, code.version))
    }

    pub fn tables(&self) -> Vec<Table> {
        let table = |code: &Code| {
            use schema::operator_code as slot;
            // Runtimes from before there were more than 127 operators know only the old field.
            let old = i8::try_from(code.builtin.0).unwrap_or(i8::MAX);
            let table = Table::default()
                .scalar(slot::DEPRECATED_BUILTIN_CODE, old, 0)
                .scalar(slot::VERSION, code.version, 1)
                .scalar(slot::BUILTIN_CODE, code.builtin.0, 0);
            if code.builtin == Builtin::CUSTOM { table.text(slot::CUSTOM_CODE, &code.custom) } else { table }
        };
        self.entries.iter().map(table).collect()
    }
}

/// A graph's table, and the tensors that are its inputs and outputs.
pub(super) struct Written {
    pub table: Table,
    pub inputs: Vec<i32>,
    pub outputs: Vec<i32>,
}

/// Writes a graph of which this is known. Where `first_values` names a subgraph, that one is run once
/// before all others. What TFLite does not have is added to `refused`.
pub(super) fn write_graph(
    model: &Model,
    index: usize,
    facts: &[Facts],
    first_values: Option<i32>,
    buffers: &mut Buffers,
    codes: &mut Codes,
    refused: &mut Vec<Unsupported>,
) -> Result<Written, FormatError> {
    let graph = &model.graphs[index];
    let mut tensors = Tensors { buffers, tables: Vec::new(), constants: HashMap::new() };
    let places = tensors.add_all(model, graph, facts, refused);
    let mut operators = Vec::new();
    operators.extend(first_values.map(|subgraph| states::call_once(codes, subgraph)));
    for id in graph.tensor_ids() {
        if let (TensorKind::State(StateId(state)), place @ 0..) = (&graph[id].kind, places[id.index()]) {
            operators.push(states::var_handle(codes, &model.states[*state as usize].name, place));
        }
    }
    for node in &graph.nodes {
        let site = Site { graph, node, facts };
        match encode(&site) {
            Ok(encoded) => {
                let custom = if let Op::Custom(custom) = &node.op { &*custom.name } else { "" };
                let code = codes.index(encoded.builtin, custom, version(&site, encoded.builtin));
                let mut inputs = Vec::new();
                for operand in encoded.operands {
                    inputs.push(match operand {
                        Operand::Tensor(id) => places[id.index()],
                        Operand::Absent => -1,
                        Operand::Constant(constant) => tensors.constant(constant),
                    });
                }
                operators.push(operator_table(node, code, &inputs, &places, encoded.options));
            }
            Err(reason) => refused.push(Unsupported {
                layer: node.name.clone(),
                operator: node.op.builtin_name().to_owned(),
                reason,
            }),
        }
    }
    // Handles are made where they are needed, they are not handed in or out.
    let list = |ids: &[TensorId]| ids.iter().map(|id| places[id.index()]).collect::<Vec<_>>();
    let (inputs, outputs) = (list(&graph.inputs), list(&graph.outputs));
    let table = Table::default()
        .tables(schema::subgraph::TENSORS, tensors.tables)
        .numbers(schema::subgraph::INPUTS, &inputs)
        .numbers(schema::subgraph::OUTPUTS, &outputs)
        .tables(schema::subgraph::OPERATORS, operators)
        .text(schema::subgraph::NAME, &graph.name);
    Ok(Written { table, inputs, outputs })
}

fn operator_table(
    node: &Node,
    code: u32,
    inputs: &[i32],
    places: &[i32],
    options: Option<(schema::UnionType, Table)>,
) -> Table {
    use schema::operator as slot;
    let outputs: Vec<i32> = node.outputs.iter().map(|id| places[id.index()]).collect();
    let mut table = Table::default()
        .scalar(slot::OPCODE_INDEX, code, 0)
        .numbers(slot::INPUTS, inputs)
        .numbers(slot::OUTPUTS, &outputs);
    if let Some((kind, options)) = options {
        table = table.scalar(slot::BUILTIN_OPTIONS_TYPE, kind, 0).table(slot::BUILTIN_OPTIONS, options);
    }
    match &node.op {
        Op::Custom(custom) if !custom.options.is_empty() => {
            table.numbers(slot::CUSTOM_OPTIONS, &custom.options)
        }
        _ => table,
    }
}

/// The tensors of a graph in the making.
pub(super) struct Tensors<'a> {
    pub buffers: &'a mut Buffers,
    pub tables: Vec<Table>,
    /// Constants that stand for attributes, each once.
    pub constants: HashMap<Constant, i32>,
}

impl Tensors<'_> {
    /// Adds all tensors that a node, the caller or a signature refers to; returns the place of each
    /// (-1 for the others).
    fn add_all(
        &mut self,
        model: &Model,
        graph: &Graph,
        facts: &[Facts],
        refused: &mut Vec<Unsupported>,
    ) -> Vec<i32> {
        let mut used = vec![false; graph.tensors.len()];
        let of_nodes = graph.nodes.iter().flat_map(|node| node.present_inputs().chain(node.outputs.clone()));
        for id in of_nodes.chain(graph.inputs.clone()).chain(graph.outputs.clone()) {
            used[id.index()] = true;
        }
        let mut places = vec![-1; graph.tensors.len()];
        for id in graph.tensor_ids().filter(|id| used[id.index()]) {
            places[id.index()] = self.tables.len() as i32;
            let result = self.add(model, graph, id, &facts[id.index()].shape);
            if let Err(reason) = result {
                let layer = graph[id].name.clone();
                refused.push(Unsupported { layer, operator: "tensor".into(), reason });
            }
        }
        places
    }

    fn add(&mut self, model: &Model, graph: &Graph, id: TensorId, shape: &Shape) -> Result<(), String> {
        let tensor = &graph[id];
        if let TensorKind::State(_) = tensor.kind {
            let table = self.table(&tensor.name, DType::Resource, &Shape::default(), Bytes::new(), None)?;
            self.tables.push(table);
            return Ok(());
        }
        let bytes = model.data(tensor).map(|data| data.shared()).unwrap_or_default();
        let quantization = tensor.quantization.as_ref();
        let mut table = self.table(&tensor.name, tensor.dtype, shape, bytes, quantization)?;
        if let Some(sparsity) = &tensor.sparsity {
            table = table.table(schema::tensor::SPARSITY, sparsity_table(sparsity)?);
        }
        self.tables.push(table);
        Ok(())
    }

    /// The place of a constant that stands for attributes.
    fn constant(&mut self, constant: Constant) -> i32 {
        if let Some(place) = self.constants.get(&constant) {
            return *place;
        }
        let place = self.tables.len() as i32;
        let Constant { name, dtype, shape, bytes, quantization } = &constant;
        let bytes = Bytes::from(bytes.clone());
        let quantization = quantization.as_ref().map(|(scales, zero_point)| Quantization {
            scales: scales.iter().map(|bits| f32::from_bits(*bits)).collect(),
            zero_points: scales.iter().map(|_| *zero_point).collect(),
            axis: None,
        });
        if let Ok(table) = self.table(name, *dtype, &Shape::fixed(shape), bytes, quantization.as_ref()) {
            self.tables.push(table);
        }
        self.constants.insert(constant, place);
        place
    }

    pub fn table(
        &mut self,
        name: &str,
        dtype: DType,
        shape: &Shape,
        bytes: Bytes,
        quantization: Option<&Quantization>,
    ) -> Result<Table, String> {
        use schema::tensor as slot;
        let size = |dim: &Dim| match dim.fixed().map(i32::try_from) {
            Some(Ok(size)) => Ok(Some(size)),
            Some(Err(_)) => Err(format!("an axis of {dim} is longer than TFLite allows")),
            None => Ok(None),
        };
        let sizes = shape.dims().iter().map(size).collect::<Result<Vec<_>, _>>()?;
        let filled = |filler: i32| sizes.iter().map(|size| size.unwrap_or(filler)).collect::<Vec<_>>();
        let mut table = Table::default()
            .numbers(slot::SHAPE, &filled(1))
            .scalar(slot::TYPE, schema::type_code(dtype), 0)
            .scalar(slot::BUFFER, self.buffers.add(bytes), 0)
            .text(slot::NAME, name)
            .scalar(slot::HAS_RANK, true, false);
        if let Some(quantization) = quantization {
            table = table.table(slot::QUANTIZATION, quantization_table(quantization)?);
        }
        if sizes.contains(&None) {
            table = table.numbers(slot::SHAPE_SIGNATURE, &filled(-1));
        }
        Ok(table)
    }
}

fn quantization_table(quantization: &Quantization) -> Result<Table, String> {
    use schema::quantization as slot;
    let zero_points: Vec<i64> = quantization.zero_points.iter().map(|point| i64::from(*point)).collect();
    let axis =
        i32::try_from(quantization.axis.unwrap_or(0)).map_err(|_| "its quantized dimension".to_owned())?;
    Ok(Table::default()
        .numbers(slot::SCALE, &quantization.scales)
        .numbers(slot::ZERO_POINT, &zero_points)
        .scalar(slot::QUANTIZED_DIMENSION, axis, 0))
}
