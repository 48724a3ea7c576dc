//! Which of its arguments' variables a function changes.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use super::control::passed_on;
use super::program::Program;
use super::proto::{Attribute, NodeDef};
use crate::error::FormatError;

/// Deepest call within calls.
const MOST_DEPTH: usize = 64;

/// What is known of functions so far.
#[derive(Default)]
pub(super) struct Effects(BTreeMap<String, Rc<BTreeSet<usize>>>);

impl Effects {
    /// The places of a function's arguments whose variables it, or what it calls, writes to.
    ///
    /// # Errors
    /// If calls are nested too deeply.
    pub fn changed(&mut self, program: &Program<'_>, name: &str) -> Result<Rc<BTreeSet<usize>>, FormatError> {
        self.within(program, name, MOST_DEPTH)
    }

    fn within(
        &mut self,
        program: &Program<'_>,
        name: &str,
        depth: usize,
    ) -> Result<Rc<BTreeSet<usize>>, FormatError> {
        if let Some(known) = self.0.get(name) {
            return Ok(known.clone());
        }
        let Some(function) = program.function(name) else { return Ok(Rc::default()) };
        let too_deep = || FormatError::broken(format!("function '{name}'"), "too many calls lead to it");
        let depth = depth.checked_sub(1).ok_or_else(too_deep)?;
        // A function that calls itself changes nothing more by that.
        self.0.insert(name.to_owned(), Rc::default());
        let mut changed = BTreeSet::new();
        for node in function.body.nodes {
            let mut written = BTreeSet::new();
            if writes(&node.op) {
                written.insert(0);
            }
            for (called, first) in calls(node) {
                written.extend(self.within(program, called, depth)?.iter().map(|place| place + first));
            }
            let data: Vec<&String> = node.inputs.iter().filter(|input| !input.starts_with('^')).collect();
            let inputs = written.into_iter().filter_map(|place| data.get(place).copied());
            changed.extend(inputs.filter_map(|input| passed_on(&function.body, input)));
        }
        let changed = Rc::new(changed);
        self.0.insert(name.to_owned(), changed.clone());
        Ok(changed)
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
