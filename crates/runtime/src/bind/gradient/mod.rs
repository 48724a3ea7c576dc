//! What only training computes: operators that act otherwise then, and gradients.

pub(crate) mod between;
mod gather;
mod normalize;
mod products;
mod simulate;

use bytemuck::Pod;
use litesmith_graph::ops::{Gradient, Pool2D, PoolKind, Resize, ResizeKind, Softmax, UnaryKind};
use litesmith_graph::{DType, Op};
use litesmith_kernels::elementwise::{self, Float};
use litesmith_kernels::gradient::{pooling, resize, softmax, unary};

pub(super) use normalize::batch_norm_training;
pub(crate) use products::Shared as SharedScratch;
pub(super) use products::forward;
pub(super) use simulate::{dropout_training, fake_quant_training};

use super::elementwise::kernel_of;
use super::pooling::{scaling, sizes};
use super::window::window;
use super::{Bound, Operand, Site, Task};
use crate::error::{Refusal, refuse};

/// Evaluates the body with `$T` standing for the floating-point type that training computes in.
macro_rules! by_float {
    ($dtype:expr, $T:ident => $body:expr) => {
        match $dtype {
            DType::F32 => {
                type $T = f32;
                Ok($body)
            }
            DType::F64 => {
                type $T = f64;
                Ok($body)
            }
            dtype => $crate::error::refuse!("there is no kernel of this gradient for {dtype}"),
        }
    };
}
pub(super) use by_float;

/// Where the operands of a gradient stand among its inputs.
#[derive(Clone, Copy)]
struct Places {
    /// The first output of the operator that is differentiated.
    y: usize,
    /// The gradient with respect to that.
    dy: usize,
}

pub(super) fn gradient(site: &Site<'_>, op: &Gradient) -> Result<Bound, Refusal> {
    let arguments = op.arguments(site.inputs.len()).map_err(|error| Refusal(error.0))?;
    let places = Places { y: arguments, dy: arguments + op.results() };
    let received = site.input(places.dy)?.dtype;
    let own = site.outputs.iter().all(|output| output.dtype == received);
    if !own || site.inputs.iter().flatten().any(|input| input.dtype != received && !counts(op, input)) {
        refuse!("its operands must all be {received}");
    }
    match &*op.of {
        Op::BatchNorm(of) => normalize::batch_norm(site, op, of.epsilon, None, places),
        Op::BatchNormTraining(of) => normalize::batch_norm(site, op, of.epsilon, Some(of.activation), places),
        Op::Conv2D(_) | Op::DepthwiseConv2D(_) | Op::FullyConnected(_) => products::layer(site, op, places),
        Op::DropoutTraining(of) => simulate::dropout_gradient(site, of, places),
        Op::FakeQuantTraining(of) => simulate::fake_quant_gradient(site, of, places),
        Op::Gather(of) => gather::gather(site, of, places),
        Op::Pool2D(of) => pool_2d(site, of, places),
        Op::Resize(of) => resize(site, of, places),
        Op::Softmax(of) => softmax(site, of, places),
        Op::Unary(of) => unary(site, of.kind, places),
        of => refuse!("there is no kernel for the gradient of {}", of.name()),
    }
}

/// The number of the step, or indices, which are no real numbers.
fn counts(op: &Gradient, input: &Operand<'_>) -> bool {
    matches!(*op.of, Op::DropoutTraining(_) | Op::Gather(_))
        && matches!(input.dtype, DType::I16 | DType::I32 | DType::I64)
}

fn unary(site: &Site<'_>, kind: UnaryKind, places: Places) -> Result<Bound, Refusal> {
    let saved = if kind.differentiates_by_result() { places.y } else { 0 };
    let received = site.input(places.dy)?;
    if site.input(saved)?.shape != received.shape {
        refuse!("its operands have different shapes");
    }
    let dtype = received.dtype;
    if let UnaryKind::Clip { min, max } = kind {
        return by_float!(dtype, T => clip::<T>([min.into(), max.into()], places.dy));
    }
    let Some(kernel) = kernel_of(kind) else { refuse!("this function has no gradient") };
    by_float!(dtype, T => function::<T>(kernel, saved, places.dy))
}

fn clip<T: Float + Pod>(bounds: [f64; 2], dy: usize) -> Bound {
    Task::new(move |machine, mut io| {
        let (x, dy) = (io.inputs.get(0), io.inputs.get(dy));
        unary::clip::<T>(machine.isa, machine.pool, bounds.map(T::of), x, dy, io.output_as());
        Ok(())
    })
    .into()
}

fn function<T: Float + Pod>(kernel: elementwise::Unary, saved: usize, dy: usize) -> Bound {
    Task::new(move |machine, mut io| {
        let (saved, dy) = (io.inputs.get(saved), io.inputs.get(dy));
        unary::unary::<T>(machine.isa, machine.pool, kernel, saved, dy, io.output_as());
        Ok(())
    })
    .into()
}

fn softmax(site: &Site<'_>, op: &Softmax, places: Places) -> Result<Bound, Refusal> {
    let received = site.input(places.dy)?;
    let axis = received.shape.last().copied().unwrap_or(1);
    let shape = [received.elements.checked_div(axis).unwrap_or(0), axis, 1];
    if site.input(places.y)?.shape != received.shape || (op.log && op.beta != 1.0) {
        refuse!("its operands do not fit");
    }
    let (beta, log) = (f64::from(op.beta), op.log);
    by_float!(received.dtype, T => Task::new(move |machine, mut io| {
        let (y, dy) = (io.inputs.get::<T>(places.y), io.inputs.get(places.dy));
        if log {
            softmax::log_softmax(machine.isa, machine.pool, shape, y, dy, io.output_as());
        } else {
            softmax::softmax(machine.isa, machine.pool, shape, T::of(beta), y, dy, io.output_as());
        }
        Ok(())
    })
    .into())
}

fn pool_2d(site: &Site<'_>, op: &Pool2D, places: Places) -> Result<Bound, Refusal> {
    let (image, received) = (site.input(0)?, site.input(places.dy)?);
    let shape = sizes(image)?;
    let window = window(image, op.kernel, op.stride, [1; 2], op.padding)?;
    let [height, width] = window.output([shape[1], shape[2]]);
    if received.shape != [shape[0], height, width, shape[3]] {
        refuse!("its operands do not fit");
    }
    let kind = op.kind;
    by_float!(image.dtype, T => Task::new(move |machine, mut io| {
        let dy = io.inputs.get::<T>(places.dy);
        match kind {
            PoolKind::Max => {
                let x = io.inputs.get(0);
                pooling::max_pool(machine.isa, machine.pool, &window, shape, x, dy, io.output_as());
            }
            PoolKind::Average => {
                pooling::average_pool(machine.isa, machine.pool, &window, shape, dy, io.output_as());
            }
        }
        Ok(())
    })
    .into())
}

fn resize(site: &Site<'_>, op: &Resize, places: Places) -> Result<Bound, Refusal> {
    let (image, received) = (site.input(0)?, site.input(places.dy)?);
    let [batch, height, width, channels] = sizes(received)?;
    let scaling = scaling(image, &Resize { size: [height, width], ..op.clone() })?;
    if [batch, channels] != [scaling.input[0], scaling.input[3]] {
        refuse!("its operands do not fit");
    }
    let kind = op.kind;
    by_float!(image.dtype, T => Task::new(move |machine, mut io| {
        let dy = io.inputs.get::<T>(places.dy);
        match kind {
            ResizeKind::Nearest => {
                resize::resize_nearest(machine.isa, machine.pool, &scaling, dy, io.output_as());
            }
            ResizeKind::Bilinear => {
                resize::resize_bilinear(machine.isa, machine.pool, &scaling, dy, io.output_as());
            }
        }
        Ok(())
    })
    .into())
}
