//! Normalization by statistics.

use litesmith_graph::TensorId;
use litesmith_graph::ops::BatchNorm;

use crate::keras::config::{Built, Config, unsupported};
use crate::keras::scope::Scope;
use crate::keras::weights::Variable;

pub(super) fn variables(config: Config<'_>) -> Built<Vec<Variable>> {
    let mut variables = Vec::new();
    if config.flag("scale", true)? {
        variables.push(Variable::trained("gamma", "gamma_regularizer"));
    }
    if config.flag("center", true)? {
        variables.push(Variable::trained("beta", "beta_regularizer"));
    }
    variables.extend([Variable::fixed("moving_mean"), Variable::fixed("moving_variance")]);
    Ok(variables)
}

pub(super) fn batch(scope: &mut Scope<'_>) -> Built<TensorId> {
    let input = scope.floats()?;
    let config = scope.config();
    if config.flag("renorm", false)? {
        unsupported!("batch renormalization is not supported; build the layer with renorm=False");
    }
    let axes = config.integers("axis")?.unwrap_or_else(|| vec![-1]);
    let [axis] = axes.as_slice() else {
        unsupported!("it normalizes over the axes {axes:?}; only one is supported");
    };
    let axis = scope.axis(*axis, scope.rank(input))?;
    let channels = scope.size(input, axis)?;
    let gamma = if config.flag("scale", true)? { Some(scope.weight("gamma", &[channels])?) } else { None };
    let beta = if config.flag("center", true)? { Some(scope.weight("beta", &[channels])?) } else { None };
    let mean = scope.weight("moving_mean", &[channels])?;
    let variance = scope.weight("moving_variance", &[channels])?;
    let op =
        BatchNorm { epsilon: config.number("epsilon", 1e-3)?, momentum: config.number("momentum", 0.99)? };
    scope.along_last(input, axis, |scope, input| {
        scope.emit_some(op, vec![Some(input), gamma, beta, Some(mean), Some(variance)])
    })
}
