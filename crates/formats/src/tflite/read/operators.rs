//! Reading of operators: one arm for each builtin that the model has an operator for.

use litesmith_graph::ops::{
    ArgKind, ArgReduce, BatchMatMul, Binary, BinaryKind, BroadcastTo, Cast, Compare, CompareKind, Concat,
    Conv2D, Custom, DepthwiseConv2D, Dequantize, ExpandDims, Fill, FullyConnected, Gather, L2Norm, Logical,
    LogicalKind, Pack, Pad, PadMode, Pool2D, PoolKind, Prelu, Quantize, Reduce, ReduceKind, Reshape,
    ReshapeDim, Resize, ResizeKind, Select, ShapeOf, Slice, Softmax, Split, Squeeze, StridedSlice, Tile,
    Transpose, Unary, UnaryKind, Unpack,
};
use litesmith_graph::{Data, Dim, DType, Op, TensorId};

use super::call::{Call, Refusal, unsupported};
use super::sparsity::to_dense;
use crate::tflite::schema::{Builtin, UnionType, operator, options};

/// What an operator of a file becomes.
pub(super) enum Decoded {
    /// A node with these inputs.
    Node(Op, Vec<Option<TensorId>>),
    /// A constant in place of its output.
    Constant(Data),
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
        Builtin::SELECT => select(call),
        Builtin::SELECT_V2 => whole(call, Select {}),
        Builtin::CONV_2D => conv_2d(call),
        Builtin::DEPTHWISE_CONV_2D => depthwise_conv_2d(call),
        Builtin::FULLY_CONNECTED => fully_connected(call),
        Builtin::BATCH_MATMUL => batch_matmul(call),
        Builtin::AVERAGE_POOL_2D => pool_2d(call, PoolKind::Average),
        Builtin::MAX_POOL_2D => pool_2d(call, PoolKind::Max),
        Builtin::MEAN => reduce(call, ReduceKind::Mean),
        Builtin::SUM => reduce(call, ReduceKind::Sum),
        Builtin::REDUCE_MAX => reduce(call, ReduceKind::Max),
        Builtin::REDUCE_MIN => reduce(call, ReduceKind::Min),
        Builtin::REDUCE_PROD => reduce(call, ReduceKind::Prod),
        Builtin::ARG_MAX => arg_reduce(call, ArgKind::Max),
        Builtin::ARG_MIN => arg_reduce(call, ArgKind::Min),
        Builtin::SOFTMAX => {
            let beta = call.options(options::softmax::KIND)?.get(options::softmax::BETA, 0.0)?;
            whole(call, Softmax { beta, log: false })
        }
        Builtin::LOG_SOFTMAX => whole(call, Softmax { beta: 1.0, log: true }),
        Builtin::L2_NORMALIZATION => {
            let activation = call.options(options::l2_norm::KIND)?.activation(options::l2_norm::ACTIVATION)?;
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
        Builtin::UNPACK => unpack(call),
        Builtin::SPLIT => split(call),
        Builtin::SPLIT_V => split_v(call),
        Builtin::GATHER => gather(call),
        Builtin::RESHAPE => reshape(call),
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
            first(call, Tile { multiples: call.sizes(1, "multiples")? })
        }
        Builtin::BROADCAST_TO => {
            call.takes(2)?;
            first(call, BroadcastTo { shape: call.sizes(1, "shape")? })
        }
        Builtin::SLICE => {
            call.takes(3)?;
            first(call, Slice { begin: call.sizes(1, "begin")?, size: call.integers(2, "size")? })
        }
        Builtin::STRIDED_SLICE => strided_slice(call),
        Builtin::PAD => pad(call, PadMode::Zero, 2),
        Builtin::PADV2 => pad(call, PadMode::Value(pad_value(call)?), 3),
        Builtin::MIRROR_PAD => mirror_pad(call),
        Builtin::RESIZE_BILINEAR => {
            use options::resize_bilinear as slot;
            resize(call, ResizeKind::Bilinear, slot::KIND, slot::ALIGN_CORNERS, slot::HALF_PIXEL_CENTERS)
        }
        Builtin::RESIZE_NEAREST_NEIGHBOR => {
            use options::resize_nearest_neighbor as slot;
            resize(call, ResizeKind::Nearest, slot::KIND, slot::ALIGN_CORNERS, slot::HALF_PIXEL_CENTERS)
        }
        Builtin::FILL => whole(call, Fill {}),
        Builtin::SHAPE => whole(call, ShapeOf { dtype: call.output()?.dtype }),
        Builtin::CAST => whole(call, Cast { to: call.output()?.dtype }),
        Builtin::QUANTIZE => whole(call, Quantize { to: call.output()?.dtype }),
        Builtin::DEQUANTIZE => whole(call, Dequantize {}),
        Builtin::DENSIFY => densify(call),
        Builtin::CUSTOM => custom(call),
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

/// SELECT, whose condition may be a scalar or have the values' shape, or may choose whole rows.
fn select(call: &Call<'_>) -> Decode {
    let rank = call.facts(0)?.shape.rank();
    if rank != 0 && rank != call.facts(1)?.shape.rank() {
        return unsupported("a condition that chooses whole rows is not supported");
    }
    whole(call, Select {})
}

fn conv_2d(call: &Call<'_>) -> Decode {
    use options::conv_2d as slot;
    let options = call.options(slot::KIND)?;
    let channels = call.facts(0)?.shape.last().and_then(Dim::fixed);
    let depth = call.facts(1)?.shape.last().and_then(Dim::fixed);
    let groups = match (channels, depth) {
        (Some(channels), Some(depth)) if depth > 0 && channels % depth == 0 => channels / depth,
        _ => 1,
    };
    let op = Conv2D {
        stride: call.pair(&options, slot::STRIDE_H, slot::STRIDE_W, 0, "stride")?,
        dilation: call.pair(&options, slot::DILATION_H, slot::DILATION_W, 1, "dilation")?,
        padding: call.padding(&options, slot::PADDING)?,
        groups,
        activation: options.activation(slot::ACTIVATION)?,
    };
    whole(call, op)
}

fn depthwise_conv_2d(call: &Call<'_>) -> Decode {
    use options::depthwise_conv_2d as slot;
    let options = call.options(slot::KIND)?;
    let channels = call.facts(0)?.shape.last().and_then(Dim::fixed);
    let out = call.facts(1)?.shape.last().and_then(Dim::fixed);
    // Runtimes go by the shapes, too, where these and the option disagree.
    let multiplier = match (channels, out) {
        (Some(channels), Some(out)) if channels > 0 && out % channels == 0 => out / channels,
        _ => call.size(options.int(slot::DEPTH_MULTIPLIER)?, "depth multiplier")?,
    };
    let op = DepthwiseConv2D {
        stride: call.pair(&options, slot::STRIDE_H, slot::STRIDE_W, 0, "stride")?,
        dilation: call.pair(&options, slot::DILATION_H, slot::DILATION_W, 1, "dilation")?,
        padding: call.padding(&options, slot::PADDING)?,
        multiplier,
        activation: options.activation(slot::ACTIVATION)?,
    };
    whole(call, op)
}

fn fully_connected(call: &Call<'_>) -> Decode {
    use options::fully_connected as slot;
    let options = call.options(slot::KIND)?;
    if options.get(slot::WEIGHTS_FORMAT, 0i8)? != 0 {
        return unsupported("shuffled weights are not supported");
    }
    if options.has(slot::QUANT_SPEC)? {
        return unsupported("a quantization specification of its own is not supported");
    }
    let op = FullyConnected {
        keep_num_dims: options.flag(slot::KEEP_NUM_DIMS)?,
        asymmetric_quantize_inputs: options.flag(slot::ASYMMETRIC_QUANTIZE_INPUTS)?,
        activation: options.activation(slot::ACTIVATION)?,
    };
    whole(call, op)
}

fn batch_matmul(call: &Call<'_>) -> Decode {
    use options::batch_matmul as slot;
    let options = call.options(slot::KIND)?;
    let op = BatchMatMul {
        adjoint_a: options.flag(slot::ADJ_X)?,
        adjoint_b: options.flag(slot::ADJ_Y)?,
        asymmetric_quantize_inputs: options.flag(slot::ASYMMETRIC_QUANTIZE_INPUTS)?,
    };
    whole(call, op)
}

fn pool_2d(call: &Call<'_>, kind: PoolKind) -> Decode {
    use options::pool_2d as slot;
    let options = call.options(slot::KIND)?;
    let op = Pool2D {
        kind,
        kernel: call.pair(&options, slot::FILTER_HEIGHT, slot::FILTER_WIDTH, 0, "window")?,
        stride: call.pair(&options, slot::STRIDE_H, slot::STRIDE_W, 0, "stride")?,
        padding: call.padding(&options, slot::PADDING)?,
        activation: options.activation(slot::ACTIVATION)?,
    };
    whole(call, op)
}

fn reduce(call: &Call<'_>, kind: ReduceKind) -> Decode {
    call.takes(2)?;
    let keep_dims = call.options(options::reducer::KIND)?.flag(options::reducer::KEEP_DIMS)?;
    first(call, Reduce { kind, axes: call.narrow_integers(1, "axes")?, keep_dims })
}

fn arg_reduce(call: &Call<'_>, kind: ArgKind) -> Decode {
    call.takes(2)?;
    first(call, ArgReduce { kind, axis: call.integer(1, "axis")?, dtype: call.output()?.dtype })
}

fn unpack(call: &Call<'_>) -> Decode {
    let options = call.options(options::unpack::KIND)?;
    let parts = call.size(options.int(options::unpack::NUM)?, "number of slices")?;
    // Checked before shapes are inferred for as many outputs as the file claims.
    if parts != call.outputs.len() {
        return Err(call.broken(format!("it has {} outputs for {parts} slices", call.outputs.len())));
    }
    whole(call, Unpack { axis: options.int(options::unpack::AXIS)?, parts })
}

fn split(call: &Call<'_>) -> Decode {
    call.takes(2)?;
    let options = call.options(options::split::KIND)?;
    let parts = call.size(options.int(options::split::NUM_SPLITS)?, "number of parts")?;
    if parts != call.outputs.len() {
        return Err(call.broken(format!("it has {} outputs for {parts} parts", call.outputs.len())));
    }
    let op = Split { axis: call.integer(0, "axis")?, parts, sizes: Vec::new() };
    Ok(Decoded::Node(op.into(), vec![Some(call.input(1)?)]))
}

fn split_v(call: &Call<'_>) -> Decode {
    call.takes(3)?;
    let axis = call.integer(2, "axis")?;
    let given = call.integers(1, "sizes")?;
    if given.len() != call.outputs.len() {
        return Err(call.broken(format!("it has {} outputs for {} parts", call.outputs.len(), given.len())));
    }
    let rest = match given.iter().filter(|size| **size == -1).count() {
        0 => None,
        1 => Some(left_over(call, axis, &given)?),
        _ => return Err(call.broken("more than one part takes what is left over")),
    };
    let size = |size: &i64| match rest {
        Some(rest) if *size == -1 => Ok(rest),
        _ => call.size(*size, "part"),
    };
    let sizes = given.iter().map(size).collect::<Result<Vec<_>, _>>()?;
    first(call, Split { axis, parts: sizes.len(), sizes })
}

/// The size of the one part of a split that is given as -1.
fn left_over(call: &Call<'_>, axis: i32, given: &[i64]) -> Result<usize, Refusal> {
    let dims = call.facts(0)?.shape.dims();
    let index = if axis < 0 { i64::from(axis) + dims.len() as i64 } else { i64::from(axis) };
    let dim = usize::try_from(index).ok().and_then(|index| dims.get(index));
    let length = match dim.map(Dim::fixed) {
        Some(Some(length)) => length,
        Some(None) => return unsupported("one part takes what is left over of an axis of unknown size"),
        None => return Err(call.broken(format!("axis {axis} does not exist"))),
    };
    let others = given.iter().filter(|size| **size != -1).try_fold(0usize, |sum, size| {
        sum.checked_add(usize::try_from(*size).ok()?)
    });
    match others.and_then(|others| length.checked_sub(others)) {
        Some(rest) => Ok(rest),
        None => Err(call.broken(format!("parts of {given:?} do not make an axis of {length}"))),
    }
}

fn gather(call: &Call<'_>) -> Decode {
    let options = call.options(options::gather::KIND)?;
    let batch_dims = call.size(options.int(options::gather::BATCH_DIMS)?, "number of shared axes")?;
    whole(call, Gather { axis: options.int(options::gather::AXIS)?, batch_dims })
}

fn reshape(call: &Call<'_>) -> Decode {
    if call.inputs.len() > 1 && call.constant(1)?.is_none() {
        call.takes(2)?;
        return whole(call, Reshape { shape: None });
    }
    let shape = if call.inputs.len() > 1 {
        call.takes(2)?;
        call.integers(1, "shape")?
    } else {
        let options = call.options(options::reshape::KIND)?;
        let Some(shape) = options.numbers(options::reshape::NEW_SHAPE)? else {
            return Err(call.broken("it has no new shape"));
        };
        // Old files say [0] for a scalar.
        if shape == [0] { Vec::new() } else { shape.into_iter().map(i64::from).collect() }
    };
    let dim = |size: &i64| match size {
        -1 => Ok(ReshapeDim::Infer),
        size => call.size(*size, "new shape").map(ReshapeDim::Fixed),
    };
    first(call, Reshape::to(shape.iter().map(dim).collect::<Result<_, _>>()?))
}

fn strided_slice(call: &Call<'_>) -> Decode {
    use options::strided_slice as slot;
    call.takes(4)?;
    let options = call.options(slot::KIND)?;
    if options.flag(slot::OFFSET)? {
        return unsupported("an end that counts from the beginning of the slice is not supported");
    }
    if options.mask(slot::NEW_AXIS_MASK)? != 0 {
        return unsupported("new axes inside a slice are not supported, EXPAND_DIMS is");
    }
    let slice = StridedSlice {
        begin: call.integers(1, "begin")?,
        end: call.integers(2, "end")?,
        strides: call.integers(3, "strides")?,
        begin_mask: options.mask(slot::BEGIN_MASK)?,
        end_mask: options.mask(slot::END_MASK)?,
        shrink_axis_mask: options.mask(slot::SHRINK_AXIS_MASK)?,
    };
    let ellipsis = options.mask(slot::ELLIPSIS_MASK)?;
    let slice = if ellipsis == 0 { slice } else { without_ellipsis(call, slice, ellipsis)? };
    first(call, slice)
}

/// A slice whose ellipsis is replaced by the whole axes that it stands for.
fn without_ellipsis(call: &Call<'_>, slice: StridedSlice, mask: u32) -> Result<StridedSlice, Refusal> {
    let at = mask.trailing_zeros() as usize;
    let (rank, given) = (call.facts(0)?.shape.rank(), slice.begin.len());
    let same = slice.end.len() == given && slice.strides.len() == given;
    if mask.count_ones() != 1 || at >= given || given > rank + 1 || !same || rank > 31 {
        return Err(call.broken("its ellipsis does not fit its input"));
    }
    let stands_for = rank + 1 - given;
    let replace = |list: &[i64], filler: i64| -> Vec<i64> {
        let middle = std::iter::repeat_n(filler, stands_for);
        list[..at].iter().copied().chain(middle).chain(list[at + 1..].iter().copied()).collect()
    };
    let low = (1u64 << at) - 1;
    let spread = |mask: u32, filler: bool| {
        let mask = u64::from(mask);
        let middle = if filler { ((1u64 << stands_for) - 1) << at } else { 0 };
        ((mask & low) | middle | (mask >> (at + 1) << (at + stands_for))) as u32
    };
    Ok(StridedSlice {
        begin: replace(&slice.begin, 0),
        end: replace(&slice.end, 0),
        strides: replace(&slice.strides, 1),
        begin_mask: spread(slice.begin_mask, true),
        end_mask: spread(slice.end_mask, true),
        shrink_axis_mask: spread(slice.shrink_axis_mask, false),
    })
}

fn pad(call: &Call<'_>, mode: PadMode, inputs: usize) -> Decode {
    call.takes(inputs)?;
    let amounts = call.sizes(1, "padding")?;
    let (pairs, rest) = amounts.as_chunks::<2>();
    if !rest.is_empty() {
        return Err(call.broken(format!("its padding has {} numbers", amounts.len())));
    }
    first(call, Pad { amounts: pairs.to_vec(), mode })
}

/// The real number that PADV2 pads with.
fn pad_value(call: &Call<'_>) -> Result<f32, Refusal> {
    let tensor = call.tensor(2)?;
    let Some(data) = call.constant(2)? else {
        return unsupported("its value is computed while the model runs, only a constant is supported");
    };
    if let Some([value]) = data.floats(tensor.dtype).as_deref() {
        return Ok(*value);
    }
    let scale = match &tensor.quantization {
        Some(quantization) => quantization.single(),
        None => Some((1.0, 0)),
    };
    match (data.integers(tensor.dtype).as_deref(), scale) {
        (Some([integer]), Some((scale, zero_point))) => {
            let steps = integer.saturating_sub(i64::from(zero_point));
            if steps.unsigned_abs() > 1 << f32::MANTISSA_DIGITS {
                return unsupported(format!("its value {integer} is too large"));
            }
            Ok(steps as f32 * scale)
        }
        _ => unsupported("its value is no single number"),
    }
}

fn mirror_pad(call: &Call<'_>) -> Decode {
    use crate::tflite::schema::{MIRROR_REFLECT, MIRROR_SYMMETRIC};
    let options = call.options(options::mirror_pad::KIND)?;
    let mode = match options.get(options::mirror_pad::MODE, MIRROR_REFLECT)? {
        MIRROR_REFLECT => PadMode::Reflect,
        MIRROR_SYMMETRIC => PadMode::Symmetric,
        mode => return Err(call.broken(format!("its mode is {mode}"))),
    };
    pad(call, mode, 2)
}

fn resize(call: &Call<'_>, kind: ResizeKind, union: UnionType, corners: usize, centers: usize) -> Decode {
    call.takes(2)?;
    let options = call.options(union)?;
    let size = call.sizes(1, "size")?;
    let Ok(size) = <[usize; 2]>::try_from(size.as_slice()) else {
        return Err(call.broken(format!("its size has {} numbers", size.len())));
    };
    let op = Resize {
        kind,
        size,
        align_corners: options.flag(corners)?,
        half_pixel_centers: options.flag(centers)?,
    };
    first(call, op)
}

/// DENSIFY of a constant: the constant itself, no longer sparse.
fn densify(call: &Call<'_>) -> Decode {
    call.takes(1)?;
    let tensor = call.tensor(0)?;
    let (Some(data), Some(sparsity)) = (call.constant(0)?, &tensor.sparsity) else {
        return unsupported("only a sparse constant can be made dense");
    };
    if call.output()?.dtype != tensor.dtype || call.output()?.shape != tensor.shape {
        return Err(call.broken("its output differs from its input in type or shape"));
    }
    let shape = tensor.shape.to_fixed().unwrap_or_default();
    let size = tensor.dtype.bytes(1);
    let length = tensor.shape.elements().and_then(|elements| tensor.dtype.bytes(elements));
    let (Some(size), Some(length)) = (size, length) else { return Err(call.broken("it is too large")) };
    // What the file makes us allocate is paid for, at a rate that allows 99% of zeros.
    call.table.file().charge(length / 100)?;
    match to_dense(sparsity, &shape, size, data.bytes(), length) {
        Some(dense) => Ok(Decoded::Constant(Data::from_vec(dense))),
        None => Err(call.broken("its sparsity leads outside the tensor")),
    }
}

fn custom(call: &Call<'_>) -> Decode {
    let file = call.table.file();
    let small = call.table.bytes(operator::CUSTOM_OPTIONS)?.unwrap_or_default();
    let offset: u64 = call.table.scalar(operator::LARGE_CUSTOM_OPTIONS_OFFSET, 0)?;
    let options = match offset {
        0 | 1 => small,
        offset => file.slice(offset, call.table.scalar(operator::LARGE_CUSTOM_OPTIONS_SIZE, 0)?)?,
    };
    file.charge(options.len() + call.code.custom.len())?;
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
