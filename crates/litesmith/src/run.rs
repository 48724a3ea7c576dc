//! `run`: inference over a data set.

use std::path::Path;

use litesmith_data::npz;
use litesmith_runtime::{Array, Interpreter, Options as RunOptions, TensorInfo};
use serde::Serialize;

use crate::error::Error;
use crate::feed::{DataOptions, Feed, Whole, dequantize_output, to_data};
use crate::observer::{Observer, go_on};

/// What a model says of a data set.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct RunResult {
    /// Version of this form.
    pub schema_version: u32,
    /// Number of samples.
    pub samples: usize,
    /// Name, type and shape of each output.
    pub outputs: Vec<RunOutput>,
    /// The largest elements of the first output, for each sample, where it is a vector.
    pub predictions: Vec<Vec<Prediction>>,
}

/// An output of a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RunOutput {
    /// Its name.
    pub name: String,
    /// NumPy name of its type.
    pub dtype: &'static str,
    /// Its shape over all samples.
    pub shape: Vec<usize>,
}

/// An element of an output vector.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Prediction {
    /// Index of the element.
    pub class: usize,
    /// Name of the class, where the data set names them.
    pub name: Option<String>,
    /// Its value, dequantized.
    pub value: f32,
}

/// Runs a model on all samples of a data set; writes the outputs, each under its name and with its own
/// type, where `output` names an npz file. `top` is the number of predictions kept for each sample.
///
/// # Errors
/// If the model or the data cannot be read, do not fit each other, or the file cannot be written.
pub fn run(
    model: &Path,
    data: &DataOptions,
    output: Option<&Path>,
    top: usize,
    options: &RunOptions,
    observer: &dyn Observer,
) -> Result<RunResult, Error> {
    let (model_file, ahead) = crate::source::read_to_run(model, options)?;
    let mut interpreter = Interpreter::new(&model_file, options)?;
    drop(ahead);
    let infos = interpreter.outputs().to_vec();
    let names = output_names(&model_file, &infos);
    if let Some(whole) = Whole::open(&model_file, interpreter.inputs(), data)? {
        let arrays = interpreter.run(whole.arrays())?;
        return finish(&names, &arrays, output, 1, Vec::new());
    }
    let feed = Feed::open(&model_file, interpreter.inputs(), data)?;
    let mut collected: Vec<Option<Array>> = vec![None; infos.len()];
    let mut predictions = Vec::new();
    observer.stage("run", feed.len());
    for fed in feed.batches()? {
        go_on(observer)?;
        let fed = fed?;
        let outputs = fed.run(&mut interpreter)?;
        if let (Some(info), Some(first)) = (infos.first(), outputs.first()) {
            predictions.extend(predict(info, first, top, feed.dataset.class_names()));
        }
        for (all, output) in collected.iter_mut().zip(outputs) {
            append(all, output);
        }
        (0..fed.samples).for_each(|_| observer.step());
    }
    let arrays: Vec<Array> = collected.into_iter().flatten().collect();
    finish(&names, &arrays, output, feed.len(), predictions)
}

/// Writes the outputs, where they are asked for, and describes them.
fn finish(
    names: &[String],
    arrays: &[Array],
    output: Option<&Path>,
    samples: usize,
    predictions: Vec<Vec<Prediction>>,
) -> Result<RunResult, Error> {
    if let Some(path) = output {
        let named: Result<Vec<_>, Error> =
            names.iter().zip(arrays).map(|(name, array)| to_data(name, array)).collect();
        npz::write(path, &named?, npz::Compression::Stored)
            .map_err(|error| Error::Failed(error.to_string()))?;
    }
    let describe = |(name, array): (&String, &Array)| RunOutput {
        name: name.clone(),
        dtype: array.dtype.numpy_name(),
        shape: array.shape.clone(),
    };
    let outputs = names.iter().zip(arrays).map(describe).collect();
    Ok(RunResult { schema_version: 1, samples, outputs, predictions })
}

/// Names of the outputs: those of the signature where there is one, else those of the tensors.
fn output_names(model: &litesmith_graph::Model, infos: &[TensorInfo]) -> Vec<String> {
    let signature = model.signatures.iter().find(|signature| signature.graph.0 == 0);
    let signed = |place: usize| {
        let named = signature?.outputs.iter().find(|(_, output)| *output == place);
        named.map(|(name, _)| name.clone())
    };
    infos.iter().enumerate().map(|(place, info)| signed(place).unwrap_or_else(|| info.name.clone())).collect()
}

fn append(all: &mut Option<Array>, output: Array) {
    match all {
        Some(all) if !all.shape.is_empty() && !output.shape.is_empty() => {
            all.shape[0] += output.shape[0];
            all.data.extend_from_slice(&output.data);
        }
        Some(_) => {}
        None => *all = Some(output),
    }
}

/// The largest elements of each row of a matrix.
fn predict(info: &TensorInfo, output: &Array, top: usize, names: Option<&[String]>) -> Vec<Vec<Prediction>> {
    let [_, classes] = output.shape[..] else { return Vec::new() };
    let values = dequantize_output(info, output);
    let row = |row: &[f32]| {
        largest(row, top)
            .into_iter()
            .map(|class| Prediction {
                class,
                name: names.and_then(|names| names.get(class).cloned()),
                value: row[class],
            })
            .collect()
    };
    values.chunks(classes.max(1)).map(row).collect()
}

/// Indices of the `count` largest elements, the largest first, the first of equals first.
pub(crate) fn largest(values: &[f32], count: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|a, b| values[*b].total_cmp(&values[*a]).then(a.cmp(b)));
    order.truncate(count);
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_equals_comes_first() {
        assert_eq!(largest(&[0.5, 2.0, 2.0, -1.0], 3), [1, 2, 0]);
        assert_eq!(largest(&[1.0], 5), [0]);
    }
}
