//! Which builtin an operator is, and what reports call it.

use litesmith_graph::Op;
use litesmith_graph::ops::{
    ArgKind, BinaryKind, CompareKind, LogicalKind, PadMode, PoolKind, ReduceKind, ResizeKind, UnaryKind,
};
use serde_json::Value;

use super::schema::Builtin;

/// The name of an operator as TFLite has it: `CONV_2D`, `ADD`, `FULLY_CONNECTED`, …; a custom
/// operator's own name; for high-level operators a name of the same kind, such as `BATCH_NORM`.
#[must_use]
pub fn operator_name(op: &Op) -> String {
    match (op, builtin(op).and_then(Builtin::name)) {
        (Op::Custom(custom), _) => custom.name.clone(),
        (_, Some(name)) => name.to_owned(),
        (Op::Unary(unary), None) => unary_name(&unary.kind),
        (op, None) => upper_case(op.name()),
    }
}

/// The builtin that does what this operator does; `None` for high-level operators.
pub(super) fn builtin(op: &Op) -> Option<Builtin> {
    Some(match op {
        Op::ArgReduce(op) => match op.kind {
            ArgKind::Max => Builtin::ARG_MAX,
            ArgKind::Min => Builtin::ARG_MIN,
        },
        Op::BatchMatMul(_) => Builtin::BATCH_MATMUL,
        Op::Binary(op) => binary(op.kind),
        Op::BroadcastTo(_) => Builtin::BROADCAST_TO,
        Op::Cast(_) => Builtin::CAST,
        Op::Compare(op) => compare(op.kind),
        Op::Concat(_) => Builtin::CONCATENATION,
        Op::Conv2D(_) => Builtin::CONV_2D,
        Op::Custom(_) => Builtin::CUSTOM,
        Op::DepthwiseConv2D(_) => Builtin::DEPTHWISE_CONV_2D,
        Op::Dequantize(_) => Builtin::DEQUANTIZE,
        Op::ExpandDims(_) => Builtin::EXPAND_DIMS,
        Op::Fill(_) => Builtin::FILL,
        Op::FullyConnected(_) => Builtin::FULLY_CONNECTED,
        Op::Gather(_) => Builtin::GATHER,
        Op::L2Norm(_) => Builtin::L2_NORMALIZATION,
        Op::Logical(op) => match op.kind {
            LogicalKind::And => Builtin::LOGICAL_AND,
            LogicalKind::Or => Builtin::LOGICAL_OR,
        },
        Op::Pack(_) => Builtin::PACK,
        Op::Pad(op) => match op.mode {
            PadMode::Zero => Builtin::PAD,
            PadMode::Value(_) => Builtin::PADV2,
            PadMode::Reflect | PadMode::Symmetric => Builtin::MIRROR_PAD,
        },
        Op::Pool2D(op) => match op.kind {
            PoolKind::Max => Builtin::MAX_POOL_2D,
            PoolKind::Average => Builtin::AVERAGE_POOL_2D,
        },
        Op::Prelu(_) => Builtin::PRELU,
        Op::Quantize(_) => Builtin::QUANTIZE,
        Op::Reduce(op) => match op.kind {
            ReduceKind::Mean => Builtin::MEAN,
            ReduceKind::Sum => Builtin::SUM,
            ReduceKind::Max => Builtin::REDUCE_MAX,
            ReduceKind::Min => Builtin::REDUCE_MIN,
            ReduceKind::Prod => Builtin::REDUCE_PROD,
        },
        Op::Reshape(_) => Builtin::RESHAPE,
        Op::Resize(op) => match op.kind {
            ResizeKind::Bilinear => Builtin::RESIZE_BILINEAR,
            ResizeKind::Nearest => Builtin::RESIZE_NEAREST_NEIGHBOR,
        },
        Op::Select(_) => Builtin::SELECT_V2,
        Op::ShapeOf(_) => Builtin::SHAPE,
        Op::Slice(_) => Builtin::SLICE,
        Op::Softmax(op) if op.log => Builtin::LOG_SOFTMAX,
        Op::Softmax(_) => Builtin::SOFTMAX,
        Op::Split(op) if op.sizes.is_empty() => Builtin::SPLIT,
        Op::Split(_) => Builtin::SPLIT_V,
        Op::Squeeze(_) => Builtin::SQUEEZE,
        Op::StridedSlice(_) => Builtin::STRIDED_SLICE,
        Op::Tile(_) => Builtin::TILE,
        Op::Transpose(_) => Builtin::TRANSPOSE,
        Op::Unary(op) => return unary(op.kind),
        Op::Unpack(_) => Builtin::UNPACK,
        Op::BatchNorm(_) | Op::Dropout(_) | Op::FakeQuant(_) | Op::Identity(_) => return None,
    })
}

fn binary(kind: BinaryKind) -> Builtin {
    match kind {
        BinaryKind::Add => Builtin::ADD,
        BinaryKind::Sub => Builtin::SUB,
        BinaryKind::Mul => Builtin::MUL,
        BinaryKind::Div => Builtin::DIV,
        BinaryKind::Maximum => Builtin::MAXIMUM,
        BinaryKind::Minimum => Builtin::MINIMUM,
        BinaryKind::Pow => Builtin::POW,
        BinaryKind::SquaredDifference => Builtin::SQUARED_DIFFERENCE,
        BinaryKind::FloorDiv => Builtin::FLOOR_DIV,
        BinaryKind::FloorMod => Builtin::FLOOR_MOD,
    }
}

fn compare(kind: CompareKind) -> Builtin {
    match kind {
        CompareKind::Equal => Builtin::EQUAL,
        CompareKind::NotEqual => Builtin::NOT_EQUAL,
        CompareKind::Less => Builtin::LESS,
        CompareKind::LessEqual => Builtin::LESS_EQUAL,
        CompareKind::Greater => Builtin::GREATER,
        CompareKind::GreaterEqual => Builtin::GREATER_EQUAL,
    }
}

fn unary(kind: UnaryKind) -> Option<Builtin> {
    Some(match kind {
        UnaryKind::Relu => Builtin::RELU,
        UnaryKind::Relu6 => Builtin::RELU6,
        UnaryKind::ReluN1To1 => Builtin::RELU_N1_TO_1,
        UnaryKind::Clip { min: 0.0, max: 1.0 } => Builtin::RELU_0_TO_1,
        UnaryKind::LeakyRelu(_) => Builtin::LEAKY_RELU,
        UnaryKind::Elu(1.0) => Builtin::ELU,
        UnaryKind::Logistic => Builtin::LOGISTIC,
        UnaryKind::Tanh => Builtin::TANH,
        UnaryKind::HardSwish => Builtin::HARD_SWISH,
        UnaryKind::Gelu { .. } => Builtin::GELU,
        UnaryKind::Abs => Builtin::ABS,
        UnaryKind::Neg => Builtin::NEG,
        UnaryKind::Square => Builtin::SQUARE,
        UnaryKind::Sqrt => Builtin::SQRT,
        UnaryKind::Rsqrt => Builtin::RSQRT,
        UnaryKind::Exp => Builtin::EXP,
        UnaryKind::Log => Builtin::LOG,
        UnaryKind::Sin => Builtin::SIN,
        UnaryKind::Cos => Builtin::COS,
        UnaryKind::Floor => Builtin::FLOOR,
        UnaryKind::Ceil => Builtin::CEIL,
        UnaryKind::Round => Builtin::ROUND,
        UnaryKind::Sign => Builtin::SIGN,
        UnaryKind::LogicalNot => Builtin::LOGICAL_NOT,
        UnaryKind::Clip { .. }
        | UnaryKind::Elu(_)
        | UnaryKind::Selu
        | UnaryKind::Silu
        | UnaryKind::HardSigmoid
        | UnaryKind::Softplus
        | UnaryKind::Softsign
        | UnaryKind::Reciprocal => return None,
    })
}

/// The name of a function, which its JSON form starts with.
fn unary_name(kind: &UnaryKind) -> String {
    let name = match serde_json::to_value(kind) {
        Ok(Value::String(name)) => Some(name),
        Ok(Value::Object(object)) => object.keys().next().cloned(),
        _ => None,
    };
    name.map_or_else(|| "UNARY".to_owned(), |name| name.to_ascii_uppercase())
}

/// `BatchNorm` as `BATCH_NORM`.
fn upper_case(name: &str) -> String {
    let mut upper = String::new();
    let mut after_lower = false;
    for c in name.chars() {
        if c.is_ascii_uppercase() && after_lower {
            upper.push('_');
        }
        after_lower = c.is_ascii_lowercase();
        upper.push(c.to_ascii_uppercase());
    }
    upper
}

#[cfg(test)]
mod tests {
    use super::*;
    use litesmith_graph::ops::{BatchNorm, Conv2D, Custom, Unary};

    #[test]
    fn names_are_those_of_tflite() {
        let name = |op: Op| operator_name(&op);
        assert_eq!(name(Conv2D::default().into()), "CONV_2D");
        assert_eq!(name(Unary::from(UnaryKind::Tanh).into()), "TANH");
        assert_eq!(name(Unary::from(UnaryKind::HardSigmoid).into()), "HARD_SIGMOID");
        assert_eq!(name(Unary::from(UnaryKind::Elu(0.5)).into()), "ELU");
        assert_eq!(name(Unary::from(UnaryKind::Clip { min: -1.0, max: 2.0 }).into()), "CLIP");
        assert_eq!(name(BatchNorm::default().into()), "BATCH_NORM");
        assert_eq!(name(Custom { name: "Mine".into(), ..Custom::default() }.into()), "Mine");
    }

    #[test]
    fn every_operator_has_a_name() {
        for op in Op::defaults().into_iter().filter(|op| !matches!(op, Op::Custom(_))) {
            let name = operator_name(&op);
            assert!(!name.is_empty() && !name.contains(|c: char| c.is_ascii_lowercase()), "{name}");
        }
        for kind in UnaryKind::ALL {
            assert_ne!(operator_name(&Unary { kind }.into()), "UNARY");
        }
    }
}
