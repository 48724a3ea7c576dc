//! From a graph and its functions to one flow: what the outputs need is followed from node to node,
//! calls are replaced by what they call, handles by variables, and nodes that only pass a value on, or
//! run for their effects alone, go.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::control::merge;
use super::draft::{Draft, DraftFlow, Slot, Source, refuse};
use super::effects::Effects;
use super::program::{Body, Program, Reference};
use super::proto::{AttrValue, Attribute, NodeDef};
use super::resources::Resources;
use super::scope::Scope;
use crate::error::FormatError;

/// Deepest call within calls.
const MOST_DEPTH: usize = 64;
/// Most nodes that are looked at, those of each call counted anew.
const MOST_NODES: usize = 2 << 20;
/// Most bytes that the names of all nodes may take together.
const MOST_NAMES: usize = 1 << 28;
/// Most outputs of one node.
const MOST_OUTPUTS: usize = 1 << 16;

/// Attributes of a call without any.
static NO_PARAMETERS: BTreeMap<String, AttrValue> = BTreeMap::new();

/// Makes flows of a program.
pub(super) struct Inliner<'p, 'a> {
    pub program: &'p Program<'a>,
    pub resources: Resources<'a>,
    /// Nodes of the flow that is being made.
    pub nodes: Vec<Draft<'a>>,
    /// Variables that the program changes.
    pub changed: BTreeSet<usize>,
    effects: Effects,
    /// Names of the functions that are being followed, outermost first.
    callers: Vec<&'a str>,
    nodes_left: usize,
    names_left: usize,
}

/// One run of a graph or a function.
pub(super) struct Frame<'p, 'a> {
    body: &'p Body<'a>,
    arguments: Vec<Slot>,
    parameters: &'a BTreeMap<String, AttrValue>,
    pub scope: Scope<'a>,
    states: HashMap<usize, State>,
}

enum State {
    /// Its inputs are being followed.
    Active,
    Done(Outcome),
}

/// What the outputs of a node are.
#[derive(Clone)]
pub(super) enum Outcome {
    /// Those of this node of the flow.
    Node(usize),
    /// These.
    Slots(Vec<Slot>),
    /// All this, however many there are.
    All(Slot),
}

impl<'p, 'a> Frame<'p, 'a> {
    /// A run of the graph.
    pub fn new(body: &'p Body<'a>) -> Frame<'p, 'a> {
        Frame {
            body,
            arguments: Vec::new(),
            parameters: &NO_PARAMETERS,
            scope: Scope::default(),
            states: HashMap::new(),
        }
    }

    /// Says that a node is an input of the flow.
    pub fn feed(&mut self, node: usize, input: usize) {
        self.states.insert(node, State::Done(Outcome::Slots(vec![Slot::Input(input)])));
    }

    fn name(&self, node: &NodeDef) -> String {
        self.scope.name_of(&node.name)
    }
}

impl<'p, 'a> Inliner<'p, 'a> {
    pub fn new(program: &'p Program<'a>, resources: Resources<'a>) -> Inliner<'p, 'a> {
        Inliner {
            program,
            resources,
            nodes: Vec::new(),
            changed: BTreeSet::new(),
            effects: Effects::default(),
            callers: Vec::new(),
            nodes_left: MOST_NODES,
            names_left: MOST_NAMES,
        }
    }

    /// What a tensor of a graph or function is in the flow.
    ///
    /// # Errors
    /// If it depends on itself, on nothing, or on what cannot be followed.
    pub fn evaluate(&mut self, frame: &mut Frame<'p, 'a>, text: &'a str) -> Result<Slot, FormatError> {
        let reference = frame.body.reference(text)?;
        if let Reference::Node { node, .. } = reference {
            self.follow(frame, node)?;
        }
        self.slot(frame, reference)
    }

    /// Follows a node's inputs, theirs, and so on, and then says what its outputs are.
    fn follow(&mut self, frame: &mut Frame<'p, 'a>, node: usize) -> Result<(), FormatError> {
        let mut path = vec![(node, 0)];
        if frame.states.contains_key(&node) {
            return Ok(());
        }
        frame.states.insert(node, State::Active);
        while let Some((node, next)) = path.last_mut() {
            let def = &frame.body.nodes[*node];
            if *next == 0 {
                self.charge(1 + def.inputs.len(), def.name.len() + frame.scope.length())?;
            }
            let Some(input) = def.inputs.get(*next) else {
                let outcome = self.outcome(frame, *node)?;
                frame.states.insert(*node, State::Done(outcome));
                path.pop();
                continue;
            };
            *next += 1;
            let place = match frame.body.reference(input)? {
                Reference::Node { node, .. } => node,
                // Which way a Switch goes also decides what runs behind it without using its data.
                Reference::Control(node) if frame.body.switches => node,
                Reference::Control(_) | Reference::Argument(_) => continue,
            };
            match frame.states.get(&place) {
                Some(State::Done(_)) => {}
                Some(State::Active) if input.starts_with('^') => {}
                Some(State::Active) => return Err(circle(frame.body, path.iter().map(|(node, _)| *node))),
                None => {
                    frame.states.insert(place, State::Active);
                    path.push((place, 0));
                }
            }
        }
        Ok(())
    }

    /// Takes from what may still be looked at.
    pub fn charge(&mut self, nodes: usize, names: usize) -> Result<(), FormatError> {
        match (self.nodes_left.checked_sub(nodes), self.names_left.checked_sub(names)) {
            (Some(nodes), Some(names)) => (self.nodes_left, self.names_left) = (nodes, names),
            _ => return Err(FormatError::broken("functions", "they call each other too many times")),
        }
        Ok(())
    }

    fn slot(&self, frame: &Frame<'p, 'a>, reference: Reference<'a>) -> Result<Slot, FormatError> {
        let (node, output) = match reference {
            Reference::Argument(number) => {
                let missing = || {
                    FormatError::broken(frame.body.name, format!("it is called without argument {number}"))
                };
                return frame.arguments.get(number).copied().ok_or_else(missing);
            }
            Reference::Control(node) => (node, 0),
            Reference::Node { node, output } => (node, self.program.output(&frame.body.nodes[node], output)?),
        };
        let slot = match frame.states.get(&node) {
            Some(State::Done(Outcome::Node(node))) if output < MOST_OUTPUTS => {
                Some(Slot::Node { node: *node, output })
            }
            Some(State::Done(Outcome::Slots(slots))) => slots.get(output).copied(),
            Some(State::Done(Outcome::All(slot))) => Some(*slot),
            _ => None,
        };
        slot.ok_or_else(|| {
            let place = format!("node '{}'", frame.name(&frame.body.nodes[node]));
            FormatError::broken(place, format!("its output {output} is nothing"))
        })
    }

    /// What a node's outputs are, all of its inputs followed.
    fn outcome(&mut self, frame: &mut Frame<'p, 'a>, place: usize) -> Result<Outcome, FormatError> {
        let node = &frame.body.nodes[place];
        let mut inputs = Vec::with_capacity(node.inputs.len());
        for input in &node.inputs {
            match frame.body.reference(input)? {
                Reference::Control(before) => {
                    let dead =
                        matches!(frame.states.get(&before), Some(State::Done(Outcome::All(Slot::Dead))));
                    if dead {
                        return Ok(Outcome::All(Slot::Dead));
                    }
                }
                // An argument is there when the function starts.
                Reference::Argument(_) if input.starts_with('^') => {}
                reference => inputs.push(self.slot(frame, reference)?),
            }
        }
        let op = node.op.as_str();
        if !matches!(op, "Merge" | "RefMerge") {
            for absent in [Slot::Dead, Slot::Conditional] {
                if inputs.contains(&absent) {
                    return Ok(Outcome::All(absent));
                }
            }
        }
        let name = frame.name(node);
        match op {
            "Identity"
            | "IdentityN"
            | "RefIdentity"
            | "StopGradient"
            | "PreventGradient"
            | "CheckNumerics"
            | "GuaranteeConst"
            | "PlaceholderWithDefault" => Ok(Outcome::Slots(inputs)),
            "NoOp" | "Assert" | "DisableCopyOnRead" => Ok(Outcome::Slots(Vec::new())),
            "VarHandleOp" | "VariableV2" | "Variable" => {
                let handle = self.resources.handle(node, !self.callers.is_empty());
                let slot = if op == "VarHandleOp" { Slot::Handle(handle) } else { Slot::Variable(handle) };
                Ok(Outcome::Slots(vec![slot]))
            }
            "ReadVariableOp" => match inputs.as_slice() {
                [Slot::Handle(handle)] => Ok(Outcome::Slots(vec![Slot::Variable(*handle)])),
                _ => Ok(self.keep(frame, node, name, inputs, Vec::new())),
            },
            "Placeholder" => Err(FormatError::broken(
                format!("node '{name}'"),
                "the outputs depend on it, and it is no input",
            )),
            "PartitionedCall" | "StatefulPartitionedCall" => {
                let called = function_of(node, "f")?;
                Ok(Outcome::Slots(self.call(node, called, Scope::of_call(name), inputs)?))
            }
            "If" | "StatelessIf" | "Case" | "StatelessCase" => self.choice(frame, node, name, inputs),
            "While" | "StatelessWhile" => self.repetition(frame, node, name, inputs),
            "Switch" | "RefSwitch" => self.switch(&name, &inputs),
            "Merge" | "RefMerge" => merge(&name, &inputs),
            "Enter" | "Exit" | "NextIteration" | "LoopCond" | "RefEnter" | "RefExit" | "RefNextIteration" => {
                Err(old_loop(&name, op))
            }
            _ if self.program.function(op).is_some() => {
                Ok(Outcome::Slots(self.call(node, op, Scope::of_call(name), inputs)?))
            }
            _ => Ok(self.keep(frame, node, name, inputs, Vec::new())),
        }
    }

    /// A node of the flow.
    pub fn keep(
        &mut self,
        frame: &Frame<'p, 'a>,
        node: &'a NodeDef,
        name: String,
        inputs: Vec<Slot>,
        branches: Vec<DraftFlow<'a>>,
    ) -> Outcome {
        let source = Source { node, parameters: frame.parameters };
        self.nodes.push(Draft { name, source, inputs, branches });
        Outcome::Node(self.nodes.len() - 1)
    }

    /// The results of a function, its nodes put into the flow.
    pub fn call(
        &mut self,
        node: &'a NodeDef,
        called: &'a str,
        scope: Scope<'a>,
        arguments: Vec<Slot>,
    ) -> Result<Vec<Slot>, FormatError> {
        let function = self.program.called(called, &node.name)?;
        let place = || format!("function '{called}'");
        if self.callers.contains(&called) {
            return Err(FormatError::broken(place(), "it calls itself"));
        }
        if self.callers.len() == MOST_DEPTH {
            return Err(FormatError::broken(place(), format!("more than {MOST_DEPTH} calls lead to it")));
        }
        if arguments.len() != function.arguments.len() {
            let reason =
                format!("it is called with {} of {} arguments", arguments.len(), function.arguments.len());
            return Err(FormatError::broken(place(), reason));
        }
        self.charge(1 + arguments.len() + function.results.len(), scope.length())?;
        if self.callers.is_empty() {
            let changed = self.effects.changed(self.program, called)?;
            let handle = |argument: &usize| match arguments.get(*argument) {
                Some(Slot::Handle(handle)) => Some(*handle),
                _ => None,
            };
            self.changed.extend(changed.written.iter().filter_map(handle));
            for (variable, mask) in &changed.masked {
                match (handle(variable), handle(mask)) {
                    (Some(variable), Some(mask)) => self.resources.mask(variable, mask),
                    (variable, _) => self.changed.extend(variable),
                }
            }
        }
        self.callers.push(called);
        let mut frame = Frame {
            body: &function.body,
            arguments,
            parameters: &node.attributes,
            scope,
            states: HashMap::new(),
        };
        let results = function.results.iter().map(|result| self.evaluate(&mut frame, result)).collect();
        self.callers.pop();
        results
    }
}

/// The function that an attribute of a node names.
pub(super) fn function_of<'a>(node: &'a NodeDef, attribute: &str) -> Result<&'a str, FormatError> {
    match node.attributes.get(attribute).and_then(|value| value.value.as_ref()) {
        Some(Attribute::Function(function)) => Ok(&function.name),
        _ => Err(FormatError::broken(
            format!("node '{}'", node.name),
            format!("it has no function '{attribute}'"),
        )),
    }
}

/// That a node depends on itself.
fn circle<'a>(body: &Body<'a>, mut path: impl Iterator<Item = usize>) -> FormatError {
    let old = path.find(|node| matches!(body.nodes[*node].op.as_str(), "Merge" | "NextIteration" | "Enter"));
    match old {
        Some(node) => old_loop(&body.nodes[node].name, &body.nodes[node].op),
        None => FormatError::broken(body.name, "a node depends on itself"),
    }
}

fn old_loop(name: &str, op: &str) -> FormatError {
    refuse(
        name,
        op,
        "it is part of a loop of TensorFlow 1; save the model with TensorFlow 2, whose loops are While",
    )
}
