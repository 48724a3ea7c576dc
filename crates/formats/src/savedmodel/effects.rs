//! Which of its arguments' variables a function changes.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use super::control::passed_on;
use super::program::{Body, Program, Reference};
use super::proto::{Attribute, NodeDef};
use crate::error::FormatError;

/// Deepest call within calls.
const MOST_DEPTH: usize = 64;

/// What is known of functions so far.
#[derive(Default)]
pub(super) struct Effects(BTreeMap<String, Rc<Changes>>);

/// What a function does to the variables that its arguments are, by their places.
#[derive(Default)]
pub(super) struct Changes {
    /// Variables that are written to.
    pub written: BTreeSet<usize>,
    /// Variables that are multiplied by another and keep the product, each with that other: pruning (TFMOT)
    /// masks weights so at each call, and but for the first nothing changes by it.
    pub masked: BTreeMap<usize, usize>,
}

impl Effects {
    /// What a function, or what it calls, does to its arguments' variables.
    ///
    /// # Errors
    /// If calls are nested too deeply.
    pub fn changed(&mut self, program: &Program<'_>, name: &str) -> Result<Rc<Changes>, FormatError> {
        self.within(program, name, MOST_DEPTH)
    }

    fn within(
        &mut self,
        program: &Program<'_>,
        name: &str,
        depth: usize,
    ) -> Result<Rc<Changes>, FormatError> {
        if let Some(known) = self.0.get(name) {
            return Ok(known.clone());
        }
        let Some(function) = program.function(name) else { return Ok(Rc::default()) };
        let too_deep = || FormatError::broken(format!("function '{name}'"), "too many calls lead to it");
        let depth = depth.checked_sub(1).ok_or_else(too_deep)?;
        // A function that calls itself changes nothing more by that.
        self.0.insert(name.to_owned(), Rc::default());
        let mut changes = Changes::default();
        for node in function.body.nodes {
            let data: Vec<&String> = node.inputs.iter().filter(|input| !input.starts_with('^')).collect();
            let argument = |place: usize| passed_on(&function.body, data.get(place)?);
            match mask(&function.body, node) {
                Some((variable, mask)) => {
                    changes.masked.insert(variable, mask);
                }
                None if writes(&node.op) => changes.written.extend(argument(0)),
                None => {}
            }
            for (called, first) in calls(node) {
                let inner = self.within(program, called, depth)?;
                changes.written.extend(inner.written.iter().filter_map(|place| argument(place + first)));
                let masked = inner.masked.iter();
                let places =
                    masked.map(|(variable, mask)| (argument(variable + first), argument(mask + first)));
                for (variable, mask) in places {
                    match (variable, mask) {
                        (Some(variable), Some(mask)) => {
                            changes.masked.insert(variable, mask);
                        }
                        (variable, _) => changes.written.extend(variable),
                    }
                }
            }
        }
        let changed = Rc::new(changes);
        self.0.insert(name.to_owned(), changed.clone());
        Ok(changed)
    }
}

/// The variable that a node multiplies by another and gives the product, and that other.
fn mask(body: &Body<'_>, node: &NodeDef) -> Option<(usize, usize)> {
    let made_by = |input: Option<&String>, op: &str| match body.reference(input?).ok()? {
        Reference::Node { node, .. } => Some(&body.nodes[node]).filter(|node| node.op == op),
        Reference::Argument(_) | Reference::Control(_) => None,
    };
    if node.op != "AssignVariableOp" {
        return None;
    }
    let variable = passed_on(body, node.inputs.first()?)?;
    let product = made_by(node.inputs.get(1), "Mul")?;
    let read =
        |place: usize| passed_on(body, made_by(product.inputs.get(place), "ReadVariableOp")?.inputs.first()?);
    match (read(0)?, read(1)?) {
        (own, mask) | (mask, own) if own == variable && mask != variable => Some((variable, mask)),
        _ => None,
    }
}

/// Whether an operation writes to the variable that is its first input.
fn writes(op: &str) -> bool {
    let assigns = op.starts_with("Assign") && op.ends_with("VariableOp");
    assigns
        || ["ResourceApply", "ResourceScatter", "ResourceStridedSliceAssign"]
            .iter()
            .any(|start| op.starts_with(start))
}

/// The functions that a node calls, each with the first of the node's inputs that it gets.
fn calls(node: &NodeDef) -> Vec<(&str, usize)> {
    let first = usize::from(matches!(node.op.as_str(), "If" | "StatelessIf" | "Case" | "StatelessCase"));
    let mut calls = vec![(node.op.as_str(), 0)];
    for value in node.attributes.values() {
        match &value.value {
            Some(Attribute::Function(function)) => calls.push((function.name.as_str(), first)),
            Some(Attribute::List(list)) => {
                calls.extend(list.functions.iter().map(|function| (function.name.as_str(), first)));
            }
            _ => {}
        }
    }
    calls
}
