//! Batch normalization by the statistics of the batch, and gradients of both kinds.

use bytemuck::Pod;
use litesmith_graph::DType;
use litesmith_graph::ops::{Activation, BatchNormTraining, Gradient};
use litesmith_kernels::elementwise::Float;
use litesmith_kernels::gradient::batch_norm::{self, BatchNorm, Gradients, Statistics};

use super::super::{Bound, Site, Task};
use super::{Places, by_float};
use crate::error::{Refusal, refuse};
use crate::plan::grouped;

pub(super) fn bounds<T: Float>(activation: Activation) -> Option<[T; 2]> {
    let (low, high) = activation.bounds();
    (!activation.is_none()).then(|| [T::of(low.into()), T::of(high.into())])
}

/// Left-out vectors are empty.
pub(super) fn given<T>(vector: &[T]) -> Option<&[T]> {
    (!vector.is_empty()).then_some(vector)
}

/// The outputs of a step, which lie behind one another.
pub(super) fn outputs<'a, T: Pod>(bytes: &'a mut [u8], sizes: &[usize]) -> Vec<&'a mut [T]> {
    let Some((places, _)) = grouped(sizes) else { return Vec::new() };
    let (mut rest, mut at) = (bytes, 0);
    let mut parts = Vec::with_capacity(places.len());
    for place in places {
        let (_, from) = rest.split_at_mut(place.start - at);
        let (part, behind) = from.split_at_mut(place.len());
        parts.push(bytemuck::cast_slice_mut(part));
        (rest, at) = (behind, place.end);
    }
    parts
}

/// Bytes of each output.
pub(super) fn output_sizes(site: &Site<'_>) -> Result<Vec<usize>, Refusal> {
    let bytes = site.outputs.iter().map(|output| output.dtype.bytes(output.elements));
    match bytes.collect() {
        Some(sizes) => Ok(sizes),
        None => refuse!("its outputs are too large"),
    }
}

pub(in super::super) fn batch_norm_training(
    site: &Site<'_>,
    op: &BatchNormTraining,
) -> Result<Bound, Refusal> {
    let input = site.input(0)?;
    if site.inputs.iter().flatten().any(|operand| operand.dtype != input.dtype) {
        refuse!("its inputs must all be {}", input.dtype);
    }
    if input.elements == 0 {
        refuse!("a batch without elements has no statistics");
    }
    let (sizes, epsilon, activation) = (output_sizes(site)?, f64::from(op.epsilon), op.activation);
    by_float!(input.dtype, T => Task::new(move |machine, io| {
        let x = io.inputs.get::<T>(0);
        let (gamma, beta) = (given(io.inputs.get(1)), given(io.inputs.get(2)));
        let [y, mean, variance] = &mut outputs::<T>(io.output, &sizes)[..] else { return Ok(()) };
        batch_norm::statistics(machine.isa, machine.pool, x, mean, variance);
        let (epsilon, bounds) = (T::of(epsilon), bounds(activation));
        let parameters = BatchNorm { mean, variance, epsilon, gamma, beta, bounds };
        batch_norm::normalize(machine.isa, machine.pool, &parameters, x, y);
        Ok(())
    })
    .for_all_outputs()
    .into())
}

/// `activation` is that of one that uses the statistics of the batch; `None` stands for running ones.
pub(super) fn batch_norm(
    site: &Site<'_>,
    op: &Gradient,
    epsilon: f32,
    activation: Option<Activation>,
    places: Places,
) -> Result<Bound, Refusal> {
    let (input, received) = (site.input(0)?, site.input(places.dy)?);
    if input.shape != received.shape || op.inputs.iter().any(|input| *input > 2) {
        refuse!("its operands do not fit");
    }
    let mut sorted = op.inputs.clone();
    sorted.sort_unstable();
    sorted.dedup();
    if sorted != op.inputs {
        refuse!("its outputs must be in the order of the inputs");
    }
    // Mean and variance are inputs, or outputs, of what is differentiated.
    let mean = if activation.is_some() { places.y + 1 } else { 3 };
    let statistics = if activation.is_some() { Statistics::Batch } else { Statistics::Frozen };
    let (sizes, wanted, epsilon) = (output_sizes(site)?, op.inputs.clone(), f64::from(epsilon));
    let activation = activation.unwrap_or_default();
    by_float!(input.dtype, T => Task::new(move |machine, io| {
        let inputs = io.inputs;
        let (x, dy) = (inputs.get::<T>(0), inputs.get(places.dy));
        let mut gradients = Gradients::default();
        for (input, output) in wanted.iter().zip(outputs::<T>(io.output, &sizes)) {
            match input {
                0 => gradients.input = Some(output),
                1 => gradients.gamma = Some(output),
                _ => gradients.beta = Some(output),
            }
        }
        let parameters = BatchNorm {
            mean: inputs.get(mean),
            variance: inputs.get(mean + 1),
            epsilon: T::of(epsilon),
            gamma: given(inputs.get(1)),
            beta: given(inputs.get(2)),
            bounds: bounds(activation),
        };
        batch_norm::gradient(machine.isa, machine.pool, &parameters, statistics, x, dy, gradients);
        Ok(())
    })
    .for_all_outputs()
    .into())
}
