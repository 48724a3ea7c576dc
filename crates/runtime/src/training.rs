//! Steps of training: a graph whose weights change from run to run, and whose backward half begins
//! with what the caller makes of the outputs of its forward half.

use std::fmt;
use std::ops::Range;
use std::time::Instant;

use litesmith_graph::{GraphId, Model, infer_shapes, validate};
use litesmith_kernels::ThreadPool;

use crate::array::{Array, TensorView};
use crate::bind::Machine;
use crate::buffer::Buffer;
use crate::error::RuntimeError;
use crate::options::{Interrupt, Options};
use crate::plan::{self, Mode, NoPlan, Plan, Shared, enter};
use crate::states::States;

/// Which inputs and outputs of a graph are what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Roles {
    /// So many inputs, the first ones, are given for each step.
    pub given: usize,
    /// So many inputs behind them are the loss' gradients with respect to as many outputs, the first
    /// ones, of which they have the types and shapes. The other inputs are variables.
    pub seeds: usize,
}

/// Runs a graph of fixed shapes once for each step of training.
pub struct Training {
    plan: Plan,
    shared: Shared,
    roles: Roles,
    /// What each input takes.
    inputs: Vec<String>,
    /// Number of steps behind which all seeded outputs are there.
    forward: usize,
    arena: Buffer,
    states: States,
    interrupt: Interrupt,
    /// What each step has taken so far.
    seconds: Vec<f64>,
}

impl Training {
    /// Plans the main graph of a model, whose shapes are all fixed. Nodes of the backward half stand
    /// behind those that seeded outputs come from.
    ///
    /// # Errors
    /// If the model is broken or has a shape that is not fixed, an operator has no kernel (all of them
    /// are listed), an option cannot be used, or memory does not suffice.
    pub fn new(model: &Model, roles: Roles, options: &Options) -> Result<Training, RuntimeError> {
        validate(model)?;
        let shared = Shared {
            isa: options.isa()?,
            pool: ThreadPool::new(options.threads()?),
            max_memory: options.max_memory,
            packed: Default::default(),
            scratch: Default::default(),
            stored: Default::default(),
        };
        let graph = model.main();
        let unfixed = graph.inputs.iter().find(|input| graph[**input].shape.to_fixed().is_none());
        if let Some(input) = unfixed {
            let reason = format!("input '{}' has the shape {}", graph[*input].name, graph[*input].shape);
            return Err(RuntimeError::Setting(format!("a step of training has fixed shapes, {reason}")));
        }
        let shapes: Vec<Vec<usize>> =
            graph.inputs.iter().filter_map(|input| graph[*input].shape.to_fixed()).collect();
        let interrupt = options.interrupt.clone();
        let mode = Mode::Train(roles.given + roles.seeds);
        let facts = infer_shapes(model, GraphId(0), None)?;
        let plan = plan::make(model, &facts, mode, &[], &shared).map_err(|problem| match problem {
            NoPlan::Error(error) => error,
            NoPlan::Computed => RuntimeError::Setting("a shape depends on a computed value".into()),
        })?;
        let forward = plan.outputs[..roles.seeds].iter().map(|output| output.ready).max().unwrap_or(0);
        let no_memory = || shared.no_memory("the arena of activations", plan.arena);
        let arena = Buffer::zeroed(plan.arena).ok_or_else(no_memory)?;
        let inputs = graph.inputs.iter().zip(&shapes);
        let inputs = inputs.map(|(id, shape)| format!("'{}' {}{shape:?}", graph[*id].name, graph[*id].dtype));
        let states = States::new(model, options.max_memory)?;
        let (inputs, seconds) = (inputs.collect(), vec![0.0; plan.steps.len()]);
        Ok(Training { inputs, plan, shared, roles, forward, arena, states, interrupt, seconds })
    }

    /// The threads that steps run on.
    #[must_use]
    pub fn pool(&self) -> &ThreadPool {
        &self.shared.pool
    }

    /// The instruction set that kernels are chosen for.
    #[must_use]
    pub fn isa(&self) -> litesmith_kernels::Isa {
        self.shared.isa
    }

    /// Bytes that activations take.
    #[must_use]
    pub fn arena_bytes(&self) -> usize {
        self.arena.len()
    }

    /// Runs the forward half of a step, from inputs and variables, in order. Variables are the bytes of
    /// their elements, aligned for their type.
    ///
    /// # Errors
    /// If something given has another size than it must, or a node meets values that it cannot compute
    /// with.
    pub fn forward(&mut self, inputs: &[Array], variables: &[&[u8]]) -> Result<(), RuntimeError> {
        self.write(0, inputs, self.roles.given)?;
        self.check_variables(variables)?;
        self.run(0..self.forward, variables)
    }

    /// A seeded output, by index, behind [`Training::forward`].
    ///
    /// # Panics
    /// If there are fewer.
    #[must_use]
    pub fn prediction(&self, index: usize) -> TensorView<'_> {
        view(&self.plan.outputs[..self.roles.seeds][index], self.arena.bytes())
    }

    /// Runs the backward half of a step, behind [`Training::forward`] with the same variables, from the
    /// loss' gradients with respect to the seeded outputs.
    ///
    /// # Errors
    /// As [`Training::forward`].
    pub fn backward(&mut self, seeds: &[Array], variables: &[&[u8]]) -> Result<(), RuntimeError> {
        self.write(self.roles.given, seeds, self.roles.seeds)?;
        self.check_variables(variables)?;
        self.run(self.forward..self.plan.steps.len(), variables)
    }

    /// An output that is not seeded, by index, behind [`Training::backward`].
    ///
    /// # Panics
    /// If there are fewer.
    #[must_use]
    pub fn result(&self, index: usize) -> TensorView<'_> {
        view(&self.plan.outputs[self.roles.seeds..][index], self.arena.bytes())
    }

    /// Seconds that each step of the plan has taken so far, with the name of its node and its operator.
    pub fn times(&self) -> impl Iterator<Item = (String, &'static str, f64)> + '_ {
        self.plan.steps.iter().zip(&self.seconds).map(|(step, seconds)| {
            let (node, operator) = self.plan.name(step);
            (node, operator, *seconds)
        })
    }

    fn run(&mut self, steps: Range<usize>, variables: &[&[u8]]) -> Result<(), RuntimeError> {
        let machine = Machine { isa: self.shared.isa, pool: &self.shared.pool, interrupt: &self.interrupt };
        for step in steps {
            let start = Instant::now();
            self.plan.run_step(step, machine, self.arena.bytes_mut(), &mut self.states, variables)?;
            self.seconds[step] += start.elapsed().as_secs_f64();
        }
        Ok(())
    }

    /// Writes as many inputs as there should be, from the `first` one on.
    fn write(&mut self, first: usize, arrays: &[Array], count: usize) -> Result<(), RuntimeError> {
        if arrays.len() != count {
            let names = self.inputs[first..first + count].join(", ");
            return Err(RuntimeError::InputCount { expected: count, names, got: arrays.len() });
        }
        for (index, array) in arrays.iter().enumerate() {
            let Some(range) = &self.plan.inputs[first + index] else { continue };
            if range.len() != array.data.len() {
                let got = format!("{}{:?} in {} bytes", array.dtype, array.shape, array.data.len());
                return Err(self.misfit(first + index, got));
            }
            enter(array.dtype, &array.data, &mut self.arena.bytes_mut()[range.clone()]);
        }
        Ok(())
    }

    fn check_variables(&self, variables: &[&[u8]]) -> Result<(), RuntimeError> {
        let first = self.roles.given + self.roles.seeds;
        let expected = self.inputs.len() - first;
        if variables.len() != expected {
            let names = self.inputs[first..].join(", ");
            return Err(RuntimeError::InputCount { expected, names, got: variables.len() });
        }
        let sizes = self.plan.variables.iter().zip(variables).enumerate();
        for (index, (size, variable)) in sizes {
            let aligned = variable.as_ptr().addr().is_multiple_of(size_of::<f64>()) || variable.is_empty();
            if *size != variable.len() || !aligned {
                return Err(self.misfit(first + index, format!("{} bytes", variable.len())));
            }
        }
        Ok(())
    }

    fn misfit(&self, input: usize, got: impl fmt::Display) -> RuntimeError {
        let (name, expected) = (format!("{input}"), self.inputs[input].clone());
        RuntimeError::Input { name, expected, got: got.to_string() }
    }
}

fn view<'a>(value: &'a plan::Value, arena: &'a [u8]) -> TensorView<'a> {
    TensorView { dtype: value.dtype, shape: &value.shape, data: value.bytes(arena) }
}
