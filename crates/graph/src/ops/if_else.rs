use serde::{Deserialize, Serialize};

use crate::model::GraphId;
use crate::operator::{Arity, Facts, InferError, Inputs, Operator, QuantizationRule, refuse};

/// One of two graphs of the model, chosen by the first input (a boolean scalar). Both take the
/// other inputs and give the outputs.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct If {
    /// What is run where the condition holds.
    pub then_graph: GraphId,
    /// What is run where it does not.
    pub else_graph: GraphId,
}

impl Operator for If {
    fn arity(&self) -> Arity {
        Arity { inputs: (1, usize::MAX), outputs: (0, usize::MAX) }
    }

    fn infer(&self, _inputs: Inputs<'_>) -> Result<Vec<Facts>, InferError> {
        refuse!("its outputs can only be told with the model's graphs at hand")
    }

    fn quantization(&self) -> QuantizationRule {
        QuantizationRule::FLOAT_ONLY
    }

    fn has_effect(&self) -> bool {
        true
    }
}
