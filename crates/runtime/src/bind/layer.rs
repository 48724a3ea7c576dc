//! Layers with packed weights, which can be put off until their output is read: whoever reads it
//! alone may be done in the layer's own loop.

use std::sync::Arc;

use bytemuck::Pod;
use litesmith_kernels::elementwise::SumRule;
use litesmith_kernels::float::{self, Clamp};
use litesmith_kernels::quantized::{
    self, Addend, ByteSum, HybridConv2d, HybridDepthwise, HybridOutput, QuantizedSamples,
};

use super::Task;
use super::samples::{Results, Samples};
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
    /// Real numbers, in two or three layers. The bounds are those of the last, the number is that of
    /// the threads.
    Block(float::Block, Clamp, usize),
    /// Bytes.
    Quantized(Form<quantized::Conv2d, quantized::Depthwise>),
    /// Real numbers that are multiplied as bytes.
    Hybrid(Form<HybridConv2d, HybridDepthwise>, Samples),
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
    /// Whether its kernel leaves zeros of the weights out.
    fn is_sparse(&self) -> bool {
        match &self.kernel {
            Kernel::Float(Form::Conv(conv), _) => conv.is_sparse(),
            Kernel::Block(block, ..) => block.is_sparse(),
            Kernel::Quantized(Form::Conv(conv)) => conv.is_sparse(),
            Kernel::Hybrid(Form::Conv(conv), _) => conv.is_sparse(),
            Kernel::Float(Form::Depthwise(_), _)
            | Kernel::Quantized(Form::Depthwise(_))
            | Kernel::Hybrid(Form::Depthwise(_), _) => false,
        }
    }

    /// The step that computes it. Input 0 is the layer's.
    pub(crate) fn task(self) -> Task {
        let sparse = self.is_sparse();
        let PackedLayer { kernel, shape } = self;
        let task = match kernel {
            Kernel::Float(form, _) => Task::new(move |machine, mut io| {
                let (input, output) = (io.inputs.get(0), io.output_as());
                match &form {
                    Form::Conv(conv) => conv.run(machine.pool, input, shape, output),
                    Form::Depthwise(depthwise) => depthwise.run(machine.pool, input, shape, output),
                }
                Ok(())
            }),
            Kernel::Block(block, _, threads) => {
                let bytes = scratch_bytes(&block, shape, threads);
                Task::new(move |machine, io| {
                    let (input, scratch) = (io.inputs.get(0), bytemuck::cast_slice_mut(io.scratch));
                    let output = bytemuck::cast_slice_mut(io.output);
                    block.run(machine.pool, input, shape, None, scratch, output);
                    Ok(())
                })
                .with_scratch(bytes)
            }
            Kernel::Quantized(form) => Task::new(move |machine, io| {
                let input = io.inputs.bytes(0);
                match &form {
                    Form::Conv(conv) => conv.run(machine.pool, input, shape, io.output),
                    Form::Depthwise(depthwise) => depthwise.run(machine.pool, input, shape, io.output),
                }
                Ok(())
            }),
            Kernel::Hybrid(Form::Conv(conv), samples) if samples.pixels.is_some() => {
                let task = Task::new(move |machine, io| {
                    samples.fill(machine, io.inputs.get(0), &[], io.scratch);
                    let values = bytemuck::cast_slice_mut(io.output);
                    let output = HybridOutput::Floats { values, ranges: None };
                    conv.apply(machine.pool, samples.quantized(io.scratch), shape, output);
                    Ok(())
                });
                task.with_scratch(samples.block_bytes())
            }
            Kernel::Hybrid(form, samples) => Task::new(move |machine, io| {
                let (pool, input) = (machine.pool, io.inputs.get(0));
                let output = bytemuck::cast_slice_mut(io.output);
                match &form {
                    Form::Conv(conv) => conv.run(pool, input, shape, io.scratch, output),
                    Form::Depthwise(depthwise) => depthwise.run(pool, input, shape, io.scratch, output),
                }
                Ok(())
            })
            .with_scratch(samples.elements),
        };
        task.sparse(sparse)
    }

    /// The samples that it reads, if it is a layer of dynamic range and there are any.
    pub(crate) fn samples(&self) -> Option<Samples> {
        match &self.kernel {
            Kernel::Hybrid(_, samples) => Some(*samples).filter(|samples| samples.elements > 0),
            Kernel::Float(..) | Kernel::Block(..) | Kernel::Quantized(_) => None,
        }
    }

    /// Whether it is a layer of dynamic range that gives quantized results faster than numbers.
    pub(crate) fn prefers_bytes(&self) -> bool {
        match &self.kernel {
            Kernel::Hybrid(Form::Conv(conv), _) => conv.prefers_bytes(self.shape),
            Kernel::Hybrid(Form::Depthwise(depthwise), _) => depthwise.prefers_bytes(self.shape),
            Kernel::Float(..) | Kernel::Block(..) | Kernel::Quantized(_) => false,
        }
    }

    /// The step that computes it. Input 0 is the layer's, quantized where the layer reads samples;
    /// only such a layer can give other results than numbers.
    pub(crate) fn task_for(self, results: Results) -> Task {
        let (sparse, shape) = (self.is_sparse(), self.shape);
        match self.kernel {
            Kernel::Hybrid(form, samples) if samples.elements > 0 => Task::new(move |machine, io| {
                let input = samples.quantized(io.inputs.bytes(0));
                let output = match results {
                    Results::Numbers => {
                        HybridOutput::Floats { values: bytemuck::cast_slice_mut(io.output), ranges: None }
                    }
                    Results::WithRanges(own) => {
                        let (values, ranges) = own.split(io.output, size_of::<f32>());
                        let values = bytemuck::cast_slice_mut(values);
                        HybridOutput::Floats { values, ranges: Some(ranges) }
                    }
                    Results::Quantized(own) => {
                        let (values, ranges) = own.split(io.output, 1);
                        HybridOutput::Bytes { values, ranges }
                    }
                };
                match &form {
                    Form::Conv(conv) => conv.apply(machine.pool, input, shape, output),
                    Form::Depthwise(depthwise) => depthwise.apply(machine.pool, input, shape, output),
                }
                Ok(())
            })
            .sparse(sparse),
            kernel => PackedLayer { kernel, shape }.task(),
        }
    }

    /// This layer behind another that it alone reads, as one layer over the first's input, if that is
    /// faster on this many threads.
    pub(crate) fn after(&self, first: &PackedLayer, threads: usize) -> Option<PackedLayer> {
        let (block, clamp) = match (&first.kernel, &self.kernel) {
            (Kernel::Float(Form::Conv(expand), _), Kernel::Float(Form::Depthwise(depthwise), clamp)) => {
                (float::Block::new(expand, depthwise)?, *clamp)
            }
            (Kernel::Block(block, ..), Kernel::Float(Form::Conv(project), clamp)) => {
                (block.with_projection(project)?, *clamp)
            }
            _ => return None,
        };
        let shape = first.shape;
        block
            .pays(shape, threads)
            .then_some(PackedLayer { kernel: Kernel::Block(block, clamp, threads), shape })
    }

    /// The step that computes it with an addition. Input 0 is what is added, input 1 the layer's,
    /// quantized where it reads samples; such a layer can give the ranges of the sums too.
    ///
    /// # Errors
    /// The layer itself, if its kernel cannot do that.
    pub(crate) fn with_addition(
        self,
        addition: Addition,
        ranges: Option<Samples>,
    ) -> Result<Task, PackedLayer> {
        let sparse = self.is_sparse();
        let PackedLayer { kernel, shape } = self;
        let task = match (kernel, addition) {
            // Not in place: what is added is as a rule the input too, and that is still read.
            (Kernel::Block(block, Clamp::NONE, threads), Addition::Float(clamp)) if block.projects() => {
                let bytes = scratch_bytes(&block, shape, threads);
                let task = Task::new(move |machine, io| {
                    let (addend, input) = (io.inputs.get(0), io.inputs.get(1));
                    let scratch = bytemuck::cast_slice_mut(io.scratch);
                    let output = bytemuck::cast_slice_mut(io.output);
                    block.run(machine.pool, input, shape, Some((addend, clamp)), scratch, output);
                    Ok(())
                });
                return Ok(task.with_scratch(bytes).sparse(sparse));
            }
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
            (Kernel::Hybrid(Form::Conv(conv), samples), Addition::Float(sum)) if samples.elements > 0 => {
                Task::new(move |machine, io| {
                    let (addend, input) = (Addend { tensor: addend(&io), sum }, io.inputs.bytes(1));
                    let input: QuantizedSamples<'_> = samples.quantized(input);
                    let (output, ranges) = match ranges {
                        Some(own) => {
                            let (values, ranges) = own.split(io.output, size_of::<f32>());
                            (values, Some(ranges))
                        }
                        None => (io.output, None),
                    };
                    let output = bytemuck::cast_slice_mut(output);
                    conv.apply_add(machine.pool, input, shape, addend, output, ranges);
                    Ok(())
                })
            }
            (kernel, _) => return Err(PackedLayer { kernel, shape }),
        };
        Ok(task.in_place().sparse(sparse))
    }
}

/// Bytes of scratch memory that a block takes.
fn scratch_bytes(block: &float::Block, shape: [usize; 3], threads: usize) -> usize {
    block.scratch(shape, threads).saturating_mul(size_of::<f32>())
}

/// What is added, if the output does not hold it.
fn addend<'a, T: Pod>(io: &Io<'a>) -> Option<&'a [T]> {
    (!io.in_place).then(|| io.inputs.get(0))
}
