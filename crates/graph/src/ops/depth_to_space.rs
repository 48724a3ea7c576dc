use serde::{Deserialize, Serialize};

use crate::operator::{Arity, Facts, InferError, Inputs, Operator, QuantizationRule, refuse};
use crate::shape::{Dim, Shape};

/// The channels of each pixel of `[batch, height, width, channels]` become a square of `block * block`
/// pixels: the inverse of [`SpaceToDepth`](crate::ops::SpaceToDepth).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DepthToSpace {
    /// Edge of a square.
    pub block: usize,
}

impl Default for DepthToSpace {
    fn default() -> DepthToSpace {
        DepthToSpace { block: 1 }
    }
}

impl Operator for DepthToSpace {
    fn arity(&self) -> Arity {
        Arity::exactly(1)
    }

    fn infer(&self, inputs: Inputs<'_>) -> Result<Vec<Facts>, InferError> {
        let image = inputs.dims(0, 4)?;
        let square = self.block.checked_mul(self.block).filter(|square| *square > 0);
        let Some(square) = square.filter(|square| image[3].fixed().is_none_or(|c| c % square == 0)) else {
            refuse!("{} channels cannot make squares of {} pixels", image[3], self.block);
        };
        let mut shape = Shape::from([image[0].clone()]);
        for dim in &image[1..3] {
            shape.0.push(match dim.fixed().map(|size| size.checked_mul(self.block)) {
                Some(Some(size)) => Dim::Fixed(size),
                Some(None) => refuse!("the image would be too large"),
                None => Dim::Unknown,
            });
        }
        shape.0.push(image[3].map(|channels| channels / square));
        Ok(vec![Facts::new(inputs.get(0)?.dtype, shape)])
    }

    fn quantization(&self) -> QuantizationRule {
        QuantizationRule::SAME.without_int16()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dtype::DType;
    use crate::ops::SpaceToDepth;

    #[test]
    fn one_undoes_the_other() {
        let image = Facts::new(DType::F32, Shape::from([2, 6, 4, 3]));
        let deep = SpaceToDepth { block: 2 }.infer(Inputs(&[Some(&image)])).unwrap();
        assert_eq!(deep[0].shape, Shape::from([2, 3, 2, 12]));
        let back = DepthToSpace { block: 2 }.infer(Inputs(&[Some(&deep[0])])).unwrap();
        assert_eq!(back[0], image);
        assert!(SpaceToDepth { block: 4 }.infer(Inputs(&[Some(&image)])).is_err());
        assert!(DepthToSpace { block: 0 }.infer(Inputs(&[Some(&image)])).is_err());
    }
}
