use serde::{Deserialize, Serialize};

use crate::operator::{Arity, Facts, InferError, Inputs, Number, Operator, QuantizationRule, refuse};
use crate::shape::{Dim, Dims, Shape};

/// The input repeated along each axis. Where a second input (a vector of integers) is given, it says
/// how often, and the attribute stays empty.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Tile {
    /// How often, for each axis.
    pub multiples: Vec<usize>,
}

impl Operator for Tile {
    fn arity(&self) -> Arity {
        Arity::between(1, 2)
    }

    fn infer(&self, inputs: Inputs<'_>) -> Result<Vec<Facts>, InferError> {
        let input = inputs.get(0)?;
        let rank = input.shape.rank();
        let counts: Vec<Option<usize>> = match (inputs.len(), self.multiples.len()) {
            (1, given) if given == rank => self.multiples.iter().copied().map(Some).collect(),
            (2, 0) => {
                let count = |number: Number| match number {
                    Number::Int(count) => match usize::try_from(count) {
                        Ok(count) => Ok(Some(count)),
                        Err(_) => refuse!("an axis is repeated {count} times"),
                    },
                    _ => Ok(None),
                };
                inputs.numbers(1, rank)?.into_iter().map(count).collect::<Result<_, _>>()?
            }
            (_, given) => refuse!("{given} multiples are given for shape {}", input.shape),
        };
        let mut dims = Dims::new();
        for (dim, count) in input.shape.dims().iter().zip(counts) {
            dims.push(match (dim, count) {
                (dim, Some(1)) => dim.clone(),
                (Dim::Fixed(size), Some(count)) => match size.checked_mul(count) {
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
