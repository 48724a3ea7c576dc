use serde::{Deserialize, Serialize};

use crate::operator::{Arity, Facts, InferError, Inputs, Operator, QuantizationRule, refuse};
use crate::shape::{Dim, Shape};

/// Squares of `block * block` pixels of `[batch, height, width, channels]` become the channels of one
/// pixel, row by row: channel `(y * block + x) * channels + c`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SpaceToDepth {
    /// Edge of a square.
    pub block: usize,
}

impl Default for SpaceToDepth {
    fn default() -> SpaceToDepth {
        SpaceToDepth { block: 1 }
    }
}

impl Operator for SpaceToDepth {
    fn arity(&self) -> Arity {
        Arity::exactly(1)
    }

    fn infer(&self, inputs: Inputs<'_>) -> Result<Vec<Facts>, InferError> {
        let image = inputs.dims(0, 4)?;
        let block = self.block;
        let divides = |dim: &Dim| dim.fixed().is_none_or(|size| block > 0 && size % block == 0);
        let Some(square) = block.checked_mul(block).filter(|_| image[1..3].iter().all(divides)) else {
            refuse!("{} by {} pixels cannot be cut into squares of {block}", image[1], image[2]);
        };
        let channels = match image[3].fixed().map(|channels| channels.checked_mul(square)) {
            Some(Some(channels)) => Dim::Fixed(channels),
            Some(None) => refuse!("there would be too many channels"),
            None => Dim::Unknown,
        };
        let [height, width] = [1, 2].map(|axis| image[axis].map(|size| size / block));
        let shape = Shape::from([image[0].clone(), height, width, channels]);
        Ok(vec![Facts::new(inputs.get(0)?.dtype, shape)])
    }

    fn quantization(&self) -> QuantizationRule {
        QuantizationRule::SAME.without_int16()
    }
}
