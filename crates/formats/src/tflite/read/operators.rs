//! Reading of operators: one arm for each builtin that the model has an operator for.

mod composed;
mod layers;
mod movement;

use litesmith_graph::ops::{
    ArgKind, AssignState, Binary, BinaryKind, BroadcastTo, Cast, Compare, CompareKind, Concat, CumSum,
    Custom, DepthToSpace, Dequantize, ExpandDims, Fill, GatherNd, L2Norm, Logical, LogicalKind, Pack,
    PadMode, PoolKind, Prelu, Quantize, Range, ReadState, ReduceKind, ResizeKind, Reverse, Select, ShapeOf,
    Slice, Softmax, SpaceToDepth, Squeeze, Tile, TopK, Transpose, Unary, UnaryKind, UpdateSlice,
};
use litesmith_graph::{DType, Data, Dim, Op, Tensor, TensorId, TensorKind};

use super::call::{Call, Refusal, unsupported};
use crate::tflite::schema::{Builtin, UnionType, options};

/// What an operator of a file becomes.
pub(super) enum Decoded {
    /// A node with these inputs.
    Node(Op, Vec<Option<TensorId>>),
    /// A node whose first input is a constant shape, before these inputs.
    NodeWithShape(Op, Vec<i32>, Vec<Option<TensorId>>),
    /// Several nodes; the last gives the outputs.
    Chain(Vec<Link>),
    /// A constant in place of its output.
    Constant(Data),
    /// Nothing: what it does is known already.
    Nothing,
}

/// A node of a chain that stands for one operator of a file.
pub(super) struct Link {
    pub op: Op,
    /// Element type of its output.
    pub dtype: DType,
    pub inputs: Vec<Source>,
}

/// Where a node of a chain takes an input from.
pub(super) enum Source {
    Tensor(TensorId),
    /// The node of this place in the chain, one before.
    Result(usize),
    Constant(Box<Tensor>),
}

type Decode = Result<Decoded, Refusal>;

/// The operator of a call.
pub(super) fn decode(call: &Call<'_>) -> Decode {
    match call.code.builtin {
        Builtin::ADD => add_or_sub(call, BinaryKind::Add, options::add::KIND),
        Builtin::SUB => add_or_sub(call, BinaryKind::Sub, options::sub::KIND),
        Builtin::MUL => arithmetic(call, BinaryKind::Mul, options::mul::KIND),
        Builtin::DIV => arithmetic(call, BinaryKind::Div, options::div::KIND),
        Builtin::MAXIMUM => whole(call, Binary::from(BinaryKind::Maximum)),
        Builtin::MINIMUM => whole(call, Binary::from(BinaryKind::Minimum)),
        Builtin::POW => whole(call, Binary::from(BinaryKind::Pow)),
        Builtin::SQUARED_DIFFERENCE => whole(call, Binary::from(BinaryKind::SquaredDifference)),
        Builtin::FLOOR_DIV => whole(call, Binary::from(BinaryKind::FloorDiv)),
        Builtin::FLOOR_MOD => whole(call, Binary::from(BinaryKind::FloorMod)),
        Builtin::EQUAL => whole(call, Compare { kind: CompareKind::Equal }),
        Builtin::NOT_EQUAL => whole(call, Compare { kind: CompareKind::NotEqual }),
        Builtin::LESS => whole(call, Compare { kind: CompareKind::Less }),
        Builtin::LESS_EQUAL => whole(call, Compare { kind: CompareKind::LessEqual }),
        Builtin::GREATER => whole(call, Compare { kind: CompareKind::Greater }),
        Builtin::GREATER_EQUAL => whole(call, Compare { kind: CompareKind::GreaterEqual }),
        Builtin::LOGICAL_AND => whole(call, Logical { kind: LogicalKind::And }),
        Builtin::LOGICAL_OR => whole(call, Logical { kind: LogicalKind::Or }),
        Builtin::LEAKY_RELU => {
            let options = call.options(options::leaky_relu::KIND)?;
            whole(call, Unary { kind: UnaryKind::LeakyRelu(options.get(options::leaky_relu::ALPHA, 0.0)?) })
        }
        Builtin::GELU => {
            let approximate = call.options(options::gelu::KIND)?.flag(options::gelu::APPROXIMATE)?;
            whole(call, Unary { kind: UnaryKind::Gelu { approximate } })
        }
        Builtin::PRELU => whole(call, Prelu {}),
        Builtin::SELECT => composed::select(call),
        Builtin::ADD_N => composed::add_n(call),
        Builtin::LOCAL_RESPONSE_NORMALIZATION => composed::local_response_normalization(call),
        Builtin::L2_POOL_2D => composed::l2_pool(call),
        Builtin::ZEROS_LIKE => composed::zeros_like(call),
        Builtin::RANK => composed::rank(call),
        Builtin::BROADCAST_ARGS => composed::broadcast_args(call),
        Builtin::EMBEDDING_LOOKUP => composed::embedding_lookup(call),
        Builtin::SELECT_V2 => whole(call, Select {}),
        Builtin::CONV_2D => layers::conv_2d(call),
        Builtin::DEPTHWISE_CONV_2D => layers::depthwise_conv_2d(call),
        Builtin::TRANSPOSE_CONV => layers::transpose_conv_2d(call),
        Builtin::CONV_3D => layers::conv_3d(call),
        Builtin::CONV_3D_TRANSPOSE => layers::transpose_conv_3d(call),
        Builtin::FULLY_CONNECTED => layers::fully_connected(call),
        Builtin::BATCH_MATMUL => layers::batch_matmul(call),
        Builtin::AVERAGE_POOL_2D => layers::pool_2d(call, PoolKind::Average),
        Builtin::MAX_POOL_2D => layers::pool_2d(call, PoolKind::Max),
        Builtin::MEAN => layers::reduce(call, ReduceKind::Mean),
        Builtin::SUM => layers::reduce(call, ReduceKind::Sum),
        // The largest of truth values is whether any holds, the smallest whether all do.
        Builtin::REDUCE_ANY => layers::reduce(call, ReduceKind::Max),
        Builtin::REDUCE_ALL => layers::reduce(call, ReduceKind::Min),
        Builtin::REDUCE_MAX => layers::reduce(call, ReduceKind::Max),
        Builtin::REDUCE_MIN => layers::reduce(call, ReduceKind::Min),
        Builtin::REDUCE_PROD => layers::reduce(call, ReduceKind::Prod),
        Builtin::ARG_MAX => layers::arg_reduce(call, ArgKind::Max),
        Builtin::ARG_MIN => layers::arg_reduce(call, ArgKind::Min),
        Builtin::SOFTMAX => {
            let beta = call.options(options::softmax::KIND)?.get(options::softmax::BETA, 0.0)?;
            whole(call, Softmax { beta, log: false })
        }
        Builtin::LOG_SOFTMAX => whole(call, Softmax { beta: 1.0, log: true }),
        Builtin::L2_NORMALIZATION => {
            let activation =
                call.options(options::l2_norm::KIND)?.activation(options::l2_norm::ACTIVATION)?;
            if !activation.is_none() {
                return unsupported("a fused activation is not supported here");
            }
            whole(call, L2Norm {})
        }
        Builtin::CONCATENATION => {
            let options = call.options(options::concatenation::KIND)?;
            let axis = options.int(options::concatenation::AXIS)?;
            whole(call, Concat { axis, activation: options.activation(options::concatenation::ACTIVATION)? })
        }
        Builtin::PACK => {
            let axis = call.options(options::pack::KIND)?.int(options::pack::AXIS)?;
            whole(call, Pack { axis })
        }
        Builtin::UNPACK => movement::unpack(call),
        Builtin::SPLIT => movement::split(call),
        Builtin::SPLIT_V => movement::split_v(call),
        Builtin::GATHER => movement::gather(call),
        Builtin::RESHAPE => movement::reshape(call),
        Builtin::SQUEEZE => {
            let axes = call.options(options::squeeze::KIND)?.numbers(options::squeeze::SQUEEZE_DIMS)?;
            whole(call, Squeeze { axes: axes.unwrap_or_default() })
        }
        Builtin::EXPAND_DIMS => {
            call.takes(2)?;
            first(call, ExpandDims { axis: call.integer(1, "axis")? })
        }
        Builtin::TRANSPOSE => {
            call.takes(2)?;
            first(call, Transpose { permutation: call.sizes(1, "permutation")? })
        }
        Builtin::TILE => {
            call.takes(2)?;
            if !call.knows(1)? {
                return whole(call, Tile::default());
            }
            first(call, Tile { multiples: call.sizes(1, "multiples")? })
        }
        Builtin::BROADCAST_TO => {
            call.takes(2)?;
            if !call.knows(1)? {
                return whole(call, BroadcastTo::default());
            }
            first(call, BroadcastTo { shape: call.sizes(1, "shape")? })
        }
        Builtin::SLICE => {
            call.takes(3)?;
            if !call.knows(1)? || !call.knows(2)? {
                return whole(call, Slice::default());
            }
            first(call, Slice { begin: call.sizes(1, "begin")?, size: call.integers(2, "size")? })
        }
        Builtin::STRIDED_SLICE => movement::strided_slice(call),
        Builtin::PAD => movement::pad(call, PadMode::Zero, 2),
        Builtin::PADV2 => movement::pad(call, PadMode::Value(movement::pad_value(call)?), 3),
        Builtin::MIRROR_PAD => movement::mirror_pad(call),
        Builtin::RESIZE_BILINEAR => {
            use options::resize_bilinear as slot;
            layers::resize(
                call,
                ResizeKind::Bilinear,
                slot::KIND,
                slot::ALIGN_CORNERS,
                slot::HALF_PIXEL_CENTERS,
            )
        }
        Builtin::RESIZE_NEAREST_NEIGHBOR => {
            use options::resize_nearest_neighbor as slot;
            layers::resize(
                call,
                ResizeKind::Nearest,
                slot::KIND,
                slot::ALIGN_CORNERS,
                slot::HALF_PIXEL_CENTERS,
            )
        }
        Builtin::SPACE_TO_DEPTH => {
            let options = call.options(options::space_to_depth::KIND)?;
            let block = call.size(options.int(options::space_to_depth::BLOCK_SIZE)?, "block")?;
            whole(call, SpaceToDepth { block })
        }
        Builtin::DEPTH_TO_SPACE => {
            let options = call.options(options::depth_to_space::KIND)?;
            let block = call.size(options.int(options::depth_to_space::BLOCK_SIZE)?, "block")?;
            whole(call, DepthToSpace { block })
        }
        Builtin::SPACE_TO_BATCH_ND => movement::space_to_batch(call),
        Builtin::BATCH_TO_SPACE_ND => movement::batch_to_space(call),
        Builtin::REVERSE_V2 => {
            call.takes(2)?;
            first(call, Reverse { axes: call.narrow_integers(1, "axes")? })
        }
        Builtin::GATHER_ND => whole(call, GatherNd {}),
        Builtin::TOPK_V2 => {
            call.takes(2)?;
            let k = call.size(call.integer(1, "number of elements")?, "number of elements")?;
            first(call, TopK { k })
        }
        Builtin::ONE_HOT => movement::one_hot(call),
        Builtin::CUMSUM => {
            use options::cumsum as slot;
            call.takes(2)?;
            let options = call.options(slot::KIND)?;
            let (exclusive, reverse) = (options.flag(slot::EXCLUSIVE)?, options.flag(slot::REVERSE)?);
            first(call, CumSum { axis: call.integer(1, "axis")?, exclusive, reverse })
        }
        Builtin::RANGE => whole(call, Range {}),
        Builtin::FILL => whole(call, Fill {}),
        Builtin::SHAPE => whole(call, ShapeOf { dtype: call.output()?.dtype }),
        Builtin::CAST => whole(call, Cast { to: call.output()?.dtype }),
        Builtin::QUANTIZE => whole(call, Quantize { to: call.output()?.dtype }),
        Builtin::DEQUANTIZE => whole(call, Dequantize {}),
        Builtin::DENSIFY => movement::densify(call),
        Builtin::DYNAMIC_UPDATE_SLICE => whole(call, UpdateSlice {}),
        Builtin::CALL_ONCE | Builtin::VAR_HANDLE => Ok(Decoded::Nothing),
        Builtin::READ_VARIABLE => {
            is_state(call)?;
            whole(call, ReadState {})
        }
        Builtin::ASSIGN_VARIABLE => {
            is_state(call)?;
            whole(call, AssignState {})
        }
        Builtin::CUSTOM => match layers::transpose_conv_with_bias(call)? {
            Some(decoded) => Ok(decoded),
            None => custom(call),
        },
        other => match plain_unary(other) {
            Some(kind) => whole(call, Unary { kind }),
            None => unsupported("there is no such operator in Litesmith yet"),
        },
    }
}

/// Element-wise functions without options.
fn plain_unary(builtin: Builtin) -> Option<UnaryKind> {
    Some(match builtin {
        Builtin::RELU => UnaryKind::Relu,
        Builtin::RELU6 => UnaryKind::Relu6,
        Builtin::RELU_N1_TO_1 => UnaryKind::ReluN1To1,
        Builtin::RELU_0_TO_1 => UnaryKind::Clip { min: 0.0, max: 1.0 },
        Builtin::ELU => UnaryKind::Elu(1.0),
        Builtin::LOGISTIC => UnaryKind::Logistic,
        Builtin::TANH => UnaryKind::Tanh,
        Builtin::HARD_SWISH => UnaryKind::HardSwish,
        Builtin::ABS => UnaryKind::Abs,
        Builtin::NEG => UnaryKind::Neg,
        Builtin::SQUARE => UnaryKind::Square,
        Builtin::SQRT => UnaryKind::Sqrt,
        Builtin::RSQRT => UnaryKind::Rsqrt,
        Builtin::EXP => UnaryKind::Exp,
        Builtin::LOG => UnaryKind::Log,
        Builtin::SIN => UnaryKind::Sin,
        Builtin::COS => UnaryKind::Cos,
        Builtin::FLOOR => UnaryKind::Floor,
        Builtin::CEIL => UnaryKind::Ceil,
        Builtin::ROUND => UnaryKind::Round,
        Builtin::SIGN => UnaryKind::Sign,
        Builtin::LOGICAL_NOT => UnaryKind::LogicalNot,
        _ => return None,
    })
}

/// A node that takes all inputs as they are.
fn whole(call: &Call<'_>, op: impl Into<Op>) -> Decode {
    Ok(Decoded::Node(op.into(), call.inputs.to_vec()))
}

/// A node that takes the first input; the others have become attributes.
fn first(call: &Call<'_>, op: impl Into<Op>) -> Decode {
    Ok(Decoded::Node(op.into(), vec![Some(call.input(0)?)]))
}

fn arithmetic(call: &Call<'_>, kind: BinaryKind, options: UnionType) -> Decode {
    // The fused activation is in slot 0 of the options of all four.
    let activation = call.options(options)?.activation(options::add::ACTIVATION)?;
    whole(call, Binary { kind, activation })
}

fn add_or_sub(call: &Call<'_>, kind: BinaryKind, options: UnionType) -> Decode {
    let tensor = call.tensor(0)?;
    let powers: bool = call.options(options)?.get(options::add::POT_SCALE_INT16, true)?;
    if powers && tensor.dtype == DType::I16 && tensor.quantization.is_some() {
        return unsupported("16-bit integers scaled by powers of two are not supported");
    }
    arithmetic(call, kind, options)
}

/// Refuses to read or write what is not known as a variable.
fn is_state(call: &Call<'_>) -> Result<(), Refusal> {
    match call.tensor(0)?.kind {
        TensorKind::State(_) => Ok(()),
        _ => unsupported("its variable is not known: a VAR_HANDLE must lead to it"),
    }
}

fn custom(call: &Call<'_>) -> Decode {
    let options = call.custom_options()?;
    call.table.file().charge(options.len() + call.code.custom.len())?;
    let outputs = || call.outputs.iter().map(|output| &call.graph[*output]);
    let size = |dim: &Dim| dim.fixed().and_then(|size| i64::try_from(size).ok()).unwrap_or(-1);
    let op = Custom {
        name: call.code.custom.clone(),
        options: options.to_vec(),
        version: call.code.version,
        output_types: outputs().map(|tensor| tensor.dtype).collect(),
        output_shapes: outputs().map(|tensor| tensor.shape.dims().iter().map(size).collect()).collect(),
    };
    whole(call, op)
}
