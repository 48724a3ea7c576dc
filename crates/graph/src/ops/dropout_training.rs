use serde::{Deserialize, Serialize};

use super::Dropout;
use crate::operator::{Arity, Facts, InferError, Inputs, Operator, QuantizationRule, refuse};

/// Elements set to zero at random, the others divided by the share that stays (Srivastava et al.
/// 2014): inputs `x` and the number of the step, one int64, which with the seed decides what is
/// dropped. Only models that are trained have it.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DropoutTraining {
    /// What is dropped, and how often.
    pub dropout: Dropout,
    /// Tells layers, and runs, from each other.
    pub seed: u64,
}

impl Operator for DropoutTraining {
    fn arity(&self) -> Arity {
        Arity::exactly(2)
    }

    fn infer(&self, inputs: Inputs<'_>) -> Result<Vec<Facts>, InferError> {
        let (input, step) = (inputs.get(0)?, inputs.get(1)?);
        if step.dtype != crate::DType::I64 || step.shape.elements() != Some(1) {
            refuse!("the number of the step must be one int64, it is {}{}", step.dtype, step.shape);
        }
        if let Some(axis) = self.dropout.shared_axes.iter().find(|axis| **axis >= input.shape.rank()) {
            refuse!("axis {axis} does not exist in {} dimensions", input.shape.rank());
        }
        Ok(vec![Facts::new(input.dtype, input.shape.clone())])
    }

    fn quantization(&self) -> QuantizationRule {
        QuantizationRule::FLOAT_ONLY
    }
}
