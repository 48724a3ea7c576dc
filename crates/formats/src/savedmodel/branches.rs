//! Branches of conditionals and bodies of loops as flows of their own.

use super::draft::{Draft, DraftFlow, Slot, Source, refuse};
use super::flow::FlowInput;
use super::functions::Inliner;
use super::program::Function;
use super::proto::{Attribute, NodeDef};
use super::scope::Scope;
use super::tensor::{self, Element};
use crate::error::FormatError;

/// How an argument comes into a branch.
pub(super) enum Given<'a> {
    /// It is the same inside: a variable.
    Same(Slot),
    /// It is a constant, which is there once more.
    Constant(String, Source<'a>),
    /// It is an input.
    Input(Slot),
}

impl Given<'_> {
    /// What is handed over.
    pub fn handed_over(&self) -> Option<Slot> {
        match self {
            Given::Input(slot) => Some(*slot),
            Given::Same(_) | Given::Constant(..) => None,
        }
    }
}

impl<'a> Inliner<'_, 'a> {
    /// How arguments come into branches; of a loop, only those that stay what they are can be the same
    /// inside.
    pub fn given(&self, arguments: &[Slot], stays: &[bool]) -> Vec<Given<'a>> {
        let given = |(slot, stays): (&Slot, &bool)| match *slot {
            Slot::Handle(_) => Given::Same(*slot),
            Slot::Variable(_) if *stays => Given::Same(*slot),
            Slot::Node { node, output: 0 } if *stays && self.nodes[node].source.node.op == "Const" => {
                Given::Constant(self.nodes[node].name.clone(), self.nodes[node].source)
            }
            _ => Given::Input(*slot),
        };
        arguments.iter().zip(stays).map(given).collect()
    }

    /// A function as a flow of its own.
    ///
    /// # Errors
    /// Those of following it.
    pub fn branch(
        &mut self,
        node: &'a NodeDef,
        called: &'a str,
        scope: &Scope<'a>,
        given: &[Given<'a>],
    ) -> Result<DraftFlow<'a>, FormatError> {
        let function = self.program.called(called, &node.name)?;
        let mut flow = DraftFlow { name: called.to_owned(), ..DraftFlow::default() };
        let mut arguments = Vec::with_capacity(given.len());
        for (number, given) in given.iter().enumerate() {
            arguments.push(match given {
                Given::Same(slot) => *slot,
                Given::Constant(name, source) => {
                    let (name, source) = (name.clone(), *source);
                    self.charge(1, name.len())?;
                    flow.nodes.push(Draft { name, source, inputs: Vec::new(), branches: Vec::new() });
                    Slot::Node { node: flow.nodes.len() - 1, output: 0 }
                }
                Given::Input(_) => {
                    flow.inputs.push(input(function, called, number, node)?);
                    Slot::Input(flow.inputs.len() - 1)
                }
            });
        }
        let outside = std::mem::replace(&mut self.nodes, flow.nodes);
        let results = self.call(node, called, scope.clone(), arguments)?;
        flow.nodes = std::mem::replace(&mut self.nodes, outside);
        flow.outputs =
            results.into_iter().enumerate().map(|(n, slot)| (format!("output_{n}"), slot)).collect();
        Ok(flow)
    }
}

/// An argument of a function as an input.
fn input(
    function: &Function<'_>,
    called: &str,
    number: usize,
    node: &NodeDef,
) -> Result<FlowInput, FormatError> {
    let place = format!("argument {number} of function '{called}'");
    let argument = function.arguments.get(number);
    let argument = argument.ok_or_else(|| FormatError::broken(&place, "there is no such argument"))?;
    let dtype = Element::of(argument.dtype, &place)?
        .dtype()
        .map_err(|reason| refuse(&node.name, &node.op, &reason))?;
    let noted = function.note(number, "_output_shapes").and_then(|note| note.value.as_ref());
    let shape = match noted {
        Some(Attribute::List(list)) => {
            list.shapes.first().map(|shape| tensor::sizes(shape, &place)).transpose()?
        }
        _ => None,
    };
    Ok(FlowInput { name: argument.name.clone(), dtype, shape: shape.flatten() })
}
