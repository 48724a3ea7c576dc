//! How each operator is spelled in ONNX.

mod binary;
mod blocks;
mod control;
mod convolution;
mod gather;
mod matrix;
mod movement;
mod normalize;
mod pad;
mod pieces;
mod pooling;
mod quantize;
mod reduce;
mod resize;
mod shapes;
mod slices;
#[cfg(test)]
mod tests;
mod transposed;
mod unary;
mod window;

use litesmith_graph::Op;

use super::Refusal;
use super::spelling::Spelling;

/// Writes the nodes that stand for a node of the graph, and gives its outputs.
pub(super) fn spell(s: &mut Spelling<'_, '_>) -> Result<(), Refusal> {
    let Some(op) = s.op() else { return Ok(()) };
    match op {
        Op::BatchMatMul(op) => matrix::batch_matmul(s, op),
        Op::Conv2D(op) => convolution::conv_2d(s, op),
        Op::Conv3D(op) => convolution::conv_3d(s, op),
        Op::DepthToSpace(op) => resize::depth_to_space(s, op),
        Op::DepthwiseConv2D(op) => convolution::depthwise(s, op),
        Op::Dequantize(_) => quantize::dequantize(s),
        Op::FakeQuant(op) => quantize::fake_quant(s, op),
        Op::FullyConnected(op) => matrix::fully_connected(s, op),
        Op::Pool2D(op) => pooling::pool(s, op),
        Op::Quantize(_) => quantize::quantize(s),
        Op::Resize(op) => resize::resize(s, op),
        Op::SpaceToDepth(op) => resize::space_to_depth(s, op),
        Op::TransposeConv2D(op) => transposed::conv_2d(s, op),
        Op::TransposeConv3D(op) => transposed::conv_3d(s, op),

        Op::ArgReduce(op) => reduce::arg_reduce(s, op),
        Op::BatchNorm(op) => normalize::batch_norm(s, op),
        Op::BatchToSpace(op) => blocks::batch_to_space(s, op),
        Op::Binary(op) => binary::binary(s, op),
        Op::BroadcastTo(op) => shapes::broadcast_to(s, op),
        Op::Cast(op) => movement::cast(s, op),
        Op::Compare(op) => binary::compare(s, op.kind),
        Op::Concat(op) => movement::concat(s, op),
        Op::CumSum(op) => reduce::cum_sum(s, op),
        Op::Dropout(_) | Op::Identity(_) => movement::identity(s),
        Op::ExpandDims(op) => shapes::expand_dims(s, op),
        Op::Fill(_) => shapes::fill(s),
        Op::Gather(op) => gather::gather(s, op),
        Op::GatherNd(_) => gather::gather_nd(s),
        Op::If(op) => control::if_else(s, op),
        Op::L2Norm(_) => normalize::l2_norm(s),
        Op::Logical(op) => binary::logical(s, op.kind),
        Op::OneHot(op) => gather::one_hot(s, op),
        Op::Pack(op) => movement::pack(s, op),
        Op::Pad(op) => pad::pad(s, op),
        Op::Prelu(_) => binary::prelu(s),
        Op::Range(_) => shapes::range(s),
        Op::Reduce(op) => reduce::reduce(s, op),
        Op::Reshape(op) => shapes::reshape(s, op),
        Op::Reverse(op) => slices::reverse(s, op),
        Op::Select(_) => binary::select(s),
        Op::ShapeOf(op) => shapes::shape_of(s, op),
        Op::Slice(op) => slices::slice(s, op),
        Op::Softmax(op) => normalize::softmax(s, op),
        Op::SpaceToBatch(op) => blocks::space_to_batch(s, op),
        Op::Split(op) => movement::split(s, op),
        Op::Squeeze(op) => shapes::squeeze(s, op),
        Op::StridedSlice(op) => slices::strided_slice(s, op),
        Op::Tile(op) => shapes::tile(s, op),
        Op::TopK(op) => reduce::top_k(s, op),
        Op::Transpose(op) => movement::transpose(s, op),
        Op::Unary(op) => unary::unary(s, op),
        Op::Unpack(op) => movement::unpack(s, op),
        Op::UpdateSlice(_) => slices::update_slice(s),
        Op::While(op) => control::while_loop(s, op),

        Op::ReadState(_) | Op::AssignState(_) => Err(Refusal(
            "ONNX models have no state from one run to the next: make the state an input and an output \
             of the model"
                .into(),
        )),
        Op::Custom(op) => Err(Refusal(format!("ONNX has no operator '{}'", op.name))),
        Op::BatchNormTraining(_) | Op::DropoutTraining(_) | Op::FakeQuantTraining(_) | Op::Gradient(_) => {
            Err(Refusal("it only exists while a model is trained: write the trained model instead".into()))
        }
        Op::Recurrent(_) => Err(Refusal("legalize the model first, which makes it a loop".into())),
    }
}
