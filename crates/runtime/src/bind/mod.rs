//! Binding: from a node, the shapes of its operands and their quantization to the steps that
//! compute it. One file per family of operators; the only `match` over all operators is here.

mod computed;
mod control;
mod convert;
mod convolution;
mod elementwise;
mod float_layer;
mod gradient;
mod int16;
mod layer;
mod legacy;
mod movement;
mod pooling;
mod recurrent;
mod reduce;
mod samples;
mod site;
mod state;
mod transposed;
mod window;

use std::any::Any;
use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use litesmith_graph::{GraphId, Op, TensorId};
use litesmith_kernels::elementwise::{Broadcast, ChannelMap, MultiplyAdd, QuantizedBinary, Table};
use litesmith_kernels::float::{self, Clamp};
use litesmith_kernels::{Isa, ThreadPool, Window};

use crate::error::{Fault, Refusal, refuse};
use crate::options::Interrupt;
use crate::plan::{Io, lock};
pub(crate) use control::Called;
pub(crate) use gradient::{SharedScratch, between};
pub(crate) use layer::{Addition, PackedLayer};
pub(crate) use samples::{Results, Samples};
pub(crate) use site::{Operand, Site};

/// What steps run on.
#[derive(Clone, Copy)]
pub(crate) struct Machine<'a> {
    /// The best instruction set that may be used.
    pub isa: Isa,
    /// The threads.
    pub pool: &'a ThreadPool,
    /// Whether loops are to end early.
    pub interrupt: &'a Interrupt,
}

/// The computation of a step.
pub(crate) type Work = Box<dyn Fn(Machine<'_>, Io<'_>) -> Result<(), Fault> + Send + Sync>;

/// How a node is computed.
pub(crate) enum Bound {
    /// Its output is its input of this index, byte for byte.
    Alias(usize),
    /// Its output is its first input, each byte taken through a table.
    Table(Box<Table>),
    /// Its output is a function of two quantized inputs, byte by byte.
    Pair(Box<Pair>),
    /// It is a layer of packed weights over its first input.
    Layer(PackedLayer),
    /// Its output is a multiplication or an addition of constants by channel of real numbers.
    Scaling(Scaling),
    /// Its output is a function of its first input, which the layer that it comes from may do, or this step.
    Function(ChannelFunction, Task),
    /// It is the sum of two tensors of real numbers and of one shape, which the layer that one of them
    /// comes from may do, or this step.
    Sum(Clamp, Task),
    /// By these steps.
    Steps(Vec<Task>),
}

impl Bound {
    /// The steps that compute a node alone.
    ///
    /// # Errors
    /// The index of the input that its output is.
    pub(crate) fn tasks(self) -> Result<Vec<Task>, usize> {
        match self {
            Bound::Alias(input) => Err(input),
            Bound::Table(table) => Ok(vec![table_task(*table)]),
            Bound::Pair(pair) => Ok(vec![pair.task()]),
            Bound::Layer(layer) => Ok(vec![layer.task()]),
            Bound::Scaling(scaling) => Ok(vec![scaling.task]),
            Bound::Function(_, task) | Bound::Sum(_, task) => Ok(vec![task]),
            Bound::Steps(tasks) => Ok(tasks),
        }
    }
}

/// What a step computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// The output of this index.
    Output(usize),
    /// All outputs, behind one another as [`grouped`](crate::plan::grouped) places them; possibly none.
    All,
}

/// One step of a node.
pub(crate) struct Task {
    /// What it computes.
    pub target: Target,
    /// Bytes of scratch memory.
    pub scratch: usize,
    /// Whether the output may lie where the first input lies (see [`Io::in_place`]).
    pub in_place: bool,
    /// What it is called in profiles, if it is not what its node is for.
    pub name: Option<&'static str>,
    /// Whether its kernel leaves zeros of the weights out.
    pub sparse: bool,
    /// What it does.
    pub work: Work,
}

impl Task {
    /// A step that computes output 0.
    pub(crate) fn new(
        work: impl Fn(Machine<'_>, Io<'_>) -> Result<(), Fault> + Send + Sync + 'static,
    ) -> Task {
        let target = Target::Output(0);
        Task { target, scratch: 0, in_place: false, name: None, sparse: false, work: Box::new(work) }
    }

    /// The same step with scratch memory.
    pub(crate) fn with_scratch(self, bytes: usize) -> Task {
        Task { scratch: bytes, ..self }
    }

    /// The same step, which can write over its first input.
    pub(crate) fn in_place(self) -> Task {
        Task { in_place: true, ..self }
    }

    /// The same step with a name of its own.
    pub(crate) fn named(self, name: &'static str) -> Task {
        Task { name: Some(name), ..self }
    }

    /// The same step, whose kernel leaves zeros out or does not.
    pub(crate) fn sparse(self, sparse: bool) -> Task {
        Task { sparse, ..self }
    }

    /// The same step, which computes all outputs.
    pub(crate) fn for_all_outputs(self) -> Task {
        Task { target: Target::All, ..self }
    }

    /// The same step for another output.
    pub(crate) fn for_output(self, output: usize) -> Task {
        Task { target: Target::Output(output), ..self }
    }
}

/// A function of two quantized operands.
pub(crate) struct Pair {
    /// Computes an element.
    pub kernel: QuantizedBinary,
    /// How the operands meet.
    pub plan: Broadcast<2>,
    /// The element of an operand that is one constant.
    pub constants: [Option<u8>; 2],
    /// What it does with one operand, by its index, if the other has a constant for each channel.
    pub map: Option<(usize, ChannelMap)>,
}

/// A function of real numbers, each by itself, that may depend on the channel.
pub(crate) enum ChannelFunction {
    /// What is below 0 times the slope of its channel.
    Slopes(Vec<f32>),
    /// The larger of it and a number.
    Maximum(f32),
    /// The smaller.
    Minimum(f32),
}

/// A multiplication or an addition of constants by channel of real numbers.
pub(crate) struct Scaling {
    /// The index of the operand that is no constant.
    pub own: usize,
    /// Whether it multiplies.
    pub multiplies: bool,
    /// One for each channel.
    pub constants: Vec<f32>,
    /// Bounds of the result.
    pub bounds: [f32; 2],
    /// The step that computes it alone.
    pub task: Task,
}

/// The step that multiplies its first input and adds to it.
pub(crate) fn multiply_add_task(map: MultiplyAdd) -> Task {
    Task::new(move |machine, mut io| {
        let input = io.inputs.get(0);
        map.apply(machine.isa, machine.pool, input, io.output_as());
        Ok(())
    })
}

impl Pair {
    /// The step that computes it.
    pub(crate) fn task(self) -> Task {
        Task::new(move |machine, io| {
            let operands = [io.inputs.bytes(0), io.inputs.bytes(1)];
            self.kernel.apply(machine.isa, machine.pool, &self.plan, operands, io.output);
            Ok(())
        })
    }
}

/// The step that maps its first input by channel.
pub(crate) fn map_task(map: ChannelMap) -> Task {
    Task::new(move |machine, io| {
        map.apply(machine.isa, machine.pool, io.inputs.bytes(0), io.output);
        Ok(())
    })
}

/// The step that takes each byte of its first input through a table.
pub(crate) fn table_task(table: Table) -> Task {
    Task::new(move |machine, io| {
        if io.in_place {
            table.apply_in_place(machine.isa, machine.pool, io.output);
        } else {
            table.apply(machine.isa, machine.pool, io.inputs.bytes(0), io.output);
        }
        Ok(())
    })
    .in_place()
}

impl From<Table> for Bound {
    fn from(table: Table) -> Bound {
        if table.is_identity() { Bound::Alias(0) } else { Bound::Table(Box::new(table)) }
    }
}

impl From<Task> for Bound {
    fn from(task: Task) -> Bound {
        Bound::Steps(vec![task])
    }
}

/// Kernels with packed weights, shared by the plans of an interpreter. A kernel depends on the tensor
/// that its node computes and, where padding depends on the size of the input, on its window; that of a
/// float convolution also on its form.
#[derive(Default)]
pub(crate) struct Packed(Mutex<HashMap<(GraphId, TensorId), Vec<PackedKernel>>>);

type PackedKernel = ((Window, float::Form), Arc<dyn Any + Send + Sync>);

impl Packed {
    /// The kernel for this tensor, window and form, made the first time.
    pub(crate) fn get<T: Any + Send + Sync>(
        &self,
        output: (GraphId, TensorId),
        key: (Window, float::Form),
        make: impl FnOnce() -> T,
    ) -> Arc<T> {
        let known = lock(&self.0).get(&output).and_then(|kernels| {
            let (_, kernel) = kernels.iter().find(|(own, _)| *own == key)?;
            Arc::clone(kernel).downcast::<T>().ok()
        });
        known.unwrap_or_else(|| {
            let kernel = Arc::new(make());
            lock(&self.0).entry(output).or_default().push((key, Arc::clone(&kernel) as _));
            kernel
        })
    }
}

/// Binds a node.
pub(crate) fn bind(site: &Site<'_>) -> Result<Bound, Refusal> {
    site.check_types()?;
    match &site.node.op {
        Op::ArgReduce(op) => reduce::arg_reduce(site, op),
        Op::AssignState(_) => state::assign(site),
        Op::BatchMatMul(op) => convolution::batch_matmul(site, op),
        Op::BatchNorm(op) => reduce::batch_norm(site, op),
        Op::BatchNormTraining(op) => gradient::batch_norm_training(site, op),
        Op::BatchToSpace(op) => movement::batch_to_space(site, op),
        Op::Binary(op) => elementwise::binary(site, op),
        Op::BroadcastTo(_) => movement::broadcast_to(site),
        Op::Cast(op) => convert::cast(site, op),
        Op::Compare(op) => elementwise::compare(site, op.kind),
        Op::Concat(op) => movement::concat(site, op),
        Op::Conv2D(op) => convolution::conv_2d(site, op),
        Op::Conv3D(op) => transposed::conv_3d(site, op),
        Op::CumSum(op) => reduce::cumulative_sum(site, op),
        Op::Custom(op) => refuse!("there is no kernel for the custom operator '{}'", op.name),
        Op::DepthwiseConv2D(op) => convolution::depthwise(site, op),
        Op::DepthToSpace(op) => movement::depth_to_space(site, op.block),
        Op::Dequantize(_) => convert::dequantize(site),
        Op::Dropout(_) | Op::ExpandDims(_) | Op::Identity(_) | Op::Reshape(_) | Op::Squeeze(_) => {
            site.same_parameters()?;
            Ok(Bound::Alias(0))
        }
        Op::DropoutTraining(op) => gradient::dropout_training(site, op),
        Op::FakeQuant(op) => convert::fake_quant(site, op),
        Op::FakeQuantTraining(op) => gradient::fake_quant_training(site, op),
        Op::Fill(_) => movement::fill(site),
        Op::FullyConnected(op) => convolution::fully_connected(site, op),
        Op::Gather(op) => movement::gather(site, op),
        Op::GatherNd(_) => movement::gather_nd(site),
        Op::Gradient(op) => gradient::gradient(site, op),
        Op::If(_) => control::if_else(site),
        Op::L2Norm(_) => reduce::l2_norm(site),
        Op::Logical(op) => elementwise::logical(site, op.kind),
        Op::OneHot(op) => movement::one_hot(site, op),
        Op::Pack(op) => movement::pack(site, op),
        Op::Pad(op) if site.node.inputs.len() > 1 => computed::pad_as_given(site, op),
        Op::Pad(op) => movement::pad(site, op),
        Op::Pool2D(op) => pooling::pool_2d(site, op),
        Op::Prelu(_) => elementwise::prelu(site),
        Op::Quantize(_) => convert::quantize(site),
        Op::Range(_) => movement::range(site),
        Op::Recurrent(op) => recurrent::recurrent(site, op),
        Op::ReadState(_) => state::read(site),
        Op::Reduce(op) => reduce::reduce(site, op),
        Op::Resize(op) if site.node.inputs.len() > 1 => computed::resize_to_shape(site, op),
        Op::Resize(op) => pooling::resize(site, op),
        Op::Reverse(op) => movement::reverse(site, op),
        Op::Select(_) => elementwise::select(site),
        Op::ShapeOf(op) => movement::shape_of(site, op),
        Op::Slice(_) if site.node.inputs.len() > 1 => computed::slice(site),
        Op::Slice(op) => movement::slice(site, op),
        Op::Softmax(op) => reduce::softmax(site, op),
        Op::SpaceToBatch(op) => movement::space_to_batch(site, op),
        Op::SpaceToDepth(op) => movement::space_to_depth(site, op.block),
        Op::Split(op) => movement::split(site, op),
        Op::StridedSlice(op) if site.node.inputs.len() > 1 => computed::strided_slice(site, op),
        Op::StridedSlice(op) => movement::strided_slice(site, op),
        Op::Tile(_) if site.node.inputs.len() > 1 => computed::tile_to_shape(site),
        Op::Tile(op) => movement::tile(site, op),
        Op::TopK(op) => reduce::top_k(site, op),
        Op::Transpose(op) => movement::transpose(site, op),
        Op::TransposeConv2D(op) => transposed::transpose_conv_2d(site, op),
        Op::TransposeConv3D(op) => transposed::transpose_conv_3d(site, op),
        Op::Unary(op) => elementwise::unary(site, op.kind),
        Op::Unpack(op) => movement::unpack(site, op),
        Op::UpdateSlice(_) => computed::update_slice(site),
        Op::While(_) => control::while_loop(site),
    }
}

/// Evaluates the body with `$T` standing for the element type of these bits: for operators that
/// only move elements.
macro_rules! by_size {
    ($dtype:expr, $T:ident => $body:expr) => {
        match $dtype.bits() {
            Some(8) => {
                type $T = u8;
                $body
            }
            Some(16) => {
                type $T = u16;
                $body
            }
            Some(32) => {
                type $T = u32;
                $body
            }
            Some(64) => {
                type $T = u64;
                $body
            }
            _ => $crate::error::refuse!("elements of {} cannot be moved", $dtype),
        }
    };
}
pub(crate) use by_size;
