//! The options of every operator.

use litesmith_graph::Op;

use super::{Site, arithmetic, layers, movement};
use crate::tflite::flatbuffer::builder::Table;
use crate::tflite::schema::{UnionType, activation_code, options, type_code};

/// A table of options and which one of the union it is.
pub(in super::super) type Options = (UnionType, Table);

/// The options of a node, where its operator has any.
///
/// # Errors
/// The reason why TFLite has no such operator.
pub(super) fn of(site: &Site<'_>) -> Result<Option<Options>, String> {
    let table = Table::default();
    Ok(Some(match &site.node.op {
        Op::ArgReduce(op) => arithmetic::arg_reduce(op),
        Op::BatchMatMul(op) => layers::batch_matmul(op),
        Op::Binary(op) => return arithmetic::binary(site, op),
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
        Op::Conv2D(op) => layers::conv_2d(site, op)?,
        Op::Conv3D(op) => layers::conv_3d(op.stride, op.dilation, op.padding, op.activation)?,
        Op::CumSum(op) => {
            use options::cumsum as slot;
            let table = table.scalar(slot::EXCLUSIVE, op.exclusive, false);
            (slot::KIND, table.scalar(slot::REVERSE, op.reverse, false))
        }
        Op::DepthToSpace(op) => movement::depth_to_space(op)?,
        Op::DepthwiseConv2D(op) => layers::depthwise_conv_2d(op)?,
        Op::FullyConnected(op) => layers::fully_connected(site, op),
        Op::Gather(op) => movement::gather(op)?,
        Op::If(op) => {
            use options::if_else as slot;
            let table = table.scalar(slot::THEN_SUBGRAPH_INDEX, op.then_graph.0.cast_signed(), 0);
            (slot::KIND, table.scalar(slot::ELSE_SUBGRAPH_INDEX, op.else_graph.0.cast_signed(), 0))
        }
        Op::OneHot(op) => (options::one_hot::KIND, table.scalar(options::one_hot::AXIS, op.axis, 0)),
        Op::Pack(op) => movement::pack(site, op)?,
        Op::Pad(op) => return Ok(movement::pad(op)),
        Op::Pool2D(op) => layers::pool_2d(op)?,
        Op::Reduce(op) => {
            (options::reducer::KIND, table.scalar(options::reducer::KEEP_DIMS, op.keep_dims, false))
        }
        Op::Resize(op) => layers::resize(op),
        Op::ShapeOf(op) => {
            (options::shape::KIND, table.scalar(options::shape::OUT_TYPE, type_code(op.dtype), 0))
        }
        Op::Softmax(op) => return arithmetic::softmax(op),
        Op::SpaceToDepth(op) => movement::space_to_depth(op)?,
        Op::Split(op) => movement::split(op)?,
        Op::Squeeze(op) => (options::squeeze::KIND, table.numbers(options::squeeze::SQUEEZE_DIMS, &op.axes)),
        Op::StridedSlice(op) => movement::strided_slice(op),
        Op::TransposeConv2D(op) => layers::transpose_conv_2d(site, op)?,
        Op::TransposeConv3D(op) => layers::conv_3d(op.stride, [1; 3], op.padding, op.activation)?,
        Op::Unary(op) => return Ok(arithmetic::unary(op)),
        Op::Unpack(op) => movement::unpack(op)?,
        Op::While(op) => {
            use options::while_loop as slot;
            let table = table.scalar(slot::COND_SUBGRAPH_INDEX, op.condition.0.cast_signed(), 0);
            (slot::KIND, table.scalar(slot::BODY_SUBGRAPH_INDEX, op.body.0.cast_signed(), 0))
        }
        // These have no options, or none that say more than their operands.
        Op::AssignState(_)
        | Op::BatchToSpace(_)
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
        | Op::ReadState(_)
        | Op::Reshape(_)
        | Op::Reverse(_)
        | Op::Select(_)
        | Op::Slice(_)
        | Op::SpaceToBatch(_)
        | Op::Tile(_)
        | Op::TopK(_)
        | Op::Transpose(_)
        | Op::UpdateSlice(_) => return Ok(None),
        // High-level operators, and those of training, have been refused.
        Op::BatchNorm(_)
        | Op::BatchNormTraining(_)
        | Op::Dropout(_)
        | Op::DropoutTraining(_)
        | Op::FakeQuant(_)
        | Op::FakeQuantTraining(_)
        | Op::Gradient(_)
        | Op::Identity(_)
        | Op::Recurrent(_) => return Ok(None),
    }))
}
