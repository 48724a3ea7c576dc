//! Operators that only move elements.

use bytemuck::Pod;
use litesmith_graph::DType;
use litesmith_graph::ops::{self, PadMode};
use litesmith_kernels::elementwise::{Number, Table};
use litesmith_kernels::movement::{self, Reflection, StridedAxis, StridedCopy};

use super::{Bound, Operand, Site, Task, by_size};
use crate::error::{Fault, Refusal, refuse};

/// Elements between neighbours along each axis.
fn strides(shape: &[usize]) -> Vec<isize> {
    let mut strides = vec![1; shape.len()];
    for axis in (1..shape.len()).rev() {
        strides[axis - 1] = strides[axis] * shape[axis] as isize;
    }
    strides
}

/// A step that writes an output as a strided copy of the first input.
fn copy(dtype: DType, copy: StridedCopy) -> Result<Task, Refusal> {
    by_size!(dtype, T => Ok(Task::new(move |machine, mut io| {
        copy.run(machine.pool, io.inputs.get::<T>(0), io.output_as::<T>());
        Ok(())
    })))
}

pub(super) fn transpose(site: &Site<'_>, op: &ops::Transpose) -> Result<Bound, Refusal> {
    site.same_parameters()?;
    let input = site.input(0)?;
    let strides = strides(&input.shape);
    // Axes of one element may stand anywhere.
    let moved: Vec<usize> = op.permutation.iter().copied().filter(|axis| input.shape[*axis] != 1).collect();
    if moved.is_sorted() {
        return Ok(Bound::Alias(0));
    }
    let axes =
        op.permutation.iter().map(|axis| StridedAxis { len: input.shape[*axis], stride: strides[*axis] });
    Ok(copy(input.dtype, StridedCopy::new(0, axes))?.into())
}

pub(super) fn tile(site: &Site<'_>, op: &ops::Tile) -> Result<Bound, Refusal> {
    site.same_parameters()?;
    let input = site.input(0)?;
    let own =
        input.shape.iter().zip(strides(&input.shape)).map(|(len, stride)| StridedAxis { len: *len, stride });
    let repeated = op.multiples.iter().map(|len| StridedAxis { len: *len, stride: 0 });
    let axes = repeated.zip(own).flat_map(|(repeat, own)| [repeat, own]);
    Ok(copy(input.dtype, StridedCopy::new(0, axes))?.into())
}

pub(super) fn broadcast_to(site: &Site<'_>) -> Result<Bound, Refusal> {
    site.same_parameters()?;
    let (input, output) = (site.input(0)?, site.output()?);
    let strides = strides(&input.shape);
    let new = output.shape.len() - input.shape.len();
    let axes = output.shape.iter().enumerate().map(|(axis, len)| {
        let own = axis.checked_sub(new).filter(|axis| input.shape[*axis] != 1);
        StridedAxis { len: *len, stride: own.map_or(0, |axis| strides[axis]) }
    });
    Ok(copy(input.dtype, StridedCopy::new(0, axes))?.into())
}

pub(super) fn slice(site: &Site<'_>, op: &ops::Slice) -> Result<Bound, Refusal> {
    site.same_parameters()?;
    let (input, output) = (site.input(0)?, site.output()?);
    Ok(copy(input.dtype, window_of(input, &op.begin, &output.shape))?.into())
}

/// A copy of the part of a tensor that starts at `begin` and has this shape.
fn window_of(input: &Operand<'_>, begin: &[usize], shape: &[usize]) -> StridedCopy {
    let strides = strides(&input.shape);
    let start = begin.iter().zip(&strides).map(|(begin, stride)| begin * *stride as usize).sum();
    let axes = shape.iter().zip(strides).map(|(len, stride)| StridedAxis { len: *len, stride });
    StridedCopy::new(start, axes)
}

pub(super) fn strided_slice(site: &Site<'_>, op: &ops::StridedSlice) -> Result<Bound, Refusal> {
    site.same_parameters()?;
    let input = site.input(0)?;
    let slices = op.resolve(&input.shape).map_err(|error| Refusal(error.0))?;
    let strides = strides(&input.shape);
    let start = slices.iter().zip(&strides).map(|(slice, stride)| slice.start * *stride as usize).sum();
    let axes = slices.iter().zip(&strides).map(|(slice, stride)| {
        // A single element needs no step, whatever the model says.
        let step = if slice.length > 1 { slice.step as isize } else { 1 };
        StridedAxis { len: slice.length, stride: step * stride }
    });
    Ok(copy(input.dtype, StridedCopy::new(start, axes))?.into())
}

pub(super) fn split(site: &Site<'_>, op: &ops::Split) -> Result<Bound, Refusal> {
    site.same_parameters()?;
    let input = site.input(0)?;
    let axis = resolve_axis(op.axis, input.shape.len())?;
    let mut begin = vec![0; input.shape.len()];
    let mut tasks = Vec::new();
    for (index, output) in site.outputs.iter().enumerate() {
        tasks.push(copy(input.dtype, window_of(input, &begin, &output.shape))?.for_output(index));
        begin[axis] += output.shape[axis];
    }
    Ok(Bound::Steps(tasks))
}

pub(super) fn unpack(site: &Site<'_>, op: &ops::Unpack) -> Result<Bound, Refusal> {
    site.same_parameters()?;
    let input = site.input(0)?;
    let axis = resolve_axis(op.axis, input.shape.len())?;
    let mut shape = input.shape.clone();
    shape[axis] = 1;
    let mut begin = vec![0; shape.len()];
    let mut tasks = Vec::new();
    for index in 0..site.outputs.len() {
        begin[axis] = index;
        tasks.push(copy(input.dtype, window_of(input, &begin, &shape))?.for_output(index));
    }
    Ok(Bound::Steps(tasks))
}

pub(super) fn concat(site: &Site<'_>, op: &ops::Concat) -> Result<Bound, Refusal> {
    if !op.activation.is_none() {
        refuse!("a concatenation with the activation {:?} is not supported", op.activation);
    }
    let axis = resolve_axis(op.axis, site.output()?.shape.len())?;
    let lens = site.inputs.iter().flatten().map(|input| input.shape[axis]).collect();
    join(site, axis, lens)
}

pub(super) fn pack(site: &Site<'_>, op: &ops::Pack) -> Result<Bound, Refusal> {
    let axis = resolve_axis(op.axis, site.output()?.shape.len())?;
    join(site, axis, vec![1; site.inputs.len()])
}

/// Puts inputs with these lengths behind one another along an axis of the output. Quantized inputs
/// with other parameters than the output's are rescaled first.
fn join(site: &Site<'_>, axis: usize, lens: Vec<usize>) -> Result<Bound, Refusal> {
    let output = site.output()?;
    let outer = output.shape[..axis].iter().product();
    let inner = output.shape[axis + 1..].iter().product();
    if output.is_quantized() {
        let table = |index| Ok(Table::requantize(site.input(index)?.affine()?, output.affine()?));
        let tables = (0..lens.len()).map(table).collect::<Result<Vec<_>, _>>()?;
        if !tables.iter().all(Table::is_identity) {
            return Ok(join_rescaled(outer, inner, lens, tables).with_scratch(output.elements).into());
        }
    }
    if output.is_wide() {
        let scale = output.word_scale()?;
        for input in site.inputs.iter().flatten() {
            if input.word_scale()? != scale {
                refuse!("inputs of int16 that are joined must have the output's scale");
            }
        }
    }
    by_size!(output.dtype, T => Ok(Task::new(move |machine, mut io| {
        let part = |(index, len): (usize, &usize)| (io.inputs.get::<T>(index), *len);
        let parts: Vec<_> = lens.iter().enumerate().map(part).collect();
        movement::concat(machine.pool, outer, inner, &parts, io.output_as());
        Ok(())
    })
    .into()))
}

fn join_rescaled(outer: usize, inner: usize, lens: Vec<usize>, tables: Vec<Table>) -> Task {
    Task::new(move |machine, io| {
        let mut rest = io.scratch;
        let mut parts = Vec::with_capacity(lens.len());
        for (index, (len, table)) in lens.iter().zip(&tables).enumerate() {
            let input = io.inputs.bytes(index);
            let (rescaled, others) = rest.split_at_mut(input.len());
            table.apply(machine.isa, machine.pool, input, rescaled);
            parts.push((&*rescaled, *len));
            rest = others;
        }
        movement::concat(machine.pool, outer, inner, &parts, io.output);
        Ok(())
    })
}

pub(super) fn pad(site: &Site<'_>, op: &ops::Pad) -> Result<Bound, Refusal> {
    site.same_parameters()?;
    let input = site.input(0)?;
    let (shape, amounts) = (input.shape.clone(), op.amounts.clone());
    let reflection = match op.mode {
        PadMode::Reflect => Some(Reflection::Reflect),
        PadMode::Symmetric => Some(Reflection::Symmetric),
        PadMode::Zero | PadMode::Value(_) => None,
    };
    let value = if let PadMode::Value(value) = op.mode { value } else { 0.0 };
    let bits = stored_bits(input, value)?;
    by_size!(input.dtype, T => Ok(Task::new(move |machine, mut io| {
        let (input, output) = (io.inputs.get::<T>(0), io.output_as::<T>());
        match reflection {
            Some(reflection) => movement::pad_reflected(machine.pool, &shape, &amounts, reflection, input, output),
            None => movement::pad(machine.pool, &shape, &amounts, bits as T, input, output),
        }
        Ok(())
    })
    .into()))
}

/// A real number as an element of this tensor, in the plan's form: its bits.
fn stored_bits(operand: &Operand<'_>, value: f32) -> Result<u64, Refusal> {
    Ok(match operand.dtype {
        DType::I8 | DType::U8 if operand.is_quantized() => operand.affine()?.nearest(value.into()).into(),
        DType::I16 if operand.is_wide() => {
            u64::from((value / operand.word_scale()?).round_ties_even() as i16 as u16)
        }
        DType::I8 => u64::from((value as i8) as u8 ^ 0x80),
        DType::U8 | DType::Bool => u64::from(value as u8),
        DType::I16 => u64::from(value as i16 as u16),
        DType::U16 => u64::from(value as u16),
        DType::I32 => u64::from(value as i32 as u32),
        DType::U32 => u64::from(value as u32),
        DType::I64 => (value as i64) as u64,
        DType::U64 => value as u64,
        DType::F16 => u64::from(half::f16::from_f32(value).to_bits()),
        DType::F32 => u64::from(value.to_bits()),
        DType::F64 => f64::from(value).to_bits(),
        DType::I4 | DType::Text | DType::Resource => refuse!("{} cannot be padded", operand.dtype),
    })
}

pub(super) fn gather(site: &Site<'_>, op: &ops::Gather) -> Result<Bound, Refusal> {
    site.same_parameters()?;
    let (table, indices) = (site.input(0)?, site.input(1)?);
    let axis = resolve_axis(op.axis, table.shape.len())?;
    let shape = [
        table.shape[..op.batch_dims].iter().product(),
        table.shape[op.batch_dims..axis].iter().product(),
        table.shape[axis],
        table.shape[axis + 1..].iter().product(),
    ];
    macro_rules! with_indices {
        ($I:ty) => {
            by_size!(table.dtype, T => Ok(Task::new(move |_, mut io| {
                let (table, indices) = (io.inputs.get::<T>(0), io.inputs.get::<$I>(1));
                movement::gather(shape, table, indices, io.output_as()).map_err(|error| Fault(error.to_string()))
            })
            .into()))
        };
    }
    match indices.dtype {
        DType::I16 => with_indices!(i16),
        DType::I32 => with_indices!(i32),
        DType::I64 => with_indices!(i64),
        dtype => refuse!("indices of {dtype} are not supported"),
    }
}

pub(super) fn gather_nd(site: &Site<'_>) -> Result<Bound, Refusal> {
    site.same_parameters()?;
    let (table, indices) = (site.input(0)?, site.input(1)?);
    let depth = indices.shape.last().copied().unwrap_or(0);
    if depth > table.shape.len() {
        refuse!("indices of {depth} axes do not fit a table of {} dimensions", table.shape.len());
    }
    if depth == 0 {
        refuse!("indices without axes are not supported");
    }
    let shape = table.shape[..depth].to_vec();
    let inner = table.shape[depth..].iter().product();
    macro_rules! with_indices {
        ($I:ty) => {
            by_size!(table.dtype, T => Ok(Task::new(move |machine, mut io| {
                let (table, indices) = (io.inputs.get::<T>(0), io.inputs.get::<$I>(1));
                movement::gather_nd(machine.pool, 1, &shape, inner, table, indices, io.output_as())
                    .map_err(|error| Fault(error.to_string()))
            })
            .into()))
        };
    }
    match indices.dtype {
        DType::I16 => with_indices!(i16),
        DType::I32 => with_indices!(i32),
        DType::I64 => with_indices!(i64),
        dtype => refuse!("indices of {dtype} are not supported"),
    }
}

pub(super) fn one_hot(site: &Site<'_>, op: &ops::OneHot) -> Result<Bound, Refusal> {
    let (indices, output) = (site.input(0)?, site.output()?);
    let axis = if op.axis == -1 { indices.shape.len() } else { resolve_axis(op.axis, output.shape.len())? };
    let (outer, inner) = indices.shape.split_at(axis);
    let shape = [outer.iter().product(), op.depth, inner.iter().product()];
    macro_rules! with_indices {
        ($I:ty) => {
            by_size!(output.dtype, T => Ok(Task::new(move |machine, mut io| {
                let values = [1, 2].map(|input| io.inputs.get::<T>(input)[0]);
                movement::one_hot(machine.pool, shape, io.inputs.get::<$I>(0), values, io.output_as());
                Ok(())
            })
            .into()))
        };
    }
    match indices.dtype {
        DType::I32 => with_indices!(i32),
        DType::I64 => with_indices!(i64),
        dtype => refuse!("indices of {dtype} are not supported"),
    }
}

pub(super) fn range(site: &Site<'_>) -> Result<Bound, Refusal> {
    match site.output()?.dtype {
        DType::F32 => Ok(count::<f32>()),
        DType::I32 => Ok(count::<i32>()),
        DType::I64 => Ok(count::<i64>()),
        dtype => refuse!("numbers of type {dtype} cannot be counted"),
    }
}

/// Each number is the one before it and the step.
fn count<T: Number + Pod>() -> Bound {
    Task::new(|_, mut io| {
        let [mut number, step] = [0, 2].map(|input| io.inputs.get::<T>(input)[0]);
        for output in io.output_as::<T>() {
            *output = number;
            number = number.plus(step);
        }
        Ok(())
    })
    .into()
}

pub(super) fn reverse(site: &Site<'_>, op: &ops::Reverse) -> Result<Bound, Refusal> {
    site.same_parameters()?;
    let input = site.input(0)?;
    let rank = input.shape.len();
    let axes = op.axes.iter().map(|axis| resolve_axis(*axis, rank)).collect::<Result<Vec<_>, _>>()?;
    let (strides, shape) = (strides(&input.shape), &input.shape);
    let turned = |axis: &usize| axes.contains(axis) && shape[*axis] > 0;
    let start = (0..rank).filter(turned).map(|axis| (shape[axis] - 1) * strides[axis] as usize).sum();
    let walk = (0..rank).map(|axis| StridedAxis {
        len: shape[axis],
        stride: if turned(&axis) { -strides[axis] } else { strides[axis] },
    });
    Ok(copy(input.dtype, StridedCopy::new(start, walk))?.into())
}

pub(super) fn space_to_depth(site: &Site<'_>, block: usize) -> Result<Bound, Refusal> {
    site.same_parameters()?;
    let input = site.input(0)?;
    let shape = image(input)?;
    by_size!(input.dtype, T => Ok(Task::new(move |machine, mut io| {
        movement::space_to_depth(machine.pool, shape, block, io.inputs.get::<T>(0), io.output_as());
        Ok(())
    })
    .into()))
}

pub(super) fn depth_to_space(site: &Site<'_>, block: usize) -> Result<Bound, Refusal> {
    site.same_parameters()?;
    let input = site.input(0)?;
    let shape = image(input)?;
    by_size!(input.dtype, T => Ok(Task::new(move |machine, mut io| {
        movement::depth_to_space(machine.pool, shape, block, io.inputs.get::<T>(0), io.output_as());
        Ok(())
    })
    .into()))
}

/// Batch, height, width and channels.
fn image(operand: &Operand<'_>) -> Result<[usize; 4], Refusal> {
    match <[usize; 4]>::try_from(operand.shape.as_slice()) {
        Ok(shape) if operand.elements > 0 => Ok(shape),
        _ => refuse!("an image of shape {:?} is not supported", operand.shape),
    }
}

pub(super) fn space_to_batch(site: &Site<'_>, op: &ops::SpaceToBatch) -> Result<Bound, Refusal> {
    site.same_parameters()?;
    let input = site.input(0)?;
    let (shape, block, padding) =
        (blocks_and_rest(input, op.block.len()), op.block.clone(), op.padding.clone());
    let zero = stored_bits(input, 0.0)?;
    by_size!(input.dtype, T => Ok(Task::new(move |machine, mut io| {
        let (input, output) = (io.inputs.get::<T>(0), io.output_as());
        movement::space_to_batch_nd(machine.pool, &shape, &block, &padding, zero as T, input, output);
        Ok(())
    })
    .into()))
}

pub(super) fn batch_to_space(site: &Site<'_>, op: &ops::BatchToSpace) -> Result<Bound, Refusal> {
    site.same_parameters()?;
    let input = site.input(0)?;
    let (shape, block, crops) = (blocks_and_rest(input, op.block.len()), op.block.clone(), op.crops.clone());
    by_size!(input.dtype, T => Ok(Task::new(move |machine, mut io| {
        let (input, output) = (io.inputs.get::<T>(0), io.output_as());
        movement::batch_to_space_nd(machine.pool, &shape, &block, &crops, input, output);
        Ok(())
    })
    .into()))
}

/// The batch, the axes that are cut into blocks, and the others as one.
fn blocks_and_rest(operand: &Operand<'_>, axes: usize) -> Vec<usize> {
    let (kept, rest) = operand.shape.split_at(axes + 1);
    [kept, &[rest.iter().product()]].concat()
}

pub(super) fn fill(site: &Site<'_>) -> Result<Bound, Refusal> {
    let value = site.input(1)?;
    if value.elements != 1 {
        refuse!("it fills with {} values instead of one", value.elements);
    }
    by_size!(value.dtype, T => Ok(Task::new(|_, mut io| {
        let value = io.inputs.get::<T>(1)[0];
        io.output_as::<T>().fill(value);
        Ok(())
    })
    .into()))
}

pub(super) fn shape_of(site: &Site<'_>, op: &ops::ShapeOf) -> Result<Bound, Refusal> {
    let sizes: Vec<i64> = site.input(0)?.shape.iter().map(|size| *size as i64).collect();
    let wide = op.dtype == DType::I64;
    Ok(Task::new(move |_, mut io| {
        if wide {
            io.output_as::<i64>().copy_from_slice(&sizes);
        } else {
            io.output_as::<i32>().iter_mut().zip(&sizes).for_each(|(out, size)| *out = *size as i32);
        }
        Ok(())
    })
    .into())
}

/// An axis that may count from the end, as an index below `rank`.
pub(super) fn resolve_axis(axis: i32, rank: usize) -> Result<usize, Refusal> {
    let resolved = if axis < 0 { i64::from(axis) + rank as i64 } else { i64::from(axis) };
    match usize::try_from(resolved) {
        Ok(resolved) if resolved < rank => Ok(resolved),
        _ => refuse!("axis {axis} does not exist in {rank} dimensions"),
    }
}
