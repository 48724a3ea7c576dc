//! Plans: what is to be done, and where everything lies, for given shapes of the inputs.

mod drafting;
mod layout;
mod operands;
mod place;

use std::cell::RefCell;
use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use litesmith_graph::{
    DType, Data, Facts, Graph, GraphId, Model, ModelError, NodeId, Op, Shape, TensorId, TensorKind,
    infer_shapes,
};
use litesmith_kernels::Isa;

use crate::bind::{Machine, Operand, Packed, Site, Work, bind};
use crate::error::{Refusal, RuntimeError, Unsupported};
use drafting::Drafting;
use layout::Layout;
pub(crate) use operands::{Io, Source, Stored, enter};

/// What a plan is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Only the outputs are wanted.
    Inference,
    /// Every activation is looked at once it is computed.
    Observe,
}

/// What the plans of one interpreter share.
pub(crate) struct Shared {
    /// The instruction set to bind for.
    pub isa: Isa,
    /// Most bytes of an arena.
    pub max_memory: Option<usize>,
    /// Packed weights.
    pub packed: Packed,
    /// Fixed tensors that steps read, in the plan's form.
    pub stored: RefCell<HashMap<TensorId, Arc<Stored>>>,
}

/// Steps over an arena.
pub(crate) struct Plan {
    /// In order of execution.
    pub steps: Vec<Step>,
    /// Where each input is to be written; `None` where nobody reads it.
    pub inputs: Vec<Option<Range<usize>>>,
    /// Where each output is found, with its type and shape.
    pub outputs: Vec<Value>,
    /// Every activation in the order in which they become ready (`Mode::Observe` only).
    pub values: Vec<Value>,
    /// Bytes of the arena.
    pub arena: usize,
}

/// One call of a kernel.
pub(crate) struct Step {
    /// Index of the node in the planned graph.
    pub node: usize,
    /// Multiply-accumulates of the node, if this is its first step.
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

impl Step {
    /// Runs the kernel.
    pub(crate) fn run(
        &self,
        machine: Machine<'_>,
        arena: &mut [u8],
        graph: &Graph,
    ) -> Result<(), RuntimeError> {
        let io = Io::new(arena, &self.sources, &self.output, &self.scratch, self.in_place);
        (self.work)(machine, io).map_err(|fault| {
            let node = &graph.nodes[self.node];
            let (node, operator) = (node.name.clone(), node.op.name().to_owned());
            RuntimeError::Step { node, operator, reason: fault.0 }
        })
    }
}

impl Value {
    /// Its bytes, in the plan's form.
    pub(crate) fn bytes<'a>(&'a self, arena: &'a [u8]) -> &'a [u8] {
        match &self.source {
            Source::Arena(range) => &arena[range.clone()],
            Source::Fixed(stored) => stored.bytes(),
            Source::Absent => &[],
        }
    }
}

impl Shared {
    /// A fixed tensor in the plan's form, converted the first time.
    fn stored(&self, id: TensorId, dtype: DType, data: &Data) -> Result<Arc<Stored>, RuntimeError> {
        if let Some(stored) = self.stored.borrow().get(&id) {
            return Ok(Arc::clone(stored));
        }
        let stored =
            Arc::new(Stored::new(data, dtype).ok_or_else(|| self.no_memory("a constant", data.len()))?);
        self.stored.borrow_mut().insert(id, Arc::clone(&stored));
        Ok(stored)
    }

    fn no_memory(&self, what: &str, needed: usize) -> RuntimeError {
        RuntimeError::Resource { what: what.to_owned(), needed, limit: self.max_memory }
    }
}

/// Plans the main graph of a prepared model for inputs of these shapes. `order` lists the
/// activations that `Mode::Observe` is to show.
pub(crate) fn make(
    model: &Model,
    shapes: &[Vec<usize>],
    mode: Mode,
    order: &[TensorId],
    shared: &Shared,
) -> Result<Plan, RuntimeError> {
    let shapes: Vec<Shape> = shapes.iter().map(|shape| Shape::fixed(shape)).collect();
    let facts = infer_shapes(model, GraphId(0), Some(&shapes)).map_err(input_error)?;
    let graph = model.main();
    let needed = needed(graph, &facts, mode);
    let mut layout = Layout::new(graph.tensors.len());
    for input in graph.inputs.iter().filter(|input| needed[input.index()]) {
        layout.add_input(*input, bytes_of(graph, *input, &facts)?);
    }
    for id in graph.tensor_ids().filter(|id| needed[id.index()]) {
        if let Some(data) = model.data(&graph[id]) {
            layout.add_fixed(id, shared.stored(id, graph[id].dtype, data)?);
        } else if let Some(data) = known(&facts[id.index()]) {
            let stored = Stored::new(&data, facts[id.index()].dtype);
            layout.add_fixed(id, Arc::new(stored.ok_or_else(|| shared.no_memory("a shape", data.len()))?));
        }
    }
    let mut drafting = Drafting::new(graph, &facts, mode, layout);
    let mut unsupported = Vec::new();
    for (index, node) in graph.nodes.iter().enumerate() {
        let computed = |id: &TensorId| needed[id.index()] && !drafting.layout.is_fixed(*id);
        if !node.outputs.iter().any(computed) {
            continue;
        }
        let bound = site(model, NodeId(index as u32), &facts, shared).and_then(|site| bind(&site));
        match bound {
            Ok(bound) => drafting.add(index, bound)?,
            Err(Refusal(reason)) => {
                let (node, operator) = (node.name.clone(), node.op.name().to_owned());
                unsupported.push(Unsupported { node, operator, reason });
            }
        }
    }
    if !unsupported.is_empty() {
        return Err(RuntimeError::Unsupported(unsupported));
    }
    let order = if mode == Mode::Observe { order } else { &[] };
    let plan = drafting.finish()?.finish(graph, &facts, order);
    let plan = plan.ok_or_else(|| shared.no_memory("the arena", usize::MAX))?;
    match shared.max_memory {
        Some(limit) if plan.arena > limit => Err(shared.no_memory("the arena of activations", plan.arena)),
        _ => Ok(plan),
    }
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
fn known(facts: &Facts) -> Option<Data> {
    let integers = facts.integers()?;
    match facts.dtype {
        DType::I32 => {
            Some(Data::from_vec(integers.into_iter().map(|value| value as i32).collect::<Vec<_>>()))
        }
        DType::I64 => Some(Data::from_vec(integers)),
        _ => None,
    }
}

/// Which tensors must be there: those that outputs are computed from, or all.
fn needed(graph: &Graph, facts: &[Facts], mode: Mode) -> Vec<bool> {
    if mode == Mode::Observe {
        return vec![true; graph.tensors.len()];
    }
    let mut needed = vec![false; graph.tensors.len()];
    for output in &graph.outputs {
        needed[output.index()] = true;
    }
    for node in graph.nodes.iter().rev() {
        let computed = |id: &TensorId| needed[id.index()] && known(&facts[id.index()]).is_none();
        if !node.outputs.iter().any(computed) {
            continue;
        }
        for (index, input) in node.inputs.iter().enumerate() {
            if let Some(input) = input
                && reads(&node.op, index)
            {
                needed[input.index()] = true;
            }
        }
    }
    needed
}

/// Whether the elements of this input are looked at when the shapes are known.
fn reads(op: &Op, input: usize) -> bool {
    match op {
        Op::ShapeOf(_) => false,
        Op::Reshape(_) => input == 0,
        Op::Fill(_) => input == 1,
        _ => true,
    }
}

/// A node with all that is known of its operands.
pub(crate) fn site<'a>(
    model: &'a Model,
    node: NodeId,
    facts: &[Facts],
    shared: &'a Shared,
) -> Result<Site<'a>, Refusal> {
    let graph = model.main();
    let operand = |id: TensorId| {
        let (tensor, Facts { dtype, shape, .. }) = (&graph[id], &facts[id.index()]);
        if let TensorKind::State(_) = tensor.kind {
            return Err(Refusal("variables that survive a run are not supported yet".into()));
        }
        if tensor.sparsity.is_some() {
            return Err(Refusal(format!(
                "constant '{}' is stored sparsely, which is not supported",
                tensor.name
            )));
        }
        let (Some(sizes), Some(elements)) = (shape.to_fixed(), shape.elements()) else {
            return Err(Refusal(format!(
                "the shape {shape} of '{}' depends on computed values",
                tensor.name
            )));
        };
        // Strides are computed of empty tensors too.
        if sizes
            .iter()
            .try_fold(1isize, |n, size| n.checked_mul(isize::try_from(*size).ok()?.max(1)))
            .is_none()
        {
            return Err(Refusal(format!("'{}' of shape {shape} is too large", tensor.name)));
        }
        let quantization = tensor.quantization.as_ref();
        Ok(Operand { dtype: *dtype, shape: sizes, elements, quantization, data: model.data(tensor) })
    };
    let index = node.index();
    let node = &graph[node];
    let inputs = node.inputs.iter().map(|id| id.map(operand).transpose()).collect::<Result<_, _>>()?;
    let outputs = node.outputs.iter().map(|id| operand(*id)).collect::<Result<_, _>>()?;
    Ok(Site { node, index, inputs, outputs, isa: shared.isa, packed: &shared.packed })
}
