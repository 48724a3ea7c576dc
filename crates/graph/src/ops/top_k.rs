use serde::{Deserialize, Serialize};

use crate::dtype::DType;
use crate::operator::{Arity, Facts, InferError, Inputs, Operator, OutputRule, QuantizationRule, refuse};

/// The largest elements along the last axis, largest first, and their indices as `i32`; of equals, the
/// first comes first.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TopK {
    /// How many.
    pub k: usize,
}

impl Operator for TopK {
    fn arity(&self) -> Arity {
        Arity { inputs: (1, 1), outputs: (2, 2) }
    }

    fn infer(&self, inputs: Inputs<'_>) -> Result<Vec<Facts>, InferError> {
        let input = inputs.get(0)?;
        let mut shape = input.shape.clone();
        match shape.0.last_mut() {
            Some(last) if last.fixed().is_none_or(|size| size >= self.k) => *last = self.k.into(),
            _ => refuse!("there are no {} elements along the last axis of {}", self.k, input.shape),
        }
        Ok(vec![Facts::new(input.dtype, shape.clone()), Facts::new(DType::I32, shape)])
    }

    fn quantization(&self) -> QuantizationRule {
        QuantizationRule { output: OutputRule::SameAsInput, ..QuantizationRule::OBSERVED }.without_int16()
    }
}
