//! Runs a float model on samples and records what every real-valued tensor held.

use std::collections::HashMap;

use litesmith_graph::{Model, TensorId};
use litesmith_runtime::{Array, Interpreter};

use crate::error::QuantizeError;
use crate::ranges::{is_observed, keys};
use crate::repair::{Channels, Moments, Product};
use crate::statistics::{Range, Statistics};

/// Runs `model`, which `interpreter` was made of, on one sample (or a batch of several) and adds what
/// its tensors held to `statistics` and `moments`, which are of no use after an error. Returns the
/// model's outputs.
///
/// # Errors
/// If the sample does not fit the model, or a tensor holds a number that is not finite.
pub fn calibrate(
    interpreter: &mut Interpreter,
    model: &Model,
    sample: &[Array],
    statistics: &mut Statistics,
    mut moments: Option<&mut Moments>,
) -> Result<Vec<Array>, QuantizeError> {
    let graph = model.main();
    let keys = keys(graph);
    let channels: HashMap<TensorId, usize> =
        Product::all(graph).map(|product| (product.input, product.channels)).collect();
    let count = sample.first().and_then(|array| array.shape.first()).copied().unwrap_or(1);
    let mut ranges = Vec::new();
    let mut bad = None;
    let outputs = interpreter.observe(sample, &mut |id, view| {
        if !is_observed(graph, id) || bad.is_some() {
            return;
        }
        let elements = view.floats();
        match Range::of(&elements) {
            // What has no element has no range.
            Ok(_) if elements.is_empty() => {}
            Ok(range) => {
                let key = &keys[id.index()];
                statistics.count(key, &elements, range);
                if let Some(found) = channels.get(&id).and_then(|count| Channels::of(&elements, *count)) {
                    statistics.record_channels(key, found);
                }
                if let Some(moments) = &mut moments {
                    moments.look(id, view);
                }
                ranges.push((keys[id.index()].as_str(), range));
            }
            Err(value) => bad = Some((id, value)),
        }
    })?;
    if let Some((id, value)) = bad {
        let tensor = graph[id].name.clone();
        return Err(QuantizeError::NotFinite { sample: statistics.samples, tensor, value });
    }
    statistics.record_run(count, ranges);
    if let Some(moments) = moments {
        moments.end_run(sample, &outputs);
    }
    Ok(outputs)
}
