//! Conditionals and loops: those that are decided go, the others get flows of their own.

use super::branches::Given;
use super::draft::{DraftFlow, Slot, refuse};
use super::functions::{Frame, Inliner, Outcome, function_of};
use super::program::{Body, Reference};
use super::proto::{Attribute, NodeDef};
use super::scope::Scope;
use crate::error::FormatError;

/// How far a predicate's operands are followed.
const PREDICATE_DEPTH: usize = 8;

impl<'p, 'a> Inliner<'p, 'a> {
    /// `Switch`: its data goes to the first output where the predicate is false, else to the second.
    pub fn switch(&self, name: &str, inputs: &[Slot]) -> Result<Outcome, FormatError> {
        let [data, predicate] = inputs else {
            return Err(FormatError::broken(format!("node '{name}'"), "a Switch takes two inputs"));
        };
        Ok(match DraftFlow::constant(&self.nodes, *predicate, PREDICATE_DEPTH) {
            Some(0) => Outcome::Slots(vec![*data, Slot::Dead]),
            Some(_) => Outcome::Slots(vec![Slot::Dead, *data]),
            None => Outcome::All(Slot::Conditional),
        })
    }

    /// `If` and `Case`: the branch that runs, where that is known.
    pub fn choice(
        &mut self,
        frame: &Frame<'p, 'a>,
        node: &'a NodeDef,
        name: String,
        inputs: Vec<Slot>,
    ) -> Result<Outcome, FormatError> {
        let Some((predicate, arguments)) = inputs.split_first() else {
            return Err(FormatError::broken(format!("node '{name}'"), "it has no predicate"));
        };
        let branches = branches_of(node)?;
        if let Some(chosen) = DraftFlow::constant(&self.nodes, *predicate, PREDICATE_DEPTH) {
            let last = branches.len().saturating_sub(1);
            let branch = match node.op.as_str() {
                "If" | "StatelessIf" => usize::from(chosen == 0),
                _ => usize::try_from(chosen).map_or(last, |chosen| chosen.min(last)),
            };
            let called = branches.get(branch).copied();
            let called =
                called.ok_or_else(|| FormatError::broken(format!("node '{name}'"), "it has no branches"))?;
            return Ok(Outcome::Slots(self.call(
                node,
                called,
                frame.scope.inside(node),
                arguments.to_vec(),
            )?));
        }
        let kept = self.given(arguments, &vec![true; arguments.len()]);
        let flows = branches.iter().map(|called| self.branch(node, called, &frame.scope.inside(node), &kept));
        let flows = flows.collect::<Result<Vec<_>, _>>()?;
        let inputs = std::iter::once(*predicate).chain(kept.iter().filter_map(|given| given.handed_over()));
        Ok(self.keep(frame, node, name, inputs.collect(), flows))
    }

    /// `While`: nothing where the condition never holds; else without the variables of the loop that
    /// stay what they are and need not be carried along.
    pub fn repetition(
        &mut self,
        frame: &Frame<'p, 'a>,
        node: &'a NodeDef,
        name: String,
        inputs: Vec<Slot>,
    ) -> Result<Outcome, FormatError> {
        let (condition, body) = (function_of(node, "cond")?, function_of(node, "body")?);
        if self.never(node, condition, &frame.scope.inside(node), &inputs)? {
            return Ok(Outcome::Slots(inputs));
        }
        let function = self.program.called(body, &node.name)?;
        if function.results.len() != inputs.len() {
            let reason = format!("it gives {} results for {} inputs", function.results.len(), inputs.len());
            return Err(FormatError::broken(format!("function '{body}'"), reason));
        }
        let passed = function.results.iter().enumerate();
        let stays: Vec<bool> =
            passed.map(|(place, result)| passed_on(&function.body, result) == Some(place)).collect();
        self.charge(function.body.nodes.len(), 0)?;
        if inputs.iter().zip(&stays).any(|(input, stays)| matches!(input, Slot::Handle(_)) && !stays) {
            return Err(refuse(&name, &node.op, "the loop exchanges variables of the model"));
        }
        let (scope, kept) = (frame.scope.inside(node), self.given(&inputs, &stays));
        let condition = self.branch(node, condition, &scope, &kept)?;
        let mut body = self.branch(node, body, &scope, &kept)?;
        if condition.outputs.len() != 1 {
            return Err(FormatError::broken(
                format!("node '{name}'"),
                "its condition does not give one result",
            ));
        }
        let mut carried = kept.iter().map(|given| given.handed_over().is_some());
        body.outputs.retain(|_| carried.next() == Some(true));
        let outside = kept.iter().filter_map(Given::handed_over).collect();
        let Outcome::Node(loop_node) = self.keep(frame, node, name, outside, vec![condition, body]) else {
            return Ok(Outcome::Slots(inputs));
        };
        let mut output = 0;
        let mut results = Vec::with_capacity(inputs.len());
        for ((given, input), stays) in kept.iter().zip(&inputs).zip(stays) {
            results.push(if stays { *input } else { Slot::Node { node: loop_node, output } });
            output += usize::from(given.handed_over().is_some());
        }
        Ok(Outcome::Slots(results))
    }

    /// Whether the condition of a loop is known not to hold at its start.
    fn never(
        &mut self,
        node: &'a NodeDef,
        condition: &'a str,
        scope: &Scope<'a>,
        inputs: &[Slot],
    ) -> Result<bool, FormatError> {
        const SMALL: usize = 32;
        if self.program.called(condition, &node.name)?.body.nodes.len() > SMALL {
            return Ok(false);
        }
        let before = self.nodes.len();
        let results = self.call(node, condition, scope.clone(), inputs.to_vec())?;
        let holds =
            results.first().and_then(|result| DraftFlow::constant(&self.nodes, *result, PREDICATE_DEPTH));
        self.nodes.truncate(before);
        Ok(holds == Some(0))
    }
}

/// `Merge`: the one input that is there, and which it was.
pub(super) fn merge(name: &str, inputs: &[Slot]) -> Result<Outcome, FormatError> {
    if inputs.contains(&Slot::Conditional) {
        return Ok(Outcome::All(Slot::Conditional));
    }
    let mut there = inputs.iter().filter(|input| **input != Slot::Dead);
    match (there.next(), there.next()) {
        (None, _) => Ok(Outcome::All(Slot::Dead)),
        (Some(one), None) => Ok(Outcome::Slots(vec![*one])),
        _ => Err(FormatError::broken(format!("node '{name}'"), "several of its inputs are there at once")),
    }
}

/// The functions that `If` or `Case` chooses from.
fn branches_of(node: &NodeDef) -> Result<Vec<&str>, FormatError> {
    if matches!(node.op.as_str(), "If" | "StatelessIf") {
        return Ok(vec![function_of(node, "then_branch")?, function_of(node, "else_branch")?]);
    }
    match node.attributes.get("branches").and_then(|value| value.value.as_ref()) {
        Some(Attribute::List(list)) => {
            Ok(list.functions.iter().map(|function| function.name.as_str()).collect())
        }
        _ => Err(FormatError::broken(format!("node '{}'", node.name), "it has no branches")),
    }
}

/// The argument that a result of a function is, passed on as it is.
pub(super) fn passed_on<'a>(body: &Body<'a>, result: &'a str) -> Option<usize> {
    let mut text = result;
    for _ in 0..=body.nodes.len().min(16) {
        match body.reference(text).ok()? {
            Reference::Argument(number) => return Some(number),
            Reference::Node { node, .. } if body.nodes[node].op == "Identity" => {
                text = body.nodes[node].inputs.first()?;
            }
            _ => return None,
        }
    }
    None
}
