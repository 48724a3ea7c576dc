use serde::{Deserialize, Serialize};

use crate::dtype::DType;
use crate::operator::{Arity, Facts, InferError, Inputs, Operator, QuantizationRule, refuse};
use crate::shape::Dim;

/// Each index becomes a row that is the second input at that place and the third elsewhere. Inputs:
/// indices, the value at the place, the value elsewhere (scalars of the output's type).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OneHot {
    /// Length of a row.
    pub depth: usize,
    /// Where the rows' axis stands in the output; -1: last.
    pub axis: i32,
}

impl Default for OneHot {
    fn default() -> OneHot {
        OneHot { depth: 1, axis: -1 }
    }
}

impl Operator for OneHot {
    fn arity(&self) -> Arity {
        Arity::exactly(3)
    }

    fn infer(&self, inputs: Inputs<'_>) -> Result<Vec<Facts>, InferError> {
        let (indices, on, off) = (inputs.get(0)?, inputs.get(1)?, inputs.get(2)?);
        if !matches!(indices.dtype, DType::I32 | DType::I64) {
            refuse!("indices are {}, not integers", indices.dtype);
        }
        if on.dtype != off.dtype || [on, off].iter().any(|value| value.shape.elements() != Some(1)) {
            refuse!("the two values must be scalars of one type");
        }
        let rank = indices.shape.rank();
        let axis = if self.axis == -1 { Some(rank) } else { usize::try_from(self.axis).ok() };
        let Some(axis) = axis.filter(|axis| *axis <= rank) else {
            refuse!("axis {} does not exist in {} dimensions", self.axis, rank + 1);
        };
        let mut shape = indices.shape.clone();
        shape.0.insert(axis, Dim::Fixed(self.depth));
        Ok(vec![Facts::new(on.dtype, shape)])
    }

    fn quantization(&self) -> QuantizationRule {
        QuantizationRule::FLOAT_ONLY
    }
}
