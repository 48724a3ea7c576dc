use serde::{Deserialize, Serialize};

use crate::operator::{Arity, Facts, InferError, Inputs, Operator, QuantizationRule};

/// The input itself. High-level: keeps a layer's name until passes drop it.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Identity {}

impl Operator for Identity {
    fn arity(&self) -> Arity {
        Arity::exactly(1)
    }

    fn infer(&self, inputs: Inputs<'_>) -> Result<Vec<Facts>, InferError> {
        Ok(vec![inputs.get(0)?.clone()])
    }

    fn quantization(&self) -> QuantizationRule {
        QuantizationRule::SAME
    }
}
