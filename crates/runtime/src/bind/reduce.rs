//! Operators that make one value of many, or look at many for each value: reductions, softmax,
//! normalizations.

use litesmith_graph::DType;
use litesmith_graph::ops::{self, ArgKind, ReduceKind};
use litesmith_kernels::elementwise::number::Ordered;
use litesmith_kernels::elementwise::{Affine, Float, Number};
use litesmith_kernels::normalize;
use litesmith_kernels::reduce::{self, CumulativeSum, Extreme, QuantizedSum, Reduction};
use litesmith_kernels::softmax::{self, QuantizedSoftmax};

use super::movement::resolve_axis;
use super::{Bound, Site, Task, int16};
use crate::error::{Refusal, refuse};

/// Most quantized elements that become one: their sum must fit 32 bits.
const MOST_ELEMENTS: usize = 1 << 24;

pub(super) fn reduce(site: &Site<'_>, op: &ops::Reduce) -> Result<Bound, Refusal> {
    let input = site.input(0)?;
    let axes = op.resolved_axes(input.shape.len()).map_err(|error| Refusal(error.0))?;
    let plan = Reduction::new(&input.shape, &axes);
    if input.is_quantized() {
        return quantized_reduce(site, op.kind, plan);
    }
    if input.is_wide() {
        return int16::reduce(site, op.kind, plan);
    }
    match (op.kind, input.dtype) {
        (kind, DType::F32) => Ok(plain_reduce::<f32>(kind, plan)),
        (kind, DType::F64) => Ok(plain_reduce::<f64>(kind, plan)),
        (kind, DType::I32) => Ok(plain_reduce::<i32>(kind, plan)),
        (kind, DType::I64) => Ok(plain_reduce::<i64>(kind, plan)),
        // Flipping the top bit of signed bytes keeps their order.
        (ReduceKind::Max, DType::I8 | DType::U8 | DType::Bool) => Ok(extreme(true, plan)),
        (ReduceKind::Min, DType::I8 | DType::U8 | DType::Bool) => Ok(extreme(false, plan)),
        (kind, dtype) => refuse!("there is no kernel of the reduction {kind:?} for {dtype}"),
    }
}

fn plain_reduce<T: Number + From<u8> + bytemuck::Pod>(kind: ReduceKind, plan: Reduction) -> Bound {
    let operator = match kind {
        ReduceKind::Mean => reduce::Reduce::Mean,
        ReduceKind::Sum => reduce::Reduce::Sum,
        ReduceKind::Max => reduce::Reduce::Max,
        ReduceKind::Min => reduce::Reduce::Min,
        ReduceKind::Prod => reduce::Reduce::Product,
    };
    Task::new(move |machine, mut io| {
        let input = io.inputs.get::<T>(0);
        reduce::reduce(machine.isa, machine.pool, operator, &plan, input, io.output_as());
        Ok(())
    })
    .into()
}

fn quantized_reduce(site: &Site<'_>, kind: ReduceKind, plan: Reduction) -> Result<Bound, Refusal> {
    let (input, output) = (site.input(0)?.affine()?, site.output()?.affine()?);
    let sum = match kind {
        ReduceKind::Max | ReduceKind::Min => {
            site.same_parameters()?;
            return Ok(extreme(kind == ReduceKind::Max, plan));
        }
        ReduceKind::Prod => {
            return Ok(Task::new(move |machine, io| {
                let bytes = io.inputs.bytes(0);
                reduce::reduce_quantized_product(machine.pool, &plan, input, output, bytes, io.output);
                Ok(())
            })
            .into());
        }
        _ if plan.input_len() / plan.output_len().max(1) > MOST_ELEMENTS => {
            refuse!("a sum of more than {MOST_ELEMENTS} quantized elements is not supported")
        }
        ReduceKind::Mean => QuantizedSum::mean(&plan, input, output),
        ReduceKind::Sum => QuantizedSum::sum(&plan, input, output),
    };
    Ok(Task::new(move |machine, io| {
        sum.apply(machine.isa, machine.pool, &plan, io.inputs.bytes(0), io.output);
        Ok(())
    })
    .into())
}

/// The largest or smallest of bytes.
fn extreme(largest: bool, plan: Reduction) -> Bound {
    Task::new(move |machine, io| {
        let input = io.inputs.bytes(0);
        reduce::reduce_extreme(machine.isa, machine.pool, largest, &plan, input, io.output);
        Ok(())
    })
    .into()
}

pub(super) fn arg_reduce(site: &Site<'_>, op: &ops::ArgReduce) -> Result<Bound, Refusal> {
    let input = site.input(0)?;
    let axis = resolve_axis(op.axis, input.shape.len())?;
    let len = input.shape[axis];
    let shape = [input.shape[..axis].iter().product(), len, input.shape[axis + 1..].iter().product()];
    if len == 0 || i32::try_from(len).is_err() {
        refuse!("an axis of length {len} has no index of its largest element");
    }
    let extreme = match op.kind {
        ArgKind::Max => Extreme::Max,
        ArgKind::Min => Extreme::Min,
    };
    let wide = op.dtype == DType::I64;
    match input.dtype {
        DType::F32 => Ok(arg_extreme::<f32>(extreme, shape, wide)),
        DType::F64 => Ok(arg_extreme::<f64>(extreme, shape, wide)),
        DType::I32 => Ok(arg_extreme::<i32>(extreme, shape, wide)),
        DType::I64 => Ok(arg_extreme::<i64>(extreme, shape, wide)),
        DType::I8 | DType::U8 | DType::Bool => Ok(arg_extreme::<u8>(extreme, shape, wide)),
        dtype => refuse!("there is no kernel for the largest or smallest {dtype}"),
    }
}

fn arg_extreme<T: Ordered + bytemuck::Pod>(extreme: Extreme, shape: [usize; 3], wide: bool) -> Bound {
    Task::new(move |machine, mut io| {
        let input = io.inputs.get::<T>(0);
        if wide {
            reduce::arg_extreme(machine.pool, extreme, shape, input, io.output_as::<i64>());
        } else {
            reduce::arg_extreme(machine.pool, extreme, shape, input, io.output_as::<i32>());
        }
        Ok(())
    })
    .into()
}

pub(super) fn top_k(site: &Site<'_>, op: &ops::TopK) -> Result<Bound, Refusal> {
    let input = site.input(0)?;
    site.same_parameters()?;
    let len = input.shape.last().copied().unwrap_or(0);
    if len == 0 || i32::try_from(len).is_err() {
        refuse!("an axis of length {len} has no largest elements");
    }
    let lengths = [len, op.k];
    match input.dtype {
        DType::F32 => Ok(largest::<f32>(lengths)),
        DType::I16 => Ok(largest::<i16>(lengths)),
        DType::I32 => Ok(largest::<i32>(lengths)),
        DType::I64 => Ok(largest::<i64>(lengths)),
        // Flipping the top bit of signed bytes keeps their order.
        DType::I8 | DType::U8 => Ok(largest::<u8>(lengths)),
        dtype => refuse!("there is no kernel for the largest {dtype}s"),
    }
}

/// One step for the elements and one for their places.
fn largest<T: Ordered + bytemuck::Pod>(lengths: [usize; 2]) -> Bound {
    let elements = Task::new(move |machine, mut io| {
        reduce::top_k(machine.pool, lengths, io.inputs.get::<T>(0), io.output_as(), |value, _| value);
        Ok(())
    });
    let places = Task::new(move |machine, mut io| {
        let input = io.inputs.get::<T>(0);
        // The axis is shorter than 32 bits tell.
        reduce::top_k(machine.pool, lengths, input, io.output_as(), |_, place| place as i32);
        Ok(())
    });
    Bound::Steps(vec![elements, places.for_output(1)])
}

pub(super) fn cumulative_sum(site: &Site<'_>, op: &ops::CumSum) -> Result<Bound, Refusal> {
    let input = site.input(0)?;
    let axis = resolve_axis(op.axis, input.shape.len())?;
    let (outer, inner) = (input.shape[..axis].iter().product(), input.shape[axis + 1..].iter().product());
    let shape = [outer, input.shape[axis], inner];
    let sum = CumulativeSum { exclusive: op.exclusive, reverse: op.reverse };
    match input.dtype {
        DType::F32 => Ok(running_sum::<f32>(sum, shape)),
        DType::F64 => Ok(running_sum::<f64>(sum, shape)),
        DType::I32 => Ok(running_sum::<i32>(sum, shape)),
        DType::I64 => Ok(running_sum::<i64>(sum, shape)),
        dtype => refuse!("there is no kernel of running sums for {dtype}"),
    }
}

fn running_sum<T: Number + bytemuck::Pod>(sum: CumulativeSum, shape: [usize; 3]) -> Bound {
    Task::new(move |machine, mut io| {
        sum.apply(machine.pool, shape, io.inputs.get::<T>(0), io.output_as());
        Ok(())
    })
    .into()
}

pub(super) fn softmax(site: &Site<'_>, op: &ops::Softmax) -> Result<Bound, Refusal> {
    let input = site.input(0)?;
    let axis = input.shape.last().copied().unwrap_or(1);
    let shape = [input.elements.checked_div(axis).unwrap_or(0), axis, 1];
    if !(op.beta.is_finite() && op.beta >= 0.0) {
        refuse!("beta must not be negative, it is {}", op.beta);
    }
    if op.log && op.beta != 1.0 {
        refuse!("the logarithm of softmax with beta {} is not supported", op.beta);
    }
    match input.dtype {
        DType::F32 => Ok(float_softmax::<f32>(shape, op.log, op.beta)),
        DType::F64 => Ok(float_softmax::<f64>(shape, op.log, op.beta.into())),
        DType::I8 | DType::U8 => quantized_softmax(site, op, shape),
        DType::I16 if !op.log => int16::softmax(site, op.beta, axis),
        dtype => refuse!("there is no kernel of softmax for {dtype}"),
    }
}

fn float_softmax<T: Float + bytemuck::Pod>(shape: [usize; 3], log: bool, beta: T) -> Bound {
    Task::new(move |machine, mut io| {
        let (input, output) = (io.inputs.get::<T>(0), io.output_as::<T>());
        if log {
            softmax::log_softmax(machine.isa, machine.pool, shape, input, output);
        } else {
            softmax::softmax(machine.isa, machine.pool, shape, beta, input, output);
        }
        Ok(())
    })
    .into()
}

fn quantized_softmax(site: &Site<'_>, op: &ops::Softmax, shape: [usize; 3]) -> Result<Bound, Refusal> {
    let (input, output) = (site.input(0)?.affine()?, site.output()?.affine()?);
    if !op.log && output != Affine::new(1.0 / 256.0, 0) {
        refuse!(
            "the output of quantized softmax must have scale 1/256 and the lowest zero point, not {} and {}",
            output.scale,
            output.zero_point
        );
    }
    let (log, softmax) = (op.log, QuantizedSoftmax::new(input.scale, op.beta));
    Ok(Task::new(move |machine, io| {
        let bytes = io.inputs.bytes(0);
        if log {
            softmax.apply_log(machine.isa, machine.pool, shape, output, bytes, io.output);
        } else {
            softmax.apply(machine.isa, machine.pool, shape, bytes, io.output);
        }
        Ok(())
    })
    .into())
}

pub(super) fn batch_norm(site: &Site<'_>, op: &ops::BatchNorm) -> Result<Bound, Refusal> {
    let input = site.input(0)?;
    if site.inputs[1..].iter().flatten().any(|vector| vector.dtype != input.dtype) {
        refuse!("its inputs must all be {}", input.dtype);
    }
    let channels = input.shape.last().copied().unwrap_or(0);
    match input.dtype {
        DType::F32 => Ok(float_batch_norm::<f32>(channels, op.epsilon)),
        DType::F64 => Ok(float_batch_norm::<f64>(channels, op.epsilon.into())),
        dtype => refuse!("there is no kernel of batch normalization for {dtype}"),
    }
}

fn float_batch_norm<T: Float + bytemuck::Pod>(channels: usize, epsilon: T) -> Bound {
    let (ones, zeros) = (vec![T::ONE; channels], vec![T::ZERO; channels]);
    Task::new(move |machine, mut io| {
        let vector = |index, default: &'_ [T]| match io.inputs.get::<T>(index) {
            [] => default.to_vec(),
            given => given.to_vec(),
        };
        let (gamma, beta) = (vector(1, &ones), vector(2, &zeros));
        let (mean, variance) = (io.inputs.get(3), io.inputs.get(4));
        let parameters = normalize::BatchNorm { gamma: &gamma, beta: &beta, mean, variance, epsilon };
        let input = io.inputs.get(0);
        normalize::batch_norm(machine.isa, machine.pool, &parameters, input, io.output_as());
        Ok(())
    })
    .into()
}

/// TFLite's lower bound of the length of a vector.
const SHORTEST: f32 = 1e-6;

pub(super) fn l2_norm(site: &Site<'_>) -> Result<Bound, Refusal> {
    let input = site.input(0)?;
    let axis = input.shape.last().copied().unwrap_or(1);
    match input.dtype {
        DType::F32 => Ok(float_l2_norm(axis, SHORTEST)),
        DType::F64 => Ok(float_l2_norm(axis, f64::from(SHORTEST))),
        DType::I8 | DType::U8 => {
            let (zero_point, output) = (input.affine()?.zero_point, site.output()?.affine()?);
            Ok(Task::new(move |machine, io| {
                let bytes = io.inputs.bytes(0);
                normalize::l2_normalization_quantized(
                    machine.pool,
                    axis,
                    zero_point,
                    output,
                    bytes,
                    io.output,
                );
                Ok(())
            })
            .into())
        }
        dtype => refuse!("there is no kernel of this normalization for {dtype}"),
    }
}

fn float_l2_norm<T: Float + bytemuck::Pod>(axis: usize, least: T) -> Bound {
    Task::new(move |machine, mut io| {
        let input = io.inputs.get::<T>(0);
        normalize::l2_normalization(machine.isa, machine.pool, axis, least, input, io.output_as());
        Ok(())
    })
    .into()
}
