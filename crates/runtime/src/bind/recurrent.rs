//! Recurrent layers.

use std::ops::Range;

use litesmith_graph::DType;
use litesmith_graph::ops::{self, GateFunction, RecurrentCell};
use litesmith_kernels::recurrent::{Cell, Function, Recurrent, Results, Sequence, Weights};
use litesmith_kernels::{Isa, Window};

use super::control::places_of_outputs;
use super::elementwise::kernel_of;
use super::{Bound, Machine, Site, Task};
use crate::error::{Refusal, refuse};
use crate::plan::Io;

/// A layer whose shapes are known.
#[derive(Clone, Copy)]
struct Layer {
    cell: Cell,
    functions: [Function; 2],
    /// Features and units.
    sizes: [usize; 2],
    batch: usize,
    time: usize,
    backwards: bool,
    zero_masked: bool,
}

pub(super) fn recurrent(site: &Site<'_>, op: &ops::Recurrent) -> Result<Bound, Refusal> {
    let (x, recurrent) = (site.input(0)?, site.input(2)?);
    if x.dtype != DType::F32 {
        refuse!("there is no kernel of recurrent layers for {}", x.dtype);
    }
    let layer = Layer {
        cell: match op.cell {
            RecurrentCell::Simple => Cell::Simple,
            RecurrentCell::Lstm => Cell::Lstm,
            RecurrentCell::Gru { reset_after } => Cell::Gru { reset_after },
        },
        functions: [function(op.activation)?, function(op.recurrent_activation)?],
        sizes: [x.shape[2], recurrent.shape[0]],
        batch: x.shape[0],
        time: x.shape[1],
        backwards: op.backwards,
        zero_masked: op.zero_masked,
    };
    if layer.sizes.contains(&0) {
        refuse!("a layer without features or units is not supported");
    }
    let weights = [1, 2, 3].map(|input| site.optional(input));
    let fixed = if weights.iter().flatten().all(|weights| weights.data.is_some()) {
        let [kernel, recurrent] = [site.input(1)?.floats("kernel")?, recurrent.floats("recurrent kernel")?];
        let bias = weights[2].map(|bias| bias.floats("bias")).transpose()?;
        let weights = Weights { kernel: &kernel, recurrent: &recurrent, bias: bias.as_deref() };
        Some(site.pack(Window::POINT, || layer.packed(site.isa, weights)))
    } else {
        None
    };
    let given = [3, 4, 5, 6].map(|input| site.optional(input).is_some());
    let floats = Recurrent::scratch(layer.cell.gates() * layer.sizes[1], layer.batch, layer.time);
    let Some(scratch) = floats.and_then(|floats| floats.checked_mul(size_of::<f32>())) else {
        refuse!("it needs too much memory to work with");
    };
    let places = places_of_outputs(site)?;
    let work = move |machine: Machine<'_>, io: Io<'_>| {
        layer.run(machine, io, &places, given, fixed.as_deref());
        Ok(())
    };
    Ok(Task::new(work).with_scratch(scratch).for_all_outputs().into())
}

fn function(function: GateFunction) -> Result<Function, Refusal> {
    Ok(match function {
        GateFunction::Linear => Function::Linear,
        GateFunction::HardSigmoid { slope, offset } => Function::HardSigmoid { slope, offset },
        GateFunction::Function(kind) => match kernel_of(kind) {
            Some(kernel) => Function::Unary(kernel),
            None => refuse!("there is no kernel of recurrent layers with the function {kind:?}"),
        },
    })
}

impl Layer {
    fn packed(&self, isa: Isa, weights: Weights<'_>) -> Recurrent {
        Recurrent::new(isa, self.cell, self.sizes, weights, self.functions)
    }

    /// Computes the outputs. `given` tells of bias, initial states and mask whether they are there.
    fn run(
        &self,
        machine: Machine<'_>,
        io: Io<'_>,
        places: &[Range<usize>],
        given: [bool; 4],
        fixed: Option<&Recurrent>,
    ) {
        let inputs = io.inputs;
        let made;
        let kernel = match fixed {
            Some(kernel) => kernel,
            None => {
                let bias = given[0].then(|| inputs.get(3));
                let weights = Weights { kernel: inputs.get(1), recurrent: inputs.get(2), bias };
                made = self.packed(machine.isa, weights);
                &made
            }
        };
        let sequence = Sequence {
            x: inputs.get(0),
            batch: self.batch,
            time: self.time,
            h: given[1].then(|| inputs.get(4)),
            c: given[2].then(|| inputs.get(5)),
            mask: given[3].then(|| inputs.bytes(6)),
            backwards: self.backwards,
            zero_masked: self.zero_masked,
        };
        let mut rest = io.output;
        let mut end = 0;
        let mut outputs = places.iter().map(|place| {
            let (_, behind) = std::mem::take(&mut rest).split_at_mut(place.start - end);
            let (output, behind) = behind.split_at_mut(place.len());
            (rest, end) = (behind, place.end);
            bytemuck::cast_slice_mut(output)
        });
        let mut results = Results {
            sequence: outputs.next(),
            h: outputs.next().unwrap_or_default(),
            c: outputs.next().unwrap_or_default(),
        };
        kernel.run(machine.pool, &sequence, bytemuck::cast_slice_mut(io.scratch), &mut results);
    }
}
