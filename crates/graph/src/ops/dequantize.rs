use serde::{Deserialize, Serialize};

use crate::dtype::DType;
use crate::operator::{Arity, Facts, InferError, Inputs, Operator, QuantizationRule};

/// Quantized integers, or half-precision numbers, as single-precision numbers.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Dequantize {}

impl Operator for Dequantize {
    fn arity(&self) -> Arity {
        Arity::exactly(1)
    }

    fn infer(&self, inputs: Inputs<'_>) -> Result<Vec<Facts>, InferError> {
        Ok(vec![Facts::new(DType::F32, inputs.get(0)?.shape.clone())])
    }

    fn quantization(&self) -> QuantizationRule {
        QuantizationRule::UNTOUCHED
    }
}
