//! The names that TFLite gives operators: what reports, recipes and errors call them.

use crate::op::Op;
use crate::ops::{
    ArgKind, BinaryKind, CompareKind, LogicalKind, PadMode, PoolKind, RecurrentCell, ReduceKind, ResizeKind,
    UnaryKind,
};

impl Op {
    /// The name of the TFLite builtin that it is written as; for a high-level operator, which TFLite
    /// has no builtin for, a name of the same style; for a custom operator its own name.
    #[must_use]
    pub fn builtin_name(&self) -> &str {
        match self {
            Op::ArgReduce(op) => match op.kind {
                ArgKind::Max => "ARG_MAX",
                ArgKind::Min => "ARG_MIN",
            },
            Op::AssignState(_) => "ASSIGN_VARIABLE",
            Op::BatchMatMul(_) => "BATCH_MATMUL",
            Op::BatchNorm(_) => "BATCH_NORM",
            Op::BatchNormTraining(_) => "BATCH_NORM_TRAINING",
            Op::BatchToSpace(_) => "BATCH_TO_SPACE_ND",
            Op::Binary(op) => binary(op.kind),
            Op::BroadcastTo(_) => "BROADCAST_TO",
            Op::Cast(_) => "CAST",
            Op::Compare(op) => compare(op.kind),
            Op::Concat(_) => "CONCATENATION",
            Op::Conv2D(_) => "CONV_2D",
            Op::Conv3D(_) => "CONV_3D",
            Op::CumSum(_) => "CUMSUM",
            Op::Custom(op) => &op.name,
            Op::DepthToSpace(_) => "DEPTH_TO_SPACE",
            Op::DepthwiseConv2D(_) => "DEPTHWISE_CONV_2D",
            Op::Dequantize(_) => "DEQUANTIZE",
            Op::Dropout(_) => "DROPOUT",
            Op::DropoutTraining(_) => "DROPOUT_TRAINING",
            Op::ExpandDims(_) => "EXPAND_DIMS",
            Op::FakeQuant(_) => "FAKE_QUANT",
            Op::FakeQuantTraining(_) => "FAKE_QUANT_TRAINING",
            Op::Fill(_) => "FILL",
            Op::FullyConnected(_) => "FULLY_CONNECTED",
            Op::Gather(_) => "GATHER",
            Op::GatherNd(_) => "GATHER_ND",
            Op::Gradient(_) => "GRADIENT",
            Op::Identity(_) => "IDENTITY",
            Op::If(_) => "IF",
            Op::L2Norm(_) => "L2_NORMALIZATION",
            Op::Logical(op) => match op.kind {
                LogicalKind::And => "LOGICAL_AND",
                LogicalKind::Or => "LOGICAL_OR",
            },
            Op::OneHot(_) => "ONE_HOT",
            Op::Pack(_) => "PACK",
            Op::Pad(op) => match op.mode {
                PadMode::Zero => "PAD",
                PadMode::Value(_) => "PADV2",
                PadMode::Reflect | PadMode::Symmetric => "MIRROR_PAD",
            },
            Op::Pool2D(op) => match op.kind {
                PoolKind::Max => "MAX_POOL_2D",
                PoolKind::Average => "AVERAGE_POOL_2D",
            },
            Op::Prelu(_) => "PRELU",
            Op::Quantize(_) => "QUANTIZE",
            Op::Range(_) => "RANGE",
            Op::ReadState(_) => "READ_VARIABLE",
            Op::Recurrent(op) => match op.cell {
                RecurrentCell::Simple => "SIMPLE_RNN",
                RecurrentCell::Lstm => "LSTM",
                RecurrentCell::Gru { .. } => "GRU",
            },
            Op::Reduce(op) => match op.kind {
                ReduceKind::Mean => "MEAN",
                ReduceKind::Sum => "SUM",
                ReduceKind::Max => "REDUCE_MAX",
                ReduceKind::Min => "REDUCE_MIN",
                ReduceKind::Prod => "REDUCE_PROD",
            },
            Op::Reshape(_) => "RESHAPE",
            Op::Resize(op) => match op.kind {
                ResizeKind::Bilinear => "RESIZE_BILINEAR",
                ResizeKind::Nearest => "RESIZE_NEAREST_NEIGHBOR",
            },
            Op::Reverse(_) => "REVERSE_V2",
            Op::Select(_) => "SELECT_V2",
            Op::ShapeOf(_) => "SHAPE",
            Op::Slice(_) => "SLICE",
            Op::Softmax(op) if op.log => "LOG_SOFTMAX",
            Op::Softmax(_) => "SOFTMAX",
            Op::SpaceToBatch(_) => "SPACE_TO_BATCH_ND",
            Op::SpaceToDepth(_) => "SPACE_TO_DEPTH",
            Op::Split(op) if op.sizes.is_empty() => "SPLIT",
            Op::Split(_) => "SPLIT_V",
            Op::Squeeze(_) => "SQUEEZE",
            Op::StridedSlice(_) => "STRIDED_SLICE",
            Op::Tile(_) => "TILE",
            Op::TopK(_) => "TOPK_V2",
            Op::Transpose(_) => "TRANSPOSE",
            Op::TransposeConv2D(_) => "TRANSPOSE_CONV",
            Op::TransposeConv3D(_) => "CONV_3D_TRANSPOSE",
            Op::Unary(op) => unary(op.kind),
            Op::Unpack(_) => "UNPACK",
            Op::UpdateSlice(_) => "DYNAMIC_UPDATE_SLICE",
            Op::While(_) => "WHILE",
        }
    }
}

fn binary(kind: BinaryKind) -> &'static str {
    match kind {
        BinaryKind::Add => "ADD",
        BinaryKind::Sub => "SUB",
        BinaryKind::Mul => "MUL",
        BinaryKind::Div => "DIV",
        BinaryKind::Maximum => "MAXIMUM",
        BinaryKind::Minimum => "MINIMUM",
        BinaryKind::Pow => "POW",
        BinaryKind::SquaredDifference => "SQUARED_DIFFERENCE",
        BinaryKind::FloorDiv => "FLOOR_DIV",
        BinaryKind::FloorMod => "FLOOR_MOD",
    }
}

fn compare(kind: CompareKind) -> &'static str {
    match kind {
        CompareKind::Equal => "EQUAL",
        CompareKind::NotEqual => "NOT_EQUAL",
        CompareKind::Less => "LESS",
        CompareKind::LessEqual => "LESS_EQUAL",
        CompareKind::Greater => "GREATER",
        CompareKind::GreaterEqual => "GREATER_EQUAL",
    }
}

fn unary(kind: UnaryKind) -> &'static str {
    match kind {
        UnaryKind::Relu => "RELU",
        UnaryKind::Relu6 => "RELU6",
        UnaryKind::ReluN1To1 => "RELU_N1_TO_1",
        UnaryKind::Clip { .. } => "CLIP",
        UnaryKind::LeakyRelu(_) => "LEAKY_RELU",
        UnaryKind::Elu(_) => "ELU",
        UnaryKind::Selu => "SELU",
        UnaryKind::Logistic => "LOGISTIC",
        UnaryKind::Tanh => "TANH",
        UnaryKind::Silu => "SILU",
        UnaryKind::HardSigmoid => "HARD_SIGMOID",
        UnaryKind::HardSwish => "HARD_SWISH",
        UnaryKind::Gelu { .. } => "GELU",
        UnaryKind::Softplus => "SOFTPLUS",
        UnaryKind::Softsign => "SOFTSIGN",
        UnaryKind::Abs => "ABS",
        UnaryKind::Neg => "NEG",
        UnaryKind::Square => "SQUARE",
        UnaryKind::Sqrt => "SQRT",
        UnaryKind::Rsqrt => "RSQRT",
        UnaryKind::Exp => "EXP",
        UnaryKind::Log => "LOG",
        UnaryKind::Sin => "SIN",
        UnaryKind::Cos => "COS",
        UnaryKind::Floor => "FLOOR",
        UnaryKind::Ceil => "CEIL",
        UnaryKind::Round => "ROUND",
        UnaryKind::Sign => "SIGN",
        UnaryKind::Reciprocal => "RECIPROCAL",
        UnaryKind::LogicalNot => "LOGICAL_NOT",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_operators_apart() {
        let mut names: Vec<String> = Op::defaults().iter().map(|op| op.builtin_name().to_owned()).collect();
        let count = names.len();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), count);
    }
}
