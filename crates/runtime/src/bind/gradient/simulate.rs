//! What training simulates: neurons that drop out, and integers.

use bytemuck::Pod;
use litesmith_graph::DType;
use litesmith_graph::ops::{DropoutTraining, FakeQuantTraining, RangeRule};
use litesmith_kernels::ThreadPool;
use litesmith_kernels::elementwise::Float;
use litesmith_kernels::fake_quantize::{Grid, fake_quantize};
use litesmith_kernels::gradient::dropout::{Dropout, dropout};
use litesmith_kernels::gradient::fake_quantize::{self as simulated, Bits, Range};
use litesmith_kernels::movement::{StridedAxis, StridedCopy};

use super::super::{Bound, Machine, Operand, Site, Task};
use super::normalize::{output_sizes, outputs};
use super::{Places, by_float};
use crate::error::{Refusal, refuse};

pub(in super::super) fn dropout_training(site: &Site<'_>, op: &DropoutTraining) -> Result<Bound, Refusal> {
    let input = site.input(0)?;
    drop_out(op, input, 0, 1)
}

/// What dropped out gets no gradient, the rest the same factor.
pub(super) fn dropout_gradient(
    site: &Site<'_>,
    op: &DropoutTraining,
    places: Places,
) -> Result<Bound, Refusal> {
    drop_out(op, site.input(places.dy)?, places.dy, 1)
}

/// Drops elements of the input `from` out, by the number of the step that input `step` holds.
fn drop_out(op: &DropoutTraining, input: &Operand<'_>, from: usize, step: usize) -> Result<Bound, Refusal> {
    let (rate, seed) = (f64::from(op.dropout.rate), op.seed);
    if !(0.0..1.0).contains(&rate) {
        refuse!("a dropout rate of {rate} is not supported; it must be below 1");
    }
    let shared = op.dropout.shared_axes.clone();
    let shape = input.shape.clone();
    if shared.is_empty() {
        return by_float!(input.dtype, T => Task::new(move |machine, mut io| {
            let step = step_of(io.inputs.get(step));
            let x = io.inputs.get::<T>(from);
            dropout(machine.isa, machine.pool, Dropout { rate, seed, step }, x, io.output_as());
            Ok(())
        })
        .into());
    }
    by_float!(input.dtype, T => Task::new(move |machine, mut io| {
        let step = step_of(io.inputs.get(step));
        let drawn = Dropout { rate, seed, step };
        let x = io.inputs.get::<T>(from);
        drop_together(machine, drawn, &shape, &shared, x, io.output_as());
        Ok(())
    })
    .into())
}

fn step_of(number: &[i64]) -> u64 {
    number.first().map_or(0, |number| number.cast_unsigned())
}

/// Elements that differ along the shared axes alone drop out together.
fn drop_together<T: Float + Pod>(
    machine: Machine<'_>,
    drawn: Dropout,
    shape: &[usize],
    shared: &[usize],
    x: &[T],
    output: &mut [T],
) {
    let kept = |axis: usize| if shared.contains(&axis) { 1 } else { shape[axis] };
    let ones = vec![T::ONE; (0..shape.len()).map(kept).product()];
    let mut factors = vec![T::ZERO; ones.len()];
    dropout(machine.isa, machine.pool, drawn, &ones, &mut factors);
    let mut stride = 1;
    let mut axes: Vec<StridedAxis> = Vec::with_capacity(shape.len());
    for axis in (0..shape.len()).rev() {
        let step = if shared.contains(&axis) { 0 } else { stride };
        axes.push(StridedAxis { len: shape[axis], stride: step as isize });
        stride *= kept(axis);
    }
    axes.reverse();
    StridedCopy::new(0, axes).run(machine.pool, &factors, output);
    output.iter_mut().zip(x).for_each(|(factor, x)| *factor = factor.times(*x));
}

/// The channels of a simulated tensor: how many, and how many elements stand behind each one's.
#[derive(Clone, Copy)]
struct Channels {
    count: usize,
    inner: usize,
}

fn channels(op: &FakeQuantTraining, input: &Operand<'_>) -> Result<Channels, Refusal> {
    match op.axis {
        None => Ok(Channels { count: 1, inner: input.elements.max(1) }),
        Some(axis) => match input.shape.get(axis) {
            Some(count) if *count > 0 => Ok(Channels {
                count: *count,
                inner: input.shape[axis + 1..].iter().product::<usize>().max(1),
            }),
            _ => refuse!("axis {axis} has no channels"),
        },
    }
}

pub(super) fn bits(op: &FakeQuantTraining) -> Bits {
    Bits { count: op.bits, narrow: op.narrow_range }
}

pub(in super::super) fn fake_quant_training(
    site: &Site<'_>,
    op: &FakeQuantTraining,
) -> Result<Bound, Refusal> {
    let (input, op) = (site.input(0)?, op.clone());
    let channels = channels(&op, input)?;
    if site.optional(1).is_some_and(|range| range.dtype != input.dtype) {
        refuse!("its range must be {}", input.dtype);
    }
    let sizes = output_sizes(site)?;
    by_float!(input.dtype, T => Task::new(move |machine, io| {
        let (x, given) = (io.inputs.get::<T>(0), io.inputs.get::<T>(1));
        let ranges = ranges(&op, channels, machine.pool, machine, x, given);
        let [y, written] = &mut outputs::<T>(io.output, &sizes)[..] else { return Ok(()) };
        write_ranges(&ranges, written);
        let grid = simulated::grid(&ranges, bits(&op), channels.inner);
        fake_quantize(machine.isa, machine.pool, &grid, x, y);
        Ok(())
    })
    .for_all_outputs()
    .into())
}

/// The ranges that a tensor is rounded by.
fn ranges<T: Float>(
    op: &FakeQuantTraining,
    channels: Channels,
    pool: &ThreadPool,
    machine: Machine<'_>,
    x: &[T],
    given: &[T],
) -> Vec<Range<T>> {
    if op.range == RangeRule::Given {
        return read_ranges(given, channels.count);
    }
    let mut own = vec![Range { min: T::ZERO, max: T::ZERO }; channels.count];
    simulated::ranges(machine.isa, pool, channels.inner, x, &mut own);
    averaged(op, own, given)
}

/// The ranges that tensors of these ranges are rounded by.
pub(super) fn averaged<T: Float>(
    op: &FakeQuantTraining,
    mut own: Vec<Range<T>>,
    given: &[T],
) -> Vec<Range<T>> {
    if op.range == RangeRule::Given {
        return read_ranges(given, own.len());
    }
    for range in &mut own {
        *range = if op.symmetric { range.symmetric() } else { range.with_zero() };
    }
    let RangeRule::MovingAverage { decay } = op.range else { return own };
    let (decay, share) = (T::of(decay.into()), T::of(1.0 - f64::from(decay)));
    let average = |old: T, new: T| old.times(decay).plus(new.times(share));
    let old = read_ranges(given, own.len());
    let pairs = old.into_iter().zip(own);
    pairs.map(|(old, own)| Range { min: average(old.min, own.min), max: average(old.max, own.max) }).collect()
}

pub(super) fn read_ranges<T: Float>(numbers: &[T], count: usize) -> Vec<Range<T>> {
    let (least, largest) = numbers.split_at(count);
    least.iter().zip(largest).map(|(min, max)| Range { min: *min, max: *max }).collect()
}

pub(super) fn write_ranges<T: Float>(ranges: &[Range<T>], numbers: &mut [T]) {
    let (least, largest) = numbers.split_at_mut(ranges.len());
    for (range, (min, max)) in ranges.iter().zip(least.iter_mut().zip(largest)) {
        (*min, *max) = (range.min, range.max);
    }
}

/// It passes where the number was in the range.
pub(super) fn fake_quant_gradient(
    site: &Site<'_>,
    op: &FakeQuantTraining,
    places: Places,
) -> Result<Bound, Refusal> {
    let (input, received, op) = (site.input(0)?, site.input(places.dy)?, op.clone());
    let channels = channels(&op, input)?;
    let used = site.input(places.y + 1)?;
    if input.shape != received.shape || used.elements != 2 * channels.count {
        refuse!("its operands do not fit");
    }
    by_float!(input.dtype, T => Task::new(move |machine, mut io| {
        let (x, used) = (io.inputs.get::<T>(0), io.inputs.get::<T>(places.y + 1));
        let grid: Grid<T> =
            simulated::grid(&read_ranges(used, channels.count), bits(&op), channels.inner);
        let dy = io.inputs.get(places.dy);
        simulated::gradient(machine.isa, machine.pool, &grid, x, dy, io.output_as());
        Ok(())
    })
    .into())
}
