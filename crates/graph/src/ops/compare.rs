use serde::{Deserialize, Serialize};

use crate::dtype::DType;
use crate::operator::{Arity, Facts, InferError, Inputs, Operator, QuantizationRule, refuse};

/// Element-wise comparison of two operands, broadcast by NumPy's rule.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Compare {
    /// The relation.
    pub kind: CompareKind,
}

/// A relation between two numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CompareKind {
    /// `a == b`
    #[default]
    Equal,
    /// `a != b`
    NotEqual,
    /// `a < b`
    Less,
    /// `a <= b`
    LessEqual,
    /// `a > b`
    Greater,
    /// `a >= b`
    GreaterEqual,
}

impl CompareKind {
    /// Every kind.
    pub const ALL: [CompareKind; 6] = [
        CompareKind::Equal,
        CompareKind::NotEqual,
        CompareKind::Less,
        CompareKind::LessEqual,
        CompareKind::Greater,
        CompareKind::GreaterEqual,
    ];
}

impl Operator for Compare {
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
        Ok(vec![Facts::new(DType::Bool, shape)])
    }

    fn quantization(&self) -> QuantizationRule {
        QuantizationRule::UNTOUCHED.without_int16()
    }
}
