//! Functions of one number or several, element by element.

use litesmith_graph::ops::{BinaryKind, Select, UnaryKind};
use litesmith_graph::{DType, TensorId};

use crate::composed;
use crate::emit::Emit;
use crate::onnx::read::scope::Scope;
use crate::onnx::read::tensor::dtype_of;
use crate::refusal::{Built, unsupported};

pub(super) fn unary(scope: &mut Scope<'_, '_>, kind: UnaryKind) -> Built<TensorId> {
    let x = scope.input(0)?;
    applied(scope, kind, x)
}

/// A function of one number; of integers, those that have one.
pub(super) fn applied(scope: &mut Scope<'_, '_>, kind: UnaryKind, x: TensorId) -> Built<TensorId> {
    let dtype = scope.dtype(x);
    if dtype.is_float() {
        return scope.unary(kind, x);
    }
    let Some(wide) = wide(dtype) else { unsupported!("it is not supported for {dtype}; cast its input") };
    let x = scope.cast(x, wide)?;
    let result = match kind {
        UnaryKind::Abs => {
            let negative = scope.unary(UnaryKind::Neg, x)?;
            scope.binary(BinaryKind::Maximum, x, negative)?
        }
        UnaryKind::Neg | UnaryKind::Relu => scope.unary(kind, x)?,
        UnaryKind::Sign => {
            let (one, minus_one) = (scope.number("one", wide, 1.0)?, scope.number("minus_one", wide, -1.0)?);
            let least = scope.binary(BinaryKind::Minimum, x, one)?;
            scope.binary(BinaryKind::Maximum, least, minus_one)?
        }
        UnaryKind::Floor | UnaryKind::Ceil | UnaryKind::Round => x,
        _ => unsupported!("it is not supported for {dtype}; cast its input to float32"),
    };
    narrowed(scope, result, dtype, true)
}

/// The type that arithmetic on a type of integers is done in.
pub(super) fn wide(dtype: DType) -> Option<DType> {
    match dtype {
        DType::I32 | DType::I64 => Some(dtype),
        DType::I8 | DType::U8 | DType::I16 | DType::U16 => Some(DType::I32),
        DType::U32 => Some(DType::I64),
        _ => None,
    }
}

/// Numbers that were computed in a wide type in their own one again. Where they may lie outside, they wrap
/// around, as ONNX' integers do.
pub(super) fn narrowed(scope: &mut Scope<'_, '_>, x: TensorId, dtype: DType, wraps: bool) -> Built<TensorId> {
    let from = scope.dtype(x);
    if from == dtype {
        return Ok(x);
    }
    let Some(bits) = dtype.bits().filter(|bits| wraps && *bits < 63) else { return scope.cast(x, dtype) };
    let signed = matches!(dtype, DType::I8 | DType::I16 | DType::I32);
    let count = scope.number("count", from, (1u64 << bits) as f64)?;
    let half = scope.number("half", from, if signed { (1u64 << (bits - 1)) as f64 } else { 0.0 })?;
    let shifted = if signed { scope.binary(BinaryKind::Add, x, half)? } else { x };
    let rest = scope.binary(BinaryKind::FloorMod, shifted, count)?;
    let result = if signed { scope.binary(BinaryKind::Sub, rest, half)? } else { rest };
    scope.cast(result, dtype)
}

/// A function of two numbers of one type.
pub(super) fn combined(
    scope: &mut Scope<'_, '_>,
    kind: BinaryKind,
    a: TensorId,
    b: TensorId,
) -> Built<TensorId> {
    let (dtype, other) = (scope.dtype(a), scope.dtype(b));
    if dtype != other {
        return Err(scope.broken(format!("its operands are {dtype} and {other}")).into());
    }
    if dtype.is_float() || matches!(dtype, DType::I32 | DType::I64) {
        return scope.binary(kind, a, b);
    }
    let Some(wide) = wide(dtype) else { unsupported!("it is not supported for {dtype}; cast its inputs") };
    let (a, b) = (scope.cast(a, wide)?, scope.cast(b, wide)?);
    let result = scope.binary(kind, a, b)?;
    let stays = matches!(kind, BinaryKind::Maximum | BinaryKind::Minimum | BinaryKind::FloorMod);
    narrowed(scope, result, dtype, !stays)
}

pub(super) fn binary(scope: &mut Scope<'_, '_>, kind: BinaryKind) -> Built<TensorId> {
    let [a, b] = scope.pair()?;
    combined(scope, kind, a, b)
}

/// Of any number of inputs.
pub(super) fn variadic(scope: &mut Scope<'_, '_>, kind: BinaryKind) -> Built<TensorId> {
    let inputs = scope.tensors_from(0)?;
    let Some((first, others)) = inputs.split_first() else {
        return Err(scope.broken("it has no inputs").into());
    };
    others.iter().try_fold(*first, |sum, next| combined(scope, kind, sum, *next))
}

pub(super) fn mean(scope: &mut Scope<'_, '_>) -> Built<TensorId> {
    let sum = variadic(scope, BinaryKind::Add)?;
    let count = scope.number_like(sum, scope.input_count() as f64)?;
    combined(scope, BinaryKind::Div, sum, count)
}

pub(super) fn power(scope: &mut Scope<'_, '_>) -> Built<TensorId> {
    let [mut base, mut exponent] = scope.pair()?;
    let (own, other) = (scope.dtype(base), scope.dtype(exponent));
    if own.is_float() {
        if scope.known_number(exponent) == Some(2.0) && own == DType::F32 {
            return scope.unary(UnaryKind::Square, base);
        }
        exponent = scope.cast(exponent, own)?;
        return scope.binary(BinaryKind::Pow, base, exponent);
    }
    let Some(wide) = wide(own) else { unsupported!("it is not supported for {own}; cast its inputs") };
    let computed = if other.is_float() { other } else { wide };
    base = scope.cast(base, computed)?;
    exponent = scope.cast(exponent, computed)?;
    let result = scope.binary(BinaryKind::Pow, base, exponent)?;
    narrowed(scope, result, own, !computed.is_float())
}

pub(super) fn modulo(scope: &mut Scope<'_, '_>) -> Built<TensorId> {
    let [a, b] = scope.pair()?;
    if !scope.attributes.flag("fmod", false)? {
        return combined(scope, BinaryKind::FloorMod, a, b);
    }
    // With the sign of the dividend, as in C.
    let dtype = scope.dtype(a);
    let computed = if dtype.is_float() { Some(dtype) } else { wide(dtype) };
    let Some(computed) = computed else { unsupported!("it is not supported for {dtype}; cast its inputs") };
    let (a, b) = (scope.cast(a, computed)?, scope.cast(b, computed)?);
    let (size_a, size_b) = (applied(scope, UnaryKind::Abs, a)?, applied(scope, UnaryKind::Abs, b)?);
    let rest = scope.binary(BinaryKind::FloorMod, size_a, size_b)?;
    let sign = applied(scope, UnaryKind::Sign, a)?;
    let result = scope.binary(BinaryKind::Mul, rest, sign)?;
    narrowed(scope, result, dtype, false)
}

pub(super) fn clip(scope: &mut Scope<'_, '_>) -> Built<TensorId> {
    let x = scope.input(0)?;
    let dtype = scope.dtype(x);
    let mut bounds = [scope.optional(1)?, scope.optional(2)?];
    if scope.target.opset < 11 {
        for (bound, key) in bounds.iter_mut().zip(["min", "max"]) {
            if let Some(value) = scope.attributes.number(key)? {
                *bound = Some(scope.number(key, dtype, value.into())?);
            }
        }
    }
    let known = bounds.map(|bound| bound.map(|bound| scope.known_number(bound)));
    if dtype == DType::F32 && known.iter().all(|bound| *bound != Some(None)) {
        let bound = |place: usize, open: f32| known[place].flatten().map_or(open, |value| value as f32);
        let (min, max) = (bound(0, f32::NEG_INFINITY), bound(1, f32::INFINITY));
        // The largest number stands for no bound.
        let max = if max == f32::MAX { f32::INFINITY } else { max };
        let min = if min == f32::MIN { f32::NEG_INFINITY } else { min };
        if min <= max {
            return clamped(scope, x, min, max);
        }
    }
    let mut result = x;
    for (bound, kind) in bounds.into_iter().zip([BinaryKind::Maximum, BinaryKind::Minimum]) {
        if let Some(bound) = bound {
            result = combined(scope, kind, result, bound)?;
        }
    }
    Ok(result)
}

/// Numbers held between bounds.
pub(super) fn clamped(scope: &mut Scope<'_, '_>, x: TensorId, min: f32, max: f32) -> Built<TensorId> {
    let kind = match (min, max) {
        (f32::NEG_INFINITY, f32::INFINITY) => return Ok(x),
        (0.0, f32::INFINITY) => UnaryKind::Relu,
        (0.0, 6.0) => UnaryKind::Relu6,
        (-1.0, 1.0) => UnaryKind::ReluN1To1,
        _ => UnaryKind::Clip { min, max },
    };
    scope.unary(kind, x)
}

pub(super) fn leaky_relu(scope: &mut Scope<'_, '_>) -> Built<TensorId> {
    let alpha = scope.attributes.number("alpha")?.unwrap_or(0.01);
    unary(scope, UnaryKind::LeakyRelu(alpha))
}

pub(super) fn elu(scope: &mut Scope<'_, '_>) -> Built<TensorId> {
    let alpha = scope.attributes.number("alpha")?.unwrap_or(1.0);
    unary(scope, UnaryKind::Elu(alpha))
}

pub(super) fn selu(scope: &mut Scope<'_, '_>) -> Built<TensorId> {
    const USUAL: [f32; 2] = [1.673_263_2, 1.050_701];
    let alpha = scope.attributes.number("alpha")?.unwrap_or(USUAL[0]);
    let gamma = scope.attributes.number("gamma")?.unwrap_or(USUAL[1]);
    if [alpha, gamma].iter().zip(USUAL).all(|(own, usual)| (own - usual).abs() < 1e-6) {
        return unary(scope, UnaryKind::Selu);
    }
    let elu = unary(scope, UnaryKind::Elu(alpha))?;
    let gamma = scope.number_like(elu, gamma.into())?;
    scope.binary(BinaryKind::Mul, elu, gamma)
}

pub(super) fn celu(scope: &mut Scope<'_, '_>) -> Built<TensorId> {
    let alpha = scope.attributes.number("alpha")?.unwrap_or(1.0);
    let x = scope.input(0)?;
    scope.expect_floats(x)?;
    let scaled = scope.with_scalar(BinaryKind::Div, x, alpha)?;
    let elu = scope.unary(UnaryKind::Elu(1.0), scaled)?;
    scope.with_scalar(BinaryKind::Mul, elu, alpha)
}

pub(super) fn hard_sigmoid(scope: &mut Scope<'_, '_>) -> Built<TensorId> {
    let alpha = scope.attributes.number("alpha")?.unwrap_or(0.2);
    let beta = scope.attributes.number("beta")?.unwrap_or(0.5);
    let x = scope.input(0)?;
    scope.expect_floats(x)?;
    if (alpha - 1.0 / 6.0).abs() < 1e-7 && beta == 0.5 {
        return scope.unary(UnaryKind::HardSigmoid, x);
    }
    let scaled = scope.with_scalar(BinaryKind::Mul, x, alpha)?;
    let shifted = scope.with_scalar(BinaryKind::Add, scaled, beta)?;
    clamped(scope, shifted, 0.0, 1.0)
}

pub(super) fn gelu(scope: &mut Scope<'_, '_>) -> Built<TensorId> {
    let approximate = match scope.attributes.text("approximate")?.unwrap_or("none") {
        "none" => false,
        "tanh" => true,
        other => return Err(scope.broken(format!("its approximation is '{other}'")).into()),
    };
    unary(scope, UnaryKind::Gelu { approximate })
}

/// `x * sigmoid(alpha * x)`.
pub(super) fn swish(scope: &mut Scope<'_, '_>) -> Built<TensorId> {
    let alpha = scope.attributes.number("alpha")?.unwrap_or(1.0);
    let x = scope.input(0)?;
    if alpha == 1.0 {
        return scope.unary(UnaryKind::Silu, x);
    }
    let alpha = scope.number_like(x, alpha.into())?;
    let scaled = scope.binary(BinaryKind::Mul, x, alpha)?;
    let gate = scope.unary(UnaryKind::Logistic, scaled)?;
    scope.binary(BinaryKind::Mul, x, gate)
}

/// `x * tanh(softplus(x))`.
pub(super) fn mish(scope: &mut Scope<'_, '_>) -> Built<TensorId> {
    let x = scope.input(0)?;
    let soft = scope.unary(UnaryKind::Softplus, x)?;
    let gate = scope.unary(UnaryKind::Tanh, soft)?;
    scope.binary(BinaryKind::Mul, x, gate)
}

pub(super) fn thresholded_relu(scope: &mut Scope<'_, '_>) -> Built<TensorId> {
    use crate::composed::truth;
    let alpha = scope.attributes.number("alpha")?.unwrap_or(1.0);
    let x = scope.input(0)?;
    scope.expect_floats(x)?;
    let above = truth::compared(scope, litesmith_graph::ops::CompareKind::Greater, x, alpha)?;
    truth::kept(scope, above, x)
}

/// Numbers between two bounds become 0, those outside come nearer to it.
pub(super) fn shrink(scope: &mut Scope<'_, '_>) -> Built<TensorId> {
    use crate::composed::truth;
    use litesmith_graph::ops::CompareKind;
    let lambda = scope.attributes.number("lambd")?.unwrap_or(0.5);
    let bias = scope.attributes.number("bias")?.unwrap_or(0.0);
    let x = scope.input(0)?;
    scope.expect_floats(x)?;
    let below = truth::compared(scope, CompareKind::Less, x, -lambda)?;
    let above = truth::compared(scope, CompareKind::Greater, x, lambda)?;
    let raised = scope.with_scalar(BinaryKind::Add, x, bias)?;
    let lowered = scope.with_scalar(BinaryKind::Sub, x, bias)?;
    let outside = truth::kept(scope, above, lowered)?;
    truth::chosen(scope, below, raised, outside)
}

pub(super) fn prelu(scope: &mut Scope<'_, '_>) -> Built<TensorId> {
    let [x, slope] = scope.pair()?;
    scope.emit(litesmith_graph::ops::Prelu {}, &[x, slope])
}

/// Functions that are composed of others.
pub(super) fn composed(scope: &mut Scope<'_, '_>) -> Built<TensorId> {
    let x = scope.input(0)?;
    scope.expect_floats(x)?;
    match scope.op {
        "Erf" => composed::error_function(scope, x),
        "Tan" => composed::tangent(scope, x),
        "Acosh" => composed::hyperbolic(scope, "Arccosh", x),
        "Asinh" => composed::hyperbolic(scope, "Arcsinh", x),
        "Atanh" => composed::hyperbolic(scope, "Arctanh", x),
        "Atan" => composed::arc_tangent(scope, x),
        "Asin" => composed::arc_sine(scope, x),
        "Acos" => {
            let angle = composed::arc_sine(scope, x)?;
            let right = scope.scalar("right_angle", std::f32::consts::FRAC_PI_2)?;
            scope.binary(BinaryKind::Sub, right, angle)
        }
        other => composed::hyperbolic(scope, other, x),
    }
}

pub(super) fn cast(scope: &mut Scope<'_, '_>) -> Built<TensorId> {
    scope.attributes.ignore(&["saturate", "round_mode"]);
    let x = scope.input(0)?;
    let Some(number) = scope.attributes.integer("to")? else {
        return Err(scope.broken("its attribute 'to' is missing").into());
    };
    let number = i32::try_from(number).unwrap_or(-1);
    match dtype_of(number) {
        Ok(to) => converted(scope, x, to),
        Err(reason) => unsupported!("{reason}"),
    }
}

/// To the type of the second input.
pub(super) fn cast_like(scope: &mut Scope<'_, '_>) -> Built<TensorId> {
    scope.attributes.ignore(&["saturate", "round_mode"]);
    let [x, like] = scope.pair()?;
    converted(scope, x, scope.dtype(like))
}

fn converted(scope: &mut Scope<'_, '_>, x: TensorId, to: DType) -> Built<TensorId> {
    let from = scope.dtype(x);
    // Half precision is kept as single precision.
    let to = if to == DType::F16 { DType::F32 } else { to };
    if to == DType::I4 || from == DType::I4 {
        unsupported!("4-bit integers are supported as weights only; cast to int8");
    }
    let narrows = from.bits() > to.bits() || (from.bits() == to.bits() && from != to);
    let small = matches!(to, DType::I8 | DType::U8 | DType::I16 | DType::U16);
    if from.is_integer() && small && narrows {
        let Some(wide) = wide(from) else { unsupported!("{from} cannot become {to}; cast by way of int32") };
        let x = scope.cast(x, wide)?;
        return narrowed(scope, x, to, true);
    }
    scope.cast(x, to)
}

pub(super) fn choose(scope: &mut Scope<'_, '_>) -> Built<TensorId> {
    let (condition, yes, no) = (scope.input(0)?, scope.input(1)?, scope.input(2)?);
    scope.emit(Select {}, &[condition, yes, no])
}
