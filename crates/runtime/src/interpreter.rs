use std::collections::HashMap;

use litesmith_graph::{
    DType, Dim, Facts, GraphId, Model, Quantization, Shape, TensorId, infer_shapes, validate_structure,
};
use litesmith_kernels::peak::{Products, peak};
use litesmith_kernels::{Isa, ThreadPool};

use crate::array::{Array, TensorView};
use crate::batch::{self, Batch, Moment};
use crate::bind::Machine;
use crate::buffer::Buffer;
use crate::eager::{CalledPlans, Computed, Eager, Watch};
use crate::error::RuntimeError;
use crate::fuse::fuse;
use crate::options::{Interrupt, Options};
use crate::plan::{Mode, NoPlan, Plan, Shared, enter, facts};
use crate::prepare;
use crate::profile::{StepTime, Times};
use crate::states::States;

/// Most plans that are kept; the one not used for longest goes.
const MOST_PLANS: usize = 8;

/// An input or output of a model.
#[derive(Clone, Debug, PartialEq)]
pub struct TensorInfo {
    /// Its name.
    pub name: String,
    /// Its tensor in the main graph.
    pub tensor: TensorId,
    /// Type of its elements.
    pub dtype: DType,
    /// Its shape.
    pub shape: Shape,
    /// How its integers stand for real numbers, if they do.
    pub quantization: Option<Quantization>,
}

/// Runs the main graph of a model. States of the model live in it: they keep their values from run to
/// run, until [`Interpreter::reset_states`].
pub struct Interpreter {
    inputs: Vec<TensorInfo>,
    outputs: Vec<TensorInfo>,
    /// Inputs, then the outputs of every node, in order: what `observe` shows.
    activations: Vec<TensorId>,
    /// The model with constants folded: what `observe` runs.
    folded: Model,
    /// The same, fused: what `run` runs.
    fused: Model,
    shared: Shared,
    /// The last one used first.
    plans: Vec<CachedPlan>,
    /// Plans of graphs that are called where the main graph is run node by node.
    called: CalledPlans,
    arena: Buffer,
    states: States,
    interrupt: Interrupt,
}

struct CachedPlan {
    mode: Mode,
    shapes: Vec<Vec<usize>>,
    /// `None` where the graph is run node by node, because its shapes depend on computed values.
    batch: Option<Batch>,
}

impl Interpreter {
    /// Prepares a model: checks it, runs what depends on constants alone, packs weights and, where
    /// shapes can be told or guessed (a batch of 1), binds every operator.
    ///
    /// # Errors
    /// If the model is broken, an operator has no kernel (all of them are listed), an option cannot
    /// be used, or memory does not suffice.
    pub fn new(model: &Model, options: &Options) -> Result<Interpreter, RuntimeError> {
        let mut interpreter = Interpreter::unplanned(model, options)?;
        if let Some((shapes, facts)) = prepare::trial_shapes(&interpreter.fused) {
            interpreter.add_plan(Mode::Inference, shapes, &facts)?;
        }
        Ok(interpreter)
    }

    /// As [`Interpreter::new`], but weights are packed and operators bound only when the model runs: memory
    /// that they were read from can be given back before.
    ///
    /// # Errors
    /// As [`Interpreter::new`]; operators without kernel are an error of the first run.
    pub fn unplanned(model: &Model, options: &Options) -> Result<Interpreter, RuntimeError> {
        // Shapes are inferred once the model is folded.
        validate_structure(model)?;
        let isa = options.isa()?;
        let shared = Shared {
            isa,
            pool: ThreadPool::new(options.threads()?),
            max_memory: options.max_memory,
            packed: Default::default(),
            scratch: Default::default(),
            stored: Default::default(),
        };
        let interrupt = options.interrupt.clone();
        let states = States::new(model, options.max_memory)?;
        let machine = Machine { isa, pool: &shared.pool, interrupt: &interrupt };
        let folded = prepare::fold(model, machine, &shared)?;
        let facts = infer_shapes(&folded, GraphId(0), None)?;
        let mut fused = folded.clone();
        fuse(&mut fused, &facts);
        let graph = model.main();
        let info = |id: &TensorId| TensorInfo {
            name: graph[*id].name.clone(),
            tensor: *id,
            dtype: facts[id.index()].dtype,
            shape: facts[id.index()].shape.clone(),
            quantization: graph[*id].quantization.clone(),
        };
        let computed = graph.nodes.iter().flat_map(|node| &node.outputs);
        Ok(Interpreter {
            inputs: graph.inputs.iter().map(info).collect(),
            outputs: graph.outputs.iter().map(info).collect(),
            activations: graph.inputs.iter().chain(computed).copied().collect(),
            folded,
            fused,
            shared,
            plans: Vec::new(),
            called: CalledPlans::default(),
            arena: no_arena()?,
            states,
            interrupt,
        })
    }

    /// The inputs in order.
    #[must_use]
    pub fn inputs(&self) -> &[TensorInfo] {
        &self.inputs
    }

    /// The outputs in order.
    #[must_use]
    pub fn outputs(&self) -> &[TensorInfo] {
        &self.outputs
    }

    /// The instruction set that kernels are chosen for.
    #[must_use]
    pub fn isa(&self) -> Isa {
        self.shared.isa
    }

    /// Number of threads, the caller's counted in.
    #[must_use]
    pub fn threads(&self) -> usize {
        self.shared.pool.threads()
    }

    /// Gives every state the value that it has before the first run.
    pub fn reset_states(&mut self) {
        self.states.reset(&self.folded);
    }

    /// Bytes that activations take.
    #[must_use]
    pub fn arena_bytes(&self) -> usize {
        self.arena.len()
    }

    /// Plans for inputs of these shapes, in order, so that the first run need not.
    ///
    /// # Errors
    /// If the shapes do not fit the model or each other, or memory does not suffice.
    pub fn prepare(&mut self, shapes: Vec<Vec<usize>>) -> Result<(), RuntimeError> {
        self.check_shapes(&shapes)?;
        self.plan(Mode::Inference, shapes)
    }

    /// Computes the outputs, in order, for inputs in order. Free dimensions take the sizes of the
    /// arrays.
    ///
    /// # Errors
    /// If an input has another type or shape than the model takes, a node cannot be run for these
    /// shapes, or a node meets values that it cannot compute with.
    pub fn run(&mut self, inputs: &[Array]) -> Result<Vec<Array>, RuntimeError> {
        self.check(inputs)?;
        self.plan(Mode::Inference, inputs.iter().map(|input| input.shape.clone()).collect())?;
        let result = if self.plans[0].batch.is_some() {
            self.run_batch(inputs, &mut |_, _, _| {})
        } else {
            self.run_by_node(Mode::Inference, inputs, &mut |_, _| {})
        };
        self.or_interrupted(result)
    }

    /// Runs the plans in front.
    fn run_batch(&mut self, inputs: &[Array], watch: batch::Watch<'_>) -> Result<Vec<Array>, RuntimeError> {
        let Some(batch) = &self.plans[0].batch else { return Ok(Vec::new()) };
        let machine = Machine { isa: self.shared.isa, pool: &self.shared.pool, interrupt: &self.interrupt };
        batch.run(inputs, machine, self.arena.bytes_mut(), &mut self.states, watch)
    }

    fn run_by_node(
        &mut self,
        mode: Mode,
        inputs: &[Array],
        watch: Watch<'_>,
    ) -> Result<Vec<Array>, RuntimeError> {
        let model = if mode == Mode::Observe { &self.folded } else { &self.fused };
        let machine = Machine { isa: self.shared.isa, pool: &self.shared.pool, interrupt: &self.interrupt };
        let enter =
            |input| Computed::of(input).ok_or_else(|| self.shared.no_memory("an input", input.data.len()));
        let inputs = inputs.iter().map(enter).collect::<Result<Vec<_>, _>>()?;
        let mut eager = Eager::new(model, mode, &self.shared, machine, &mut self.states, &mut self.called);
        let outputs = eager.run_main(inputs, watch)?;
        Ok(outputs.iter().map(Computed::array).collect())
    }

    /// The result, or that it was interrupted, which ends a loop's step with an error of its own.
    fn or_interrupted<T>(&self, result: Result<T, RuntimeError>) -> Result<T, RuntimeError> {
        result.map_err(|error| if self.interrupt.is_set() { RuntimeError::Interrupted } else { error })
    }

    /// Computes the outputs and shows every activation of the main graph, inputs included, as soon
    /// as it is there: unfused, in the model's own types and under the tensor ids of the model that
    /// this interpreter was made of. What depends on constants alone comes first.
    ///
    /// # Errors
    /// As [`Interpreter::run`].
    pub fn observe(
        &mut self,
        inputs: &[Array],
        visit: &mut dyn FnMut(TensorId, &TensorView<'_>),
    ) -> Result<Vec<Array>, RuntimeError> {
        self.check(inputs)?;
        self.plan(Mode::Observe, inputs.iter().map(|input| input.shape.clone()).collect())?;
        if self.plans[0].batch.is_none() {
            return self.observe_by_node(inputs, visit);
        }
        let mut shown = 0;
        let mut copy = Vec::new();
        let mut show = |now: Moment, plan: &Plan, arena: &[u8]| {
            while let Some(value) = plan.values.get(shown).filter(|value| value.ready <= now.done) {
                let mut data = value.bytes(arena);
                if value.dtype == DType::I8 {
                    copy.resize(data.len(), 0);
                    enter(DType::I8, data, &mut copy);
                    data = &copy;
                }
                visit(value.tensor, &TensorView { dtype: value.dtype, shape: &value.shape, data });
                shown += 1;
            }
        };
        let result = self.run_batch(inputs, &mut show);
        self.or_interrupted(result)
    }

    fn observe_by_node(
        &mut self,
        inputs: &[Array],
        visit: &mut dyn FnMut(TensorId, &TensorView<'_>),
    ) -> Result<Vec<Array>, RuntimeError> {
        let graph = self.folded.main();
        for (tensor, input) in graph.inputs.iter().zip(inputs) {
            visit(*tensor, &input.view());
        }
        for tensor in self.activations.iter().filter(|tensor| graph[**tensor].is_fixed()) {
            let (Some(data), Some(shape)) =
                (self.folded.data(&graph[*tensor]), graph[*tensor].shape.to_fixed())
            else {
                continue;
            };
            let view = TensorView { dtype: graph[*tensor].dtype, shape: &shape, data: data.bytes() };
            visit(*tensor, &view);
        }
        let mut show = |_: usize, outputs: &[(TensorId, Computed)]| {
            for (tensor, value) in outputs {
                visit(*tensor, &value.array().view());
            }
        };
        let result = self.run_by_node(Mode::Observe, inputs, &mut show);
        self.or_interrupted(result)
    }

    /// Measures how long each step takes, the mean over `runs` runs (at least one) after one that
    /// does not count. What goes over a batch in slices is counted for all of it.
    ///
    /// # Errors
    /// As [`Interpreter::run`].
    pub fn profile(&mut self, inputs: &[Array], runs: usize) -> Result<Vec<StepTime>, RuntimeError> {
        self.run(inputs)?;
        let runs = runs.max(1);
        let mut times = match &self.plans[0].batch {
            Some(batch) => Times::of_parts(&batch.parts()),
            None => Times::of_nodes(self.fused.main().nodes.len()),
        };
        for _ in 0..runs {
            times.start();
            if self.plans[0].batch.is_some() {
                self.run_batch(inputs, &mut |now, _, _| times.measure(now))?;
            } else {
                let mut measure = |node, _: &_| times.measure(Moment { part: 0, done: node + 1 });
                self.run_by_node(Mode::Inference, inputs, &mut measure)?;
            }
        }
        Ok(times.steps(self.fused.main(), runs))
    }

    /// Multiply-accumulates a second that this machine can do at most, on this interpreter's threads and
    /// instruction set; measured in some milliseconds.
    #[must_use]
    pub fn peak(&self, products: Products) -> f64 {
        peak(self.shared.isa, &self.shared.pool, products)
    }

    /// Checks types, shapes and numbers of bytes.
    fn check(&self, inputs: &[Array]) -> Result<(), RuntimeError> {
        for (info, array) in self.inputs.iter().zip(inputs) {
            let elements = array.shape.iter().try_fold(1usize, |product, size| product.checked_mul(*size));
            let bytes = elements.and_then(|elements| array.dtype.bytes(elements));
            let fits = bytes == Some(array.data.len());
            if info.dtype != array.dtype || !fits {
                let got = format!("{}{}", array.dtype, Shape::fixed(&array.shape));
                let got = if fits { got } else { format!("{got} in {} bytes", array.data.len()) };
                return Err(misfit(info, "", got));
            }
        }
        let shapes: Vec<&[usize]> = inputs.iter().map(|input| input.shape.as_slice()).collect();
        self.check_shapes(&shapes)
    }

    /// Checks the number of inputs, their ranks and sizes, and that a free dimension has one size.
    fn check_shapes(&self, shapes: &[impl AsRef<[usize]>]) -> Result<(), RuntimeError> {
        if shapes.len() != self.inputs.len() {
            let names: Vec<&str> = self.inputs.iter().map(|input| input.name.as_str()).collect();
            return Err(RuntimeError::InputCount {
                expected: self.inputs.len(),
                names: names.join(", "),
                got: shapes.len(),
            });
        }
        let mut sizes: HashMap<&str, (usize, &str)> = HashMap::new();
        for (info, shape) in self.inputs.iter().zip(shapes) {
            let got = || format!("{}{}", info.dtype, Shape::fixed(shape.as_ref()));
            if !fits(&info.shape, shape.as_ref()) {
                return Err(misfit(info, "", got()));
            }
            for (dim, size) in info.shape.dims().iter().zip(shape.as_ref()) {
                let Dim::Free(symbol) = dim else { continue };
                let (known, other) = sizes.entry(symbol.name()).or_insert((*size, &info.name));
                if known != size {
                    let name = symbol.name();
                    return Err(misfit(info, &format!(" with {name} = {known} as '{other}' has"), got()));
                }
            }
        }
        Ok(())
    }

    /// Puts the plan for these shapes in front, made the first time, and makes room for it.
    fn plan(&mut self, mode: Mode, shapes: Vec<Vec<usize>>) -> Result<(), RuntimeError> {
        let fits = |cached: &CachedPlan| cached.mode == mode && cached.shapes == shapes;
        match self.plans.iter().position(fits) {
            Some(index) => {
                self.plans[..=index].rotate_right(1);
                self.reserve_arena()
            }
            None => {
                let facts = facts(self.model(mode), &shapes)?;
                self.add_plan(mode, shapes, &facts)
            }
        }
    }

    /// Plans for inputs of these shapes, with which this is known of the tensors.
    fn add_plan(&mut self, mode: Mode, shapes: Vec<Vec<usize>>, facts: &[Facts]) -> Result<(), RuntimeError> {
        let made = Batch::make(self.model(mode), &shapes, facts, mode, &self.activations, &self.shared);
        let batch = match made {
            Ok(batch) => Some(batch),
            Err(NoPlan::Computed) => None,
            Err(NoPlan::Error(error)) => return Err(error),
        };
        self.plans.truncate(MOST_PLANS - 1);
        self.plans.insert(0, CachedPlan { mode, shapes, batch });
        self.reserve_arena()
    }

    /// The model that is planned.
    fn model(&self, mode: Mode) -> &Model {
        if mode == Mode::Observe { &self.folded } else { &self.fused }
    }

    /// Makes the arena as large as the plan in front needs it.
    fn reserve_arena(&mut self) -> Result<(), RuntimeError> {
        let needed = self.plans[0].batch.as_ref().map_or(0, |batch| batch.arena);
        if self.arena.len() < needed {
            // The old one goes first, so that both are never there.
            self.arena = no_arena()?;
            self.arena = Buffer::zeroed(needed).ok_or_else(|| no_memory(needed))?;
        }
        Ok(())
    }
}

/// Whether sizes are those of a shape, where it says any.
fn fits(shape: &Shape, sizes: &[usize]) -> bool {
    let same = |(dim, size): (&Dim, &usize)| dim.fixed().is_none_or(|own| own == *size);
    shape.rank() == sizes.len() && shape.dims().iter().zip(sizes).all(same)
}

fn misfit(info: &TensorInfo, more: &str, got: String) -> RuntimeError {
    let expected = format!("{}{}{more}", info.dtype, info.shape);
    RuntimeError::Input { name: info.name.clone(), expected, got }
}

fn no_arena() -> Result<Buffer, RuntimeError> {
    Buffer::zeroed(0).ok_or_else(|| no_memory(0))
}

fn no_memory(needed: usize) -> RuntimeError {
    RuntimeError::Resource { what: "the arena of activations".into(), needed, limit: None }
}
