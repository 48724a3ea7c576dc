//! Fully connected layers.

use litesmith_graph::TensorId;
use litesmith_graph::ops::{FullyConnected, Reshape, ReshapeDim, Transpose};

use crate::keras::activations;
use crate::keras::config::{Built, Config, unsupported};
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

pub(super) fn einsum_variables(config: Config<'_>) -> Built<Vec<Variable>> {
    let mut variables = vec![Variable::trained("kernel", "kernel_regularizer")];
    if config.text("bias_axes")?.is_some() {
        variables.push(Variable::trained("bias", "bias_regularizer"));
    }
    Ok(variables)
}

/// The products that are fully connected layers: the last axes of the input with the first of the
/// kernel, in order.
pub(super) fn einsum(scope: &mut Scope<'_>) -> Built<TensorId> {
    let input = scope.floats()?;
    let config = scope.config();
    let equation = config.text("equation")?.unwrap_or("").replace([' ', '.'], "");
    let parts = equation.split_once("->").and_then(|(left, output)| {
        let (input, kernel) = left.split_once(',')?;
        Some((input, kernel, output))
    });
    let sums = parts.and_then(|(input, kernel, output)| {
        let summed = input.chars().filter(|axis| !output.contains(*axis)).count();
        let (batch, depth) = input.split_at_checked(input.len().checked_sub(summed)?)?;
        let made = kernel.strip_prefix(depth)?;
        (summed > 0 && output == format!("{batch}{made}")).then_some((summed, made))
    });
    let Some((summed, made)) = sums else {
        unsupported!(
            "the equation '{equation}' is not supported; the last axes of the input must meet the first of the \
             kernel, in order"
        );
    };
    let bias = match config.text("bias_axes")? {
        None => None,
        Some(axes) if axes == made => Some("bias"),
        Some(axes) => unsupported!("a bias along '{axes}' is not supported; it must be along '{made}'"),
    };
    let sizes = config.sizes("output_shape")?;
    let sizes = sizes.len().checked_sub(made.chars().count()).map(|start| &sizes[start..]);
    let Some(made) = sizes.and_then(|sizes| sizes.iter().copied().collect::<Option<Vec<usize>>>()) else {
        unsupported!("the sizes that the kernel makes must be fixed in output_shape");
    };
    let product = contracted(scope, input, summed, &made, "kernel", bias)?;
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
    let Some(kept) = rank.checked_sub(summed).filter(|kept| *kept > 0) else {
        return Err(scope.config().broken(format!("its input has too few axes: {rank}")).into());
    };
    let depth = (kept..rank).map(|axis| scope.size(input, axis)).collect::<Built<Vec<_>>>()?;
    let product = |sizes: &[usize]| sizes.iter().try_fold(1usize, |product, size| product.checked_mul(*size));
    let (Some(rows), Some(columns)) = (product(&depth), product(made)) else {
        return Err(scope.config().broken("its kernel is too large").into());
    };
    let mut matrix = scope.weight(kernel, &[&depth, made].concat())?;
    if depth.len() + made.len() > 2 {
        matrix = scope.laid_out(matrix, Reshape::to([rows, columns].map(ReshapeDim::Fixed).to_vec()))?;
    }
    let matrix = scope.laid_out(matrix, Transpose::by(&[1, 0]))?;
    let bias = match bias {
        None => None,
        Some(bias) => {
            let bias = scope.weight(bias, made)?;
            let flat = Reshape::to(vec![ReshapeDim::Fixed(columns)]);
            Some(if made.len() > 1 { scope.laid_out(bias, flat)? } else { bias })
        }
    };
    let shape = |last: &[usize]| {
        let kept = (0..kept).map(ReshapeDim::Copy);
        Reshape::to(kept.chain(last.iter().copied().map(ReshapeDim::Fixed)).collect())
    };
    let input = if summed > 1 { scope.emit(shape(&[rows]), &[input])? } else { input };
    let op = FullyConnected { keep_num_dims: kept > 1, ..FullyConnected::default() };
    let result = scope.emit_some(op, vec![Some(input), Some(matrix), bias])?;
    if made.len() > 1 { scope.emit(shape(made), &[result]) } else { Ok(result) }
}
