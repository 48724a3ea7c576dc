//! More elements around a tensor.

use litesmith_graph::ops::{Pad, PadMode};
use litesmith_graph::{DType, TensorId};

use crate::emit::Emit;
use crate::refusal::{Built, unsupported};
use crate::savedmodel::translate::scope::Scope;

pub(super) fn with_zeros(scope: &mut Scope<'_>) -> Built<TensorId> {
    padded(scope, PadMode::Zero)
}

pub(super) fn with_value(scope: &mut Scope<'_>) -> Built<TensorId> {
    let value = scope.input(2)?;
    match scope.known_number(value) {
        Some(0.0) => padded(scope, PadMode::Zero),
        Some(_) if scope.dtype(value) != DType::F32 => {
            unsupported!("padding integers with anything but 0 is not supported; cast to float32 first")
        }
        Some(value) => padded(scope, PadMode::Value(value)),
        None => unsupported!("the value to pad with must be constant"),
    }
}

pub(super) fn mirrored(scope: &mut Scope<'_>) -> Built<TensorId> {
    match scope.text("mode", "") {
        "REFLECT" => padded(scope, PadMode::Reflect),
        "SYMMETRIC" => padded(scope, PadMode::Symmetric),
        other => Err(scope.broken(format!("its mode is '{other}'")).into()),
    }
}

fn padded(scope: &mut Scope<'_>, mode: PadMode) -> Built<TensorId> {
    let (x, amounts) = (scope.input(0)?, scope.input(1)?);
    match scope.known_integers(amounts) {
        Some(_) => {
            let amounts = pairs(scope, 1, "the amounts of padding")?;
            scope.emit(Pad { amounts, mode }, &[x])
        }
        None => scope.emit(Pad { amounts: Vec::new(), mode }, &[x, amounts]),
    }
}

/// The rows of an input of two columns.
pub(super) fn pairs(scope: &Scope<'_>, index: usize, what: &str) -> Built<Vec<[usize; 2]>> {
    let values = scope.integers_of(index, what)?;
    let (pairs, rest) = values.as_chunks::<2>();
    if !rest.is_empty() {
        return Err(scope.broken(format!("{what} are no pairs")).into());
    }
    let size = |value: i64| scope.size_from(value, what);
    pairs.iter().map(|[before, after]| Ok([size(*before)?, size(*after)?])).collect()
}
