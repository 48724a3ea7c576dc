//! Steps of layers between batch normalizations, which compute normalized tensors and their gradients where
//! they are read.

use std::sync::Mutex;

use litesmith_graph::ops::{Activation, FakeQuantTraining};
use litesmith_graph::{DType, Op};
use litesmith_kernels::fake_quantize::Grid;
use litesmith_kernels::gradient::batch_norm::{self, BatchNorm};
use litesmith_kernels::gradient::fake_quantize as simulated;
use litesmith_kernels::gradient::normalized::{
    DepthwiseBackward, DepthwiseForward, Gathered, LayerGradients, Normalized, PointBackward, PointForward,
    Received, Source, Through, gather,
};
use litesmith_kernels::{Isa, Window};

use super::super::convolution::{Kind, conv_layer, depthwise_layer};
use super::super::{Site, Task};
use super::SharedScratch;
use super::normalize::{bounds, given, outputs};
use super::simulate::{averaged, bits, read_ranges, write_ranges};
use crate::plan::{Inputs, lock};

/// How a tensor is normalized, and rounded where integers are simulated. Its operands are
/// [`OPERANDS`] in a row: input, gamma, beta, mean, variance, and the range that it is rounded by.
#[derive(Clone)]
pub(crate) struct NormRule {
    pub(crate) epsilon: f32,
    pub(crate) activation: Activation,
    pub(crate) rounding: Option<FakeQuantTraining>,
}

/// Operands of a normalized tensor.
pub(crate) const OPERANDS: usize = 6;

impl NormRule {
    fn here<'a>(&self, isa: Isa, inputs: Inputs<'a>, first: usize) -> Normalized<'a> {
        let operand = |index: usize| inputs.get::<f32>(first + index);
        let parameters = BatchNorm {
            mean: operand(3),
            variance: operand(4),
            epsilon: self.epsilon,
            gamma: given(operand(1)),
            beta: given(operand(2)),
            bounds: bounds(self.activation),
        };
        let grid = self.rounding.as_ref().map(|op| grid(op, operand(5)));
        Normalized::new(isa, &parameters, operand(0), grid.as_ref())
    }

    fn unrounded(&self) -> NormRule {
        NormRule { rounding: None, ..self.clone() }
    }
}

fn grid(op: &FakeQuantTraining, range: &[f32]) -> Grid<f32> {
    simulated::grid(&read_ranges(range, 1), bits(op), 1)
}

/// A layer that has kernels of its own between normalizations.
#[derive(Clone, Copy)]
pub(crate) struct BetweenLayer {
    kind: LayerKind,
    channels: [usize; 2],
    /// Batch, height and width of the input.
    shape: [usize; 3],
    isa: Isa,
}

#[derive(Clone, Copy)]
enum LayerKind {
    Point,
    Depthwise(Window),
}

impl BetweenLayer {
    /// What a node is, if it is such a layer, with weights that change.
    pub(crate) fn of(site: &Site<'_>) -> Option<BetweenLayer> {
        let (image, weights) = (site.optional(0)?, site.optional(1)?);
        if weights.data.is_some() || [image, weights].iter().any(|operand| operand.dtype != DType::F32) {
            return None;
        }
        let layer = match &site.node.op {
            Op::Conv2D(op) => conv_layer(image, weights, op).ok()?,
            Op::DepthwiseConv2D(op) => depthwise_layer(image, weights, op).ok()?,
            _ => return None,
        };
        let kind = match layer.kind {
            Kind::Conv { groups: 1 } if layer.window == Window::POINT => LayerKind::Point,
            Kind::Depthwise { multiplier: 1 } => LayerKind::Depthwise(layer.window),
            _ => return None,
        };
        let own = BetweenLayer {
            kind,
            channels: [layer.in_channels, layer.out_channels],
            shape: layer.shape,
            isa: site.isa,
        };
        let plain = layer.activation.is_none() && image.elements > 0 && layer.out_channels > 0;
        (plain && own.pays()).then_some(own)
    }

    fn pixels(&self) -> usize {
        self.shape.iter().product()
    }

    fn pays(&self) -> bool {
        match self.kind {
            LayerKind::Point => PointBackward::pays(self.channels, self.pixels()),
            LayerKind::Depthwise(window) => {
                DepthwiseForward::new(self.isa, window, self.shape, self.channels[0]).is_some()
                    && DepthwiseBackward::new(self.isa, window, self.shape, self.channels[0]).is_some()
            }
        }
    }

    /// Whether its gradients include that of a bias.
    pub(crate) fn learns_bias(&self) -> bool {
        matches!(self.kind, LayerKind::Point)
    }
}

/// The operands of a source: a normalized tensor, or a plain one in the first place.
fn source<'a>(rule: Option<&NormRule>, isa: Isa, inputs: Inputs<'a>) -> Source<'a> {
    match rule {
        Some(rule) => Source::Normalized(rule.here(isa, inputs, 0)),
        None => Source::Plain(inputs.get(0)),
    }
}

/// A layer and the statistics of its output. Inputs: the source, weights, bias. Beside the output: mean,
/// variance and, if they are asked for, the extremes of each channel.
pub(crate) fn forward(
    layer: BetweenLayer,
    rule: Option<NormRule>,
    scratch: SharedScratch,
    sizes: Vec<usize>,
) -> Task {
    enum Kernel {
        Point(PointForward),
        Depthwise(DepthwiseForward),
    }
    let kernel = match layer.kind {
        LayerKind::Point => Some(Kernel::Point(PointForward::new(layer.isa, layer.channels, layer.pixels()))),
        LayerKind::Depthwise(window) => {
            DepthwiseForward::new(layer.isa, window, layer.shape, layer.channels[0]).map(Kernel::Depthwise)
        }
    };
    let kernel = Mutex::new(kernel);
    Task::new(move |machine, io| {
        let source = source(rule.as_ref(), machine.isa, io.inputs);
        let weights = io.inputs.get(OPERANDS);
        let bias = given(io.inputs.get::<f32>(OPERANDS + 1));
        let mut beside = outputs::<f32>(io.scratch, &sizes).into_iter();
        let (Some(mean), Some(variance)) = (beside.next(), beside.next()) else { return Ok(()) };
        let gathered = Gathered { mean, variance, extremes: beside.next() };
        let output = bytemuck::cast_slice_mut(io.output);
        match &mut *lock(&kernel) {
            Some(Kernel::Point(kernel)) => {
                let scratch = &mut lock(&scratch);
                kernel.run(machine.pool, &source, weights, bias, scratch, output, gathered);
            }
            Some(Kernel::Depthwise(kernel)) => {
                kernel.run(machine.pool, &source, weights, bias, output, gathered);
            }
            None => {}
        }
        Ok(())
    })
}

/// The statistics of the first input: beside nothing, mean, variance and, if they are asked for, the extremes
/// of each channel.
pub(crate) fn statistics(sizes: Vec<usize>) -> Task {
    Task::new(move |machine, io| {
        let mut beside = outputs::<f32>(io.scratch, &sizes).into_iter();
        let (Some(mean), Some(variance)) = (beside.next(), beside.next()) else { return Ok(()) };
        let gathered = Gathered { mean, variance, extremes: beside.next() };
        gather(machine.isa, machine.pool, io.inputs.get(0), gathered);
        Ok(())
    })
    .named("batch statistics")
}

/// A normalized tensor that has to be somewhere. It is not rounded.
pub(crate) fn normalize(rule: &NormRule) -> Task {
    let rule = rule.unrounded();
    Task::new(move |machine, mut io| {
        let operand = |index: usize| io.inputs.get::<f32>(index);
        let parameters = BatchNorm {
            mean: operand(3),
            variance: operand(4),
            epsilon: rule.epsilon,
            gamma: given(operand(1)),
            beta: given(operand(2)),
            bounds: bounds(rule.activation),
        };
        batch_norm::normalize(machine.isa, machine.pool, &parameters, operand(0), io.output_as());
        Ok(())
    })
}

/// The range that a normalized tensor is rounded by. Inputs: the tensor, its extremes by channel, the range
/// so far.
pub(crate) fn range(rule: &NormRule, op: FakeQuantTraining) -> Task {
    let rule = rule.unrounded();
    Task::new(move |machine, mut io| {
        let own = rule.here(machine.isa, io.inputs, 0).range(io.inputs.get(OPERANDS));
        let range = averaged(&op, vec![own], io.inputs.get(OPERANDS + 1));
        write_ranges(&range, io.output_as());
        Ok(())
    })
}

/// What of a normalization's gradients is asked for beside the sums: gamma's and beta's.
#[derive(Clone, Copy)]
pub(crate) struct Asked {
    pub(crate) gamma: bool,
    pub(crate) beta: bool,
}

impl Asked {
    /// Takes the gradients that are asked for from outputs, and writes them.
    fn write<'a>(
        self,
        normalized: &Normalized<'_>,
        sums: &[f32],
        outputs: &mut impl Iterator<Item = &'a mut [f32]>,
    ) {
        let gamma = if self.gamma { outputs.next() } else { None };
        let beta = if self.beta { outputs.next() } else { None };
        normalized.parameter_gradients(sums, gamma, beta);
    }
}

/// The sums that the gradient of a normalization needs, and the gradients of gamma and beta. Inputs: the
/// normalized tensor, its gradient.
pub(crate) fn sums(rule: NormRule, asked: Asked, sizes: Vec<usize>) -> Task {
    Task::new(move |machine, io| {
        let normalized = rule.here(machine.isa, io.inputs, 0);
        let mut beside = outputs::<f32>(io.scratch, &sizes).into_iter();
        let Some(sums) = beside.next() else { return Ok(()) };
        normalized.sums(machine.pool, io.inputs.get(OPERANDS), sums);
        asked.write(&normalized, sums, &mut beside);
        Ok(())
    })
}

/// The gradient of what is normalized, where it has to be somewhere. Inputs: the normalized tensor, its
/// gradient, the sums.
pub(crate) fn through(rule: NormRule) -> Task {
    Task::new(move |machine, mut io| {
        let (d, sums) = (io.inputs.get(OPERANDS), io.inputs.get(OPERANDS + 1));
        Through::new(rule.here(machine.isa, io.inputs, 0), d, sums).run(machine.pool, io.output_as());
        Ok(())
    })
}

/// What a layer's backward pass computes.
pub(crate) struct Backward {
    pub(crate) layer: BetweenLayer,
    /// What it reads, if it is a normalized tensor.
    pub(crate) source: Option<NormRule>,
    /// What becomes of its output, if its gradient is computed where it is read.
    pub(crate) behind: Option<NormRule>,
    /// Whether the gradient of the input is wanted: the main output.
    pub(crate) input: bool,
    /// Whether that of the bias is.
    pub(crate) bias: bool,
    /// Whether the sums of the normalization before it are, and what else of it.
    pub(crate) sums: Option<Asked>,
}

impl Backward {
    /// Inputs: the source, the normalized output, the gradient of that, its sums (or the gradient of the
    /// output itself in place of that of the normalized one), the weights. Beside the gradient of the input:
    /// those of weights and bias, the sums, the gradients of gamma and beta of the normalization before.
    pub(crate) fn task(self, scratch: SharedScratch, sizes: Vec<usize>) -> Task {
        enum Kernel {
            Point(PointBackward),
            Depthwise(DepthwiseBackward),
        }
        let Backward { layer, source: rule, behind, input, bias, sums } = self;
        let kernel = match layer.kind {
            LayerKind::Point => {
                Some(Kernel::Point(PointBackward::new(layer.isa, layer.channels, layer.pixels())))
            }
            LayerKind::Depthwise(window) => {
                DepthwiseBackward::new(layer.isa, window, layer.shape, layer.channels[0])
                    .map(Kernel::Depthwise)
            }
        };
        let kernel = Mutex::new(kernel);
        Task::new(move |machine, io| {
            let (isa, inputs) = (machine.isa, io.inputs);
            let source = source(rule.as_ref(), isa, inputs);
            let d = inputs.get(2 * OPERANDS);
            let received = match &behind {
                Some(behind) => {
                    let behind = behind.here(isa, inputs, OPERANDS);
                    Received::Normalized(Through::new(behind, d, inputs.get(2 * OPERANDS + 1)))
                }
                None => Received::Plain(d),
            };
            let weights = inputs.get(2 * OPERANDS + 2);
            let mut beside = outputs::<f32>(io.scratch, &sizes).into_iter();
            let of_weights = beside.next();
            let of_bias = if bias { beside.next() } else { None };
            let mut own_sums = if sums.is_some() { beside.next() } else { None };
            let gradients = LayerGradients {
                input: input.then(|| bytemuck::cast_slice_mut(io.output)),
                sums: own_sums.as_deref_mut(),
                weights: of_weights,
                bias: of_bias,
            };
            let memory = &mut lock(&scratch);
            match &mut *lock(&kernel) {
                Some(Kernel::Point(kernel)) => {
                    kernel.run(machine.pool, &source, &received, weights, memory, gradients);
                }
                Some(Kernel::Depthwise(kernel)) => {
                    kernel.run(machine.pool, &source, &received, weights, memory, gradients);
                }
                None => {}
            }
            if let (Some(asked), Some(sums), Source::Normalized(normalized)) = (sums, own_sums, &source) {
                asked.write(normalized, sums, &mut beside);
            }
            Ok(())
        })
        .named("layer gradient")
    }
}
