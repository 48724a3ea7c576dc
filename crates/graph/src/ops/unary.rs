use serde::{Deserialize, Serialize};

use crate::dtype::DType;
use crate::operator::{Arity, Facts, InferError, Inputs, Operator, OutputRule, QuantizationRule};
use crate::ops::Activation;

/// Element-wise function of one operand.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Unary {
    /// The function.
    pub kind: UnaryKind,
}

/// A function of one number.
#[derive(Clone, Copy, Debug, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UnaryKind {
    /// `max(x, 0)`
    #[default]
    Relu,
    /// `min(max(x, 0), 6)`
    Relu6,
    /// `min(max(x, -1), 1)`
    ReluN1To1,
    /// `min(max(x, min), max)`; a bound may be infinite, which JSON writes as `null`. High-level:
    /// TFLite spells it with MINIMUM and MAXIMUM.
    Clip {
        /// Lower bound.
        #[serde(with = "bound::lower")]
        min: f32,
        /// Upper bound.
        #[serde(with = "bound::upper")]
        max: f32,
    },
    /// `x` where positive, else `alpha * x`.
    LeakyRelu(f32),
    /// `x` where positive, else `alpha * (exp(x) - 1)`.
    Elu(f32),
    /// `1.0507009873554805 * elu(x, 1.6732632423543772)` (Klambauer et al. 2017). High-level.
    Selu,
    /// `1 / (1 + exp(-x))`
    Logistic,
    /// Hyperbolic tangent.
    Tanh,
    /// `x * logistic(x)`, also called swish. High-level.
    Silu,
    /// `relu6(x + 3) / 6`, Keras 3's definition. High-level.
    HardSigmoid,
    /// `x * relu6(x + 3) / 6`, also called hard-silu.
    HardSwish,
    /// Gaussian error linear unit, by the error function or by its tanh approximation.
    Gelu {
        /// Whether the tanh approximation is meant.
        approximate: bool,
    },
    /// `log(1 + exp(x))`. High-level.
    Softplus,
    /// `x / (1 + |x|)`. High-level.
    Softsign,
    /// Absolute value.
    Abs,
    /// `-x`
    Neg,
    /// `x * x`
    Square,
    /// Square root.
    Sqrt,
    /// `1 / sqrt(x)`
    Rsqrt,
    /// Exponential.
    Exp,
    /// Natural logarithm.
    Log,
    /// Sine.
    Sin,
    /// Cosine.
    Cos,
    /// Largest integer not above.
    Floor,
    /// Smallest integer not below.
    Ceil,
    /// Nearest integer, ties to even.
    Round,
    /// -1, 0 or 1.
    Sign,
    /// `1 / x`. High-level.
    Reciprocal,
    /// Boolean negation.
    LogicalNot,
}

impl UnaryKind {
    /// One example of every kind.
    pub const ALL: [UnaryKind; 29] = [
        UnaryKind::Relu,
        UnaryKind::Relu6,
        UnaryKind::ReluN1To1,
        UnaryKind::Clip { min: -2.0, max: 3.0 },
        UnaryKind::LeakyRelu(0.2),
        UnaryKind::Elu(1.0),
        UnaryKind::Selu,
        UnaryKind::Logistic,
        UnaryKind::Tanh,
        UnaryKind::Silu,
        UnaryKind::HardSigmoid,
        UnaryKind::HardSwish,
        UnaryKind::Gelu { approximate: false },
        UnaryKind::Softplus,
        UnaryKind::Softsign,
        UnaryKind::Abs,
        UnaryKind::Neg,
        UnaryKind::Square,
        UnaryKind::Sqrt,
        UnaryKind::Rsqrt,
        UnaryKind::Exp,
        UnaryKind::Log,
        UnaryKind::Sin,
        UnaryKind::Cos,
        UnaryKind::Floor,
        UnaryKind::Ceil,
        UnaryKind::Round,
        UnaryKind::Sign,
        UnaryKind::Reciprocal,
    ];
}

impl UnaryKind {
    /// The fused activation that is the same function.
    #[must_use]
    pub fn activation(self) -> Option<Activation> {
        match self {
            UnaryKind::Relu => Some(Activation::Relu),
            UnaryKind::Relu6 => Some(Activation::Relu6),
            UnaryKind::ReluN1To1 => Some(Activation::ReluN1To1),
            _ => None,
        }
    }

    /// Whether its gradient is computed from its result alone, without the operand.
    #[must_use]
    pub fn differentiates_by_result(self) -> bool {
        matches!(
            self,
            UnaryKind::Relu
                | UnaryKind::Relu6
                | UnaryKind::ReluN1To1
                | UnaryKind::Elu(0.0..)
                | UnaryKind::Selu
                | UnaryKind::Logistic
                | UnaryKind::Tanh
                | UnaryKind::Sqrt
                | UnaryKind::Rsqrt
                | UnaryKind::Exp
                | UnaryKind::Reciprocal
        )
    }
}

impl From<UnaryKind> for Unary {
    fn from(kind: UnaryKind) -> Unary {
        Unary { kind }
    }
}

impl Operator for Unary {
    fn arity(&self) -> Arity {
        Arity::exactly(1)
    }

    fn infer(&self, inputs: Inputs<'_>) -> Result<Vec<Facts>, InferError> {
        let input = inputs.get(0)?;
        if (self.kind == UnaryKind::LogicalNot) != (input.dtype == DType::Bool) {
            crate::operator::refuse!("the operand is {}", input.dtype);
        }
        Ok(vec![Facts::new(input.dtype, input.shape.clone())])
    }

    fn quantization(&self) -> QuantizationRule {
        let fixed = |scale, zero_point, scale16| QuantizationRule {
            output: OutputRule::Fixed { scale, zero_point, scale16 },
            ..QuantizationRule::OBSERVED
        };
        match self.kind {
            UnaryKind::Logistic => fixed(1.0 / 256.0, -128, 1.0 / 32768.0),
            UnaryKind::Tanh => fixed(1.0 / 128.0, 0, 1.0 / 32768.0),
            UnaryKind::Relu
            | UnaryKind::Relu6
            | UnaryKind::LeakyRelu(_)
            | UnaryKind::Gelu { .. }
            | UnaryKind::Abs
            | UnaryKind::Exp
            | UnaryKind::Log
            | UnaryKind::Rsqrt => QuantizationRule::OBSERVED,
            UnaryKind::Elu(1.0) | UnaryKind::ReluN1To1 | UnaryKind::HardSwish | UnaryKind::Sqrt => {
                QuantizationRule::OBSERVED.without_int16()
            }
            UnaryKind::LogicalNot => QuantizationRule::UNTOUCHED,
            UnaryKind::Clip { .. }
            | UnaryKind::Elu(_)
            | UnaryKind::Selu
            | UnaryKind::Silu
            | UnaryKind::HardSigmoid
            | UnaryKind::Softplus
            | UnaryKind::Softsign
            | UnaryKind::Neg
            | UnaryKind::Square
            | UnaryKind::Sin
            | UnaryKind::Cos
            | UnaryKind::Floor
            | UnaryKind::Ceil
            | UnaryKind::Round
            | UnaryKind::Sign
            | UnaryKind::Reciprocal => QuantizationRule::FLOAT_ONLY,
        }
    }
}

/// Infinite bounds as JSON's `null`, which has no infinity.
mod bound {
    macro_rules! bound {
        ($name:ident, $infinity:expr) => {
            pub mod $name {
                use serde::{Deserialize, Deserializer, Serializer};

                pub fn serialize<S: Serializer>(bound: &f32, serializer: S) -> Result<S::Ok, S::Error> {
                    if bound.is_finite() {
                        serializer.serialize_some(bound)
                    } else {
                        serializer.serialize_none()
                    }
                }

                pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f32, D::Error> {
                    Option::<f32>::deserialize(deserializer).map(|bound| bound.unwrap_or($infinity))
                }
            }
        };
    }
    bound!(lower, f32::NEG_INFINITY);
    bound!(upper, f32::INFINITY);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::op::Op;

    #[test]
    fn every_kind_goes_to_json_and_back() {
        let open = UnaryKind::Clip { min: 0.0, max: f32::INFINITY };
        for kind in UnaryKind::ALL.into_iter().chain([open, UnaryKind::LogicalNot]) {
            let op = Op::from(Unary::from(kind));
            assert_eq!(Op::from_attributes("Unary", op.attributes()), Ok(op));
        }
    }
}
