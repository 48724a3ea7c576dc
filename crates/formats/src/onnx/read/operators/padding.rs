//! More elements around a tensor.

use litesmith_graph::ops::{Pad, PadMode, Reshape, ReshapeDim, Transpose};
use litesmith_graph::{DType, TensorId};

use super::gathering::chosen_along;
use crate::emit::Emit;
use crate::onnx::read::scope::Scope;
use crate::refusal::{Built, unsupported};

pub(super) fn pad(scope: &mut Scope<'_, '_>) -> Built<TensorId> {
    let x = scope.input(0)?;
    let rank = scope.rank(x);
    let mode = scope.attributes.text("mode")?.unwrap_or("constant");
    let by_attributes = scope.target.opset < 11;
    let value = if by_attributes {
        scope.attributes.number("value")?.unwrap_or(0.0)
    } else {
        match scope.optional(2)? {
            Some(value) => match scope.known_number(value) {
                Some(value) => value as f32,
                None => unsupported!("the value of its padding must be constant"),
            },
            None => 0.0,
        }
    };
    let axes = match scope.integers_if_any(3, "its axes")? {
        Some(axes) => scope.axes(&axes, rank)?,
        None => (0..rank).collect(),
    };
    let constant = if value == 0.0 { PadMode::Zero } else { PadMode::Value(value) };
    let pads = if by_attributes {
        scope.attributes.integers("pads")?.unwrap_or_default().to_vec()
    } else {
        let given = scope.input(1)?;
        match scope.known_integers(given) {
            Some(pads) => pads,
            None if mode == "constant" && axes.len() == rank => return as_given(scope, x, given, constant),
            None => {
                unsupported!("how much is padded must be constant in mode '{mode}' or where axes are named")
            }
        }
    };
    if pads.len() != 2 * axes.len() {
        return Err(scope.broken(format!("it has {} paddings for {} axes", pads.len(), axes.len())).into());
    }
    let mut amounts = vec![[0i64, 0]; rank];
    for (place, axis) in axes.iter().enumerate() {
        amounts[*axis] = [pads[place], pads[axes.len() + place]];
    }
    let x = cut(scope, x, &mut amounts)?;
    let sizes = |amounts: &[[i64; 2]]| -> Vec<[usize; 2]> {
        amounts.iter().map(|pair| pair.map(|amount| usize::try_from(amount).unwrap_or(0))).collect()
    };
    for amount in amounts.as_flattened() {
        scope.size_from(*amount, "a padding")?;
    }
    let amounts = sizes(&amounts);
    if amounts.iter().all(|pair| *pair == [0, 0]) {
        return Ok(x);
    }
    match mode {
        "constant" => scope.emit(Pad { amounts, mode: constant }, &[x]),
        "reflect" if reflects_once(scope, x, &amounts) => {
            scope.emit(Pad { amounts, mode: PadMode::Reflect }, &[x])
        }
        "reflect" | "edge" | "wrap" => gathered(scope, x, &amounts, mode),
        other => Err(scope.broken(format!("its mode is '{other}'")).into()),
    }
}

/// Negative paddings cut off what is there.
fn cut(scope: &mut Scope<'_, '_>, x: TensorId, amounts: &mut [[i64; 2]]) -> Built<TensorId> {
    let mut x = x;
    for (axis, pair) in amounts.iter_mut().enumerate() {
        let [before, after] = pair.map(|amount| amount.min(0).unsigned_abs() as usize);
        if before + after == 0 {
            continue;
        }
        let size = scope.size(x, axis)?;
        let Some(rest) = size.checked_sub(before).and_then(|rest| rest.checked_sub(after)) else {
            return Err(scope.broken("more is cut off than there is").into());
        };
        x = scope.part(x, axis, before, rest)?;
        *pair = pair.map(|amount| amount.max(0));
    }
    Ok(x)
}

fn reflects_once(scope: &Scope<'_, '_>, x: TensorId, amounts: &[[usize; 2]]) -> bool {
    let shape = scope.shape(x);
    let once = |(axis, [before, after]): (usize, &[usize; 2])| match shape.dims()[axis].fixed() {
        Some(size) => before.max(after) < &size,
        None => true,
    };
    amounts.iter().enumerate().all(once)
}

/// Each new element is one of those that are there.
fn gathered(scope: &mut Scope<'_, '_>, x: TensorId, amounts: &[[usize; 2]], mode: &str) -> Built<TensorId> {
    let mut x = x;
    for (axis, [before, after]) in amounts.iter().enumerate() {
        if before + after == 0 {
            continue;
        }
        let size = scope.size(x, axis)? as i64;
        if size == 0 {
            return Err(scope.broken("an axis without elements cannot be continued").into());
        }
        scope.affordable(&[*before + *after + size as usize])?;
        let place = |index: i64| match mode {
            "edge" => index.clamp(0, size - 1),
            "wrap" => index.rem_euclid(size),
            _ => {
                let period = (2 * (size - 1)).max(1);
                let within = index.rem_euclid(period);
                within.min(period - within).min(size - 1)
            }
        };
        let places: Vec<i64> = (-(*before as i64)..size + *after as i64).map(place).collect();
        x = chosen_along(scope, x, axis, &places)?;
    }
    Ok(x)
}

/// By amounts that are computed: first those before all axes, then those behind.
fn as_given(scope: &mut Scope<'_, '_>, x: TensorId, pads: TensorId, mode: PadMode) -> Built<TensorId> {
    let rank = scope.rank(x);
    let shape = Reshape::to(vec![ReshapeDim::Fixed(2), ReshapeDim::Fixed(rank)]);
    let pads = scope.cast(pads, DType::I64)?;
    let pairs = scope.emit(shape, &[pads])?;
    let pairs = scope.emit(Transpose::by(&[1, 0]), &[pairs])?;
    scope.emit(Pad { amounts: Vec::new(), mode }, &[x, pairs])
}
