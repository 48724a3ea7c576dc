use serde::{Deserialize, Serialize};

use crate::operator::{Arity, Facts, InferError, Inputs, Operator, QuantizationRule};
use crate::ops::resolve_axis;

/// The input with the order of elements along some axes turned round.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Reverse {
    /// The axes; negative ones count from the end.
    pub axes: Vec<i32>,
}

impl Operator for Reverse {
    fn arity(&self) -> Arity {
        Arity::exactly(1)
    }

    fn infer(&self, inputs: Inputs<'_>) -> Result<Vec<Facts>, InferError> {
        let input = inputs.get(0)?;
        for axis in &self.axes {
            resolve_axis(*axis, input.shape.rank())?;
        }
        Ok(vec![Facts::new(input.dtype, input.shape.clone())])
    }

    fn quantization(&self) -> QuantizationRule {
        QuantizationRule::SAME
    }
}
