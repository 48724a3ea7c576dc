//! One file per operator: what it does, its attributes, shapes, cost and quantization rule.
//!
//! Semantics are those of TFLite's builtin operators, channels last, unless said otherwise.

mod arg_reduce;
mod assign_state;
mod batch_matmul;
mod batch_norm;
mod batch_norm_training;
mod batch_to_space;
mod binary;
mod broadcast_to;
mod cast;
mod compare;
mod concat;
mod conv_2d;
mod conv_3d;
mod cum_sum;
mod custom;
mod depth_to_space;
mod depthwise_conv_2d;
mod dequantize;
mod dropout;
mod dropout_training;
mod expand_dims;
mod fake_quant;
mod fake_quant_training;
mod fill;
mod fully_connected;
mod gather;
mod gather_nd;
mod gradient;
mod identity;
mod if_else;
mod l2_norm;
mod logical;
mod one_hot;
mod pack;
mod pad;
mod pool_2d;
mod prelu;
mod quantize;
mod range;
mod read_state;
mod recurrent;
mod reduce;
mod reshape;
mod resize;
mod reverse;
mod select;
mod shape_of;
mod slice;
mod softmax;
mod space_to_batch;
mod space_to_depth;
mod split;
mod squeeze;
mod strided_slice;
mod tile;
mod top_k;
mod transpose;
mod transpose_conv_2d;
mod transpose_conv_3d;
mod unary;
mod unpack;
mod update_slice;
mod while_loop;
mod window;

pub use arg_reduce::{ArgKind, ArgReduce};
pub use assign_state::AssignState;
pub use batch_matmul::BatchMatMul;
pub use batch_norm::BatchNorm;
pub use batch_norm_training::BatchNormTraining;
pub use batch_to_space::BatchToSpace;
pub use binary::{Binary, BinaryKind};
pub use broadcast_to::BroadcastTo;
pub use cast::Cast;
pub use compare::{Compare, CompareKind};
pub use concat::Concat;
pub use conv_2d::Conv2D;
pub use conv_3d::Conv3D;
pub use cum_sum::CumSum;
pub use custom::Custom;
pub use depth_to_space::DepthToSpace;
pub use depthwise_conv_2d::DepthwiseConv2D;
pub use dequantize::Dequantize;
pub use dropout::Dropout;
pub use dropout_training::DropoutTraining;
pub use expand_dims::ExpandDims;
pub use fake_quant::FakeQuant;
pub use fake_quant_training::{FakeQuantTraining, RangeRule};
pub use fill::Fill;
pub use fully_connected::FullyConnected;
pub use gather::Gather;
pub use gather_nd::GatherNd;
pub use gradient::Gradient;
pub use identity::Identity;
pub use if_else::If;
pub use l2_norm::L2Norm;
pub use logical::{Logical, LogicalKind};
pub use one_hot::OneHot;
pub use pack::Pack;
pub use pad::{Pad, PadMode};
pub use pool_2d::{Pool2D, PoolKind};
pub use prelu::Prelu;
pub use quantize::Quantize;
pub use range::Range;
pub use read_state::ReadState;
pub use recurrent::{GateFunction, Recurrent, RecurrentCell};
pub use reduce::{Reduce, ReduceKind};
pub use reshape::{Reshape, ReshapeDim};
pub use resize::{Resize, ResizeKind};
pub use reverse::Reverse;
pub use select::Select;
pub use shape_of::ShapeOf;
pub use slice::Slice;
pub use softmax::Softmax;
pub use space_to_batch::SpaceToBatch;
pub use space_to_depth::SpaceToDepth;
pub use split::Split;
pub use squeeze::Squeeze;
pub use strided_slice::{AxisSlice, StridedSlice};
pub use tile::Tile;
pub use top_k::TopK;
pub use transpose::Transpose;
pub use transpose_conv_2d::TransposeConv2D;
pub use transpose_conv_3d::TransposeConv3D;
pub use unary::{Unary, UnaryKind};
pub use unpack::Unpack;
pub use update_slice::UpdateSlice;
pub use while_loop::While;
pub use window::Padding;

use serde::{Deserialize, Serialize};

use crate::operator::{InferError, refuse};

/// A clamp or function that an operator applies to its result before storing it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Activation {
    /// None.
    #[default]
    None,
    /// `max(x, 0)`.
    Relu,
    /// `min(max(x, -1), 1)`.
    ReluN1To1,
    /// `min(max(x, 0), 6)`.
    Relu6,
}

impl Activation {
    /// Least and largest value that it lets through.
    #[must_use]
    pub fn bounds(self) -> (f32, f32) {
        match self {
            Activation::None => (f32::NEG_INFINITY, f32::INFINITY),
            Activation::Relu => (0.0, f32::INFINITY),
            Activation::ReluN1To1 => (-1.0, 1.0),
            Activation::Relu6 => (0.0, 6.0),
        }
    }

    /// Whether it changes nothing.
    #[must_use]
    pub fn is_none(self) -> bool {
        self == Activation::None
    }
}

/// An axis that may count from the end, as an index below `rank`.
pub(crate) fn resolve_axis(axis: i32, rank: usize) -> Result<usize, InferError> {
    let resolved = if axis < 0 { i64::from(axis) + rank as i64 } else { i64::from(axis) };
    if resolved < 0 || resolved >= rank as i64 {
        refuse!("axis {axis} does not exist in {rank} dimensions");
    }
    Ok(resolved as usize)
}
