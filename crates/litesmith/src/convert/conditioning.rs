//! Models for which single precision decides nothing: their outputs change as much when weights and inputs
//! change by a few units in the last place as when the model is rewritten. Untrained deep networks are such.

use std::collections::HashMap;

use litesmith_graph::{DType, Data, Model, TensorKind};
use litesmith_runtime::{Array, Interpreter, Options as RunOptions, TensorView};

use super::samples::Samples;
use super::verify::carry_over;
use crate::check::Check;
use crate::error::Error;

/// The change of weights and inputs, as a share of each element: eight units in the last place.
const NUDGE: f32 = 1.0 / (1 << 20) as f32;

/// How much more a rewrite may change, which rounds in other places.
const MORE: f64 = 10.0;

/// Runs that are looked at.
const RUNS: usize = 2;

/// Elements of a tensor that are kept to be compared.
const KEPT: usize = 256;

/// A model and its source, and what they are run on.
pub(super) struct Pair<'a> {
    pub source: &'a Model,
    pub converted: &'a Model,
    pub samples: &'a Samples,
    pub run: &'a RunOptions,
}

impl Pair<'_> {
    /// What the user must know, where the source amplifies the least change to the difference that was
    /// found, and where each tensor that both models have agrees as far as single precision determines it.
    /// `None` where the difference has another cause.
    ///
    /// # Errors
    /// If a model cannot be run.
    pub(super) fn amplification(&self, tolerance: f64, check: &Check) -> Result<Option<String>, Error> {
        let mut moves = HashMap::new();
        self.samples.each(RUNS, |arrays, _| self.compare(arrays, &mut moves))?;
        let outputs = self.source.main().outputs.iter().map(|id| &self.source.main()[*id].name);
        let amplified = outputs.filter_map(|name| moves.get(name)).map(|moved| moved.own).fold(0.0, f64::max);
        let excused = |moved: &Moved| is_within(moved.by_conversion, tolerance.max(MORE * moved.own));
        if !is_within(check.max_relative_diff, MORE * amplified) || !moves.values().all(excused) {
            return Ok(None);
        }
        let compared = moves.values().filter(|moved| MORE * moved.own <= tolerance).count();
        Ok(Some(format!(
            "rounding decides what this model gives: rounded otherwise, its own outputs change by {amplified:.0e} of \
             the largest, so nothing can be said of the {:.0e} that the result differs by; {compared} tensors before \
             that agree with the source",
            check.max_relative_diff
        )))
    }

    /// Compares the source with itself, weights and inputs nudged, and with the converted model, and keeps
    /// the larger differences of each tensor that all have.
    fn compare(&self, arrays: &[Array], moves: &mut HashMap<String, Moved>) -> Result<(), Error> {
        let source = self.tensors(self.source, arrays)?;
        let nudged: Vec<Array> = arrays.iter().map(nudged).collect();
        let nudged = self.tensors(&nudged_weights(self.source), &nudged)?;
        let converted = self.tensors(self.converted, arrays)?;
        for (name, tensor) in source {
            let differs = |other: &HashMap<String, Sketch>| difference(&tensor, other.get(&name)?);
            let (Some(own), Some(by_conversion)) = (differs(&nudged), differs(&converted)) else { continue };
            let moved = moves.entry(name).or_insert(Moved { own, by_conversion });
            moved.own = moved.own.max(own);
            moved.by_conversion = larger(moved.by_conversion, by_conversion);
        }
        Ok(())
    }

    /// Some elements of every real-valued activation, by its name.
    fn tensors(&self, model: &Model, arrays: &[Array]) -> Result<HashMap<String, Sketch>, Error> {
        let mut interpreter = Interpreter::new(model, self.run)?;
        let inputs = arrays.iter().zip(self.samples.inputs()).zip(interpreter.inputs());
        let inputs: Vec<Array> =
            inputs.map(|((array, from), to)| carry_over(array, from, to)).collect::<Result<_, _>>()?;
        let mut tensors = HashMap::new();
        interpreter.observe(&inputs, &mut |id, view| {
            if view.dtype == DType::F32 {
                tensors.insert(model.main()[id].name.clone(), Sketch::of(view));
            }
        })?;
        Ok(tensors)
    }
}

/// How far a tensor moves, as a share of its largest element.
struct Moved {
    /// When weights and inputs are nudged.
    own: f64,
    /// When the model is converted.
    by_conversion: f64,
}

/// The larger difference; one that is not a number is the largest.
fn larger(a: f64, b: f64) -> f64 {
    if a.is_nan() || b.is_nan() { f64::NAN } else { a.max(b) }
}

/// Whether a difference is excused: what is not a number never is.
fn is_within(difference: f64, most: f64) -> bool {
    difference <= most
}

/// A tensor's shape, elements at even distances, and its largest magnitude.
struct Sketch {
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
}

/// The largest difference of elements as a share of the largest element; `None` where shapes differ.
fn difference(a: &Sketch, b: &Sketch) -> Option<f64> {
    let pairs = || a.elements.iter().zip(&b.elements).map(|(a, b)| f64::from((a - b).abs()));
    let largest = pairs().fold(0.0, larger);
    let share = if largest == 0.0 { 0.0 } else { largest / f64::from(a.largest) };
    (a.shape == b.shape).then_some(share)
}

/// Every second real number made larger, the others smaller.
fn nudge(values: &mut [f32]) {
    for (index, value) in values.iter_mut().enumerate() {
        *value *= if index % 2 == 0 { 1.0 + NUDGE } else { 1.0 - NUDGE };
    }
}

fn nudged(array: &Array) -> Array {
    if array.dtype != DType::F32 {
        return array.clone();
    }
    let mut values = array.floats().into_owned();
    nudge(&mut values);
    Array { data: values.iter().flat_map(|value| value.to_le_bytes()).collect(), ..array.clone() }
}

/// The model with other last digits of its weights. Single numbers mean something and stay.
fn nudged_weights(model: &Model) -> Model {
    let change = |data: &mut Data| {
        let mut values = data.elements::<f32>().into_owned();
        if values.len() > 1 {
            nudge(&mut values);
            *data = Data::from_vec(values);
        }
    };
    let mut model = model.clone();
    let trained = model.parameters.iter_mut().filter(|parameter| parameter.dtype == DType::F32);
    trained.for_each(|parameter| change(&mut parameter.data));
    let tensors = model.graphs.iter_mut().flat_map(|graph| &mut graph.tensors);
    for tensor in tensors.filter(|tensor| tensor.dtype == DType::F32 && tensor.sparsity.is_none()) {
        if let TensorKind::Constant(data) = &mut tensor.kind {
            change(data);
        }
    }
    model
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
        assert_eq!(difference(&sketch(&[1.0, -4.0]), &sketch(&[2.0, -4.0])), Some(0.25));
        assert_eq!(difference(&sketch(&[0.0]), &sketch(&[0.0])), Some(0.0));
        assert!(difference(&sketch(&[1.0]), &sketch(&[f32::NAN])).unwrap().is_nan());
        assert_eq!(difference(&sketch(&[1.0]), &sketch(&[1.0, 2.0])), None);
    }

    #[test]
    fn only_real_numbers_are_nudged() {
        let floats = Array { dtype: DType::F32, shape: vec![1], data: 2f32.to_le_bytes().to_vec() };
        assert_eq!(nudged(&floats).data, (2.0 + 2.0 * NUDGE).to_le_bytes());
        let index = Array { dtype: DType::I32, shape: vec![1], data: 2i32.to_le_bytes().to_vec() };
        assert_eq!(nudged(&index).data, index.data);
    }
}
