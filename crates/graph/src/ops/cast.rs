use serde::{Deserialize, Serialize};

use crate::dtype::DType;
use crate::operator::{Arity, Facts, InferError, Inputs, Operator, QuantizationRule, refuse};

/// The same numbers as another element type: towards zero for integers, saturating.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Cast {
    /// Type of the output.
    pub to: DType,
}

impl Default for Cast {
    fn default() -> Cast {
        Cast { to: DType::F32 }
    }
}

impl Operator for Cast {
    fn arity(&self) -> Arity {
        Arity::exactly(1)
    }

    fn infer(&self, inputs: Inputs<'_>) -> Result<Vec<Facts>, InferError> {
        let input = inputs.get(0)?;
        if [self.to, input.dtype].iter().any(|dtype| matches!(dtype, DType::Text | DType::Resource)) {
            refuse!("{} cannot become {}", input.dtype, self.to);
        }
        let value = if self.to.is_integer() { input.value.clone() } else { None };
        Ok(vec![Facts::new(self.to, input.shape.clone()).with_value(value)])
    }

    fn quantization(&self) -> QuantizationRule {
        QuantizationRule::FLOAT_ONLY
    }
}
