use serde::{Deserialize, Serialize};

use crate::operator::{Arity, Facts, InferError, Inputs, Operator, QuantizationRule, refuse};
use crate::ops::resolve_axis;
use crate::shape::Dim;

/// The input cut into its slices along an axis, which is dropped; one output each.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Unpack {
    /// The axis; a negative one counts from the end.
    pub axis: i32,
    /// Its size.
    pub parts: usize,
}

impl Operator for Unpack {
    fn arity(&self) -> Arity {
        Arity { inputs: (1, 1), outputs: (0, usize::MAX) }
    }

    fn infer(&self, inputs: Inputs<'_>) -> Result<Vec<Facts>, InferError> {
        let input = inputs.get(0)?;
        let axis = resolve_axis(self.axis, input.shape.rank())?;
        let mut shape = input.shape.clone();
        let length = shape.0.remove(axis);
        if length.unify(&Dim::Fixed(self.parts)).is_none() || self.parts > 1 << 16 {
            refuse!("axis {axis} of shape {} cannot be cut into {} slices", input.shape, self.parts);
        }
        Ok(vec![Facts::new(input.dtype, shape); self.parts])
    }

    fn quantization(&self) -> QuantizationRule {
        QuantizationRule::SAME
    }
}
