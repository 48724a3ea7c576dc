//! Loops.

use litesmith_graph::infer::common;
use litesmith_graph::ops::While;
use litesmith_graph::{DType, Dim, Facts, TensorId};

use super::control::Argument;
use crate::emit::Emit;
use crate::refusal::{Built, Refusal, unsupported};
use crate::savedmodel::flow::{Flow, Value};
use crate::savedmodel::translate::draft::Bound;
use crate::savedmodel::translate::lists::{self, List};
use crate::savedmodel::translate::scope::Scope;

/// Rounds of inference after which sizes that still change are taken for unknown.
const MOST_PASSES: usize = 4;

/// While and StatelessWhile: the condition and the body are flows that take the same values. Values that
/// every round gives on as they are and that are constants or weights become part of both graphs.
pub(super) fn repeated(scope: &mut Scope<'_>) -> Built<Vec<Bound>> {
    let node = scope.node;
    let [condition, body] = node.branches.as_slice() else {
        return Err(scope.broken("it does not have a condition and a body").into());
    };
    let count = scope.inputs.len();
    if body.inputs.len() != count || body.outputs.len() != count || condition.inputs.len() != count {
        return Err(scope.broken("its body does not take what it gives").into());
    }
    let mut given = scope.inputs.clone();
    let mut arguments = arguments(scope, body, &given)?;
    place_lists(scope, body, &mut given, &mut arguments)?;
    settle(scope, body, &mut arguments)?;
    let kept: Vec<bool> = arguments.iter().map(|argument| matches!(argument, Argument::Fixed(_))).collect();
    let mut body = scope.called(body, &arguments, false)?;
    drop_kept(&mut body.outputs, &kept);
    let outputs = body.finish()?;
    let mut condition = scope.called(condition, &arguments, false)?;
    let truths = condition.finish()?;
    if truths.len() != 1 {
        return Err(scope.broken("its condition does not give one value").into());
    }
    if truths[0].dtype != DType::Bool {
        unsupported!("a condition of a loop that is no truth value is not supported");
    }
    let op = While { condition: scope.add_graph(condition.draft), body: scope.add_graph(body.draft) };
    let mut passed = Vec::new();
    for (bound, _) in given.iter().zip(&kept).filter(|(_, kept)| !**kept) {
        passed.push(Some(tensor_of(scope, bound)?));
    }
    if passed.is_empty() {
        unsupported!("a loop that changes nothing is not supported");
    }
    let facts = arguments.iter().filter_map(known).cloned().map(|facts| facts.with_value(None)).collect();
    debug_assert_eq!(outputs.len(), passed.len());
    let name = scope.target.names.tensor(&node.name);
    let ids = scope.add_node(op.into(), passed, facts, &name, false)?;
    let mut ids = ids.into_iter();
    let mut results = Vec::with_capacity(count);
    for (bound, kept) in given.into_iter().zip(kept) {
        results.push(match (bound, kept) {
            (bound, true) => bound,
            (Bound::List(list), false) => Bound::List(List { items: ids.next(), ..list }),
            (_, false) => ids.next().map_or(Bound::Refused, Bound::Tensor),
        });
    }
    Ok(results)
}

/// What the body gets in the first round; of sizes, no values.
fn arguments(scope: &Scope<'_>, body: &Flow, given: &[Bound]) -> Built<Vec<Argument>> {
    let mut arguments = Vec::new();
    for (index, bound) in given.iter().enumerate() {
        let unchanged = origin(body, body.outputs[index].value) == Value::Input(index);
        arguments.push(match scope.argument(bound)? {
            Argument::Fixed(id) if !unchanged => Argument::Tensor(scope.facts(id).clone().with_value(None)),
            Argument::Tensor(facts) => Argument::Tensor(facts.with_value(None)),
            other => other,
        });
    }
    Ok(arguments)
}

/// A value behind operations that change nothing.
fn origin(flow: &Flow, value: Value) -> Value {
    let mut value = value;
    while let Value::Node { node, output } = value {
        let Some(node) = flow.nodes.get(node) else { break };
        let passed = match node.op.as_str() {
            "Identity" | "IdentityN" => node.inputs.get(output),
            _ => None,
        };
        match passed {
            Some(passed) => value = *passed,
            None => break,
        }
    }
    value
}

/// Gives lists that nothing has been put into a place, after a trial has shown what the body puts in.
fn place_lists(
    scope: &mut Scope<'_>,
    body: &Flow,
    given: &mut [Bound],
    arguments: &mut [Argument],
) -> Built<()> {
    if !arguments.iter().any(|argument| matches!(argument, Argument::Unplaced(_))) {
        return Ok(());
    }
    let graphs = scope.target.model.graphs.len();
    let made = scope.called(body, arguments, true)?;
    scope.target.model.graphs.truncate(graphs);
    for (index, argument) in arguments.iter_mut().enumerate() {
        let Argument::Unplaced(list) = argument else { continue };
        let Some(element) = made.draft.written.get(&index) else {
            unsupported!("a list of tensors goes through a loop that puts nothing into it");
        };
        let items = lists::place(scope, list, element)?;
        given[index] = Bound::List(List { items: Some(items), ..list.clone() });
        *argument = Argument::List(scope.facts(items).clone());
    }
    Ok(())
}

/// Finds what is known of the values in every round.
fn settle(scope: &mut Scope<'_>, body: &Flow, arguments: &mut [Argument]) -> Built<()> {
    for pass in 1..=MOST_PASSES {
        let graphs = scope.target.model.graphs.len();
        let mut made = scope.called(body, arguments, true)?;
        scope.target.model.graphs.truncate(graphs);
        let kept: Vec<bool> = arguments.iter().map(|argument| known(argument).is_none()).collect();
        drop_kept(&mut made.outputs, &kept);
        let after = made.finish()?;
        let mut changed = false;
        let variables = arguments.iter_mut().filter_map(known_mut);
        for (facts, after) in variables.zip(after) {
            let mut both =
                common(facts.clone(), &after.with_value(None)).map_err(|reason| scope.broken(reason))?;
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

fn known(argument: &Argument) -> Option<&Facts> {
    match argument {
        Argument::Tensor(facts) | Argument::List(facts) => Some(facts),
        _ => None,
    }
}

fn known_mut(argument: &mut Argument) -> Option<&mut Facts> {
    match argument {
        Argument::Tensor(facts) | Argument::List(facts) => Some(facts),
        _ => None,
    }
}

fn drop_kept(outputs: &mut Vec<Bound>, kept: &[bool]) {
    let mut places = kept.iter();
    outputs.retain(|_| !places.next().copied().unwrap_or(false));
}

fn tensor_of(scope: &Scope<'_>, bound: &Bound) -> Built<TensorId> {
    match bound {
        Bound::Tensor(id) | Bound::List(List { items: Some(id), .. }) => Ok(*id),
        Bound::List(_) => Err(scope.broken("a list of tensors has no elements").into()),
        Bound::Refused => Err(Refusal::Listed),
    }
}
