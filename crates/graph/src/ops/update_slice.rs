use serde::{Deserialize, Serialize};

use crate::dtype::DType;
use crate::operator::{Arity, Facts, InferError, Inputs, Operator, QuantizationRule, refuse};

/// The first input with a part replaced by the second; the third says where the part begins along
/// each axis (clamped so that it fits).
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct UpdateSlice {}

impl Operator for UpdateSlice {
    fn arity(&self) -> Arity {
        Arity::exactly(3)
    }

    fn infer(&self, inputs: Inputs<'_>) -> Result<Vec<Facts>, InferError> {
        let (whole, part, begin) = (inputs.get(0)?, inputs.get(1)?, inputs.get(2)?);
        let fits = whole.shape.rank() == part.shape.rank()
            && whole.shape.dims().iter().zip(part.shape.dims()).all(|(whole, part)| {
                whole.fixed().zip(part.fixed()).is_none_or(|(whole, part)| part <= whole)
            });
        if !fits || whole.dtype != part.dtype {
            refuse!("{}{} is no part of {}{}", part.dtype, part.shape, whole.dtype, whole.shape);
        }
        let places = begin.shape.elements();
        if !matches!(begin.dtype, DType::I32 | DType::I64)
            || places.is_some_and(|places| places != whole.shape.rank())
        {
            refuse!(
                "the part's begin must be one integer for each axis, it is {}{}",
                begin.dtype,
                begin.shape
            );
        }
        Ok(vec![Facts::new(whole.dtype, whole.shape.clone())])
    }

    fn quantization(&self) -> QuantizationRule {
        QuantizationRule::FLOAT_ONLY
    }
}
