//! Functions of one number or two.

use litesmith_graph::ops::{BinaryKind, Cast, UnaryKind};
use litesmith_graph::{DType, TensorId};

use crate::composed;
use crate::emit::Emit;
use crate::refusal::{Built, unsupported};
use crate::savedmodel::translate::scope::Scope;

pub(super) fn unary(scope: &mut Scope<'_>, kind: UnaryKind) -> Built<TensorId> {
    let x = scope.input(0)?;
    scope.unary(kind, x)
}

pub(super) fn binary(scope: &mut Scope<'_>, kind: BinaryKind) -> Built<TensorId> {
    let (a, b) = (scope.input(0)?, scope.input(1)?);
    scope.binary(kind, a, b)
}

/// Functions that are composed of others.
pub(super) fn composed(scope: &mut Scope<'_>) -> Built<TensorId> {
    let x = scope.input(0)?;
    if scope.dtype(x) != DType::F32 {
        unsupported!("it is supported for float32 only; cast its input");
    }
    match scope.node.op.as_str() {
        "Erf" => composed::error_function(scope, x),
        "Erfc" => {
            let erf = composed::error_function(scope, x)?;
            let one = scope.scalar("one", 1.0)?;
            scope.binary(BinaryKind::Sub, one, erf)
        }
        "Expm1" => {
            let power = scope.unary(UnaryKind::Exp, x)?;
            scope.with_scalar(BinaryKind::Sub, power, 1.0)
        }
        "Log1p" => {
            let more = scope.with_scalar(BinaryKind::Add, x, 1.0)?;
            scope.unary(UnaryKind::Log, more)
        }
        "Tan" => composed::tangent(scope, x),
        "Acosh" => composed::hyperbolic(scope, "Arccosh", x),
        "Asinh" => composed::hyperbolic(scope, "Arcsinh", x),
        "Atanh" => composed::hyperbolic(scope, "Arctanh", x),
        other => composed::hyperbolic(scope, other, x),
    }
}

pub(super) fn quotient_or_zero(scope: &mut Scope<'_>) -> Built<TensorId> {
    let (a, b) = (scope.input(0)?, scope.input(1)?);
    if scope.dtype(a) != DType::F32 {
        unsupported!("it is supported for float32 only; cast its inputs");
    }
    composed::quotient_or_zero(scope, a, b)
}

/// The sum of all inputs.
pub(super) fn sum(scope: &mut Scope<'_>) -> Built<TensorId> {
    let inputs = scope.tensors()?;
    let Some((first, others)) = inputs.split_first() else {
        return Err(scope.broken("it has no inputs").into());
    };
    others.iter().try_fold(*first, |sum, next| scope.binary(BinaryKind::Add, sum, *next))
}

/// A vector added along the channels.
pub(super) fn bias(scope: &mut Scope<'_>) -> Built<TensorId> {
    let (x, bias) = (scope.input(0)?, scope.input(1)?);
    let channels_first = matches!(scope.text("data_format", ""), "NCHW" | "NCDHW");
    if !channels_first || scope.rank(x) < 3 {
        return scope.binary(BinaryKind::Add, x, bias);
    }
    // Behind a convolution whose channels were put back, the transposes meet and cancel.
    let last = scope.channels_to_last(x)?;
    let sum = scope.binary(BinaryKind::Add, last, bias)?;
    scope.channels_to_first(sum)
}

pub(super) fn cast(scope: &mut Scope<'_>) -> Built<TensorId> {
    let x = scope.input(0)?;
    match scope.node.attributes.dtype("DstT") {
        Some(to) if to == scope.dtype(x) => Ok(x),
        Some(to) if matches!(to, DType::Text | DType::Resource) => unsupported!("numbers cannot become {to}"),
        Some(to) => scope.emit(Cast { to }, &[x]),
        None => Err(scope.broken("its attribute 'DstT' is missing").into()),
    }
}

pub(super) fn clip(scope: &mut Scope<'_>) -> Built<TensorId> {
    let (x, low, high) = (scope.input(0)?, scope.input(1)?, scope.input(2)?);
    let bounds = (scope.known_number(low), scope.known_number(high));
    match bounds {
        (Some(min), Some(max)) if min <= max && scope.dtype(x) == DType::F32 => {
            let kind = match (min, max) {
                (0.0, 6.0) => UnaryKind::Relu6,
                (-1.0, 1.0) => UnaryKind::ReluN1To1,
                _ => UnaryKind::Clip { min, max },
            };
            scope.unary(kind, x)
        }
        _ => {
            let least = scope.binary(BinaryKind::Minimum, x, high)?;
            scope.binary(BinaryKind::Maximum, least, low)
        }
    }
}

pub(super) fn leaky_relu(scope: &mut Scope<'_>) -> Built<TensorId> {
    let x = scope.input(0)?;
    let alpha = scope.node.attributes.number("alpha").unwrap_or(0.2);
    scope.unary(UnaryKind::LeakyRelu(alpha), x)
}
