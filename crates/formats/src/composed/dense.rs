//! Fully connected layers over several axes.

use litesmith_graph::TensorId;
use litesmith_graph::ops::{FullyConnected, Reshape, ReshapeDim, Transpose};

use crate::emit::Emit;
use crate::refusal::Built;

/// The product of the last `summed` axes of `input` with as many first axes of a kernel, whose other axes
/// stand in the place of those summed over.
pub(crate) fn product(
    scope: &mut impl Emit,
    input: TensorId,
    summed: usize,
    kernel: TensorId,
    bias: Option<TensorId>,
) -> Built<TensorId> {
    let rank = scope.rank(input);
    let Some(kept) = rank.checked_sub(summed).filter(|kept| *kept > 0) else {
        return Err(scope.broken(format!("its input has too few axes: {rank}")).into());
    };
    let sizes = (0..scope.rank(kernel)).map(|axis| scope.size(kernel, axis)).collect::<Built<Vec<_>>>()?;
    let (depth, made) = sizes.split_at(summed.min(sizes.len()));
    let product = |sizes: &[usize]| sizes.iter().try_fold(1usize, |product, size| product.checked_mul(*size));
    let (Some(rows), Some(columns)) = (product(depth), product(made)) else {
        return Err(scope.broken("its kernel is too large").into());
    };
    let mut matrix = kernel;
    if sizes.len() != 2 {
        matrix = scope.laid_out(matrix, Reshape::to([rows, columns].map(ReshapeDim::Fixed).to_vec()))?;
    }
    let matrix = scope.laid_out(matrix, Transpose::by(&[1, 0]))?;
    let flat = Reshape::to(vec![ReshapeDim::Fixed(columns)]);
    let bias = match bias {
        Some(bias) if made.len() != 1 => Some(scope.laid_out(bias, flat)?),
        bias => bias,
    };
    let shape = |last: &[usize]| {
        let kept = (0..kept).map(ReshapeDim::Copy);
        Reshape::to(kept.chain(last.iter().copied().map(ReshapeDim::Fixed)).collect())
    };
    let input = if summed > 1 { scope.emit(shape(&[rows]), &[input])? } else { input };
    let op = FullyConnected { keep_num_dims: kept > 1, ..FullyConnected::default() };
    let result = scope.emit_some(op, vec![Some(input), Some(matrix), bias])?;
    if made.len() == 1 { Ok(result) } else { scope.emit(shape(made), &[result]) }
}
