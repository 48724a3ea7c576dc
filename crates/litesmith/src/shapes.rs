//! Changing the shapes of a model's inputs.

use litesmith_graph::{Dim, Model, Shape, infer_model};
use litesmith_passes::{BatchError, set_batch};
use litesmith_runtime::{Array, Interpreter, Options as RunOptions};

use crate::check::Comparison;
use crate::error::Error;
use crate::seeded::seeded_input;

/// The size of the first axis of every input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BatchSize {
    /// Chosen when the model runs.
    Free,
    /// Fixed.
    Fixed(usize),
}

/// Largest difference, as a share of the largest output, between samples run together and by
/// themselves.
const TOLERANCE: f64 = 1e-4;

/// Gives the named inputs these shapes. A first axis that is fixed in the file becomes another batch.
pub(crate) fn set_input_shapes(
    model: &mut Model,
    shapes: &[(String, Vec<usize>)],
    run: &RunOptions,
) -> Result<(), Error> {
    for (name, sizes) in shapes {
        let graph = model.main();
        let known = |(place, id): (usize, &litesmith_graph::TensorId)| {
            (graph[*id].name == *name || signature_name(model, place) == Some(name.as_str())).then_some(*id)
        };
        let Some(id) = graph.inputs.iter().enumerate().find_map(known) else {
            let names: Vec<_> = graph.inputs.iter().map(|id| graph[*id].name.as_str()).collect();
            return Err(Error::Usage(format!(
                "there is no input '{name}'; the model has {}",
                names.join(", ")
            )));
        };
        let (old, new) = (graph[id].shape.clone(), Shape::fixed(sizes));
        if old.rank() != new.rank() {
            return Err(Error::Usage(format!("input '{name}' has shape {old}, it cannot become {new}")));
        }
        if let (Some(Dim::Fixed(batch)), Some(size)) = (old.dims().first(), sizes.first())
            && batch != size
        {
            change_batch(model, BatchSize::Fixed(*size), run)?;
        }
        model.main_mut()[id].shape = new;
    }
    infer_model(model).map_err(|error| Error::Usage(format!("these input shapes are not possible: {error}")))
}

fn signature_name(model: &Model, place: usize) -> Option<&str> {
    let signature = model.signatures.iter().find(|signature| signature.graph.0 == 0)?;
    signature.inputs.iter().find(|(_, input)| *input == place).map(|(name, _)| name.as_str())
}

/// Gives the first axis of every input this size. A batch that was fixed before is freed first, and
/// the model must then compute for several samples together what it computes for each by itself.
pub(crate) fn change_batch(model: &mut Model, size: BatchSize, run: &RunOptions) -> Result<(), Error> {
    let graph = model.main();
    let fixed = graph.inputs.iter().filter_map(|id| graph[*id].shape.dims().first()?.fixed()).max();
    if let Some(batch) = fixed.filter(|batch| size != BatchSize::Fixed(*batch)) {
        let original = model.clone();
        set_batch(model, &Dim::free("batch")).map_err(impossible)?;
        check_independence(&original, model, batch, run)?;
    }
    if let BatchSize::Fixed(size) = size {
        set_batch(model, &Dim::Fixed(size)).map_err(impossible)?;
    }
    Ok(())
}

fn impossible(error: BatchError) -> Error {
    Error::Usage(format!("this batch is not possible: {error}"))
}

/// Runs two batches of the old size one after the other through the original, and together through
/// the freed model.
fn check_independence(original: &Model, freed: &Model, batch: usize, run: &RunOptions) -> Result<(), Error> {
    let (mut original, mut freed) = (Interpreter::new(original, run)?, Interpreter::new(freed, run)?);
    let inputs = |seed: u64| -> Result<Vec<Array>, Error> {
        original.inputs().iter().map(|info| seeded_input(info, seed)).collect()
    };
    let (first, second) = (inputs(1)?, inputs(2)?);
    let together: Vec<Array> = first.iter().zip(&second).map(|(a, b)| stacked(a, b)).collect();
    let (apart, again) = (original.run(&first)?, original.run(&second)?);
    let together = freed.run(&together)?;
    let mut comparison = Comparison::default();
    let floats =
        |arrays: &[Array]| arrays.iter().map(|array| array.floats().into_owned()).collect::<Vec<_>>();
    let mut expected = floats(&apart);
    for ((expected, more), output) in expected.iter_mut().zip(floats(&again)).zip(original.outputs()) {
        if output.shape.dims().first().and_then(Dim::fixed) == Some(batch) {
            expected.extend(more);
        }
    }
    let got = floats(&together);
    let fits = expected.iter().zip(&got).all(|(expected, got)| expected.len() == got.len());
    if fits {
        comparison.add(2 * batch, &expected, &got);
    }
    let difference = if fits { comparison.result(false).max_relative_diff } else { f64::INFINITY };
    // Not a number is no agreement.
    if difference <= TOLERANCE {
        return Ok(());
    }
    Err(Error::Check(format!(
        "the batch of {batch} cannot be changed: samples run together give something else than each by itself"
    )))
}

/// Two arrays, one behind the other along the first axis.
fn stacked(a: &Array, b: &Array) -> Array {
    let mut shape = a.shape.clone();
    if let Some(first) = shape.first_mut() {
        *first += b.shape.first().copied().unwrap_or(0);
    }
    Array { dtype: a.dtype, shape, data: [a.data.as_slice(), b.data.as_slice()].concat() }
}
