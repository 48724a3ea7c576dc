use serde::{Deserialize, Serialize};

use crate::dtype::DType;
use crate::operator::{Arity, Facts, InferError, Inputs, Operator, QuantizationRule, refuse};
use crate::shape::Shape;

/// Slices of the first input, each chosen by a row of the second: the last axis of the indices walks
/// over the leading axes of the first input.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GatherNd {}

impl Operator for GatherNd {
    fn arity(&self) -> Arity {
        Arity::exactly(2)
    }

    fn infer(&self, inputs: Inputs<'_>) -> Result<Vec<Facts>, InferError> {
        let (table, indices) = (inputs.get(0)?, inputs.get(1)?);
        if !matches!(indices.dtype, DType::I16 | DType::I32 | DType::I64) {
            refuse!("indices are {}, not integers", indices.dtype);
        }
        let Some((Some(depth), outer)) =
            indices.shape.dims().split_last().map(|(last, outer)| (last.fixed(), outer))
        else {
            refuse!("the last axis of the indices must be fixed, their shape is {}", indices.shape);
        };
        if depth > table.shape.rank() {
            refuse!("indices of {depth} axes do not fit a table of shape {}", table.shape);
        }
        let dims = outer.iter().chain(&table.shape.dims()[depth..]).cloned().collect();
        Ok(vec![Facts::new(table.dtype, Shape(dims))])
    }

    fn quantization(&self) -> QuantizationRule {
        QuantizationRule::SAME
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_of_indices_choose_slices() {
        let table = Facts::new(DType::F32, Shape::from([4, 5, 6]));
        let indices = Facts::new(DType::I32, Shape::from([7, 2]));
        let outputs = GatherNd {}.infer(Inputs(&[Some(&table), Some(&indices)])).unwrap();
        assert_eq!(outputs[0].shape, Shape::from([7, 6]));
    }
}
