use serde::{Deserialize, Serialize};

use crate::operator::{Arity, Facts, InferError, Inputs, Number, Operator, QuantizationRule, refuse};
use crate::shape::{Dim, Shape};

/// An image `[batch, height, width, channels]` scaled to another height and width. Where a second
/// input (two integers) is given, it is the new size, and the attribute stays `[0, 0]`.
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
        Arity::between(1, 2)
    }

    fn infer(&self, inputs: Inputs<'_>) -> Result<Vec<Facts>, InferError> {
        let image = inputs.dims(0, 4)?;
        let size: Shape = match inputs.len() {
            1 => Shape::fixed(&self.size),
            _ if self.size != [0; 2] => refuse!("the new size is given twice"),
            _ => {
                let dim = |number: Number| match number {
                    Number::Int(size) => Dim::Fixed(usize::try_from(size).unwrap_or(0)),
                    Number::Free(symbol) => Dim::Free(symbol),
                    Number::Unknown => Dim::Unknown,
                };
                inputs.numbers(1, 2)?.into_iter().map(dim).collect()
            }
        };
        if size.0.contains(&Dim::Fixed(0)) || (self.align_corners && self.half_pixel_centers) {
            refuse!("size {size} must be at least 1, and only one alignment can be asked for");
        }
        let shape = [&image[..1], size.dims(), &image[3..]].into_iter().flatten().cloned().collect();
        Ok(vec![Facts::new(inputs.get(0)?.dtype, shape)])
    }

    fn quantization(&self) -> QuantizationRule {
        QuantizationRule::SAME
    }
}
