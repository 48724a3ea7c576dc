//! Slices whose places are computed while the model runs, and operators whose attributes follow from
//! the shapes of their operands.

use litesmith_graph::DType;
use litesmith_graph::ops;
use litesmith_kernels::movement::{self, StridedAxis, StridedCopy};

use super::movement::{pad, tile};
use super::pooling::resize;
use super::{Bound, Site, Task, by_size};
use crate::error::{Fault, Refusal, refuse};

/// How integers are read that an operator takes its places from.
#[derive(Clone, Copy)]
struct Integers {
    input: usize,
    wide: bool,
}

impl Integers {
    fn of(site: &Site<'_>, input: usize) -> Result<Integers, Refusal> {
        match site.input(input)?.dtype {
            DType::I32 => Ok(Integers { input, wide: false }),
            DType::I64 => Ok(Integers { input, wide: true }),
            dtype => refuse!("places of type {dtype} are not supported"),
        }
    }

    fn read(self, inputs: crate::plan::Inputs<'_>) -> Vec<i64> {
        if self.wide {
            inputs.get::<i64>(self.input).to_vec()
        } else {
            inputs.get::<i32>(self.input).iter().map(|value| i64::from(*value)).collect()
        }
    }
}

/// Elements between neighbours along each axis.
fn strides(shape: &[usize]) -> Vec<usize> {
    let mut strides = vec![1; shape.len()];
    for axis in (1..shape.len()).rev() {
        strides[axis - 1] = strides[axis] * shape[axis];
    }
    strides
}

pub(super) fn slice(site: &Site<'_>) -> Result<Bound, Refusal> {
    site.same_parameters()?;
    let (input, begin) = (site.input(0)?, Integers::of(site, 1)?);
    let (shape, size) = (input.shape.clone(), site.output()?.shape.clone());
    let strides = strides(&shape);
    by_size!(input.dtype, T => Ok(Task::new(move |machine, mut io| {
        let begin = begin.read(io.inputs);
        let mut start = 0;
        for (axis, begin) in begin.iter().enumerate() {
            let first = usize::try_from(*begin).ok();
            let fits = first.and_then(|first| first.checked_add(size[axis])).is_some_and(|end| end <= shape[axis]);
            match first.filter(|_| fits) {
                Some(first) => start += first * strides[axis],
                None => return Err(outside(*begin, size[axis], shape[axis])),
            }
        }
        let axes = size.iter().zip(&strides).map(|(len, stride)| StridedAxis { len: *len, stride: *stride as isize });
        StridedCopy::new(start, axes).run(machine.pool, io.inputs.get::<T>(0), io.output_as::<T>());
        Ok(())
    })
    .into()))
}

fn outside(begin: i64, size: usize, length: usize) -> Fault {
    Fault(format!("a slice of {size} from {begin} leaves an axis of {length}"))
}

pub(super) fn strided_slice(site: &Site<'_>, op: &ops::StridedSlice) -> Result<Bound, Refusal> {
    site.same_parameters()?;
    let (input, output) = (site.input(0)?, site.output()?);
    let lists = [Integers::of(site, 1)?, Integers::of(site, 2)?, Integers::of(site, 3)?];
    let (op, shape, expected) = (op.clone(), input.shape.clone(), output.shape.clone());
    let strides = strides(&shape);
    by_size!(input.dtype, T => Ok(Task::new(move |machine, mut io| {
        let [begin, end, steps] = lists.map(|list| list.read(io.inputs));
        let op = ops::StridedSlice { begin, end, strides: steps, ..op };
        let slices = op.resolve(&shape).map_err(|error| Fault(error.0))?;
        let kept = slices.iter().filter(|slice| !slice.dropped).map(|slice| slice.length);
        if !kept.eq(expected.iter().copied()) {
            return Err(Fault(format!("what it takes of {shape:?} has not the shape {expected:?}")));
        }
        let start = slices.iter().zip(&strides).map(|(slice, stride)| slice.start * stride).sum();
        let axes = slices.iter().zip(&strides).map(|(slice, stride)| {
            let step = if slice.length > 1 { slice.step as isize } else { 1 };
            StridedAxis { len: slice.length, stride: step * *stride as isize }
        });
        StridedCopy::new(start, axes).run(machine.pool, io.inputs.get::<T>(0), io.output_as::<T>());
        Ok(())
    })
    .into()))
}

pub(super) fn update_slice(site: &Site<'_>) -> Result<Bound, Refusal> {
    site.same_parameters()?;
    let (whole, part, begin) = (site.input(0)?, site.input(1)?, Integers::of(site, 2)?);
    if part.is_quantized() && part.affine()? != whole.affine()? {
        refuse!("its parts are quantized in different ways");
    }
    if site.input(2)?.elements != whole.shape.len() {
        refuse!("it has not one begin for each axis");
    }
    let (shape, size) = (whole.shape.clone(), part.shape.clone());
    by_size!(whole.dtype, T => Ok(Task::new(move |_, mut io| {
        // A part that sticks out is moved inside.
        let place = |(begin, (whole, part)): (i64, (&usize, &usize))| {
            begin.clamp(0, (whole - part) as i64) as usize
        };
        let begin: Vec<usize> =
            begin.read(io.inputs).into_iter().zip(shape.iter().zip(&size)).map(place).collect();
        if !io.in_place {
            let whole = io.inputs.bytes(0);
            io.output.copy_from_slice(whole);
        }
        let part = io.inputs.get::<T>(1);
        movement::update_slice(&shape, &size, &begin, part, io.output_as::<T>());
        Ok(())
    })
    .in_place()
    .into()))
}

/// As many repetitions as lead from the input's shape to the output's.
pub(super) fn tile_to_shape(site: &Site<'_>) -> Result<Bound, Refusal> {
    let pairs = site.input(0)?.shape.iter().zip(&site.output()?.shape);
    let multiples = pairs.map(|(from, to)| to.checked_div(*from).unwrap_or(0)).collect();
    tile(site, &ops::Tile { multiples })
}

/// The new size is that of the output.
pub(super) fn resize_to_shape(site: &Site<'_>, op: &ops::Resize) -> Result<Bound, Refusal> {
    let [_, height, width, _] = site.output()?.shape[..] else { refuse!("its output is no image") };
    resize(site, &ops::Resize { size: [height, width], ..op.clone() })
}

/// The amounts are known, since the output's shape is.
pub(super) fn pad_as_given(site: &Site<'_>, op: &ops::Pad) -> Result<Bound, Refusal> {
    let Some(values) = &site.input(1)?.value else { refuse!("its amounts are not known") };
    let sizes: Option<Vec<usize>> = values.iter().map(|value| usize::try_from(*value).ok()).collect();
    let Some(sizes) =
        sizes.filter(|sizes| sizes.len() == 2 * site.inputs[0].as_ref().map_or(0, |x| x.shape.len()))
    else {
        refuse!("its amounts do not fit its input")
    };
    pad(site, &ops::Pad { amounts: sizes.as_chunks::<2>().0.to_vec(), mode: op.mode })
}
