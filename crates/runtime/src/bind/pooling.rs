//! Pooling and scaling of images.

use litesmith_graph::DType;
use litesmith_graph::ops::{Pool2D, PoolKind, ResizeKind};
use litesmith_kernels::elementwise::{Float, number::Ordered};
use litesmith_kernels::resize::{self, Coordinates, Resize};
use litesmith_kernels::{Window, pooling};

use super::site::stored_bounds;
use super::window::window;
use super::{Bound, Operand, Site, Task, by_size, int16};
use crate::error::{Refusal, refuse};

/// Most taps of a quantized average: the sum must fit 32 bits.
const MOST_TAPS: usize = 1 << 24;

pub(super) fn sizes(image: &Operand<'_>) -> Result<[usize; 4], Refusal> {
    match image.shape[..] {
        [batch, height, width, channels] => Ok([batch, height, width, channels]),
        _ => refuse!("an image must have four axes, it has {}", image.shape.len()),
    }
}

pub(super) fn pool_2d(site: &Site<'_>, op: &Pool2D) -> Result<Bound, Refusal> {
    site.same_parameters()?;
    let image = site.input(0)?;
    let shape = sizes(image)?;
    let window = window(image, op.kernel, op.stride, [1; 2], op.padding)?;
    let (low, high) = op.activation.bounds();
    match (op.kind, image.dtype) {
        (PoolKind::Max, DType::F32) => Ok(max(window, shape, [low, high])),
        (PoolKind::Max, DType::F64) => Ok(max::<f64>(window, shape, [low.into(), high.into()])),
        (PoolKind::Average, DType::F32) => Ok(average(window, shape, [low, high])),
        (PoolKind::Average, DType::F64) => Ok(average::<f64>(window, shape, [low.into(), high.into()])),
        (kind, DType::I8 | DType::U8) => {
            let clamp = stored_bounds(op.activation, site.output()?.affine()?);
            if kind == PoolKind::Max {
                return Ok(max(window, shape, clamp));
            }
            if op
                .kernel
                .iter()
                .try_fold(1usize, |taps, size| taps.checked_mul(*size))
                .is_none_or(|n| n > MOST_TAPS)
            {
                refuse!("a mean over {:?} is too large", op.kernel);
            }
            Ok(Task::new(move |machine, io| {
                let input = io.inputs.bytes(0);
                pooling::average_pool_quantized(
                    machine.isa,
                    machine.pool,
                    &window,
                    shape,
                    input,
                    clamp,
                    io.output,
                );
                Ok(())
            })
            .into())
        }
        (_, DType::I16) => int16::pool_2d(site, op, window, shape),
        (_, dtype) => refuse!("there is no kernel of this pooling for {dtype}"),
    }
}

fn max<T: Ordered + bytemuck::Pod>(window: Window, shape: [usize; 4], clamp: [T; 2]) -> Bound {
    Task::new(move |machine, mut io| {
        let input = io.inputs.get::<T>(0);
        pooling::max_pool(machine.isa, machine.pool, &window, shape, input, clamp, io.output_as());
        Ok(())
    })
    .into()
}

fn average<T: Float + bytemuck::Pod>(window: Window, shape: [usize; 4], clamp: [T; 2]) -> Bound {
    Task::new(move |machine, mut io| {
        let input = io.inputs.get::<T>(0);
        pooling::average_pool(machine.isa, machine.pool, &window, shape, input, clamp, io.output_as());
        Ok(())
    })
    .into()
}

/// How an image is scaled.
pub(super) fn scaling(image: &Operand<'_>, op: &litesmith_graph::ops::Resize) -> Result<Resize, Refusal> {
    let input = sizes(image)?;
    if input[1] == 0 || input[2] == 0 {
        refuse!("an image without pixels cannot be scaled");
    }
    let coordinates = match (op.align_corners, op.half_pixel_centers) {
        (true, _) => Coordinates::AlignCorners,
        (_, true) => Coordinates::HalfPixelCenters,
        _ => Coordinates::Corners,
    };
    Ok(Resize { input, output: op.size, coordinates })
}

pub(super) fn resize(site: &Site<'_>, op: &litesmith_graph::ops::Resize) -> Result<Bound, Refusal> {
    site.same_parameters()?;
    let image = site.input(0)?;
    let resize = scaling(image, op)?;
    match (op.kind, image.dtype) {
        (ResizeKind::Nearest, dtype) => by_size!(dtype, T => Ok(Task::new(move |machine, mut io| {
            resize::resize_nearest(machine.pool, &resize, io.inputs.get::<T>(0), io.output_as());
            Ok(())
        })
        .into())),
        (ResizeKind::Bilinear, DType::F32) => Ok(bilinear::<f32>(resize)),
        (ResizeKind::Bilinear, DType::F64) => Ok(bilinear::<f64>(resize)),
        (ResizeKind::Bilinear, DType::I8 | DType::U8) => Ok(Task::new(move |machine, io| {
            let input = io.inputs.bytes(0);
            resize::resize_bilinear_quantized(machine.isa, machine.pool, &resize, input, io.output);
            Ok(())
        })
        .into()),
        (ResizeKind::Bilinear, DType::I16) => Ok(int16::resize_bilinear(resize)),
        (ResizeKind::Bilinear, dtype) => refuse!("images of {dtype} cannot be scaled bilinearly"),
    }
}

fn bilinear<T: Float + bytemuck::Pod>(resize: Resize) -> Bound {
    Task::new(move |machine, mut io| {
        let input = io.inputs.get::<T>(0);
        resize::resize_bilinear(machine.isa, machine.pool, &resize, input, io.output_as());
        Ok(())
    })
    .into()
}
