use serde::{Deserialize, Serialize};

use crate::operator::{Arity, Facts, InferError, Inputs, Operator, QuantizationRule, refuse};
use crate::shape::Shape;

/// An image `[batch, height, width, channels]` scaled to another height and width.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Resize {
    /// How new pixels are made.
    pub kind: ResizeKind,
    /// New height and width.
    pub size: [usize; 2],
    /// Whether the centers of corner pixels keep their place.
    pub align_corners: bool,
    /// Whether pixels have their centers at half coordinates.
    pub half_pixel_centers: bool,
}

/// How a scaled image's pixels are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ResizeKind {
    /// From the four pixels around.
    #[default]
    Bilinear,
    /// From the nearest pixel.
    Nearest,
}

impl Operator for Resize {
    fn arity(&self) -> Arity {
        Arity::exactly(1)
    }

    fn infer(&self, inputs: Inputs<'_>) -> Result<Vec<Facts>, InferError> {
        let image = inputs.dims(0, 4)?;
        if self.size.contains(&0) || (self.align_corners && self.half_pixel_centers) {
            refuse!("size {:?} must be at least 1, and only one alignment can be asked for", self.size);
        }
        let [height, width] = self.size;
        let shape = Shape(vec![image[0].clone(), height.into(), width.into(), image[3].clone()]);
        Ok(vec![Facts::new(inputs.get(0)?.dtype, shape)])
    }

    fn quantization(&self) -> QuantizationRule {
        QuantizationRule::SAME
    }
}
