//! From bound nodes to a plan: which tensors share bytes, how long each lives, where it lies.

use std::ops::Range;
use std::sync::Arc;

use litesmith_graph::{Facts, Graph, TensorId};

use super::operands::{Source, Stored};
use super::place::{Life, place};
use super::{Plan, Step, Value, grouped};
use crate::bind::{Task, Work};
use crate::error::RuntimeError;

/// What holds a tensor's bytes.
#[derive(Clone)]
enum Holder {
    /// Nothing yet.
    None,
    /// A block of the arena, by index.
    Block(usize),
    /// Part of a block that holds several tensors.
    Part(usize, Range<usize>),
    /// A constant, which is made where a step reads it.
    Fixed(TensorId),
    /// A variable that the caller of each run lends, by index.
    Variable(usize),
}

/// A block of the arena.
pub(super) struct Block(usize);

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
    /// Bytes of each variable.
    variables: Vec<usize>,
}

struct Draft {
    nodes: Vec<usize>,
    name: Option<&'static str>,
    sparse: bool,
    macs: u64,
    work: Work,
    inputs: Vec<Holder>,
    output: usize,
    /// Bytes of the first of the tensors in the output.
    first: usize,
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
            variables: Vec::new(),
        }
    }

    fn add_block(&mut self, bytes: usize, time: usize) -> usize {
        self.parents.push(self.blocks.len());
        self.blocks.push(Life { bytes, first: time, last: time });
        self.blocks.len() - 1
    }

    /// A tensor that the graph does not have: another form of one, or what is known of it.
    pub(super) fn add_hidden(&mut self) -> TensorId {
        self.holders.push(Holder::None);
        self.ready.push(0);
        TensorId((self.holders.len() - 1) as u32)
    }

    pub(super) fn add_input(&mut self, id: TensorId, bytes: usize) {
        self.holders[id.index()] = Holder::Block(self.add_block(bytes, 0));
    }

    /// The next variable that the caller of a run lends.
    pub(super) fn add_variable(&mut self, id: TensorId, bytes: usize) {
        self.holders[id.index()] = Holder::Variable(self.variables.len());
        self.variables.push(bytes);
    }

    pub(super) fn add_fixed(&mut self, id: TensorId) {
        self.holders[id.index()] = Holder::Fixed(id);
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
        let (block, time) = self.add_draft(nodes, macs, inputs, [bytes, bytes], task);
        self.holders[output.index()] = Holder::Block(block);
        self.ready[output.index()] = time;
    }

    /// Adds a step that computes several tensors, or none, in one block, and gives that; `None` if it would
    /// be too large.
    pub(super) fn add_step_for_all(
        &mut self,
        nodes: &[usize],
        macs: u64,
        inputs: &[Option<TensorId>],
        outputs: &[(TensorId, usize)],
        task: Task,
    ) -> Option<Block> {
        let sizes: Vec<usize> = outputs.iter().map(|(_, bytes)| *bytes).collect();
        let (places, total) = grouped(&sizes)?;
        let first = sizes.first().copied().unwrap_or(0);
        let (block, time) = self.add_draft(nodes, macs, inputs, [first, total], task);
        for ((output, _), place) in outputs.iter().zip(places) {
            self.holders[output.index()] = Holder::Part(block, place);
            self.ready[output.index()] = time;
        }
        Some(Block(block))
    }

    /// Adds a step that computes one tensor, or none, and others, small ones, that lie behind one another in
    /// its scratch memory: how long they live has nothing to do with the first. `None` if they would be too
    /// large.
    pub(super) fn add_step_beside(
        &mut self,
        nodes: &[usize],
        macs: u64,
        inputs: &[Option<TensorId>],
        output: Option<(TensorId, usize)>,
        beside: &[(TensorId, usize)],
        task: Task,
    ) -> Option<()> {
        let sizes: Vec<usize> = beside.iter().map(|(_, bytes)| *bytes).collect();
        let (places, total) = grouped(&sizes)?;
        let bytes = output.map_or(0, |(_, bytes)| bytes);
        let (block, time) = self.add_draft(nodes, macs, inputs, [bytes, bytes], task.with_scratch(total));
        // The block of scratch memory comes behind that of the output.
        let others = beside.iter().zip(places).map(|((id, _), place)| (*id, Holder::Part(block + 1, place)));
        let output = output.map(|(id, _)| (id, Holder::Block(block)));
        for (id, holder) in output.into_iter().chain(others) {
            self.holders[id.index()] = holder;
            self.ready[id.index()] = time;
        }
        Some(())
    }

    /// Makes a tensor that lies in a block stand for all of it.
    pub(super) fn hold_block(&mut self, id: TensorId, block: Block) {
        self.holders[id.index()] = Holder::Block(block.0);
    }

    /// Adds a step that writes a block, the sizes of whose first tensor and of all are given; returns the
    /// block and when it is there.
    fn add_draft(
        &mut self,
        nodes: &[usize],
        macs: u64,
        inputs: &[Option<TensorId>],
        [first, bytes]: [usize; 2],
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
        let Task { work, in_place, name, sparse, .. } = task;
        let nodes = nodes.to_vec();
        let output = block;
        self.steps.push(Draft { nodes, name, sparse, macs, work, inputs, output, first, scratch, in_place });
        (block, time)
    }

    /// The plan; `None` if the arena would be larger than can be counted. `order` lists the tensors
    /// that are to be shown, `fixed` makes a constant.
    pub(super) fn finish(
        mut self,
        graph: &Graph,
        facts: &[Facts],
        order: &[TensorId],
        fixed: &dyn Fn(TensorId) -> Result<Arc<Stored>, RuntimeError>,
    ) -> Result<Option<Plan>, RuntimeError> {
        let end = self.steps.len() + 1;
        for output in &graph.outputs {
            if let Holder::Block(block) | Holder::Part(block, _) = &self.holders[output.index()] {
                self.blocks[*block].last = end;
            }
        }
        self.write_in_place();
        // A block inside another takes no room of its own, but may need more than the other.
        let roots: Vec<usize> = (0..self.blocks.len()).map(|block| self.root(block)).collect();
        let mut room = vec![0; self.blocks.len()];
        for (root, life) in roots.iter().zip(&self.blocks) {
            room[*root] = life.bytes.max(room[*root]);
        }
        let own = |(index, life): (usize, &Life)| Life { bytes: room[index], ..*life };
        let lives: Vec<Life> = self.blocks.iter().enumerate().map(own).collect();
        let Some((offsets, arena)) = place(&lives) else { return Ok(None) };
        let range = |block: usize| {
            let start = offsets[roots[block]];
            start..start + self.blocks[block].bytes
        };
        let inputs = graph.inputs.iter().map(|id| match &self.holders[id.index()] {
            Holder::Block(block) => Some(range(*block)),
            _ => None,
        });
        let inputs = inputs.collect();
        let source = |holder: &Holder| match holder {
            Holder::None => Ok(Source::Absent),
            Holder::Block(block) => Ok(Source::Arena(range(*block))),
            Holder::Part(block, part) => {
                let start = range(*block).start;
                Ok(Source::Arena(start + part.start..start + part.end))
            }
            Holder::Fixed(id) => Ok(Source::Fixed(fixed(*id)?)),
            Holder::Variable(index) => Ok(Source::Variable(*index)),
        };
        let value = |id: &TensorId| {
            Ok(Value {
                tensor: *id,
                dtype: facts[id.index()].dtype,
                shape: facts[id.index()].shape.to_fixed().unwrap_or_default(),
                source: source(&self.holders[id.index()])?,
                ready: self.ready[id.index()],
            })
        };
        let outputs = graph.outputs.iter().map(value).collect::<Result<_, RuntimeError>>()?;
        let mut values = order.iter().map(value).collect::<Result<Vec<Value>, RuntimeError>>()?;
        values.sort_by_key(|value| value.ready);
        let step = |draft: Draft| {
            Ok(Step {
                nodes: draft.nodes,
                name: draft.name,
                sparse: draft.sparse,
                macs: draft.macs,
                work: draft.work,
                sources: draft.inputs.iter().map(source).collect::<Result<_, RuntimeError>>()?,
                output: range(draft.output),
                scratch: range(draft.scratch),
                in_place: draft.in_place,
            })
        };
        let steps = std::mem::take(&mut self.steps).into_iter().map(step);
        let steps = steps.collect::<Result<_, RuntimeError>>()?;
        let names = graph.nodes.iter().map(|node| (node.name.clone(), node.op.name())).collect();
        Ok(Some(Plan { steps, inputs, variables: self.variables, outputs, values, arena, names }))
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
            let size = first.and_then(|holder| match holder {
                Holder::Block(block) => Some(self.blocks[*block].bytes),
                Holder::Part(_, part) if part.start == 0 => Some(part.end),
                _ => None,
            });
            let whole = first.filter(|_| size == Some(self.steps[index].first));
            let input = whole.and_then(|holder| root(self, holder));
            let Some(input) = input.filter(|_| self.steps[index].in_place) else {
                self.steps[index].in_place = false;
                continue;
            };
            let rest = &self.steps[index].inputs[1..];
            let free = self.blocks[input].last == time
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
