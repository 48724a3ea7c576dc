//! Fully connected layers.

use litesmith_graph::TensorId;
use litesmith_graph::ops::{FullyConnected, Reshape, ReshapeDim, Transpose};

use crate::emit::Emit;
use crate::keras::activations;
use crate::keras::config::{Built, Config};
use crate::keras::scope::Scope;
use crate::keras::weights::Variable;

pub(super) fn variables(config: Config<'_>) -> Built<Vec<Variable>> {
    let mut variables = vec![Variable::trained("kernel", "kernel_regularizer")];
    if config.flag("use_bias", true)? {
        variables.push(Variable::trained("bias", "bias_regularizer"));
    }
    Ok(variables)
}

pub(super) fn dense(scope: &mut Scope<'_>) -> Built<TensorId> {
    let input = scope.floats()?;
    let units = scope.config().count("units")?;
    let bias = if scope.config().flag("use_bias", true)? { Some("bias") } else { None };
    let product = contracted(scope, input, 1, &[units], "kernel", bias)?;
    activations::of_layer(scope, product)
}

/// The product of the last `summed` axes of `input` with as many first axes of a kernel whose other
/// axes are `made`, which stand in the place of those summed over.
pub(super) fn contracted(
    scope: &mut Scope<'_>,
    input: TensorId,
    summed: usize,
    made: &[usize],
    kernel: &'static str,
    bias: Option<&'static str>,
) -> Built<TensorId> {
    let rank = scope.rank(input);
    let Some(kept) = rank.checked_sub(summed) else {
        return Err(scope.config().broken(format!("its input has too few axes: {rank}")).into());
    };
    let depth = (kept..rank).map(|axis| scope.size(input, axis)).collect::<Built<Vec<_>>>()?;
    let kernel = scope.weight(kernel, &[&depth, made].concat())?;
    let bias = match bias {
        Some(bias) => Some(scope.weight(bias, made)?),
        None => None,
    };
    product(scope, input, summed, kernel, bias)
}

/// As [`contracted`], of a kernel and a bias that are tensors.
pub(super) fn product(
    scope: &mut Scope<'_>,
    input: TensorId,
    summed: usize,
    kernel: TensorId,
    bias: Option<TensorId>,
) -> Built<TensorId> {
    let rank = scope.rank(input);
    let Some(kept) = rank.checked_sub(summed).filter(|kept| *kept > 0) else {
        return Err(scope.config().broken(format!("its input has too few axes: {rank}")).into());
    };
    let sizes = (0..scope.rank(kernel)).map(|axis| scope.size(kernel, axis)).collect::<Built<Vec<_>>>()?;
    let (depth, made) = sizes.split_at(summed.min(sizes.len()));
    let product = |sizes: &[usize]| sizes.iter().try_fold(1usize, |product, size| product.checked_mul(*size));
    let (Some(rows), Some(columns)) = (product(depth), product(made)) else {
        return Err(scope.config().broken("its kernel is too large").into());
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
