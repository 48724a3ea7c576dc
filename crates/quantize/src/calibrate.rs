//! Runs a float model on samples and records the range of every real-valued tensor.

use litesmith_graph::Model;
use litesmith_runtime::{Array, Interpreter};

use crate::error::QuantizeError;
use crate::ranges::{is_observed, keys};
use crate::statistics::{Range, Statistics};

/// Runs `model`, which `interpreter` was made of, on one sample (or a batch of several) and adds what
/// its tensors held to `statistics`. Returns the model's outputs.
///
/// # Errors
/// If the sample does not fit the model, or a tensor holds a number that is not finite.
pub fn calibrate(
    interpreter: &mut Interpreter,
    model: &Model,
    sample: &[Array],
    statistics: &mut Statistics,
) -> Result<Vec<Array>, QuantizeError> {
    let graph = model.main();
    let keys = keys(graph);
    let count = sample.first().and_then(|array| array.shape.first()).copied().unwrap_or(1);
    let mut ranges = Vec::new();
    let mut bad = None;
    let outputs = interpreter.observe(sample, &mut |id, view| {
        if !is_observed(graph, id) || bad.is_some() {
            return;
        }
        match Range::of(&view.floats()) {
            Ok(range) => ranges.push((id, range)),
            Err(value) => bad = Some((id, value)),
        }
    })?;
    if let Some((id, value)) = bad {
        let tensor = graph[id].name.clone();
        return Err(QuantizeError::NotFinite { sample: statistics.samples, tensor, value });
    }
    for (id, range) in ranges {
        statistics.record(&keys[id.index()], range);
    }
    statistics.samples += count;
    Ok(outputs)
}
