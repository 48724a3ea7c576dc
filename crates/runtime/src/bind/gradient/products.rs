//! Layers whose weights change from step to step: forward, and their gradients.

use std::sync::{Arc, Mutex};

use litesmith_graph::ops::{Activation, Gradient};
use litesmith_graph::{DType, Op};
use litesmith_kernels::float::Depthwise;
use litesmith_kernels::gradient::convolution::{
    Forward, InputGradient, Scratch, WeightsGradient, bias_gradient,
};
use litesmith_kernels::gradient::depthwise;
use litesmith_kernels::reference::convolution::ConvShape;
use litesmith_kernels::reference::gradient as plain;

use super::super::convolution::{Kind, Layer, clamp, conv_layer, dense_layer, depthwise_layer};
use super::super::{Bound, Site, Task};
use super::Places;
use super::normalize::{output_sizes, outputs};
use crate::error::{Refusal, refuse};
use crate::plan::lock;

/// Memory that the layers of a plan use one after the other.
pub(crate) type Shared = Arc<Mutex<Scratch>>;

/// A float layer, forward.
pub(in super::super) fn forward(site: &Site<'_>, layer: Layer, has_bias: bool) -> Bound {
    let (isa, shape) = (site.isa, layer.shape);
    let Layer { window, in_channels, out_channels, activation, kind, .. } = layer;
    match kind {
        Kind::Conv { groups } if activation == Activation::None => {
            let channels = [in_channels, out_channels];
            let kernel = Mutex::new(Forward::new(isa, window, groups, channels, shape));
            let scratch = Arc::clone(site.scratch);
            Task::new(move |machine, mut io| {
                let (input, weights) = (io.inputs.get(0), io.inputs.get(1));
                let bias = has_bias.then(|| io.inputs.get::<f32>(2));
                let (kernel, scratch) = (&mut *lock(&kernel), &mut *lock(&scratch));
                kernel.run(machine.pool, input, weights, bias, scratch, io.output_as());
                Ok(())
            })
            .into()
        }
        Kind::Conv { groups } => Task::new(move |machine, mut io| {
            let (input, weights) = (io.inputs.get(0), io.inputs.get(1));
            let bias = has_bias.then(|| io.inputs.get::<f32>(2));
            let conv = litesmith_kernels::float::Conv2d::new(
                machine.isa,
                window,
                groups,
                in_channels,
                out_channels,
                weights,
                bias,
                clamp(activation),
            );
            conv.run(machine.pool, input, shape, io.output_as());
            Ok(())
        })
        .into(),
        Kind::Depthwise { multiplier } => {
            let kernel: Mutex<Option<Depthwise>> = Mutex::new(None);
            Task::new(move |machine, mut io| {
                let (input, weights) = (io.inputs.get(0), io.inputs.get(1));
                let bias = has_bias.then(|| io.inputs.get::<f32>(2));
                let mut kernel = lock(&kernel);
                match &mut *kernel {
                    Some(kernel) => kernel.repack(machine.pool, weights, bias),
                    none => {
                        let clamp = clamp(activation);
                        let (isa, inputs) = (machine.isa, in_channels);
                        *none = Some(Depthwise::new(isa, window, inputs, multiplier, weights, bias, clamp));
                    }
                }
                if let Some(kernel) = &*kernel {
                    kernel.run(machine.pool, input, shape, io.output_as());
                }
                Ok(())
            })
            .into()
        }
    }
}

/// A gradient with respect to the image, or to weights and bias.
pub(super) fn layer(site: &Site<'_>, op: &Gradient, places: Places) -> Result<Bound, Refusal> {
    let (image, weights, received) = (site.input(0)?, site.input(1)?, site.input(places.dy)?);
    let layer = match &*op.of {
        Op::Conv2D(of) => conv_layer(image, weights, of)?,
        Op::DepthwiseConv2D(of) => depthwise_layer(image, weights, of)?,
        Op::FullyConnected(of) => dense_layer(image, weights, of)?,
        of => refuse!("{} is no layer with weights", of.name()),
    };
    let [batch, height, width] = layer.shape;
    let output = layer.window.output([height, width]);
    let fits = received.elements == batch * output[0] * output[1] * layer.out_channels;
    if !fits || layer.activation != Activation::None || layer.in_channels == 0 || layer.out_channels == 0 {
        refuse!("its operands do not fit");
    }
    let sizes = output_sizes(site)?;
    match (&op.inputs[..], received.dtype) {
        ([0], DType::F32) => Ok(input_gradient(site, &layer, places)),
        ([1] | [1, 2], DType::F32) => Ok(weights_gradient(site, &layer, places, sizes)),
        (wanted @ ([0] | [1] | [1, 2]), DType::F64) => Ok(double(wanted, &layer, places, sizes)),
        (wanted, dtype) => refuse!("there is no kernel of the gradient by {wanted:?} for {dtype}"),
    }
}

fn input_gradient(site: &Site<'_>, layer: &Layer, places: Places) -> Bound {
    let Layer { window, in_channels, out_channels, shape, .. } = *layer;
    match layer.kind {
        Kind::Conv { groups } => {
            let channels = [in_channels, out_channels];
            let kernel = Mutex::new(InputGradient::new(site.isa, window, groups, channels, shape));
            let scratch = Arc::clone(site.scratch);
            Task::new(move |machine, mut io| {
                let (weights, dy) = (io.inputs.get(1), io.inputs.get(places.dy));
                let (kernel, scratch) = (&mut *lock(&kernel), &mut *lock(&scratch));
                kernel.run(machine.pool, weights, dy, scratch, io.output_as());
                Ok(())
            })
            .named("input gradient")
            .into()
        }
        Kind::Depthwise { multiplier } => {
            let kernel: Mutex<Option<depthwise::InputGradient>> = Mutex::new(None);
            Task::new(move |machine, mut io| {
                let (weights, dy) = (io.inputs.get(1), io.inputs.get(places.dy));
                let mut kernel = lock(&kernel);
                match &mut *kernel {
                    Some(kernel) => kernel.repack(machine.pool, weights),
                    none => {
                        let made = depthwise::InputGradient::new(
                            machine.isa,
                            window,
                            in_channels,
                            multiplier,
                            weights,
                        );
                        *none = Some(made);
                    }
                }
                if let Some(kernel) = &*kernel {
                    kernel.run(machine.pool, shape, dy, io.output_as());
                }
                Ok(())
            })
            .named("input gradient")
            .into()
        }
    }
}

fn weights_gradient(site: &Site<'_>, layer: &Layer, places: Places, sizes: Vec<usize>) -> Bound {
    let Layer { window, in_channels, out_channels, shape, .. } = *layer;
    let scratch = Arc::clone(site.scratch);
    let work = match layer.kind {
        Kind::Conv { groups } => {
            let channels = [in_channels, out_channels];
            let kernel = WeightsGradient::new(site.isa, window, groups, channels, shape);
            Task::new(move |machine, io| {
                let (x, dy) = (io.inputs.get(0), io.inputs.get(places.dy));
                let mut outputs = outputs::<f32>(io.output, &sizes).into_iter();
                let (gradient, bias) = (outputs.next().unwrap_or_default(), outputs.next());
                kernel.run(machine.pool, x, dy, &mut lock(&scratch), gradient, bias);
                Ok(())
            })
        }
        Kind::Depthwise { multiplier } => Task::new(move |machine, io| {
            let (x, dy) = (io.inputs.get(0), io.inputs.get::<f32>(places.dy));
            let mut outputs = outputs::<f32>(io.output, &sizes).into_iter();
            let (gradient, bias) = (outputs.next().unwrap_or_default(), outputs.next());
            let (isa, pool) = (machine.isa, machine.pool);
            depthwise::weights(isa, pool, &window, shape, in_channels, multiplier, x, dy, gradient);
            if let Some(bias) = bias {
                bias_gradient(isa, pool, dy, &mut lock(&scratch), bias);
            }
            Ok(())
        }),
    };
    work.for_all_outputs().named("weights gradient").into()
}

/// Plain loops.
fn double(wanted: &[usize], layer: &Layer, places: Places, sizes: Vec<usize>) -> Bound {
    let Layer { window, in_channels, out_channels, shape, kind, .. } = *layer;
    let groups = if let Kind::Conv { groups } = kind { groups } else { in_channels };
    let shape = ConvShape { input: shape, window, groups, in_channels, out_channels };
    let by_input = wanted == [0];
    Task::new(move |_, io| {
        let (x, weights) = (io.inputs.get::<f64>(0), io.inputs.get::<f64>(1));
        let dy = io.inputs.get::<f64>(places.dy);
        let mut outputs = outputs::<f64>(io.output, &sizes).into_iter();
        let Some(gradient) = outputs.next() else { return Ok(()) };
        gradient.copy_from_slice(&match (kind, by_input) {
            (Kind::Conv { .. }, true) => plain::convolution::input_gradient(&shape, weights, dy),
            (Kind::Conv { .. }, false) => plain::convolution::weights_gradient(&shape, x, dy),
            (Kind::Depthwise { .. }, true) => plain::depthwise::input(&shape, weights, dy),
            (Kind::Depthwise { .. }, false) => plain::depthwise::weights(&shape, x, dy),
        });
        if let Some(bias) = outputs.next() {
            bias.fill(0.0);
            for row in dy.chunks_exact(out_channels) {
                bias.iter_mut().zip(row).for_each(|(sum, dy)| *sum += dy);
            }
        }
        Ok(())
    })
    .for_all_outputs()
    .into()
}
