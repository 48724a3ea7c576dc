//! Layers that make one tensor of several.

use litesmith_graph::TensorId;
use litesmith_graph::ops::{
    BinaryKind, Compare, CompareKind, Concat, ExpandDims, L2Norm, Logical, LogicalKind, Reduce, ReduceKind,
    Squeeze,
};

use crate::composed::einsum;
use crate::composed::truth;
use crate::emit::Emit;
use crate::keras::config::{Built, Version, integers, unsupported};
use crate::keras::scope::Scope;

pub(super) fn add(scope: &mut Scope<'_>) -> Built<TensorId> {
    merged(scope, BinaryKind::Add)
}

/// A step that does not count in one input counts as 1 (Keras 3); one that counts in none becomes 0.
pub(super) fn multiply(scope: &mut Scope<'_>) -> Built<TensorId> {
    let Some((inputs, steps)) = masked_inputs(scope)? else { return merged(scope, BinaryKind::Mul) };
    let one = scope.scalar("one", 1.0)?;
    let mut factors = Vec::new();
    for (input, step) in inputs.iter().zip(&steps) {
        factors.push(match step {
            Some(step) => truth::chosen(scope, *step, *input, one)?,
            None => *input,
        });
    }
    let mut product = factors[0];
    for factor in &factors[1..] {
        product = scope.binary(BinaryKind::Mul, product, *factor)?;
    }
    let Some(steps) = steps.into_iter().collect::<Option<Vec<_>>>() else { return Ok(product) };
    let mut counts = steps[0];
    for step in &steps[1..] {
        counts = scope.emit(Logical { kind: LogicalKind::Or }, &[counts, *step])?;
    }
    truth::kept(scope, counts, product)
}

pub(super) fn maximum(scope: &mut Scope<'_>) -> Built<TensorId> {
    extreme(scope, BinaryKind::Maximum)
}

pub(super) fn minimum(scope: &mut Scope<'_>) -> Built<TensorId> {
    extreme(scope, BinaryKind::Minimum)
}

pub(super) fn subtract(scope: &mut Scope<'_>) -> Built<TensorId> {
    if scope.tensors().len() != 2 {
        return Err(scope.config().broken("it takes two inputs").into());
    }
    merged(scope, BinaryKind::Sub)
}

pub(super) fn average(scope: &mut Scope<'_>) -> Built<TensorId> {
    let count = scope.tensors().len();
    let sum = merged(scope, BinaryKind::Add)?;
    scope.with_scalar(BinaryKind::Mul, sum, 1.0 / count as f32)
}

/// What goes with each input: its mask over its last axis too.
type Steps = Vec<Option<TensorId>>;

/// The inputs and their masks, where Keras 3 heeds these: if there is one.
fn masked_inputs(scope: &mut Scope<'_>) -> Built<Option<(Vec<TensorId>, Steps)>> {
    let given = scope.tensors();
    let masks: Vec<_> = given.iter().map(|input| scope.carried_mask(*input)).collect();
    if scope.version == Version::Keras2 || masks.iter().all(Option::is_none) {
        return Ok(None);
    }
    let inputs = scope.all_floats()?;
    let mut steps = Vec::new();
    for (mask, input) in masks.into_iter().zip(&inputs) {
        let axis = scope.rank(*input) as i32 - 1;
        steps.push(match mask {
            Some(mask) if scope.rank(mask) + 1 == scope.rank(*input) => {
                Some(scope.emit(ExpandDims { axis }, &[mask])?)
            }
            Some(_) => unsupported!("a mask of other than its input's steps is not supported"),
            None => None,
        });
    }
    Ok(Some((inputs, steps)))
}

/// A step that does not count in one input is left to the others (Keras 3).
fn extreme(scope: &mut Scope<'_>, kind: BinaryKind) -> Built<TensorId> {
    let Some((inputs, steps)) = masked_inputs(scope)? else { return merged(scope, kind) };
    let (mut output, mut counts) = (inputs[0], steps[0]);
    for (input, step) in inputs.into_iter().zip(steps).skip(1) {
        let other = match step {
            Some(step) => truth::chosen(scope, step, input, output)?,
            None => input,
        };
        if let Some(counts) = counts {
            output = truth::chosen(scope, counts, output, other)?;
        }
        counts = match (step, counts) {
            (Some(a), Some(b)) => Some(scope.emit(Logical { kind: LogicalKind::Or }, &[a, b])?),
            _ => None,
        };
        output = scope.binary(kind, output, other)?;
    }
    Ok(output)
}

/// All inputs, from the first to the last. One of fewer axes gets more behind its first, which is
/// the batch.
fn merged(scope: &mut Scope<'_>, kind: BinaryKind) -> Built<TensorId> {
    let inputs = scope.all_floats()?;
    let rank = inputs.iter().map(|input| scope.rank(*input)).max().unwrap_or(0);
    let mut aligned = Vec::new();
    for mut input in inputs {
        while scope.rank(input) < rank {
            input = scope.emit(ExpandDims { axis: 1 }, &[input])?;
        }
        aligned.push(input);
    }
    let Some((first, others)) = aligned.split_first() else {
        return Err(scope.config().broken("it is called without a tensor").into());
    };
    others.iter().try_fold(*first, |merged, other| scope.binary(kind, merged, *other))
}

pub(super) fn concatenate(scope: &mut Scope<'_>) -> Built<TensorId> {
    let inputs = scope.all_floats()?;
    let axis = scope.attribute("axis").as_ref().and_then(integers);
    let axis = match axis.as_deref() {
        None if scope.layer.is_operation() => 0,
        None => -1,
        Some([axis]) => i32::try_from(*axis).unwrap_or(i32::MAX),
        Some(axes) => return Err(scope.config().broken(format!("its axis is {axes:?}")).into()),
    };
    if inputs.is_empty() {
        return Err(scope.config().broken("it is called without a tensor").into());
    }
    let joined = scope.emit(Concat { axis, ..Concat::default() }, &inputs)?;
    if !scope.layer.is_operation() {
        concatenated_masks(scope, &inputs, joined, axis)?;
    }
    Ok(joined)
}

/// Along the steps, masks are concatenated too; along another axis, a step counts that counts in every
/// input.
fn concatenated_masks(scope: &mut Scope<'_>, inputs: &[TensorId], joined: TensorId, axis: i32) -> Built<()> {
    let given = scope.tensors();
    let masks = scope.masks(&given)?;
    if masks.iter().all(Option::is_none) {
        return Ok(());
    }
    let axis = scope.axis(i64::from(axis), scope.rank(joined))?;
    if axis > 1 {
        let mut counts = None;
        for mask in masks {
            counts = truth::both(scope, counts, mask)?;
        }
        scope.set_mask(joined, counts);
        return Ok(());
    }
    let mut parts = Vec::new();
    for (mask, input) in masks.iter().zip(inputs) {
        parts.push(match mask {
            Some(mask) => *mask,
            // Every step of an input without a mask counts.
            None => {
                let step = scope.part(*input, 2, 0, 1)?;
                let step = scope.emit(Squeeze { axes: vec![2] }, &[step])?;
                scope.emit(Compare { kind: CompareKind::Equal }, &[step, step])?
            }
        });
    }
    let mask = scope.emit(Concat { axis: axis as i32, ..Concat::default() }, &parts)?;
    scope.set_mask(joined, Some(mask));
    Ok(())
}

/// Products of samples, summed over one axis of each.
pub(super) fn dot(scope: &mut Scope<'_>) -> Built<TensorId> {
    let inputs = scope.all_floats()?;
    let [mut a, mut b] = *inputs.as_slice() else {
        return Err(scope.config().broken("it takes two inputs").into());
    };
    let (rank_a, rank_b) = (scope.rank(a), scope.rank(b));
    let axes = scope.config().integers("axes")?.unwrap_or_default();
    let (axis_a, axis_b) = match axes.as_slice() {
        [both] => (*both, *both),
        [a, b] => (*a, *b),
        _ => return Err(scope.config().broken("its axes must be one or two integers").into()),
    };
    let (axis_a, axis_b) = (scope.axis(axis_a, rank_a)?, scope.axis(axis_b, rank_b)?);
    if axis_a == 0 || axis_b == 0 || rank_a < 2 || rank_b < 2 {
        return Err(scope
            .config()
            .broken(format!("it sums over the axes {axes:?} of {rank_a} and {rank_b}"))
            .into());
    }
    if scope.config().flag("normalize", false)? {
        a = scope.along_last(a, axis_a, |scope, a| scope.emit(L2Norm {}, &[a]))?;
        b = scope.along_last(b, axis_b, |scope, b| scope.emit(L2Norm {}, &[b]))?;
    }
    if rank_a == 2 && rank_b == 2 {
        let product = scope.binary(BinaryKind::Mul, a, b)?;
        return scope.emit(Reduce { kind: ReduceKind::Sum, axes: vec![1], keep_dims: true }, &[product]);
    }
    // The batch is shared, and so is the axis of the sum; all others are kept.
    let letters: Vec<char> = ('a'..='z').take(rank_a + rank_b).collect();
    if letters.len() < rank_a + rank_b {
        unsupported!("a product of inputs with {rank_a} and {rank_b} axes is not supported");
    }
    let (left, mut right) = (letters[..rank_a].to_vec(), letters[rank_a..].to_vec());
    (right[0], right[axis_b]) = (left[0], left[axis_a]);
    let kept =
        |axes: &[char], gone: char| axes.iter().copied().filter(|axis| *axis != gone).collect::<Vec<_>>();
    let output = [kept(&left, left[axis_a]), kept(&right[1..], left[axis_a])].concat();
    einsum::two(scope, [a, b], [&left, &right], &output)
}
