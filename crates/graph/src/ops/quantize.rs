use serde::{Deserialize, Serialize};

use crate::dtype::DType;
use crate::operator::{Arity, Facts, InferError, Inputs, Operator, OutputRule, QuantizationRule, refuse};

/// Real numbers, or integers of other parameters, as integers: the parameters are those of the
/// output tensor.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Quantize {
    /// Type of the output.
    pub to: DType,
}

impl Default for Quantize {
    fn default() -> Quantize {
        Quantize { to: DType::I8 }
    }
}

impl Operator for Quantize {
    fn arity(&self) -> Arity {
        Arity::exactly(1)
    }

    fn infer(&self, inputs: Inputs<'_>) -> Result<Vec<Facts>, InferError> {
        let input = inputs.get(0)?;
        if !matches!(self.to, DType::I4 | DType::I8 | DType::U8 | DType::I16 | DType::I32) {
            refuse!("{} is no quantized type", self.to);
        }
        Ok(vec![Facts::new(self.to, input.shape.clone())])
    }

    fn quantization(&self) -> QuantizationRule {
        QuantizationRule { output: OutputRule::Observed, ..QuantizationRule::OBSERVED }
    }
}
