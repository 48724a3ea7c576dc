//! Writing of operators: the options and operands of each.

use half::f16;
use litesmith_graph::operator::Facts;
use litesmith_graph::ops::{
    Activation, ArgKind, BinaryKind, Conv2D, DepthwiseConv2D, FullyConnected, Pad, PadMode, Padding, Pool2D,
    Reshape, ReshapeDim, Resize, ResizeKind, Split, StridedSlice, TransposeConv2D, UnaryKind,
};
use litesmith_graph::{DType, Dim, Graph, Node, Op, Tensor, TensorId};

use crate::tflite::flatbuffer::builder::Table;
use crate::tflite::names::builtin;
use crate::tflite::schema::{self, Builtin, UnionType, options};

/// A node with what is known of its tensors.
pub(super) struct Site<'a> {
    pub graph: &'a Graph,
    pub node: &'a Node,
    pub facts: &'a [Facts],
}

/// An operator as the file will have it.
pub(super) struct Encoded {
    pub builtin: Builtin,
    pub options: Option<(UnionType, Table)>,
    pub operands: Vec<Operand>,
}

/// An input of an operator.
pub(super) enum Operand {
    Tensor(TensorId),
    Absent,
    /// A constant that stands for attributes.
    Constant(Constant),
}

/// A constant that stands for attributes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Constant {
    pub name: &'static str,
    pub dtype: DType,
    pub shape: Vec<usize>,
    pub bytes: Vec<u8>,
    /// Bits of the scales, and the zero point of all of them. Several go along the first axis.
    pub quantization: Option<(Vec<u32>, i32)>,
}

impl Site<'_> {
    pub fn tensor(&self, input: usize) -> Option<&Tensor> {
        self.node.inputs.get(input).copied().flatten().map(|id| &self.graph[id])
    }

    pub fn facts(&self, input: usize) -> Option<&Facts> {
        self.node.inputs.get(input).copied().flatten().map(|id| &self.facts[id.index()])
    }

    /// The element type of an input.
    pub fn input_type(&self, input: usize) -> Option<DType> {
        self.facts(input).map(|facts| facts.dtype)
    }

    /// The first output.
    pub fn output(&self) -> Option<&Tensor> {
        self.node.outputs.first().map(|id| &self.graph[*id])
    }

    /// The inputs as they are, with those behind the last one that is there left out.
    fn operands(&self) -> Vec<Operand> {
        let mut operands: Vec<Operand> =
            self.node.inputs.iter().map(|input| input.map_or(Operand::Absent, Operand::Tensor)).collect();
        while let Some(Operand::Absent) = operands.last() {
            operands.pop();
        }
        operands
    }

    /// All inputs, and constants behind them.
    fn operands_and<const N: usize>(&self, constants: [Constant; N]) -> Vec<Operand> {
        let mut operands = self.operands();
        operands.extend(constants.map(Operand::Constant));
        operands
    }
}

/// What a node is in a file.
///
/// # Errors
/// The reason why TFLite has no such operator.
pub(super) fn encode(site: &Site<'_>) -> Result<Encoded, String> {
    let Some(builtin) = builtin(&site.node.op) else {
        return Err("TFLite has no such operator: legalize the model first".into());
    };
    // Truth values have reductions of their own.
    let builtin = match builtin {
        Builtin::REDUCE_MAX if site.input_type(0) == Some(DType::Bool) => Builtin::REDUCE_ANY,
        Builtin::REDUCE_MIN if site.input_type(0) == Some(DType::Bool) => Builtin::REDUCE_ALL,
        other => other,
    };
    let options = encode_options(site)?;
    let operands = encode_operands(site)?;
    Ok(Encoded { builtin, options, operands })
}

fn encode_options(site: &Site<'_>) -> Result<Option<(UnionType, Table)>, String> {
    use schema::{activation_code, type_code};
    let table = Table::default();
    Ok(Some(match &site.node.op {
        Op::ArgReduce(op) => {
            let (kind, slot) = match op.kind {
                ArgKind::Max => (options::arg_max::KIND, options::arg_max::OUTPUT_TYPE),
                ArgKind::Min => (options::arg_min::KIND, options::arg_min::OUTPUT_TYPE),
            };
            (kind, table.scalar(slot, type_code(op.dtype), 0))
        }
        Op::BatchMatMul(op) => {
            use options::batch_matmul as slot;
            let table = table
                .scalar(slot::ADJ_X, op.adjoint_a, false)
                .scalar(slot::ADJ_Y, op.adjoint_b, false)
                .scalar(slot::ASYMMETRIC_QUANTIZE_INPUTS, op.asymmetric_quantize_inputs, false);
            (slot::KIND, table)
        }
        Op::Binary(op) => {
            let activation = activation_code(op.activation);
            let sixteen = site.input_type(0) == Some(DType::I16);
            match op.kind {
                BinaryKind::Add => {
                    use options::add as slot;
                    let table = table.scalar(slot::POT_SCALE_INT16, !sixteen, true);
                    (slot::KIND, table.scalar(slot::ACTIVATION, activation, 0))
                }
                BinaryKind::Sub => {
                    use options::sub as slot;
                    let table = table.scalar(slot::POT_SCALE_INT16, !sixteen, true);
                    (slot::KIND, table.scalar(slot::ACTIVATION, activation, 0))
                }
                BinaryKind::Mul => {
                    (options::mul::KIND, table.scalar(options::mul::ACTIVATION, activation, 0))
                }
                BinaryKind::Div => {
                    (options::div::KIND, table.scalar(options::div::ACTIVATION, activation, 0))
                }
                _ if op.activation.is_none() => return Ok(None),
                _ => return Err("TFLite fuses no activation with it: legalize the model first".into()),
            }
        }
        Op::Cast(op) => {
            use options::cast as slot;
            let from = site.input_type(0).map_or(0, type_code);
            let table = table.scalar(slot::IN_DATA_TYPE, from, 0);
            (slot::KIND, table.scalar(slot::OUT_DATA_TYPE, type_code(op.to), 0))
        }
        Op::Concat(op) => {
            use options::concatenation as slot;
            let table = table.scalar(slot::AXIS, op.axis, 0);
            (slot::KIND, table.scalar(slot::ACTIVATION, activation_code(op.activation), 0))
        }
        Op::Conv2D(op) => conv_2d(site, op)?,
        Op::Conv3D(op) => conv_3d(op.stride, op.dilation, op.padding, op.activation)?,
        Op::CumSum(op) => {
            use options::cumsum as slot;
            let table = table.scalar(slot::EXCLUSIVE, op.exclusive, false);
            (slot::KIND, table.scalar(slot::REVERSE, op.reverse, false))
        }
        Op::DepthToSpace(op) => {
            use options::depth_to_space as slot;
            (slot::KIND, table.scalar(slot::BLOCK_SIZE, narrow(op.block, "block")?, 0))
        }
        Op::DepthwiseConv2D(op) => depthwise_conv_2d(op)?,
        Op::FullyConnected(op) => fully_connected(site, op),
        Op::Gather(op) => {
            use options::gather as slot;
            let table = table.scalar(slot::AXIS, op.axis, 0);
            (slot::KIND, table.scalar(slot::BATCH_DIMS, narrow(op.batch_dims, "number of shared axes")?, 0))
        }
        Op::OneHot(op) => (options::one_hot::KIND, table.scalar(options::one_hot::AXIS, op.axis, 0)),
        Op::Pack(op) => {
            use options::pack as slot;
            let count = narrow(site.node.inputs.len(), "number of inputs")?;
            (slot::KIND, table.scalar(slot::VALUES_COUNT, count, 0).scalar(slot::AXIS, op.axis, 0))
        }
        Op::Pad(op) => {
            let mode = match op.mode {
                PadMode::Zero | PadMode::Value(_) => return Ok(None),
                PadMode::Reflect => schema::MIRROR_REFLECT,
                PadMode::Symmetric => schema::MIRROR_SYMMETRIC,
            };
            (options::mirror_pad::KIND, table.scalar(options::mirror_pad::MODE, mode, 0))
        }
        Op::Pool2D(op) => pool_2d(op)?,
        Op::Reduce(op) => {
            (options::reducer::KIND, table.scalar(options::reducer::KEEP_DIMS, op.keep_dims, false))
        }
        Op::Resize(op) => resize(op),
        Op::ShapeOf(op) => {
            (options::shape::KIND, table.scalar(options::shape::OUT_TYPE, type_code(op.dtype), 0))
        }
        Op::Softmax(op) if op.log && op.beta != 1.0 => {
            return Err("LOG_SOFTMAX has no beta: legalize the model first".into());
        }
        Op::Softmax(op) if op.log => return Ok(None),
        Op::Softmax(op) => (options::softmax::KIND, table.scalar(options::softmax::BETA, op.beta, 0.0)),
        Op::SpaceToDepth(op) => {
            use options::space_to_depth as slot;
            (slot::KIND, table.scalar(slot::BLOCK_SIZE, narrow(op.block, "block")?, 0))
        }
        Op::Split(op) => {
            let parts = narrow(op.parts, "number of parts")?;
            match op.sizes.is_empty() {
                true => (options::split::KIND, table.scalar(options::split::NUM_SPLITS, parts, 0)),
                false => (options::split_v::KIND, table.scalar(options::split_v::NUM_SPLITS, parts, 0)),
            }
        }
        Op::Squeeze(op) => (options::squeeze::KIND, table.numbers(options::squeeze::SQUEEZE_DIMS, &op.axes)),
        Op::StridedSlice(op) => strided_slice(op),
        Op::TransposeConv2D(op) => transpose_conv_2d(site, op)?,
        Op::TransposeConv3D(op) => conv_3d(op.stride, [1; 3], op.padding, op.activation)?,
        Op::Unary(op) => match op.kind {
            UnaryKind::LeakyRelu(alpha) => {
                (options::leaky_relu::KIND, table.scalar(options::leaky_relu::ALPHA, alpha, 0.0))
            }
            UnaryKind::Gelu { approximate } => {
                (options::gelu::KIND, table.scalar(options::gelu::APPROXIMATE, approximate, false))
            }
            _ => return Ok(None),
        },
        Op::Unpack(op) => {
            use options::unpack as slot;
            let parts = narrow(op.parts, "number of slices")?;
            (slot::KIND, table.scalar(slot::NUM, parts, 0).scalar(slot::AXIS, op.axis, 0))
        }
        // These have no options, or none that say more than their operands.
        Op::BatchToSpace(_)
        | Op::BroadcastTo(_)
        | Op::Compare(_)
        | Op::Custom(_)
        | Op::Dequantize(_)
        | Op::ExpandDims(_)
        | Op::Fill(_)
        | Op::GatherNd(_)
        | Op::L2Norm(_)
        | Op::Logical(_)
        | Op::Prelu(_)
        | Op::Quantize(_)
        | Op::Range(_)
        | Op::Reshape(_)
        | Op::Reverse(_)
        | Op::Select(_)
        | Op::Slice(_)
        | Op::SpaceToBatch(_)
        | Op::Tile(_)
        | Op::TopK(_)
        | Op::Transpose(_) => return Ok(None),
        Op::AssignState(_) | Op::ReadState(_) | Op::UpdateSlice(_) => return Ok(None),
        Op::If(op) => {
            use options::if_else as slot;
            let table = table.scalar(slot::THEN_SUBGRAPH_INDEX, op.then_graph.0.cast_signed(), 0);
            (slot::KIND, table.scalar(slot::ELSE_SUBGRAPH_INDEX, op.else_graph.0.cast_signed(), 0))
        }
        Op::While(op) => {
            use options::while_loop as slot;
            let table = table.scalar(slot::COND_SUBGRAPH_INDEX, op.condition.0.cast_signed(), 0);
            (slot::KIND, table.scalar(slot::BODY_SUBGRAPH_INDEX, op.body.0.cast_signed(), 0))
        }
        // High-level operators have been refused.
        Op::BatchNorm(_) | Op::Dropout(_) | Op::FakeQuant(_) | Op::Identity(_) | Op::Recurrent(_) => {
            return Ok(None);
        }
    }))
}

fn encode_operands(site: &Site<'_>) -> Result<Vec<Operand>, String> {
    Ok(match &site.node.op {
        Op::ArgReduce(op) => site.operands_and([scalar("axis", op.axis)]),
        Op::BatchToSpace(op) => site.operands_and([sizes("block", &op.block)?, pairs("crops", &op.crops)?]),
        Op::BroadcastTo(op) if site.node.inputs.len() == 1 => site.operands_and([sizes("shape", &op.shape)?]),
        Op::Conv2D(_) | Op::DepthwiseConv2D(_) if site.tensor(2).is_none() => {
            site.operands_and([zero_bias(site)?])
        }
        Op::CumSum(op) => site.operands_and([scalar("axis", op.axis)]),
        Op::ExpandDims(op) => site.operands_and([scalar("axis", op.axis)]),
        Op::FullyConnected(_) => {
            let mut operands = site.operands();
            // Only newer runtimes know it with two inputs.
            operands.resize_with(3, || Operand::Absent);
            operands
        }
        Op::OneHot(op) => {
            let mut operands = site.operands();
            operands.insert(1, Operand::Constant(scalar("depth", narrow(op.depth, "depth")?)));
            operands
        }
        Op::Pad(op) => pad_operands(site, op)?,
        Op::Reduce(op) => site.operands_and([vector("axes", &op.axes)]),
        Op::Reshape(op) => reshape_operands(site, op)?,
        Op::Resize(op) if site.node.inputs.len() == 1 => site.operands_and([sizes("size", &op.size)?]),
        Op::Reverse(op) => site.operands_and([vector("axes", &op.axes)]),
        Op::Slice(op) if site.node.inputs.len() == 1 => {
            let size = op.size.iter().map(|size| i32::try_from(*size)).collect::<Result<Vec<_>, _>>();
            let size = size.map_err(|_| "its size is beyond 32 bits".to_owned())?;
            site.operands_and([sizes("begin", &op.begin)?, vector("size", &size)])
        }
        Op::SpaceToBatch(op) => {
            site.operands_and([sizes("block", &op.block)?, pairs("padding", &op.padding)?])
        }
        Op::Split(Split { axis, sizes: parts, .. }) => {
            let mut operands = site.operands();
            if parts.is_empty() {
                operands.insert(0, Operand::Constant(scalar("axis", *axis)));
                operands
            } else {
                site.operands_and([sizes("sizes", parts)?, scalar("axis", *axis)])
            }
        }
        Op::StridedSlice(op) if site.node.inputs.len() == 1 => {
            // No axis is longer than 32 bits tell, so that clamping changes nothing.
            let clamp = |index: &i64| (*index).clamp(i32::MIN.into(), i32::MAX.into()) as i32;
            let list = |name, list: &[i64]| vector(name, &list.iter().map(clamp).collect::<Vec<_>>());
            let lists = [list("begin", &op.begin), list("end", &op.end), list("strides", &op.strides)];
            site.operands_and(lists)
        }
        Op::Tile(op) if site.node.inputs.len() == 1 => {
            site.operands_and([sizes("multiples", &op.multiples)?])
        }
        Op::TopK(op) => site.operands_and([scalar("k", narrow(op.k, "number of elements")?)]),
        Op::Transpose(op) => site.operands_and([sizes("permutation", &op.permutation)?]),
        _ => site.operands(),
    })
}

fn conv_2d(site: &Site<'_>, op: &Conv2D) -> Result<(UnionType, Table), String> {
    use options::conv_2d as slot;
    let table = Table::default()
        .scalar(slot::PADDING, padding(op.padding)?, schema::PADDING_SAME)
        .scalar(slot::STRIDE_W, narrow(op.stride[1], "stride")?, 0)
        .scalar(slot::STRIDE_H, narrow(op.stride[0], "stride")?, 0)
        .scalar(slot::ACTIVATION, schema::activation_code(op.activation), 0)
        .scalar(slot::DILATION_W, narrow(op.dilation[1], "dilation")?, 1)
        .scalar(slot::DILATION_H, narrow(op.dilation[0], "dilation")?, 1)
        .scalar(slot::QUANTIZED_BIAS_TYPE, bias_type(site, 0, 2), 0);
    Ok((slot::KIND, table))
}

/// A bias of zeros: runtimes take no convolution without one.
fn zero_bias(site: &Site<'_>) -> Result<Constant, String> {
    let output = site.node.outputs.first().map(|id| &site.facts[id.index()].shape);
    let Some(channels) = output.and_then(|shape| shape.last()).and_then(Dim::fixed) else {
        return Err("its number of output channels is not fixed".into());
    };
    let input = site.tensor(0).and_then(|tensor| tensor.quantization.as_ref()?.single());
    let weights = site.tensor(1).and_then(|tensor| tensor.quantization.as_ref());
    let (dtype, quantization) = match (site.input_type(0), input, weights) {
        (Some(DType::F32 | DType::F16), ..) => (DType::F32, None),
        (Some(dtype), Some((scale, _)), Some(weights)) => {
            let scales = weights.scales.iter().map(|of_weights| (scale * of_weights).to_bits()).collect();
            (if dtype == DType::I16 { DType::I64 } else { DType::I32 }, Some((scales, 0)))
        }
        _ => return Err("its bias is missing, and its type is not known without quantization".into()),
    };
    let bytes = vec![0; dtype.bytes(channels).ok_or("it has too many channels")?];
    Ok(Constant { name: "bias", dtype, shape: vec![channels], bytes, quantization })
}

fn depthwise_conv_2d(op: &DepthwiseConv2D) -> Result<(UnionType, Table), String> {
    use options::depthwise_conv_2d as slot;
    let table = Table::default()
        .scalar(slot::PADDING, padding(op.padding)?, schema::PADDING_SAME)
        .scalar(slot::STRIDE_W, narrow(op.stride[1], "stride")?, 0)
        .scalar(slot::STRIDE_H, narrow(op.stride[0], "stride")?, 0)
        .scalar(slot::DEPTH_MULTIPLIER, narrow(op.multiplier, "multiplier")?, 0)
        .scalar(slot::ACTIVATION, schema::activation_code(op.activation), 0)
        .scalar(slot::DILATION_W, narrow(op.dilation[1], "dilation")?, 1)
        .scalar(slot::DILATION_H, narrow(op.dilation[0], "dilation")?, 1);
    Ok((slot::KIND, table))
}

fn transpose_conv_2d(site: &Site<'_>, op: &TransposeConv2D) -> Result<(UnionType, Table), String> {
    use options::transpose_conv as slot;
    let table = Table::default()
        .scalar(slot::PADDING, padding(op.padding)?, schema::PADDING_SAME)
        .scalar(slot::STRIDE_W, narrow(op.stride[1], "stride")?, 0)
        .scalar(slot::STRIDE_H, narrow(op.stride[0], "stride")?, 0)
        .scalar(slot::ACTIVATION, schema::activation_code(op.activation), 0)
        .scalar(slot::QUANTIZED_BIAS_TYPE, bias_type(site, 2, 3), 0);
    Ok((slot::KIND, table))
}

/// The options of convolutions of volumes, transposed or not.
fn conv_3d(
    stride: [usize; 3],
    dilation: [usize; 3],
    around: Padding,
    activation: Activation,
) -> Result<(UnionType, Table), String> {
    use options::conv_3d as slot;
    let table = Table::default()
        .scalar(slot::PADDING, padding(around)?, schema::PADDING_SAME)
        .scalar(slot::STRIDE_D, narrow(stride[0], "stride")?, 0)
        .scalar(slot::STRIDE_W, narrow(stride[2], "stride")?, 0)
        .scalar(slot::STRIDE_H, narrow(stride[1], "stride")?, 0)
        .scalar(slot::ACTIVATION, schema::activation_code(activation), 0)
        .scalar(slot::DILATION_D, narrow(dilation[0], "dilation")?, 1)
        .scalar(slot::DILATION_W, narrow(dilation[2], "dilation")?, 1)
        .scalar(slot::DILATION_H, narrow(dilation[1], "dilation")?, 1);
    Ok((slot::KIND, table))
}

fn fully_connected(site: &Site<'_>, op: &FullyConnected) -> (UnionType, Table) {
    use options::fully_connected as slot;
    let table = Table::default()
        .scalar(slot::ACTIVATION, schema::activation_code(op.activation), 0)
        .scalar(slot::KEEP_NUM_DIMS, op.keep_num_dims, false)
        .scalar(slot::ASYMMETRIC_QUANTIZE_INPUTS, op.asymmetric_quantize_inputs, false)
        .scalar(slot::QUANTIZED_BIAS_TYPE, bias_type(site, 0, 2), 0);
    (slot::KIND, table)
}

/// The type of a quantized bias, which is told only where activations have 16 bits. `image` and `bias`
/// are the operands' places.
fn bias_type(site: &Site<'_>, image: usize, bias: usize) -> i8 {
    match (site.input_type(image), site.input_type(bias).unwrap_or(DType::I64)) {
        (Some(DType::I16), bias @ (DType::I32 | DType::I64)) => schema::type_code(bias),
        _ => 0,
    }
}

fn pool_2d(op: &Pool2D) -> Result<(UnionType, Table), String> {
    use options::pool_2d as slot;
    let table = Table::default()
        .scalar(slot::PADDING, padding(op.padding)?, schema::PADDING_SAME)
        .scalar(slot::STRIDE_W, narrow(op.stride[1], "stride")?, 0)
        .scalar(slot::STRIDE_H, narrow(op.stride[0], "stride")?, 0)
        .scalar(slot::FILTER_WIDTH, narrow(op.kernel[1], "window")?, 0)
        .scalar(slot::FILTER_HEIGHT, narrow(op.kernel[0], "window")?, 0)
        .scalar(slot::ACTIVATION, schema::activation_code(op.activation), 0);
    Ok((slot::KIND, table))
}

fn resize(op: &Resize) -> (UnionType, Table) {
    use options::{resize_bilinear, resize_nearest_neighbor};
    let (kind, corners, centers) = match op.kind {
        ResizeKind::Bilinear => {
            (resize_bilinear::KIND, resize_bilinear::ALIGN_CORNERS, resize_bilinear::HALF_PIXEL_CENTERS)
        }
        ResizeKind::Nearest => (
            resize_nearest_neighbor::KIND,
            resize_nearest_neighbor::ALIGN_CORNERS,
            resize_nearest_neighbor::HALF_PIXEL_CENTERS,
        ),
    };
    let table = Table::default().scalar(corners, op.align_corners, false);
    (kind, table.scalar(centers, op.half_pixel_centers, false))
}

fn strided_slice(op: &StridedSlice) -> (UnionType, Table) {
    use options::strided_slice as slot;
    let table = Table::default()
        .scalar(slot::BEGIN_MASK, op.begin_mask.cast_signed(), 0)
        .scalar(slot::END_MASK, op.end_mask.cast_signed(), 0)
        .scalar(slot::SHRINK_AXIS_MASK, op.shrink_axis_mask.cast_signed(), 0);
    (slot::KIND, table)
}

fn padding(padding: Padding) -> Result<i8, String> {
    match padding {
        Padding::Same => Ok(schema::PADDING_SAME),
        Padding::Valid => Ok(schema::PADDING_VALID),
        Padding::Explicit { .. } => {
            Err("TFLite pads with SAME, VALID or a PAD operator: legalize the model first".into())
        }
    }
}

/// The new shape as a constant, unless it is computed.
fn reshape_operands(site: &Site<'_>, op: &Reshape) -> Result<Vec<Operand>, String> {
    let Some(shape) = &op.shape else { return Ok(site.operands()) };
    let input = site.facts(0).map(|facts| facts.shape.dims()).unwrap_or_default();
    let mut dims = Vec::new();
    for dim in shape {
        dims.push(match dim {
            ReshapeDim::Fixed(size) => narrow(*size, "new shape")?,
            ReshapeDim::Infer => -1,
            ReshapeDim::Copy(axis) => match input.get(*axis).and_then(Dim::fixed) {
                Some(size) => narrow(size, "new shape")?,
                None => -1,
            },
        });
    }
    if dims.iter().filter(|dim| **dim == -1).count() > 1 {
        return Err("more than one axis of the new shape is known only at run time: legalize the model \
                    first, which computes the shape"
            .into());
    }
    let first = site.operands().into_iter().take(1);
    Ok(first.chain([Operand::Constant(vector("shape", &dims))]).collect())
}

fn pad_operands(site: &Site<'_>, op: &Pad) -> Result<Vec<Operand>, String> {
    if site.node.inputs.len() > 1 {
        return match op.mode {
            PadMode::Value(value) => Ok(site.operands_and([pad_value(site, value)?])),
            PadMode::Zero | PadMode::Reflect | PadMode::Symmetric => Ok(site.operands()),
        };
    }
    let amounts = pairs("padding", &op.amounts)?;
    match op.mode {
        PadMode::Value(value) => Ok(site.operands_and([amounts, pad_value(site, value)?])),
        PadMode::Zero | PadMode::Reflect | PadMode::Symmetric => Ok(site.operands_and([amounts])),
    }
}

/// The value that PADV2 pads with, in the type and quantization of its input.
fn pad_value(site: &Site<'_>, value: f32) -> Result<Constant, String> {
    let Some(input) = site.tensor(0) else { return Err("it has no input".into()) };
    let dtype = input.dtype;
    let single = input.quantization.as_ref().map(|quantization| quantization.single());
    let (integer, quantization) = match single {
        Some(Some((scale, zero_point))) => {
            let integer = (value / scale).round() + zero_point as f32;
            (integer, Some((vec![scale.to_bits()], zero_point)))
        }
        Some(None) => return Err("its input has a scale for each channel".into()),
        None => (value, None),
    };
    // Casts to integers saturate, which is what quantization does.
    let bytes = match dtype {
        DType::F32 => value.to_le_bytes().to_vec(),
        DType::F16 => f16::from_f32(value).to_le_bytes().to_vec(),
        _ if quantization.is_none() && integer.fract() != 0.0 => {
            return Err(format!("{value} is no {dtype}"));
        }
        DType::I8 => (integer as i8).to_le_bytes().to_vec(),
        DType::U8 => (integer as u8).to_le_bytes().to_vec(),
        DType::I16 => (integer as i16).to_le_bytes().to_vec(),
        DType::I32 => (integer as i32).to_le_bytes().to_vec(),
        DType::I64 => (integer as i64).to_le_bytes().to_vec(),
        _ => return Err(format!("TFLite pads no {dtype} with a value")),
    };
    Ok(Constant { name: "value", dtype, shape: Vec::new(), bytes, quantization })
}

fn scalar(name: &'static str, value: i32) -> Constant {
    Constant { shape: Vec::new(), ..vector(name, &[value]) }
}

fn vector(name: &'static str, values: &[i32]) -> Constant {
    let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    Constant { name, dtype: DType::I32, shape: vec![values.len()], bytes, quantization: None }
}

fn sizes(name: &'static str, values: &[usize]) -> Result<Constant, String> {
    let values = values.iter().map(|value| narrow(*value, name)).collect::<Result<Vec<_>, _>>()?;
    Ok(vector(name, &values))
}

fn pairs(name: &'static str, values: &[[usize; 2]]) -> Result<Constant, String> {
    Ok(Constant { shape: vec![values.len(), 2], ..sizes(name, values.as_flattened())? })
}

fn narrow(value: usize, what: &str) -> Result<i32, String> {
    i32::try_from(value).map_err(|_| format!("its {what} of {value} is beyond 32 bits"))
}
