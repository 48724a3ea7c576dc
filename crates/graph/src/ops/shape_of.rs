use serde::{Deserialize, Serialize};

use crate::dtype::DType;
use crate::operator::Number;
use crate::operator::{Arity, Facts, InferError, Inputs, Operator, QuantizationRule, refuse};
use crate::shape::Shape;

/// The sizes of the input's axes (SHAPE).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ShapeOf {
    /// Type of the sizes: `i32` or `i64`.
    pub dtype: DType,
}

impl Default for ShapeOf {
    fn default() -> ShapeOf {
        ShapeOf { dtype: DType::I32 }
    }
}

impl Operator for ShapeOf {
    fn arity(&self) -> Arity {
        Arity::exactly(1)
    }

    fn infer(&self, inputs: Inputs<'_>) -> Result<Vec<Facts>, InferError> {
        if !matches!(self.dtype, DType::I32 | DType::I64) {
            refuse!("sizes cannot be {}", self.dtype);
        }
        let shape = &inputs.get(0)?.shape;
        let value = shape.dims().iter().map(Number::from).collect();
        Ok(vec![Facts::new(self.dtype, Shape::fixed(&[shape.rank()])).with_value(Some(value))])
    }

    fn quantization(&self) -> QuantizationRule {
        QuantizationRule::UNTOUCHED
    }
}
