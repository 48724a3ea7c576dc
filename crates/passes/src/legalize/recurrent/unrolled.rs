//! One copy of the cell for each step.

use litesmith_graph::TensorId;
use litesmith_graph::ops::{ExpandDims, Pack, Unpack};

use super::cell::{self, States, masked};
use super::{Layer, Results};
use crate::legalize::writer::Writer;

/// The layer for `time` steps, at least one.
pub(super) fn unrolled(writer: &mut Writer<'_>, layer: &Layer, time: usize) -> Results {
    let weights = layer.weights.place(writer);
    let products = steps(writer, "steps", layer.products, time);
    let masks = layer.mask.map(|mask| {
        let mask = writer.push("mask", ExpandDims { axis: 2 }, &[mask]);
        steps(writer, "masks", mask, time)
    });
    let mut states = layer.before;
    let mut outputs: Vec<TensorId> = Vec::with_capacity(time);
    for step in 0..time {
        let at = if layer.op.backwards { time - 1 - step } else { step };
        let mut part = writer.part(&format!("step{step}"));
        let fresh = cell::step(&mut part, &layer.op, &weights, products[at], states);
        let (Some(mut output), mask) = (fresh.h, masks.as_ref().map(|masks| masks[at])) else { continue };
        let before = states;
        states = fresh;
        if let Some(mask) = mask {
            states.h = fresh.h.map(|h| masked(&mut part, "h/masked", mask, h, before.h));
            states.c = fresh.c.map(|c| masked(&mut part, "c/masked", mask, c, before.c));
            output = match states.h {
                // Outputs start from zero, as states do that are not given.
                Some(h) if layer.before.h.is_none() && !layer.op.zero_masked => h,
                _ => {
                    let last = outputs.last().copied().filter(|_| !layer.op.zero_masked);
                    masked(&mut part, "output", mask, output, last)
                }
            };
        }
        outputs.push(output);
    }
    let inputs: Vec<Option<TensorId>> = outputs.into_iter().map(Some).collect();
    let sequence = layer.sequence_read.then(|| writer.push_some("sequence", Pack { axis: 1 }, &inputs)[0]);
    let States { h, c } = states;
    Results { sequence, states: States { h, c } }
}

/// The parts of a tensor along its second axis.
fn steps(writer: &mut Writer<'_>, name: &str, x: TensorId, time: usize) -> Vec<TensorId> {
    writer.push_some(name, Unpack { axis: 1, parts: time }, &[Some(x)])
}
