use serde::{Deserialize, Serialize};

use crate::operator::{Arity, Facts, InferError, Inputs, Number, Operator, QuantizationRule, refuse};
use crate::shape::{Dim, Shape};

/// Most axes of a shape that a tensor gives.
const MOST_AXES: usize = 16;

/// The input repeated to a larger shape by NumPy's broadcasting rule. Where a second input (a vector
/// of integers) is given, it is the shape, and the attribute stays empty.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BroadcastTo {
    /// The shape of the output.
    pub shape: Vec<usize>,
}

impl BroadcastTo {
    /// The shape that the second input gives.
    fn given(&self, inputs: Inputs<'_>) -> Result<Shape, InferError> {
        let [Dim::Fixed(rank)] = inputs.get(1)?.shape.dims() else { refuse!("the shape has no fixed rank") };
        if *rank > MOST_AXES || !self.shape.is_empty() {
            refuse!("the shape has {rank} axes, or is given twice");
        }
        let dim = |number: Number| match number {
            Number::Int(size) => match usize::try_from(size) {
                Ok(size) => Ok(Dim::Fixed(size)),
                Err(_) => refuse!("an axis has size {size}"),
            },
            Number::Free(symbol) => Ok(Dim::Free(symbol)),
            Number::Unknown => Ok(Dim::Unknown),
        };
        inputs.numbers(1, *rank)?.into_iter().map(dim).collect()
    }
}

impl Operator for BroadcastTo {
    fn arity(&self) -> Arity {
        Arity::between(1, 2)
    }

    fn infer(&self, inputs: Inputs<'_>) -> Result<Vec<Facts>, InferError> {
        let input = inputs.get(0)?;
        let target = if inputs.len() > 1 { self.given(inputs)? } else { Shape::fixed(&self.shape) };
        // What is not known of a given shape cannot be held against the input.
        let fits = input.shape.broadcast(&target).is_some_and(|shape| {
            shape.rank() == target.rank()
                && shape
                    .dims()
                    .iter()
                    .zip(target.dims())
                    .all(|(got, asked)| got == asked || *asked == Dim::Unknown)
        });
        if !fits {
            refuse!("shape {} does not broadcast to {target}", input.shape);
        }
        Ok(vec![Facts::new(input.dtype, target)])
    }

    fn quantization(&self) -> QuantizationRule {
        QuantizationRule::SAME
    }
}
