//! Matrix products.

use litesmith_graph::ops::{BatchMatMul, FullyConnected};
use litesmith_graph::{Dim, Shape};

use crate::onnx::write::Refusal;
use crate::onnx::write::drafts::Attribute;
use crate::onnx::write::spelling::Spelling;
use crate::onnx::write::values::Value;

/// A product with weights `[out, in]`. Of rows it is a Gemm, which takes the bias along; real-valued
/// tensors of more axes are multiplied as they are, integers as rows, so that product and bias are
/// computed in integers.
pub(super) fn fully_connected(s: &mut Spelling<'_, '_>, op: &FullyConnected) -> Result<(), Refusal> {
    let weights = s.fixed_sizes(1)?;
    let depth = weights[1] as i64;
    let tensor = s.tensor(0)?;
    let rank = s.shape(0)?.rank();
    let is_integer = s.quantization(0).is_some();
    let is_rows = rank == 2 && s.shape(0)?.last().and_then(Dim::fixed) == Some(weights[1]);
    let as_rows = !is_rows && (!op.keep_num_dims || is_integer);
    let mut stored = s.stored(tensor)?;
    if as_rows {
        stored = s.reshape(stored, &[-1, depth]);
        s.describe_like(tensor, stored, Shape::from([Dim::Unknown, weights[1].into()]));
    }
    let input = s.real(tensor, stored)?;
    let value = if s.is_hybrid(0, 1) {
        s.dynamic_product(input, 1, Some(2), &[1, 0])?
    } else if is_rows || as_rows {
        let (weights, bias) = (s.weights(1, &[0, 1])?, s.bias(2, 0, 1)?);
        s.emit("Gemm", &[input, weights, bias], [("transB", Attribute::Int(1))])
    } else {
        let (weights, bias) = (s.weights(1, &[1, 0])?, s.bias(2, 0, 1)?);
        let product = s.emit("MatMul", &[input, weights], []);
        if bias == Value::ABSENT { product } else { s.emit("Add", &[product, bias], []) }
    };
    let value = s.activated(0, value, op.activation)?;
    if !as_rows || !op.keep_num_dims {
        return s.output(0, value);
    }
    let output = s.output_tensor(0)?;
    let rows = s.quantize(output, value)?;
    let shape = leading_shape(s, weights[0])?;
    let whole = s.emit("Reshape", &[rows, shape], []);
    s.output_raw(0, whole)
}

/// The shape of an output that keeps the input's leading axes.
fn leading_shape(s: &mut Spelling<'_, '_>, out: usize) -> Result<Value, Refusal> {
    let dims = s.output_facts(0)?.shape.dims();
    let (_, leading) = dims.split_last().ok_or_else(|| Refusal("its output is a scalar".to_owned()))?;
    if leading.iter().filter(|dim| dim.fixed().is_none()).count() <= 1 {
        let size = |dim: &Dim| dim.fixed().map_or(-1, |size| size as i64);
        let sizes: Vec<i64> = leading.iter().map(size).chain([out as i64]).collect();
        return Ok(s.ints(&sizes));
    }
    let input = s.raw(0)?;
    let shape = s.emit("Shape", &[input], []);
    let (start, end, out) = (s.ints(&[0]), s.ints(&[-1]), s.ints(&[out as i64]));
    let leading = s.emit("Slice", &[shape, start, end], []);
    Ok(s.emit("Concat", &[leading, out], [("axis", Attribute::Int(0))]))
}

/// A product of the last two axes.
pub(super) fn batch_matmul(s: &mut Spelling<'_, '_>, op: &BatchMatMul) -> Result<(), Refusal> {
    let order = |rank: usize, adjoint: bool| {
        let mut order: Vec<usize> = (0..rank).collect();
        if adjoint && rank >= 2 {
            order.swap(rank - 2, rank - 1);
        }
        order
    };
    let a = order(s.shape(0)?.rank(), op.adjoint_a);
    let b = order(s.shape(1)?.rank(), op.adjoint_b);
    let first = s.operand(0, &a)?;
    let value = if s.is_hybrid(0, 1) {
        s.dynamic_product(first, 1, None, &b)?
    } else {
        let second = s.operand(1, &b)?;
        s.emit("MatMul", &[first, second], [])
    };
    s.output(0, value)
}
