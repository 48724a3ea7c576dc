//! Versions: which one of an operator a node needs, and which runtime knows it.
//!
//! The numbers are those that TensorFlow 2.21 writes for a lone operator of the same types, as
//! measured, and where that was not measured those of its versioning rules.

use std::fmt;

use litesmith_graph::ops::BinaryKind;
use litesmith_graph::{DType, Op};

use super::operators::Site;
use crate::tflite::schema::Builtin;

/// The version of an operator that a node needs.
pub(super) fn version(site: &Site<'_>, builtin: Builtin) -> i32 {
    let input = site.input_type(0);
    let output = site.output().map(|tensor| tensor.dtype);
    let rank = site.facts(0).map_or(0, |facts| facts.shape.rank());
    let narrow = matches!(input, Some(DType::I8 | DType::I16));
    let byte = matches!(input, Some(DType::I8 | DType::U8));
    let by = |conditions: &[(bool, i32)], otherwise: i32| {
        conditions.iter().find(|(holds, _)| *holds).map_or(otherwise, |(_, version)| *version)
    };
    let is = |dtype: DType| input == Some(dtype);
    match builtin {
        Builtin::CONV_2D
        | Builtin::DEPTHWISE_CONV_2D
        | Builtin::FULLY_CONNECTED
        | Builtin::BATCH_MATMUL
        | Builtin::TRANSPOSE_CONV => weighted(site),
        Builtin::CUSTOM => {
            if let Op::Custom(custom) = &site.node.op {
                custom.version
            } else {
                1
            }
        }
        Builtin::ADD => by(&[(unquantized_16(site), 5), (is(DType::I64), 4), (narrow, 2)], 1),
        Builtin::SUB => by(&[(is(DType::I64), 4), (broadcasts_beyond_4(site), 3), (narrow, 2)], 1),
        Builtin::MUL => by(
            &[
                (is(DType::U32) || unquantized_16(site), 7),
                (is(DType::I64), 5),
                (grows(site), 3),
                (narrow, 2),
            ],
            1,
        ),
        Builtin::DIV => by(&[(broadcasts_beyond_4(site), 2)], 1),
        Builtin::MAXIMUM | Builtin::MINIMUM => by(&[(broadcasts_beyond_4(site), 3), (narrow, 2)], 1),
        Builtin::FLOOR_DIV => by(&[(narrow, 3), (is(DType::F32), 2)], 1),
        Builtin::EQUAL => by(&[(is(DType::I16), 5), (is(DType::Text), 3), (is(DType::I8), 2)], 1),
        Builtin::NOT_EQUAL => by(&[(is(DType::I16), 4), (is(DType::Text), 3), (is(DType::I8), 2)], 1),
        Builtin::LESS | Builtin::GREATER_EQUAL => by(&[(is(DType::I16), 3), (is(DType::I8), 2)], 1),
        Builtin::GATHER => gather(site),
        Builtin::TRANSPOSE => by(
            &[
                (rank > 6, 8),
                (is(DType::I4), 7),
                (rank > 5, 6),
                (rank > 4, 4),
                (is(DType::Bool), 3),
                (narrow, 2),
            ],
            1,
        ),
        Builtin::STRIDED_SLICE => by(
            &[(is(DType::U32), 7), (is(DType::Text), 5), (rank > 4, 4), (is(DType::Bool), 3), (narrow, 2)],
            1,
        ),
        Builtin::SLICE => by(
            &[(is(DType::I4), 7), (is(DType::U32), 6), (rank > 4, 5), (is(DType::Text), 3), (narrow, 2)],
            1,
        ),
        Builtin::PAD | Builtin::PADV2 => by(&[(is(DType::Bool), 5), (rank > 4, 4), (narrow, 2)], 1),
        Builtin::CONCATENATION => by(&[(is(DType::I4), 5), (is(DType::U32), 4), (narrow, 2)], 1),
        Builtin::PACK => by(&[(is(DType::U32), 4), (narrow, 2)], 1),
        Builtin::UNPACK => by(&[(is(DType::F16), 5), (is(DType::Bool), 3), (byte, 2)], 1),
        Builtin::SPLIT => by(&[(is(DType::I32), 3), (narrow, 2)], 1),
        Builtin::TILE => by(&[(narrow, 3), (is(DType::Text), 2)], 1),
        Builtin::FILL => fill(site.input_type(1)),
        Builtin::BROADCAST_TO => by(&[(narrow, 3)], 2),
        Builtin::RESIZE_BILINEAR | Builtin::RESIZE_NEAREST_NEIGHBOR => {
            by(&[(needs_third_resize(site), 3), (narrow, 2)], 1)
        }
        Builtin::QUANTIZE => quantize(site, input, output),
        Builtin::DEQUANTIZE => by(
            &[
                (is(DType::I4), 6),
                (is(DType::I8) && per_channel(site, 0), 5),
                (is(DType::F16), 3),
                (narrow, 2),
            ],
            1,
        ),
        Builtin::CAST => cast([input, output]),
        Builtin::ARG_MAX | Builtin::ARG_MIN => by(&[(is(DType::Bool), 3), (narrow, 2)], 1),
        Builtin::ABS => by(&[(is(DType::I32), 5), (narrow || byte, 2)], 1),
        Builtin::RELU | Builtin::GELU => by(&[(narrow || byte, 2)], 1),
        Builtin::SIGN => by(&[(is(DType::I32), 2)], 1),
        Builtin::DYNAMIC_UPDATE_SLICE => by(&[(site.input_type(2) == Some(DType::I64), 2)], 1),
        Builtin::SQUEEZE => by(&[(is(DType::Text), 2)], 1),
        Builtin::LEAKY_RELU => by(&[(is(DType::I16), 2)], 1),
        Builtin::SPACE_TO_BATCH_ND | Builtin::BATCH_TO_SPACE_ND => by(&[(rank != 4, 3), (narrow, 2)], 1),
        Builtin::REVERSE_V2 => by(&[(narrow, 3), (is(DType::Bool), 2)], 1),
        Builtin::GATHER_ND => gather_nd(site),
        Builtin::TOPK_V2 => by(&[(is(DType::I16), 3), (is(DType::I8), 2)], 1),
        Builtin::RANGE => by(&[(is(DType::I64), 2)], 1),
        Builtin::AVERAGE_POOL_2D
        | Builtin::DEPTH_TO_SPACE
        | Builtin::EXP
        | Builtin::FLOOR_MOD
        | Builtin::GREATER
        | Builtin::L2_NORMALIZATION
        | Builtin::LESS_EQUAL
        | Builtin::LOG
        | Builtin::LOG_SOFTMAX
        | Builtin::LOGISTIC
        | Builtin::MAX_POOL_2D
        | Builtin::MEAN
        | Builtin::MIRROR_PAD
        | Builtin::REDUCE_MAX
        | Builtin::REDUCE_MIN
        | Builtin::REDUCE_PROD
        | Builtin::RELU6
        | Builtin::RSQRT
        | Builtin::SOFTMAX
        | Builtin::SPACE_TO_DEPTH
        | Builtin::SPLIT_V
        | Builtin::SQRT
        | Builtin::SQUARED_DIFFERENCE
        | Builtin::SUM
        | Builtin::TANH => by(&[(narrow, 2)], 1),
        _ => 1,
    }
}

/// Operators with weights, by the types of activations and weights.
fn weighted(site: &Site<'_>) -> i32 {
    let (input, weights) = (site.input_type(0), site.input_type(1));
    let narrow = matches!(input, Some(DType::I8 | DType::I16));
    let hybrid = input == Some(DType::F32) && weights == Some(DType::I8);
    let four_bits = weights == Some(DType::I4);
    match &site.node.op {
        Op::Conv2D(op) if op.groups > 1 => 6,
        Op::Conv2D(_) | Op::DepthwiseConv2D(_) if four_bits => 7,
        Op::Conv2D(_) if hybrid => {
            if per_channel(site, 1) {
                5
            } else {
                2
            }
        }
        Op::DepthwiseConv2D(_) if hybrid => {
            if per_channel(site, 1) {
                6
            } else {
                4
            }
        }
        Op::Conv2D(_) | Op::DepthwiseConv2D(_) if narrow => 3,
        Op::DepthwiseConv2D(op) if op.dilation != [1; 2] => 2,
        Op::FullyConnected(_) if four_bits => {
            if input == Some(DType::I16) {
                13
            } else {
                10
            }
        }
        Op::FullyConnected(_) if hybrid && per_channel(site, 1) => 12,
        Op::FullyConnected(_) if site.tensor(1).is_some_and(|weights| weights.sparsity.is_some()) => 8,
        Op::FullyConnected(op) if op.keep_num_dims => 5,
        Op::FullyConnected(_) if narrow => 4,
        Op::FullyConnected(op) if hybrid => {
            if op.asymmetric_quantize_inputs {
                9
            } else {
                3
            }
        }
        Op::TransposeConv2D(op) if !op.activation.is_none() => 4,
        Op::TransposeConv2D(_) if site.tensor(3).is_some() || site.input_type(2) == Some(DType::I16) => 3,
        Op::TransposeConv2D(_) if weights == Some(DType::I8) => 2,
        Op::BatchMatMul(_) if narrow => 2,
        Op::BatchMatMul(op) if hybrid && op.asymmetric_quantize_inputs => 4,
        _ => 1,
    }
}

fn gather(site: &Site<'_>) -> i32 {
    let batched = matches!(&site.node.op, Op::Gather(op) if op.batch_dims > 0);
    match (site.input_type(0), site.input_type(1)) {
        (Some(DType::I4), _) => 7,
        (_, Some(DType::I16)) => 6,
        _ if batched => 5,
        (Some(DType::Bool), _) => 3,
        (Some(DType::I8 | DType::I16), _) => 2,
        _ => 1,
    }
}

fn gather_nd(site: &Site<'_>) -> i32 {
    match (site.input_type(0), site.input_type(1)) {
        (Some(DType::Bool), _) => 5,
        (_, Some(DType::I16)) => 4,
        (Some(DType::I16), _) => 3,
        (Some(DType::Text), _) => 2,
        _ => 1,
    }
}

fn fill(value: Option<DType>) -> i32 {
    match value {
        Some(DType::F16) => 4,
        Some(DType::I8 | DType::I16) => 3,
        Some(DType::Bool | DType::Text) => 2,
        _ => 1,
    }
}

fn quantize(site: &Site<'_>, input: Option<DType>, output: Option<DType>) -> i32 {
    let channels =
        site.output().and_then(|tensor| tensor.quantization.as_ref()).is_some_and(|q| q.axis.is_some());
    match (input, output) {
        (Some(DType::I4), _) | (_, Some(DType::I4)) => 4,
        _ if channels => 3,
        (Some(DType::I16), Some(DType::I16)) => 2,
        _ => 1,
    }
}

fn cast(types: [Option<DType>; 2]) -> i32 {
    let either = |dtype: DType| types.contains(&Some(dtype));
    match () {
        () if types == [Some(DType::I4), Some(DType::F32)] => 6,
        () if either(DType::F64) || either(DType::F16) => 5,
        () if either(DType::U16) => 4,
        () if either(DType::I8) => 3,
        () if either(DType::U32) => 2,
        () => 1,
    }
}

fn needs_third_resize(site: &Site<'_>) -> bool {
    use litesmith_graph::ops::ResizeKind;
    matches!(&site.node.op, Op::Resize(op)
        if op.half_pixel_centers || (op.align_corners && op.kind == ResizeKind::Nearest))
}

fn per_channel(site: &Site<'_>, input: usize) -> bool {
    let quantization = site.tensor(input).and_then(|tensor| tensor.quantization.as_ref());
    quantization.is_some_and(|quantization| quantization.axis.is_some())
}

/// Whether the operands are 16-bit integers that stand for themselves.
fn unquantized_16(site: &Site<'_>) -> bool {
    site.tensor(0).is_some_and(|tensor| tensor.dtype == DType::I16 && tensor.quantization.is_none())
}

fn broadcasts_beyond_4(site: &Site<'_>) -> bool {
    match (site.facts(0), site.facts(1)) {
        (Some(a), Some(b)) => a.shape != b.shape && a.shape.rank().max(b.shape.rank()) > 4,
        _ => false,
    }
}

/// Whether the integers of a product are multiplied by 1 or more before they are stored.
fn grows(site: &Site<'_>) -> bool {
    let scale = |tensor: Option<&litesmith_graph::Tensor>| {
        let quantization = tensor.and_then(|tensor| tensor.quantization.as_ref());
        quantization.and_then(|quantization| quantization.single()).map(|(scale, _)| scale)
    };
    debug_assert!(matches!(&site.node.op, Op::Binary(op) if op.kind == BinaryKind::Mul));
    match (scale(site.tensor(0)), scale(site.tensor(1)), scale(site.output())) {
        (Some(a), Some(b), Some(output)) => a * b / output >= 1.0,
        _ => false,
    }
}

/// A version of TensorFlow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Runtime(u32, u32, u32);

impl Runtime {
    /// That of the first operators.
    pub const OLDEST: Runtime = Runtime(1, 5, 0);

    fn parse(text: &str) -> Option<Runtime> {
        let mut parts = text.split('.').map(|part| part.parse().ok());
        Some(Runtime(parts.next()??, parts.next()??, parts.next().unwrap_or(Some(0))?))
    }
}

impl fmt::Display for Runtime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.0, self.1, self.2)
    }
}

/// The oldest runtime that knows this version of an operator; `None` for custom operators.
pub(super) fn min_runtime(builtin: Builtin, version: i32) -> Option<Runtime> {
    let versions = RUNTIMES.iter().find(|(known, _)| *known == builtin)?.1;
    let index = usize::try_from(version.checked_sub(1)?).ok()?;
    Runtime::parse(versions.split(' ').nth(index)?)
}

/// For each operator the runtimes that brought its versions, from the first version on.
const RUNTIMES: &[(Builtin, &str)] = &[
    (Builtin::ABS, "1.13 2.4 2.5 2.6 2.12"),
    (Builtin::ADD, "1.5 1.14 2.4 2.6 2.13"),
    (Builtin::ARG_MAX, "1.9 1.14 2.9"),
    (Builtin::ARG_MIN, "1.9 1.14 2.9"),
    (Builtin::ASSIGN_VARIABLE, "2.6"),
    (Builtin::AVERAGE_POOL_2D, "1.5 1.14 2.3"),
    (Builtin::BATCH_MATMUL, "2.3 2.3 2.4 2.5"),
    (Builtin::BATCH_TO_SPACE_ND, "1.6 1.14 2.3"),
    (Builtin::BROADCAST_TO, "2.5 2.5 2.5"),
    (Builtin::CALL_ONCE, "2.6"),
    (Builtin::CAST, "1.5 2.7 2.8 2.9 2.12 2.15"),
    (Builtin::CEIL, "1.14"),
    (Builtin::CONCATENATION, "1.5 1.14 2.3 2.14 2.21"),
    (Builtin::CONV_2D, "1.5 1.14 1.14 2.3 2.4 2.9 2.11 2.15"),
    (Builtin::CONV_3D, "2.5"),
    (Builtin::CONV_3D_TRANSPOSE, "2.6"),
    (Builtin::COS, "1.14"),
    (Builtin::CUMSUM, "2.4"),
    (Builtin::DENSIFY, "2.2"),
    (Builtin::DEPTHWISE_CONV_2D, "1.5 1.12 1.14 2.2 2.3 2.3 2.11"),
    (Builtin::DEPTH_TO_SPACE, "2.1 2.5"),
    (Builtin::DEQUANTIZE, "1.13.1 1.14 1.15 2.2 2.7 2.18"),
    (Builtin::DIV, "1.6 2.3"),
    (Builtin::DYNAMIC_UPDATE_SLICE, "2.9 2.15"),
    (Builtin::ELU, "1.14"),
    (Builtin::EQUAL, "1.14 1.14 2.3 2.13 2.21"),
    (Builtin::EXP, "1.7 2.12"),
    (Builtin::EXPAND_DIMS, "1.10"),
    (Builtin::FILL, "1.13 2.3 2.5 2.12"),
    (Builtin::FLOOR, "1.9"),
    (Builtin::FLOOR_DIV, "1.14 1.14 2.13"),
    (Builtin::FLOOR_MOD, "1.13 2.13"),
    (Builtin::FULLY_CONNECTED, "1.5 1.10 1.14 1.14 2.0 2.1 2.3 2.3 2.3 2.11 2.15 2.17 2.18"),
    (Builtin::GATHER, "1.6 1.14 1.15 2.4 2.5 2.13 2.15"),
    (Builtin::GATHER_ND, "1.14 2.3 2.5 2.13 2.16"),
    (Builtin::GELU, "2.9 2.9"),
    (Builtin::GREATER, "1.14 1.14"),
    (Builtin::GREATER_EQUAL, "1.14 1.14 2.13"),
    (Builtin::HARD_SWISH, "1.15"),
    (Builtin::IF, "1.15"),
    (Builtin::L2_NORMALIZATION, "1.5 1.14"),
    (Builtin::LEAKY_RELU, "1.13.1 2.3"),
    (Builtin::LESS, "1.14 1.14 2.13"),
    (Builtin::LESS_EQUAL, "1.14 1.14"),
    (Builtin::LOG, "1.14 2.15"),
    (Builtin::LOGICAL_AND, "1.11"),
    (Builtin::LOGICAL_NOT, "1.11"),
    (Builtin::LOGICAL_OR, "1.11"),
    (Builtin::LOGISTIC, "1.14 1.14 2.3"),
    (Builtin::LOG_SOFTMAX, "1.14 1.14"),
    (Builtin::MAXIMUM, "1.14 1.14 2.3 2.3"),
    (Builtin::MAX_POOL_2D, "1.5 1.14 2.3"),
    (Builtin::MEAN, "1.6 1.14 2.4"),
    (Builtin::MINIMUM, "1.14 1.14 2.3 2.3"),
    (Builtin::MIRROR_PAD, "1.13.1 2.3 2.12"),
    (Builtin::MUL, "1.5 1.14 1.15 2.3 2.6 2.11 2.13"),
    (Builtin::NEG, "1.9"),
    (Builtin::NOT_EQUAL, "1.14 1.14 2.3 2.21"),
    (Builtin::ONE_HOT, "1.11"),
    (Builtin::PACK, "1.11 1.14 2.3 2.13"),
    (Builtin::PAD, "1.5 1.14 2.4 2.6 2.20"),
    (Builtin::PADV2, "1.9 1.14 2.4 2.6 2.20"),
    (Builtin::POW, "1.10"),
    (Builtin::PRELU, "1.8"),
    (Builtin::QUANTIZE, "1.14 1.15 2.7 2.21"),
    (Builtin::RANGE, "1.13 2.14"),
    (Builtin::READ_VARIABLE, "2.6"),
    (Builtin::REDUCE_ALL, "2.6"),
    (Builtin::REDUCE_ANY, "1.11"),
    (Builtin::REDUCE_MAX, "1.11 1.14 2.5"),
    (Builtin::REDUCE_MIN, "1.11 1.14 2.5"),
    (Builtin::REDUCE_PROD, "1.11 2.6"),
    (Builtin::RELU, "1.5 2.1 2.5"),
    (Builtin::RELU6, "1.5 1.14 2.5"),
    (Builtin::RELU_0_TO_1, "2.10"),
    (Builtin::RELU_N1_TO_1, "1.5"),
    (Builtin::RESHAPE, "1.5"),
    (Builtin::RESIZE_BILINEAR, "1.7 1.14 2.2 2.5"),
    (Builtin::RESIZE_NEAREST_NEIGHBOR, "1.13.1 1.14 2.3 2.4"),
    (Builtin::REVERSE_V2, "1.14 2.2 2.5"),
    (Builtin::ROUND, "1.14"),
    (Builtin::RSQRT, "1.10 2.5 2.15"),
    (Builtin::SELECT_V2, "2.2 2.12"),
    (Builtin::SHAPE, "1.10"),
    (Builtin::SIGN, "2.11 2.12"),
    (Builtin::SIN, "1.9"),
    (Builtin::SLICE, "1.14 1.14 1.14 2.4 2.5 2.14 2.21"),
    (Builtin::SOFTMAX, "1.5 1.14 2.3"),
    (Builtin::SPACE_TO_BATCH_ND, "1.6 1.14 2.3"),
    (Builtin::SPACE_TO_DEPTH, "1.5 1.14"),
    (Builtin::SPLIT, "1.5 1.14 1.14 2.3"),
    (Builtin::SPLIT_V, "1.13.1 2.3"),
    (Builtin::SQRT, "1.10 2.21"),
    (Builtin::SQUARE, "1.12"),
    (Builtin::SQUARED_DIFFERENCE, "1.13.1 2.5"),
    (Builtin::SQUEEZE, "1.6 2.5"),
    (Builtin::STRIDED_SLICE, "1.6 1.14 2.1 2.2 2.5 2.6 2.14"),
    (Builtin::SUB, "1.6 1.14 2.3 2.4 2.4"),
    (Builtin::SUM, "1.10 1.15"),
    (Builtin::TANH, "1.14 1.14 2.3"),
    (Builtin::TILE, "1.10.1 2.2 2.8"),
    (Builtin::TOPK_V2, "1.7 1.14 2.13"),
    (Builtin::TRANSPOSE, "1.6 1.14 1.15 2.3 2.4 2.12 2.14.4 2.22"),
    (Builtin::TRANSPOSE_CONV, "1.9 2.2 2.3 2.13"),
    (Builtin::UNPACK, "1.11 1.14 2.2 2.3 2.22"),
    (Builtin::VAR_HANDLE, "2.6"),
    (Builtin::WHILE, "1.15"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_version_has_its_runtime() {
        for (builtin, versions) in RUNTIMES {
            for version in 1..=versions.split(' ').count() as i32 {
                assert!(min_runtime(*builtin, version).is_some(), "{builtin:?} {version}");
            }
        }
        assert_eq!(min_runtime(Builtin::CONV_2D, 3).map(|r| r.to_string()), Some("1.14.0".into()));
        assert_eq!(min_runtime(Builtin::TRANSPOSE, 7).map(|r| r.to_string()), Some("2.14.4".into()));
        assert!(min_runtime(Builtin::CUSTOM, 1).is_none() && min_runtime(Builtin::ADD, 9).is_none());
        assert!(Runtime::parse("2.10") > Runtime::parse("2.9"));
    }
}
