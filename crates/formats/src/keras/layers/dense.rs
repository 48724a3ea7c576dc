//! Fully connected layers.

use litesmith_graph::TensorId;

use crate::composed::dense::product;
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
