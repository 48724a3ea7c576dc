//! Graphs whose shapes depend on values that are computed: run node by node, each bound when the
//! shapes of its operands are known. Graphs that they call and that can be planned are.

use std::sync::Arc;

use litesmith_graph::infer::{infer_node, stated_facts};
use litesmith_graph::operator::Number;
use litesmith_graph::{DType, Facts, Graph, GraphId, Model, Node, NodeId, Op, Shape, TensorId};

use crate::alone::{Bench, Failure};
use crate::array::Array;
use crate::bind::{Machine, bind};
use crate::buffer::Buffer;
use crate::error::{Refusal, RuntimeError};
use crate::plan::{
    Mode, NoPlan, NoSite, Plan, Shared, Source, Stored, enter, make_called, site, unsupported_node,
};
use crate::states::States;

/// Most bytes that are alive at a time where [`Options::max_memory`](crate::Options::max_memory) sets
/// no limit: a loop may let its variables grow.
const MOST_BYTES: usize = usize::MAX >> (usize::BITS - 32);

/// Most integers of a tensor whose values are followed through shape arithmetic.
const LONGEST_VALUE: usize = 64;

/// Most plans of called graphs that are kept.
const MOST_PLANS: usize = 32;

/// A computed tensor.
#[derive(Clone)]
pub(crate) struct Computed {
    /// Type of its elements in the model.
    pub dtype: DType,
    /// Its shape.
    pub shape: Vec<usize>,
    /// Its elements in the plan's form.
    pub stored: Arc<Stored>,
}

impl Computed {
    /// An array of the model's form.
    pub(crate) fn of(array: &Array) -> Option<Computed> {
        let mut buffer = Buffer::zeroed(array.data.len())?;
        enter(array.dtype, &array.data, buffer.bytes_mut());
        let stored = Arc::new(Stored::Own(buffer));
        Some(Computed { dtype: array.dtype, shape: array.shape.clone(), stored })
    }

    /// It as an array of the model's form.
    pub(crate) fn array(&self) -> Array {
        let bytes = self.stored.bytes();
        let mut data = vec![0; bytes.len()];
        enter(self.dtype, bytes, &mut data);
        Array { dtype: self.dtype, shape: self.shape.clone(), data }
    }

    fn facts(&self) -> Facts {
        let facts = Facts::new(self.dtype, Shape::fixed(&self.shape));
        let elements = facts.shape.elements();
        if elements.is_none_or(|elements| elements > LONGEST_VALUE) {
            return facts;
        }
        let bytes = self.stored.bytes();
        let value = match self.dtype {
            DType::I32 => bytemuck::cast_slice::<u8, i32>(bytes)
                .iter()
                .map(|value| Number::Int(i64::from(*value)))
                .collect(),
            DType::I64 => bytemuck::cast_slice(bytes).iter().copied().map(Number::Int).collect(),
            _ => return facts,
        };
        facts.with_value(Some(value))
    }
}

/// Plans of called graphs, the last one used first.
#[derive(Default)]
pub(crate) struct CalledPlans(Vec<CalledPlan>);

struct CalledPlan {
    graph: GraphId,
    shapes: Vec<Vec<usize>>,
    way: Way,
}

/// How a graph is run for certain shapes.
enum Way {
    /// Node by node: it has been called once so far, and may never be called again.
    Once,
    /// Node by node, since its shapes are computed.
    ByNode,
    Planned(Plan, Buffer),
}

/// Runs graphs node by node.
pub(crate) struct Eager<'a> {
    model: &'a Model,
    mode: Mode,
    shared: &'a Shared,
    bench: Bench<'a>,
    plans: &'a mut CalledPlans,
    /// Bytes of the tensors that are alive.
    live: usize,
    most: usize,
}

/// What is told of a node once it has been run: its index and its outputs.
pub(crate) type Watch<'a> = &'a mut dyn FnMut(usize, &[(TensorId, Computed)]);

impl<'a> Eager<'a> {
    pub(crate) fn new(
        model: &'a Model,
        mode: Mode,
        shared: &'a Shared,
        machine: Machine<'a>,
        states: &'a mut States,
        plans: &'a mut CalledPlans,
    ) -> Eager<'a> {
        let most = shared.max_memory.unwrap_or(MOST_BYTES);
        let bench = Bench { machine, states, limit: most };
        Eager { model, mode, shared, bench, plans, live: 0, most }
    }

    /// The outputs of the main graph for these inputs.
    pub(crate) fn run_main(
        &mut self,
        inputs: Vec<Computed>,
        watch: Watch<'_>,
    ) -> Result<Vec<Computed>, RuntimeError> {
        self.live = inputs.iter().fold(0, |sum, input| sum.saturating_add(input.stored.bytes().len()));
        self.run(GraphId(0), inputs, watch)
    }

    /// The outputs of a graph for these inputs.
    fn run(
        &mut self,
        id: GraphId,
        inputs: Vec<Computed>,
        watch: Watch<'_>,
    ) -> Result<Vec<Computed>, RuntimeError> {
        let (model, shared) = (self.model, self.shared);
        let graph = &model.graphs[id.0 as usize];
        let mut facts: Vec<Facts> = graph.tensors.iter().map(|tensor| stated_facts(model, tensor)).collect();
        let mut values: Vec<Option<Computed>> = vec![None; graph.tensors.len()];
        for (input, value) in graph.inputs.iter().zip(inputs) {
            if !graph[*input].is_fixed() {
                facts[input.index()] = value.facts();
                values[input.index()] = Some(value);
            }
        }
        let last = last_uses(graph);
        for node in graph.node_ids() {
            let results = self.run_node(id, node, &mut facts, &values)?;
            let outputs: Vec<(TensorId, Computed)> =
                graph[node].outputs.iter().copied().zip(results).collect();
            watch(node.index(), &outputs);
            for (output, value) in outputs {
                facts[output.index()] = value.facts();
                values[output.index()] = Some(value);
            }
            for tensor in &last[node.index()] {
                self.release(values[tensor.index()].take());
            }
        }
        let output = |output: &TensorId| match (&values[output.index()], model.data(&graph[*output])) {
            (Some(value), _) => Ok(value.clone()),
            (None, Some(data)) => {
                let Facts { dtype, shape, .. } = &facts[output.index()];
                let stored = shared.stored(id, *output, *dtype, data)?;
                Ok(Computed { dtype: *dtype, shape: shape.to_fixed().unwrap_or_default(), stored })
            }
            (None, None) => Err(RuntimeError::Setting(format!(
                "output '{}' of graph '{}' is a state, which is no value",
                graph[*output].name, graph.name
            ))),
        };
        let outputs = graph.outputs.iter().map(output).collect::<Result<Vec<_>, _>>();
        values.into_iter().for_each(|value| self.release(value));
        outputs
    }

    fn run_node(
        &mut self,
        id: GraphId,
        node: NodeId,
        facts: &mut [Facts],
        values: &[Option<Computed>],
    ) -> Result<Vec<Computed>, RuntimeError> {
        let (model, shared) = (self.model, self.shared);
        let graph = &model.graphs[id.0 as usize];
        let sources = self.sources(id, node, values)?;
        match &graph[node].op {
            Op::If(op) => {
                let chosen = if truth(sources.first()) { op.then_graph } else { op.else_graph };
                return self.call(chosen, arguments(facts, &graph[node], &sources, 1));
            }
            Op::While(op) => {
                let mut variables = arguments(facts, &graph[node], &sources, 0);
                loop {
                    let answer = self.call(op.condition, variables.clone())?;
                    if answer.first().is_none_or(|answer| answer.stored.bytes() == [0]) {
                        return Ok(variables);
                    }
                    if self.bench.machine.interrupt.is_set() {
                        return Err(RuntimeError::Interrupted);
                    }
                    let next = self.call(op.body, variables.clone())?;
                    variables.into_iter().for_each(|variable| self.release(Some(variable)));
                    variables = next;
                }
            }
            _ => {}
        }
        for (output, inferred) in graph[node].outputs.iter().zip(infer_node(model, graph, node, facts)?) {
            facts[output.index()] = inferred;
        }
        let refused =
            |reason: String| RuntimeError::Unsupported(vec![unsupported_node(&graph[node], reason)]);
        let site = site(model, id, node, facts, self.mode, shared).map_err(|problem| match problem {
            NoSite::Computed | NoSite::Called(NoPlan::Computed) => {
                refused("its shape cannot be told even from the values of its inputs".into())
            }
            NoSite::Refused(Refusal(reason)) => refused(reason),
            NoSite::Called(NoPlan::Error(error)) => error,
        })?;
        let bound = bind(&site).map_err(|Refusal(reason)| refused(reason))?;
        let results = self.bench.run(&site, bound, &sources);
        let results = results.map_err(|failure| failed(&graph[node], failure, shared))?;
        let mut outputs = Vec::with_capacity(results.len());
        for (operand, stored) in site.outputs.iter().zip(results) {
            if Arc::strong_count(&stored) == 1 {
                self.live = self.live.saturating_add(stored.bytes().len());
            }
            outputs.push(Computed { dtype: operand.dtype, shape: operand.shape.clone(), stored });
        }
        if self.live > self.most {
            return Err(failed(&graph[node], Failure::Memory(self.live), shared));
        }
        Ok(outputs)
    }

    fn sources(
        &self,
        id: GraphId,
        node: NodeId,
        values: &[Option<Computed>],
    ) -> Result<Vec<Source>, RuntimeError> {
        let graph = &self.model.graphs[id.0 as usize];
        let source = |input: &Option<TensorId>| {
            let Some(input) = *input else { return Ok(Source::Absent) };
            if let Some(value) = &values[input.index()] {
                return Ok(Source::Fixed(Arc::clone(&value.stored)));
            }
            // States are no values; the kernels that take them know their number.
            let Some(data) = self.model.data(&graph[input]) else { return Ok(Source::Absent) };
            Ok(Source::Fixed(self.shared.stored(id, input, graph[input].dtype, data)?))
        };
        graph[node].inputs.iter().map(source).collect()
    }

    /// The outputs of a graph that a node runs.
    fn call(&mut self, id: GraphId, inputs: Vec<Computed>) -> Result<Vec<Computed>, RuntimeError> {
        let fits = |plan: &CalledPlan| {
            plan.graph == id && plan.shapes.iter().eq(inputs.iter().map(|input| &input.shape))
        };
        match self.plans.0.iter().position(fits) {
            Some(index) => self.plans.0[..=index].rotate_right(1),
            None => {
                let shapes = inputs.iter().map(|input| input.shape.clone()).collect();
                self.plans.0.truncate(MOST_PLANS - 1);
                self.plans.0.insert(0, CalledPlan { graph: id, shapes, way: Way::Once });
                return self.run(id, inputs, &mut |_, _| {});
            }
        }
        if let Way::Once = self.plans.0[0].way {
            let facts: Vec<Facts> = inputs.iter().map(|input| input.facts().with_value(None)).collect();
            self.plans.0[0].way = match make_called(self.model, id, &facts, self.shared) {
                Ok(plan) => {
                    let arena = self.bench.buffer(plan.arena);
                    let memory = |_| self.shared.no_memory("the arena of a called graph", plan.arena);
                    let arena = arena.map_err(memory)?;
                    Way::Planned(plan, arena)
                }
                Err(NoPlan::Computed) => Way::ByNode,
                Err(NoPlan::Error(error)) => return Err(error),
            };
        }
        let Way::Planned(plan, arena) = &mut self.plans.0[0].way else {
            return self.run(id, inputs, &mut |_, _| {});
        };
        let arena = arena.bytes_mut();
        for (place, input) in plan.inputs.iter().zip(&inputs) {
            if let Some(place) = place {
                arena[place.clone()].copy_from_slice(input.stored.bytes());
            }
        }
        plan.run(self.bench.machine, arena, self.bench.states)?;
        let mut outputs = Vec::with_capacity(plan.outputs.len());
        for value in &plan.outputs {
            let bytes = value.bytes(arena);
            let buffer = Buffer::zeroed(bytes.len());
            let mut buffer = buffer.ok_or_else(|| self.shared.no_memory("an output", bytes.len()))?;
            buffer.bytes_mut().copy_from_slice(bytes);
            self.live = self.live.saturating_add(bytes.len());
            let stored = Arc::new(Stored::Own(buffer));
            outputs.push(Computed { dtype: value.dtype, shape: value.shape.clone(), stored });
        }
        Ok(outputs)
    }

    /// Counts a tensor out that nobody will read any more.
    fn release(&mut self, value: Option<Computed>) {
        if let Some(Computed { stored, .. }) = value
            && let Stored::Own(buffer) = &*stored
            && Arc::strong_count(&stored) == 1
        {
            self.live = self.live.saturating_sub(buffer.len());
        }
    }
}

fn failed(node: &Node, failure: Failure, shared: &Shared) -> RuntimeError {
    let (node, operator) = (node.name.clone(), node.op.name().to_owned());
    match failure {
        Failure::Fault(fault) => RuntimeError::Step { node, operator, reason: fault.0 },
        Failure::Memory(bytes) => shared.no_memory(&format!("layer '{node}' ({operator})"), bytes),
    }
}

fn truth(source: Option<&Source>) -> bool {
    matches!(source, Some(Source::Fixed(stored)) if stored.bytes() != [0])
}

/// The inputs of a node from the `first` on, as arguments of a graph.
fn arguments(facts: &[Facts], node: &Node, sources: &[Source], first: usize) -> Vec<Computed> {
    let argument = |(input, source): (&Option<TensorId>, &Source)| {
        let (Some(input), Source::Fixed(stored)) = (input, source) else { return None };
        let Facts { dtype, shape, .. } = &facts[input.index()];
        Some(Computed { dtype: *dtype, shape: shape.to_fixed()?, stored: Arc::clone(stored) })
    };
    node.inputs.iter().zip(sources).skip(first).filter_map(argument).collect()
}

/// For each node, the tensors that it is the last to read (or, where nobody reads them, to compute).
fn last_uses(graph: &Graph) -> Vec<Vec<TensorId>> {
    let mut last: Vec<Option<usize>> = vec![None; graph.tensors.len()];
    for (index, node) in graph.nodes.iter().enumerate() {
        for tensor in node.present_inputs().chain(node.outputs.iter().copied()) {
            last[tensor.index()] = Some(index);
        }
    }
    for output in &graph.outputs {
        last[output.index()] = None;
    }
    let mut uses = vec![Vec::new(); graph.nodes.len()];
    for id in graph.tensor_ids() {
        if let Some(node) = last[id.index()] {
            uses[node].push(id);
        }
    }
    uses
}
