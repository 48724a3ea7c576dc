//! Simulated quantization.

use litesmith_graph::TensorId;

use crate::composed::simulated::fake_quant;
use crate::emit::Emit;
use crate::refusal::{Built, unsupported};
use crate::savedmodel::translate::scope::Scope;

pub(super) fn by_attributes(scope: &mut Scope<'_>) -> Built<TensorId> {
    let x = scope.input(0)?;
    let bound = |key: &str, default: f32| scope.node.attributes.number(key).unwrap_or(default);
    let (min, max) = (bound("min", -6.0), bound("max", 6.0));
    simulated(scope, x, &[min], &[max], None)
}

/// `x`, least and largest value; one of each, or one for each place along the last axis.
pub(super) fn by_variables(scope: &mut Scope<'_>) -> Built<TensorId> {
    let x = scope.input(0)?;
    let mut bounds = Vec::new();
    for index in [1, 2] {
        let id = scope.input(index)?;
        let dtype = scope.dtype(id);
        match scope.data(id).and_then(|data| data.floats(dtype)) {
            Some(values) => bounds.push(values.into_owned()),
            None => unsupported!("its range must be constant; save the model for inference"),
        }
    }
    let per_channel = scope.node.op == "FakeQuantWithMinMaxVarsPerChannel";
    let axis = per_channel.then(|| scope.rank(x).saturating_sub(1));
    simulated(scope, x, &bounds[0], &bounds[1], axis)
}

fn simulated(
    scope: &mut Scope<'_>,
    x: TensorId,
    min: &[f32],
    max: &[f32],
    axis: Option<usize>,
) -> Built<TensorId> {
    let bits = scope.node.attributes.integer("num_bits").unwrap_or(8);
    let bits = u32::try_from(bits).unwrap_or(0);
    let narrow_range = scope.node.attributes.flag("narrow_range");
    let channels = match axis {
        Some(axis) => scope.size(x, axis)?,
        None => 1,
    };
    if min.len() != channels || max.len() != channels {
        return Err(scope.broken(format!("it has {} ranges for {channels} channels", min.len())).into());
    }
    let op = fake_quant(min, max, bits, narrow_range, axis).map_err(|reason| scope.broken(reason))?;
    scope.emit(op, &[x])
}
