//! Layers with packed weights, which can be put off until their output is read: whoever reads it
//! alone may be done in the layer's own loop.

use std::sync::Arc;

use bytemuck::Pod;
use litesmith_kernels::elementwise::SumRule;
use litesmith_kernels::float::{self, Clamp};
use litesmith_kernels::quantized::{self, Addend, ByteSum, HybridConv2d, HybridDepthwise};

use super::Task;
use crate::plan::Io;

/// A layer that multiplies its node's first input by weights that have been packed.
pub(crate) struct PackedLayer {
    /// How it computes.
    pub(super) kernel: Kernel,
    /// Batch, height and width of its input.
    pub(super) shape: [usize; 3],
}

/// The kernels of layers, by what they read.
pub(super) enum Kernel {
    /// Real numbers. The bounds are those that the kernel holds its outputs to.
    Float(Form<float::Conv2d, float::Depthwise>, Clamp),
    /// Bytes.
    Quantized(Form<quantized::Conv2d, quantized::Depthwise>),
    /// Real numbers, so many that they are multiplied as bytes.
    Hybrid(Form<HybridConv2d, HybridDepthwise>, usize),
}

/// A convolution, or a depthwise one.
pub(super) enum Form<C, D> {
    Conv(Arc<C>),
    Depthwise(Arc<D>),
}

/// How another tensor of its output's shape is added to a layer's output.
#[derive(Clone, Copy)]
pub(crate) enum Addition {
    /// Real numbers, the sum within bounds.
    Float(Clamp),
    /// Bytes. The layer's output is the first operand.
    Quantized(ByteSum),
}

impl Addition {
    /// The addition of bytes by this rule and within these bounds; `swapped` if the layer's output is
    /// the second operand.
    pub(crate) fn quantized((rule, clamp): (SumRule, [u8; 2]), swapped: bool) -> Addition {
        let rule = if swapped { rule.swapped() } else { rule };
        Addition::Quantized(ByteSum { rule, clamp })
    }
}

impl PackedLayer {
    /// The step that computes it. Input 0 is the layer's.
    pub(crate) fn task(self) -> Task {
        let PackedLayer { kernel, shape } = self;
        match kernel {
            Kernel::Float(form, _) => Task::new(move |machine, mut io| {
                let (input, output) = (io.inputs.get(0), io.output_as());
                match &form {
                    Form::Conv(conv) => conv.run(machine.pool, input, shape, output),
                    Form::Depthwise(depthwise) => depthwise.run(machine.pool, input, shape, output),
                }
                Ok(())
            }),
            Kernel::Quantized(form) => Task::new(move |machine, io| {
                let input = io.inputs.bytes(0);
                match &form {
                    Form::Conv(conv) => conv.run(machine.pool, input, shape, io.output),
                    Form::Depthwise(depthwise) => depthwise.run(machine.pool, input, shape, io.output),
                }
                Ok(())
            }),
            Kernel::Hybrid(form, inputs) => Task::new(move |machine, io| {
                let (pool, input) = (machine.pool, io.inputs.get(0));
                let output = bytemuck::cast_slice_mut(io.output);
                match &form {
                    Form::Conv(conv) => conv.run(pool, input, shape, io.scratch, output),
                    Form::Depthwise(depthwise) => depthwise.run(pool, input, shape, io.scratch, output),
                }
                Ok(())
            })
            .with_scratch(inputs),
        }
    }

    /// The step that computes it with an addition. Input 0 is what is added, input 1 the layer's.
    ///
    /// # Errors
    /// The layer itself, if its kernel cannot do that.
    pub(crate) fn with_addition(self, addition: Addition) -> Result<Task, PackedLayer> {
        let PackedLayer { kernel, shape } = self;
        let task = match (kernel, addition) {
            // The kernel has one pair of bounds.
            (Kernel::Float(Form::Conv(conv), Clamp::NONE), Addition::Float(clamp)) => {
                Task::new(move |machine, mut io| {
                    let (addend, input) = (addend(&io), io.inputs.get(1));
                    conv.run_sum(machine.pool, input, shape, addend, clamp, io.output_as());
                    Ok(())
                })
            }
            (Kernel::Quantized(Form::Conv(conv)), Addition::Quantized(sum)) => {
                Task::new(move |machine, io| {
                    let addend = Addend { tensor: addend(&io), sum };
                    conv.run_add(machine.pool, io.inputs.bytes(1), shape, addend, io.output);
                    Ok(())
                })
            }
            (Kernel::Hybrid(Form::Conv(conv), inputs), Addition::Float(sum)) => {
                Task::new(move |machine, io| {
                    let addend = Addend { tensor: addend(&io), sum };
                    let output = bytemuck::cast_slice_mut(io.output);
                    conv.run_add(machine.pool, io.inputs.get(1), shape, io.scratch, addend, output);
                    Ok(())
                })
                .with_scratch(inputs)
            }
            (kernel, _) => return Err(PackedLayer { kernel, shape }),
        };
        Ok(task.in_place())
    }
}

/// What is added, if the output does not hold it.
fn addend<'a, T: Pod>(io: &Io<'a>) -> Option<&'a [T]> {
    (!io.in_place).then(|| io.inputs.get(0))
}
