//! Layers that the applications of Keras define for themselves.

use litesmith_graph::TensorId;
use litesmith_graph::ops::{BinaryKind, Dropout};

use crate::emit::Emit;
use crate::keras::config::{Built, Config};
use crate::keras::scope::Scope;
use crate::keras::weights::Variable;

/// `a + b * scale` (Inception-ResNet).
pub(super) fn custom_scale(scope: &mut Scope<'_>) -> Built<TensorId> {
    let inputs = scope.all_floats()?;
    let [a, b] = *inputs.as_slice() else {
        return Err(scope.config().broken("it takes two inputs").into());
    };
    scope.config().required("scale")?;
    let scale = scope.config().number("scale", 1.0)?;
    let scaled = scope.with_scalar(BinaryKind::Mul, b, scale)?;
    scope.binary(BinaryKind::Add, a, scaled)
}

pub(super) fn layer_scale_variables(_: Config<'_>) -> Built<Vec<Variable>> {
    Ok(vec![Variable::trained("gamma", "")])
}

/// A factor for each channel (ConvNeXt).
pub(super) fn layer_scale(scope: &mut Scope<'_>) -> Built<TensorId> {
    let input = scope.floats()?;
    let channels = scope.config().count("projection_dim")?;
    let gamma = scope.weight("gamma", &[channels])?;
    scope.binary(BinaryKind::Mul, input, gamma)
}

/// Whole samples are dropped (ConvNeXt).
pub(super) fn stochastic_depth(scope: &mut Scope<'_>) -> Built<TensorId> {
    let input = scope.floats()?;
    let rate = scope.config().number("drop_path_rate", 0.0)?;
    if !(0.0..1.0).contains(&rate) {
        return Err(scope.config().broken(format!("its drop_path_rate is {rate}")).into());
    }
    let shared_axes = (1..scope.rank(input)).collect();
    scope.emit(Dropout { rate, shared_axes }, &[input])
}
