//! Layers of real numbers, with what one pass over their output does besides.

use std::sync::Arc;

use litesmith_kernels::Isa;
use litesmith_kernels::float::{self, Clamp, Rectifier};

use super::ChannelFunction;
use super::layer::{Form, addend};
use super::{Machine, Task};
use crate::error::Fault;
use crate::plan::Io;

/// One layer, or two or three in one pass, and what follows.
pub(super) struct FloatLayer {
    isa: Isa,
    kernel: Kernel,
    /// The bounds that the last layer's kernel holds its outputs to.
    clamp: Clamp,
    /// Whether a tensor is added, and the bounds of the sum.
    sum: Option<Clamp>,
    /// Slopes of what is below 0 after all that.
    rectifier: Option<Arc<Rectifier>>,
}

enum Kernel {
    One(Form<float::Conv2d, float::Depthwise>),
    /// On this many threads.
    Block(float::Block, usize),
}

impl FloatLayer {
    /// A layer whose kernel holds its outputs to these bounds.
    pub(super) fn new(isa: Isa, form: Form<float::Conv2d, float::Depthwise>, clamp: Clamp) -> FloatLayer {
        FloatLayer { isa, kernel: Kernel::One(form), clamp, sum: None, rectifier: None }
    }

    /// Whether a kernel leaves zeros of the weights out.
    pub(super) fn is_sparse(&self) -> bool {
        match &self.kernel {
            Kernel::One(Form::Conv(conv)) => conv.is_sparse(),
            Kernel::One(Form::Depthwise(_)) => false,
            Kernel::Block(block, _) => block.is_sparse(),
        }
    }

    /// This layer behind another that it alone reads, as one layer over the first's input of `shape`, if that
    /// is faster on this many threads.
    pub(super) fn after(&self, first: &FloatLayer, shape: [usize; 3], threads: usize) -> Option<FloatLayer> {
        let slopes = first.rectifier.as_ref();
        let block = match (&first.kernel, &self.kernel) {
            _ if first.sum.is_some() => return None,
            (Kernel::One(Form::Conv(expand)), Kernel::One(Form::Depthwise(depthwise))) => {
                float::Block::new(expand, slopes, depthwise)?
            }
            (Kernel::Block(block, _), Kernel::One(Form::Conv(project))) => {
                block.with_projection(slopes, project)?
            }
            _ => return None,
        };
        let pays = block.pays(shape, threads);
        let kernel = Kernel::Block(block, threads);
        pays.then_some(FloatLayer { isa: self.isa, kernel, clamp: self.clamp, sum: None, rectifier: None })
    }

    /// The layer with a tensor of its output's shape added, the sum within bounds, if it can do that.
    ///
    /// # Errors
    /// The layer itself.
    pub(super) fn with_sum(self, bounds: Clamp) -> Result<FloatLayer, FloatLayer> {
        let adds = match &self.kernel {
            Kernel::One(Form::Conv(_)) => true,
            Kernel::One(Form::Depthwise(_)) => false,
            Kernel::Block(block, _) => block.projects(),
        };
        // A kernel has one pair of bounds, and what follows it comes last.
        let free = self.clamp == Clamp::NONE && self.sum.is_none() && self.rectifier.is_none();
        if adds && free { Ok(FloatLayer { sum: Some(bounds), ..self }) } else { Err(self) }
    }

    /// The layer with a function behind it, if that is slopes, or bounds behind those.
    ///
    /// # Errors
    /// The layer itself.
    pub(super) fn with_function(self, function: &ChannelFunction) -> Result<FloatLayer, FloatLayer> {
        let mut rectifier = match (&self.rectifier, function) {
            (None, ChannelFunction::Slopes(slopes)) => Rectifier::new(self.isa, slopes),
            (Some(rectifier), ChannelFunction::Maximum(_) | ChannelFunction::Minimum(_)) => {
                Rectifier::clone(rectifier)
            }
            _ => return Err(self),
        };
        let bounds = rectifier.bounds_mut();
        match function {
            ChannelFunction::Slopes(_) => {}
            ChannelFunction::Maximum(number) if *bounds == Clamp::NONE && !number.is_nan() => {
                bounds.min = *number;
            }
            ChannelFunction::Minimum(number) if bounds.max == f32::INFINITY && bounds.min <= *number => {
                bounds.max = *number;
            }
            _ => return Err(self),
        }
        Ok(FloatLayer { rectifier: Some(Arc::new(rectifier)), ..self })
    }

    /// The step that computes it for an input of `shape` = batch, height, width. What is added, if there is
    /// something, is input 0, before the layer's.
    pub(super) fn task(self, shape: [usize; 3]) -> Task {
        let (sparse, sums) = (self.is_sparse(), self.sum.is_some());
        let scratch = match &self.kernel {
            Kernel::One(_) => 0,
            Kernel::Block(block, threads) => block.scratch(shape, *threads).saturating_mul(size_of::<f32>()),
        };
        // A block reads what is added, which is as a rule its input too, while it writes.
        let in_place = sums && matches!(self.kernel, Kernel::One(_));
        let task = Task::new(move |machine, io| self.run(machine, shape, io));
        let task = task.with_scratch(scratch).sparse(sparse);
        if in_place { task.in_place() } else { task }
    }

    fn run(&self, machine: Machine<'_>, shape: [usize; 3], mut io: Io<'_>) -> Result<(), Fault> {
        let (pool, slopes) = (machine.pool, self.rectifier.as_deref());
        let sum = self.sum.map(|bounds| (addend::<f32>(&io), bounds));
        let input = io.inputs.get(usize::from(sum.is_some()));
        match &self.kernel {
            Kernel::One(Form::Conv(conv)) => {
                conv.run_rectified(pool, input, shape, sum, slopes, io.output_as());
            }
            Kernel::One(Form::Depthwise(depthwise)) => {
                depthwise.run_rectified(pool, input, shape, slopes, io.output_as());
            }
            Kernel::Block(block, _) => {
                let scratch = bytemuck::cast_slice_mut(io.scratch);
                let output = bytemuck::cast_slice_mut(io.output);
                let sum = sum.and_then(|(addend, bounds)| Some((addend?, bounds)));
                block.run(pool, input, shape, sum, slopes, scratch, output);
            }
        }
        Ok(())
    }
}
