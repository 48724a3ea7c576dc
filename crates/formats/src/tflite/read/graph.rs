//! Reading of subgraphs: tensors, then operators in their order. A subgraph that an operator runs is
//! read for what it is given there, since the shapes that it states itself cannot be relied on.

use bytes::Bytes;
use litesmith_graph::infer::{infer_node, stated_facts};
use litesmith_graph::operator::Facts;
use litesmith_graph::{
    Dim, Graph, Model, ModelError, NodeId, Shape, Signature, Symbol, Tensor, TensorId, TensorKind,
};

use smallvec::SmallVec;

use super::call::{Call, Refusal};
use super::calls::Progress;
use super::operators::{Decoded, Link, Source, decode};
use super::states::States;
use super::tensors::{MOST_AXES, Role, Zeros, read_tensor};
use super::{OperatorCode, display_name, unsupported};
use crate::error::{FormatError, Unsupported};
use crate::tflite::flatbuffer::reader::Table;
use crate::tflite::schema::{self, Builtin};

/// A subgraph before its operators are understood.
pub(super) struct Subgraph<'a> {
    pub name: String,
    pub tensors: Vec<Table<'a>>,
    pub inputs: Vec<TensorId>,
    pub outputs: Vec<TensorId>,
    pub operators: Vec<Raw<'a>>,
}

/// An operator before it is understood.
#[derive(Clone)]
pub(super) struct Raw<'a> {
    pub table: Table<'a>,
    pub code: usize,
    pub inputs: Vec<Option<TensorId>>,
    pub outputs: Vec<TensorId>,
}

impl<'a> Subgraph<'a> {
    pub fn read(table: &Table<'a>, index: usize) -> Result<Subgraph<'a>, FormatError> {
        let name = table.text(schema::subgraph::NAME)?;
        let default = if index == 0 { "main".to_owned() } else { format!("subgraph_{index}") };
        let name = if name.is_empty() { default } else { name };
        let tensors = table.tables(schema::subgraph::TENSORS)?;
        let ids = |slot| existing(table, slot, tensors.len(), &name);
        let (inputs, outputs) = (ids(schema::subgraph::INPUTS)?, ids(schema::subgraph::OUTPUTS)?);
        let operators = read_operators(table, tensors.len(), &name)?;
        Ok(Subgraph { name, tensors, inputs, outputs, operators })
    }
}

/// What all subgraphs of a file share, and what was found wrong with them so far.
pub(super) struct Context<'a> {
    pub buffers: &'a [Bytes],
    codes: &'a [OperatorCode],
    pub subgraphs: &'a [Subgraph<'a>],
    pub states: States,
    /// Zero points that tensors share.
    pub zeros: Zeros,
    /// How far each subgraph has been read.
    pub progress: Vec<Progress>,
    /// The model in the making: its graphs are those that have been read, at the places of the
    /// subgraphs.
    pub model: Model,
    /// Everything that cannot be represented.
    pub refused: Vec<Unsupported>,
    /// The first node that does not fit its inputs.
    mistake: Option<ModelError>,
}

impl<'a> Context<'a> {
    pub fn new(
        buffers: &'a [Bytes],
        codes: &'a [OperatorCode],
        subgraphs: &'a [Subgraph<'a>],
    ) -> Context<'a> {
        let graphs = vec![Graph::default(); subgraphs.len()];
        Context {
            buffers,
            codes,
            subgraphs,
            states: States::default(),
            zeros: Zeros::default(),
            progress: subgraphs.iter().map(|_| Progress::Waiting).collect(),
            model: Model { graphs, ..Model::default() },
            refused: Vec::new(),
            mistake: None,
        }
    }

    /// The builtin of an operator.
    pub fn builtin(&self, raw: &Raw<'_>) -> Option<Builtin> {
        self.codes.get(raw.code).map(|code| code.builtin)
    }

    /// The model, unless something stands in its way. Mistakes may follow from what is not supported,
    /// so that is told first.
    pub fn finish(mut self) -> Result<Model, FormatError> {
        if !self.refused.is_empty() {
            // What is read again is refused again.
            let mut known = std::collections::HashSet::new();
            self.refused.retain(|item| known.insert(format!("{item:?}")));
            return Err(FormatError::Unsupported(self.refused));
        }
        self.mistake.map_or(Ok(self.model), |mistake| Err(mistake.into()))
    }

    /// Reads a subgraph: one that is called for these arguments, any other for what it states. Returns
    /// what is known of its outputs, too.
    pub fn read_graph(
        &mut self,
        index: usize,
        arguments: Option<&[Facts]>,
        signature: Option<&Signature>,
    ) -> Result<(Graph, Vec<Facts>), FormatError> {
        let subgraph = &self.subgraphs[index];
        let mut graph = Graph::new(&subgraph.name);
        let mut roles = vec![Role::Other; subgraph.tensors.len()];
        for output in subgraph.operators.iter().flat_map(|operator| &operator.outputs) {
            roles[output.index()] = Role::Produced;
        }
        for input in &subgraph.inputs {
            if matches!(roles[input.index()], Role::Input | Role::Argument) {
                let place = format!("subgraph '{}'", graph.name);
                return Err(FormatError::broken(place, "one tensor is an input twice"));
            }
            roles[input.index()] = if arguments.is_some() { Role::Argument } else { Role::Input };
        }
        graph.tensors.reserve(subgraph.tensors.len());
        for (id, (table, role)) in subgraph.tensors.iter().zip(roles).enumerate() {
            let mut tensor = read_tensor(self, table, role)?;
            if let Some((id, state)) = self.states.of(index, TensorId(id as u32)) {
                tensor = Tensor::state(&tensor.name, state.dtype, state.shape.clone(), id);
            }
            graph.tensors.push(tensor);
        }
        let is_value = |id: &&TensorId| !matches!(graph[**id].kind, TensorKind::State(_));
        let inputs: Vec<TensorId> = subgraph.inputs.iter().filter(is_value).copied().collect();
        let outputs = subgraph.outputs.iter().filter(is_value).copied().collect();
        let mut facts: Vec<Facts> = Vec::new();
        match arguments {
            None => name_free_dims(&mut graph, &inputs, signature),
            Some(arguments) => {
                for (input, argument) in inputs.iter().zip(arguments) {
                    graph[*input].shape = argument.shape.clone();
                }
            }
        }
        facts.extend(graph.tensors.iter().map(|tensor| stated_facts(&self.model, tensor)));
        for (input, argument) in inputs.iter().zip(arguments.unwrap_or_default()) {
            facts[input.index()].value = argument.value.clone();
        }
        graph.inputs = inputs;
        graph.outputs = outputs;
        self.read_nodes(index, &mut graph, &mut facts)?;
        let outputs = graph.outputs.iter().map(|output| facts[output.index()].clone()).collect();
        Ok((graph, outputs))
    }

    fn read_nodes(
        &mut self,
        subgraph: usize,
        graph: &mut Graph,
        facts: &mut Vec<Facts>,
    ) -> Result<(), FormatError> {
        let operators = &self.subgraphs[subgraph].operators;
        graph.nodes.reserve(operators.len());
        for (index, raw) in operators.iter().enumerate() {
            let Some(code) = self.codes.get(raw.code) else {
                let reason = format!("operator code {} does not exist", raw.code);
                return Err(FormatError::broken(format!("operator {index}"), reason));
            };
            let operator = operator_name(code);
            let name = match raw.outputs.first() {
                Some(output) if !graph[*output].name.is_empty() => display_name(&graph[*output].name),
                _ => format!("{operator}_{}", graph.nodes.len()),
            };
            // Names are copied, and one tensor may be the output of many operators in a lying file.
            raw.table.file().charge(name.len())?;
            let call = Call {
                name: &name,
                code,
                table: raw.table,
                inputs: &raw.inputs,
                outputs: &raw.outputs,
                graph,
                facts,
            };
            match self.decode_any(&call) {
                Ok(Decoded::Node(op, inputs)) => {
                    let is_value = |id: &&TensorId| !matches!(graph[**id].kind, TensorKind::State(_));
                    let outputs = raw.outputs.iter().filter(is_value).copied().collect();
                    let id = graph.add_node(&name, op, inputs, outputs);
                    self.infer(graph, id, facts, &operator);
                }
                Ok(Decoded::NodeWithShape(op, shape, mut inputs)) => {
                    let constant = Tensor::integers("output_shape", &shape);
                    facts.push(stated_facts(&self.model, &constant));
                    inputs.insert(0, Some(graph.add_tensor(constant)));
                    let id = graph.add_node(&name, op, inputs, raw.outputs.clone());
                    self.infer(graph, id, facts, &operator);
                }
                Ok(Decoded::Chain(links)) => {
                    self.add_chain(graph, facts, &name, links, &raw.outputs, &operator)
                }
                Ok(Decoded::Constant(data)) => {
                    for output in &raw.outputs {
                        let tensor = &mut graph[*output];
                        tensor.kind = TensorKind::Constant(data.clone());
                        facts[output.index()] = stated_facts(&self.model, tensor);
                    }
                }
                Ok(Decoded::Nothing) => {}
                Err(Refusal::Unsupported(reason)) => {
                    self.refused.push(unsupported(&name, &operator, reason));
                }
                Err(Refusal::File(error)) => return Err(error),
            }
        }
        for (tensor, facts) in graph.tensors.iter_mut().zip(facts.iter()) {
            if tensor.kind == TensorKind::Activation {
                tensor.shape = facts.shape.clone();
            }
        }
        Ok(())
    }

    fn decode_any(&mut self, call: &Call<'_>) -> Result<Decoded, Refusal> {
        match call.code.builtin {
            Builtin::IF => self.read_if(call),
            Builtin::WHILE => self.read_while(call),
            _ => decode(call),
        }
    }

    /// Adds the nodes that stand for one operator.
    fn add_chain(
        &mut self,
        graph: &mut Graph,
        facts: &mut Vec<Facts>,
        name: &str,
        links: Vec<Link>,
        outputs: &[TensorId],
        operator: &str,
    ) {
        let (count, mut results) = (links.len(), Vec::new());
        for (place, link) in links.into_iter().enumerate() {
            let mut add = |graph: &mut Graph, tensor: Tensor| {
                facts.push(stated_facts(&self.model, &tensor));
                graph.add_tensor(tensor)
            };
            let mut inputs = Vec::new();
            for source in link.inputs {
                inputs.push(match source {
                    Source::Tensor(id) => Some(id),
                    Source::Result(place) => results.get(place).copied(),
                    Source::Constant(tensor) => {
                        let name = format!("{name}/{}", tensor.name);
                        Some(add(graph, Tensor { name, ..*tensor }))
                    }
                });
            }
            let outputs = if place + 1 == count {
                outputs.to_vec()
            } else {
                let name = format!("{name}/{}", link.op.builtin_name().to_ascii_lowercase());
                vec![add(graph, Tensor::activation(&name, link.dtype, Shape::default()))]
            };
            results.extend(outputs.first());
            let id = graph.add_node(name, link.op, inputs, outputs);
            self.infer(graph, id, facts, operator);
        }
    }

    /// Works out what a new node gives: the file's word is not taken for it.
    fn infer(&mut self, graph: &Graph, id: NodeId, facts: &mut [Facts], operator: &str) {
        let node = &graph[id];
        let outputs = match infer_node(&self.model, graph, id, facts) {
            Ok(outputs) => outputs,
            Err(mistake) => {
                self.mistake.get_or_insert(mistake);
                return;
            }
        };
        for (output, inferred) in node.outputs.iter().zip(outputs) {
            let stated = graph[*output].dtype;
            if inferred.dtype != stated {
                let reason = format!("a result of type {stated} from these inputs");
                self.refused.push(unsupported(&node.name, operator, reason));
            } else if inferred.shape.rank() > MOST_AXES {
                self.refused.push(unsupported(&node.name, operator, "a result of so many axes"));
            } else {
                facts[output.index()] = inferred;
            }
        }
    }
}

/// The name of an operator as errors show it.
fn operator_name(code: &OperatorCode) -> String {
    if code.builtin == Builtin::CUSTOM {
        return display_name(&code.custom);
    }
    code.builtin.name().map_or_else(|| format!("operator {}", code.builtin.0), str::to_owned)
}

/// A list of tensors that must all be there.
fn existing(table: &Table<'_>, slot: usize, count: usize, graph: &str) -> Result<Vec<TensorId>, FormatError> {
    let ids = references(table, slot, count, graph)?;
    let missing = || FormatError::broken(format!("subgraph '{graph}'"), "it names a tensor that is left out");
    ids.into_iter().map(|id| id.ok_or_else(missing)).collect()
}

/// A list of tensors, some of them possibly left out.
fn references(
    table: &Table<'_>,
    slot: usize,
    count: usize,
    graph: &str,
) -> Result<Vec<Option<TensorId>>, FormatError> {
    let indices: SmallVec<[i32; 4]> = table.numbers(slot)?.unwrap_or_default();
    let id = |index: i32| match u32::try_from(index) {
        Ok(id) if (id as usize) < count => Ok(Some(TensorId(id))),
        Err(_) if index == -1 => Ok(None),
        _ => {
            let reason = format!("it names tensor {index} of {count}");
            Err(FormatError::broken(format!("subgraph '{graph}'"), reason))
        }
    };
    indices.into_iter().map(id).collect()
}

fn read_operators<'a>(table: &Table<'a>, count: usize, graph: &str) -> Result<Vec<Raw<'a>>, FormatError> {
    let tables = table.tables(schema::subgraph::OPERATORS)?;
    let mut operators = Vec::with_capacity(tables.len());
    for table in tables {
        let code: u32 = table.scalar(schema::operator::OPCODE_INDEX, 0)?;
        operators.push(Raw {
            code: code as usize,
            inputs: references(&table, schema::operator::INPUTS, count, graph)?,
            outputs: existing(&table, schema::operator::OUTPUTS, count, graph)?,
            table,
        });
    }
    Ok(operators)
}

/// Names the free axes of inputs: the first is the batch, others are called by input and axis.
fn name_free_dims(graph: &mut Graph, inputs: &[TensorId], signature: Option<&Signature>) {
    let mut taken = std::collections::HashSet::from(["batch".to_owned()]);
    for (place, id) in inputs.iter().enumerate() {
        let named = signature.and_then(|s| s.inputs.iter().find(|(_, known)| *known == place));
        let name = identifier(named.map_or(&graph[*id].name, |(name, _)| name));
        let Tensor { shape: Shape(dims), .. } = &mut graph[*id];
        for (axis, dim) in dims.iter_mut().enumerate().filter(|(_, dim)| **dim == Dim::Unknown) {
            let symbol = match axis {
                0 => "batch".to_owned(),
                _ if taken.insert(format!("{name}_{axis}")) => format!("{name}_{axis}"),
                _ => format!("input{place}_{axis}"),
            };
            *dim = Dim::Free(Symbol::new(&symbol));
        }
    }
}

/// A tensor's name without TensorFlow's decoration and with nothing but letters, digits and `_`.
fn identifier(name: &str) -> String {
    let name = display_name(name);
    let name = name.strip_prefix("serving_default_").unwrap_or(&name);
    let name = name.strip_suffix(":0").unwrap_or(name);
    let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
    let name: String = name.chars().map(plain).collect();
    if name.starts_with(|c: char| c.is_ascii_alphabetic()) { name } else { format!("input{name}") }
}
