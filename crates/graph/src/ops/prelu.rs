use serde::{Deserialize, Serialize};

use crate::operator::{Arity, Facts, InferError, Inputs, Operator, QuantizationRule, refuse};

/// `x` where positive, else `alpha * x`; inputs `x` and alpha, which broadcasts against it.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Prelu {}

impl Operator for Prelu {
    fn arity(&self) -> Arity {
        Arity::exactly(2)
    }

    fn infer(&self, inputs: Inputs<'_>) -> Result<Vec<Facts>, InferError> {
        let (x, alpha) = (inputs.get(0)?, inputs.get(1)?);
        match x.shape.broadcast(&alpha.shape) {
            Some(shape) if shape.rank() == x.shape.rank() => Ok(vec![Facts::new(x.dtype, shape)]),
            _ => refuse!("alpha of shape {} does not broadcast to {}", alpha.shape, x.shape),
        }
    }

    fn quantization(&self) -> QuantizationRule {
        QuantizationRule::OBSERVED.without_int16()
    }
}
