use serde::{Deserialize, Serialize};

use crate::operator::{Arity, Facts, InferError, Inputs, Operator, QuantizationRule, refuse};
use crate::ops::resolve_axis;
use crate::shape::{Dim, Shape};

/// The same elements without some axes of size 1.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Squeeze {
    /// The axes that go; negative ones count from the end. Empty: all of size 1.
    pub axes: Vec<i32>,
}

impl Operator for Squeeze {
    fn arity(&self) -> Arity {
        Arity::exactly(1)
    }

    fn infer(&self, inputs: Inputs<'_>) -> Result<Vec<Facts>, InferError> {
        let input = inputs.get(0)?;
        let dims = input.shape.dims();
        let axes =
            self.axes.iter().map(|axis| resolve_axis(*axis, dims.len())).collect::<Result<Vec<_>, _>>()?;
        if let Some(axis) = axes.iter().find(|axis| dims[**axis].unify(&Dim::Fixed(1)).is_none()) {
            refuse!("axis {axis} of shape {} is not 1", input.shape);
        }
        let goes =
            |axis: usize| if axes.is_empty() { dims[axis] == Dim::Fixed(1) } else { axes.contains(&axis) };
        let kept = (0..dims.len()).filter(|axis| !goes(*axis)).map(|axis| dims[axis].clone()).collect();
        Ok(vec![Facts::new(input.dtype, Shape(kept)).with_value(input.value.clone())])
    }

    fn quantization(&self) -> QuantizationRule {
        QuantizationRule::SAME
    }
}
