use serde::{Deserialize, Serialize};

use crate::operator::{Arity, Facts, InferError, Inputs, Operator, OutputRule, QuantizationRule, refuse};
use crate::ops::resolve_axis;

/// The input cut into parts along an axis, one output each.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Split {
    /// The axis; a negative one counts from the end.
    pub axis: i32,
    /// Number of parts.
    pub parts: usize,
    /// Sizes of the parts; empty: all are equal.
    pub sizes: Vec<usize>,
}

impl Default for Split {
    fn default() -> Split {
        Split { axis: 0, parts: 1, sizes: Vec::new() }
    }
}

impl Operator for Split {
    fn arity(&self) -> Arity {
        Arity { inputs: (1, 1), outputs: (1, usize::MAX) }
    }

    fn infer(&self, inputs: Inputs<'_>) -> Result<Vec<Facts>, InferError> {
        let input = inputs.get(0)?;
        let axis = resolve_axis(self.axis, input.shape.rank())?;
        let length = input.shape.0[axis].fixed();
        let sizes = if self.sizes.is_empty() {
            let Some(length) = length else { refuse!("the size of axis {axis} must be fixed") };
            if self.parts == 0 || length % self.parts != 0 || self.parts > length.max(1) {
                refuse!("an axis of {length} cannot be split into {} equal parts", self.parts);
            }
            vec![length / self.parts; self.parts]
        } else {
            let total = self.sizes.iter().try_fold(0usize, |sum, size| sum.checked_add(*size));
            if self.sizes.len() != self.parts
                || total.is_none()
                || length.is_some_and(|length| Some(length) != total)
            {
                refuse!("parts of {:?} do not make an axis of {}", self.sizes, input.shape.0[axis]);
            }
            self.sizes.clone()
        };
        let part = |size: usize| {
            let mut shape = input.shape.clone();
            shape.0[axis] = size.into();
            Facts::new(input.dtype, shape)
        };
        Ok(sizes.into_iter().map(part).collect())
    }

    fn quantization(&self) -> QuantizationRule {
        QuantizationRule { output: OutputRule::SameAsInput, ..QuantizationRule::OBSERVED }
    }
}
