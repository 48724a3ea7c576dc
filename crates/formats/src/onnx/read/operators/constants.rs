//! Constants, tensors of one value, counted numbers, and what only passes its input on.

use litesmith_graph::ops::{Fill, Identity, Range, ShapeOf};
use litesmith_graph::{DType, Data, TensorId};

use crate::emit::Emit;
use crate::onnx::proto::TensorProto;
use crate::onnx::read::draft::Bound;
use crate::onnx::read::scope::Scope;
use crate::onnx::read::tensor::{self, Constant, Fault, dtype_of};
use crate::refusal::{Built, Refusal, unsupported};

fn decoded(scope: &Scope<'_, '_>, proto: &TensorProto) -> Built<Constant> {
    let place = format!("node '{}' ({})", scope.layer, scope.op);
    tensor::decode(proto, scope.target.external, &place).map_err(|fault| match fault {
        Fault::Unsupported(reason) => Refusal::Unsupported(reason),
        Fault::Error(error) => Refusal::Error(error),
    })
}

pub(super) fn constant(scope: &mut Scope<'_, '_>) -> Built<Vec<Bound>> {
    if scope.attributes.has("sparse_value") || scope.attributes.has("value_string") {
        unsupported!("a sparse constant or one of text is not supported; store numbers densely");
    }
    let one = |dtype: DType, shape: Vec<usize>, data: Data| Constant { dtype, shape, data };
    let constant = if let Some(proto) = scope.attributes.tensor("value")? {
        decoded(scope, proto)?
    } else if let Some(value) = scope.attributes.number("value_float")? {
        one(DType::F32, Vec::new(), Data::from_vec(vec![value]))
    } else if let Some(values) = scope.attributes.numbers("value_floats")? {
        one(DType::F32, vec![values.len()], Data::from_vec(values.to_vec()))
    } else if let Some(value) = scope.attributes.integer("value_int")? {
        one(DType::I64, Vec::new(), Data::from_vec(vec![value]))
    } else if let Some(values) = scope.attributes.integers("value_ints")? {
        one(DType::I64, vec![values.len()], Data::from_vec(values.to_vec()))
    } else {
        return Err(scope.broken("it has no value").into());
    };
    let name = scope.result_name();
    Ok(vec![scope.target.add_weight(name, constant)])
}

/// Most elements of a constant that is made of one value, and of all of them.
const MOST_FILLED: usize = 1 << 23;
const MOST_FILLED_IN_ALL: usize = 1 << 26;

pub(super) fn constant_of_shape(scope: &mut Scope<'_, '_>) -> Built<Vec<Bound>> {
    let shape = scope.input(0)?;
    let (dtype, value) = match scope.attributes.tensor("value")? {
        Some(proto) => {
            let Constant { dtype, shape, data } = decoded(scope, proto)?;
            if shape.iter().product::<usize>() != 1 {
                return Err(scope.broken("its value is not one number").into());
            }
            let integer = data.integers(dtype).and_then(|values| values.first().map(|value| *value as f64));
            let float = data.floats(dtype).and_then(|values| values.first().map(|value| f64::from(*value)));
            (dtype, integer.or(float).unwrap_or(0.0))
        }
        None => (DType::F32, 0.0),
    };
    // Weights of models without any are spelled so.
    if let (Some(sizes), DType::F32) = (scope.known_integers(shape), dtype) {
        let sizes = scope.sizes_from(&sizes, "a size")?;
        let count = sizes.iter().try_fold(1usize, |product, size| product.checked_mul(*size));
        let left = MOST_FILLED_IN_ALL - scope.target.filled;
        if let Some(count) = count.filter(|count| (2..=MOST_FILLED.min(left)).contains(count)) {
            scope.target.filled += count;
            let data = Data::from_vec(vec![value as f32; count]);
            let name = scope.result_name();
            return Ok(vec![scope.target.add_weight(name, Constant { dtype, shape: sizes, data })]);
        }
    }
    let value = scope.number("value", dtype, value)?;
    if scope.shape(shape).elements() == Some(0) {
        return Ok(vec![Bound::Tensor(value)]);
    }
    scope.emit(Fill {}, &[shape, value]).map(|filled| vec![Bound::Tensor(filled)])
}

/// Ones on a diagonal.
pub(super) fn eye_like(scope: &mut Scope<'_, '_>) -> Built<TensorId> {
    let x = scope.input(0)?;
    let sizes = scope.sizes(x)?;
    let [rows, columns] = sizes[..] else {
        return Err(scope.broken(format!("its input has {} axes instead of two", sizes.len())).into());
    };
    let offset = scope.attributes.integer("k")?.unwrap_or(0);
    let dtype = match scope.attributes.integer("dtype")? {
        Some(number) => dtype_of(i32::try_from(number).unwrap_or(-1)).map_err(Refusal::Unsupported)?,
        None => scope.dtype(x),
    };
    let count = scope.affordable(&[rows, columns])?;
    let one = |place: usize| f32::from((place % columns) as i64 - (place / columns) as i64 == offset);
    let values = (0..count).map(one).collect();
    let eye = scope.floats("eye", &sizes, values);
    let dtype = if dtype == DType::F16 { DType::F32 } else { dtype };
    scope.cast(eye, dtype)
}

pub(super) fn range(scope: &mut Scope<'_, '_>) -> Built<TensorId> {
    let numbers = [scope.input(0)?, scope.input(1)?, scope.input(2)?];
    scope.emit(Range {}, &numbers)
}

/// What is passed on as it is.
pub(super) fn identity(scope: &mut Scope<'_, '_>) -> Built<Vec<Bound>> {
    match scope.bound(0) {
        Some(bound) => Ok(vec![bound]),
        None => Err(scope.broken("its input is missing").into()),
    }
}

pub(super) fn dropout(scope: &mut Scope<'_, '_>) -> Built<Vec<Bound>> {
    scope.attributes.ignore(&["seed", "ratio"]);
    let x = scope.input(0)?;
    scope.bound(1);
    if let Some(training) = scope.optional(2)?
        && scope.known_integers(training).as_deref() != Some(&[0])
    {
        unsupported!("dropout while the model is used is not supported; set its training_mode to false");
    }
    let kept = scope.emit(Identity::default(), &[x])?;
    if !scope.wants(1) {
        return Ok(vec![Bound::Tensor(kept)]);
    }
    // Everything is kept.
    let truth = scope.number("kept", DType::Bool, 1.0)?;
    let mask = if scope.rank(x) == 0 {
        truth
    } else {
        let shape = scope.emit(ShapeOf { dtype: DType::I64 }, &[x])?;
        scope.emit(Fill {}, &[shape, truth])?
    };
    Ok(vec![Bound::Tensor(kept), Bound::Tensor(mask)])
}

/// The windows of Hann, Hamming and Blackman.
pub(super) fn window(scope: &mut Scope<'_, '_>) -> Built<TensorId> {
    let size = scope.integer_of(0, "its size")?;
    let size = scope.size_from(size, "its size")?;
    let periodic = scope.attributes.flag("periodic", true)?;
    let number = scope.attributes.integer("output_datatype")?.unwrap_or(1);
    let dtype = dtype_of(i32::try_from(number).unwrap_or(-1)).map_err(Refusal::Unsupported)?;
    scope.affordable(&[size])?;
    let factors: [f64; 3] = match scope.op {
        "HannWindow" => [0.5, 0.5, 0.0],
        "HammingWindow" => [25.0 / 46.0, 21.0 / 46.0, 0.0],
        _ => [0.42, 0.5, 0.08],
    };
    let steps = if periodic { size } else { size.saturating_sub(1) }.max(1) as f64;
    let value = |index: usize| {
        let angle = std::f64::consts::TAU * index as f64 / steps;
        (factors[0] - factors[1] * angle.cos() + factors[2] * (2.0 * angle).cos()) as f32
    };
    let values = (0..size).map(value).collect();
    let window = scope.floats("window", &[size], values);
    scope.cast(window, if dtype == DType::F16 { DType::F32 } else { dtype })
}
