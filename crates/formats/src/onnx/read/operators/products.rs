//! Products of matrices.

use litesmith_graph::ops::{BatchMatMul, BinaryKind, ExpandDims, FullyConnected, Squeeze, Transpose};
use litesmith_graph::{DType, Dim, TensorId};

use crate::composed;
use crate::emit::Emit;
use crate::onnx::read::scope::Scope;
use crate::refusal::{Built, unsupported};

pub(super) fn matmul(scope: &mut Scope<'_, '_>) -> Built<TensorId> {
    let [a, b] = scope.pair()?;
    product(scope, a, b)
}

/// NumPy's product: of the last two axes, vectors taken as a row before and a column behind.
pub(super) fn product(scope: &mut Scope<'_, '_>, a: TensorId, b: TensorId) -> Built<TensorId> {
    if !scope.dtype(a).is_float() || scope.dtype(a) != scope.dtype(b) {
        unsupported!(
            "a product of {} and {} is not supported; cast to float32",
            scope.dtype(a),
            scope.dtype(b)
        );
    }
    let ranks = [scope.rank(a), scope.rank(b)];
    if ranks.contains(&0) {
        return Err(scope.broken("an operand has no axes").into());
    }
    let rows = if ranks[0] == 1 { scope.emit(ExpandDims { axis: 0 }, &[a])? } else { a };
    let columns = if ranks[1] == 1 { scope.emit(ExpandDims { axis: 1 }, &[b])? } else { b };
    let mut result = of_matrices(scope, rows, columns)?;
    if ranks[1] == 1 {
        result = scope.emit(Squeeze { axes: vec![-1] }, &[result])?;
    }
    if ranks[0] == 1 {
        let axis = if ranks[1] == 1 { -1 } else { -2 };
        result = scope.emit(Squeeze { axes: vec![axis] }, &[result])?;
    }
    Ok(result)
}

/// With a matrix of weights a fully connected layer, else a batch of products.
fn of_matrices(scope: &mut Scope<'_, '_>, a: TensorId, b: TensorId) -> Built<TensorId> {
    let weights = scope.is_fixed(b) && !scope.is_fixed(a) && scope.rank(b) == 2;
    if !weights || scope.shape(b).to_fixed().is_none() {
        return scope.emit(BatchMatMul::default(), &[a, b]);
    }
    let matrix = scope.laid_out(b, Transpose::by(&[1, 0]))?;
    connected(scope, a, matrix, None)
}

/// A fully connected layer of weights `[out, in]`.
pub(super) fn connected(
    scope: &mut Scope<'_, '_>,
    rows: TensorId,
    matrix: TensorId,
    bias: Option<TensorId>,
) -> Built<TensorId> {
    let inner = scope.shape(rows).last().cloned().unwrap_or(Dim::Unknown);
    if inner.unify(&Dim::Fixed(scope.size(matrix, 1)?)).is_none() {
        let (a, b) = (scope.shape(rows), scope.shape(matrix));
        return Err(scope.broken(format!("its operand of shape {a} does not fit weights {b}")).into());
    }
    let op = FullyConnected { keep_num_dims: scope.rank(rows) > 2, ..FullyConnected::default() };
    scope.emit_some(op, vec![Some(rows), Some(matrix), bias])
}

/// `alpha * A * B + beta * C`.
pub(super) fn gemm(scope: &mut Scope<'_, '_>) -> Built<TensorId> {
    let [mut a, b] = scope.pair()?;
    let c = scope.optional(2)?;
    scope.expect_floats(a)?;
    let alpha = scope.attributes.number("alpha")?.unwrap_or(1.0);
    let beta = scope.attributes.number("beta")?.unwrap_or(1.0);
    let flip_a = scope.attributes.flag("transA", false)?;
    let flip_b = scope.attributes.flag("transB", false)?;
    if scope.rank(a) != 2 || scope.rank(b) != 2 {
        let (a, b) = (scope.shape(a), scope.shape(b));
        return Err(scope.broken(format!("its operands are of shapes {a} and {b}, not matrices")).into());
    }
    let c = match c {
        Some(c) if beta != 1.0 => Some(scope.with_scalar(BinaryKind::Mul, c, beta)?),
        c => c.filter(|_| beta != 0.0),
    };
    let mut added = c;
    let mut result = if scope.is_fixed(b) && !scope.is_fixed(a) {
        if flip_a {
            a = scope.emit(Transpose::by(&[1, 0]), &[a])?;
        }
        let matrix = if flip_b { b } else { scope.laid_out(b, Transpose::by(&[1, 0]))? };
        // A vector of one number for each column is a bias.
        let columns = scope.size(matrix, 0)?;
        let is_bias = |c: &TensorId| {
            alpha == 1.0 && scope.is_fixed(*c) && scope.shape(*c).to_fixed().as_deref() == Some(&[columns])
        };
        let bias = c.filter(is_bias);
        if bias.is_some() {
            added = None;
        }
        connected(scope, a, matrix, bias)?
    } else {
        let op = BatchMatMul { adjoint_a: flip_a, adjoint_b: flip_b, ..BatchMatMul::default() };
        scope.emit(op, &[a, b])?
    };
    if alpha != 1.0 {
        result = scope.with_scalar(BinaryKind::Mul, result, alpha)?;
    }
    match added {
        Some(c) => scope.binary(BinaryKind::Add, result, c),
        None => Ok(result),
    }
}

pub(super) fn einsum(scope: &mut Scope<'_, '_>) -> Built<TensorId> {
    let Some(equation) = scope.attributes.text("equation")? else {
        return Err(scope.broken("its attribute 'equation' is missing").into());
    };
    let inputs = scope.tensors_from(0)?;
    if inputs.iter().any(|input| !scope.dtype(*input).is_float()) {
        unsupported!("it is supported for floating-point numbers only; cast its inputs");
    }
    let equation = with_output(equation);
    let kernel = matches!(inputs.as_slice(), [a, b] if scope.is_fixed(*b) && !scope.is_fixed(*a));
    composed::einsum::evaluate(scope, &equation, &inputs, kernel)
}

/// An equation that names no output gives the letters that it names once, in the order of the alphabet.
fn with_output(equation: &str) -> String {
    if equation.contains("->") {
        return equation.to_owned();
    }
    let letters = || equation.chars().filter(|letter| letter.is_alphabetic());
    let mut output: Vec<char> =
        letters().filter(|letter| letters().filter(|other| other == letter).count() == 1).collect();
    output.sort_unstable();
    let dots = if equation.contains("...") { "..." } else { "" };
    format!("{equation}->{dots}{}", output.into_iter().collect::<String>())
}

/// Integers less their zero point as real numbers, which hold them exactly.
fn centred(scope: &mut Scope<'_, '_>, x: TensorId, zero: Option<TensorId>, rows: bool) -> Built<TensorId> {
    let x = scope.cast(x, DType::F32)?;
    let Some(zero) = zero else { return Ok(x) };
    if scope.known_number(zero) == Some(0.0) {
        return Ok(x);
    }
    let mut zero = scope.cast(zero, DType::F32)?;
    if rows && scope.rank(zero) == 1 && scope.size(zero, 0)? > 1 {
        zero = scope.emit(ExpandDims { axis: 1 }, &[zero])?;
    }
    scope.binary(BinaryKind::Sub, x, zero)
}

/// Most products of bytes whose sum a single-precision number holds exactly: each is below 2^16.
const MOST_EXACT: usize = 256;

/// A product of integers. Sums are formed in parts that real numbers hold exactly.
pub(super) fn of_integers(scope: &mut Scope<'_, '_>) -> Built<TensorId> {
    let [a, b] = scope.pair()?;
    let zeros = [scope.optional(2)?, scope.optional(3)?];
    let a = centred(scope, a, zeros[0], true)?;
    let b = centred(scope, b, zeros[1], false)?;
    integer_product(scope, a, b)
}

/// The int32 product of integers that are kept as real numbers.
pub(super) fn integer_product(scope: &mut Scope<'_, '_>, a: TensorId, b: TensorId) -> Built<TensorId> {
    let (rank_a, rank_b) = (scope.rank(a), scope.rank(b));
    if rank_a < 2 || rank_b < 2 {
        unsupported!("a product of integers needs matrices; reshape its inputs");
    }
    let depth = scope.size(a, rank_a - 1)?;
    if scope.size(b, rank_b - 2)? != depth {
        return Err(scope.broken("its operands do not fit").into());
    }
    let mut sum = None;
    for start in (0..depth).step_by(MOST_EXACT) {
        let length = MOST_EXACT.min(depth - start);
        let (part_a, part_b) = if length == depth {
            (a, b)
        } else {
            (scope.part(a, rank_a - 1, start, length)?, scope.part(b, rank_b - 2, start, length)?)
        };
        let product = of_matrices(scope, part_a, part_b)?;
        let part = scope.cast(product, DType::I32)?;
        sum = Some(match sum {
            Some(sum) => scope.binary(BinaryKind::Add, sum, part)?,
            None => part,
        });
    }
    sum.map_or_else(|| Err(scope.broken("its operands are empty").into()), Ok)
}

/// A convolution of integers. Sums are formed in parts that real numbers hold exactly: some channels at a time.
pub(super) fn convolution_of_integers(scope: &mut Scope<'_, '_>) -> Built<TensorId> {
    let [x, kernel] = scope.pair()?;
    let zeros = [scope.optional(2)?, scope.optional(3)?];
    let sizes = scope.sizes(kernel)?;
    let [_, depth, window @ ..] = sizes.as_slice() else {
        return Err(scope.broken(format!("its kernel has shape {sizes:?}")).into());
    };
    let (depth, area): (usize, usize) = (*depth, window.iter().product());
    let together = (MOST_EXACT / area.max(1)).min(depth);
    let grouped = scope.attributes.integer("group")?.unwrap_or(1) != 1;
    if together == 0 || (grouped && together < depth) {
        unsupported!("a window of {area} integers over {depth} channels is not supported here");
    }
    let x = centred(scope, x, zeros[0], false)?;
    let mut kernel = scope.cast(kernel, DType::F32)?;
    if let Some(zero) = zeros[1] {
        let mut zero = scope.cast(zero, DType::F32)?;
        if scope.rank(zero) == 1 {
            let shape: Vec<usize> =
                [scope.size(zero, 0)?].into_iter().chain(std::iter::repeat_n(1, sizes.len() - 1)).collect();
            zero = scope.reshaped(zero, &shape)?;
        }
        kernel = scope.binary(BinaryKind::Sub, kernel, zero)?;
    }
    let mut sum = None;
    for start in (0..depth).step_by(together.max(1)) {
        let length = together.min(depth - start);
        let (own, weights) = if length == depth {
            (x, kernel)
        } else {
            (scope.part(x, 1, start, length)?, scope.part(kernel, 1, start, length)?)
        };
        let part = super::convolution::convolved(scope, own, weights, None)?;
        let part = scope.cast(part, DType::I32)?;
        sum = Some(match sum {
            Some(sum) => scope.binary(BinaryKind::Add, sum, part)?,
            None => part,
        });
    }
    sum.map_or_else(|| Err(scope.broken("its kernel is empty").into()), Ok)
}
