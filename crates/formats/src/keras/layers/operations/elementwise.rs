//! Functions of one number or two.

use litesmith_graph::TensorId;
use litesmith_graph::ops::{BinaryKind, CompareKind, Fill, ShapeOf, UnaryKind};

use crate::composed;
use crate::composed::truth;
use crate::emit::Emit;
use crate::keras::activations;
use crate::keras::config::{Built, Config, numbers, unsupported};
use crate::keras::layers::operations::class;
use crate::keras::scope::{Operand, Scope};

/// Functions of two operands.
pub(in crate::keras::layers) fn arithmetic(scope: &mut Scope<'_>) -> Built<TensorId> {
    let a = scope.float_operand(0, &["x1", "x"])?;
    let b = scope.float_operand(1, &["x2", "y"])?;
    let kind = match class(scope) {
        "Add" => BinaryKind::Add,
        "Subtract" => BinaryKind::Sub,
        "Multiply" => BinaryKind::Mul,
        "Divide" | "TrueDivide" => BinaryKind::Div,
        "Fmax" | "Maximum" => BinaryKind::Maximum,
        "Fmin" | "Minimum" => BinaryKind::Minimum,
        "FloorDivide" => BinaryKind::FloorDiv,
        "Mod" => BinaryKind::FloorMod,
        "Power" => BinaryKind::Pow,
        other => return composed_of_two(scope, other, a, b),
    };
    scope.binary(kind, a, b)
}

fn composed_of_two(scope: &mut Scope<'_>, class: &str, a: TensorId, b: TensorId) -> Built<TensorId> {
    match class {
        "DivideNoNan" => composed::quotient_or_zero(scope, a, b),
        "Fmod" => {
            let quotient = scope.binary(BinaryKind::Div, a, b)?;
            let whole = composed::truncated(scope, quotient)?;
            let part = scope.binary(BinaryKind::Mul, whole, b)?;
            scope.binary(BinaryKind::Sub, a, part)
        }
        "Heaviside" => {
            let above = truth::compared(scope, CompareKind::Greater, a, 0.0)?;
            let step = truth::as_numbers(scope, above)?;
            let edge = truth::compared(scope, CompareKind::Equal, a, 0.0)?;
            truth::chosen(scope, edge, b, step)
        }
        "Hypot" => {
            let a = scope.unary(UnaryKind::Square, a)?;
            let b = scope.unary(UnaryKind::Square, b)?;
            let sum = scope.binary(BinaryKind::Add, a, b)?;
            scope.unary(UnaryKind::Sqrt, sum)
        }
        "Logaddexp" => {
            let difference = scope.binary(BinaryKind::Sub, b, a)?;
            let more = scope.unary(UnaryKind::Softplus, difference)?;
            scope.binary(BinaryKind::Add, a, more)
        }
        "Logaddexp2" => {
            let difference = scope.binary(BinaryKind::Sub, b, a)?;
            let natural = scope.with_scalar(BinaryKind::Mul, difference, std::f32::consts::LN_2)?;
            let more = scope.unary(UnaryKind::Softplus, natural)?;
            let more = scope.with_scalar(BinaryKind::Mul, more, std::f32::consts::LOG2_E)?;
            scope.binary(BinaryKind::Add, a, more)
        }
        other => unsupported!("the operation {other} is not supported"),
    }
}

/// Functions of one operand.
pub(in crate::keras::layers) fn function(scope: &mut Scope<'_>) -> Built<TensorId> {
    let x = scope.float_operand(0, &["x"])?;
    let kind = match class(scope) {
        "Abs" | "Absolute" | "Fabs" => UnaryKind::Abs,
        "Ceil" => UnaryKind::Ceil,
        "Cos" => UnaryKind::Cos,
        "Exp" => UnaryKind::Exp,
        "Floor" => UnaryKind::Floor,
        "Log" => UnaryKind::Log,
        "Negative" => UnaryKind::Neg,
        "Reciprocal" => UnaryKind::Reciprocal,
        "Round" => UnaryKind::Round,
        "Rsqrt" => UnaryKind::Rsqrt,
        "Sign" => UnaryKind::Sign,
        "Sin" => UnaryKind::Sin,
        "Sqrt" => UnaryKind::Sqrt,
        "Square" => UnaryKind::Square,
        other => return derived(scope, other, x),
    };
    if kind == UnaryKind::Round && scope.config().integer("decimals", 0)? != 0 {
        unsupported!("rounding to decimals is not supported; scale the numbers before and after");
    }
    scope.unary(kind, x)
}

fn derived(scope: &mut Scope<'_>, class: &str, x: TensorId) -> Built<TensorId> {
    use std::f32::consts::{LN_2, LN_10, LOG2_E, PI};
    let log_of = |scope: &mut Scope<'_>, x, factor| {
        let log = scope.unary(UnaryKind::Log, x)?;
        scope.with_scalar(BinaryKind::Mul, log, factor)
    };
    match class {
        "Cbrt" => {
            let size = scope.unary(UnaryKind::Abs, x)?;
            let root = scope.with_scalar(BinaryKind::Pow, size, 1.0 / 3.0)?;
            let sign = scope.unary(UnaryKind::Sign, x)?;
            scope.binary(BinaryKind::Mul, sign, root)
        }
        "Deg2rad" => scope.with_scalar(BinaryKind::Mul, x, PI / 180.0),
        "Rad2deg" => scope.with_scalar(BinaryKind::Mul, x, 180.0 / PI),
        "Exp2" => {
            let natural = scope.with_scalar(BinaryKind::Mul, x, LN_2)?;
            scope.unary(UnaryKind::Exp, natural)
        }
        "Expm1" => {
            let power = scope.unary(UnaryKind::Exp, x)?;
            scope.with_scalar(BinaryKind::Sub, power, 1.0)
        }
        "Log10" => log_of(scope, x, 1.0 / LN_10),
        "Log2" => log_of(scope, x, LOG2_E),
        "Log1p" => {
            let more = scope.with_scalar(BinaryKind::Add, x, 1.0)?;
            scope.unary(UnaryKind::Log, more)
        }
        "NanToNum" => not_a_number_to_zero(scope, x),
        "Sinc" => {
            let angle = scope.with_scalar(BinaryKind::Mul, x, PI)?;
            let zero = truth::compared(scope, CompareKind::Equal, x, 0.0)?;
            let one = scope.scalar("one", 1.0)?;
            let divisor = truth::chosen(scope, zero, one, angle)?;
            let sine = scope.unary(UnaryKind::Sin, angle)?;
            let ratio = scope.binary(BinaryKind::Div, sine, divisor)?;
            truth::chosen(scope, zero, one, ratio)
        }
        "Tan" => composed::tangent(scope, x),
        "Trunc" => composed::truncated(scope, x),
        "Erf" | "Erfc" => {
            let erf = composed::error_function(scope, x)?;
            if class == "Erf" {
                return Ok(erf);
            }
            let one = scope.scalar("one", 1.0)?;
            scope.binary(BinaryKind::Sub, one, erf)
        }
        _ => composed::hyperbolic(scope, class, x),
    }
}

/// Infinite numbers become the largest ones.
fn not_a_number_to_zero(scope: &mut Scope<'_>, x: TensorId) -> Built<TensorId> {
    let config = scope.config();
    let value = config.number("nan", 0.0)?;
    let most = config.number("posinf", f32::MAX)?;
    let least = config.number("neginf", f32::MIN)?;
    if least > most {
        return Err(config.broken("its bounds are not in order").into());
    }
    let number = scope.emit(litesmith_graph::ops::Compare { kind: CompareKind::Equal }, &[x, x])?;
    let value = scope.scalar("nan", value)?;
    let x = truth::chosen(scope, number, x, value)?;
    scope.unary(UnaryKind::Clip { min: least, max: most }, x)
}

/// Functions of `keras.activations` under the names of their operator nodes.
pub(in crate::keras::layers) fn activation(scope: &mut Scope<'_>) -> Built<TensorId> {
    let name = match class(scope) {
        "Celu" => "celu",
        "Elu" => "elu",
        "Gelu" => "gelu",
        "Glu" => "glu",
        "HardShrink" => "hard_shrink",
        "HardSigmoid" => "hard_sigmoid",
        "HardSilu" => "hard_silu",
        "HardTanh" => "hard_tanh",
        "LeakyRelu" => "leaky_relu",
        "LogSigmoid" => "log_sigmoid",
        "LogSoftmax" => "log_softmax",
        "Mish" => "mish",
        "Relu" => "relu",
        "Relu6" => "relu6",
        "Selu" => "selu",
        "Sigmoid" => "sigmoid",
        "Silu" => "silu",
        "SoftShrink" => "soft_shrink",
        "Softmax" => "softmax",
        "Softplus" => "softplus",
        "Softsign" => "softsign",
        "SparsePlus" => "sparse_plus",
        "SparseSigmoid" => "sparse_sigmoid",
        "Sparsemax" => "sparsemax",
        "Squareplus" => "squareplus",
        "Tanh" => "tanh",
        "TanhShrink" => "tanh_shrink",
        "Threshold" => "threshold",
        other => unsupported!("the operation {other} is not supported"),
    };
    let x = scope.float_operand(0, &["x"])?;
    // Keras 3 keeps parameters as settings, Keras 2 passes them with the call.
    let keywords = scope.plain_keywords();
    if keywords.get("beta").is_some_and(|beta| beta.as_f64() != Some(1.0)) {
        unsupported!("silu with another beta than 1 is not supported");
    }
    let options =
        if keywords.is_empty() { scope.config() } else { Config::new(&keywords, &scope.layer.place) };
    activations::function(scope, name, options, x)
}

pub(in crate::keras::layers) fn clip(scope: &mut Scope<'_>) -> Built<TensorId> {
    let x = scope.float_operand(0, &["x", "t"])?;
    let bound = |names: [&str; 2], infinite: f32| {
        let value = names.iter().find_map(|name| scope.attribute(name));
        match value.as_ref().map(numbers) {
            None => Some(infinite),
            Some(Some(bound)) if bound.values.len() == 1 => Some(bound.values[0]),
            Some(_) => None,
        }
    };
    let min = bound(["x_min", "clip_value_min"], f32::NEG_INFINITY);
    let max = bound(["x_max", "clip_value_max"], f32::INFINITY);
    match (min, max) {
        (Some(min), Some(max)) if min <= max => scope.unary(UnaryKind::Clip { min, max }, x),
        _ => unsupported!("its bounds must be two numbers in order"),
    }
}

/// One number in the shape of a tensor.
pub(in crate::keras::layers) fn filled(scope: &mut Scope<'_>) -> Built<TensorId> {
    let x = match scope.operand(0, &["x", "input"]) {
        Some(Operand::Tensor(x)) => *x,
        _ => unsupported!("only the shape of a tensor can be filled"),
    };
    let value = match class(scope) {
        "OnesLike" => scope.scalar("one", 1.0)?,
        "ZerosLike" => scope.scalar("zero", 0.0)?,
        _ => scope.float_operand(1, &["fill_value"])?,
    };
    if scope.rank(value) != 0 {
        unsupported!("only one number can fill a tensor");
    }
    let shape = scope.emit(ShapeOf::default(), &[x])?;
    let filled = scope.emit(Fill {}, &[shape, value])?;
    match scope.attribute("dtype").as_ref().map(|dtype| dtype.as_str()) {
        None | Some(Some("float32")) => Ok(filled),
        Some(Some("bool")) => truth::compared(scope, CompareKind::NotEqual, filled, 0.0),
        Some(_) => unsupported!("a tensor of another type than float32 or bool is not supported"),
    }
}
