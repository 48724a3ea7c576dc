use serde::{Deserialize, Serialize};

use crate::dtype::DType;
use crate::operator::{Arity, Facts, InferError, Inputs, Operator, OutputRule, QuantizationRule, refuse};

/// Element-wise choice: inputs condition (bool), the value where it is true, the value where it is
/// false; all broadcast by NumPy's rule.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Select {}

impl Operator for Select {
    fn arity(&self) -> Arity {
        Arity::exactly(3)
    }

    fn infer(&self, inputs: Inputs<'_>) -> Result<Vec<Facts>, InferError> {
        let (condition, yes, no) = (inputs.get(0)?, inputs.get(1)?, inputs.get(2)?);
        if condition.dtype != DType::Bool || yes.dtype != no.dtype {
            refuse!("the condition is {}, the values are {} and {}", condition.dtype, yes.dtype, no.dtype);
        }
        let shape = yes.shape.broadcast(&no.shape).and_then(|shape| shape.broadcast(&condition.shape));
        let Some(shape) = shape else {
            refuse!("shapes {}, {} and {} do not broadcast", condition.shape, yes.shape, no.shape);
        };
        Ok(vec![Facts::new(yes.dtype, shape)])
    }

    fn quantization(&self) -> QuantizationRule {
        QuantizationRule { output: OutputRule::Shared, weights: None, int8: true, int16: false }
    }
}
