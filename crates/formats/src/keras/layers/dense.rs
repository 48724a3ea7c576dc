//! Fully connected layers.

use litesmith_graph::TensorId;
use litesmith_graph::ops::{FullyConnected, Transpose};

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
    let depth = scope.channels(input)?;
    let kernel = scope.weight("kernel", &[depth, units])?;
    let kernel = scope.laid_out(kernel, Transpose::by(&[1, 0]))?;
    let bias =
        if scope.config().flag("use_bias", true)? { Some(scope.weight("bias", &[units])?) } else { None };
    let op = FullyConnected { keep_num_dims: scope.rank(input) > 2, ..FullyConnected::default() };
    let product = scope.emit_some(op, vec![Some(input), Some(kernel), bias])?;
    activations::of_layer(scope, product)
}
