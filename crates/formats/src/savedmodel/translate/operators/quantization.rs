//! Simulated quantization.

use litesmith_graph::ops::FakeQuant;
use litesmith_graph::{Quantization, TensorId};

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

/// Rounding to the grid whose ends are moved so that 0 is on it, as TensorFlow does it.
fn simulated(
    scope: &mut Scope<'_>,
    x: TensorId,
    min: &[f32],
    max: &[f32],
    axis: Option<usize>,
) -> Built<TensorId> {
    let bits = scope.node.attributes.integer("num_bits").unwrap_or(8);
    let Some(bits) = u32::try_from(bits).ok().filter(|bits| (2..=16).contains(bits)) else {
        return Err(scope.broken(format!("it has {bits} bits")).into());
    };
    let narrow_range = scope.node.attributes.flag("narrow_range");
    let channels = match axis {
        Some(axis) => scope.size(x, axis)?,
        None => 1,
    };
    if min.len() != channels || max.len() != channels {
        return Err(scope.broken(format!("it has {} ranges for {channels} channels", min.len())).into());
    }
    let (lowest, highest) = (f32::from(u8::from(narrow_range)), ((1u32 << bits) - 1) as f32);
    let (mut scales, mut zero_points) = (Vec::new(), Vec::new());
    for (min, max) in min.iter().zip(max) {
        if !min.is_finite() || !max.is_finite() || min > max {
            return Err(scope.broken(format!("its range is from {min} to {max}")).into());
        }
        let (min, max) = (min.min(0.0), max.max(0.0));
        let scale = if max > min { (max - min) / (highest - lowest) } else { 1.0 };
        let zero = (lowest - min / scale).clamp(lowest, highest).round();
        scales.push(scale);
        zero_points.push(zero as i32 - (1 << (bits - 1)));
    }
    let quantization = Quantization { scales, zero_points, axis };
    scope.emit(FakeQuant { bits, narrow_range, quantization }, &[x])
}
