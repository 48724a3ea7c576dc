use serde::{Deserialize, Serialize};

use crate::operator::{Arity, Facts, InferError, Inputs, Operator, QuantizationRule};
use crate::quantization::Quantization;

/// Real numbers rounded to the grid that integers of this many bits would have, still as real
/// numbers: what quantization-aware training simulates. High-level.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FakeQuant {
    /// Bits of the integers.
    pub bits: u32,
    /// Whether the lowest integer is left out, so that the range is symmetric.
    pub narrow_range: bool,
    /// Scales and zero points (of signed integers).
    pub quantization: Quantization,
}

impl Default for FakeQuant {
    fn default() -> FakeQuant {
        FakeQuant { bits: 8, narrow_range: false, quantization: Quantization::default() }
    }
}

impl Operator for FakeQuant {
    fn arity(&self) -> Arity {
        Arity::exactly(1)
    }

    fn infer(&self, inputs: Inputs<'_>) -> Result<Vec<Facts>, InferError> {
        let input = inputs.get(0)?;
        if !(2..=16).contains(&self.bits) {
            crate::operator::refuse!("{} bits are not supported, 2 to 16 are", self.bits);
        }
        Ok(vec![Facts::new(input.dtype, input.shape.clone())])
    }

    fn quantization(&self) -> QuantizationRule {
        QuantizationRule::FLOAT_ONLY
    }
}
