//! Operator nodes: `keras.ops` of Keras 3, and TensorFlow functions in Keras 2.

use litesmith_graph::ops::{
    BinaryKind, Cast, ExpandDims, Reduce, ReduceKind, Reshape, ReshapeDim, Squeeze, StridedSlice, Transpose,
    UnaryKind,
};
use litesmith_graph::{DType, TensorId};
use serde_json::Value;

use crate::keras::activations;
use crate::keras::config::{Built, Config, integers, numbers, unsupported};
use crate::keras::layers;
use crate::keras::layers::reshaping::reshape_dim;
use crate::keras::scope::{Operand, Scope};

/// TensorFlow functions that Keras 2 records as layers, with the operator node of the same meaning.
const TENSORFLOW: &[(&str, &str)] = &[
    ("__operators__.add", "Add"),
    ("__operators__.getitem", "GetItem"),
    ("cast", "Cast"),
    ("clip_by_value", "Clip"),
    ("concat", "Concatenate"),
    ("expand_dims", "ExpandDims"),
    ("identity", "Identity"),
    ("math.abs", "Absolute"),
    ("math.add", "Add"),
    ("math.ceil", "Ceil"),
    ("math.cos", "Cos"),
    ("math.divide", "TrueDivide"),
    ("math.exp", "Exp"),
    ("math.floor", "Floor"),
    ("math.log", "Log"),
    ("math.maximum", "Maximum"),
    ("math.minimum", "Minimum"),
    ("math.multiply", "Multiply"),
    ("math.negative", "Negative"),
    ("math.pow", "Power"),
    ("math.reciprocal", "Reciprocal"),
    ("math.reduce_max", "Max"),
    ("math.reduce_mean", "Mean"),
    ("math.reduce_min", "Min"),
    ("math.reduce_prod", "Prod"),
    ("math.reduce_sum", "Sum"),
    ("math.round", "Round"),
    ("math.rsqrt", "Rsqrt"),
    ("math.sigmoid", "Sigmoid"),
    ("math.sign", "Sign"),
    ("math.sin", "Sin"),
    ("math.softplus", "Softplus"),
    ("math.sqrt", "Sqrt"),
    ("math.square", "Square"),
    ("math.subtract", "Subtract"),
    ("math.tanh", "Tanh"),
    ("math.truediv", "TrueDivide"),
    ("nn.elu", "Elu"),
    ("nn.leaky_relu", "LeakyRelu"),
    ("nn.log_softmax", "LogSoftmax"),
    ("nn.relu", "Relu"),
    ("nn.relu6", "Relu6"),
    ("nn.selu", "Selu"),
    ("nn.sigmoid", "Sigmoid"),
    ("nn.silu", "Silu"),
    ("nn.softmax", "Softmax"),
    ("nn.softplus", "Softplus"),
    ("nn.softsign", "Softsign"),
    ("nn.swish", "Silu"),
    ("nn.tanh", "Tanh"),
    ("reshape", "Reshape"),
    ("squeeze", "Squeeze"),
    ("transpose", "Transpose"),
];

/// The class of operator node that the layer stands for.
fn class(scope: &Scope<'_>) -> &'static str {
    let layer = scope.layer;
    let function = layer.config().get("function").and_then(Value::as_str);
    let wanted = match function {
        Some(function) => TENSORFLOW.iter().find(|(name, _)| *name == function).map(|(_, class)| *class),
        None => None,
    };
    wanted.or_else(|| layers::operation(&layer.class).map(|(class, _)| class)).unwrap_or("?")
}

/// A TensorFlow function in Keras 2.
pub(super) fn tensorflow(scope: &mut Scope<'_>) -> Built<TensorId> {
    match layers::operation(class(scope)) {
        Some((_, kind)) => (kind.build)(scope),
        None => {
            let function = scope.config().text("function")?.unwrap_or("?");
            unsupported!(
                "the TensorFlow function '{function}' is not supported; use a Keras layer in its place"
            )
        }
    }
}

pub(super) fn arithmetic(scope: &mut Scope<'_>) -> Built<TensorId> {
    let kind = match class(scope) {
        "Add" => BinaryKind::Add,
        "Subtract" => BinaryKind::Sub,
        "Multiply" => BinaryKind::Mul,
        "Divide" | "TrueDivide" => BinaryKind::Div,
        "Maximum" => BinaryKind::Maximum,
        "Minimum" => BinaryKind::Minimum,
        "Power" => BinaryKind::Pow,
        other => unsupported!("the operation {other} is not supported"),
    };
    let a = scope.float_operand(0, &["x1", "x"])?;
    let b = scope.float_operand(1, &["x2", "y"])?;
    scope.binary(kind, a, b)
}

pub(super) fn function(scope: &mut Scope<'_>) -> Built<TensorId> {
    let kind = match class(scope) {
        "Abs" | "Absolute" => UnaryKind::Abs,
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
        other => unsupported!("the operation {other} is not supported"),
    };
    if kind == UnaryKind::Round && scope.config().integer("decimals", 0)? != 0 {
        unsupported!("rounding to decimals is not supported; scale the numbers before and after");
    }
    let x = scope.float_operand(0, &["x"])?;
    scope.unary(kind, x)
}

/// Functions of `keras.activations` under the names of their operator nodes.
pub(super) fn activation(scope: &mut Scope<'_>) -> Built<TensorId> {
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
        "SparseSigmoid" => "sparse_sigmoid",
        "Squareplus" => "squareplus",
        "Tanh" => "tanh",
        "TanhShrink" => "tanh_shrink",
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

pub(super) fn clip(scope: &mut Scope<'_>) -> Built<TensorId> {
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

pub(super) fn reduction(scope: &mut Scope<'_>) -> Built<TensorId> {
    let kind = match class(scope) {
        "Mean" => ReduceKind::Mean,
        "Sum" => ReduceKind::Sum,
        "Max" | "Amax" => ReduceKind::Max,
        "Min" | "Amin" => ReduceKind::Min,
        "Prod" => ReduceKind::Prod,
        other => unsupported!("the operation {other} is not supported"),
    };
    if scope.attribute("initial").is_some() {
        unsupported!("a reduction with an initial value is not supported");
    }
    let x = scope.float_operand(0, &["x", "input_tensor"])?;
    let rank = scope.rank(x);
    let axes = match scope.attribute("axis") {
        None => (0..rank as i64).collect(),
        Some(value) => integers(&value).ok_or_else(|| scope.config().broken("its axis is no integer"))?,
    };
    let axes =
        axes.into_iter().map(|axis| Ok(scope.axis(axis, rank)? as i32)).collect::<Built<Vec<i32>>>()?;
    let keep_dims = scope.attribute("keepdims").and_then(|keep| keep.as_bool()).unwrap_or(false);
    scope.emit(Reduce { kind, axes, keep_dims }, &[x])
}

pub(super) fn cast(scope: &mut Scope<'_>) -> Built<TensorId> {
    let x = scope.input()?;
    let dtype = scope.attribute("dtype");
    match dtype.as_ref().and_then(Value::as_str).and_then(DType::from_numpy_name) {
        Some(to @ (DType::F32 | DType::I32 | DType::I64)) => scope.emit(Cast { to }, &[x]),
        _ => unsupported!("a cast to {} is not supported; cast to float32", dtype.unwrap_or(Value::Null)),
    }
}

/// The new shape includes the batch.
pub(super) fn reshape(scope: &mut Scope<'_>) -> Built<TensorId> {
    let x = scope.input()?;
    let shape = scope.attribute("newshape").or_else(|| scope.attribute("shape"));
    let Some(sizes) = shape.as_ref().and_then(integers) else {
        unsupported!("its new shape must consist of integers");
    };
    let mut shape = Vec::with_capacity(sizes.len());
    for size in sizes {
        shape.push(reshape_dim(scope.config(), size)?);
    }
    // -1 in front of sizes that make up a sample is the batch, whose name is kept that way.
    let sample = |dims: &[ReshapeDim]| {
        dims.iter().try_fold(1u64, |product, dim| match dim {
            ReshapeDim::Fixed(size) => product.checked_mul(*size as u64),
            _ => None,
        })
    };
    let whole = scope.shape(x);
    if shape.first() == Some(&ReshapeDim::Infer)
        && whole.rank() > 0
        && whole.dims()[1..].iter().all(|dim| dim.fixed().is_some())
        && whole.dims()[0].fixed().is_none()
        && sample(&shape[1..]) == Some(whole.elements_per_sample())
    {
        shape[0] = ReshapeDim::Copy(0);
    }
    scope.emit(Reshape::to(shape), &[x])
}

pub(super) fn transpose(scope: &mut Scope<'_>) -> Built<TensorId> {
    let x = scope.input()?;
    let rank = scope.rank(x);
    let axes = match scope.attribute("axes").or_else(|| scope.attribute("perm")) {
        None => (0..rank as i64).rev().collect(),
        Some(axes) => integers(&axes).ok_or_else(|| scope.config().broken("its axes are no integers"))?,
    };
    let axes = axes.into_iter().map(|axis| scope.axis(axis, rank)).collect::<Built<Vec<_>>>()?;
    scope.emit(Transpose::by(&axes), &[x])
}

pub(super) fn expand_dims(scope: &mut Scope<'_>) -> Built<TensorId> {
    let mut x = scope.input()?;
    let axes = scope.attribute("axis").as_ref().and_then(integers).unwrap_or_default();
    let rank = scope.rank(x) + axes.len();
    let mut axes = axes.into_iter().map(|axis| scope.axis(axis, rank)).collect::<Built<Vec<_>>>()?;
    axes.sort_unstable();
    for axis in axes {
        x = scope.emit(ExpandDims { axis: axis as i32 }, &[x])?;
    }
    Ok(x)
}

pub(super) fn squeeze(scope: &mut Scope<'_>) -> Built<TensorId> {
    let x = scope.input()?;
    let rank = scope.rank(x);
    let axes = match scope.attribute("axis") {
        None => Vec::new(),
        Some(value) => integers(&value).ok_or_else(|| scope.config().broken("its axis is no integer"))?,
    };
    let axes =
        axes.into_iter().map(|axis| Ok(scope.axis(axis, rank)? as i32)).collect::<Built<Vec<i32>>>()?;
    scope.emit(Squeeze { axes }, &[x])
}

/// `x[…]` with integers, slices and an ellipsis.
pub(super) fn get_item(scope: &mut Scope<'_>) -> Built<TensorId> {
    let x = match scope.operand(0, &["x", "tensor"]) {
        Some(Operand::Tensor(x)) => *x,
        _ => unsupported!("only tensors can be sliced"),
    };
    let Some(key) = scope.operand(1, &["key", "slice_spec"]).and_then(Operand::value) else {
        unsupported!("slicing by a tensor is not supported; slice by numbers");
    };
    let rank = scope.rank(x);
    let mut items = match key {
        Value::Array(items) => items,
        single => vec![single],
    };
    let ellipsis = |item: &Value| item.get("class_name").and_then(Value::as_str) == Some("__ellipsis__");
    if let Some(place) = items.iter().position(ellipsis) {
        let missing = (rank + 1).saturating_sub(items.len());
        items.splice(place..=place, std::iter::repeat_n(Value::Object(serde_json::Map::new()), missing));
    }
    if items.len() > rank {
        return Err(scope.config().broken(format!("it slices {} of {rank} axes", items.len())).into());
    }
    let mut slice = StridedSlice::default();
    for (axis, item) in items.iter().enumerate() {
        let bounds = match item {
            Value::Object(object) => object.get("config").and_then(Value::as_object).unwrap_or(object),
            Value::Number(number) => {
                let Some(index) = number.as_i64() else { unsupported!("index {number} is no integer") };
                slice.begin.push(index);
                slice.end.push(index.saturating_add(1));
                slice.strides.push(1);
                slice.shrink_axis_mask |= 1 << axis;
                continue;
            }
            other => unsupported!("slicing by {other} is not supported; use numbers, slices and an ellipsis"),
        };
        let bound = |key: &str| match bounds.get(key) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => match value.as_i64() {
                Some(bound) => Ok(Some(bound)),
                None => Err(scope.config().broken(format!("a slice's {key} is {value}"))),
            },
        };
        let (start, stop, step) = (bound("start")?, bound("stop")?, bound("step")?);
        slice.begin_mask |= u32::from(start.is_none()) << axis;
        slice.end_mask |= u32::from(stop.is_none()) << axis;
        slice.begin.push(start.unwrap_or(0));
        slice.end.push(stop.unwrap_or(0));
        slice.strides.push(step.unwrap_or(1));
    }
    scope.emit(slice, &[x])
}
