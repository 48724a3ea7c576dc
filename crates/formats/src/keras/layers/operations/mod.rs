//! Operator nodes: `keras.ops` of Keras 3, and TensorFlow functions in Keras 2.

pub(super) mod elementwise;
pub(super) mod images;
pub(super) mod logic;
pub(super) mod products;
pub(super) mod reductions;
pub(super) mod shapes;
pub(super) mod slicing;

use litesmith_graph::ops::{Cast, CompareKind};
use litesmith_graph::{DType, TensorId};
use serde_json::Value;

use crate::composed::truth;
use crate::emit::Emit;
use crate::keras::config::{Built, integers, unsupported};
use crate::keras::layers::regularization::nothing;
use crate::keras::layers::{Kind, activation, einsum, global_pooling, merging, plain, several};
use crate::keras::scope::Scope;
use elementwise::{arithmetic, function};
use reductions::reduction;
use shapes::split;

/// TensorFlow functions that Keras 2 records as layers, with the operator node of the same meaning.
const TENSORFLOW: &[(&str, &str)] = &[
    ("__operators__.add", "Add"),
    ("__operators__.eq", "Equal"),
    ("__operators__.getitem", "GetItem"),
    ("__operators__.ne", "NotEqual"),
    ("argmax", "Argmax"),
    ("argmin", "Argmin"),
    ("cast", "Cast"),
    ("clip_by_value", "Clip"),
    ("compat.v1.transpose", "Transpose"),
    ("concat", "Concatenate"),
    ("cumsum", "Cumsum"),
    ("einsum", "Einsum"),
    ("expand_dims", "ExpandDims"),
    ("identity", "Identity"),
    ("linalg.matmul", "Matmul"),
    ("linalg.norm", "Norm"),
    ("math.abs", "Absolute"),
    ("math.add", "Add"),
    ("math.argmax", "Argmax"),
    ("math.argmin", "Argmin"),
    ("math.ceil", "Ceil"),
    ("math.cos", "Cos"),
    ("math.cosh", "Cosh"),
    ("math.cumsum", "Cumsum"),
    ("math.divide", "TrueDivide"),
    ("math.divide_no_nan", "DivideNoNan"),
    ("math.equal", "Equal"),
    ("math.erf", "Erf"),
    ("math.exp", "Exp"),
    ("math.expm1", "Expm1"),
    ("math.floor", "Floor"),
    ("math.floordiv", "FloorDivide"),
    ("math.floormod", "Mod"),
    ("math.greater", "Greater"),
    ("math.greater_equal", "GreaterEqual"),
    ("math.less", "Less"),
    ("math.less_equal", "LessEqual"),
    ("math.log", "Log"),
    ("math.log1p", "Log1p"),
    ("math.log_sigmoid", "LogSigmoid"),
    ("math.logical_and", "LogicalAnd"),
    ("math.logical_not", "LogicalNot"),
    ("math.logical_or", "LogicalOr"),
    ("math.maximum", "Maximum"),
    ("math.minimum", "Minimum"),
    ("math.multiply", "Multiply"),
    ("math.negative", "Negative"),
    ("math.not_equal", "NotEqual"),
    ("math.pow", "Power"),
    ("math.reciprocal", "Reciprocal"),
    ("math.reduce_all", "All"),
    ("math.reduce_any", "Any"),
    ("math.reduce_logsumexp", "Logsumexp"),
    ("math.reduce_max", "Max"),
    ("math.reduce_mean", "Mean"),
    ("math.reduce_min", "Min"),
    ("math.reduce_prod", "Prod"),
    ("math.reduce_std", "Std"),
    ("math.reduce_sum", "Sum"),
    ("math.reduce_variance", "Var"),
    ("math.round", "Round"),
    ("math.rsqrt", "Rsqrt"),
    ("math.sigmoid", "Sigmoid"),
    ("math.sign", "Sign"),
    ("math.sin", "Sin"),
    ("math.sinh", "Sinh"),
    ("math.softplus", "Softplus"),
    ("math.sqrt", "Sqrt"),
    ("math.square", "Square"),
    ("math.subtract", "Subtract"),
    ("math.tan", "Tan"),
    ("math.tanh", "Tanh"),
    ("math.truediv", "TrueDivide"),
    ("matmul", "Matmul"),
    ("nn.elu", "Elu"),
    ("nn.gelu", "Gelu"),
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
    ("norm", "Norm"),
    ("ones_like", "OnesLike"),
    ("repeat", "Repeat"),
    ("reshape", "Reshape"),
    ("reverse", "Flip"),
    ("squeeze", "Squeeze"),
    ("stack", "Stack"),
    ("stop_gradient", "StopGradient"),
    ("transpose", "Transpose"),
    ("unstack", "Unstack"),
    ("where", "Where"),
    ("zeros_like", "ZerosLike"),
];

/// Operator nodes of `keras.ops` by class. Those that share their name and meaning with a layer
/// stand among the layers alone where a file does not tell them apart.
pub(super) const OPERATIONS: &[(&str, Kind)] = &[
    ("Abs", plain(function)),
    ("Absolute", plain(function)),
    ("AdaptiveAveragePool", plain(global_pooling::adaptive_average)),
    ("AdaptiveMaxPool", plain(global_pooling::adaptive_max)),
    ("Add", plain(arithmetic)),
    ("All", plain(logic::all_or_any)),
    ("Amax", plain(reduction)),
    ("Amin", plain(reduction)),
    ("Any", plain(logic::all_or_any)),
    ("Append", plain(shapes::stacked)),
    ("Arccosh", plain(function)),
    ("Arcsinh", plain(function)),
    ("Arctanh", plain(function)),
    ("Argmax", plain(reductions::place)),
    ("Argmin", plain(reductions::place)),
    ("Argsort", plain(reductions::sorted)),
    ("ArraySplit", several(split)),
    ("Average", plain(reduction)),
    ("AveragePool", plain(images::pool)),
    ("Cast", plain(cast)),
    ("Cbrt", plain(function)),
    ("Ceil", plain(function)),
    ("Celu", plain(elementwise::activation)),
    ("Clip", plain(elementwise::clip)),
    ("Concatenate", plain(merging::concatenate)),
    ("Conj", plain(nothing)),
    ("Conjugate", plain(nothing)),
    ("Copy", plain(nothing)),
    ("Cos", plain(function)),
    ("Cosh", plain(function)),
    ("CountNonzero", plain(reduction)),
    ("CropImages", plain(images::border)),
    ("Cross", plain(products::cross)),
    ("Cumprod", plain(slicing::running_product)),
    ("Cumsum", plain(reductions::running_sum)),
    ("Deg2rad", plain(function)),
    ("DepthToSpace", plain(shapes::blocks)),
    ("Diagonal", plain(slicing::diagonal)),
    ("Diff", plain(slicing::difference)),
    ("Digitize", plain(slicing::digitize)),
    ("Divide", plain(arithmetic)),
    ("DivideNoNan", plain(arithmetic)),
    ("Dot", plain(products::contraction)),
    ("DotProductAttention", plain(products::attention)),
    ("Dsplit", several(split)),
    ("Dstack", plain(shapes::stacked)),
    ("Einsum", plain(einsum::operation)),
    ("Elu", plain(elementwise::activation)),
    ("Equal", plain(logic::relation)),
    ("Erf", plain(function)),
    ("Erfc", plain(function)),
    ("Exp", plain(function)),
    ("Exp2", plain(function)),
    ("ExpandDims", plain(shapes::expand_dims)),
    ("Expm1", plain(function)),
    ("ExtractPatches", plain(images::patches)),
    ("Fabs", plain(function)),
    ("Flip", plain(shapes::flip)),
    ("Fliplr", plain(shapes::flip)),
    ("Flipud", plain(shapes::flip)),
    ("Floor", plain(function)),
    ("FloorDivide", plain(arithmetic)),
    ("Fmax", plain(arithmetic)),
    ("Fmin", plain(arithmetic)),
    ("Fmod", plain(arithmetic)),
    ("FullLike", plain(elementwise::filled)),
    ("Gelu", plain(elementwise::activation)),
    ("GetItem", plain(slicing::get_item)),
    ("Glu", plain(elementwise::activation)),
    ("Greater", plain(logic::relation)),
    ("GreaterEqual", plain(logic::relation)),
    ("HardShrink", plain(elementwise::activation)),
    ("HardSigmoid", plain(elementwise::activation)),
    ("HardSilu", plain(elementwise::activation)),
    ("HardTanh", plain(elementwise::activation)),
    ("Heaviside", plain(arithmetic)),
    ("Hsplit", several(split)),
    ("Hstack", plain(shapes::stacked)),
    ("Hypot", plain(arithmetic)),
    ("Identity", plain(nothing)),
    ("Inner", plain(products::contraction)),
    ("Isclose", plain(logic::close)),
    ("Isfinite", plain(logic::property)),
    ("Isinf", plain(logic::property)),
    ("Isnan", plain(logic::property)),
    ("LayerNorm", plain(images::normalization)),
    ("LeakyRelu", plain(elementwise::activation)),
    ("Less", plain(logic::relation)),
    ("LessEqual", plain(logic::relation)),
    ("Log", plain(function)),
    ("Log10", plain(function)),
    ("Log1p", plain(function)),
    ("Log2", plain(function)),
    ("LogSigmoid", plain(elementwise::activation)),
    ("LogSoftmax", plain(elementwise::activation)),
    ("Logaddexp", plain(arithmetic)),
    ("Logaddexp2", plain(arithmetic)),
    ("LogicalAnd", plain(logic::logical)),
    ("LogicalNot", plain(logic::logical)),
    ("LogicalOr", plain(logic::logical)),
    ("LogicalXor", plain(logic::logical)),
    ("Logsumexp", plain(reduction)),
    ("Matmul", plain(products::matmul)),
    ("Max", plain(reduction)),
    ("MaxPool", plain(images::pool)),
    ("Maximum", plain(arithmetic)),
    ("Mean", plain(reduction)),
    ("Min", plain(reduction)),
    ("Minimum", plain(arithmetic)),
    ("Mish", plain(elementwise::activation)),
    ("Mod", plain(arithmetic)),
    ("Moments", several(reductions::moments)),
    ("Moveaxis", plain(shapes::transpose)),
    ("MultiHot", plain(slicing::one_hot)),
    ("Multiply", plain(arithmetic)),
    ("NanToNum", plain(function)),
    ("Nanmax", plain(reduction)),
    ("Nanmean", plain(reduction)),
    ("Nanmin", plain(reduction)),
    ("Nanprod", plain(reduction)),
    ("Nansum", plain(reduction)),
    ("Negative", plain(function)),
    ("Norm", plain(reductions::norm)),
    ("Normalize", plain(reductions::normalize)),
    ("NotEqual", plain(logic::relation)),
    ("OneHot", plain(slicing::one_hot)),
    ("OnesLike", plain(elementwise::filled)),
    ("Outer", plain(products::contraction)),
    ("Pad", plain(shapes::pad)),
    ("PadImages", plain(images::border)),
    ("Power", plain(arithmetic)),
    ("Prod", plain(reduction)),
    ("Ptp", plain(reduction)),
    ("RGBToGrayscale", plain(products::grayscale)),
    ("RMSNorm", plain(images::normalization)),
    ("Rad2deg", plain(function)),
    ("Ravel", plain(shapes::ravel)),
    ("ReLU", plain(activation::layer)),
    ("Real", plain(nothing)),
    ("Reciprocal", plain(function)),
    ("Relu", plain(elementwise::activation)),
    ("Relu6", plain(elementwise::activation)),
    ("Repeat", plain(shapes::repeat)),
    ("Reshape", plain(shapes::reshape)),
    ("Resize", plain(images::resize)),
    ("Roll", plain(shapes::roll)),
    ("Rot90", plain(shapes::rotate)),
    ("Round", plain(function)),
    ("Rsqrt", plain(function)),
    ("SaturateCast", plain(cast)),
    ("Select", plain(logic::choices)),
    ("Selu", plain(elementwise::activation)),
    ("Sigmoid", plain(elementwise::activation)),
    ("Sign", plain(function)),
    ("Signbit", plain(logic::property)),
    ("Silu", plain(elementwise::activation)),
    ("Sin", plain(function)),
    ("Sinc", plain(function)),
    ("Sinh", plain(function)),
    ("Slice", plain(slicing::slice)),
    ("SoftShrink", plain(elementwise::activation)),
    ("Softmax", plain(elementwise::activation)),
    ("Softplus", plain(elementwise::activation)),
    ("Softsign", plain(elementwise::activation)),
    ("Sort", plain(reductions::sorted)),
    ("SpaceToDepth", plain(shapes::blocks)),
    ("SparsePlus", plain(elementwise::activation)),
    ("SparseSigmoid", plain(elementwise::activation)),
    ("Sparsemax", plain(elementwise::activation)),
    ("Split", several(split)),
    ("Sqrt", plain(function)),
    ("Square", plain(function)),
    ("Squareplus", plain(elementwise::activation)),
    ("Squeeze", plain(shapes::squeeze)),
    ("Stack", plain(shapes::stack)),
    ("Std", plain(reduction)),
    ("StopGradient", plain(nothing)),
    ("Subtract", plain(arithmetic)),
    ("Sum", plain(reduction)),
    ("Swapaxes", plain(shapes::transpose)),
    ("Take", plain(slicing::take)),
    ("TakeAlongAxis", plain(slicing::take_along_axis)),
    ("Tan", plain(function)),
    ("Tanh", plain(elementwise::activation)),
    ("TanhShrink", plain(elementwise::activation)),
    ("Tensordot", plain(products::contraction)),
    ("Threshold", plain(elementwise::activation)),
    ("Tile", plain(shapes::tile)),
    ("TopK", several(reductions::largest)),
    ("Trace", plain(slicing::diagonal)),
    ("Transpose", plain(shapes::transpose)),
    ("Tril", plain(slicing::triangle)),
    ("Triu", plain(slicing::triangle)),
    ("TrueDivide", plain(arithmetic)),
    ("Trunc", plain(function)),
    ("Unstack", several(shapes::unstack)),
    ("Var", plain(reduction)),
    ("Vsplit", several(split)),
    ("Vstack", plain(shapes::stacked)),
    ("Where", plain(logic::choice)),
    ("ZerosLike", plain(elementwise::filled)),
];

/// The operator node of a class, with its name in the table.
fn operation(class: &str) -> Option<(&'static str, Kind)> {
    OPERATIONS.iter().find(|(known, _)| *known == class).copied()
}

/// The class of operator node that the layer stands for.
fn class(scope: &Scope<'_>) -> &'static str {
    let layer = scope.layer;
    let function = layer.config().get("function").and_then(Value::as_str);
    let wanted = match function {
        Some(function) => TENSORFLOW.iter().find(|(name, _)| *name == function).map(|(_, class)| *class),
        None => None,
    };
    wanted.or_else(|| operation(&layer.class).map(|(class, _)| class)).unwrap_or("?")
}

/// A TensorFlow function in Keras 2.
pub(super) fn tensorflow(scope: &mut Scope<'_>) -> Built<Vec<TensorId>> {
    match operation(class(scope)) {
        Some((_, kind)) => kind.outputs(scope),
        None => {
            let function = scope.config().text("function")?.unwrap_or("?");
            unsupported!(
                "the TensorFlow function '{function}' is not supported; use a Keras layer in its place"
            )
        }
    }
}

/// The axes that a node names, or all of them, and whether they stay with size 1.
fn axes(scope: &Scope<'_>, x: TensorId) -> Built<(Vec<i32>, bool)> {
    let rank = scope.rank(x);
    let axes = match scope.attribute("axis").or_else(|| scope.attribute("axes")) {
        None => (0..rank as i64).collect(),
        Some(value) => integers(&value).ok_or_else(|| scope.config().broken("its axis is no integer"))?,
    };
    let axes =
        axes.into_iter().map(|axis| Ok(scope.axis(axis, rank)? as i32)).collect::<Built<Vec<i32>>>()?;
    let keep_dims = scope.attribute("keepdims").and_then(|keep| keep.as_bool()).unwrap_or(false);
    Ok((axes, keep_dims))
}

/// One axis by the name of its setting.
fn axis(scope: &Scope<'_>, x: TensorId, name: &str, default: i64) -> Built<usize> {
    let axis = match scope.attribute(name) {
        None => default,
        Some(value) => match integers(&value).as_deref() {
            Some([axis]) => *axis,
            _ => return Err(scope.config().broken(format!("its {name} is no integer")).into()),
        },
    };
    scope.axis(axis, scope.rank(x))
}

/// The tensors that a node takes as a list.
fn list(scope: &mut Scope<'_>) -> Built<Vec<TensorId>> {
    let inputs = scope.all_floats()?;
    if inputs.is_empty() {
        return Err(scope.config().broken("it is called without a tensor").into());
    }
    Ok(inputs)
}

pub(super) fn cast(scope: &mut Scope<'_>) -> Built<TensorId> {
    let x = scope.input()?;
    let dtype = scope.attribute("dtype");
    match dtype.as_ref().and_then(Value::as_str).and_then(DType::from_numpy_name) {
        Some(DType::F32) if scope.dtype(x) == DType::Bool => truth::as_numbers(scope, x),
        Some(DType::Bool) if scope.dtype(x) != DType::Bool => {
            let x = scope.as_floats(x)?;
            truth::compared(scope, CompareKind::NotEqual, x, 0.0)
        }
        Some(to @ (DType::F32 | DType::I32 | DType::I64 | DType::Bool)) => scope.emit(Cast { to }, &[x]),
        _ => unsupported!("a cast to {} is not supported; cast to float32", dtype.unwrap_or(Value::Null)),
    }
}
