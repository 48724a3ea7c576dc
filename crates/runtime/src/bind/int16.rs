//! Operators on 16-bit activations: symmetric, stored in the plan as the model has them.

use std::borrow::Cow;

use litesmith_graph::ops::{Activation, Pool2D, PoolKind, ReduceKind};
use litesmith_graph::{DType, Op};
use litesmith_kernels::elementwise::{Binary, Broadcast, Unary};
use litesmith_kernels::float::MatMul;
use litesmith_kernels::int16::{
    self, Conv2d, Depthwise, Function, Pair, Requantize, Rescale, Rule, Softmax, Sums,
};
use litesmith_kernels::reduce::{self, Reduction};
use litesmith_kernels::resize::Resize;
use litesmith_kernels::{Window, pooling};

use super::convolution::{Kind, Layer, symmetric_weights};
use super::{Bound, Operand, Site, Task};
use crate::error::{Refusal, refuse};

/// The words that a fused activation leaves of an output of this scale: TFLite's bounds, which are
/// rounded half away from zero.
fn bounds(activation: Activation, scale: f32) -> [i16; 2] {
    let (low, high) = activation.bounds();
    // A cast saturates.
    [low, high].map(|bound| (bound / scale).round() as i16)
}

/// A kernel with its weights packed.
enum Packed {
    Conv(Conv2d),
    Depthwise(Depthwise),
}

/// Where the operands of a layer stand among its inputs.
pub(super) struct Places {
    pub(super) image: usize,
    pub(super) weights: usize,
    pub(super) bias: usize,
}

/// What a layer is packed from, besides its geometry.
pub(super) struct Weighted<'a> {
    pub(super) weights: Cow<'a, [i8]>,
    pub(super) bias: Option<Vec<i64>>,
    pub(super) requantize: Requantize,
}

/// The operands of a layer that multiplies by 8-bit weights. Its operator and the type of its bias
/// say how it rounds.
pub(super) fn weighted<'a>(
    site: &'a Site<'_>,
    layer: &Layer,
    places: &Places,
) -> Result<Weighted<'a>, Refusal> {
    let (input, output) = (site.input(places.image)?.word_scale()?, site.output()?.word_scale()?);
    let (weights, scales) = symmetric_weights(site.input(places.weights)?, layer)?;
    let dense = matches!(site.node.op, Op::FullyConnected(_));
    let wide = if dense { Rule::Real } else { Rule::Reduced };
    let (bias, rule) = match site.optional(places.bias) {
        None => (None, wide),
        Some(bias) => match (bias.dtype, bias.data) {
            (DType::I64, Some(data)) => (Some(data.elements::<i64>().into_owned()), wide),
            (DType::I32, Some(data)) => {
                let bias: Vec<i64> = data.elements::<i32>().iter().map(|bias| i64::from(*bias)).collect();
                (Some(bias), Rule::Doubling)
            }
            (DType::I32 | DType::I64, None) => refuse!("the bias of a quantized layer must be constant"),
            (dtype, _) => refuse!("the bias of a layer of int16 must be int64 or int32, not {dtype}"),
        },
    };
    let scale =
        scales.iter().map(|scale| scale_of([input, *scale], output)).collect::<Result<Vec<_>, _>>()?;
    let [min, max] = bounds(layer.activation, output);
    Ok(Weighted { weights, bias, requantize: Requantize { scale, rule, min, max } })
}

/// A convolution or a dense layer.
pub(super) fn layer(site: &Site<'_>, layer: &Layer) -> Result<Bound, Refusal> {
    let places = Places { image: 0, weights: 1, bias: 2 };
    let Weighted { weights, bias, requantize } = weighted(site, layer, &places)?;
    let &Layer { shape, window, in_channels, out_channels, kind, .. } = layer;
    let bias = bias.as_deref();
    let kernel = site.pack(window, || match kind {
        Kind::Conv { groups } => Packed::Conv(Conv2d::new(
            site.isa,
            window,
            groups,
            in_channels,
            out_channels,
            &weights,
            bias,
            &requantize,
        )),
        Kind::Depthwise { multiplier } => Packed::Depthwise(Depthwise::new(
            site.isa,
            window,
            in_channels,
            multiplier,
            &weights,
            bias,
            &requantize,
        )),
    });
    Ok(Task::new(move |machine, mut io| {
        let (input, output) = (io.inputs.get::<i16>(0), io.output_as());
        match &*kernel {
            Packed::Conv(conv) => conv.run(machine.pool, input, shape, output),
            Packed::Depthwise(depthwise) => depthwise.run(machine.pool, input, shape, output),
        }
        Ok(())
    })
    .into())
}

/// What a sum of products of numbers of two scales is multiplied by.
fn scale_of(factors: [f32; 2], output: f32) -> Result<f64, Refusal> {
    let scale = f64::from(factors[0]) * f64::from(factors[1]) / f64::from(output);
    if !(0.0..Requantize::SCALES).contains(&scale) {
        refuse!("the scales {} and {} do not fit the output's {output}", factors[0], factors[1]);
    }
    Ok(scale)
}

/// The product of two tensors of activations; `batches` are their leading dimensions.
pub(super) fn batch_matmul(
    site: &Site<'_>,
    matrices: MatMul,
    [a_batch, b_batch]: [Vec<usize>; 2],
) -> Result<Bound, Refusal> {
    /// Longest rows whose products can be summed.
    const DEEPEST: usize = 1 << 22;
    if matrices.depth > DEEPEST {
        refuse!("a product over {} elements is not supported", matrices.depth);
    }
    let scales = [site.input(0)?.word_scale()?, site.input(1)?.word_scale()?];
    let scale = scale_of(scales, site.output()?.word_scale()?)?;
    let requantize = Requantize { scale: vec![scale], rule: Rule::Reduced, min: i16::MIN, max: i16::MAX };
    Ok(Task::new(move |machine, mut io| {
        let a = int16::Matrices { data: io.inputs.get(0), batch: &a_batch };
        let b = int16::Matrices { data: io.inputs.get(1), batch: &b_batch };
        int16::matmul(machine.isa, machine.pool, matrices, a, b, &requantize, io.output_as());
        Ok(())
    })
    .into())
}

/// Between integers, one side of which has 16 bits.
pub(super) fn rescale(input: &Operand<'_>, output: &Operand<'_>) -> Result<Bound, Refusal> {
    let parameters = |operand: &Operand<'_>| -> Result<(f32, i32), Refusal> {
        Ok(match operand.dtype {
            DType::I16 => (operand.word_scale()?, 0),
            _ => operand.affine().map(|affine| (affine.scale, affine.zero_point.into()))?,
        })
    };
    let ((from, from_zero), (to, to_zero)) = (parameters(input)?, parameters(output)?);
    check_ratio(from, to)?;
    let rescale = Rescale::new([from, to], [from_zero, to_zero]);
    let task = match (input.dtype, output.dtype) {
        (DType::I16, DType::I16) if rescale.is_identity() => return Ok(Bound::Alias(0)),
        (DType::I16, DType::I16) => Task::new(move |machine, mut io| {
            rescale.apply::<i16, i16>(machine.isa, machine.pool, io.inputs.get(0), io.output_as());
            Ok(())
        }),
        (DType::I16, _) => Task::new(move |machine, io| {
            rescale.apply::<i16, u8>(machine.isa, machine.pool, io.inputs.get(0), io.output);
            Ok(())
        }),
        _ => Task::new(move |machine, mut io| {
            rescale.apply::<u8, i16>(machine.isa, machine.pool, io.inputs.bytes(0), io.output_as());
            Ok(())
        }),
    };
    Ok(task.into())
}

/// Refuses scales whose quotient is not finite.
fn check_ratio(from: f32, to: f32) -> Result<(), Refusal> {
    if !(from / to).is_finite() {
        refuse!("scale {from} does not fit the output's {to}");
    }
    Ok(())
}

pub(super) fn quantize(output: &Operand<'_>) -> Result<Bound, Refusal> {
    let scale = output.word_scale()?;
    Ok(Task::new(move |machine, mut io| {
        int16::quantize(machine.isa, machine.pool, io.inputs.get(0), scale, io.output_as());
        Ok(())
    })
    .into())
}

/// A function of two operands.
pub(super) fn pair(site: &Site<'_>, kernel: Binary, activation: Activation) -> Result<Bound, Refusal> {
    let (a, b, output) = (site.input(0)?, site.input(1)?, site.output()?);
    let scales = [a.word_scale()?, b.word_scale()?];
    let scale = output.word_scale()?;
    let same = scales == [scale; 2];
    if matches!(kernel, Binary::Maximum | Binary::Minimum) && !same {
        refuse!("its operands and its output are quantized in different ways");
    }
    if !(scales[0].max(scales[1]) / scale).is_finite() || !(scales[0] * scales[1] / scale).is_finite() {
        refuse!("the scales of operands and output do not fit each other");
    }
    let clamp = bounds(activation, scale);
    let Some(pair) = Pair::new(kernel, scales, scale, clamp, a.shape == b.shape) else {
        refuse!("there is no kernel of this function for int16");
    };
    let plan = Broadcast::new([&a.shape, &b.shape]).map_err(|error| Refusal(error.to_string()))?;
    Ok(Task::new(move |machine, mut io| {
        let operands = [io.inputs.get::<i16>(0), io.inputs.get::<i16>(1)];
        pair.apply(machine.isa, machine.pool, &plan, operands, io.output_as());
        Ok(())
    })
    .into())
}

/// The scale of the results of LOGISTIC, TANH and SOFTMAX.
const UNIT: f32 = 1.0 / 32_768.0;

fn check_unit(output: f32) -> Result<(), Refusal> {
    if output != UNIT {
        refuse!("its output must have scale 1/32768 where it is int16, not {output}");
    }
    Ok(())
}

/// A function of one operand.
pub(super) fn function(site: &Site<'_>, kernel: Option<Unary>) -> Result<Bound, Refusal> {
    let (input, output) = (site.input(0)?.word_scale()?, site.output()?.word_scale()?);
    check_ratio(input, output)?;
    if matches!(kernel, Some(Unary::Logistic | Unary::Tanh)) {
        check_unit(output)?;
    }
    let Some(function) = kernel.and_then(|kernel| Function::new(kernel, input, output)) else {
        refuse!("there is no kernel of this function for int16");
    };
    Ok(Task::new(move |machine, mut io| {
        function.apply(machine.isa, machine.pool, io.inputs.get(0), io.output_as());
        Ok(())
    })
    .into())
}

/// Pooling; input and output have been checked to have one scale.
pub(super) fn pool_2d(
    site: &Site<'_>,
    op: &Pool2D,
    window: Window,
    shape: [usize; 4],
) -> Result<Bound, Refusal> {
    let clamp = bounds(op.activation, site.output()?.word_scale()?);
    let largest = op.kind == PoolKind::Max;
    Ok(Task::new(move |machine, mut io| {
        let (input, output) = (io.inputs.get::<i16>(0), io.output_as());
        if largest {
            pooling::max_pool(machine.isa, machine.pool, &window, shape, input, clamp, output);
        } else {
            int16::average_pool(machine.isa, machine.pool, &window, shape, input, clamp, output);
        }
        Ok(())
    })
    .into())
}

pub(super) fn resize_bilinear(resize: Resize) -> Bound {
    Task::new(move |machine, mut io| {
        int16::resize_bilinear(machine.isa, machine.pool, &resize, io.inputs.get(0), io.output_as());
        Ok(())
    })
    .into()
}

pub(super) fn reduce(site: &Site<'_>, kind: ReduceKind, plan: Reduction) -> Result<Bound, Refusal> {
    let (input, output) = (site.input(0)?.word_scale()?, site.output()?.word_scale()?);
    check_ratio(input, output)?;
    let sum = match kind {
        ReduceKind::Max | ReduceKind::Min => {
            site.same_parameters()?;
            let largest = kind == ReduceKind::Max;
            return Ok(Task::new(move |machine, mut io| {
                let input = io.inputs.get::<i16>(0);
                reduce::reduce_extreme(machine.isa, machine.pool, largest, &plan, input, io.output_as());
                Ok(())
            })
            .into());
        }
        ReduceKind::Prod => {
            let scales = [input, output];
            return Ok(Task::new(move |machine, mut io| {
                let input = io.inputs.get::<i16>(0);
                int16::reduce_product(machine.pool, &plan, scales, input, io.output_as());
                Ok(())
            })
            .into());
        }
        ReduceKind::Mean => Sums::mean(&plan, input, output),
        ReduceKind::Sum => Sums::sum(input, output),
    };
    Ok(Task::new(move |machine, mut io| {
        sum.apply(machine.isa, machine.pool, &plan, io.inputs.get(0), io.output_as());
        Ok(())
    })
    .into())
}

/// Softmax of rows of `len` elements.
pub(super) fn softmax(site: &Site<'_>, beta: f32, len: usize) -> Result<Bound, Refusal> {
    let (input, output) = (site.input(0)?.word_scale()?, site.output()?.word_scale()?);
    check_unit(output)?;
    if len > Softmax::LONGEST {
        refuse!("softmax over more than {} elements of int16 is not supported", Softmax::LONGEST);
    }
    if !(input * beta).is_finite() {
        refuse!("scale {input} with beta {beta} cannot be used");
    }
    let softmax = Softmax::new(input, beta);
    Ok(Task::new(move |machine, mut io| {
        softmax.apply(machine.isa, machine.pool, len, io.inputs.get(0), io.output_as());
        Ok(())
    })
    .into())
}
