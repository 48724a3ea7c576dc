use serde::{Deserialize, Serialize};

use crate::operator::{Arity, Facts, InferError, Inputs, Operator, QuantizationRule, refuse};
use crate::ops::{Activation, resolve_axis};
use crate::shape::Dim;

/// All inputs behind one another along an axis.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Concat {
    /// The axis; a negative one counts from the end.
    pub axis: i32,
    /// Applied to the result.
    pub activation: Activation,
}

impl Operator for Concat {
    fn arity(&self) -> Arity {
        Arity::VARIADIC
    }

    fn infer(&self, inputs: Inputs<'_>) -> Result<Vec<Facts>, InferError> {
        let first = inputs.get(0)?;
        let axis = resolve_axis(self.axis, first.shape.rank())?;
        let mut shape = first.shape.clone();
        let mut value = first.value.clone();
        for index in 1..inputs.len() {
            let next = inputs.get(index)?;
            let (mut left, mut right) = (shape.clone(), next.shape.clone());
            if left.rank() != right.rank() || next.dtype != first.dtype {
                refuse!("input {index} is {}{}, the first {}{}", next.dtype, right, first.dtype, first.shape);
            }
            let length = match (&left.0[axis], &right.0[axis]) {
                (Dim::Fixed(a), Dim::Fixed(b)) => match a.checked_add(*b) {
                    Some(sum) => Dim::Fixed(sum),
                    None => refuse!("axis {axis} becomes too long"),
                },
                _ => Dim::Unknown,
            };
            (left.0[axis], right.0[axis]) = (Dim::Fixed(1), Dim::Fixed(1));
            let Some(mut merged) = left.unify(&right) else {
                refuse!(
                    "input {index} of shape {} does not fit {} beside axis {axis}",
                    next.shape,
                    first.shape
                );
            };
            merged.0[axis] = length;
            shape = merged;
            value = match (value, &next.value) {
                (Some(mut left), Some(right)) if first.shape.rank() == 1 => {
                    left.extend_from_slice(right);
                    Some(left)
                }
                _ => None,
            };
        }
        Ok(vec![Facts::new(first.dtype, shape).with_value(value)])
    }

    fn quantization(&self) -> QuantizationRule {
        QuantizationRule::SHARED
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dtype::DType;
    use crate::shape::Shape;

    #[test]
    fn lengths_add_up() {
        let a = Facts::new(DType::F32, Shape::from([Dim::free("batch"), 4.into(), 3.into()]));
        let b = Facts::new(DType::F32, Shape::from([Dim::free("batch"), 4.into(), 5.into()]));
        let infer = |axis| Concat { axis, ..Default::default() }.infer(Inputs(&[Some(&a), Some(&b)]));
        assert_eq!(infer(-1).unwrap()[0].shape.to_string(), "[batch,4,8]");
        assert!(infer(1).is_err());
        assert!(infer(3).is_err());
    }
}
