use serde::{Deserialize, Serialize};

use crate::operator::{Arity, Facts, InferError, Inputs, Operator, QuantizationRule, refuse};
use crate::ops::resolve_axis;
use crate::shape::{Dim, Shape};

/// Inputs of one shape stacked along a new axis.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Pack {
    /// Where the new axis stands in the output; a negative one counts from the end.
    pub axis: i32,
}

impl Operator for Pack {
    fn arity(&self) -> Arity {
        Arity::VARIADIC
    }

    fn infer(&self, inputs: Inputs<'_>) -> Result<Vec<Facts>, InferError> {
        let first = inputs.get(0)?;
        let mut shape = first.shape.clone();
        let mut value = Some(Vec::new());
        for index in 0..inputs.len() {
            let next = inputs.get(index)?;
            let Some(merged) = shape.unify(&next.shape) else {
                refuse!("input {index} has shape {}, the first {}", next.shape, first.shape);
            };
            if next.dtype != first.dtype {
                refuse!("input {index} is {}, the first {}", next.dtype, first.dtype);
            }
            shape = merged;
            value = match (value, &next.value) {
                (Some(mut all), Some(one)) if one.len() == 1 => {
                    all.push(one[0].clone());
                    Some(all)
                }
                _ => None,
            };
        }
        let axis = resolve_axis(self.axis, shape.rank() + 1)?;
        let mut dims = shape.0;
        dims.insert(axis, Dim::Fixed(inputs.len()));
        Ok(vec![Facts::new(first.dtype, Shape(dims)).with_value(value)])
    }

    fn quantization(&self) -> QuantizationRule {
        QuantizationRule::SHARED
    }
}
