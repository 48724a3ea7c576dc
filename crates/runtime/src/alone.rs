//! A node run by itself: what preparation does with nodes that read only constants, and the eager
//! executor with all.

use std::sync::Arc;

use crate::bind::{Bound, Machine, Site, Target, Task};
use crate::buffer::Buffer;
use crate::error::Fault;
use crate::plan::{Io, Source, Stored, grouped};
use crate::states::States;

/// Why a node gave no result.
pub(crate) enum Failure {
    /// It met values that it cannot compute with.
    Fault(Fault),
    /// So many bytes are not to be had.
    Memory(usize),
}

/// What nodes that are run by themselves share.
pub(crate) struct Bench<'a> {
    pub machine: Machine<'a>,
    pub states: &'a mut States,
    /// Most bytes that the outputs and scratch memory of a node may take.
    pub limit: usize,
}

impl Bench<'_> {
    /// The outputs of a node in the plan's form. `sources` are its inputs, none of them in an arena.
    pub(crate) fn run(
        &mut self,
        site: &Site<'_>,
        bound: Bound,
        sources: &[Source],
    ) -> Result<Vec<Arc<Stored>>, Failure> {
        let tasks = match bound.tasks() {
            Ok(tasks) => tasks,
            Err(input) => {
                return match sources.get(input) {
                    Some(Source::Fixed(stored)) => Ok(vec![Arc::clone(stored)]),
                    _ => Err(Failure::Fault(Fault(format!("input {input} is missing")))),
                };
            }
        };
        let bytes = |output: &crate::bind::Operand<'_>| output.dtype.bytes(output.elements);
        let sizes: Option<Vec<usize>> = site.outputs.iter().map(bytes).collect();
        let sizes = sizes.ok_or(Failure::Memory(usize::MAX))?;
        let mut results = vec![None; sizes.len()];
        for task in tasks {
            match task.target {
                Target::Output(output) => {
                    let buffer = self.compute(&task, sizes[output], sources)?;
                    results[output] = Some(Arc::new(Stored::Own(buffer)));
                }
                Target::All => {
                    let (places, total) = grouped(&sizes).ok_or(Failure::Memory(usize::MAX))?;
                    let all = self.compute(&task, total, sources)?;
                    for (result, place) in results.iter_mut().zip(places) {
                        let mut own = self.buffer(place.len())?;
                        own.bytes_mut().copy_from_slice(&all.bytes()[place]);
                        *result = Some(Arc::new(Stored::Own(own)));
                    }
                }
            }
        }
        results.into_iter().collect::<Option<_>>().ok_or(Failure::Fault(Fault("it has no result".into())))
    }

    fn compute(&mut self, task: &Task, bytes: usize, sources: &[Source]) -> Result<Buffer, Failure> {
        let (mut output, mut scratch) = (self.buffer(bytes)?, self.buffer(task.scratch)?);
        // Kernels need not know how to compute nothing.
        if bytes > 0 || task.target == Target::All {
            let io = Io::apart(sources, output.bytes_mut(), scratch.bytes_mut(), self.states);
            (task.work)(self.machine, io).map_err(Failure::Fault)?;
        }
        Ok(output)
    }

    pub(crate) fn buffer(&self, bytes: usize) -> Result<Buffer, Failure> {
        let allowed = (bytes <= self.limit).then(|| Buffer::zeroed(bytes)).flatten();
        allowed.ok_or(Failure::Memory(bytes))
    }
}
