//! Conditionals and loops, and graphs of their own for what they run.

use std::collections::BTreeSet;
use std::collections::HashSet;

use litesmith_graph::infer::common;
use litesmith_graph::ops::{
    BinaryKind, Compare, CompareKind, If, Logical, LogicalKind, Pack, Reshape, Squeeze, While,
};
use litesmith_graph::{DType, Data, Dim, Facts, Shape, Tensor, TensorId};

use crate::emit::Emit;
use crate::onnx::proto::GraphProto;
use crate::onnx::read::draft::{Bound, Draft, Environment};
use crate::onnx::read::nodes;
use crate::onnx::read::scope::Scope;
use crate::refusal::{Built, Refusal, unsupported};

/// Deepest graph inside graphs.
const DEEPEST: usize = 32;
/// Rounds of a loop that are written out.
const MOST_ROUNDS: i64 = 64;
/// Rounds of inference after which sizes that still change are taken for unknown.
const MOST_PASSES: usize = 4;

/// The only element as a truth value.
fn truth(scope: &mut Scope<'_, '_>, condition: TensorId) -> Built<TensorId> {
    if scope.dtype(condition) != DType::Bool {
        return Err(scope.broken("its condition is no truth value").into());
    }
    if scope.rank(condition) == 0 { Ok(condition) } else { scope.emit(Reshape::to(Vec::new()), &[condition]) }
}

/// Whether a condition holds, if that is known.
fn known_truth(scope: &Scope<'_, '_>, condition: TensorId) -> Option<bool> {
    match scope.known_integers(condition)?.as_slice() {
        [value] => Some(*value != 0),
        _ => None,
    }
}

fn body<'a>(scope: &Scope<'_, 'a>, key: &'static str) -> Built<&'a GraphProto> {
    match scope.attributes.graph(key)? {
        Some(graph) => Ok(graph),
        None => Err(scope.broken(format!("its graph '{key}' is missing")).into()),
    }
}

pub(super) fn conditional(scope: &mut Scope<'_, '_>) -> Built<Vec<Bound>> {
    let condition = scope.input(0)?;
    let branches = [body(scope, "then_branch")?, body(scope, "else_branch")?];
    if let Some(holds) = known_truth(scope, condition) {
        return scope.inlined(branches[usize::from(!holds)], &[]);
    }
    let condition = truth(scope, condition)?;
    let captures = scope.captures(&branches)?;
    let mut graphs = Vec::new();
    let mut outputs: Option<Vec<Facts>> = None;
    for branch in branches {
        let mut made = scope.called(branch, &[], &captures)?;
        let facts = made.finish(scope)?;
        outputs = Some(match outputs {
            None => facts,
            Some(known) if known.len() == facts.len() => {
                let both = known.into_iter().zip(&facts).map(|(one, other)| common(one, other));
                match both.collect::<Result<_, _>>() {
                    Ok(both) => both,
                    Err(reason) => unsupported!(
                        "its branches give different tensors ({reason}); give the model fixed input shapes \
                         (--input-shape)"
                    ),
                }
            }
            Some(_) => return Err(scope.broken("its branches give different numbers of values").into()),
        });
        graphs.push(scope.target.add_graph(made.draft));
    }
    let op = If { then_graph: graphs[0], else_graph: graphs[1] };
    let passed = [condition].into_iter().chain(captures.passed.iter().map(|(_, id)| *id)).map(Some).collect();
    let ids = scope.add_node(op.into(), passed, outputs.unwrap_or_default(), false)?;
    Ok(ids.into_iter().map(Bound::Tensor).collect())
}

/// Values of outer graphs that called graphs read.
struct Captures<'a> {
    /// Constants: they become part of the graphs.
    kept: Vec<(&'a str, Bound)>,
    /// What is passed.
    passed: Vec<(&'a str, TensorId)>,
}

/// A graph that is called, and its outputs.
struct Made {
    draft: Draft,
    outputs: Vec<Bound>,
}

impl Made {
    /// Makes all outputs those of the graph, and gives what is known of them.
    fn finish(&mut self, scope: &mut Scope<'_, '_>) -> Built<Vec<Facts>> {
        let mut facts = Vec::new();
        for output in &self.outputs {
            let id = match output {
                Bound::Tensor(id) => *id,
                Bound::Weight(index) => scope.target.weight(&mut self.draft, *index)?,
                Bound::Sequence(_) => unsupported!("a list of tensors is given out, which is not supported"),
                Bound::Refused => return Err(Refusal::Listed),
            };
            facts.push(self.draft.facts[id.index()].clone());
            self.draft.graph.outputs.push(id);
        }
        Ok(facts)
    }
}

impl<'a> Scope<'_, 'a> {
    fn deeper(&mut self) -> Built<()> {
        if self.target.depth >= DEEPEST {
            return Err(self.broken("conditionals and loops lie too deep in others").into());
        }
        self.target.depth += 1;
        Ok(())
    }

    /// The names that graphs read of those around them.
    fn read_outside(&self, graphs: &[&'a GraphProto]) -> BTreeSet<&'a str> {
        let mut names = HashSet::new();
        graphs.iter().for_each(|graph| nodes::captured(graph, &mut names));
        names.into_iter().collect()
    }

    fn captures(&mut self, graphs: &[&'a GraphProto]) -> Built<Captures<'a>> {
        let mut captures = Captures { kept: Vec::new(), passed: Vec::new() };
        for name in self.read_outside(graphs) {
            match self.environment.get(name) {
                Some(Bound::Tensor(id)) if !self.draft.graph[*id].is_fixed() => {
                    captures.passed.push((name, *id))
                }
                Some(bound) => captures.kept.push((name, bound.clone())),
                None => return Err(self.broken(format!("it reads '{name}', which does not exist")).into()),
            }
        }
        Ok(captures)
    }

    /// A graph translated into the one that grows; `arguments` are its inputs.
    fn inlined(&mut self, graph: &'a GraphProto, arguments: &[Bound]) -> Built<Vec<Bound>> {
        self.deeper()?;
        let mut environment = Environment::new();
        for name in self.read_outside(&[graph]) {
            if let Some(bound) = self.environment.get(name) {
                environment.insert(name, bound.clone());
            }
        }
        for (input, bound) in graph.input.iter().zip(arguments) {
            environment.insert(input.name.as_deref().unwrap_or(""), bound.clone());
        }
        nodes::add_constants(self.target, graph, &mut environment)?;
        nodes::run(self.target, self.draft, graph, &mut environment)?;
        self.target.depth -= 1;
        outputs(graph, &environment)
    }

    /// A graph translated into one of its own: it takes `arguments`, of which this is known, and what is
    /// captured.
    fn called(&mut self, graph: &'a GraphProto, arguments: &[Facts], captures: &Captures<'a>) -> Built<Made> {
        self.deeper()?;
        let name = format!("{}/{}", self.layer, graph.name.as_deref().unwrap_or("body"));
        let mut draft = Draft::new(&name);
        let mut environment = Environment::new();
        let mut add = |target: &super::Target<'_>, name: &str, facts: &Facts| {
            let id = draft.add(&target.model, Tensor::input(name, facts.dtype, facts.shape.clone()));
            draft.facts[id.index()] = facts.clone();
            id
        };
        for (place, facts) in arguments.iter().enumerate() {
            let name = graph.input.get(place).and_then(|input| input.name.as_deref()).unwrap_or("");
            let id = add(self.target, name, facts);
            environment.insert(name, Bound::Tensor(id));
        }
        for (name, outer) in &captures.passed {
            let facts = self.draft.facts[outer.index()].clone();
            let id = add(self.target, name, &facts);
            environment.insert(name, Bound::Tensor(id));
        }
        for (name, bound) in &captures.kept {
            let bound = match bound {
                Bound::Tensor(id) => {
                    let copy = self.draft.graph[*id].clone();
                    Bound::Tensor(draft.add(&self.target.model, copy))
                }
                other => other.clone(),
            };
            environment.insert(name, bound);
        }
        nodes::add_constants(self.target, graph, &mut environment)?;
        nodes::run(self.target, &mut draft, graph, &mut environment)?;
        self.target.depth -= 1;
        let outputs = outputs(graph, &environment)?;
        Ok(Made { draft, outputs })
    }
}

fn outputs(graph: &GraphProto, environment: &Environment<'_>) -> Built<Vec<Bound>> {
    let mut outputs = Vec::with_capacity(graph.output.len());
    for output in &graph.output {
        match environment.get(output.name.as_deref().unwrap_or("")) {
            Some(Bound::Refused) => return Err(Refusal::Listed),
            Some(bound) => outputs.push(bound.clone()),
            None => {
                let place = format!("output '{}'", output.name.as_deref().unwrap_or(""));
                return Err(crate::error::FormatError::broken(place, "no node computes it").into());
            }
        }
    }
    Ok(outputs)
}

/// Loop: at most so many rounds, as long as a condition holds. The body takes the round's number, the
/// condition and what it gave the round before, and gives the condition, that, and a part of each list.
pub(super) fn repeated(scope: &mut Scope<'_, '_>) -> Built<Vec<Bound>> {
    let graph = body(scope, "body")?;
    let (most, condition) = (scope.optional(0)?, scope.optional(1)?);
    let mut carried = Vec::new();
    for index in 2..scope.input_count() {
        carried.push(scope.input(index)?);
    }
    let lists = graph.output.len().checked_sub(1 + carried.len());
    let (Some(lists), true) = (lists, graph.input.len() == carried.len() + 2) else {
        return Err(scope.broken("its body does not take what it gives").into());
    };
    let rounds = most.and_then(|most| scope.known_integers(most)).and_then(|most| most.first().copied());
    let begins = condition.map_or(Some(true), |condition| known_truth(scope, condition));
    if let (Some(rounds), Some(true)) = (rounds.filter(|rounds| *rounds <= MOST_ROUNDS), begins)
        && let Some(results) = written_out(scope, graph, &carried, rounds.max(0), lists)?
    {
        return Ok(results);
    }
    if lists > 0 {
        unsupported!(
            "a loop that collects parts is supported for a known number of rounds up to {MOST_ROUNDS} without \
             an end of its own; carry a tensor through the loop"
        );
    }
    looped(scope, graph, most, condition, &carried)
}

/// All rounds one after the other; `None` where it is not known how many there are.
fn written_out<'a>(
    scope: &mut Scope<'_, 'a>,
    graph: &'a GraphProto,
    carried: &[TensorId],
    rounds: i64,
    lists: usize,
) -> Built<Option<Vec<Bound>>> {
    let mut values: Vec<Bound> = carried.iter().copied().map(Bound::Tensor).collect();
    let mut parts: Vec<Vec<TensorId>> = vec![Vec::new(); lists];
    for round in 0..rounds {
        let number = scope.number("round", DType::I64, round as f64)?;
        let holds = scope.number("holds", DType::Bool, 1.0)?;
        let arguments: Vec<Bound> =
            [number, holds].into_iter().map(Bound::Tensor).chain(values.iter().cloned()).collect();
        let mut outputs = scope.inlined(graph, &arguments)?;
        let given = outputs.split_off(1);
        let condition = scope.tensor_of(outputs[0].clone())?;
        let (next, collected) = given.split_at(values.len());
        values = next.to_vec();
        for (parts, part) in parts.iter_mut().zip(collected) {
            parts.push(scope.tensor_of(part.clone())?);
        }
        match known_truth(scope, condition) {
            Some(true) => {}
            Some(false) => break,
            None => return Ok(None),
        }
    }
    for parts in parts {
        if parts.is_empty() {
            unsupported!("a loop without rounds collects nothing of a known shape");
        }
        values.push(Bound::Tensor(scope.emit(Pack { axis: 0 }, &parts)?));
    }
    Ok(Some(values))
}

/// A loop whose number of rounds is computed.
fn looped<'a>(
    scope: &mut Scope<'_, 'a>,
    graph: &'a GraphProto,
    most: Option<TensorId>,
    condition: Option<TensorId>,
    carried: &[TensorId],
) -> Built<Vec<Bound>> {
    let zero = scope.number("round", DType::I64, 0.0)?;
    let most = match most {
        Some(most) if scope.rank(most) == 0 => most,
        Some(most) => scope.emit(Reshape::to(Vec::new()), &[most])?,
        None => scope.number("most", DType::I64, 9.0e15)?,
    };
    let holds = match condition {
        Some(condition) => truth(scope, condition)?,
        None => scope.number("holds", DType::Bool, 1.0)?,
    };
    let captures = scope.captures(&[graph])?;
    let begin: Vec<TensorId> = [zero, holds].into_iter().chain(carried.iter().copied()).collect();
    let mut facts: Vec<Facts> = begin.iter().map(|id| scope.facts(*id).clone().with_value(None)).collect();
    settle(scope, graph, &mut facts, &captures)?;
    // What the body gives, and what it passes on as it got it: the end and what is captured.
    let mut made = scope.called(graph, &facts, &captures)?;
    let given = made.finish(scope)?;
    let draft = &mut made.draft;
    let (round, passed) = (draft.graph.inputs[0], draft.graph.inputs[facts.len()..].to_vec());
    let next = next_round(scope, draft, round);
    draft.graph.outputs.insert(0, next);
    draft.graph.outputs.extend(passed);
    let end = scope.facts(most).clone().with_value(None);
    let end_in_body = draft.add(&scope.target.model, Tensor::input("most", end.dtype, end.shape.clone()));
    draft.graph.outputs.push(end_in_body);
    debug_assert_eq!(given.len() + 1, facts.len());
    let outer: Vec<Facts> =
        captures.passed.iter().map(|(_, id)| scope.facts(*id).clone().with_value(None)).collect();
    let all: Vec<Facts> = facts.iter().cloned().chain(outer).chain([end]).collect();
    let condition = goes_on(scope, &all);
    let (condition, body) = (scope.target.add_graph(condition), scope.target.add_graph(made.draft));
    let passed = begin.into_iter().chain(captures.passed.iter().map(|(_, id)| *id)).chain([most]);
    let passed = passed.map(Some).collect();
    let ids = scope.add_node(While { condition, body }.into(), passed, all, false)?;
    Ok(ids[2..2 + carried.len()].iter().copied().map(Bound::Tensor).collect())
}

/// Finds what is known of a loop's values in every round; the first is its number.
fn settle<'a>(
    scope: &mut Scope<'_, 'a>,
    graph: &'a GraphProto,
    facts: &mut [Facts],
    captures: &Captures<'a>,
) -> Built<()> {
    for pass in 1..=MOST_PASSES {
        let graphs = scope.target.model.graphs.len();
        let mut made = scope.called(graph, facts, captures)?;
        scope.target.model.graphs.truncate(graphs);
        let after = made.finish(scope)?;
        let mut changed = false;
        for (facts, after) in facts[1..].iter_mut().zip(after) {
            let mut both = match common(facts.clone(), &after.with_value(None)) {
                Ok(both) => both,
                Err(reason) => unsupported!("its values change their kind from round to round: {reason}"),
            };
            if both != *facts {
                changed = true;
                if pass + 1 >= MOST_PASSES {
                    both.shape.0.fill(Dim::Unknown);
                }
                *facts = both;
            }
        }
        if !changed {
            break;
        }
    }
    Ok(())
}

/// The number of the next round, computed in the body.
fn next_round(scope: &Scope<'_, '_>, draft: &mut Draft, round: TensorId) -> TensorId {
    let scalar = |name: &str| Tensor::activation(name, DType::I64, Shape::default());
    let one = Tensor::constant("one", DType::I64, Shape::default(), Data::from_vec(vec![1i64]));
    let one = draft.add(&scope.target.model, one);
    let next = draft.add(&scope.target.model, scalar("next"));
    let op = litesmith_graph::ops::Binary::from(BinaryKind::Add);
    draft.graph.add_node(&scope.layer, op, vec![Some(round), Some(one)], vec![next]);
    next
}

/// The graph that says whether there is another round: its number is below the last variable, and the
/// condition holds.
fn goes_on(scope: &Scope<'_, '_>, variables: &[Facts]) -> Draft {
    let mut draft = Draft::new(&format!("{}/condition", scope.layer));
    let model = &scope.target.model;
    let inputs: Vec<TensorId> = variables
        .iter()
        .enumerate()
        .map(|(place, facts)| {
            draft.add(model, Tensor::input(&format!("v{place}"), facts.dtype, facts.shape.clone()))
        })
        .collect();
    let truth = |name: &str| Tensor::activation(name, DType::Bool, Shape::default());
    let below = draft.add(model, truth("below"));
    let compare = Compare { kind: CompareKind::Less };
    draft.graph.add_node(&scope.layer, compare, vec![Some(inputs[0]), inputs.last().copied()], vec![below]);
    let both = draft.add(model, truth("both"));
    let and = Logical { kind: LogicalKind::And };
    draft.graph.add_node(&scope.layer, and, vec![Some(below), Some(inputs[1])], vec![both]);
    draft.graph.outputs.push(both);
    draft
}

/// Scan: the body takes states and a slice of each sequence, and gives states and slices.
pub(super) fn scanned(scope: &mut Scope<'_, '_>) -> Built<Vec<Bound>> {
    if scope.target.opset < 9 {
        unsupported!("it is supported from opset 9 on; bring the model to it");
    }
    let graph = body(scope, "body")?;
    let sequences = scope.attributes.integer("num_scan_inputs")?.unwrap_or(0);
    let sequences = scope.size_from(sequences, "the number of its sequences")?;
    let inputs = scope.tensors_from(0)?;
    let states = inputs.len().checked_sub(sequences);
    let (Some(states), true) = (states, sequences > 0) else {
        return Err(scope.broken("it has fewer inputs than sequences").into());
    };
    let Some(lists) = graph.output.len().checked_sub(states) else {
        return Err(scope.broken("its body gives fewer values than it has states").into());
    };
    let list = |key: &'static str, length: usize| -> Built<Vec<i64>> {
        let given = scope.attributes.integers(key)?.map(<[i64]>::to_vec);
        match given.unwrap_or_else(|| vec![0; length]) {
            given if given.len() == length => Ok(given),
            given => Err(scope.broken(format!("its attribute '{key}' is {given:?}")).into()),
        }
    };
    let (axes, backwards) = (list("scan_input_axes", sequences)?, list("scan_input_directions", sequences)?);
    let (places, turned) = (list("scan_output_axes", lists)?, list("scan_output_directions", lists)?);
    let (mut values, sequences) = (inputs[..states].to_vec(), inputs[states..].to_vec());
    let axes = axes.iter().zip(&sequences).map(|(axis, x)| scope.axis(*axis, scope.rank(*x)));
    let axes = axes.collect::<Built<Vec<_>>>()?;
    let rounds = scope.size(sequences[0], axes[0])?;
    if rounds as i64 > MOST_ROUNDS || rounds == 0 {
        unsupported!("sequences of {rounds} are not supported, 1 to {MOST_ROUNDS} are");
    }
    let mut parts: Vec<Vec<TensorId>> = vec![Vec::new(); lists];
    for round in 0..rounds {
        let mut arguments: Vec<Bound> = values.iter().copied().map(Bound::Tensor).collect();
        for ((x, axis), backwards) in sequences.iter().zip(&axes).zip(&backwards) {
            let place = if *backwards == 1 { rounds - 1 - round } else { round };
            let slice = scope.part(*x, *axis, place, 1)?;
            arguments.push(Bound::Tensor(scope.emit(Squeeze { axes: vec![*axis as i32] }, &[slice])?));
        }
        let outputs = scope.inlined(graph, &arguments)?;
        let outputs = outputs.into_iter().map(|bound| scope.tensor_of(bound)).collect::<Built<Vec<_>>>()?;
        values = outputs[..states].to_vec();
        parts.iter_mut().zip(&outputs[states..]).for_each(|(parts, part)| parts.push(*part));
    }
    let mut results: Vec<Bound> = values.into_iter().map(Bound::Tensor).collect();
    for ((mut parts, axis), turned) in parts.into_iter().zip(places).zip(turned) {
        if turned == 1 {
            parts.reverse();
        }
        let axis = scope.axis_i32(axis, scope.rank(parts[0]) + 1)?;
        results.push(Bound::Tensor(scope.emit(Pack { axis }, &parts)?));
    }
    Ok(results)
}
