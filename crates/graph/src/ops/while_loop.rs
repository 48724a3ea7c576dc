use serde::{Deserialize, Serialize};

use crate::model::GraphId;
use crate::operator::{Arity, Facts, InferError, Inputs, Operator, QuantizationRule, refuse};

/// A graph of the model run again and again, its outputs becoming its inputs, as long as another graph
/// says so. The node's inputs are those of the first round, its outputs those that the condition
/// refused.
#[derive(Clone, Copy, Debug, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct While {
    /// Takes what the body takes and gives one boolean scalar.
    pub condition: GraphId,
    /// Gives as many outputs as it takes inputs, each of the input's type.
    pub body: GraphId,
}

impl Operator for While {
    fn arity(&self) -> Arity {
        Arity { inputs: (1, usize::MAX), outputs: (1, usize::MAX) }
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
