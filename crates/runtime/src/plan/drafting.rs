//! Bound nodes become steps. What can be done together with what reads it is put off until it is read:
//!
//! - functions of single bytes: a chain of them is one table, and `x * logistic(x)` on quantized
//!   numbers, two operators, is one look-up;
//! - layers of packed weights that one node reads: a residual connection is added in the layer's loop,
//!   slopes below zero are applied there, and layers that only read each other may be computed in
//!   one pass;
//! - multiplications by constants by channel: an addition of such constants is done in their loop.

use std::borrow::Cow;

use litesmith_graph::{Facts, Graph, Inputs, Node, NodeId, TensorId};
use litesmith_kernels::elementwise::{ChannelMap, MultiplyAdd, Table};

use super::between::Between;
use super::forms::Forms;
use super::layout::Layout;
use super::{Mode, bytes_of, reads};
use crate::bind::{
    Addition, Bound, ChannelFunction, PackedLayer, Pair, Results, Scaling, SharedScratch, Target, Task,
    map_task, multiply_add_task, table_task,
};
use crate::error::RuntimeError;

/// A layout to which nodes are added in order.
pub(super) struct Drafting<'a> {
    graph: &'a Graph,
    facts: &'a [Facts],
    mode: Mode,
    threads: usize,
    pub(super) layout: Layout,
    /// For each tensor that is put off, how it is computed.
    put_off: Vec<Option<PutOff>>,
    /// For each tensor, how often it is read.
    readers: Vec<usize>,
    /// Who reads samples, and what there is of them.
    forms: Forms,
}

/// A tensor that no step computes yet.
enum PutOff {
    Function(Box<ByteFunction>),
    Layer(Box<WaitingLayer>),
    Map(Box<WaitingMap>),
    Scaling(usize, Box<Scaling>),
}

/// Each byte of a tensor as a function of the byte of the same place in another.
#[derive(Clone)]
struct ByteFunction {
    of: TensorId,
    table: Table,
    /// The node that computes it.
    node: usize,
}

/// What an operand is, byte by byte.
enum Argument<'a> {
    Constant(u8),
    /// A function of a tensor, or the tensor itself.
    Function((TensorId, Option<&'a Table>)),
}

impl Argument<'_> {
    fn of(&self) -> Option<TensorId> {
        match self {
            Argument::Constant(_) => None,
            Argument::Function((of, _)) => Some(*of),
        }
    }

    fn table(&self) -> Cow<'_, Table> {
        match self {
            Argument::Constant(constant) => Cow::Owned(Table::from_fn(|_| *constant)),
            Argument::Function((_, Some(table))) => Cow::Borrowed(table),
            Argument::Function((_, None)) => Cow::Owned(Table::from_fn(|byte| byte)),
        }
    }
}

/// A layer with the tensor that it reads.
struct WaitingLayer {
    /// The nodes that it computes.
    nodes: Vec<usize>,
    input: TensorId,
    /// What is added to it, if something is.
    addend: Option<TensorId>,
    layer: PackedLayer,
}

/// A multiplication by channel with the tensor that it reads.
struct WaitingMap {
    node: usize,
    input: TensorId,
    map: ChannelMap,
}

impl<'a> Drafting<'a> {
    /// For these nodes of a graph, and this number of threads.
    pub(super) fn new(
        graph: &'a Graph,
        nodes: &[NodeId],
        facts: &'a [Facts],
        mode: Mode,
        threads: usize,
        layout: Layout,
    ) -> Drafting<'a> {
        let put_off = graph.tensors.iter().map(|_| None).collect();
        let mut readers = vec![0; graph.tensors.len()];
        let read = nodes.iter().flat_map(|id| graph[*id].present_inputs());
        read.chain(graph.outputs.iter().copied()).for_each(|id| readers[id.index()] += 1);
        let forms = Forms::new(graph, facts);
        Drafting { graph, facts, mode, threads, layout, put_off, readers, forms }
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
                    let table = first.map(|first| first.then(&table)).unwrap_or(*table);
                    self.put_off[outputs[0].index()] =
                        Some(PutOff::Function(Box::new(ByteFunction { of, table, node })));
                    Ok(())
                }
                _ => self.add_tasks(node, vec![table_task(*table)]),
            },
            Bound::Pair(pair) => match self.one_function(node, &pair) {
                Some((of, table)) => {
                    self.put_off[outputs[0].index()] =
                        Some(PutOff::Function(Box::new(ByteFunction { of, table, node })));
                    Ok(())
                }
                None if pair.map.is_some() => self.add_map(node, *pair),
                None => {
                    let rule = pair.kernel.sum();
                    let addition = rule.map(|rule| [false, true].map(|swap| Addition::quantized(rule, swap)));
                    self.add_sum(node, addition, pair.task())
                }
            },
            Bound::Layer(layer) => self.add_layer(node, layer),
            Bound::Scaling(scaling) => self.add_scaling(node, scaling),
            Bound::Function(function, task) => self.add_function(node, &function, task),
            Bound::Sum(clamp, task) => self.add_sum(node, Some([Addition::Float(clamp); 2]), task),
            Bound::Steps(tasks) => self.add_tasks(node, tasks),
        }
    }

    /// Adds what belongs where a node between normalizations stands. In training nothing is put off, so
    /// whatever it reads is there.
    pub(super) fn add_between(
        &mut self,
        node: usize,
        between: &Between,
        scratch: &SharedScratch,
    ) -> Result<(), RuntimeError> {
        let (graph, facts) = (self.graph, self.facts);
        let macs = |node: usize| macs(graph, facts, node);
        between.add(node, macs, graph, facts, scratch, &mut self.layout)
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

    /// The tensor that the bytes of this one follow from, and how, unless they are the same.
    fn function_of(&self, id: TensorId) -> (TensorId, Option<&Table>) {
        match &self.put_off[id.index()] {
            Some(PutOff::Function(function)) => (function.of, Some(&function.table)),
            _ => (id, None),
        }
    }

    /// The table of a function of two operands, if both follow from one tensor, or one does and the
    /// other is a constant.
    fn one_function(&self, node: usize, pair: &Pair) -> Option<(TensorId, Table)> {
        let node = &self.graph.nodes[node];
        let [Some(a), Some(b)] = node.inputs[..] else { return None };
        if self.mode != Mode::Inference {
            return None;
        }
        let argument = |id: TensorId, constant: Option<u8>| match constant {
            Some(byte) => Argument::Constant(byte),
            None => Argument::Function(self.function_of(id)),
        };
        let [first, second] = [argument(a, pair.constants[0]), argument(b, pair.constants[1])];
        let of = match (first.of(), second.of()) {
            (Some(of), None) | (None, Some(of)) => of,
            (Some(of), Some(other)) if of == other => of,
            _ => return None,
        };
        let elements = |id: TensorId| self.facts[id.index()].shape.elements();
        let same_places = [a, b].into_iter().zip(pair.constants).all(|(id, constant)| {
            constant.is_some() || self.facts[id.index()].shape == self.facts[node.outputs[0].index()].shape
        });
        let table = || pair.kernel.of_tables(&first.table(), &second.table());
        (same_places && elements(of) == elements(node.outputs[0])).then(|| (of, table()))
    }

    /// Whether one node reads the output of another one, and nobody else, so that it can be put off.
    fn is_read_once(&self, output: TensorId) -> bool {
        self.mode == Mode::Inference && self.readers[output.index()] == 1 && !self.graph.is_output(output)
    }

    /// Puts a layer off if one node reads it, and nobody else.
    fn add_layer(&mut self, node: usize, layer: PackedLayer) -> Result<(), RuntimeError> {
        let (inputs, output) = (&self.graph.nodes[node].inputs, self.graph.nodes[node].outputs[0]);
        match inputs.first() {
            Some(Some(input)) if self.mode == Mode::Inference => {
                let waiting = self.joined(node, *input, layer)?;
                self.put_off_layer(waiting, output)
            }
            _ => self.add_tasks(node, vec![layer.task()]),
        }
    }

    /// Puts off a layer whose result is this tensor if one node reads it, and nobody else; otherwise adds its
    /// step.
    fn put_off_layer(&mut self, waiting: WaitingLayer, output: TensorId) -> Result<(), RuntimeError> {
        if !self.is_read_once(output) {
            return self.add_waiting(waiting, output);
        }
        self.put_off[output.index()] = Some(PutOff::Layer(Box::new(waiting)));
        Ok(())
    }

    /// Adds a node that computes a function of real numbers: behind the layer that was put off and makes them,
    /// or by this task.
    fn add_function(
        &mut self,
        node: usize,
        function: &ChannelFunction,
        task: Task,
    ) -> Result<(), RuntimeError> {
        let (inputs, output) = (&self.graph.nodes[node].inputs, self.graph.nodes[node].outputs[0]);
        let Some(Some(input)) = inputs.first() else { return self.add_tasks(node, vec![task]) };
        let waiting = self.put_off[input.index()].take_if(|put_off| matches!(put_off, PutOff::Layer(_)));
        let Some(PutOff::Layer(waiting)) = waiting else { return self.add_tasks(node, vec![task]) };
        let WaitingLayer { mut nodes, input: of, addend, layer } = *waiting;
        match layer.with_function(function) {
            Ok(layer) => {
                nodes.push(node);
                self.put_off_layer(WaitingLayer { nodes, input: of, addend, layer }, output)
            }
            Err(layer) => {
                self.add_waiting(WaitingLayer { nodes, input: of, addend, layer }, *input)?;
                self.add_tasks(node, vec![task])
            }
        }
    }

    /// Adds the step of a layer that nothing has been made part of.
    fn add_waiting(&mut self, waiting: WaitingLayer, output: TensorId) -> Result<(), RuntimeError> {
        let WaitingLayer { nodes, input, addend, layer } = waiting;
        let macs = nodes.iter().map(|node| self.macs(*node)).sum();
        let input = self.input_of(nodes[0], input, &layer)?;
        let own = layer.samples().and_then(|own| self.forms.wanted(output, own.batch, self.facts));
        let results = match own {
            Some(own) => match self.forms.sole_samples(output, &self.readers, self.facts) {
                Some(sole) if layer.prefers_bytes() => Results::Quantized(sole),
                _ => Results::WithRanges(own),
            },
            None => Results::Numbers,
        };
        let inputs: Vec<Option<TensorId>> = addend.into_iter().chain([input]).map(Some).collect();
        self.add_results(&nodes, macs, &inputs, output, results, layer.task_for(results))
    }

    /// What a layer reads: its input, or the samples made of that, which are made now if nobody has read
    /// them yet.
    fn input_of(
        &mut self,
        node: usize,
        input: TensorId,
        layer: &PackedLayer,
    ) -> Result<TensorId, RuntimeError> {
        let Some(samples) = layer.samples() else { return Ok(input) };
        if let Some(form) = self.forms.quantized(input, samples) {
            return Ok(form);
        }
        let form = self.layout.add_hidden();
        let ranges = self.forms.ranges(input, samples.whole());
        let size = samples.range_bytes().ok_or_else(|| self.too_large(node))?;
        let parts = [(form, samples.elements), (self.layout.add_hidden(), size)];
        let task = samples.quantize();
        let added = self.layout.add_step_for_all(&[node], 0, &[Some(input), ranges], &parts, task);
        let whole = added.ok_or_else(|| self.too_large(node))?;
        self.layout.hold_block(form, whole);
        self.forms.keep_quantized(input, samples, form);
        Ok(form)
    }

    /// Adds a step that gives a tensor, or its samples, in this form.
    fn add_results(
        &mut self,
        nodes: &[usize],
        macs: u64,
        inputs: &[Option<TensorId>],
        output: TensorId,
        results: Results,
        task: Task,
    ) -> Result<(), RuntimeError> {
        let (samples, size) = match results {
            Results::Numbers => return self.add_step(nodes, macs, inputs, output, task),
            Results::WithRanges(samples) => (samples, bytes_of(self.graph, output, self.facts)?),
            Results::Quantized(samples) => (samples, samples.elements),
        };
        let ranges = samples.range_bytes().ok_or_else(|| self.too_large(nodes[0]))?;
        let range_form = self.layout.add_hidden();
        let first = if let Results::Quantized(_) = results { self.layout.add_hidden() } else { output };
        let parts = [(first, size), (range_form, ranges)];
        let added = self.layout.add_step_for_all(nodes, macs, inputs, &parts, task);
        let whole = added.ok_or_else(|| self.too_large(nodes[0]))?;
        match results {
            Results::Quantized(_) => {
                self.layout.hold_block(first, whole);
                self.forms.keep_quantized(output, samples, first);
            }
            _ => self.forms.keep_ranges(output, samples, range_form),
        }
        Ok(())
    }

    fn too_large(&self, node: usize) -> RuntimeError {
        let what = format!("layer '{}'", self.graph.nodes[node].name);
        RuntimeError::Resource { what, needed: usize::MAX, limit: None }
    }

    /// Adds an operator with constants by channel: in the loop of the multiplication that it follows, or
    /// put off, if it is one that a single node reads, or by itself.
    fn add_map(&mut self, node: usize, pair: Pair) -> Result<(), RuntimeError> {
        let (inputs, output) = (&self.graph.nodes[node].inputs, self.graph.nodes[node].outputs[0]);
        let read = |(own, map)| Some(((*inputs.get(own)?)?, map));
        let Some((input, map)) = pair.map.clone().and_then(read) else {
            return self.add_tasks(node, vec![pair.task()]);
        };
        if let Some(PutOff::Map(waiting)) = &self.put_off[input.index()]
            && let Some(both) = waiting.map.then(&map)
        {
            let (nodes, of) = ([waiting.node, node], waiting.input);
            self.put_off[input.index()] = None;
            return self.add_step(&nodes, 0, &[Some(of)], output, map_task(both));
        }
        self.settle(input)?;
        if map.multiplies() && self.is_read_once(output) {
            self.put_off[output.index()] = Some(PutOff::Map(Box::new(WaitingMap { node, input, map })));
            return Ok(());
        }
        self.add_step(&[node], 0, &[Some(input)], output, map_task(map))
    }

    /// The same for real numbers. Samples of the sum are quantized at once where only layers of dynamic
    /// range read them.
    fn add_scaling(&mut self, node: usize, scaling: Scaling) -> Result<(), RuntimeError> {
        let (inputs, output) = (&self.graph.nodes[node].inputs, self.graph.nodes[node].outputs[0]);
        let input = inputs.get(scaling.own).copied().flatten();
        let waiting = input.and_then(|input| {
            self.put_off[input.index()]
                .take_if(|put_off| matches!(put_off, PutOff::Scaling(..)) && !scaling.multiplies)
        });
        if let Some(PutOff::Scaling(first, product)) = waiting {
            let of = self.graph.nodes[first].inputs[product.own];
            let bounds = [product.bounds, scaling.bounds];
            let map = MultiplyAdd { weight: product.constants, addend: scaling.constants, bounds };
            let samples = self.forms.sole_samples(output, &self.readers, self.facts);
            let (results, task) = match samples.filter(|_| self.mode == Mode::Inference) {
                Some(own) => (Results::Quantized(own), own.quantize_mapped(map)),
                None => (Results::Numbers, multiply_add_task(map)),
            };
            return self.add_results(&[first, node], 0, &[of], output, results, task);
        }
        if scaling.multiplies && self.is_read_once(output) {
            for input in inputs.iter().flatten() {
                self.settle(*input)?;
            }
            self.put_off[output.index()] = Some(PutOff::Scaling(node, Box::new(scaling)));
            return Ok(());
        }
        self.add_tasks(node, vec![scaling.task])
    }

    /// A layer together with the one that makes its input, where that was put off and one pass does both
    /// faster.
    fn joined(
        &mut self,
        node: usize,
        input: TensorId,
        layer: PackedLayer,
    ) -> Result<WaitingLayer, RuntimeError> {
        if let Some(PutOff::Layer(first)) = &self.put_off[input.index()]
            && let Some(layer) = layer.after(&first.layer, self.threads)
        {
            let nodes = first.nodes.iter().copied().chain([node]).collect();
            let joined = WaitingLayer { nodes, input: first.input, addend: None, layer };
            self.put_off[input.index()] = None;
            return Ok(joined);
        }
        self.settle(input)?;
        Ok(WaitingLayer { nodes: vec![node], input, addend: None, layer })
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
            // What is put off for another reason stays so.
            let waiting = self.put_off[own.index()].take_if(|put_off| matches!(put_off, PutOff::Layer(_)));
            let Some(PutOff::Layer(waiting)) = waiting else { continue };
            let WaitingLayer { nodes, input, addend, mut layer } = *waiting;
            if let Addition::Float(bounds) = addition {
                match layer.with_sum(bounds) {
                    Ok(layer) => {
                        self.settle(other)?;
                        let nodes = nodes.into_iter().chain([node]).collect();
                        let addend = Some(other);
                        return self.put_off_layer(WaitingLayer { nodes, input, addend, layer }, output);
                    }
                    Err(own) => layer = own,
                }
            }
            let samples = layer.samples().and_then(|own| self.forms.wanted(output, own.batch, self.facts));
            let own_input = self.input_of(nodes[0], input, &layer)?;
            match layer.with_addition(addition, samples) {
                Ok(task) => {
                    self.settle(other)?;
                    let nodes: Vec<usize> = nodes.into_iter().chain([node]).collect();
                    let macs = nodes.iter().map(|node| self.macs(*node)).sum();
                    let results = samples.map_or(Results::Numbers, Results::WithRanges);
                    let inputs = [Some(other), Some(own_input)];
                    return self.add_results(&nodes, macs, &inputs, output, results, task);
                }
                Err(layer) => {
                    let waiting = WaitingLayer { nodes, input, addend, layer };
                    self.put_off[own.index()] = Some(PutOff::Layer(Box::new(waiting)));
                }
            }
        }
        self.add_tasks(node, vec![task])
    }

    /// Multiply-accumulates of a layer that is put off.
    fn waiting_macs(&self, id: TensorId) -> u64 {
        match &self.put_off[id.index()] {
            Some(PutOff::Layer(waiting)) => waiting.nodes.iter().map(|node| self.macs(*node)).sum(),
            _ => 0,
        }
    }

    fn add_tasks(&mut self, node: usize, tasks: Vec<Task>) -> Result<(), RuntimeError> {
        let Node { inputs, outputs, .. } = &self.graph.nodes[node];
        // What only lends its shape need not be there any more.
        let read = |(index, input): (usize, &Option<TensorId>)| {
            input.filter(|_| reads(&self.graph.nodes[node], index))
        };
        let inputs: Vec<Option<TensorId>> = inputs.iter().enumerate().map(read).collect();
        for input in inputs.iter().flatten() {
            self.settle(*input)?;
        }
        let mut macs = self.macs(node);
        for task in tasks {
            let macs = std::mem::take(&mut macs);
            match task.target {
                Target::Output(output) => self.add_step(&[node], macs, &inputs, outputs[output], task)?,
                Target::All => {
                    let with_size = |id: &TensorId| Ok((*id, bytes_of(self.graph, *id, self.facts)?));
                    let outputs = outputs.iter().map(with_size).collect::<Result<Vec<_>, RuntimeError>>()?;
                    let added = self.layout.add_step_for_all(&[node], macs, &inputs, &outputs, task);
                    added.ok_or_else(|| self.too_large(node))?;
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
            Some(PutOff::Layer(waiting)) => self.add_waiting(*waiting, id),
            Some(PutOff::Scaling(node, scaling)) => self.add_tasks(node, vec![scaling.task]),
            Some(PutOff::Map(waiting)) => {
                let WaitingMap { node, input, map } = *waiting;
                self.add_step(&[node], 0, &[Some(input)], id, map_task(map))
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
        macs(self.graph, self.facts, node)
    }
}

fn macs(graph: &Graph, facts: &[Facts], node: usize) -> u64 {
    let node = &graph.nodes[node];
    let facts = |id: &TensorId| &facts[id.index()];
    let inputs: Vec<Option<&Facts>> = node.inputs.iter().map(|input| input.as_ref().map(facts)).collect();
    let outputs: Vec<Facts> = node.outputs.iter().map(|id| facts(id).clone()).collect();
    node.op.macs(Inputs(&inputs), &outputs)
}
