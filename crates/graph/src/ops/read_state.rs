use serde::{Deserialize, Serialize};

use crate::operator::{Arity, Facts, InferError, Inputs, Operator, QuantizationRule};

/// What a state (the input, a tensor of kind [`State`](crate::TensorKind::State)) holds at this place
/// of the graph's order.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ReadState {}

impl Operator for ReadState {
    fn arity(&self) -> Arity {
        Arity::exactly(1)
    }

    fn infer(&self, inputs: Inputs<'_>) -> Result<Vec<Facts>, InferError> {
        Ok(vec![inputs.get(0)?.clone()])
    }

    fn quantization(&self) -> QuantizationRule {
        // A state keeps the type that it has.
        QuantizationRule::FLOAT_ONLY
    }
}
