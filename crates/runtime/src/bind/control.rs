//! Graphs that a node runs: planned for the shapes of its operands, they work in its scratch memory.

use std::ops::Range;
use std::sync::Arc;

use super::{Bound, Machine, Site, Task};
use crate::error::{Fault, Refusal, refuse};
use crate::plan::{Inputs, Io, Plan, Source, grouped};
use crate::states::States;

/// A graph that a node runs.
pub(crate) struct Called {
    /// Its plan for the shapes of this call.
    pub plan: Arc<Plan>,
    /// For each input, whether it is the output of the same place, too.
    pub passes: Vec<bool>,
}

impl Called {
    /// Gives an input its elements.
    fn enter(&self, arena: &mut [u8], input: usize, bytes: &[u8]) {
        if let Some(Some(range)) = self.plan.inputs.get(input) {
            arena[range.clone()].copy_from_slice(bytes);
        }
    }

    fn run(&self, machine: Machine<'_>, arena: &mut [u8], states: &mut States) -> Result<(), Fault> {
        self.plan.run(machine, arena, states).map_err(|error| Fault(error.to_string()))
    }
}

/// Where the outputs of a node lie in the block that holds them all.
pub(super) fn places_of_outputs(site: &Site<'_>) -> Result<Vec<Range<usize>>, Refusal> {
    let bytes = |output: &super::Operand<'_>| output.dtype.bytes(output.elements);
    let sizes: Option<Vec<usize>> = site.outputs.iter().map(bytes).collect();
    match sizes.and_then(|sizes| grouped(&sizes)) {
        Some((places, _)) => Ok(places),
        None => refuse!("its outputs are too large"),
    }
}

pub(super) fn if_else(site: &Site<'_>) -> Result<Bound, Refusal> {
    let [then, or_else] = called(site)?;
    let outputs = places_of_outputs(site)?;
    let scratch = then.plan.arena.max(or_else.plan.arena);
    let work = move |machine: Machine<'_>, io: Io<'_>| {
        let branch = if io.inputs.bytes(0) == [0] { &or_else } else { &then };
        for input in 0..branch.plan.inputs.len() {
            branch.enter(io.scratch, input, io.inputs.bytes(input + 1));
        }
        branch.run(machine, io.scratch, io.states)?;
        for (value, place) in branch.plan.outputs.iter().zip(&outputs) {
            io.output[place.clone()].copy_from_slice(value.bytes(io.scratch));
        }
        Ok(())
    };
    Ok(Task::new(work).with_scratch(scratch).for_all_outputs().into())
}

/// A loop in the making: its scratch memory holds the body's arena, the condition's, and room for
/// variables on their way from one round to the next.
struct Loop {
    condition: Called,
    body: Called,
    /// Where each variable waits between its rounds, unless the body keeps it for itself.
    waiting: Vec<Range<usize>>,
    /// The variables that are moved after a round.
    moved: Vec<usize>,
}

pub(super) fn while_loop(site: &Site<'_>) -> Result<Bound, Refusal> {
    let [condition, body] = called(site)?;
    let outputs = places_of_outputs(site)?;
    let sizes: Vec<usize> = outputs.iter().map(Range::len).collect();
    let variables = sizes.len();
    if [&condition, &body].iter().any(|called| called.plan.inputs.len() != variables)
        || body.plan.outputs.len() != variables
        || site.inputs.len() != variables
    {
        refuse!("its graphs do not take its {variables} variables");
    }
    let stays = |variable: &usize| {
        let (before, after) = (&body.plan.inputs[*variable], &body.plan.outputs[*variable].source);
        let in_place = matches!((before, after), (Some(before), Source::Arena(after)) if before == after);
        body.passes[*variable] || in_place
    };
    let moved: Vec<usize> = (0..variables).filter(|variable| !stays(variable)).collect();
    let rooms: Vec<usize> = (0..variables).map(|i| if moved.contains(&i) { sizes[i] } else { 0 }).collect();
    let Some((waiting, room)) = grouped(&rooms) else { refuse!("its variables are too large") };
    let arenas = [body.plan.arena, condition.plan.arena, room];
    let Some((parts, scratch)) = grouped(&arenas) else { refuse!("its graphs need too much memory") };
    let it = Loop { condition, body, waiting, moved };
    let work = move |machine: Machine<'_>, io: Io<'_>| {
        let (body, rest) = io.scratch.split_at_mut(parts[1].start);
        let (condition, room) = rest.split_at_mut(parts[2].start - parts[1].start);
        let mut rounds = Rounds { it: &it, body, condition, room, inputs: io.inputs };
        rounds.begin();
        while rounds.goes_on(machine, io.states)? {
            if machine.interrupt.is_set() {
                return Err(Fault("it was interrupted".into()));
            }
            rounds.next(machine, io.states)?;
        }
        for (variable, place) in outputs.iter().enumerate() {
            let bytes = it.variable(variable, rounds.body, rounds.room, io.inputs);
            io.output[place.clone()].copy_from_slice(bytes);
        }
        Ok(())
    };
    Ok(Task::new(work).with_scratch(scratch).for_all_outputs().into())
}

/// The rounds of a loop.
struct Rounds<'a> {
    it: &'a Loop,
    body: &'a mut [u8],
    condition: &'a mut [u8],
    room: &'a mut [u8],
    /// What the variables are before the first round.
    inputs: Inputs<'a>,
}

impl Rounds<'_> {
    fn begin(&mut self) {
        for (variable, waiting) in self.it.waiting.iter().enumerate() {
            let bytes = self.inputs.bytes(variable);
            self.it.body.enter(self.body, variable, bytes);
            if !waiting.is_empty() {
                self.room[waiting.clone()].copy_from_slice(bytes);
            }
        }
    }

    fn goes_on(&mut self, machine: Machine<'_>, states: &mut States) -> Result<bool, Fault> {
        let condition = &self.it.condition;
        for variable in 0..self.it.waiting.len() {
            let bytes = self.it.variable(variable, self.body, self.room, self.inputs);
            condition.enter(self.condition, variable, bytes);
        }
        condition.run(machine, self.condition, states)?;
        Ok(condition.plan.outputs.first().is_some_and(|value| value.bytes(self.condition) != [0]))
    }

    fn next(&mut self, machine: Machine<'_>, states: &mut States) -> Result<(), Fault> {
        let Loop { body, waiting, moved, .. } = self.it;
        body.run(machine, self.body, states)?;
        // All of them leave before the first one comes back: outputs may lie where inputs have been.
        for variable in moved {
            let value = &body.plan.outputs[*variable];
            self.room[waiting[*variable].clone()].copy_from_slice(value.bytes(self.body));
        }
        for variable in moved {
            body.enter(self.body, *variable, &self.room[waiting[*variable].clone()]);
        }
        Ok(())
    }
}

impl Loop {
    /// A variable between two rounds.
    fn variable<'a>(&self, variable: usize, body: &'a [u8], room: &'a [u8], inputs: Inputs<'a>) -> &'a [u8] {
        let waiting = &self.waiting[variable];
        match &self.body.plan.inputs[variable] {
            _ if !waiting.is_empty() => &room[waiting.clone()],
            Some(range) if !self.body.passes[variable] => &body[range.clone()],
            _ => inputs.bytes(variable),
        }
    }
}

/// The two graphs that a node runs.
fn called(site: &Site<'_>) -> Result<[Called; 2], Refusal> {
    match site.called.as_slice() {
        [one, other] => Ok([one, other]
            .map(|called| Called { plan: Arc::clone(&called.plan), passes: called.passes.clone() })),
        called => refuse!("it runs {} graphs instead of two", called.len()),
    }
}
