//! From bound nodes to a plan: which tensors share bytes, how long each lives, where it lies.

use std::ops::Range;
use std::sync::Arc;

use litesmith_graph::{Facts, Graph, TensorId};

use super::operands::{Source, Stored};
use super::place::{Life, place};
use super::{Plan, Step, Value, grouped};
use crate::bind::{Task, Work};

/// What holds a tensor's bytes.
#[derive(Clone)]
enum Holder {
    /// Nothing yet.
    None,
    /// A block of the arena, by index.
    Block(usize),
    /// Part of a block that holds several tensors.
    Part(usize, Range<usize>),
    /// A constant.
    Fixed(Arc<Stored>),
}

/// A plan in the making. Time runs from 0, when inputs are written, over the steps, 1, 2, …, to the
/// reading of the outputs.
pub(super) struct Layout {
    holders: Vec<Holder>,
    /// For each tensor, the number of steps after which it is there.
    ready: Vec<usize>,
    blocks: Vec<Life>,
    /// For each block, the one that it lies in (itself, if none).
    parents: Vec<usize>,
    steps: Vec<Draft>,
}

struct Draft {
    nodes: Vec<usize>,
    macs: u64,
    work: Work,
    inputs: Vec<Holder>,
    output: usize,
    scratch: usize,
    in_place: bool,
}

impl Layout {
    pub(super) fn new(tensors: usize) -> Layout {
        Layout {
            holders: vec![Holder::None; tensors],
            ready: vec![0; tensors],
            blocks: Vec::new(),
            parents: Vec::new(),
            steps: Vec::new(),
        }
    }

    fn add_block(&mut self, bytes: usize, time: usize) -> usize {
        self.parents.push(self.blocks.len());
        self.blocks.push(Life { bytes, first: time, last: time });
        self.blocks.len() - 1
    }

    pub(super) fn add_input(&mut self, id: TensorId, bytes: usize) {
        self.holders[id.index()] = Holder::Block(self.add_block(bytes, 0));
    }

    pub(super) fn add_fixed(&mut self, id: TensorId, stored: Arc<Stored>) {
        self.holders[id.index()] = Holder::Fixed(stored);
    }

    pub(super) fn is_fixed(&self, id: TensorId) -> bool {
        matches!(self.holders[id.index()], Holder::Fixed(_))
    }

    /// A tensor without elements, which no step computes.
    pub(super) fn add_empty(&mut self, id: TensorId) {
        let block = self.add_block(0, self.steps.len() + 1);
        self.holders[id.index()] = Holder::Block(block);
        self.ready[id.index()] = self.steps.len();
    }

    pub(super) fn add_alias(&mut self, input: TensorId, output: TensorId) {
        self.holders[output.index()] = self.holders[input.index()].clone();
        self.ready[output.index()] = self.steps.len();
    }

    /// Adds a step that computes one tensor for these nodes.
    pub(super) fn add_step(
        &mut self,
        nodes: &[usize],
        macs: u64,
        inputs: &[Option<TensorId>],
        output: TensorId,
        bytes: usize,
        task: Task,
    ) {
        let (block, time) = self.add_draft(nodes, macs, inputs, bytes, task);
        self.holders[output.index()] = Holder::Block(block);
        self.ready[output.index()] = time;
    }

    /// Adds a step that computes several tensors, or none, in one block; `None` if it would be too
    /// large.
    pub(super) fn add_step_for_all(
        &mut self,
        nodes: &[usize],
        macs: u64,
        inputs: &[Option<TensorId>],
        outputs: &[(TensorId, usize)],
        task: Task,
    ) -> Option<()> {
        let sizes: Vec<usize> = outputs.iter().map(|(_, bytes)| *bytes).collect();
        let (places, total) = grouped(&sizes)?;
        let (block, time) = self.add_draft(nodes, macs, inputs, total, task);
        for ((output, _), place) in outputs.iter().zip(places) {
            self.holders[output.index()] = Holder::Part(block, place);
            self.ready[output.index()] = time;
        }
        Some(())
    }

    /// Adds a step that writes a block of this size; returns the block and when it is there.
    fn add_draft(
        &mut self,
        nodes: &[usize],
        macs: u64,
        inputs: &[Option<TensorId>],
        bytes: usize,
        task: Task,
    ) -> (usize, usize) {
        let time = self.steps.len() + 1;
        let holder =
            |input: &Option<TensorId>| input.map_or(Holder::None, |id| self.holders[id.index()].clone());
        let inputs: Vec<Holder> = inputs.iter().map(holder).collect();
        for input in &inputs {
            if let Holder::Block(block) | Holder::Part(block, _) = input {
                self.blocks[*block].last = time;
            }
        }
        let block = self.add_block(bytes, time);
        let scratch = self.add_block(task.scratch, time);
        let Task { work, in_place, .. } = task;
        let nodes = nodes.to_vec();
        self.steps.push(Draft { nodes, macs, work, inputs, output: block, scratch, in_place });
        (block, time)
    }

    /// The plan; `None` if the arena would be larger than can be counted. `order` lists the tensors
    /// that are to be shown.
    pub(super) fn finish(mut self, graph: &Graph, facts: &[Facts], order: &[TensorId]) -> Option<Plan> {
        let end = self.steps.len() + 1;
        for output in &graph.outputs {
            if let Holder::Block(block) | Holder::Part(block, _) = &self.holders[output.index()] {
                self.blocks[*block].last = end;
            }
        }
        self.write_in_place();
        // A block inside another takes no room of its own.
        let roots: Vec<usize> = (0..self.blocks.len()).map(|block| self.root(block)).collect();
        let own = |(index, life): (usize, &Life)| {
            if roots[index] == index { *life } else { Life { bytes: 0, ..*life } }
        };
        let lives: Vec<Life> = self.blocks.iter().enumerate().map(own).collect();
        let (offsets, arena) = place(&lives)?;
        let range = |block: usize| {
            let start = offsets[roots[block]];
            start..start + self.blocks[block].bytes
        };
        let inputs = graph.inputs.iter().map(|id| match &self.holders[id.index()] {
            Holder::Block(block) => Some(range(*block)),
            _ => None,
        });
        let inputs = inputs.collect();
        let value = |id: &TensorId| Value {
            tensor: *id,
            dtype: facts[id.index()].dtype,
            shape: facts[id.index()].shape.to_fixed().unwrap_or_default(),
            source: source(&self.holders[id.index()], &range),
            ready: self.ready[id.index()],
        };
        let outputs = graph.outputs.iter().map(value).collect();
        let mut values: Vec<Value> = order.iter().map(value).collect();
        values.sort_by_key(|value| value.ready);
        let step = |draft: Draft| Step {
            nodes: draft.nodes,
            macs: draft.macs,
            work: draft.work,
            sources: draft.inputs.iter().map(|holder| source(holder, &range)).collect(),
            output: range(draft.output),
            scratch: range(draft.scratch),
            in_place: draft.in_place,
        };
        let steps = std::mem::take(&mut self.steps).into_iter().map(step).collect();
        let names = graph.nodes.iter().map(|node| (node.name.clone(), node.op.name())).collect();
        Some(Plan { steps, inputs, outputs, values, arena, names })
    }

    /// Lets steps that can do so write over their first input where nobody reads it afterwards.
    fn write_in_place(&mut self) {
        for index in 0..self.steps.len() {
            let (time, output) = (index + 1, self.steps[index].output);
            let root = |layout: &Layout, holder: &Holder| match holder {
                Holder::Block(block) | Holder::Part(block, _) => Some(layout.root(*block)),
                _ => None,
            };
            let first = self.steps[index].inputs.first();
            let whole = first.filter(|holder| matches!(holder, Holder::Block(_)));
            let input = whole.and_then(|holder| root(self, holder));
            let Some(input) = input.filter(|_| self.steps[index].in_place) else {
                self.steps[index].in_place = false;
                continue;
            };
            let rest = &self.steps[index].inputs[1..];
            let free = self.blocks[input].last == time
                && self.blocks[input].bytes == self.blocks[output].bytes
                && !rest.iter().any(|holder| root(self, holder) == Some(input));
            self.steps[index].in_place = free;
            if free {
                self.parents[output] = input;
                self.blocks[input].last = self.blocks[output].last;
            }
        }
    }

    fn root(&self, mut block: usize) -> usize {
        while self.parents[block] != block {
            block = self.parents[block];
        }
        block
    }
}

fn source(holder: &Holder, range: &impl Fn(usize) -> Range<usize>) -> Source {
    match holder {
        Holder::None => Source::Absent,
        Holder::Block(block) => Source::Arena(range(*block)),
        Holder::Part(block, part) => {
            let start = range(*block).start;
            Source::Arena(start + part.start..start + part.end)
        }
        Holder::Fixed(stored) => Source::Fixed(Arc::clone(stored)),
    }
}
