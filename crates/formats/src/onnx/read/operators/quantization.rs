//! Quantized integers. A tensor that is rounded to integers and back is simulated quantization in the graph:
//! it computes the same, and becomes integers when the model is quantized.

use litesmith_graph::ops::{
    BinaryKind, CompareKind, Concat, Dequantize, FakeQuant, Quantize, Reduce, ReduceKind, UnaryKind,
};
use litesmith_graph::{DType, Data, Quantization, TensorId};

use super::elementwise::clamped;
use super::{convolution, products};
use crate::composed::truth;
use crate::emit::Emit;
use crate::onnx::read::draft::Bound;
use crate::onnx::read::scope::Scope;
use crate::onnx::read::tensor::{Constant, dtype_of};
use crate::refusal::{Built, Refusal, unsupported};

/// Scale and zero point of a node's inputs.
#[derive(Clone, Copy, Debug)]
struct Parameters {
    scale: TensorId,
    zero: Option<TensorId>,
}

impl Parameters {
    fn of(scope: &mut Scope<'_, '_>, scale: usize, zero: usize) -> Built<Parameters> {
        Ok(Parameters { scale: scope.input(scale)?, zero: scope.optional(zero)? })
    }

    /// Both as numbers, if they are single and known.
    fn single(self, scope: &Scope<'_, '_>) -> Option<(f32, i32)> {
        let scale = scope.known_number(self.scale)? as f32;
        let zero = self.zero.map_or(Some(0.0), |zero| scope.known_number(zero))? as i32;
        (scale.is_finite() && scale > 0.0).then_some((scale, zero))
    }
}

/// The least and the largest integer of a type.
fn bounds(dtype: DType) -> Option<(f32, f32)> {
    match dtype {
        DType::I8 => Some((-128.0, 127.0)),
        DType::U8 => Some((0.0, 255.0)),
        DType::I16 => Some((-32768.0, 32767.0)),
        DType::U16 => Some((0.0, 65535.0)),
        _ => None,
    }
}

pub(super) fn quantize(scope: &mut Scope<'_, '_>) -> Built<TensorId> {
    scope.attributes.ignore(&["saturate", "precision"]);
    let x = scope.input(0)?;
    let parameters = Parameters::of(scope, 1, 2)?;
    let named = scope.attributes.integer("output_dtype")?.filter(|number| *number != 0);
    let dtype = match (parameters.zero, named) {
        (Some(zero), _) => scope.dtype(zero),
        (None, Some(number)) => {
            dtype_of(i32::try_from(number).unwrap_or(-1)).map_err(Refusal::Unsupported)?
        }
        (None, None) => DType::U8,
    };
    scope.expect_floats(x)?;
    rounded(scope, x, parameters, dtype)
}

/// Real numbers as integers of this type.
fn rounded(scope: &mut Scope<'_, '_>, x: TensorId, parameters: Parameters, dtype: DType) -> Built<TensorId> {
    let Some((low, high)) = bounds(dtype) else {
        unsupported!("integers of {dtype} are not supported here; use 8 or 16 bits");
    };
    if let Some((scale, zero)) = parameters.single(scope)
        && matches!(dtype, DType::I8 | DType::U8)
    {
        let result = scope.emit(Quantize { to: dtype }, &[x])?;
        scope.draft.graph[result].quantization = Some(Quantization::per_tensor(scale, zero));
        scope.draft.quantized.insert(result, x);
        return Ok(result);
    }
    let rank = scope.rank(x);
    let [scale, zero] = spread(scope, x, parameters, rank)?;
    let steps = scope.binary(BinaryKind::Div, x, scale)?;
    let mut steps = scope.unary(UnaryKind::Round, steps)?;
    if let Some(zero) = zero_of(scope, zero)? {
        steps = scope.binary(BinaryKind::Add, steps, zero)?;
    }
    let steps = clamped(scope, steps, low, high)?;
    scope.cast(steps, dtype)
}

/// A zero point as real numbers, unless it is 0.
fn zero_of(scope: &mut Scope<'_, '_>, zero: TensorId) -> Built<Option<TensorId>> {
    if scope.known_integers(zero).is_some_and(|values| values.iter().all(|value| *value == 0)) {
        return Ok(None);
    }
    scope.cast(zero, DType::F32).map(Some)
}

/// Scale and zero point in a form that broadcasts to a tensor: along an axis, or for each block along one.
fn spread(
    scope: &mut Scope<'_, '_>,
    x: TensorId,
    parameters: Parameters,
    rank: usize,
) -> Built<[TensorId; 2]> {
    let block = scope.attributes.integer("block_size")?.unwrap_or(0);
    let axis = scope.attributes.integer("axis")?.unwrap_or(1);
    let zero = match parameters.zero {
        Some(zero) => zero,
        None => scope.number("zero", DType::U8, 0.0)?,
    };
    let mut pair = [parameters.scale, zero];
    for operand in &mut pair {
        let own = scope.rank(*operand);
        if scope.shape(*operand).elements() == Some(1) && own <= 1 {
            continue;
        }
        if own == rank && (block > 0 || own > 1) {
            let axis = scope.axis(axis, rank)?;
            let (blocks, size) = (scope.size(*operand, axis)?, scope.size(x, axis)?);
            if block == 0 || blocks == 0 {
                return Err(scope.broken("its scales do not fit its blocks").into());
            }
            let block = scope.size_from(block, "the size of its blocks")?;
            scope.listable(&[size])?;
            let places: Vec<i64> = (0..size).map(|place| ((place / block).min(blocks - 1)) as i64).collect();
            *operand = super::gathering::chosen_along(scope, *operand, axis, &places)?;
        } else if own == 1 {
            let axis = scope.axis(axis, rank)?;
            let mut shape = vec![1; rank];
            shape[axis] = scope.size(*operand, 0)?;
            *operand = scope.reshaped(*operand, &shape)?;
        } else if own != 0 {
            unsupported!("scales of shape {} are not supported", scope.shape(*operand));
        }
    }
    pair[0] = scope.cast(pair[0], DType::F32)?;
    Ok(pair)
}

pub(super) fn dequantize(scope: &mut Scope<'_, '_>) -> Built<Vec<Bound>> {
    scope.attributes.ignore(&["output_dtype"]);
    let x = scope.input(0)?;
    let parameters = Parameters::of(scope, 1, 2)?;
    if let Some(bound) = weights(scope, x, parameters)? {
        return Ok(vec![bound]);
    }
    real(scope, x, parameters).map(|result| vec![Bound::Tensor(result)])
}

/// What integers stand for.
fn real(scope: &mut Scope<'_, '_>, x: TensorId, parameters: Parameters) -> Built<TensorId> {
    if let Some((scale, zero)) = parameters.single(scope) {
        let quantization = Quantization::per_tensor(scale, zero);
        if let Some(source) = scope.draft.quantized.get(&x).copied()
            && scope.draft.graph[x].quantization.as_ref() == Some(&quantization)
        {
            return simulated(scope, source, scope.dtype(x), scale, zero);
        }
        if scope.draft.graph[x].quantization.as_ref() == Some(&quantization) {
            return scope.emit(Dequantize {}, &[x]);
        }
        let input = scope.draft.graph.inputs.contains(&x);
        if input
            && scope.draft.graph[x].quantization.is_none()
            && matches!(scope.dtype(x), DType::I8 | DType::U8)
        {
            scope.draft.graph[x].quantization = Some(quantization);
            return scope.emit(Dequantize {}, &[x]);
        }
    }
    let rank = scope.rank(x);
    let [scale, zero] = spread(scope, x, parameters, rank)?;
    let mut steps = scope.cast(x, DType::F32)?;
    if let Some(zero) = zero_of(scope, zero)? {
        steps = scope.binary(BinaryKind::Sub, steps, zero)?;
    }
    scope.binary(BinaryKind::Mul, steps, scale)
}

/// A tensor rounded to integers and back.
fn simulated(scope: &mut Scope<'_, '_>, x: TensorId, dtype: DType, scale: f32, zero: i32) -> Built<TensorId> {
    let zero = if dtype == DType::U8 { zero.saturating_sub(128) } else { zero };
    let op = FakeQuant { bits: 8, narrow_range: false, quantization: Quantization::per_tensor(scale, zero) };
    scope.emit(op, &[x])
}

/// Integers of the file that are weights, as the real numbers that they stand for.
fn weights(scope: &mut Scope<'_, '_>, x: TensorId, parameters: Parameters) -> Built<Option<Bound>> {
    let Some(Constant { dtype, shape, data }) = constant_real(scope, x, parameters)? else { return Ok(None) };
    let name = format!("{}/real", scope.draft.graph[x].name);
    let bound = scope.target.add_weight(&name, Constant { dtype, shape, data });
    Ok(Some(bound))
}

/// The real numbers that constant integers stand for.
fn constant_real(scope: &mut Scope<'_, '_>, x: TensorId, parameters: Parameters) -> Built<Option<Constant>> {
    if !scope.draft.graph[x].is_fixed() {
        return Ok(None);
    }
    let (Some(integers), Some(scales)) = (scope.known_integers(x), scope.known_floats(parameters.scale))
    else {
        return Ok(None);
    };
    let zeros = match parameters.zero {
        Some(zero) => match scope.known_integers(zero) {
            Some(zeros) => zeros,
            None => return Ok(None),
        },
        None => vec![0; scales.len()],
    };
    let shape = scope.sizes(x)?;
    let count = scope.affordable(&shape)?;
    let places = scale_places(scope, &shape, parameters.scale)?;
    let number = |(place, integer): (usize, i64)| {
        let channel = places(place);
        let (scale, zero) = (scales.get(channel)?, zeros.get(channel)?);
        Some((integer - zero) as f32 * scale)
    };
    let values: Option<Vec<f32>> = integers.into_iter().take(count).enumerate().map(number).collect();
    let Some(values) = values.filter(|values| values.len() == count) else {
        return Err(scope.broken("its scales or zero points do not fit").into());
    };
    Ok(Some(Constant { dtype: DType::F32, shape, data: Data::from_vec(values) }))
}

/// Which scale each element has.
fn scale_places(
    scope: &Scope<'_, '_>,
    shape: &[usize],
    scale: TensorId,
) -> Built<Box<dyn Fn(usize) -> usize>> {
    let sizes = scope.sizes(scale)?;
    if sizes.iter().product::<usize>() == 1 {
        return Ok(Box::new(|_| 0));
    }
    let axis = scope.attributes.integer("axis")?.unwrap_or(1);
    let axis = scope.axis(axis, shape.len())?;
    let inner: usize = shape[axis + 1..].iter().product::<usize>().max(1);
    let size = shape[axis].max(1);
    if sizes.len() == 1 && sizes[0] == size {
        return Ok(Box::new(move |place| place / inner % size));
    }
    let block = scope.attributes.integer("block_size")?.unwrap_or(0);
    let block = scope.size_from(block, "the size of its blocks")?;
    if sizes.len() != shape.len() || block == 0 || sizes[axis] != size.div_ceil(block) {
        return Err(scope.broken(format!("its scales of shape {sizes:?} do not fit {shape:?}")).into());
    }
    let blocks = sizes[axis];
    Ok(Box::new(move |place| {
        let (outer, at, rest) = (place / inner / size, place / inner % size, place % inner);
        (outer * blocks + at / block) * inner + rest
    }))
}

/// Scale and zero point found in the tensor itself.
pub(super) fn dynamic(scope: &mut Scope<'_, '_>) -> Built<Vec<Bound>> {
    let x = scope.input(0)?;
    scope.expect_floats(x)?;
    let axes: Vec<i32> = (0..scope.rank(x) as i32).collect();
    let extreme = |scope: &mut Scope<'_, '_>, kind: ReduceKind| {
        scope.emit(Reduce { kind, axes: axes.clone(), keep_dims: false }, &[x])
    };
    let (least, most) = (extreme(scope, ReduceKind::Min)?, extreme(scope, ReduceKind::Max)?);
    let least = scope.with_scalar(BinaryKind::Minimum, least, 0.0)?;
    let most = scope.with_scalar(BinaryKind::Maximum, most, 0.0)?;
    let range = scope.binary(BinaryKind::Sub, most, least)?;
    let scale = scope.with_scalar(BinaryKind::Div, range, 255.0)?;
    let nothing = truth::compared(scope, CompareKind::Equal, scale, 0.0)?;
    let one = scope.scalar("one", 1.0)?;
    let scale = truth::chosen(scope, nothing, one, scale)?;
    let below = scope.unary(UnaryKind::Neg, least)?;
    let steps = scope.binary(BinaryKind::Div, below, scale)?;
    let steps = clamped(scope, steps, 0.0, 255.0)?;
    let zero = scope.unary(UnaryKind::Round, steps)?;
    let steps = scope.binary(BinaryKind::Div, x, scale)?;
    let steps = scope.unary(UnaryKind::Round, steps)?;
    let steps = scope.binary(BinaryKind::Add, steps, zero)?;
    let steps = clamped(scope, steps, 0.0, 255.0)?;
    let integers = scope.cast(steps, DType::U8)?;
    let zero = scope.cast(zero, DType::U8)?;
    Ok([integers, scale, zero].map(Bound::Tensor).to_vec())
}

/// An input of an operator on integers, of which scale and zero point are the inputs behind it.
fn operand(scope: &mut Scope<'_, '_>, index: usize) -> Built<TensorId> {
    let x = scope.input(index)?;
    let parameters = Parameters::of(scope, index + 1, index + 2)?;
    match weights(scope, x, parameters)? {
        Some(bound) => scope.tensor_of(bound),
        None => real(scope, x, parameters),
    }
}

/// A result of an operator on integers, whose scale and zero point are these inputs.
fn result(scope: &mut Scope<'_, '_>, x: TensorId, scale: usize, zero: usize, like: usize) -> Built<TensorId> {
    let parameters = Parameters::of(scope, scale, zero)?;
    let dtype = match parameters.zero {
        Some(zero) => scope.dtype(zero),
        None => {
            let like = scope.input(like)?;
            scope.dtype(like)
        }
    };
    rounded(scope, x, parameters, dtype)
}

/// A convolution, or a product, of integers: that of the real numbers that they stand for, rounded.
pub(super) fn convolution(scope: &mut Scope<'_, '_>) -> Built<TensorId> {
    let x = operand(scope, 0)?;
    let kernel = scope.input(3)?;
    let own = Parameters::of(scope, 4, 5)?;
    // Scales of a kernel go along its filters.
    let kernel = match filters(scope, kernel, own)? {
        Some(bound) => scope.tensor_of(bound)?,
        None => unsupported!("a kernel of integers that is computed is not supported"),
    };
    let bias = match scope.optional(8)? {
        Some(bias) => Some(bias_of(scope, bias)?),
        None => None,
    };
    let real = convolution::convolved(scope, x, kernel, bias)?;
    result(scope, real, 6, 7, 0)
}

/// The real numbers of a constant kernel.
fn filters(scope: &mut Scope<'_, '_>, x: TensorId, parameters: Parameters) -> Built<Option<Bound>> {
    let (Some(integers), Some(scales)) = (scope.known_integers(x), scope.known_floats(parameters.scale))
    else {
        return Ok(None);
    };
    let zeros = match parameters.zero {
        Some(zero) => scope.known_integers(zero).unwrap_or_default(),
        None => vec![0],
    };
    let shape = scope.sizes(x)?;
    let count = shape.first().copied().unwrap_or(1).max(1);
    let inner = (integers.len() / count).max(1);
    let of = |length: usize, place: usize| if length == 1 { 0 } else { place / inner };
    let number = |(place, integer): (usize, &i64)| {
        let scale = scales.get(of(scales.len(), place))?;
        Some((integer - zeros.get(of(zeros.len(), place))?) as f32 * scale)
    };
    let Some(values) = integers.iter().enumerate().map(number).collect::<Option<Vec<f32>>>() else {
        return Err(scope.broken("its scales or zero points do not fit its kernel").into());
    };
    let name = format!("{}/real", scope.draft.graph[x].name);
    let constant = Constant { dtype: DType::F32, shape, data: Data::from_vec(values) };
    Ok(Some(scope.target.add_weight(&name, constant)))
}

/// A bias of integers in steps of the product of the scales of input and kernel.
fn bias_of(scope: &mut Scope<'_, '_>, bias: TensorId) -> Built<TensorId> {
    let (input, kernel) = (scope.input(1)?, scope.input(4)?);
    let known = (scope.known_integers(bias), scope.known_number(input), scope.known_floats(kernel));
    let (Some(integers), Some(input), Some(scales)) = known else {
        unsupported!("a bias of integers that is computed is not supported");
    };
    let value = |(place, integer): (usize, &i64)| {
        let scale = scales.get(if scales.len() == 1 { 0 } else { place })?;
        Some((*integer as f64 * input * f64::from(*scale)) as f32)
    };
    let Some(values) = integers.iter().enumerate().map(value).collect::<Option<Vec<f32>>>() else {
        return Err(scope.broken("its scales do not fit its bias").into());
    };
    let name = format!("{}/real", scope.draft.graph[bias].name);
    let (shape, data) = (vec![values.len()], Data::from_vec(values));
    let bound = scope.target.add_weight(&name, Constant { dtype: DType::F32, shape, data });
    scope.tensor_of(bound)
}

pub(super) fn matmul(scope: &mut Scope<'_, '_>) -> Built<TensorId> {
    let (a, b) = (operand(scope, 0)?, operand(scope, 3)?);
    let product = products::product(scope, a, b)?;
    result(scope, product, 6, 7, 0)
}

/// A fully connected layer of integers.
pub(super) fn gemm(scope: &mut Scope<'_, '_>) -> Built<TensorId> {
    let x = operand(scope, 0)?;
    let kernel = scope.input(3)?;
    let own = Parameters::of(scope, 4, 5)?;
    let flipped = scope.attributes.flag("transB", false)?;
    let alpha = scope.attributes.number("alpha")?.unwrap_or(1.0);
    if scope.attributes.flag("transA", false)? || alpha != 1.0 {
        unsupported!("a transposed input, or a factor, is not supported here; leave transA and alpha out");
    }
    let weights = if flipped { filters(scope, kernel, own)? } else { weights(scope, kernel, own)? };
    let Some(weights) = weights else {
        unsupported!("a kernel of integers that is computed is not supported")
    };
    let mut matrix = scope.tensor_of(weights)?;
    if !flipped {
        matrix = scope.laid_out(matrix, litesmith_graph::ops::Transpose::by(&[1, 0]))?;
    }
    let bias = match scope.optional(6)? {
        Some(bias) => Some(bias_of(scope, bias)?),
        None => None,
    };
    let real = products::connected(scope, x, matrix, bias)?;
    if scope.bound(7).is_none() {
        return Ok(real);
    }
    result(scope, real, 7, 8, 0)
}

/// Shares of integers.
pub(super) fn softmax(scope: &mut Scope<'_, '_>) -> Built<TensorId> {
    let x = operand(scope, 0)?;
    let rank = scope.rank(x);
    let axis = scope.attributes.integer("axis")?.unwrap_or(-1);
    let axis = scope.axis(axis, rank)?;
    if scope.attributes.integer("opset")?.unwrap_or(13) < 13 && axis + 1 != rank {
        unsupported!("over several axes it is not supported; bring the model to opset 13");
    }
    let op = litesmith_graph::ops::Softmax::default();
    let shares = scope.along_last(x, axis, |scope, x| scope.emit(op, &[x]))?;
    result(scope, shares, 3, 4, 0)
}

/// Sums and products of two tensors of integers.
pub(super) fn binary(scope: &mut Scope<'_, '_>) -> Built<TensorId> {
    let (a, b) = (operand(scope, 0)?, operand(scope, 3)?);
    let kind = if scope.op == "QLinearMul" { BinaryKind::Mul } else { BinaryKind::Add };
    let sum = scope.binary(kind, a, b)?;
    result(scope, sum, 6, 7, 0)
}

/// Functions of one tensor of integers.
pub(super) fn unary(scope: &mut Scope<'_, '_>) -> Built<TensorId> {
    let x = operand(scope, 0)?;
    let value = match scope.op {
        "QLinearSigmoid" => scope.unary(UnaryKind::Logistic, x)?,
        "QLinearLeakyRelu" => {
            let alpha = scope.attributes.number("alpha")?.unwrap_or(0.01);
            scope.unary(UnaryKind::LeakyRelu(alpha), x)?
        }
        _ => {
            if scope.attributes.flag("channels_last", false)? {
                unsupported!("channels behind the other axes are not supported here; use channels_last = 0");
            }
            let axes: Vec<i32> = (2..scope.rank(x) as i32).collect();
            scope.emit(Reduce { kind: ReduceKind::Mean, axes, keep_dims: true }, &[x])?
        }
    };
    result(scope, value, 3, 4, 0)
}

/// Tensors of integers one behind the other: the result's scale and zero point, then each with its own.
pub(super) fn concat(scope: &mut Scope<'_, '_>) -> Built<TensorId> {
    let axis = scope.attributes.integer("axis")?.unwrap_or(0);
    let mut parts = Vec::new();
    for index in (2..scope.input_count()).step_by(3) {
        parts.push(operand(scope, index)?);
    }
    let Some(first) = parts.first() else { return Err(scope.broken("it has no inputs").into()) };
    let axis = scope.axis_i32(axis, scope.rank(*first))?;
    let joined = scope.emit(Concat { axis, ..Concat::default() }, &parts)?;
    result(scope, joined, 0, 1, 2)
}
