use serde::{Deserialize, Serialize};

use crate::operator::{Arity, Facts, InferError, Inputs, Operator, QuantizationRule};
use crate::ops::window::{output_size, reach};
use crate::ops::{Activation, Padding};
use crate::shape::Shape;

/// Largest value or mean under a window that moves over `[batch, height, width, channels]`. The mean
/// counts only elements inside the input.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Pool2D {
    /// Which of the two.
    pub kind: PoolKind,
    /// Height and width of the window.
    pub kernel: [usize; 2],
    /// Vertical and horizontal step.
    pub stride: [usize; 2],
    /// What lies beyond the border (never an element).
    pub padding: Padding,
    /// Applied to the result.
    pub activation: Activation,
}

/// What a pooling computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PoolKind {
    /// The largest value.
    #[default]
    Max,
    /// The mean.
    Average,
}

impl Default for Pool2D {
    fn default() -> Pool2D {
        Pool2D {
            kind: PoolKind::Max,
            kernel: [1; 2],
            stride: [1; 2],
            padding: Padding::Valid,
            activation: Activation::None,
        }
    }
}

impl Operator for Pool2D {
    fn arity(&self) -> Arity {
        Arity::exactly(1)
    }

    fn infer(&self, inputs: Inputs<'_>) -> Result<Vec<Facts>, InferError> {
        let image = inputs.dims(0, 4)?;
        let [height, width] =
            output_size(&image[1..3], reach(self.kernel, [1; 2])?, self.stride, self.padding)?;
        let shape = Shape::from([image[0].clone(), height, width, image[3].clone()]);
        Ok(vec![Facts::new(inputs.get(0)?.dtype, shape)])
    }

    fn quantization(&self) -> QuantizationRule {
        QuantizationRule::SAME
    }
}
