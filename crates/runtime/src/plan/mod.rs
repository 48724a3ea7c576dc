//! Plans: what is to be done, and where everything lies, for given shapes of the inputs.

mod between;
mod drafting;
mod forms;
mod layout;
mod operands;
mod place;

use std::cmp::Reverse;
use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use litesmith_graph::{
    DType, Data, Facts, Graph, GraphId, Model, ModelError, Node, NodeId, Op, Shape, Tensor, TensorId,
    TensorKind, call_arguments, infer_called, infer_shapes,
};
use litesmith_kernels::{Isa, ThreadPool};

use crate::bind::between::BetweenLayer;
use crate::bind::{Bound, Called, Machine, Operand, Packed, SharedScratch, Site, Work, bind};
use crate::error::{Refusal, RuntimeError, Unsupported};
use crate::states::States;
use between::Between;
use drafting::Drafting;
use layout::Layout;
pub(crate) use operands::{Inputs, Io, Source, Stored, enter, grouped};
pub(crate) use place::{Life, place};

/// What a plan is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Only the outputs are wanted.
    Inference,
    /// Every activation is looked at once it is computed.
    Observe,
    /// Only the outputs are wanted; inputs from this index on are variables, which stay where they are.
    Train(usize),
}

/// What the plans of one interpreter share.
pub(crate) struct Shared {
    /// The instruction set to bind for.
    pub isa: Isa,
    /// The threads that plan, and to plan for.
    pub pool: ThreadPool,
    /// Most bytes of an arena.
    pub max_memory: Option<usize>,
    /// Packed weights.
    pub packed: Packed,
    /// Memory that layers with changing weights use one after the other.
    pub scratch: SharedScratch,
    /// Fixed tensors that steps read, in the plan's form.
    pub stored: Mutex<HashMap<(GraphId, TensorId), Arc<Stored>>>,
}

/// Steps over an arena.
pub(crate) struct Plan {
    /// In order of execution.
    pub steps: Vec<Step>,
    /// Where each input is to be written; `None` where nobody reads it.
    pub inputs: Vec<Option<Range<usize>>>,
    /// Bytes of each variable that the caller of a run lends (`Mode::Train` only).
    pub variables: Vec<usize>,
    /// Where each output is found, with its type and shape.
    pub outputs: Vec<Value>,
    /// Every activation in the order in which they become ready (`Mode::Observe` only).
    pub values: Vec<Value>,
    /// Bytes of the arena.
    pub arena: usize,
    /// Name and operator of each node of the graph.
    names: Vec<(String, &'static str)>,
}

/// One call of a kernel.
pub(crate) struct Step {
    /// Indices in the planned graph of the nodes that it computes; the first gives it its name.
    pub nodes: Vec<usize>,
    /// What it is called in profiles, if it is not what its nodes are for.
    pub name: Option<&'static str>,
    /// Whether its kernel leaves zeros of the weights out.
    pub sparse: bool,
    /// Multiply-accumulates of these nodes, if this is their first step.
    pub macs: u64,
    work: Work,
    sources: Vec<Source>,
    output: Range<usize>,
    scratch: Range<usize>,
    in_place: bool,
}

/// A tensor's place.
pub(crate) struct Value {
    /// The tensor.
    pub tensor: TensorId,
    /// Type of its elements in the model.
    pub dtype: DType,
    /// Its shape.
    pub shape: Vec<usize>,
    /// Where its bytes are, in the plan's form.
    pub source: Source,
    /// Number of steps after which they are there.
    pub ready: usize,
}

impl Plan {
    /// Runs all steps.
    pub(crate) fn run(
        &self,
        machine: Machine<'_>,
        arena: &mut [u8],
        states: &mut States,
    ) -> Result<(), RuntimeError> {
        (0..self.steps.len()).try_for_each(|step| self.run_step(step, machine, arena, states, &[]))
    }

    /// Name of the first node of a step and the operator.
    pub(crate) fn name(&self, step: &Step) -> (String, &'static str) {
        let (node, operator) = &self.names[step.nodes[0]];
        (node.clone(), step.name.unwrap_or(operator))
    }

    /// Runs the kernel of one step.
    pub(crate) fn run_step(
        &self,
        step: usize,
        machine: Machine<'_>,
        arena: &mut [u8],
        states: &mut States,
        variables: &[&[u8]],
    ) -> Result<(), RuntimeError> {
        let step = &self.steps[step];
        let Step { sources, output, scratch, in_place, .. } = step;
        let io = Io::new(arena, sources, output, scratch, *in_place, states, variables);
        (step.work)(machine, io).map_err(|fault| {
            let (node, operator) = &self.names[step.nodes[0]];
            RuntimeError::Step { node: node.clone(), operator: (*operator).to_owned(), reason: fault.0 }
        })
    }
}

impl Value {
    /// Its bytes, in the plan's form.
    pub(crate) fn bytes<'a>(&'a self, arena: &'a [u8]) -> &'a [u8] {
        match &self.source {
            Source::Arena(range) => &arena[range.clone()],
            Source::Fixed(stored) => stored.bytes(),
            // No output is a variable, which the caller has.
            Source::Variable(_) | Source::Absent => &[],
        }
    }
}

impl Shared {
    /// A fixed tensor in the plan's form, converted the first time.
    pub(crate) fn stored(
        &self,
        graph: GraphId,
        id: TensorId,
        dtype: DType,
        data: &Data,
    ) -> Result<Arc<Stored>, RuntimeError> {
        if let Some(stored) = lock(&self.stored).get(&(graph, id)) {
            return Ok(Arc::clone(stored));
        }
        let stored =
            Arc::new(Stored::new(data, dtype).ok_or_else(|| self.no_memory("a constant", data.len()))?);
        lock(&self.stored).insert((graph, id), Arc::clone(&stored));
        Ok(stored)
    }

    pub(crate) fn no_memory(&self, what: &str, needed: usize) -> RuntimeError {
        RuntimeError::Resource { what: what.to_owned(), needed, limit: self.max_memory }
    }
}

/// Why a graph has no plan.
pub(crate) enum NoPlan {
    /// Shapes depend on values that are computed: it can be run node by node.
    Computed,
    /// It cannot be run at all.
    Error(RuntimeError),
}

impl<E: Into<RuntimeError>> From<E> for NoPlan {
    fn from(error: E) -> NoPlan {
        NoPlan::Error(error.into())
    }
}

/// What is known of the tensors of the main graph for inputs of these shapes.
pub(crate) fn facts(model: &Model, shapes: &[Vec<usize>]) -> Result<Vec<Facts>, RuntimeError> {
    let shapes: Vec<Shape> = shapes.iter().map(|shape| Shape::fixed(shape)).collect();
    infer_shapes(model, GraphId(0), Some(&shapes)).map_err(input_error)
}

/// Plans the main graph of a prepared model, or part of it, where this is known of its tensors. `order`
/// lists the activations that `Mode::Observe` is to show.
pub(crate) fn make(
    model: &Model,
    facts: &[Facts],
    mode: Mode,
    order: &[TensorId],
    shared: &Shared,
) -> Result<Plan, NoPlan> {
    let order = if mode == Mode::Observe { order } else { &[] };
    make_graph(model, GraphId(0), facts, mode, order, shared)
}

/// Plans a graph that is called with these arguments.
pub(crate) fn make_called(
    model: &Model,
    id: GraphId,
    arguments: &[Facts],
    shared: &Shared,
) -> Result<Plan, NoPlan> {
    let facts = infer_called(model, id, arguments)?;
    make_graph(model, id, &facts, Mode::Inference, &[], shared)
}

fn make_graph(
    model: &Model,
    id: GraphId,
    facts: &[Facts],
    mode: Mode,
    order: &[TensorId],
    shared: &Shared,
) -> Result<Plan, NoPlan> {
    let graph = &model.graphs[id.0 as usize];
    let needed = needed(graph, facts, mode);
    let mut layout = layout_of_given(model, graph, facts, &needed, mode)?;
    let wanted = |id: &TensorId| needed[id.index()] && !layout.is_fixed(*id);
    let run = |id: &NodeId| graph[*id].outputs.iter().any(wanted) || graph[*id].op.has_effect();
    let nodes: Vec<NodeId> = graph.node_ids().filter(run).collect();
    let between = match mode {
        Mode::Train(_) => {
            let layer =
                |node| site(model, id, node, facts, mode, shared).ok().and_then(|own| BetweenLayer::of(&own));
            Between::find(graph, facts, &nodes, layer, &mut layout)
        }
        Mode::Inference | Mode::Observe => Between::default(),
    };
    let alone: Vec<NodeId> = nodes.iter().copied().filter(|node| !between.has(node.index())).collect();
    let mut bound = bind_all(model, id, &alone, facts, mode, shared);
    let mut drafting = Drafting::new(graph, &nodes, facts, mode, shared.pool.threads(), layout);
    let mut unsupported = Vec::new();
    let mut computed = false;
    for id in nodes {
        let (index, node) = (id.index(), &graph[id]);
        if between.has(index) {
            if !computed {
                drafting.add_between(index, &between, &shared.scratch)?;
            }
            continue;
        }
        let Some(bound) = bound.next() else { break };
        match bound {
            // What comes behind a tensor that nothing has computed cannot be laid out.
            Ok(_) if computed => {}
            Ok(bound) => drafting.add(index, bound)?,
            Err(NoSite::Refused(Refusal(reason))) => unsupported.push(unsupported_node(node, reason)),
            Err(NoSite::Called(NoPlan::Error(RuntimeError::Unsupported(inner)))) => unsupported.extend(inner),
            Err(NoSite::Called(NoPlan::Error(error))) => return Err(error.into()),
            Err(NoSite::Computed | NoSite::Called(NoPlan::Computed)) => computed = true,
        }
    }
    if !unsupported.is_empty() {
        return Err(RuntimeError::Unsupported(unsupported).into());
    }
    if computed {
        return Err(NoPlan::Computed);
    }
    let fixed = |tensor: TensorId| fixed(model, (id, tensor), facts, shared);
    let plan = drafting.finish()?.finish(graph, facts, order, &fixed)?;
    let plan = plan.ok_or_else(|| shared.no_memory("the arena", usize::MAX))?;
    match shared.max_memory {
        Some(limit) if plan.arena > limit => {
            Err(shared.no_memory("the arena of activations", plan.arena).into())
        }
        _ => Ok(plan),
    }
}

/// Binds nodes on all threads: most of the time goes into packing their weights. The largest come first,
/// so that the threads end together.
fn bind_all(
    model: &Model,
    graph: GraphId,
    nodes: &[NodeId],
    facts: &[Facts],
    mode: Mode,
    shared: &Shared,
) -> impl Iterator<Item = Result<Bound, NoSite>> + use<> {
    let bound: Vec<Mutex<Option<_>>> = nodes.iter().map(|_| Mutex::new(None)).collect();
    let order = largest_first(model, &model.graphs[graph.0 as usize], nodes, shared.pool.threads());
    shared.pool.run(nodes.len(), &|task| {
        let index = order[task];
        let site = site(model, graph, nodes[index], facts, mode, shared);
        *lock(&bound[index]) = Some(site.and_then(|site| bind(&site).map_err(NoSite::Refused)));
    });
    bound.into_iter().filter_map(|bound| bound.into_inner().unwrap_or_else(PoisonError::into_inner))
}

/// Places of nodes such that each thread, which begins with its own part of them, meets those with the
/// largest constants first.
fn largest_first(model: &Model, graph: &Graph, nodes: &[NodeId], threads: usize) -> Vec<usize> {
    let constants = |place: &usize| {
        let data = graph[nodes[*place]].present_inputs().filter_map(|input| model.data(&graph[input]));
        Reverse(data.map(Data::len).max())
    };
    let mut sorted: Vec<usize> = (0..nodes.len()).collect();
    sorted.sort_by_cached_key(constants);
    (0..threads).flat_map(|thread| sorted.iter().skip(thread).step_by(threads)).copied().collect()
}

/// Locks whether or not a panic passed by: what is locked here is never left half written.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A layout that holds what is there before the first step: inputs, constants and what is known.
fn layout_of_given(
    model: &Model,
    graph: &Graph,
    facts: &[Facts],
    needed: &[bool],
    mode: Mode,
) -> Result<Layout, RuntimeError> {
    let mut layout = Layout::new(graph.tensors.len());
    let variables = if let Mode::Train(first) = mode { first } else { graph.inputs.len() };
    for (index, input) in graph.inputs.iter().enumerate() {
        let bytes = bytes_of(graph, *input, facts)?;
        if index >= variables {
            layout.add_variable(*input, bytes);
        } else if needed[input.index()] && !graph[*input].is_fixed() {
            layout.add_input(*input, bytes);
        }
    }
    let fixed = |tensor: &TensorId| {
        needed[tensor.index()]
            && (model.data(&graph[*tensor]).is_some() || known(&facts[tensor.index()]).is_some())
    };
    graph.tensor_ids().filter(fixed).for_each(|tensor| layout.add_fixed(tensor));
    Ok(layout)
}

/// A tensor that is the same in every run, in the plan's form.
fn fixed(
    model: &Model,
    (graph, tensor): (GraphId, TensorId),
    facts: &[Facts],
    shared: &Shared,
) -> Result<Arc<Stored>, RuntimeError> {
    let (own, facts) = (&model.graphs[graph.0 as usize][tensor], &facts[tensor.index()]);
    if let Some(data) = model.data(own) {
        return shared.stored(graph, tensor, own.dtype, data);
    }
    let data = known(facts).unwrap_or_else(|| Data::from_vec(Vec::<u8>::new()));
    let stored = Stored::new(&data, facts.dtype);
    Ok(Arc::new(stored.ok_or_else(|| shared.no_memory("a shape", data.len()))?))
}

/// A node that cannot be run, and why.
pub(crate) fn unsupported_node(node: &Node, reason: String) -> Unsupported {
    Unsupported { node: node.name.clone(), operator: node.op.name().to_owned(), reason }
}

/// The inputs' names in errors about their shapes.
fn input_error(error: ModelError) -> RuntimeError {
    match error {
        ModelError::InputShape { name, expected, got, .. } => RuntimeError::Input { name, expected, got },
        error => RuntimeError::Model(error),
    }
}

fn bytes_of(graph: &Graph, id: TensorId, facts: &[Facts]) -> Result<usize, RuntimeError> {
    let Facts { dtype, shape, .. } = &facts[id.index()];
    shape.elements().and_then(|elements| dtype.bytes(elements)).ok_or_else(|| RuntimeError::Resource {
        what: format!("tensor '{}' of shape {shape}", graph[id].name),
        needed: usize::MAX,
        limit: None,
    })
}

/// The elements of a tensor whose integers follow from shapes alone.
pub(crate) fn known(facts: &Facts) -> Option<Data> {
    let integers = facts.integers()?;
    match facts.dtype {
        DType::I32 => {
            Some(Data::from_vec(integers.into_iter().map(|value| value as i32).collect::<Vec<_>>()))
        }
        DType::I64 => Some(Data::from_vec(integers)),
        _ => None,
    }
}

/// Which tensors must be there: those that outputs are computed from, or all but parameters of which only
/// something computed is read.
pub(crate) fn needed(graph: &Graph, facts: &[Facts], mode: Mode) -> Vec<bool> {
    if mode == Mode::Observe {
        let parameter = |tensor: &Tensor| matches!(tensor.kind, TensorKind::Parameter(_));
        let mut needed: Vec<bool> = graph.tensors.iter().map(|tensor| !parameter(tensor)).collect();
        let read = graph.nodes.iter().flat_map(|node| node.present_inputs());
        read.chain(graph.outputs.iter().copied()).for_each(|id| needed[id.index()] = true);
        return needed;
    }
    let mut needed = vec![false; graph.tensors.len()];
    for output in &graph.outputs {
        needed[output.index()] = true;
    }
    for node in graph.nodes.iter().rev() {
        let computed = |id: &TensorId| needed[id.index()] && known(&facts[id.index()]).is_none();
        if !node.outputs.iter().any(computed) && !node.op.has_effect() {
            continue;
        }
        for (index, input) in node.inputs.iter().enumerate() {
            if let Some(input) = input
                && reads(node, index)
            {
                needed[input.index()] = true;
            }
        }
    }
    needed
}

/// Whether the elements of this input are looked at when the shapes are known.
pub(crate) fn reads(node: &Node, input: usize) -> bool {
    match &node.op {
        Op::Gradient(op) => op.reads(input, node.inputs.len()),
        Op::ShapeOf(_) => false,
        Op::BroadcastTo(_) | Op::Pad(_) | Op::Reshape(_) | Op::Resize(_) | Op::Tile(_) => input == 0,
        Op::Fill(_) => input == 1,
        _ => true,
    }
}

/// Why a node cannot be bound.
pub(crate) enum NoSite {
    /// The shape of an operand is not known yet.
    Computed,
    /// It has an operand that no kernel takes.
    Refused(Refusal),
    /// A graph that it runs has no plan.
    Called(NoPlan),
}

/// A node with all that is known of its operands.
pub(crate) fn site<'a>(
    model: &'a Model,
    id: GraphId,
    node: NodeId,
    facts: &[Facts],
    mode: Mode,
    shared: &'a Shared,
) -> Result<Site<'a>, NoSite> {
    let graph = &model.graphs[id.0 as usize];
    let node = &graph[node];
    if let Op::Custom(op) = &node.op {
        let reason = format!("there is no kernel for the custom operator '{}'", op.name);
        return Err(NoSite::Refused(Refusal(reason)));
    }
    let operand = |id: TensorId| operand(model, &graph[id], &facts[id.index()]);
    let inputs = node.inputs.iter().map(|id| id.map(operand).transpose()).collect::<Result<_, _>>()?;
    let outputs = node.outputs.iter().map(|id| operand(*id)).collect::<Result<_, _>>()?;
    let mut called = Vec::new();
    for (id, arguments) in call_arguments(model, node, facts).map_err(|error| NoSite::Called(error.into()))? {
        let plan = make_called(model, id, &arguments, shared).map_err(NoSite::Called)?;
        let Graph { inputs, outputs, .. } = &model.graphs[id.0 as usize];
        let passes = inputs.iter().enumerate().map(|(place, input)| outputs.get(place) == Some(input));
        called.push(Called { plan: Arc::new(plan), passes: passes.collect() });
    }
    let Shared { isa, packed, scratch, .. } = shared;
    Ok(Site { node, graph: id, inputs, outputs, called, mode, isa: *isa, packed, scratch })
}

fn operand<'a>(model: &'a Model, tensor: &'a Tensor, facts: &Facts) -> Result<Operand<'a>, NoSite> {
    let Facts { dtype, shape, .. } = facts;
    let refuse = |reason: String| Err(NoSite::Refused(Refusal(reason)));
    if tensor.sparsity.is_some() {
        return refuse(format!("constant '{}' is stored sparsely, which is not supported", tensor.name));
    }
    let Some(sizes) = shape.to_fixed() else { return Err(NoSite::Computed) };
    // Strides are computed of empty tensors too.
    let strides = sizes.iter().try_fold(1isize, |n, size| n.checked_mul(isize::try_from(*size).ok()?.max(1)));
    let (Some(elements), Some(_)) = (shape.elements(), strides) else {
        return refuse(format!("'{}' of shape {shape} is too large", tensor.name));
    };
    let state = if let TensorKind::State(id) = tensor.kind { Some(id) } else { None };
    Ok(Operand {
        dtype: *dtype,
        shape: sizes,
        elements,
        quantization: tensor.quantization.as_ref(),
        data: model.data(tensor),
        value: facts.integers(),
        state,
    })
}
