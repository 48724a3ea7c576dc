//! Layers that act in training alone.

use litesmith_graph::TensorId;
use litesmith_graph::ops::Dropout;
use serde_json::Value;

use crate::emit::Emit;
use crate::keras::config::{Built, unsupported};
use crate::keras::scope::Scope;

/// Noise and penalties that training here goes without, and the identity.
pub(super) fn nothing(scope: &mut Scope<'_>) -> Built<TensorId> {
    scope.input()
}

/// An axis of size 1 in `noise_shape` is dropped as a whole.
pub(super) fn dropout(scope: &mut Scope<'_>) -> Built<TensorId> {
    let input = scope.input()?;
    let shared = match scope.config().get("noise_shape") {
        None => Vec::new(),
        Some(Value::Array(sizes)) => {
            (0..sizes.len()).filter(|axis| sizes[*axis].as_u64() == Some(1)).collect()
        }
        Some(_) => return Err(scope.config().broken("its noise_shape is no list").into()),
    };
    emit(scope, input, shared)
}

/// Whole feature maps are dropped.
pub(super) fn spatial_dropout(scope: &mut Scope<'_>) -> Built<TensorId> {
    let input = scope.input()?;
    let shared = (1..scope.rank(input).saturating_sub(1)).collect();
    emit(scope, input, shared)
}

fn emit(scope: &mut Scope<'_>, input: TensorId, shared_axes: Vec<usize>) -> Built<TensorId> {
    let rate = scope.config().number("rate", 0.5)?;
    if !(0.0..1.0).contains(&rate) {
        unsupported!("a dropout rate of {rate} is not supported; it must be below 1");
    }
    scope.emit(Dropout { rate, shared_axes }, &[input])
}
