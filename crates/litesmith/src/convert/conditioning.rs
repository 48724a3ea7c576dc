//! Models for which single precision decides nothing: their outputs change as much when weights and inputs
//! change by a few units in the last place as when the model is rewritten. Untrained deep networks are such.

use std::collections::HashMap;

use litesmith_graph::{DType, Model, TensorKind};
use litesmith_runtime::{Array, Interpreter, Options as RunOptions, TensorView};

use crate::error::Error;

/// The bit of a number that is turned over: a change by eight units in the last place.
const NUDGED_BIT: u32 = 1 << 3;

/// How much more a rewrite may change, which rounds in other places.
const MORE: f64 = 10.0;

/// Elements of a tensor that are kept to be compared.
const KEPT: usize = 256;

/// Some elements of every real-valued activation, by its name.
pub(super) type Sketches = HashMap<String, Sketch>;

/// Runs a model as [`Interpreter::run`] does and sketches its activations.
///
/// # Errors
/// If the model cannot be run.
pub(super) fn sketch(
    interpreter: &mut Interpreter,
    model: &Model,
    inputs: &[Array],
) -> Result<(Vec<Array>, Sketches), Error> {
    let mut sketches = HashMap::new();
    let outputs = interpreter.observe(inputs, &mut |id, view| {
        if view.dtype == DType::F32 {
            sketches.insert(model.main()[id].name.clone(), Sketch::of(view));
        }
    })?;
    Ok((outputs, sketches))
}

/// What the user must know, where a converted model amplifies the least change to the `difference` that was
/// found, and where each tensor that the source has too agrees with it as far as single precision determines
/// it. `None` where the difference has another cause. The model comes back as it was.
///
/// # Errors
/// If the model cannot be run.
pub(super) fn amplification(
    source: &Sketches,
    converted: &mut Model,
    inputs: &[Array],
    run: &RunOptions,
    (difference, tolerance): (f64, f64),
) -> Result<Option<String>, Error> {
    let sketches = |model: &Model, inputs: &[Array]| -> Result<Sketches, Error> {
        Ok(sketch(&mut Interpreter::unplanned(model, run)?, model, inputs)?.1)
    };
    let plain = sketches(converted, inputs)?;
    nudge_weights(converted);
    let nudged = sketches(converted, &inputs.iter().map(nudged).collect::<Vec<_>>());
    nudge_weights(converted);
    let nudged = nudged?;
    let (mut amplified, mut compared) = (0f64, 0);
    for id in converted.main().nodes.iter().flat_map(|node| &node.outputs) {
        let name = &converted.main()[*id].name;
        let Some(tensor) = plain.get(name) else { continue };
        // What depends on a tensor that has moved moves too, though not always for these inputs.
        amplified = amplified.max(nudged.get(name).and_then(|other| tensor.difference(other)).unwrap_or(0.0));
        let Some(differs) = source.get(name).and_then(|other| other.difference(tensor)) else { continue };
        if !is_within(differs, tolerance.max(MORE * amplified)) {
            return Ok(None);
        }
        compared += usize::from(MORE * amplified <= tolerance);
    }
    if !is_within(difference, MORE * amplified) {
        return Ok(None);
    }
    Ok(Some(format!(
        "rounding decides what this model gives: with other last digits of its weights, tensors change by \
         {amplified:.0e} of their largest element, so nothing can be said of the {difference:.0e} that the result \
         differs by; the first {compared} tensors agree with the source"
    )))
}

/// Whether a difference is excused: what is not a number never is.
fn is_within(difference: f64, most: f64) -> bool {
    difference <= most
}

/// A tensor's shape, elements at even distances, and its largest magnitude.
pub(super) struct Sketch {
    shape: Vec<usize>,
    elements: Vec<f32>,
    largest: f32,
}

impl Sketch {
    fn of(view: &TensorView<'_>) -> Sketch {
        let values = view.floats();
        let step = values.len().div_ceil(KEPT).max(1);
        Sketch {
            shape: view.shape.to_vec(),
            elements: values.iter().step_by(step).copied().collect(),
            largest: values.iter().fold(0.0, |largest, value| largest.max(value.abs())),
        }
    }

    /// The largest difference of elements as a share of the largest element; `None` where shapes differ.
    fn difference(&self, other: &Sketch) -> Option<f64> {
        let pairs = self.elements.iter().zip(&other.elements).map(|(a, b)| f64::from((a - b).abs()));
        let larger = |a: f64, b: f64| if a.is_nan() || b.is_nan() { f64::NAN } else { a.max(b) };
        let largest = pairs.fold(0.0, larger);
        let share = if largest == 0.0 { 0.0 } else { largest / f64::from(self.largest) };
        (self.shape == other.shape).then_some(share)
    }
}

/// The same number with another last digit; a second call gives the first number back.
fn nudge(value: &mut f32) {
    let bits = value.to_bits() ^ NUDGED_BIT;
    let ordinary = |bits: u32| f32::from_bits(bits).is_normal();
    if ordinary(bits) && ordinary(value.to_bits()) {
        *value = f32::from_bits(bits);
    }
}

fn nudged(array: &Array) -> Array {
    if array.dtype != DType::F32 {
        return array.clone();
    }
    let mut values = array.floats().into_owned();
    values.iter_mut().for_each(nudge);
    Array { data: values.iter().flat_map(|value| value.to_le_bytes()).collect(), ..array.clone() }
}

/// Gives constants other last digits, in place. Single numbers mean something and stay.
fn nudge_weights(model: &mut Model) {
    let tensors = model.graphs.iter_mut().flat_map(|graph| &mut graph.tensors);
    for tensor in tensors.filter(|tensor| tensor.dtype == DType::F32 && tensor.sparsity.is_none()) {
        if let TensorKind::Constant(data) = &mut tensor.kind
            && data.len() > size_of::<f32>()
        {
            data.change(|values: &mut [f32]| values.iter_mut().for_each(nudge));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sketch(values: &[f32]) -> Sketch {
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        Sketch::of(&TensorView { dtype: DType::F32, shape: &[values.len()], data: &bytes })
    }

    #[test]
    fn differences_are_shares_of_the_largest_element() {
        assert_eq!(sketch(&[2.0, -4.0]).difference(&sketch(&[1.0, -4.0])), Some(0.25));
        assert_eq!(sketch(&[0.0]).difference(&sketch(&[0.0])), Some(0.0));
        assert!(sketch(&[1.0]).difference(&sketch(&[f32::NAN])).unwrap().is_nan());
        assert_eq!(sketch(&[1.0]).difference(&sketch(&[1.0, 2.0])), None);
    }

    #[test]
    fn a_number_nudged_twice_is_the_number() {
        for value in [1.0, -0.3, 1e-30, 0.0, f32::INFINITY, f32::MIN_POSITIVE, 1e-44, f32::NAN] {
            let mut nudged = value;
            nudge(&mut nudged);
            assert_eq!(nudged != value, value.is_normal() || value.is_nan(), "{value}");
            nudge(&mut nudged);
            assert_eq!(nudged.to_bits(), value.to_bits());
        }
    }

    #[test]
    fn only_real_numbers_are_nudged() {
        let index = Array { dtype: DType::I32, shape: vec![1], data: 2i32.to_le_bytes().to_vec() };
        assert_eq!(nudged(&index).data, index.data);
    }
}
