//! Comparisons and truth values.

use litesmith_graph::ops::{Compare, CompareKind, Logical, LogicalKind, UnaryKind};
use litesmith_graph::{DType, TensorId};

use super::elementwise::wide;
use crate::composed::truth;
use crate::emit::Emit;
use crate::onnx::read::scope::Scope;
use crate::refusal::{Built, unsupported};

pub(super) fn compare(scope: &mut Scope<'_, '_>, kind: CompareKind) -> Built<TensorId> {
    let [mut a, mut b] = scope.pair()?;
    let dtype = scope.dtype(a);
    if scope.dtype(b) != dtype {
        return Err(scope.broken(format!("its operands are {dtype} and {}", scope.dtype(b))).into());
    }
    match dtype {
        DType::I16 | DType::U16 | DType::U32 => {
            let wide = wide(dtype).unwrap_or(DType::I64);
            (a, b) = (scope.cast(a, wide)?, scope.cast(b, wide)?);
        }
        DType::U64 | DType::I4 | DType::Text => unsupported!("{dtype} cannot be compared; cast its inputs"),
        _ => {}
    }
    scope.emit(Compare { kind }, &[a, b])
}

pub(super) fn combine(scope: &mut Scope<'_, '_>, kind: LogicalKind) -> Built<TensorId> {
    let [a, b] = scope.pair()?;
    scope.emit(Logical { kind }, &[a, b])
}

/// Exclusive or: truth values that are not equal.
pub(super) fn differ(scope: &mut Scope<'_, '_>) -> Built<TensorId> {
    compare(scope, CompareKind::NotEqual)
}

pub(super) fn not(scope: &mut Scope<'_, '_>) -> Built<TensorId> {
    let x = scope.input(0)?;
    scope.unary(UnaryKind::LogicalNot, x)
}

pub(super) fn is_nan(scope: &mut Scope<'_, '_>) -> Built<TensorId> {
    let x = scope.input(0)?;
    scope.emit(Compare { kind: CompareKind::NotEqual }, &[x, x])
}

pub(super) fn is_infinite(scope: &mut Scope<'_, '_>) -> Built<TensorId> {
    let x = scope.input(0)?;
    scope.expect_floats(x)?;
    let positive = scope.attributes.flag("detect_positive", true)?;
    let negative = scope.attributes.flag("detect_negative", true)?;
    match (positive, negative) {
        (true, true) => {
            let size = scope.unary(UnaryKind::Abs, x)?;
            truth::compared(scope, CompareKind::Equal, size, f32::INFINITY)
        }
        (true, false) => truth::compared(scope, CompareKind::Equal, x, f32::INFINITY),
        (false, true) => truth::compared(scope, CompareKind::Equal, x, f32::NEG_INFINITY),
        (false, false) => {
            // Nothing is looked for: no number is larger than itself.
            scope.emit(Compare { kind: CompareKind::Greater }, &[x, x])
        }
    }
}
