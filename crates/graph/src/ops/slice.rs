use serde::{Deserialize, Serialize};

use crate::operator::{Arity, Facts, InferError, Inputs, Operator, QuantizationRule, refuse};
use crate::shape::{Dim, Shape};

/// A box cut out of the input.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Slice {
    /// First index of each axis.
    pub begin: Vec<usize>,
    /// Number of elements of each axis; -1 means all that follow.
    pub size: Vec<i64>,
}

impl Operator for Slice {
    fn arity(&self) -> Arity {
        Arity::exactly(1)
    }

    fn infer(&self, inputs: Inputs<'_>) -> Result<Vec<Facts>, InferError> {
        let input = inputs.get(0)?;
        let rank = input.shape.rank();
        if self.begin.len() != rank || self.size.len() != rank {
            refuse!("{} begins and {} sizes for shape {}", self.begin.len(), self.size.len(), input.shape);
        }
        let mut dims = Vec::new();
        for ((dim, begin), size) in input.shape.dims().iter().zip(&self.begin).zip(&self.size) {
            dims.push(match (dim, usize::try_from(*size)) {
                (Dim::Fixed(length), Err(_)) if *size == -1 && begin <= length => Dim::Fixed(length - begin),
                (Dim::Fixed(length), Ok(size))
                    if begin.checked_add(size).is_some_and(|end| end <= *length) =>
                {
                    Dim::Fixed(size)
                }
                (Dim::Fixed(_), _) => refuse!("a slice of {size} from {begin} leaves an axis of {dim}"),
                (_, Ok(size)) => Dim::Fixed(size),
                (dim, Err(_)) if *size == -1 && *begin == 0 => dim.clone(),
                (_, Err(_)) if *size == -1 => Dim::Unknown,
                _ => refuse!("a slice has size {size}"),
            });
        }
        let value = match (&input.value, dims.as_slice()) {
            (Some(value), [Dim::Fixed(size)]) => {
                value.get(self.begin[0]..self.begin[0] + size).map(<[_]>::to_vec)
            }
            _ => None,
        };
        Ok(vec![Facts::new(input.dtype, Shape(dims)).with_value(value)])
    }

    fn quantization(&self) -> QuantizationRule {
        QuantizationRule::SAME
    }
}
