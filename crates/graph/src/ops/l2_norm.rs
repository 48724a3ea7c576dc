use serde::{Deserialize, Serialize};

use crate::operator::{Arity, Facts, InferError, Inputs, Operator, OutputRule, QuantizationRule};

/// Each vector along the last axis divided by its Euclidean length.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct L2Norm {}

impl Operator for L2Norm {
    fn arity(&self) -> Arity {
        Arity::exactly(1)
    }

    fn infer(&self, inputs: Inputs<'_>) -> Result<Vec<Facts>, InferError> {
        let input = inputs.get(0)?;
        if input.shape.rank() == 0 {
            crate::operator::refuse!("the input is a scalar");
        }
        Ok(vec![Facts::new(input.dtype, input.shape.clone())])
    }

    fn quantization(&self) -> QuantizationRule {
        let output = OutputRule::Fixed { scale: 1.0 / 128.0, zero_point: 0, scale16: 1.0 / 32768.0 };
        QuantizationRule { output, weights: None, int8: true, int16: false }
    }
}
