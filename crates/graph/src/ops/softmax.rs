use serde::{Deserialize, Serialize};

use crate::operator::{Arity, Facts, InferError, Inputs, Operator, OutputRule, QuantizationRule};

/// `exp(beta * x) / sum exp(beta * x)` over the last axis, or its logarithm.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Softmax {
    /// Multiplied with the input first.
    pub beta: f32,
    /// Whether the logarithm is meant (LOG_SOFTMAX).
    pub log: bool,
}

impl Default for Softmax {
    fn default() -> Softmax {
        Softmax { beta: 1.0, log: false }
    }
}

impl Operator for Softmax {
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
        let (scale, zero_point) = if self.log { (16.0 / 256.0, 127) } else { (1.0 / 256.0, -128) };
        let output = OutputRule::Fixed { scale, zero_point, scale16: 1.0 / 32768.0 };
        QuantizationRule { output, weights: None, int8: true, int16: !self.log }
    }
}
