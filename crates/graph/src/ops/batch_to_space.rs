use serde::{Deserialize, Serialize};

use crate::operator::{Arity, Facts, InferError, Inputs, Operator, QuantizationRule, refuse};
use crate::shape::{Dim, Shape};

/// Batches become the places of blocks along the axes behind the first, which are then cropped: the
/// inverse of [`SpaceToBatch`](crate::ops::SpaceToBatch).
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BatchToSpace {
    /// Size of a block along each of the axes from the second on; axes beyond keep their size.
    pub block: Vec<usize>,
    /// Elements that are cut off before and after each of these axes.
    pub crops: Vec<[usize; 2]>,
}

impl Operator for BatchToSpace {
    fn arity(&self) -> Arity {
        Arity::exactly(1)
    }

    fn infer(&self, inputs: Inputs<'_>) -> Result<Vec<Facts>, InferError> {
        let input = inputs.get(0)?;
        let rank = input.shape.rank();
        if self.block.len() != self.crops.len() || self.block.len() >= rank || self.block.contains(&0) {
            refuse!("blocks {:?} cropped by {:?} do not fit {}", self.block, self.crops, input.shape);
        }
        let mut dims = input.shape.0.clone();
        let places = self.block.iter().try_fold(1usize, |product, size| product.checked_mul(*size));
        dims[0] = match (dims[0].fixed(), places) {
            (_, Some(1)) => dims[0].clone(),
            (Some(batch), Some(places)) if batch % places == 0 => Dim::Fixed(batch / places),
            (None, Some(_)) => Dim::Unknown,
            _ => refuse!("a batch of {} cannot fill blocks of {:?}", dims[0], self.block),
        };
        for (dim, (block, [before, after])) in dims[1..].iter_mut().zip(self.block.iter().zip(&self.crops)) {
            let Some(size) = dim.fixed() else {
                *dim = if *block == 1 && *before == 0 && *after == 0 { dim.clone() } else { Dim::Unknown };
                continue;
            };
            let grown = size.checked_mul(*block);
            match grown.and_then(|size| size.checked_sub(*before)?.checked_sub(*after)) {
                Some(size) => *dim = Dim::Fixed(size),
                None => refuse!("{before} and {after} elements cannot be cut off {size} times {block}"),
            }
        }
        Ok(vec![Facts::new(input.dtype, Shape(dims))])
    }

    fn quantization(&self) -> QuantizationRule {
        QuantizationRule::SAME
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dtype::DType;
    use crate::ops::SpaceToBatch;

    #[test]
    fn one_undoes_the_other() {
        let image = Facts::new(DType::F32, Shape::from([2, 5, 4, 3]));
        let cut = SpaceToBatch { block: vec![2, 2], padding: vec![[0, 1], [1, 1]] };
        let batches = cut.infer(Inputs(&[Some(&image)])).unwrap();
        assert_eq!(batches[0].shape, Shape::from([8, 3, 3, 3]));
        let join = BatchToSpace { block: vec![2, 2], crops: vec![[0, 1], [1, 1]] };
        assert_eq!(join.infer(Inputs(&[Some(&batches[0])])).unwrap()[0], image);
        assert!(join.infer(Inputs(&[Some(&image)])).is_err());
        assert!(
            SpaceToBatch { block: vec![2], padding: vec![[0, 0]] }.infer(Inputs(&[Some(&image)])).is_err()
        );
    }
}
