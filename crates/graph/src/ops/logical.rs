use serde::{Deserialize, Serialize};

use crate::dtype::DType;
use crate::operator::{Arity, Facts, InferError, Inputs, Operator, QuantizationRule, refuse};

/// Element-wise `and` or `or` of two booleans, broadcast by NumPy's rule.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Logical {
    /// The function.
    pub kind: LogicalKind,
}

/// A function of two booleans.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogicalKind {
    /// Both.
    #[default]
    And,
    /// At least one.
    Or,
}

impl Operator for Logical {
    fn arity(&self) -> Arity {
        Arity::exactly(2)
    }

    fn infer(&self, inputs: Inputs<'_>) -> Result<Vec<Facts>, InferError> {
        let (a, b) = (inputs.get(0)?, inputs.get(1)?);
        if a.dtype != DType::Bool || b.dtype != DType::Bool {
            refuse!("operands are {} and {}, not bool", a.dtype, b.dtype);
        }
        let Some(shape) = a.shape.broadcast(&b.shape) else {
            refuse!("operands of shapes {} and {} do not broadcast", a.shape, b.shape);
        };
        Ok(vec![Facts::new(DType::Bool, shape)])
    }

    fn quantization(&self) -> QuantizationRule {
        QuantizationRule::UNTOUCHED
    }
}
