//! From a graph and its functions to one flow: what the outputs need is followed from node to node,
//! calls are replaced by what they call, handles by variables, and nodes that only pass a value on, or
//! run for their effects alone, go.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::branches::Given;
use super::draft::{Draft, DraftFlow, Slot, Source, refuse};
use super::effects::Effects;
use super::program::{Body, Program, Reference};
use super::proto::{AttrValue, Attribute, NodeDef};
use super::resources::Resources;
use crate::error::FormatError;

/// Deepest call within calls.
const MOST_DEPTH: usize = 64;
/// Most nodes that are looked at, those of each call counted anew.
const MOST_NODES: usize = 2 << 20;
/// Most bytes that the names of all nodes may take together.
const MOST_NAMES: usize = 1 << 28;
/// Most outputs of one node.
const MOST_OUTPUTS: usize = 1 << 16;
/// How far a predicate's operands are followed.
const PREDICATE_DEPTH: usize = 8;

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
    scope: Scope<'a>,
    states: HashMap<usize, State>,
}

enum State {
    /// Its inputs are being followed.
    Active,
    Done(Outcome),
}

/// What the outputs of a node are.
#[derive(Clone)]
enum Outcome {
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

/// What stands before the names of a function's nodes.
#[derive(Clone, Default)]
pub(super) struct Scope<'a> {
    /// Scope of the node that runs the function.
    outer: String,
    /// That node, where it is more than a call: nodes of branches and loops say its name themselves.
    owner: &'a str,
}

impl<'a> Scope<'a> {
    /// The scope inside of a call of this name: the call's own, and not the call itself where its name
    /// says nothing.
    fn of_call(name: String) -> Scope<'a> {
        let (scope, last) = name.rsplit_once('/').unwrap_or(("", &name));
        let plain = last.trim_end_matches(|c: char| c.is_ascii_digit());
        let plain = plain.strip_suffix('_').unwrap_or(last);
        let says_nothing = matches!(plain, "PartitionedCall" | "StatefulPartitionedCall");
        Scope { outer: if says_nothing { scope.to_owned() } else { name }, owner: "" }
    }

    /// The scope inside of a branch or loop.
    fn inside(&self, node: &'a NodeDef) -> Scope<'a> {
        Scope { outer: self.around(&node.name), owner: &node.name }
    }

    fn name_of(&self, node: &str) -> String {
        join(&self.around(node), node)
    }

    /// What stands before a node's own name.
    fn around(&self, node: &str) -> String {
        if self.owner.is_empty() || starts(node, self.owner) {
            return self.outer.clone();
        }
        join(&self.outer, self.owner)
    }

    fn length(&self) -> usize {
        self.outer.len() + self.owner.len() + 2
    }
}

/// Whether a name lies in a scope.
fn starts(name: &str, scope: &str) -> bool {
    name.strip_prefix(scope).is_some_and(|rest| rest.starts_with('/'))
}

/// A name behind a scope, where it does not say that scope itself.
fn join(scope: &str, name: &str) -> String {
    if scope.is_empty() || starts(name, scope) { name.to_owned() } else { format!("{scope}/{name}") }
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
    fn keep(
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
            let handles = changed.iter().filter_map(|argument| match arguments.get(*argument) {
                Some(Slot::Handle(handle)) => Some(*handle),
                _ => None,
            });
            self.changed.extend(handles);
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

    /// `Switch`: its data goes to the first output where the predicate is false, else to the second.
    fn switch(&self, name: &str, inputs: &[Slot]) -> Result<Outcome, FormatError> {
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
    fn choice(
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
        let inputs = std::iter::once(*predicate).chain(kept.iter().filter_map(|given| given.from_outside()));
        Ok(self.keep(frame, node, name, inputs.collect(), flows))
    }

    /// `While`: nothing where the condition never holds; else without the variables of the loop that
    /// stay what they are and need not be carried along.
    fn repetition(
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
        let mut carried = kept.iter().map(|given| given.from_outside().is_some());
        body.outputs.retain(|_| carried.next() == Some(true));
        let outside = kept.iter().filter_map(Given::from_outside).collect();
        let Outcome::Node(loop_node) = self.keep(frame, node, name, outside, vec![condition, body]) else {
            return Ok(Outcome::Slots(inputs));
        };
        let mut output = 0;
        let mut results = Vec::with_capacity(inputs.len());
        for ((given, input), stays) in kept.iter().zip(&inputs).zip(stays) {
            results.push(if stays { *input } else { Slot::Node { node: loop_node, output } });
            output += usize::from(given.from_outside().is_some());
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
fn merge(name: &str, inputs: &[Slot]) -> Result<Outcome, FormatError> {
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

/// The function that an attribute of a node names.
fn function_of<'a>(node: &'a NodeDef, attribute: &str) -> Result<&'a str, FormatError> {
    match node.attributes.get(attribute).and_then(|value| value.value.as_ref()) {
        Some(Attribute::Function(function)) => Ok(&function.name),
        _ => Err(FormatError::broken(
            format!("node '{}'", node.name),
            format!("it has no function '{attribute}'"),
        )),
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
