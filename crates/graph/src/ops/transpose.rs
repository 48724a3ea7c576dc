use serde::{Deserialize, Serialize};

use crate::operator::{Arity, Facts, InferError, Inputs, Operator, QuantizationRule, refuse};
use crate::shape::Shape;

/// Axes in another order: axis `i` of the output is axis `permutation[i]` of the input.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Transpose {
    /// Each axis of the input once.
    pub permutation: Vec<usize>,
}

impl Transpose {
    /// A transposition by this permutation.
    #[must_use]
    pub fn by(permutation: &[usize]) -> Transpose {
        Transpose { permutation: permutation.to_vec() }
    }
}

impl Operator for Transpose {
    fn arity(&self) -> Arity {
        Arity::exactly(1)
    }

    fn infer(&self, inputs: Inputs<'_>) -> Result<Vec<Facts>, InferError> {
        let input = inputs.get(0)?;
        let mut sorted = self.permutation.clone();
        sorted.sort_unstable();
        if !sorted.iter().copied().eq(0..input.shape.rank()) {
            refuse!("{:?} is no permutation of the axes of shape {}", self.permutation, input.shape);
        }
        let dims = self.permutation.iter().map(|axis| input.shape.0[*axis].clone()).collect();
        Ok(vec![Facts::new(input.dtype, Shape(dims))])
    }

    fn quantization(&self) -> QuantizationRule {
        QuantizationRule::SAME
    }
}
