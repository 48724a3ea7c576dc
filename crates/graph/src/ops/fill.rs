use serde::{Deserialize, Serialize};

use crate::operator::Number;
use crate::operator::{Arity, Facts, InferError, Inputs, Operator, QuantizationRule, refuse};
use crate::shape::{Dim, Shape};

/// One value everywhere: inputs the shape (a vector of integers) and the value (a scalar).
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Fill {}

impl Operator for Fill {
    fn arity(&self) -> Arity {
        Arity::exactly(2)
    }

    fn infer(&self, inputs: Inputs<'_>) -> Result<Vec<Facts>, InferError> {
        let (shape, value) = (inputs.get(0)?, inputs.get(1)?);
        let [Dim::Fixed(rank)] = shape.shape.dims() else { refuse!("the shape has no fixed rank") };
        if *rank > 16 {
            refuse!("the shape has {rank} axes");
        }
        let dim = |number: &Number| match number {
            Number::Int(size) => match usize::try_from(*size) {
                Ok(size) => Ok(Dim::Fixed(size)),
                Err(_) => refuse!("an axis has size {size}"),
            },
            Number::Free(symbol) => Ok(Dim::Free(symbol.clone())),
            Number::Unknown => Ok(Dim::Unknown),
        };
        let dims: Shape = match &shape.value {
            Some(value) => value.iter().map(dim).collect::<Result<_, _>>()?,
            None => Shape::unknown(*rank),
        };
        Ok(vec![Facts::new(value.dtype, dims)])
    }

    fn quantization(&self) -> QuantizationRule {
        QuantizationRule::SAME
    }
}
