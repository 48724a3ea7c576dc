//! Bound nodes become steps. What can be done together with what reads it is put off until it is read:
//!
//! - functions of single bytes: a chain of them is one table, and `x * logistic(x)` on quantized
//!   numbers, two operators, is one look-up;
//! - layers of packed weights that one node reads: a residual connection is added in the layer's loop.

use litesmith_graph::{Facts, Graph, Inputs, TensorId};
use litesmith_kernels::elementwise::Table;

use super::layout::Layout;
use super::{Mode, bytes_of};
use crate::bind::{Addition, Bound, PackedLayer, Pair, Target, Task, table_task};
use crate::error::RuntimeError;

/// A layout to which nodes are added in order.
pub(super) struct Drafting<'a> {
    graph: &'a Graph,
    facts: &'a [Facts],
    mode: Mode,
    pub(super) layout: Layout,
    /// For each tensor that is put off, how it is computed.
    put_off: Vec<Option<PutOff>>,
    /// For each tensor, how often it is read.
    readers: Vec<usize>,
}

/// A tensor that no step computes yet.
enum PutOff {
    Function(Box<ByteFunction>),
    Layer(WaitingLayer),
}

/// Each byte of a tensor as a function of the byte of the same place in another.
#[derive(Clone)]
struct ByteFunction {
    of: TensorId,
    table: Table,
    /// The node that computes it.
    node: usize,
}

/// A layer with the tensor that it reads.
struct WaitingLayer {
    node: usize,
    input: TensorId,
    layer: PackedLayer,
}

impl<'a> Drafting<'a> {
    pub(super) fn new(graph: &'a Graph, facts: &'a [Facts], mode: Mode, layout: Layout) -> Drafting<'a> {
        let put_off = graph.tensors.iter().map(|_| None).collect();
        let mut readers = vec![0; graph.tensors.len()];
        let read = graph.nodes.iter().flat_map(|node| node.present_inputs());
        read.chain(graph.outputs.iter().copied()).for_each(|id| readers[id.index()] += 1);
        Drafting { graph, facts, mode, layout, put_off, readers }
    }

    /// Adds a node of the graph.
    pub(super) fn add(&mut self, node: usize, bound: Bound) -> Result<(), RuntimeError> {
        let (inputs, outputs) = (&self.graph.nodes[node].inputs, &self.graph.nodes[node].outputs);
        match bound {
            Bound::Alias(input) => {
                if let (Some(Some(input)), Some(output)) = (inputs.get(input), outputs.first()) {
                    self.add_alias(*input, *output)?;
                }
                Ok(())
            }
            Bound::Table(table) => match inputs.first() {
                Some(Some(input)) if self.mode == Mode::Inference => {
                    let (of, first) = self.function_of(*input);
                    let table = first.then(&table);
                    self.put_off[outputs[0].index()] =
                        Some(PutOff::Function(Box::new(ByteFunction { of, table, node })));
                    Ok(())
                }
                _ => self.add_tasks(node, vec![table_task(table)]),
            },
            Bound::Pair(pair) => match self.one_function(node, &pair) {
                Some((of, table)) => {
                    self.put_off[outputs[0].index()] =
                        Some(PutOff::Function(Box::new(ByteFunction { of, table, node })));
                    Ok(())
                }
                None => {
                    let rule = pair.kernel.sum();
                    let addition = rule.map(|rule| [false, true].map(|swap| Addition::quantized(rule, swap)));
                    self.add_sum(node, addition, pair.task())
                }
            },
            Bound::Layer(layer) => self.add_layer(node, layer),
            Bound::Sum(clamp, task) => self.add_sum(node, Some([Addition::Float(clamp); 2]), task),
            Bound::Steps(tasks) => self.add_tasks(node, tasks),
        }
    }

    /// The layout with every node added.
    pub(super) fn finish(mut self) -> Result<Layout, RuntimeError> {
        for output in &self.graph.outputs {
            self.settle(*output)?;
        }
        Ok(self.layout)
    }

    fn add_alias(&mut self, input: TensorId, output: TensorId) -> Result<(), RuntimeError> {
        if let Some(PutOff::Function(function)) = &self.put_off[input.index()] {
            self.put_off[output.index()] = Some(PutOff::Function(function.clone()));
            return Ok(());
        }
        self.settle(input)?;
        self.layout.add_alias(input, output);
        Ok(())
    }

    /// The tensor that the bytes of this one follow from, and how.
    fn function_of(&self, id: TensorId) -> (TensorId, Table) {
        match &self.put_off[id.index()] {
            Some(PutOff::Function(function)) => (function.of, function.table.clone()),
            _ => (id, Table::from_fn(|byte| byte)),
        }
    }

    /// The table of a function of two operands, if both follow from one tensor, or one does and the
    /// other is a constant.
    fn one_function(&self, node: usize, pair: &Pair) -> Option<(TensorId, Table)> {
        let node = &self.graph.nodes[node];
        let [Some(a), Some(b)] = node.inputs[..] else { return None };
        if self.mode == Mode::Observe {
            return None;
        }
        let argument = |id: TensorId, constant: Option<u8>| match constant {
            Some(byte) => (None, Table::from_fn(|_| byte)),
            None => {
                let (of, table) = self.function_of(id);
                (Some(of), table)
            }
        };
        let [(a_of, first), (b_of, second)] =
            [argument(a, pair.constants[0]), argument(b, pair.constants[1])];
        let of = match (a_of, b_of) {
            (Some(of), None) | (None, Some(of)) => of,
            (Some(of), Some(other)) if of == other => of,
            _ => return None,
        };
        let table = Table::from_fn(|byte| pair.kernel.value(first.get(byte), second.get(byte)));
        let elements = |id: TensorId| self.facts[id.index()].shape.elements();
        let same_places = [a, b].into_iter().zip(pair.constants).all(|(id, constant)| {
            constant.is_some() || self.facts[id.index()].shape == self.facts[node.outputs[0].index()].shape
        });
        (same_places && elements(of) == elements(node.outputs[0])).then_some((of, table))
    }

    /// Puts a layer off if one node reads it, and nobody else.
    fn add_layer(&mut self, node: usize, layer: PackedLayer) -> Result<(), RuntimeError> {
        let (inputs, output) = (&self.graph.nodes[node].inputs, self.graph.nodes[node].outputs[0]);
        let alone = self.readers[output.index()] == 1 && !self.graph.is_output(output);
        match inputs.first() {
            Some(Some(input)) if self.mode == Mode::Inference && alone => {
                self.settle(*input)?;
                let waiting = WaitingLayer { node, input: *input, layer };
                self.put_off[output.index()] = Some(PutOff::Layer(waiting));
                Ok(())
            }
            _ => self.add_tasks(node, vec![layer.task()]),
        }
    }

    /// Adds a node that computes a sum: in the loop of a layer that was put off and is one of the
    /// operands, by the addition for its place, or by this task.
    fn add_sum(
        &mut self,
        node: usize,
        addition: Option<[Addition; 2]>,
        task: Task,
    ) -> Result<(), RuntimeError> {
        let [Some(a), Some(b)] = self.graph.nodes[node].inputs[..] else {
            return self.add_tasks(node, vec![task]);
        };
        let output = self.graph.nodes[node].outputs[0];
        let shape = |id: TensorId| &self.facts[id.index()].shape;
        let equal = shape(a) == shape(output) && shape(b) == shape(output);
        let Some([first, second]) = addition.filter(|_| equal) else {
            return self.add_tasks(node, vec![task]);
        };
        // Of two layers the one with more products hides more of the addition.
        let mut ways = [(a, b, first), (b, a, second)];
        ways.sort_by_key(|(own, ..)| std::cmp::Reverse(self.waiting_macs(*own)));
        for (own, other, addition) in ways {
            let Some(PutOff::Layer(waiting)) = self.put_off[own.index()].take() else { continue };
            let WaitingLayer { node: first, input, layer } = waiting;
            match layer.with_addition(addition) {
                Ok(task) => {
                    self.settle(other)?;
                    let macs = self.macs(first) + self.macs(node);
                    return self.add_step(&[first, node], macs, &[Some(other), Some(input)], output, task);
                }
                Err(layer) => {
                    let waiting = WaitingLayer { node: first, input, layer };
                    self.put_off[own.index()] = Some(PutOff::Layer(waiting));
                }
            }
        }
        self.add_tasks(node, vec![task])
    }

    /// Multiply-accumulates of a layer that is put off.
    fn waiting_macs(&self, id: TensorId) -> u64 {
        match &self.put_off[id.index()] {
            Some(PutOff::Layer(waiting)) => self.macs(waiting.node),
            _ => 0,
        }
    }

    fn add_tasks(&mut self, node: usize, tasks: Vec<Task>) -> Result<(), RuntimeError> {
        let (inputs, outputs) = (&self.graph.nodes[node].inputs, &self.graph.nodes[node].outputs);
        for input in inputs.iter().flatten() {
            self.settle(*input)?;
        }
        let mut macs = self.macs(node);
        for task in tasks {
            let macs = std::mem::take(&mut macs);
            match task.target {
                Target::Output(output) => self.add_step(&[node], macs, inputs, outputs[output], task)?,
                Target::All => {
                    let with_size = |id: &TensorId| Ok((*id, bytes_of(self.graph, *id, self.facts)?));
                    let outputs = outputs.iter().map(with_size).collect::<Result<Vec<_>, RuntimeError>>()?;
                    let added = self.layout.add_step_for_all(&[node], macs, inputs, &outputs, task);
                    let too_large = || RuntimeError::Resource {
                        what: format!("layer '{}'", self.graph.nodes[node].name),
                        needed: usize::MAX,
                        limit: None,
                    };
                    added.ok_or_else(too_large)?;
                }
            }
        }
        Ok(())
    }

    /// Adds the step that computes a tensor, if it was put off.
    fn settle(&mut self, id: TensorId) -> Result<(), RuntimeError> {
        match self.put_off[id.index()].take() {
            Some(PutOff::Function(function)) => {
                let ByteFunction { of, table, node } = *function;
                // What it follows from is no function of bytes itself.
                self.settle(of)?;
                if table.is_identity() {
                    self.layout.add_alias(of, id);
                    return Ok(());
                }
                self.add_step(&[node], 0, &[Some(of)], id, table_task(table))
            }
            Some(PutOff::Layer(WaitingLayer { node, input, layer })) => {
                self.add_step(&[node], self.macs(node), &[Some(input)], id, layer.task())
            }
            None => Ok(()),
        }
    }

    fn add_step(
        &mut self,
        nodes: &[usize],
        macs: u64,
        inputs: &[Option<TensorId>],
        output: TensorId,
        task: Task,
    ) -> Result<(), RuntimeError> {
        match bytes_of(self.graph, output, self.facts)? {
            0 => self.layout.add_empty(output),
            bytes => self.layout.add_step(nodes, macs, inputs, output, bytes, task),
        }
        Ok(())
    }

    fn macs(&self, node: usize) -> u64 {
        let node = &self.graph.nodes[node];
        let facts = |id: &TensorId| &self.facts[id.index()];
        let inputs: Vec<Option<&Facts>> = node.inputs.iter().map(|input| input.as_ref().map(facts)).collect();
        let outputs: Vec<Facts> = node.outputs.iter().map(|id| facts(id).clone()).collect();
        node.op.macs(Inputs(&inputs), &outputs)
    }
}
