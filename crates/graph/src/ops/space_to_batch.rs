use serde::{Deserialize, Serialize};

use crate::operator::{Arity, Facts, InferError, Inputs, Operator, QuantizationRule, refuse};
use crate::shape::{Dim, Shape};

/// The axes behind the first are padded with zeros and cut into blocks; each place in a block becomes
/// a batch of its own, the first places first: a dilated convolution in front of ordinary ones.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SpaceToBatch {
    /// Size of a block along each of the axes from the second on; axes beyond are not cut.
    pub block: Vec<usize>,
    /// Zeros before and after each of these axes.
    pub padding: Vec<[usize; 2]>,
}

impl Operator for SpaceToBatch {
    fn arity(&self) -> Arity {
        Arity::exactly(1)
    }

    fn infer(&self, inputs: Inputs<'_>) -> Result<Vec<Facts>, InferError> {
        let input = inputs.get(0)?;
        let rank = input.shape.rank();
        if self.block.len() != self.padding.len() || self.block.len() >= rank || self.block.contains(&0) {
            refuse!("blocks {:?} padded by {:?} do not fit {}", self.block, self.padding, input.shape);
        }
        let mut dims = input.shape.0.clone();
        let places = self.block.iter().try_fold(1usize, |product, size| product.checked_mul(*size));
        dims[0] = match (dims[0].fixed(), places) {
            (_, Some(1)) => dims[0].clone(),
            (Some(batch), Some(places)) => match batch.checked_mul(places) {
                Some(batch) => Dim::Fixed(batch),
                None => refuse!("the batch would be too large"),
            },
            (_, None) => refuse!("blocks {:?} are too large", self.block),
            (None, _) => Dim::Unknown,
        };
        for (dim, (block, [before, after])) in dims[1..].iter_mut().zip(self.block.iter().zip(&self.padding))
        {
            let Some(size) = dim.fixed() else {
                *dim = if *block == 1 && before + after == 0 { dim.clone() } else { Dim::Unknown };
                continue;
            };
            let padded = size.checked_add(*before).and_then(|size| size.checked_add(*after));
            match padded.filter(|padded| padded % block == 0) {
                Some(padded) => *dim = Dim::Fixed(padded / block),
                None => refuse!("an axis of {size} padded by {before} and {after} has no blocks of {block}"),
            }
        }
        Ok(vec![Facts::new(input.dtype, Shape(dims))])
    }

    fn quantization(&self) -> QuantizationRule {
        QuantizationRule::SAME
    }
}
