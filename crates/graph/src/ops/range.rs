use serde::{Deserialize, Serialize};

use crate::dtype::DType;
use crate::operator::{Arity, Facts, InferError, Inputs, Number, Operator, QuantizationRule, refuse};
use crate::shape::{Dim, Shape};

/// The numbers from the first input up to, without, the second in steps of the third (scalars).
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Range {}

/// Most numbers whose values are followed through shape arithmetic.
const MOST_VALUES: i64 = 64;

impl Operator for Range {
    fn arity(&self) -> Arity {
        Arity::exactly(3)
    }

    fn infer(&self, inputs: Inputs<'_>) -> Result<Vec<Facts>, InferError> {
        let dtype = inputs.get(0)?.dtype;
        if !matches!(dtype, DType::F32 | DType::I32 | DType::I64) {
            refuse!("numbers of type {dtype} cannot be counted");
        }
        if inputs.present().any(|input| input.dtype != dtype || input.shape.elements() != Some(1)) {
            refuse!("start, limit and step must be scalars of one type");
        }
        let numbers = [0, 1, 2].map(|i| inputs.optional(i).and_then(|facts| facts.value.clone()));
        let number = |index: usize| numbers[index].as_ref().and_then(|value| value.first());
        let (dim, value) = match (number(0), number(1), number(2)) {
            (_, _, Some(Number::Int(0))) => refuse!("the step is 0"),
            (Some(Number::Int(start)), Some(Number::Int(limit)), Some(Number::Int(step))) => {
                let (distance, step) = (i128::from(*limit) - i128::from(*start), i128::from(*step));
                let count = if distance.signum() == step.signum() {
                    (distance.abs() + step.abs() - 1) / step.abs()
                } else {
                    0
                };
                let (Ok(count), Ok(length)) = (i64::try_from(count), usize::try_from(count)) else {
                    refuse!("there are too many numbers")
                };
                let values = (count <= MOST_VALUES)
                    .then(|| (0..count).map(|i| Number::Int(start + i * step as i64)).collect());
                (Dim::Fixed(length), values)
            }
            (Some(Number::Int(0)), Some(Number::Free(symbol)), Some(Number::Int(1))) => {
                (Dim::Free(symbol.clone()), None)
            }
            _ => (Dim::Unknown, None),
        };
        Ok(vec![Facts::new(dtype, Shape::from([dim])).with_value(value)])
    }

    fn quantization(&self) -> QuantizationRule {
        QuantizationRule::UNTOUCHED
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_follow_from_the_numbers() {
        let scalar =
            |value: i64| Facts::new(DType::I32, Shape::default()).with_value(Some(vec![Number::Int(value)]));
        let infer = |numbers: [i64; 3]| {
            let [a, b, c] = numbers.map(scalar);
            Range {}.infer(Inputs(&[Some(&a), Some(&b), Some(&c)])).map(|facts| facts[0].integers())
        };
        assert_eq!(infer([2, 9, 3]), Ok(Some(vec![2, 5, 8])));
        assert_eq!(infer([3, 0, -2]), Ok(Some(vec![3, 1])));
        assert_eq!(infer([0, -5, 1]), Ok(Some(vec![])));
        assert!(infer([0, 5, 0]).is_err());
    }
}
