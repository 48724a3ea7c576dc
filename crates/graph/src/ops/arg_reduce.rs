use serde::{Deserialize, Serialize};

use crate::dtype::DType;
use crate::operator::{Arity, Facts, InferError, Inputs, Operator, QuantizationRule, refuse};
use crate::ops::resolve_axis;

/// Index of the largest or smallest element along an axis, which is dropped; the first of equals.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ArgReduce {
    /// Which of the two.
    pub kind: ArgKind,
    /// The axis; a negative one counts from the end.
    pub axis: i32,
    /// Type of the output: `i32` or `i64`.
    pub dtype: DType,
}

/// Which index is searched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ArgKind {
    /// That of the largest element.
    #[default]
    Max,
    /// That of the smallest element.
    Min,
}

impl Default for ArgReduce {
    fn default() -> ArgReduce {
        ArgReduce { kind: ArgKind::Max, axis: -1, dtype: DType::I64 }
    }
}

impl Operator for ArgReduce {
    fn arity(&self) -> Arity {
        Arity::exactly(1)
    }

    fn infer(&self, inputs: Inputs<'_>) -> Result<Vec<Facts>, InferError> {
        let input = inputs.get(0)?;
        if !matches!(self.dtype, DType::I32 | DType::I64) {
            refuse!("indices cannot be {}", self.dtype);
        }
        let axis = resolve_axis(self.axis, input.shape.rank())?;
        let mut shape = input.shape.clone();
        shape.0.remove(axis);
        Ok(vec![Facts::new(self.dtype, shape)])
    }

    fn quantization(&self) -> QuantizationRule {
        QuantizationRule::UNTOUCHED.without_int16()
    }
}
