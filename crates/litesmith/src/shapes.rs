//! Changing the shapes of a model's inputs.

use litesmith_graph::{Dim, Model, Shape};

use crate::error::Error;

/// The size of the first axis of every input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BatchSize {
    /// Chosen when the model runs.
    Free,
    /// Fixed.
    Fixed(usize),
}

/// Gives the named inputs these shapes; `None` leaves an axis as it is.
pub(crate) fn set_input_shapes(model: &mut Model, shapes: &[(String, Vec<usize>)]) -> Result<(), Error> {
    for (name, sizes) in shapes {
        let graph = model.main_mut();
        let id = graph.inputs.iter().copied().find(|id| graph[*id].name == *name);
        let Some(id) = id else {
            let names: Vec<_> = graph.inputs.iter().map(|id| graph[*id].name.as_str()).collect();
            return Err(Error::Usage(format!(
                "there is no input '{name}'; the model has {}",
                names.join(", ")
            )));
        };
        let shape = Shape::fixed(sizes);
        let tensor = &mut graph[id];
        if tensor.shape.unify(&shape).is_none() {
            return Err(Error::Usage(format!(
                "input '{name}' has shape {}, it cannot become {shape}",
                tensor.shape
            )));
        }
        tensor.shape = shape;
    }
    Ok(())
}

/// Gives the first axis of every input this size.
pub(crate) fn set_batch(model: &mut Model, size: BatchSize) -> Result<(), Error> {
    let graph = model.main_mut();
    for id in graph.inputs.clone() {
        let tensor = &mut graph[id];
        let name = tensor.name.clone();
        let Some(first) = tensor.shape.0.first_mut() else {
            return Err(Error::Usage(format!("input '{name}' is a scalar and has no batch")));
        };
        *first = match size {
            BatchSize::Free => Dim::free("batch"),
            BatchSize::Fixed(size) => Dim::Fixed(size),
        };
    }
    litesmith_graph::infer_model(model)
        .map_err(|error| Error::Usage(format!("this batch is not possible: {error}")))
}
