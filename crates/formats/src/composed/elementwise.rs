//! Functions of numbers that the graph has no operator for.

use litesmith_graph::TensorId;
use litesmith_graph::ops::{BinaryKind, CompareKind, UnaryKind};

use crate::composed::truth;
use crate::emit::Emit;
use crate::refusal::{Built, unsupported};

/// `a / b`, and 0 where `b` is 0.
pub(crate) fn quotient_or_zero(scope: &mut impl Emit, a: TensorId, b: TensorId) -> Built<TensorId> {
    let nothing = truth::compared(scope, CompareKind::Equal, b, 0.0)?;
    let (zero, one) = (scope.scalar("zero", 0.0)?, scope.scalar("one", 1.0)?);
    let divisor = truth::chosen(scope, nothing, one, b)?;
    let quotient = scope.binary(BinaryKind::Div, a, divisor)?;
    truth::chosen(scope, nothing, zero, quotient)
}

pub(crate) fn tangent(scope: &mut impl Emit, x: TensorId) -> Built<TensorId> {
    let (sine, cosine) = (scope.unary(UnaryKind::Sin, x)?, scope.unary(UnaryKind::Cos, x)?);
    scope.binary(BinaryKind::Div, sine, cosine)
}

/// A hyperbolic function or its inverse, by the name that NumPy gives it.
pub(crate) fn hyperbolic(scope: &mut impl Emit, class: &str, x: TensorId) -> Built<TensorId> {
    match class {
        "Sinh" | "Cosh" => {
            let up = scope.unary(UnaryKind::Exp, x)?;
            let down = scope.unary(UnaryKind::Neg, x)?;
            let down = scope.unary(UnaryKind::Exp, down)?;
            let kind = if class == "Sinh" { BinaryKind::Sub } else { BinaryKind::Add };
            let both = scope.binary(kind, up, down)?;
            scope.with_scalar(BinaryKind::Mul, both, 0.5)
        }
        "Arcsinh" | "Arccosh" => {
            let shift = if class == "Arcsinh" { 1.0 } else { -1.0 };
            let size = scope.unary(UnaryKind::Abs, x)?;
            let square = scope.unary(UnaryKind::Square, x)?;
            let shifted = scope.with_scalar(BinaryKind::Add, square, shift)?;
            let root = scope.unary(UnaryKind::Sqrt, shifted)?;
            let sum = scope.binary(BinaryKind::Add, size, root)?;
            let log = scope.unary(UnaryKind::Log, sum)?;
            let sign = scope.unary(UnaryKind::Sign, x)?;
            if class == "Arcsinh" { scope.binary(BinaryKind::Mul, sign, log) } else { Ok(log) }
        }
        "Arctanh" => {
            let above = scope.with_scalar(BinaryKind::Add, x, 1.0)?;
            let one = scope.scalar("one", 1.0)?;
            let below = scope.binary(BinaryKind::Sub, one, x)?;
            let ratio = scope.binary(BinaryKind::Div, above, below)?;
            let log = scope.unary(UnaryKind::Log, ratio)?;
            scope.with_scalar(BinaryKind::Mul, log, 0.5)
        }
        other => unsupported!("the operation {other} is not supported; TFLite has no operator for it"),
    }
}

/// Towards zero.
pub(crate) fn truncated(scope: &mut impl Emit, x: TensorId) -> Built<TensorId> {
    let size = scope.unary(UnaryKind::Abs, x)?;
    let whole = scope.unary(UnaryKind::Floor, size)?;
    let sign = scope.unary(UnaryKind::Sign, x)?;
    scope.binary(BinaryKind::Mul, sign, whole)
}

/// By formula 7.1.26 of Abramowitz and Stegun, whose error is below 1.5e-7.
pub(crate) fn error_function(scope: &mut impl Emit, x: TensorId) -> Built<TensorId> {
    const FACTORS: [f32; 5] = [1.061_405_4, -1.453_152_1, 1.421_413_8, -0.284_496_72, 0.254_829_6];
    let size = scope.unary(UnaryKind::Abs, x)?;
    let scaled = scope.with_scalar(BinaryKind::Mul, size, 0.327_591_1)?;
    let shifted = scope.with_scalar(BinaryKind::Add, scaled, 1.0)?;
    let t = scope.unary(UnaryKind::Reciprocal, shifted)?;
    let mut sum = scope.with_scalar(BinaryKind::Mul, t, FACTORS[0])?;
    for factor in &FACTORS[1..] {
        let more = scope.with_scalar(BinaryKind::Add, sum, *factor)?;
        sum = scope.binary(BinaryKind::Mul, more, t)?;
    }
    let square = scope.unary(UnaryKind::Square, x)?;
    let negative = scope.unary(UnaryKind::Neg, square)?;
    let decay = scope.unary(UnaryKind::Exp, negative)?;
    let rest = scope.binary(BinaryKind::Mul, sum, decay)?;
    let one = scope.scalar("one", 1.0)?;
    let positive = scope.binary(BinaryKind::Sub, one, rest)?;
    let sign = scope.unary(UnaryKind::Sign, x)?;
    scope.binary(BinaryKind::Mul, sign, positive)
}

/// By the polynomial of `atanf` in Moshier's Cephes library, whose error is below 2e-7: angles above 22.5
/// degrees are brought below it first.
pub(crate) fn arc_tangent(scope: &mut impl Emit, x: TensorId) -> Built<TensorId> {
    const FACTORS: [f32; 4] = [0.080_537_45, -0.138_776_86, 0.199_777_1, -0.333_329_5];
    const TAN_22_5: f32 = 0.414_213_57;
    let size = scope.unary(UnaryKind::Abs, x)?;
    let steep = truth::compared(scope, CompareKind::Greater, size, 1.0)?;
    let inverse = scope.unary(UnaryKind::Reciprocal, size)?;
    let flat = truth::chosen(scope, steep, inverse, size)?;
    // atan(t) = 45 degrees + atan((t - 1) / (t + 1)).
    let turned = truth::compared(scope, CompareKind::Greater, flat, TAN_22_5)?;
    let (below, above) =
        (scope.with_scalar(BinaryKind::Sub, flat, 1.0)?, scope.with_scalar(BinaryKind::Add, flat, 1.0)?);
    let rest = scope.binary(BinaryKind::Div, below, above)?;
    let t = truth::chosen(scope, turned, rest, flat)?;
    let square = scope.unary(UnaryKind::Square, t)?;
    let mut sum = scope.with_scalar(BinaryKind::Mul, square, FACTORS[0])?;
    for (place, factor) in FACTORS[1..].iter().enumerate() {
        let more = scope.with_scalar(BinaryKind::Add, sum, *factor)?;
        sum = if place < 2 { scope.binary(BinaryKind::Mul, more, square)? } else { more };
    }
    let cubic = scope.binary(BinaryKind::Mul, square, t)?;
    let correction = scope.binary(BinaryKind::Mul, sum, cubic)?;
    let angle = scope.binary(BinaryKind::Add, t, correction)?;
    let more = scope.with_scalar(BinaryKind::Add, angle, std::f32::consts::FRAC_PI_4)?;
    let angle = truth::chosen(scope, turned, more, angle)?;
    let right = scope.scalar("right_angle", std::f32::consts::FRAC_PI_2)?;
    let other = scope.binary(BinaryKind::Sub, right, angle)?;
    let angle = truth::chosen(scope, steep, other, angle)?;
    let sign = scope.unary(UnaryKind::Sign, x)?;
    scope.binary(BinaryKind::Mul, sign, angle)
}

/// `atan(x / sqrt(1 - x^2))`.
pub(crate) fn arc_sine(scope: &mut impl Emit, x: TensorId) -> Built<TensorId> {
    let one = scope.scalar("one", 1.0)?;
    let above = scope.with_scalar(BinaryKind::Add, x, 1.0)?;
    let below = scope.binary(BinaryKind::Sub, one, x)?;
    let product = scope.binary(BinaryKind::Mul, above, below)?;
    let root = scope.unary(UnaryKind::Sqrt, product)?;
    let slope = scope.binary(BinaryKind::Div, x, root)?;
    arc_tangent(scope, slope)
}
