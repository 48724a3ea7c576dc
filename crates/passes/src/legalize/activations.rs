//! Activation functions that TFLite lacks, spelled with those that it has.

use litesmith_graph::ops::{Activation, Binary, BinaryKind, Unary, UnaryKind};
use litesmith_graph::{Graph, NodeId, TensorId};

use super::Builder;

/// `selu(x) = SCALE * elu(x, ALPHA)` (Klambauer et al. 2017).
const SELU_SCALE: f32 = 1.050_701;
const SELU_ALPHA: f32 = 1.673_263_2;

pub(super) fn unary(graph: &mut Graph, id: NodeId, kind: UnaryKind) {
    let mut build = Builder::new(graph, id);
    let Some(x) = build.input(0) else { return };
    match kind {
        UnaryKind::Silu => {
            let gate = build.push("logistic", Unary::from(UnaryKind::Logistic), &[x]);
            build.finish(Binary::from(BinaryKind::Mul), &[x, gate]);
        }
        UnaryKind::HardSigmoid => {
            let three = build.number(3.0);
            let sixth = build.number(1.0 / 6.0);
            let add = Binary { kind: BinaryKind::Add, activation: Activation::Relu6 };
            let clamped = build.push("add", add, &[x, three]);
            build.finish(Binary::from(BinaryKind::Mul), &[clamped, sixth]);
        }
        UnaryKind::Clip { min, max } => clip(build, x, min, max),
        UnaryKind::Elu(alpha) if alpha != 1.0 => elu(build, x, 1.0, alpha),
        UnaryKind::Selu => elu(build, x, SELU_SCALE, SELU_ALPHA),
        UnaryKind::Softplus => softplus(build, x),
        UnaryKind::Softsign => {
            let absolute = build.push("abs", Unary::from(UnaryKind::Abs), &[x]);
            let one = build.number(1.0);
            let divisor = build.push("add", Binary::from(BinaryKind::Add), &[absolute, one]);
            build.finish(Binary::from(BinaryKind::Div), &[x, divisor]);
        }
        UnaryKind::Reciprocal => {
            let one = build.number(1.0);
            build.finish(Binary::from(BinaryKind::Div), &[one, x]);
        }
        UnaryKind::Relu
        | UnaryKind::Relu6
        | UnaryKind::ReluN1To1
        | UnaryKind::LeakyRelu(_)
        | UnaryKind::Elu(_)
        | UnaryKind::Logistic
        | UnaryKind::Tanh
        | UnaryKind::HardSwish
        | UnaryKind::Gelu { .. }
        | UnaryKind::Abs
        | UnaryKind::Neg
        | UnaryKind::Square
        | UnaryKind::Sqrt
        | UnaryKind::Rsqrt
        | UnaryKind::Exp
        | UnaryKind::Log
        | UnaryKind::Sin
        | UnaryKind::Cos
        | UnaryKind::Floor
        | UnaryKind::Ceil
        | UnaryKind::Round
        | UnaryKind::Sign
        | UnaryKind::LogicalNot => {}
    }
}

fn clip(mut build: Builder<'_>, x: TensorId, min: f32, max: f32) {
    let named = match (min, max) {
        (0.0, f32::INFINITY) => Some(UnaryKind::Relu),
        (0.0, 6.0) => Some(UnaryKind::Relu6),
        (-1.0, 1.0) => Some(UnaryKind::ReluN1To1),
        _ => None,
    };
    if let Some(kind) = named {
        return build.finish(Unary::from(kind), &[x]);
    }
    let bounded = match min {
        f32::NEG_INFINITY => x,
        0.0 => build.push("relu", Unary::from(UnaryKind::Relu), &[x]),
        _ => {
            let min = build.number(min);
            if max == f32::INFINITY {
                return build.finish(Binary::from(BinaryKind::Maximum), &[x, min]);
            }
            build.push("maximum", Binary::from(BinaryKind::Maximum), &[x, min])
        }
    };
    // Without an upper bound here there was no lower one either: the minimum with infinity.
    let max = build.number(max);
    build.finish(Binary::from(BinaryKind::Minimum), &[bounded, max]);
}

/// `scale * relu(x) + scale * alpha * (exp(min(x, 0)) - 1)`
pub(super) fn elu(mut build: Builder<'_>, x: TensorId, scale: f32, alpha: f32) {
    let (zero, one) = (build.number(0.0), build.number(1.0));
    let positive = build.push("relu", Unary::from(UnaryKind::Relu), &[x]);
    let negative = build.push("minimum", Binary::from(BinaryKind::Minimum), &[x, zero]);
    let power = build.push("exp", Unary::from(UnaryKind::Exp), &[negative]);
    let shifted = build.push("sub", Binary::from(BinaryKind::Sub), &[power, one]);
    let factor = build.number(scale * alpha);
    let low = build.push("low", Binary::from(BinaryKind::Mul), &[shifted, factor]);
    let high = if scale == 1.0 {
        positive
    } else {
        let scale = build.number(scale);
        build.push("high", Binary::from(BinaryKind::Mul), &[positive, scale])
    };
    build.finish(Binary::from(BinaryKind::Add), &[high, low]);
}

/// `relu(x) + log(1 + exp(-|x|))`, which does not overflow as `log(1 + exp(x))` does.
fn softplus(mut build: Builder<'_>, x: TensorId) {
    let (one, minus_one) = (build.number(1.0), build.number(-1.0));
    let positive = build.push("relu", Unary::from(UnaryKind::Relu), &[x]);
    let absolute = build.push("abs", Unary::from(UnaryKind::Abs), &[x]);
    let negative = build.push("mul", Binary::from(BinaryKind::Mul), &[absolute, minus_one]);
    let power = build.push("exp", Unary::from(UnaryKind::Exp), &[negative]);
    let sum = build.push("add", Binary::from(BinaryKind::Add), &[power, one]);
    let logarithm = build.push("log", Unary::from(UnaryKind::Log), &[sum]);
    build.finish(Binary::from(BinaryKind::Add), &[positive, logarithm]);
}
