use serde::{Deserialize, Serialize};

use crate::operator::{Arity, Facts, InferError, Inputs, Operator, QuantizationRule, refuse};

/// Gives a state (the first input, a tensor of kind [`State`](crate::TensorKind::State)) the value of
/// the second input, which has the same type and shape.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AssignState {}

impl Operator for AssignState {
    fn arity(&self) -> Arity {
        Arity { inputs: (2, 2), outputs: (0, 0) }
    }

    fn infer(&self, inputs: Inputs<'_>) -> Result<Vec<Facts>, InferError> {
        let (state, value) = (inputs.get(0)?, inputs.get(1)?);
        if state.dtype != value.dtype || state.shape.unify(&value.shape).is_none() {
            refuse!("a state of {}{} cannot hold {}{}", state.dtype, state.shape, value.dtype, value.shape);
        }
        Ok(Vec::new())
    }

    fn quantization(&self) -> QuantizationRule {
        // A state keeps the type that it has.
        QuantizationRule::FLOAT_ONLY
    }

    fn has_effect(&self) -> bool {
        true
    }
}
