use serde::{Deserialize, Serialize};

use crate::operator::{Arity, Facts, InferError, Inputs, Number, Operator, QuantizationRule, refuse};
use crate::shape::{Dim, Dims, Shape};

/// A box cut out of the input. Where two more inputs (vectors of integers) are given, they are begin
/// and size, and the attributes stay empty.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Slice {
    /// First index of each axis.
    pub begin: Vec<usize>,
    /// Number of elements of each axis; -1 means all that follow.
    pub size: Vec<i64>,
}

impl Slice {
    /// Begin and size of each axis, as far as they are known.
    fn numbers(&self, inputs: Inputs<'_>, rank: usize) -> Result<[Vec<Number>; 2], InferError> {
        if inputs.len() > 1 {
            if !self.begin.is_empty() || !self.size.is_empty() {
                refuse!("begin and size are given twice");
            }
            return Ok([inputs.numbers(1, rank)?, inputs.numbers(2, rank)?]);
        }
        if self.begin.len() != rank || self.size.len() != rank {
            refuse!("{} begins and {} sizes for {rank} axes", self.begin.len(), self.size.len());
        }
        let begin = self.begin.iter().map(|begin| i64::try_from(*begin).map_or(Number::Unknown, Number::Int));
        Ok([begin.collect(), self.size.iter().copied().map(Number::Int).collect()])
    }
}

/// The size of what is cut out of one axis.
fn cut(dim: &Dim, begin: &Number, size: &Number) -> Result<Dim, InferError> {
    let begin = match begin {
        Number::Int(begin) => match usize::try_from(*begin) {
            Ok(begin) => Some(begin),
            Err(_) => refuse!("a slice begins at {begin}"),
        },
        _ => None,
    };
    Ok(match (size, dim, begin) {
        (Number::Int(-1), dim, Some(0)) => dim.clone(),
        (Number::Int(-1), Dim::Fixed(length), Some(begin)) => match length.checked_sub(begin) {
            Some(rest) => Dim::Fixed(rest),
            None => refuse!("a slice from {begin} leaves an axis of {length}"),
        },
        (Number::Int(-1) | Number::Unknown, ..) => Dim::Unknown,
        (Number::Free(symbol), ..) => Dim::Free(symbol.clone()),
        (Number::Int(size), dim, begin) => {
            let Ok(size) = usize::try_from(*size) else { refuse!("a slice has size {size}") };
            let end = begin.unwrap_or(0).checked_add(size);
            if let Dim::Fixed(length) = dim
                && end.is_none_or(|end| end > *length)
            {
                refuse!("a slice of {size} from {} leaves an axis of {length}", begin.unwrap_or(0));
            }
            Dim::Fixed(size)
        }
    })
}

impl Operator for Slice {
    fn arity(&self) -> Arity {
        Arity::between(1, 3)
    }

    fn infer(&self, inputs: Inputs<'_>) -> Result<Vec<Facts>, InferError> {
        let input = inputs.get(0)?;
        let [begins, sizes] = self.numbers(inputs, input.shape.rank())?;
        let axes = input.shape.dims().iter().zip(&begins).zip(&sizes);
        let dims: Dims = axes.map(|((dim, begin), size)| cut(dim, begin, size)).collect::<Result<_, _>>()?;
        let value = match (&input.value, dims.as_slice(), begins.first()) {
            (Some(value), [Dim::Fixed(size)], Some(Number::Int(begin))) => {
                let begin = usize::try_from(*begin).unwrap_or(usize::MAX);
                value.get(begin..begin.saturating_add(*size)).map(<[_]>::to_vec)
            }
            _ => None,
        };
        Ok(vec![Facts::new(input.dtype, Shape(dims)).with_value(value)])
    }

    fn quantization(&self) -> QuantizationRule {
        QuantizationRule::SAME
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dtype::DType;

    #[test]
    fn sizes_follow_from_what_is_known_of_begin_and_size() {
        let x = Facts::new(DType::F32, Shape::from([Dim::free("batch"), 8.into(), 4.into()]));
        let vector = |numbers: [Number; 3]| {
            Facts::new(DType::I32, Shape::from([3])).with_value(Some(numbers.to_vec()))
        };
        let infer = |begin: [Number; 3], size: [Number; 3]| {
            let (begin, size) = (vector(begin), vector(size));
            Slice::default().infer(Inputs(&[Some(&x), Some(&begin), Some(&size)]))
        };
        use Number::{Int, Unknown};
        let shape = |facts: Vec<Facts>| facts[0].shape.to_string();
        let cut = infer([Int(0), Unknown, Int(1)], [Int(-1), Int(2), Int(-1)]).map(shape);
        assert_eq!(cut, Ok("[batch,2,3]".into()));
        let open = infer([Int(0), Unknown, Int(0)], [Unknown, Int(-1), Int(4)]).map(shape);
        assert_eq!(open, Ok("[?,?,4]".into()));
        assert!(infer([Int(0), Unknown, Int(0)], [Int(-1), Int(9), Int(-1)]).is_err());
        assert!(infer([Int(0), Int(-1), Int(0)], [Int(-1), Int(2), Int(-1)]).is_err());
    }
}
