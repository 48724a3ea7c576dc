//! Layers with packed weights, which can be put off until their output is read: whoever reads it
//! alone may be done in the layer's own loop.

use std::sync::Arc;

use bytemuck::Pod;
use litesmith_kernels::elementwise::SumRule;
use litesmith_kernels::float::Clamp;
use litesmith_kernels::quantized::{
    self, Addend, ByteSum, HybridConv2d, HybridDepthwise, HybridOutput, QuantizedSamples,
};

use super::float_layer::FloatLayer;
use super::samples::{Results, Samples};
use super::{ChannelFunction, Task};
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
    /// Real numbers.
    Float(FloatLayer),
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
            Kernel::Float(layer) => layer.is_sparse(),
            Kernel::Quantized(Form::Conv(conv)) => conv.is_sparse(),
            Kernel::Hybrid(Form::Conv(conv), _) => conv.is_sparse(),
            Kernel::Quantized(Form::Depthwise(_)) | Kernel::Hybrid(Form::Depthwise(_), _) => false,
        }
    }

    /// The step that computes it. Input 0 is the layer's.
    pub(crate) fn task(self) -> Task {
        let sparse = self.is_sparse();
        let PackedLayer { kernel, shape } = self;
        let task = match kernel {
            Kernel::Float(layer) => return layer.task(shape),
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
            Kernel::Float(_) | Kernel::Quantized(_) => None,
        }
    }

    /// Whether it is a layer of dynamic range that gives quantized results faster than numbers.
    pub(crate) fn prefers_bytes(&self) -> bool {
        match &self.kernel {
            Kernel::Hybrid(Form::Conv(conv), _) => conv.prefers_bytes(self.shape),
            Kernel::Hybrid(Form::Depthwise(depthwise), _) => depthwise.prefers_bytes(self.shape),
            Kernel::Float(_) | Kernel::Quantized(_) => false,
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
        let (Kernel::Float(first_layer), Kernel::Float(layer)) = (&first.kernel, &self.kernel) else {
            return None;
        };
        let (layer, shape) = (layer.after(first_layer, first.shape, threads)?, first.shape);
        Some(PackedLayer { kernel: Kernel::Float(layer), shape })
    }

    /// The layer with another tensor of its output's shape added, the sum within bounds. Its step has what is
    /// added as input 0 and its own as input 1.
    ///
    /// # Errors
    /// The layer itself, if it does not compute real numbers or its kernel cannot do that.
    pub(crate) fn with_sum(self, bounds: Clamp) -> Result<PackedLayer, PackedLayer> {
        self.changed(|layer| layer.with_sum(bounds))
    }

    /// The layer with a function of its outputs behind it.
    ///
    /// # Errors
    /// The layer itself, if it does not compute real numbers or cannot do that.
    pub(crate) fn with_function(self, function: &ChannelFunction) -> Result<PackedLayer, PackedLayer> {
        self.changed(|layer| layer.with_function(function))
    }

    /// A layer of real numbers after a change, or itself if it cannot be changed.
    fn changed(
        self,
        change: impl FnOnce(FloatLayer) -> Result<FloatLayer, FloatLayer>,
    ) -> Result<PackedLayer, PackedLayer> {
        let shape = self.shape;
        let layer = |layer| PackedLayer { kernel: Kernel::Float(layer), shape };
        match self.kernel {
            Kernel::Float(own) => change(own).map(layer).map_err(layer),
            kernel => Err(PackedLayer { kernel, shape }),
        }
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

/// What is added, if the output does not hold it.
pub(super) fn addend<'a, T: Pod>(io: &Io<'a>) -> Option<&'a [T]> {
    (!io.in_place).then(|| io.inputs.get(0))
}
