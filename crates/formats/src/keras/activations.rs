//! Activation functions by name, as `keras.activations` defines them.

use litesmith_graph::TensorId;
use litesmith_graph::ops::{
    BinaryKind, Compare, CompareKind, CumSum, FakeQuant, Reduce, ReduceKind, Select, Softmax, TopK, UnaryKind,
};
use serde_json::{Map, Value};

use crate::composed::truth;
use crate::emit::Emit;
use crate::keras::config::{Built, Config, Numbers, Version, unsupported};
use crate::keras::layers::{activation, tfmot};
use crate::keras::scope::Scope;

/// Applies the function that the layer's setting `activation` names, and rounds before and behind it where
/// integers are simulated.
pub(super) fn of_layer(scope: &mut Scope<'_>, x: TensorId) -> Built<TensorId> {
    let rounding = scope.target.rounded_activations.get(&scope.layer.id).cloned();
    let [before, behind] = rounding.unwrap_or_default();
    let x = rounded(scope, before, x)?;
    let y = of_setting(scope, "activation", x)?;
    rounded(scope, behind, y)
}

fn rounded(scope: &mut Scope<'_>, rounding: Option<FakeQuant>, x: TensorId) -> Built<TensorId> {
    match rounding {
        Some(rounding) => scope.emit(rounding, &[x]),
        None => Ok(x),
    }
}

/// Applies the function that a setting names: a text, or an object for a layer or a function.
pub(super) fn of_setting(scope: &mut Scope<'_>, key: &str, x: TensorId) -> Built<TensorId> {
    let none = Map::new();
    match scope.config().get(key).map(tfmot::wrapped_activation) {
        None => Ok(x),
        Some(Value::String(name)) => function(scope, name, Config::new(&none, &scope.layer.place), x),
        Some(Value::Object(object)) => {
            let class = object.get("class_name").and_then(Value::as_str).unwrap_or("?");
            match object.get("config") {
                _ if class == tfmot::NO_ACTIVATION => Ok(x),
                Some(Value::Object(settings)) => {
                    activation::of_class(scope, class, Config::new(settings, &scope.layer.place), x)
                }
                Some(Value::String(name)) if class == "function" => {
                    function(scope, name, Config::new(&none, &scope.layer.place), x)
                }
                _ => unsupported!("its activation '{class}' is not known; use one of keras.activations"),
            }
        }
        Some(other) => Err(scope.config().broken(format!("its activation is {other}")).into()),
    }
}

/// Applies a function by its name in `keras.activations`; `options` holds its parameters.
pub(super) fn function(
    scope: &mut Scope<'_>,
    name: &str,
    options: Config<'_>,
    x: TensorId,
) -> Built<TensorId> {
    if name == "linear" {
        return Ok(x);
    }
    match simple(scope.version, name, options)? {
        Some(kind) => scope.unary(kind, x),
        None => composed(scope, name, options, x),
    }
}

/// The operator that is a function of `keras.activations`, where it takes one alone.
pub(super) fn simple(version: Version, name: &str, options: Config<'_>) -> Built<Option<UnaryKind>> {
    Ok(Some(match name {
        "relu" => UnaryKind::Relu,
        "relu6" => UnaryKind::Relu6,
        "hard_tanh" => UnaryKind::ReluN1To1,
        "sigmoid" => UnaryKind::Logistic,
        "tanh" => UnaryKind::Tanh,
        "silu" | "swish" => UnaryKind::Silu,
        "hard_silu" | "hard_swish" => UnaryKind::HardSwish,
        "softplus" => UnaryKind::Softplus,
        "softsign" => UnaryKind::Softsign,
        "exponential" => UnaryKind::Exp,
        "selu" => UnaryKind::Selu,
        "elu" => UnaryKind::Elu(options.number("alpha", 1.0)?),
        "leaky_relu" => UnaryKind::LeakyRelu(slope(options, 0.2)?),
        "gelu" => UnaryKind::Gelu { approximate: options.flag("approximate", false)? },
        "hard_sigmoid" if version == Version::Keras3 => UnaryKind::HardSigmoid,
        _ => return Ok(None),
    }))
}

/// The slope for negative numbers under its new or its old name.
pub(super) fn slope(options: Config<'_>, default: f32) -> Built<f32> {
    let old = options.number("alpha", default)?;
    Ok(options.number("negative_slope", old)?)
}

fn composed(scope: &mut Scope<'_>, name: &str, options: Config<'_>, x: TensorId) -> Built<TensorId> {
    match name {
        // Keras 2: a fifth as steep.
        "hard_sigmoid" => {
            let scaled = scope.with_scalar(BinaryKind::Mul, x, 0.2)?;
            let shifted = scope.with_scalar(BinaryKind::Add, scaled, 0.5)?;
            scope.unary(UnaryKind::Clip { min: 0.0, max: 1.0 }, shifted)
        }
        "softmax" => softmax(scope, x, options.integer("axis", -1)?, false),
        "log_softmax" => softmax(scope, x, options.integer("axis", -1)?, true),
        "mish" => {
            let softplus = scope.unary(UnaryKind::Softplus, x)?;
            let gate = scope.unary(UnaryKind::Tanh, softplus)?;
            scope.binary(BinaryKind::Mul, x, gate)
        }
        "celu" => celu(scope, x, options.number("alpha", 1.0)?),
        "log_sigmoid" => {
            let negative = scope.unary(UnaryKind::Neg, x)?;
            let softplus = scope.unary(UnaryKind::Softplus, negative)?;
            scope.unary(UnaryKind::Neg, softplus)
        }
        "sparse_sigmoid" => {
            let shifted = scope.with_scalar(BinaryKind::Add, x, 1.0)?;
            let halved = scope.with_scalar(BinaryKind::Mul, shifted, 0.5)?;
            scope.unary(UnaryKind::Clip { min: 0.0, max: 1.0 }, halved)
        }
        // A parabola between -1 and 1, which meets zero and the identity there.
        "sparse_plus" => {
            let middle = scope.unary(UnaryKind::Clip { min: -1.0, max: 1.0 }, x)?;
            let shifted = scope.with_scalar(BinaryKind::Add, middle, 1.0)?;
            let square = scope.unary(UnaryKind::Square, shifted)?;
            let parabola = scope.with_scalar(BinaryKind::Mul, square, 0.25)?;
            let above = scope.with_scalar(BinaryKind::Sub, x, 1.0)?;
            let above = scope.unary(UnaryKind::Relu, above)?;
            scope.binary(BinaryKind::Add, parabola, above)
        }
        "tanh_shrink" => {
            let tanh = scope.unary(UnaryKind::Tanh, x)?;
            scope.binary(BinaryKind::Sub, x, tanh)
        }
        "squareplus" => {
            let square = scope.unary(UnaryKind::Square, x)?;
            let sum = scope.with_scalar(BinaryKind::Add, square, options.number("b", 4.0)?)?;
            let root = scope.unary(UnaryKind::Sqrt, sum)?;
            let sum = scope.binary(BinaryKind::Add, x, root)?;
            scope.with_scalar(BinaryKind::Mul, sum, 0.5)
        }
        "soft_shrink" => {
            let threshold = options.number("threshold", 0.5)?.abs();
            let middle = scope.unary(UnaryKind::Clip { min: -threshold, max: threshold }, x)?;
            scope.binary(BinaryKind::Sub, x, middle)
        }
        "hard_shrink" => {
            let size = scope.unary(UnaryKind::Abs, x)?;
            let threshold = scope.scalar("threshold", options.number("threshold", 0.5)?)?;
            let keep = scope.emit(Compare { kind: CompareKind::Greater }, &[size, threshold])?;
            let zero = scope.scalar("zero", 0.0)?;
            scope.emit(Select {}, &[keep, x, zero])
        }
        "glu" => {
            let rank = scope.rank(x);
            let axis = scope.axis(i64::from(options.integer("axis", -1)?), rank)?;
            glu(scope, x, axis)
        }
        "sparsemax" => {
            let axis = scope.axis(i64::from(options.integer("axis", -1)?), scope.rank(x))?;
            scope.along_last(x, axis, sparsemax)
        }
        "threshold" => {
            let value = options.number("default_value", 0.0)?;
            let bound = options.number("threshold", 0.0)?;
            let passes = truth::compared(scope, CompareKind::Greater, x, bound)?;
            let value = scope.scalar("value", value)?;
            truth::chosen(scope, passes, x, value)
        }
        _ => unsupported!(
            "its activation '{name}' is not known; use one of keras.activations, or build it from keras.ops"
        ),
    }
}

/// Softmax over any axis.
pub(super) fn softmax(scope: &mut Scope<'_>, x: TensorId, axis: i32, log: bool) -> Built<TensorId> {
    let axis = scope.axis(i64::from(axis), scope.rank(x))?;
    scope.along_last(x, axis, |scope, x| scope.emit(Softmax { log, ..Softmax::default() }, &[x]))
}

/// `x` where positive, else `alpha * (exp(x / alpha) - 1)`.
fn celu(scope: &mut Scope<'_>, x: TensorId, alpha: f32) -> Built<TensorId> {
    if alpha == 1.0 {
        return scope.unary(UnaryKind::Elu(1.0), x);
    }
    if alpha == 0.0 {
        return Err(scope.config().broken("its activation celu has alpha 0").into());
    }
    let scaled = scope.with_scalar(BinaryKind::Mul, x, 1.0 / alpha)?;
    let bent = scope.unary(UnaryKind::Elu(1.0), scaled)?;
    scope.with_scalar(BinaryKind::Mul, bent, alpha)
}

/// The first half along an axis, gated by the sigmoid of the second.
fn glu(scope: &mut Scope<'_>, x: TensorId, axis: usize) -> Built<TensorId> {
    let size = scope.size(x, axis)?;
    if size % 2 != 0 {
        return Err(scope.config().broken(format!("its activation glu cannot halve {size} channels")).into());
    }
    let [value, gate] = [0, size / 2].map(|start| scope.part(x, axis, start, size / 2));
    let gate = gate?;
    let gate = scope.unary(UnaryKind::Logistic, gate)?;
    scope.binary(BinaryKind::Mul, value?, gate)
}

/// What Keras calls sparsemax: `x` above a bound of each vector along the last axis, which depends on the
/// running sums of its elements in descending order. It sums those running sums, where Martins and
/// Astudillo (2016) take the last one.
fn sparsemax(scope: &mut Scope<'_>, x: TensorId) -> Built<TensorId> {
    let size = scope.channels(x)?;
    scope.affordable(&[size])?;
    let [sorted, ..] = *scope.emit_several(TopK { k: size }, vec![Some(x)])?.as_slice() else {
        return Err(scope.config().broken("it has no sorted elements").into());
    };
    let last = scope.rank(x) as i32 - 1;
    let sums = scope.emit(CumSum { axis: last, ..CumSum::default() }, &[sorted])?;
    let beyond = scope.with_scalar(BinaryKind::Sub, sums, 1.0)?;
    let values = (1..=size).map(|count| 1.0 / count as f32).collect();
    let counts = scope.constant("counts", Numbers { shape: vec![size], values })?;
    let means = scope.binary(BinaryKind::Mul, beyond, counts)?;
    let above = scope.emit(Compare { kind: CompareKind::Greater }, &[sorted, means])?;
    let total = |scope: &mut Scope<'_>, x| {
        scope.emit(Reduce { kind: ReduceKind::Sum, axes: vec![last], keep_dims: true }, &[x])
    };
    let kept = truth::kept(scope, above, sums)?;
    let sum = total(scope, kept)?;
    let numbers = truth::as_numbers(scope, above)?;
    let count = total(scope, numbers)?;
    let shifted = scope.with_scalar(BinaryKind::Sub, sum, 1.0)?;
    let bound = scope.binary(BinaryKind::Div, shifted, count)?;
    let rest = scope.binary(BinaryKind::Sub, x, bound)?;
    scope.unary(UnaryKind::Relu, rest)
}
