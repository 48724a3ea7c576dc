use serde::{Deserialize, Serialize};

use crate::operator::{Arity, Facts, InferError, Inputs, Operator, QuantizationRule};
use crate::ops::resolve_axis;
use crate::shape::{Dim, Shape};

/// The same elements with one more axis of size 1.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ExpandDims {
    /// Where the new axis stands in the output; a negative one counts from the end.
    pub axis: i32,
}

impl Operator for ExpandDims {
    fn arity(&self) -> Arity {
        Arity::exactly(1)
    }

    fn infer(&self, inputs: Inputs<'_>) -> Result<Vec<Facts>, InferError> {
        let input = inputs.get(0)?;
        let axis = resolve_axis(self.axis, input.shape.rank() + 1)?;
        let mut dims = input.shape.0.clone();
        dims.insert(axis, Dim::Fixed(1));
        Ok(vec![Facts::new(input.dtype, Shape(dims)).with_value(input.value.clone())])
    }

    fn quantization(&self) -> QuantizationRule {
        QuantizationRule::SAME
    }
}
