use serde::{Deserialize, Serialize};

use crate::operator::{Arity, Facts, InferError, Inputs, Operator, QuantizationRule, refuse};
use crate::shape::Shape;

/// The input repeated to a larger shape by NumPy's broadcasting rule.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BroadcastTo {
    /// The shape of the output.
    pub shape: Vec<usize>,
}

impl Operator for BroadcastTo {
    fn arity(&self) -> Arity {
        Arity::exactly(1)
    }

    fn infer(&self, inputs: Inputs<'_>) -> Result<Vec<Facts>, InferError> {
        let input = inputs.get(0)?;
        let target = Shape::fixed(&self.shape);
        if input.shape.broadcast(&target).as_ref() != Some(&target) {
            refuse!("shape {} does not broadcast to {target}", input.shape);
        }
        Ok(vec![Facts::new(input.dtype, target)])
    }

    fn quantization(&self) -> QuantizationRule {
        QuantizationRule::SAME
    }
}
