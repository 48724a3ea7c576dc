//! Operators between element types.

use bytemuck::Pod;
use half::f16;
use litesmith_graph::DType;
use litesmith_graph::ops;
use litesmith_kernels::convert::{self, CastTo};
use litesmith_kernels::elementwise::{Affine, Float, Table};
use litesmith_kernels::fake_quantize::{Grid, fake_quantize};

use super::{Bound, Operand, Site, Task, int16};
use crate::error::{Refusal, refuse};

pub(super) fn quantize(site: &Site<'_>) -> Result<Bound, Refusal> {
    let (input, output) = (site.input(0)?, site.output()?);
    match (input.dtype, output.dtype) {
        (DType::F32, DType::I8 | DType::U8) => {
            let channels = channels(output)?;
            Ok(Task::new(move |machine, io| {
                let input = io.inputs.get::<f32>(0);
                let runs = input.chunks(channels.inner).zip(io.output.chunks_mut(channels.inner));
                for ((input, output), affine) in runs.zip(channels.affines.iter().cycle()) {
                    convert::quantize(machine.isa, machine.pool, input, *affine, output);
                }
                Ok(())
            })
            .into())
        }
        (DType::I8 | DType::U8, DType::I8 | DType::U8) => {
            Ok(Table::requantize(input.affine()?, output.affine()?).into())
        }
        (DType::F32, DType::I16) => int16::quantize(output),
        (DType::I16, DType::I8 | DType::U8 | DType::I16) | (DType::I8 | DType::U8, DType::I16) => {
            int16::rescale(input, output)
        }
        (input, output) => refuse!("there is no kernel from {input} to quantized {output}"),
    }
}

/// How the bytes of a tensor stand for real numbers, channel by channel.
struct Channels {
    affines: Vec<Affine>,
    /// Number of elements of a channel that lie together.
    inner: usize,
}

fn channels(operand: &Operand<'_>) -> Result<Channels, Refusal> {
    let Some(quantization) = operand.quantization else { refuse!("it has no quantization parameters") };
    let Some(axis) = quantization.axis.filter(|_| quantization.scales.len() > 1) else {
        return Ok(Channels { affines: vec![operand.affine()?], inner: operand.elements.max(1) });
    };
    let inner = operand.shape[axis + 1..].iter().product::<usize>().max(1);
    let shift = if operand.dtype == DType::I8 { 128 } else { 0 };
    let affine = |(scale, zero_point): (&f32, &i32)| match zero_point
        .checked_add(shift)
        .and_then(|point| u8::try_from(point).ok())
    {
        Some(point) if scale.is_finite() && *scale > 0.0 => Ok(Affine::new(*scale, point)),
        _ => refuse!("scale {scale} with zero point {zero_point} cannot be used"),
    };
    let pairs = quantization.scales.iter().zip(&*quantization.zero_points);
    Ok(Channels { affines: pairs.map(affine).collect::<Result<_, _>>()?, inner })
}

pub(super) fn dequantize(site: &Site<'_>) -> Result<Bound, Refusal> {
    let input = site.input(0)?;
    match input.dtype {
        DType::F16 => Ok(Task::new(|machine, mut io| {
            convert::half_to_single(machine.pool, io.inputs.get::<f16>(0), io.output_as());
            Ok(())
        })
        .into()),
        DType::I8 | DType::U8 => {
            let Channels { affines, inner } = channels(input)?;
            let by_channel: (Vec<f32>, Vec<i32>) =
                affines.iter().map(|affine| (affine.scale, i32::from(affine.zero_point))).unzip();
            Ok(Task::new(move |machine, mut io| {
                let bytes = io.inputs.bytes(0);
                if let [Affine { scale, zero_point }] = affines[..] {
                    let output = io.output_as();
                    convert::dequantize(machine.isa, machine.pool, bytes, scale, zero_point, output);
                } else {
                    let (scales, zero_points) = &by_channel;
                    convert::dequantize_channels(bytes, scales, zero_points, inner, io.output_as());
                }
                Ok(())
            })
            .into())
        }
        DType::I16 => {
            let scale = input.word_scale()?;
            Ok(Task::new(move |machine, mut io| {
                let input = io.inputs.get::<i16>(0);
                convert::dequantize(machine.isa, machine.pool, input, scale, 0, io.output_as());
                Ok(())
            })
            .into())
        }
        DType::I32 => {
            let Some(quantization) = input.quantization else { refuse!("it has no quantization parameters") };
            let (scales, zero_points) = (quantization.scales.clone(), quantization.zero_points.clone());
            let behind = quantization.axis.map_or(1, |axis| input.shape[axis + 1..].iter().product());
            let inner: usize = behind.max(1);
            Ok(Task::new(move |_, mut io| {
                let input = io.inputs.get::<i32>(0);
                convert::dequantize_channels(input, &scales, &zero_points, inner, io.output_as());
                Ok(())
            })
            .into())
        }
        dtype => refuse!("there is no kernel from {dtype} to real numbers"),
    }
}

pub(super) fn fake_quant(site: &Site<'_>, op: &ops::FakeQuant) -> Result<Bound, Refusal> {
    let input = site.input(0)?;
    let ops::FakeQuant { bits, narrow_range, quantization } = op;
    let good = |scale: &f32| scale.is_finite() && *scale > 0.0;
    if quantization.scales.is_empty()
        || quantization.scales.len() != quantization.zero_points.len()
        || !quantization.scales.iter().all(good)
    {
        refuse!("its scales must be above 0 and as many as its zero points");
    }
    let inner = match quantization.axis {
        Some(axis) if input.shape.get(axis) == Some(&quantization.scales.len()) => {
            input.shape[axis + 1..].iter().product::<usize>().max(1)
        }
        None if quantization.scales.len() == 1 => input.elements.max(1),
        axis => refuse!("{} scales do not fit axis {axis:?} of the input", quantization.scales.len()),
    };
    let half = 1i32 << (bits - 1);
    let range = [i32::from(*narrow_range) - half, half - 1];
    match input.dtype {
        DType::F32 => Ok(round_to_grid::<f32>(op, range, inner)),
        DType::F64 => Ok(round_to_grid::<f64>(op, range, inner)),
        dtype => refuse!("there is no kernel of fake quantization for {dtype}"),
    }
}

fn round_to_grid<T: Float + Pod>(op: &ops::FakeQuant, range: [i32; 2], inner: usize) -> Bound {
    let scales = op.quantization.scales.iter().map(|scale| T::of((*scale).into())).collect();
    let grid = Grid { scales, zero_points: op.quantization.zero_points.to_vec(), range, inner };
    Task::new(move |machine, mut io| {
        fake_quantize(machine.isa, machine.pool, &grid, io.inputs.get(0), io.output_as());
        Ok(())
    })
    .into()
}

pub(super) fn cast(site: &Site<'_>, op: &ops::Cast) -> Result<Bound, Refusal> {
    let from = site.input(0)?.dtype;
    if from == op.to {
        return Ok(Bound::Alias(0));
    }
    match (from, op.to) {
        (DType::F16, DType::F32) => dequantize(site),
        (DType::F32, DType::F16) => Ok(Task::new(|machine, mut io| {
            convert::single_to_half(machine.pool, io.inputs.get(0), io.output_as::<f16>());
            Ok(())
        })
        .into()),
        _ => plain_cast(from, op.to, site.input(0)?.elements),
    }
}

/// Casts between numbers and booleans.
fn plain_cast(from: DType, to: DType, elements: usize) -> Result<Bound, Refusal> {
    macro_rules! from_type {
        ($T:ty) => {
            match to {
                DType::U8 => plain::<$T, u8>(),
                DType::I8 => to_signed_bytes::<$T>(elements),
                DType::I16 => plain::<$T, i16>(),
                DType::I32 => plain::<$T, i32>(),
                DType::I64 => plain::<$T, i64>(),
                DType::F32 => plain::<$T, f32>(),
                DType::F64 => plain::<$T, f64>(),
                DType::Bool => to_truth::<$T>(),
                to => refuse!("there is no kernel from {from} to {to}"),
            }
        };
    }
    let task = match (from, to) {
        (DType::U8 | DType::Bool, _) => from_type!(u8),
        (DType::I16, _) => from_type!(i16),
        (DType::I32, _) => from_type!(i32),
        (DType::I64, _) => from_type!(i64),
        (DType::F32, _) => from_type!(f32),
        (DType::F64, _) => from_type!(f64),
        (DType::I8, DType::U8) => from_signed_bytes::<u8>(elements),
        (DType::I8, DType::I16) => from_signed_bytes::<i16>(elements),
        (DType::I8, DType::I32) => from_signed_bytes::<i32>(elements),
        (DType::I8, DType::I64) => from_signed_bytes::<i64>(elements),
        (DType::I8, DType::F32) => from_signed_bytes::<f32>(elements),
        (DType::I8, DType::F64) => from_signed_bytes::<f64>(elements),
        (from, to) => refuse!("there is no kernel from {from} to {to}"),
    };
    Ok(task.into())
}

fn plain<T: CastTo<U> + Pod, U: Pod + Send>() -> Task {
    Task::new(|machine, mut io| {
        convert::cast(machine.isa, machine.pool, io.inputs.get::<T>(0), io.output_as::<U>());
        Ok(())
    })
}

fn to_truth<T: PartialEq + Default + Pod + Sync>() -> Task {
    Task::new(|machine, io| {
        convert::cast_to_truth(machine.isa, machine.pool, io.inputs.get::<T>(0), io.output);
        Ok(())
    })
}

/// Signed bytes are brought to the model's form first.
fn from_signed_bytes<U: Pod + Send>(elements: usize) -> Task
where
    i8: CastTo<U>,
{
    Task::new(|machine, io| {
        convert::flip_sign(machine.isa, machine.pool, io.inputs.bytes(0), io.scratch);
        let (input, output) =
            (bytemuck::cast_slice::<u8, i8>(io.scratch), bytemuck::cast_slice_mut::<u8, U>(io.output));
        convert::cast(machine.isa, machine.pool, input, output);
        Ok(())
    })
    .with_scratch(elements)
}

/// Signed bytes are brought to the plan's form last.
fn to_signed_bytes<T: CastTo<i8> + Pod>(elements: usize) -> Task {
    Task::new(|machine, io| {
        let bytes = bytemuck::cast_slice_mut::<u8, i8>(io.scratch);
        convert::cast(machine.isa, machine.pool, io.inputs.get::<T>(0), bytes);
        convert::flip_sign(machine.isa, machine.pool, bytemuck::cast_slice(bytes), io.output);
        Ok(())
    })
    .with_scratch(elements)
}
