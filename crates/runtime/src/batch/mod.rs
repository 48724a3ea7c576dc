//! How inputs of certain shapes are run: by one plan for all samples or, where these are independent, by
//! plans for fewer, one for each part of the graph, which go over the batch slice by slice. What lies between
//! parts is kept for the whole batch.

mod flow;
mod independent;
mod slices;

use std::collections::HashMap;
use std::ops::Range;

use litesmith_graph::{DType, Dim, Facts, Graph, Model, TensorId};

use crate::array::Array;
use crate::bind::Machine;
use crate::error::RuntimeError;
use crate::plan::{self, Life, Mode, NoPlan, Plan, Shared, enter, place};
use crate::states::States;
use flow::{Cut, Flow, bytes};
use independent::Parts;
use slices::{Span, choose};

/// Plans for inputs of certain shapes.
pub(crate) struct Batch {
    /// Parts of equal size that inputs and outputs are made of: samples, or everything as one.
    samples: usize,
    stages: Vec<Stage>,
    outputs: Vec<Whole>,
    /// Bytes in which the plans work, one after the other.
    room: usize,
    /// The same with what lies between stages behind it.
    pub arena: usize,
}

/// A part of the graph, with the same number of samples at a time.
struct Stage {
    /// The node that its plans count from.
    first: usize,
    /// Where the inputs and outputs of its plans lie.
    inputs: Vec<Home>,
    outputs: Vec<Home>,
    /// A plan for all slices but the last and, if that is smaller, one for it.
    plans: Vec<Planned>,
}

/// A plan for a number of samples.
struct Planned {
    samples: usize,
    plan: Plan,
}

/// Where all samples of a tensor lie.
enum Home {
    /// In the array of an input of the graph, or of an output.
    Array(usize),
    /// Behind the plans' memory, in the plans' form.
    Between(Range<usize>),
}

/// An output of a whole batch.
struct Whole {
    dtype: DType,
    shape: Vec<usize>,
    bytes: usize,
}

/// A point in a run: which of [`Batch::parts`] is run, and how many of its steps are done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Moment {
    pub part: usize,
    pub done: usize,
}

/// One of the plans of a batch.
pub(crate) struct Part<'a> {
    pub plan: &'a Plan,
    /// The node of the graph that the plan's first one is.
    pub first: usize,
    /// How often it is run.
    pub runs: usize,
}

/// What is told while a batch runs, with what the plan's memory holds.
pub(crate) type Watch<'a> = &'a mut dyn FnMut(Moment, &Plan, &[u8]);

impl Batch {
    /// Plans the main graph of a prepared model for inputs of these shapes, with which this is known of its
    /// tensors. `order` lists the activations that `Mode::Observe` is to show, which one plan then computes.
    pub(crate) fn make(
        model: &Model,
        shapes: &[Vec<usize>],
        facts: &[Facts],
        mode: Mode,
        order: &[TensorId],
        shared: &Shared,
    ) -> Result<Batch, NoPlan> {
        if mode == Mode::Inference
            && let Some(samples) = samples(model.main(), shapes)
            && let Some(spans) = spans(model, shapes, facts, samples, shared.pool.threads())
        {
            return Batch::in_stages(model, shapes, facts, samples, &spans, shared);
        }
        let plan = plan::make(model, facts, mode, order, shared)?;
        let graph = model.main();
        let (room, outputs) = (plan.arena, outputs(graph, facts, shared)?);
        let stage = Stage {
            first: 0,
            inputs: (0..graph.inputs.len()).map(Home::Array).collect(),
            outputs: (0..graph.outputs.len()).map(Home::Array).collect(),
            plans: vec![Planned { samples: 1, plan }],
        };
        Ok(Batch { samples: 1, stages: vec![stage], outputs, room, arena: room })
    }

    fn in_stages(
        model: &Model,
        shapes: &[Vec<usize>],
        facts: &[Facts],
        samples: usize,
        spans: &[Span],
        shared: &Shared,
    ) -> Result<Batch, NoPlan> {
        let graph = model.main();
        let too_large = || shared.no_memory("the arena of activations", usize::MAX);
        let cuts = Flow::new(graph, facts).cut(spans);
        let mut stages = Vec::with_capacity(spans.len());
        for (cut, span) in cuts.iter().zip(spans) {
            let part = part_of(model, cut);
            let sizes = [span.size, samples % span.size].into_iter().filter(|size| *size > 0);
            let of_size = |size: usize| {
                let facts = plan::facts(model, &resized(shapes, size))?;
                let plan = plan::make(&part, &facts, Mode::Inference, &[], shared)?;
                Ok(Planned { samples: size, plan })
            };
            stages.push(sizes.map(of_size).collect::<Result<Vec<Planned>, NoPlan>>()?);
        }
        let room = stages.iter().flatten().map(|sized| sized.plan.arena).max().unwrap_or(0);
        let kept = Kept::new(&cuts, facts, room).ok_or_else(too_large)?;
        if shared.max_memory.is_some_and(|limit| kept.end > limit) {
            return Err(shared.no_memory("the arena of activations", kept.end).into());
        }
        let stage = |(cut, plans): (&Cut, Vec<Planned>)| {
            let input = |id: &TensorId| graph.inputs.iter().position(|input| input == id).map(Home::Array);
            let between = |id: &TensorId| kept.ranges.get(id).cloned().map(Home::Between);
            let inputs = cut.inputs.iter().map(input).chain(cut.received.iter().map(between));
            let outputs = cut.outputs.iter().map(|place| Some(Home::Array(*place)));
            let outputs = outputs.chain(cut.sent.iter().map(between));
            let (inputs, outputs) = (inputs.collect::<Option<_>>()?, outputs.collect::<Option<_>>()?);
            Some(Stage { first: cut.nodes.start, inputs, outputs, plans })
        };
        let stages = cuts.iter().zip(stages).map(stage).collect::<Option<_>>().ok_or_else(too_large)?;
        Ok(Batch { samples, stages, outputs: outputs(graph, facts, shared)?, room, arena: kept.end })
    }

    /// The plans in the order in which they are first run.
    pub(crate) fn parts(&self) -> Vec<Part<'_>> {
        let mut parts = Vec::new();
        for stage in &self.stages {
            let mut rest = self.samples;
            for Planned { samples, plan } in &stage.plans {
                parts.push(Part { plan, first: stage.first, runs: rest / samples });
                rest %= samples;
            }
        }
        parts
    }

    /// Computes the outputs, working in `arena`, and tells what is done.
    pub(crate) fn run(
        &self,
        inputs: &[Array],
        machine: Machine<'_>,
        arena: &mut [u8],
        states: &mut States,
        watch: Watch<'_>,
    ) -> Result<Vec<Array>, RuntimeError> {
        let empty = |output: &Whole| Array {
            dtype: output.dtype,
            shape: output.shape.clone(),
            data: vec![0; output.bytes],
        };
        let mut outputs: Vec<Array> = self.outputs.iter().map(empty).collect();
        let (room, between) = arena.split_at_mut(self.room);
        let mut first = 0;
        for stage in &self.stages {
            let mut start = 0;
            for (index, Planned { samples, plan }) in stage.plans.iter().enumerate() {
                while start + samples <= self.samples {
                    let slice = start..start + samples;
                    self.read(stage, plan, &slice, inputs, between, room);
                    let now = |done| Moment { part: first + index, done };
                    watch(now(0), plan, room);
                    for step in 0..plan.steps.len() {
                        plan.run_step(step, machine, room, states, &[])?;
                        watch(now(step + 1), plan, room);
                    }
                    self.write(stage, plan, &slice, room, between, &mut outputs);
                    start = slice.end;
                }
            }
            first += stage.plans.len();
        }
        Ok(outputs)
    }

    /// Brings a slice of what a stage reads into its plan's memory.
    fn read(
        &self,
        stage: &Stage,
        plan: &Plan,
        slice: &Range<usize>,
        inputs: &[Array],
        between: &[u8],
        room: &mut [u8],
    ) {
        for (home, place) in stage.inputs.iter().zip(&plan.inputs) {
            let Some(place) = place else { continue };
            let to = &mut room[place.clone()];
            match home {
                Home::Array(index) => {
                    let all = &inputs[*index];
                    enter(all.dtype, &all.data[self.bytes_of(slice, all.data.len())], to);
                }
                Home::Between(range) => {
                    to.copy_from_slice(&between[range.clone()][self.bytes_of(slice, range.len())]);
                }
            }
        }
    }

    /// Brings a slice of what a stage gives to where all of it lies.
    fn write(
        &self,
        stage: &Stage,
        plan: &Plan,
        slice: &Range<usize>,
        room: &[u8],
        between: &mut [u8],
        outputs: &mut [Array],
    ) {
        for (home, value) in stage.outputs.iter().zip(&plan.outputs) {
            let from = value.bytes(room);
            match home {
                Home::Array(index) => {
                    let all = &mut outputs[*index];
                    let own = self.bytes_of(slice, all.data.len());
                    enter(all.dtype, from, &mut all.data[own]);
                }
                Home::Between(range) => {
                    between[range.clone()][self.bytes_of(slice, range.len())].copy_from_slice(from);
                }
            }
        }
    }

    /// Where samples lie in a tensor of which all have so many bytes.
    fn bytes_of(&self, slice: &Range<usize>, bytes: usize) -> Range<usize> {
        let each = bytes / self.samples;
        slice.start * each..slice.end * each
    }
}

/// The number of samples, if a free first axis of all inputs says so and no other axis follows it.
fn samples(graph: &Graph, shapes: &[Vec<usize>]) -> Option<usize> {
    let mut inputs = graph.inputs.iter().map(|id| graph[*id].shape.dims());
    let first = inputs.clone().next()?.first().filter(|dim| matches!(dim, Dim::Free(_)))?;
    let stands_first = inputs.all(|dims| dims.first() == Some(first) && !dims[1..].contains(first));
    let samples = *shapes.first()?.first()?;
    (stands_first && samples > 1).then_some(samples)
}

/// How the nodes of a graph are to go over the samples; `None` for all of these at once.
fn spans(
    model: &Model,
    shapes: &[Vec<usize>],
    facts: &[Facts],
    samples: usize,
    threads: usize,
) -> Option<Vec<Span>> {
    let graph = model.main();
    let spans = choose(&Flow::new(graph, facts).traffic(samples), samples, threads);
    let mut sizes: Vec<usize> = spans.iter().flat_map(|span| [span.size, samples % span.size]).collect();
    sizes.sort_unstable();
    sizes.dedup();
    let independent = |size: usize| {
        let part = plan::facts(model, &resized(shapes, size));
        part.is_ok_and(|part| Parts { graph, whole: facts, part: &part, samples, size }.are_independent())
    };
    let smaller = |size: &usize| (1..samples).contains(size);
    let cut =
        sizes.iter().any(smaller) && sizes.iter().filter(|size| smaller(size)).all(|size| independent(*size));
    cut.then_some(spans)
}

/// The same shapes with another size of the first axis.
fn resized(shapes: &[Vec<usize>], size: usize) -> Vec<Vec<usize>> {
    let resize = |shape: &Vec<usize>| [&[size], shape.get(1..).unwrap_or_default()].concat();
    shapes.iter().map(resize).collect()
}

/// A model whose main graph has only these nodes; all ids stay.
fn part_of(model: &Model, cut: &Cut) -> Model {
    let graph = model.main();
    let outputs = cut.outputs.iter().map(|place| graph.outputs[*place]);
    let part = Graph {
        name: graph.name.clone(),
        tensors: graph.tensors.clone(),
        nodes: graph.nodes[cut.nodes.clone()].to_vec().into(),
        inputs: [cut.inputs.as_slice(), &cut.received].concat(),
        outputs: outputs.chain(cut.sent.iter().copied()).collect(),
    };
    Model { graphs: vec![part], parameters: model.parameters.clone(), ..Model::default() }
}

/// Where tensors between stages are kept.
struct Kept {
    ranges: HashMap<TensorId, Range<usize>>,
    /// Bytes of the arena with them.
    end: usize,
}

impl Kept {
    /// Places behind `room` bytes; `None` where they would be too large.
    fn new(cuts: &[Cut], facts: &[Facts], room: usize) -> Option<Kept> {
        let (mut ids, mut lives) = (Vec::new(), Vec::new());
        for (stage, cut) in cuts.iter().enumerate() {
            for id in &cut.sent {
                let last = cuts.iter().rposition(|cut| cut.received.contains(id))?;
                ids.push(*id);
                lives.push(Life { bytes: bytes(&facts[id.index()])?, first: stage, last });
            }
        }
        let (offsets, total) = place(&lives)?;
        let range = |(offset, life): (usize, &Life)| offset..offset + life.bytes;
        let ranges = offsets.into_iter().zip(&lives).map(range);
        Some(Kept { ranges: ids.into_iter().zip(ranges).collect(), end: room.checked_add(total)? })
    }
}

/// The outputs of the graph for all samples.
fn outputs(graph: &Graph, facts: &[Facts], shared: &Shared) -> Result<Vec<Whole>, RuntimeError> {
    let output = |id: &TensorId| {
        let facts = &facts[id.index()];
        let too_large = || shared.no_memory(&format!("output '{}'", graph[*id].name), usize::MAX);
        let shape = facts.shape.to_fixed().ok_or_else(too_large)?;
        Ok(Whole { dtype: facts.dtype, shape, bytes: bytes(facts).ok_or_else(too_large)? })
    };
    graph.outputs.iter().map(output).collect()
}
