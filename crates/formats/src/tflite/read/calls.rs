//! Operators that run subgraphs. The subgraph is read first, for what it is given: attributes are taken
//! from constants and from shapes, which only the caller knows.

use litesmith_graph::infer::common;
use litesmith_graph::operator::Facts;
use litesmith_graph::ops::{If, While};
use litesmith_graph::{Dim, GraphId, Signature, TensorId, TensorKind};

use super::call::{Call, Refusal, unsupported};
use super::graph::Context;
use super::operators::Decoded;
use crate::error::FormatError;
use crate::tflite::schema::options;

/// Most subgraphs that run one another.
const DEEPEST: usize = 32;

/// Most times that a loop's body is read. Each time its variables lose sizes that change; after the
/// last but one all of them are taken for unknown.
const MOST_PASSES: usize = 4;

/// How far a subgraph has been read.
pub(super) enum Progress {
    /// Not at all.
    Waiting,
    /// It is being read, and must not be run by what it runs.
    Reading,
    /// Wholly.
    Read {
        /// What is known of its inputs in every call so far; `None` if nothing calls it.
        arguments: Option<Vec<Facts>>,
        /// What follows of its outputs.
        outputs: Vec<Facts>,
        /// How much there is to look at when it is inferred.
        work: u64,
    },
}

impl<'a> Context<'a> {
    /// Reads all subgraphs, called ones where they are called.
    pub fn read_graphs(&mut self, signatures: &[Signature]) -> Result<(), FormatError> {
        for (index, called) in self.called().into_iter().enumerate() {
            // The main graph comes first, and nothing may call it.
            if self.states.initial[index] || (called && index > 0) {
                continue;
            }
            let signature = signatures.iter().find(|signature| signature.graph.0 as usize == index);
            self.progress[index] = Progress::Reading;
            let (graph, _) = self.read_graph(index, None, signature)?;
            self.model.graphs[index] = graph;
            self.progress[index] = Progress::Read { arguments: None, outputs: Vec::new(), work: 0 };
        }
        // What only graphs call that nothing leads to is in the way of a sound model.
        match self.progress.iter().position(|progress| matches!(progress, Progress::Waiting)) {
            Some(index) if !self.states.initial[index] => {
                let place = format!("subgraph '{}'", self.subgraphs[index].name);
                Err(FormatError::broken(place, "it is run by itself"))
            }
            _ => Ok(()),
        }
    }

    pub fn read_if(&mut self, call: &Call<'_>) -> Result<Decoded, Refusal> {
        use options::if_else as slot;
        let options = call.options(slot::KIND)?;
        let graphs = [options.int(slot::THEN_SUBGRAPH_INDEX)?, options.int(slot::ELSE_SUBGRAPH_INDEX)?];
        let arguments = arguments(call, 1);
        for graph in graphs {
            self.read_called(call, graph, &arguments)?;
        }
        self.charge(call, graphs)?;
        let [then_graph, else_graph] = graphs.map(|graph| GraphId(graph.cast_unsigned()));
        Ok(Decoded::Node(If { then_graph, else_graph }.into(), values(call)))
    }

    pub fn read_while(&mut self, call: &Call<'_>) -> Result<Decoded, Refusal> {
        use options::while_loop as slot;
        let options = call.options(slot::KIND)?;
        let graphs = [options.int(slot::COND_SUBGRAPH_INDEX)?, options.int(slot::BODY_SUBGRAPH_INDEX)?];
        let mut variables = arguments(call, 0);
        variables.iter_mut().for_each(|facts| facts.value = None);
        for pass in 1..=MOST_PASSES {
            let outputs = self.read_called(call, graphs[1], &variables)?;
            if outputs.len() != variables.len() {
                let (inputs, outputs) = (variables.len(), outputs.len());
                return Err(call.broken(format!("its body takes {inputs} values and gives {outputs}")));
            }
            let merged = variables.iter().cloned().zip(&outputs).map(|(one, other)| common(one, other));
            let mut merged = merged.collect::<Result<Vec<_>, _>>().map_err(|reason| call.broken(reason))?;
            if merged == variables {
                break;
            }
            if pass + 1 == MOST_PASSES {
                merged.iter_mut().for_each(|facts| facts.shape.0.fill(Dim::Unknown));
            }
            variables = merged;
        }
        self.read_called(call, graphs[0], &variables)?;
        self.charge(call, graphs)?;
        let [condition, body] = graphs.map(|graph| GraphId(graph.cast_unsigned()));
        Ok(Decoded::Node(While { condition, body }.into(), values(call)))
    }

    /// Reads a subgraph for these arguments, and again where they differ from those of other calls.
    /// Returns what is known of its outputs.
    fn read_called(
        &mut self,
        call: &Call<'_>,
        index: i32,
        arguments: &[Facts],
    ) -> Result<Vec<Facts>, Refusal> {
        let index = match usize::try_from(index) {
            Ok(index) if index < self.subgraphs.len() => index,
            _ => return Err(call.broken(format!("it runs subgraph {index}, which does not exist"))),
        };
        let name = &self.subgraphs[index].name;
        let arguments = match &self.progress[index] {
            Progress::Reading => return Err(call.broken(format!("subgraph '{name}' runs itself"))),
            Progress::Read { arguments: Some(known), outputs, .. } => {
                if known.len() != arguments.len() {
                    return Err(call.broken(format!("it gives subgraph '{name}' {} values", arguments.len())));
                }
                let merged = known.iter().cloned().zip(arguments).map(|(one, other)| common(one, other));
                let Ok(merged) = merged.collect::<Result<Vec<_>, _>>() else {
                    return unsupported(format!(
                        "subgraph '{name}' is run with values of other types or numbers of axes, too"
                    ));
                };
                if &merged == known {
                    return Ok(outputs.clone());
                }
                merged
            }
            Progress::Waiting | Progress::Read { arguments: None, .. } => arguments.to_vec(),
        };
        self.check_inputs(call, index, &arguments)?;
        let depth = self.progress.iter().filter(|progress| matches!(progress, Progress::Reading)).count();
        if depth > DEEPEST {
            return unsupported(format!("more than {DEEPEST} subgraphs run one another"));
        }
        // Work that was paid for when the file was opened is done again.
        let subgraph = &self.subgraphs[index];
        call.table.file().charge(32 * (subgraph.tensors.len() + subgraph.operators.len()))?;
        self.progress[index] = Progress::Reading;
        let (graph, outputs) = self.read_graph(index, Some(&arguments), None)?;
        let callees = graph.nodes.iter().flat_map(|node| node.op.calls());
        let inner = callees.fold(0u64, |sum, callee| sum.saturating_add(self.work(callee)));
        let work = inner.saturating_mul(MOST_PASSES as u64);
        let work = work.saturating_add((graph.nodes.len() + graph.tensors.len()) as u64);
        self.model.graphs[index] = graph;
        let arguments = Some(arguments);
        self.progress[index] = Progress::Read { arguments, outputs: outputs.clone(), work };
        Ok(outputs)
    }

    /// Holds what a subgraph is given against the types that it states, before anything is made of it.
    fn check_inputs(&self, call: &Call<'_>, index: usize, arguments: &[Facts]) -> Result<(), Refusal> {
        let subgraph = &self.subgraphs[index];
        let inputs = subgraph.inputs.iter().filter(|input| self.states.of(index, **input).is_none()).count();
        if inputs != arguments.len() {
            let (name, given) = (&subgraph.name, arguments.len());
            return Err(call.broken(format!("subgraph '{name}' takes {inputs} values, it is given {given}")));
        }
        Ok(())
    }

    /// How much there is to look at when a graph is inferred.
    fn work(&self, GraphId(index): GraphId) -> u64 {
        match self.progress.get(index as usize) {
            Some(Progress::Read { work, .. }) => *work,
            _ => 0,
        }
    }

    /// Pays for following the graphs that a node runs.
    fn charge(&self, call: &Call<'_>, graphs: [i32; 2]) -> Result<(), Refusal> {
        let works = graphs.map(|graph| self.work(GraphId(graph.cast_unsigned())));
        let work = works[0].saturating_add(works[1]).saturating_mul(MOST_PASSES as u64);
        Ok(call.table.file().charge(usize::try_from(work).unwrap_or(usize::MAX))?)
    }
}

/// What is known of the inputs from the `first` on that are values.
fn arguments(call: &Call<'_>, first: usize) -> Vec<Facts> {
    let inputs = call.inputs.iter().skip(first).flatten();
    let inputs = inputs.filter(|id| !matches!(call.graph[**id].kind, TensorKind::State(_)));
    inputs.map(|id| call.facts[id.index()].clone()).collect()
}

/// The inputs that are values.
fn values(call: &Call<'_>) -> Vec<Option<TensorId>> {
    let is_value = |id: &TensorId| !matches!(call.graph[*id].kind, TensorKind::State(_));
    call.inputs.iter().filter(|input| input.is_none_or(|id| is_value(&id))).copied().collect()
}
