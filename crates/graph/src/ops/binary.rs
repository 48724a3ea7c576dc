use serde::{Deserialize, Serialize};

use crate::operator::Number;
use crate::operator::{Arity, Facts, InferError, Inputs, Operator, QuantizationRule, refuse};
use crate::ops::Activation;

/// Element-wise function of two operands, broadcast by NumPy's rule.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Binary {
    /// The function.
    pub kind: BinaryKind,
    /// Applied to the result (`Add`, `Sub`, `Mul` and `Div` only).
    pub activation: Activation,
}

/// A function of two numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BinaryKind {
    /// `a + b`
    #[default]
    Add,
    /// `a - b`
    Sub,
    /// `a * b`
    Mul,
    /// `a / b`; integers round towards zero.
    Div,
    /// The larger.
    Maximum,
    /// The smaller.
    Minimum,
    /// `a` to the power `b`.
    Pow,
    /// `(a - b)^2`
    SquaredDifference,
    /// `floor(a / b)`
    FloorDiv,
    /// `a - floor(a / b) * b`
    FloorMod,
}

impl BinaryKind {
    /// Every kind.
    pub const ALL: [BinaryKind; 10] = [
        BinaryKind::Add,
        BinaryKind::Sub,
        BinaryKind::Mul,
        BinaryKind::Div,
        BinaryKind::Maximum,
        BinaryKind::Minimum,
        BinaryKind::Pow,
        BinaryKind::SquaredDifference,
        BinaryKind::FloorDiv,
        BinaryKind::FloorMod,
    ];

    fn apply(self, a: &Number, b: &Number) -> Number {
        let (Number::Int(a), Number::Int(b)) = (a, b) else { return Number::Unknown };
        let result = match self {
            BinaryKind::Add => a.checked_add(*b),
            BinaryKind::Sub => a.checked_sub(*b),
            BinaryKind::Mul => a.checked_mul(*b),
            BinaryKind::Div => a.checked_div(*b),
            BinaryKind::FloorDiv if *b > 0 => a.checked_div_euclid(*b),
            BinaryKind::Maximum => Some(*a.max(b)),
            BinaryKind::Minimum => Some(*a.min(b)),
            _ => None,
        };
        result.map_or(Number::Unknown, Number::Int)
    }
}

impl From<BinaryKind> for Binary {
    fn from(kind: BinaryKind) -> Binary {
        Binary { kind, activation: Activation::None }
    }
}

impl Operator for Binary {
    fn arity(&self) -> Arity {
        Arity::exactly(2)
    }

    fn infer(&self, inputs: Inputs<'_>) -> Result<Vec<Facts>, InferError> {
        let (a, b) = (inputs.get(0)?, inputs.get(1)?);
        if a.dtype != b.dtype {
            refuse!("operands are {} and {}", a.dtype, b.dtype);
        }
        let Some(shape) = a.shape.broadcast(&b.shape) else {
            refuse!("operands of shapes {} and {} do not broadcast", a.shape, b.shape);
        };
        let value = match (&a.value, &b.value) {
            (Some(a), Some(b)) if a.len() == b.len() => {
                Some(a.iter().zip(b).map(|(a, b)| self.kind.apply(a, b)).collect())
            }
            (Some(a), Some(b)) if b.len() == 1 => Some(a.iter().map(|a| self.kind.apply(a, &b[0])).collect()),
            (Some(a), Some(b)) if a.len() == 1 => Some(b.iter().map(|b| self.kind.apply(&a[0], b)).collect()),
            _ => None,
        };
        Ok(vec![Facts::new(a.dtype, shape).with_value(value)])
    }

    fn quantization(&self) -> QuantizationRule {
        match self.kind {
            BinaryKind::Add | BinaryKind::Sub | BinaryKind::Mul => QuantizationRule::OBSERVED,
            BinaryKind::Div | BinaryKind::SquaredDifference => QuantizationRule::OBSERVED.without_int16(),
            BinaryKind::Maximum | BinaryKind::Minimum => QuantizationRule::SHARED,
            BinaryKind::Pow | BinaryKind::FloorDiv | BinaryKind::FloorMod => QuantizationRule::FLOAT_ONLY,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dtype::DType;
    use crate::shape::Shape;

    #[test]
    fn operands_broadcast_and_small_integers_are_computed() {
        let a =
            Facts::new(DType::I32, Shape::from([2])).with_value(Some(vec![Number::Int(3), Number::Unknown]));
        let b = Facts::new(DType::I32, Shape::default()).with_value(Some(vec![Number::Int(4)]));
        let outputs = Binary::from(BinaryKind::Mul).infer(Inputs(&[Some(&a), Some(&b)])).unwrap();
        assert_eq!(outputs[0].shape, Shape::from([2]));
        assert_eq!(outputs[0].value, Some(vec![Number::Int(12), Number::Unknown]));
    }

    #[test]
    fn types_must_agree() {
        let a = Facts::new(DType::I32, Shape::from([2]));
        let b = Facts::new(DType::F32, Shape::from([2]));
        assert!(Binary::default().infer(Inputs(&[Some(&a), Some(&b)])).is_err());
    }
}
