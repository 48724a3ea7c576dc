use serde::{Deserialize, Serialize};

use crate::operator::{Arity, Facts, InferError, Inputs, Operator, QuantizationRule, refuse};
use crate::shape::{Dim, Shape};

/// The input repeated along each axis.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Tile {
    /// How often, for each axis.
    pub multiples: Vec<usize>,
}

impl Operator for Tile {
    fn arity(&self) -> Arity {
        Arity::exactly(1)
    }

    fn infer(&self, inputs: Inputs<'_>) -> Result<Vec<Facts>, InferError> {
        let input = inputs.get(0)?;
        if self.multiples.len() != input.shape.rank() {
            refuse!("{} multiples are given for shape {}", self.multiples.len(), input.shape);
        }
        let mut dims = Vec::new();
        for (dim, count) in input.shape.dims().iter().zip(&self.multiples) {
            dims.push(match dim {
                dim if *count == 1 => dim.clone(),
                Dim::Fixed(size) => match size.checked_mul(*count) {
                    Some(size) => Dim::Fixed(size),
                    None => refuse!("an axis becomes too long"),
                },
                _ => Dim::Unknown,
            });
        }
        Ok(vec![Facts::new(input.dtype, Shape(dims))])
    }

    fn quantization(&self) -> QuantizationRule {
        QuantizationRule::SAME
    }
}
