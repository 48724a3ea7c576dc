//! Layers that add zeros around their input, or cut its border off.

use litesmith_graph::TensorId;
use litesmith_graph::ops::{Pad, StridedSlice};
use serde_json::Value;

use crate::emit::Emit;
use crate::keras::config::{Built, Config};
use crate::keras::scope::Scope;

pub(super) fn zero_padding_1d(scope: &mut Scope<'_>) -> Built<TensorId> {
    let [time] = amounts(scope.config(), "padding")?;
    padded(scope, &[time])
}

pub(super) fn zero_padding_2d(scope: &mut Scope<'_>) -> Built<TensorId> {
    let sides: [_; 2] = amounts(scope.config(), "padding")?;
    padded(scope, &sides)
}

pub(super) fn zero_padding_3d(scope: &mut Scope<'_>) -> Built<TensorId> {
    let sides: [_; 3] = amounts(scope.config(), "padding")?;
    padded(scope, &sides)
}

pub(super) fn cropping_3d(scope: &mut Scope<'_>) -> Built<TensorId> {
    let sides: [_; 3] = amounts(scope.config(), "cropping")?;
    cropped(scope, &sides)
}

pub(super) fn cropping_1d(scope: &mut Scope<'_>) -> Built<TensorId> {
    let [time] = amounts(scope.config(), "cropping")?;
    cropped(scope, &[time])
}

pub(super) fn cropping_2d(scope: &mut Scope<'_>) -> Built<TensorId> {
    let sides: [_; 2] = amounts(scope.config(), "cropping")?;
    cropped(scope, &sides)
}

fn padded(scope: &mut Scope<'_>, sides: &[[usize; 2]]) -> Built<TensorId> {
    let input = scope.ranked(sides.len() + 2)?;
    let amounts = [&[[0, 0]], sides, &[[0, 0]]].concat();
    scope.emit(Pad { amounts, ..Pad::default() }, &[input])
}

fn cropped(scope: &mut Scope<'_>, sides: &[[usize; 2]]) -> Built<TensorId> {
    let rank = sides.len() + 2;
    let input = scope.ranked(rank)?;
    let mut slice = StridedSlice {
        begin: vec![0; rank],
        end: vec![0; rank],
        strides: vec![1; rank],
        begin_mask: 1 | 1 << (rank - 1),
        end_mask: 1 | 1 << (rank - 1),
        shrink_axis_mask: 0,
    };
    for (index, [before, after]) in sides.iter().enumerate() {
        let axis = index + 1;
        slice.begin[axis] = *before as i64;
        slice.end[axis] = -(*after as i64);
        if *after == 0 {
            slice.end_mask |= 1 << axis;
        }
        if let Some(length) = scope.shape(input).dims()[axis].fixed()
            && before + after >= length
        {
            return Err(scope
                .config()
                .broken(format!("it cuts {before} and {after} off an axis of {length}"))
                .into());
        }
    }
    scope.emit(slice, &[input])
}

/// What is added or cut before and after each of `N` axes: one number for all, one for each axis,
/// or two for each.
fn amounts<const N: usize>(config: Config<'_>, key: &str) -> Built<[[usize; 2]; N]> {
    let one = |value: &Value| {
        value.as_u64().filter(|amount| *amount <= u64::from(u32::MAX)).map(|amount| amount as usize)
    };
    let pair = |value: &Value| match value {
        Value::Array(sides) => match sides.as_slice() {
            [before, after] => Some([one(before)?, one(after)?]),
            _ => None,
        },
        both => one(both).map(|amount| [amount; 2]),
    };
    let value = config.required(key)?;
    let sides: Option<Vec<[usize; 2]>> = match value {
        // Over one axis, a pair means before and after.
        Value::Array(_) if N == 1 => pair(value).map(|sides| vec![sides]),
        Value::Array(axes) if axes.len() == N => axes.iter().map(pair).collect(),
        Value::Array(_) => None,
        all => pair(all).map(|sides| vec![sides; N]),
    };
    sides
        .and_then(|sides| <[[usize; 2]; N]>::try_from(sides).ok())
        .ok_or_else(|| config.broken(format!("its setting '{key}' must say how much for each side")).into())
}
