//! Operators that compute each element by itself.

use litesmith_graph::DType;
use litesmith_graph::ops::{self, Activation, BinaryKind, CompareKind, LogicalKind, UnaryKind};
use litesmith_kernels::elementwise::number::Ordered;
use litesmith_kernels::elementwise::{self, Broadcast, ChannelMap, QuantizedBinary, Table, logical_not};
use litesmith_kernels::float::Clamp;

use super::site::stored_bounds;
use super::{Bound, ChannelFunction, Operand, Pair, Scaling, Site, Task, by_size, int16};
use crate::error::{Fault, Refusal, refuse};

/// The kernel that computes a unary operator on floating-point numbers; `None` for those that are
/// computed in another way.
pub(super) fn kernel_of(kind: UnaryKind) -> Option<elementwise::Unary> {
    use elementwise::Unary as Kernel;
    Some(match kind {
        UnaryKind::Relu => Kernel::Relu,
        UnaryKind::Relu6 => Kernel::Relu6,
        UnaryKind::ReluN1To1 => Kernel::ReluN1To1,
        UnaryKind::LeakyRelu(alpha) => Kernel::LeakyRelu { alpha: alpha.into() },
        UnaryKind::Elu(alpha) => Kernel::Elu { alpha: alpha.into() },
        UnaryKind::Selu => Kernel::Selu,
        UnaryKind::Logistic => Kernel::Logistic,
        UnaryKind::Tanh => Kernel::Tanh,
        UnaryKind::Silu => Kernel::Silu,
        UnaryKind::HardSigmoid => Kernel::HardSigmoid,
        UnaryKind::HardSwish => Kernel::HardSwish,
        UnaryKind::Gelu { approximate: false } => Kernel::Gelu,
        UnaryKind::Gelu { approximate: true } => Kernel::GeluTanh,
        UnaryKind::Softplus => Kernel::Softplus,
        UnaryKind::Softsign => Kernel::Softsign,
        UnaryKind::Abs => Kernel::Abs,
        UnaryKind::Neg => Kernel::Neg,
        UnaryKind::Square => Kernel::Square,
        UnaryKind::Sqrt => Kernel::Sqrt,
        UnaryKind::Rsqrt => Kernel::Rsqrt,
        UnaryKind::Exp => Kernel::Exp,
        UnaryKind::Log => Kernel::Log,
        UnaryKind::Sin => Kernel::Sin,
        UnaryKind::Cos => Kernel::Cos,
        UnaryKind::Floor => Kernel::Floor,
        UnaryKind::Ceil => Kernel::Ceil,
        UnaryKind::Round => Kernel::Round,
        UnaryKind::Sign => Kernel::Sign,
        UnaryKind::Reciprocal => Kernel::Reciprocal,
        UnaryKind::Clip { .. } | UnaryKind::LogicalNot => return None,
    })
}

pub(super) fn unary(site: &Site<'_>, kind: UnaryKind) -> Result<Bound, Refusal> {
    let input = site.input(0)?;
    if input.is_quantized() {
        return quantized_unary(site, kind);
    }
    if input.is_wide() {
        return int16::function(site, kernel_of(kind));
    }
    match (kind, kernel_of(kind), input.dtype) {
        (UnaryKind::LogicalNot, _, DType::Bool) => Ok(Task::new(|_, io| {
            logical_not(io.inputs.bytes(0), io.output);
            Ok(())
        })
        .into()),
        (UnaryKind::LeakyRelu(alpha), Some(kernel), DType::F32) => {
            let slopes = vec![alpha; input.shape.last().copied().unwrap_or(1)];
            Ok(Bound::Function(ChannelFunction::Slopes(slopes), float_unary::<f32>(kernel)))
        }
        (_, Some(kernel), DType::F32) => Ok(float_unary::<f32>(kernel).into()),
        (_, Some(kernel), DType::F64) => Ok(float_unary::<f64>(kernel).into()),
        // What is left is said with two operands, the second one a number.
        (UnaryKind::Clip { min, max }, ..) => with_number(site, BinaryKind::Maximum, min, (min, max)),
        (UnaryKind::Relu, ..) => with_number(site, BinaryKind::Maximum, 0.0, UNBOUNDED),
        (UnaryKind::Relu6, ..) => with_number(site, BinaryKind::Maximum, 0.0, (0.0, 6.0)),
        (UnaryKind::ReluN1To1, ..) => with_number(site, BinaryKind::Maximum, -1.0, (-1.0, 1.0)),
        (UnaryKind::Neg, ..) => with_number(site, BinaryKind::Mul, -1.0, UNBOUNDED),
        (_, _, dtype) => refuse!("there is no kernel of this function for {dtype}"),
    }
}

const UNBOUNDED: (f32, f32) = (f32::NEG_INFINITY, f32::INFINITY);

fn float_unary<T: elementwise::Float + bytemuck::Pod>(kernel: elementwise::Unary) -> Task {
    Task::new(move |machine, mut io| {
        if io.in_place {
            elementwise::unary_in_place::<T>(machine.isa, machine.pool, kernel, io.output_as());
        } else {
            let input = io.inputs.get::<T>(0);
            elementwise::unary(machine.isa, machine.pool, kernel, input, io.output_as());
        }
        Ok(())
    })
    .in_place()
}

fn quantized_unary(site: &Site<'_>, kind: UnaryKind) -> Result<Bound, Refusal> {
    let (input, output) = (site.input(0)?.affine()?, site.output()?.affine()?);
    let table = match (kernel_of(kind), kind) {
        (Some(kernel), _) => Table::unary(kernel, input, output),
        (None, UnaryKind::Clip { min, max }) => {
            Table::new(|x| x.max(min.into()).min(max.into()), input, output)
        }
        (None, _) => refuse!("there is no kernel of this function for quantized numbers"),
    };
    Ok(table.into())
}

fn binary_kernel(kind: BinaryKind) -> elementwise::Binary {
    use elementwise::Binary as Kernel;
    match kind {
        BinaryKind::Add => Kernel::Add,
        BinaryKind::Sub => Kernel::Sub,
        BinaryKind::Mul => Kernel::Mul,
        BinaryKind::Div => Kernel::Div,
        BinaryKind::Maximum => Kernel::Maximum,
        BinaryKind::Minimum => Kernel::Minimum,
        BinaryKind::Pow => Kernel::Pow,
        BinaryKind::SquaredDifference => Kernel::SquaredDifference,
        BinaryKind::FloorDiv => Kernel::FloorDiv,
        BinaryKind::FloorMod => Kernel::FloorMod,
    }
}

/// Evaluates the body with `$T` standing for the number type, `f32`, `f64`, `i32` or `i64`.
macro_rules! by_number {
    ($dtype:expr, $T:ident => $body:expr) => {
        match $dtype {
            DType::F32 => {
                type $T = f32;
                $body
            }
            DType::F64 => {
                type $T = f64;
                $body
            }
            DType::I32 => {
                type $T = i32;
                $body
            }
            DType::I64 => {
                type $T = i64;
                $body
            }
            dtype => refuse!("there is no kernel of this function for {dtype}"),
        }
    };
}

fn broadcast<const N: usize>(shapes: [&[usize]; N]) -> Result<Broadcast<N>, Refusal> {
    Broadcast::new(shapes).map_err(|error| Refusal(error.to_string()))
}

pub(super) fn binary(site: &Site<'_>, op: &ops::Binary) -> Result<Bound, Refusal> {
    two_operands(site, binary_kernel(op.kind), op.activation)
}

pub(super) fn prelu(site: &Site<'_>) -> Result<Bound, Refusal> {
    two_operands(site, elementwise::Binary::Prelu, Activation::None)
}

fn two_operands(
    site: &Site<'_>,
    kernel: elementwise::Binary,
    activation: Activation,
) -> Result<Bound, Refusal> {
    let (a, b) = (site.input(0)?, site.input(1)?);
    if a.dtype != b.dtype {
        refuse!("there is no kernel for {} with {}", a.dtype, b.dtype);
    }
    if a.is_wide() {
        return int16::pair(site, kernel, activation);
    }
    let plan = broadcast([&a.shape, &b.shape])?;
    if a.is_quantized() {
        let output = site.output()?.affine()?;
        let clamp = stored_bounds(activation, output);
        let kernel = QuantizedBinary::new(kernel, a.affine()?, b.affine()?, output, clamp);
        let constants = [a.single_byte(), b.single_byte()];
        let map = [(0, a, b), (1, b, a)].into_iter().find_map(|(own, x, constant)| {
            let constant = channel_bytes(x, constant)?;
            Some((own, ChannelMap::new(&kernel, &constant, own == 1)?))
        });
        return Ok(Bound::Pair(Box::new(Pair { kernel, plan, constants, map })));
    }
    let (low, high) = activation.bounds();
    by_number!(a.dtype, T => {
        // A saturating cast: infinite bounds become the ends of an integer type.
        let clamp = [low as T, high as T];
        let task = Task::new(move |machine, mut io| {
            let operands = [io.inputs.get::<T>(0), io.inputs.get::<T>(1)];
            let output = io.output_as::<T>();
            elementwise::binary(machine.isa, machine.pool, kernel, &plan, operands, clamp, output)
                .map_err(|error| Fault(error.to_string()))
        });
        if let Some((own, multiplies, constants)) = scaling(kernel, a, b)? {
            let bounds = [low, high];
            return Ok(Bound::Scaling(Scaling { own, multiplies, constants, bounds, task }));
        }
        if let Some(function) = channel_function(kernel, activation, a, b)? {
            return Ok(Bound::Function(function, task));
        }
        let sum = kernel == elementwise::Binary::Add && a.dtype == DType::F32 && a.shape == b.shape;
        Ok(if sum { Bound::Sum(Clamp { min: low, max: high }, task) } else { task.into() })
    })
}

/// Which operand is multiplied or added to, and the constants by channel, if that is all there is to it.
fn scaling(
    kernel: elementwise::Binary,
    a: &Operand<'_>,
    b: &Operand<'_>,
) -> Result<Option<(usize, bool, Vec<f32>)>, Refusal> {
    let multiplies = match kernel {
        elementwise::Binary::Mul => true,
        elementwise::Binary::Add => false,
        _ => return Ok(None),
    };
    let Some((own, constant)) = [(0, a, b), (1, b, a)]
        .into_iter()
        .find_map(|(own, x, constant)| by_channel(x, constant).then_some((own, constant)))
        .filter(|_| a.dtype == DType::F32)
    else {
        return Ok(None);
    };
    Ok(Some((own, multiplies, constant.floats("constants")?.into_owned())))
}

/// What a function of real numbers and a constant is if each number stays by itself: bit for bit with the
/// numbers as first operand alone.
fn channel_function(
    kernel: elementwise::Binary,
    activation: Activation,
    x: &Operand<'_>,
    constant: &Operand<'_>,
) -> Result<Option<ChannelFunction>, Refusal> {
    let one = constant.elements == 1 && constant.shape.len() <= x.shape.len();
    let fits = x.dtype == DType::F32 && x.data.is_none() && constant.data.is_some() && activation.is_none();
    if !fits || !(one || by_channel(x, constant)) {
        return Ok(None);
    }
    let constants = constant.floats("constants")?;
    Ok(match (kernel, &constants[..]) {
        (elementwise::Binary::Maximum, [number]) => Some(ChannelFunction::Maximum(*number)),
        (elementwise::Binary::Minimum, [number]) => Some(ChannelFunction::Minimum(*number)),
        (elementwise::Binary::Prelu, [slope]) => {
            Some(ChannelFunction::Slopes(vec![*slope; x.shape.last().copied().unwrap_or(1)]))
        }
        (elementwise::Binary::Prelu, slopes) => Some(ChannelFunction::Slopes(slopes.to_vec())),
        _ => None,
    })
}

/// Whether a constant has one element for each channel of `x`, of which there are several pixels.
fn by_channel(x: &Operand<'_>, constant: &Operand<'_>) -> bool {
    x.shape.last().is_some_and(|&channels| {
        constant.data.is_some()
            && x.data.is_none()
            && channels > 1
            && x.elements > channels
            && constant.shape.len() <= x.shape.len()
            && constant.shape.last() == Some(&channels)
            && constant.elements == channels
    })
}

/// The bytes of a constant, as the plan stores them, that has one for each channel of `x`, of which
/// there are several pixels.
fn channel_bytes(x: &Operand<'_>, constant: &Operand<'_>) -> Option<Vec<u8>> {
    let flip = if constant.dtype == DType::I8 { 0x80 } else { 0 };
    let bytes = constant.data.filter(|_| by_channel(x, constant))?.bytes();
    (bytes.len() == constant.elements).then(|| bytes.iter().map(|byte| byte ^ flip).collect())
}

/// `clamp(operator(x, number))`.
fn with_number(
    site: &Site<'_>,
    kind: BinaryKind,
    number: f32,
    (low, high): (f32, f32),
) -> Result<Bound, Refusal> {
    let input = site.input(0)?;
    let plan = broadcast([&[input.elements], &[1]])?;
    let kernel = binary_kernel(kind);
    by_number!(input.dtype, T => {
        let (number, clamp) = (number as T, [low as T, high as T]);
        Ok(Task::new(move |machine, mut io| {
            let operands = [io.inputs.get::<T>(0), &[number]];
            let output = io.output_as::<T>();
            elementwise::binary(machine.isa, machine.pool, kernel, &plan, operands, clamp, output)
                .map_err(|error| Fault(error.to_string()))
        })
        .into())
    })
}

pub(super) fn compare(site: &Site<'_>, kind: CompareKind) -> Result<Bound, Refusal> {
    use elementwise::Compare as Kernel;
    let kernel = match kind {
        CompareKind::Equal => Kernel::Equal,
        CompareKind::NotEqual => Kernel::NotEqual,
        CompareKind::Less => Kernel::Less,
        CompareKind::LessEqual => Kernel::LessEqual,
        CompareKind::Greater => Kernel::Greater,
        CompareKind::GreaterEqual => Kernel::GreaterEqual,
    };
    let (a, b) = (site.input(0)?, site.input(1)?);
    let plan = broadcast([&a.shape, &b.shape])?;
    if a.is_wide() {
        same_numbers(a, b)?;
        return Ok(comparison::<i16>(kernel, plan));
    }
    if a.is_quantized() && b.is_quantized() && a.affine()? != b.affine()? {
        return compare_real(kernel, plan, a, b);
    }
    match a.dtype {
        // Flipping the top bit of signed bytes keeps their order.
        DType::I8 | DType::U8 | DType::Bool => Ok(comparison::<u8>(kernel, plan)),
        dtype => by_number!(dtype, T => Ok(comparison::<T>(kernel, plan))),
    }
}

/// Compares quantized tensors of different scales by the real numbers that they stand for.
fn compare_real(
    kernel: elementwise::Compare,
    plan: Broadcast<2>,
    a: &Operand<'_>,
    b: &Operand<'_>,
) -> Result<Bound, Refusal> {
    let reals = |operand: &Operand<'_>| -> Result<Vec<f32>, Refusal> {
        let affine = operand.affine()?;
        Ok((0..=u8::MAX).map(|byte| affine.real(byte) as f32).collect())
    };
    let tables = [reals(a)?, reals(b)?];
    let lengths = plan.operand_lens();
    let bytes = (lengths[0] + lengths[1]) * size_of::<f32>();
    Ok(Task::new(move |machine, io| {
        let scratch: &mut [f32] = bytemuck::cast_slice_mut(&mut io.scratch[..bytes]);
        let (real_a, real_b) = scratch.split_at_mut(lengths[0]);
        for (place, reals) in [&mut *real_a, &mut *real_b].into_iter().enumerate() {
            let stored = io.inputs.bytes(place);
            reals.iter_mut().zip(stored).for_each(|(real, byte)| *real = tables[place][usize::from(*byte)]);
        }
        elementwise::compare(machine.isa, machine.pool, kernel, &plan, [real_a, real_b], io.output);
        Ok(())
    })
    .with_scratch(bytes)
    .into())
}

fn comparison<T: Ordered + bytemuck::Pod>(kernel: elementwise::Compare, plan: Broadcast<2>) -> Bound {
    Task::new(move |machine, io| {
        let operands = [io.inputs.get::<T>(0), io.inputs.get::<T>(1)];
        elementwise::compare(machine.isa, machine.pool, kernel, &plan, operands, io.output);
        Ok(())
    })
    .into()
}

/// Refuses quantized tensors whose integers stand for different numbers.
fn same_numbers(a: &Operand<'_>, b: &Operand<'_>) -> Result<(), Refusal> {
    let other = if a.is_wide() { a.word_scale()? != b.word_scale()? } else { a.affine()? != b.affine()? };
    if other {
        refuse!("its operands are quantized in different ways");
    }
    Ok(())
}

pub(super) fn logical(site: &Site<'_>, kind: LogicalKind) -> Result<Bound, Refusal> {
    let kernel = match kind {
        LogicalKind::And => elementwise::Logical::And,
        LogicalKind::Or => elementwise::Logical::Or,
    };
    let plan = broadcast([&site.input(0)?.shape, &site.input(1)?.shape])?;
    Ok(Task::new(move |machine, io| {
        let operands = [io.inputs.bytes(0), io.inputs.bytes(1)];
        elementwise::logical(machine.isa, machine.pool, kernel, &plan, operands, io.output);
        Ok(())
    })
    .into())
}

pub(super) fn select(site: &Site<'_>) -> Result<Bound, Refusal> {
    let (condition, yes, no) = (site.input(0)?, site.input(1)?, site.input(2)?);
    let plan = broadcast([&condition.shape, &yes.shape, &no.shape])?;
    if yes.is_quantized() || yes.is_wide() {
        same_numbers(yes, no)?;
        same_numbers(yes, site.output()?)?;
    }
    by_size!(yes.dtype, T => Ok(Task::new(move |machine, mut io| {
        let values = [io.inputs.get::<T>(1), io.inputs.get::<T>(2)];
        elementwise::select(machine.pool, &plan, io.inputs.bytes(0), values, io.output_as());
        Ok(())
    })
    .into()))
}
