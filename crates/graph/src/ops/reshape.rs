use serde::{Deserialize, Serialize};

use crate::operator::Number;
use crate::operator::{Arity, Facts, InferError, Inputs, Operator, QuantizationRule, refuse};
use crate::shape::{Dim, Shape};

/// The same elements in the same order under another shape, which is an attribute or, where that is
/// empty of meaning (`None`), the second input.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Reshape {
    /// The new axes; `None` where the second input gives them.
    pub shape: Option<Vec<ReshapeDim>>,
}

/// One axis of a new shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReshapeDim {
    /// Whatever is left over; at most once.
    Infer,
    /// The size of this axis of the input.
    Copy(usize),
    /// This size.
    #[serde(untagged)]
    Fixed(usize),
}

impl Reshape {
    /// A reshape to these axes.
    #[must_use]
    pub fn to(shape: Vec<ReshapeDim>) -> Reshape {
        Reshape { shape: Some(shape) }
    }

    fn target(&self, inputs: Inputs<'_>) -> Result<Vec<Option<Dim>>, InferError> {
        let input = &inputs.get(0)?.shape;
        if let Some(shape) = &self.shape {
            return shape
                .iter()
                .map(|dim| match dim {
                    ReshapeDim::Fixed(size) => Ok(Some(Dim::Fixed(*size))),
                    ReshapeDim::Infer => Ok(None),
                    ReshapeDim::Copy(axis) => match input.dims().get(*axis) {
                        Some(dim) => Ok(Some(dim.clone())),
                        None => refuse!("axis {axis} does not exist in shape {input}"),
                    },
                })
                .collect();
        }
        let given = inputs.get(1)?;
        let Some(value) = &given.value else {
            let [Dim::Fixed(rank)] = given.shape.dims() else { refuse!("the new shape has no fixed rank") };
            if *rank > 16 {
                refuse!("the new shape has {rank} axes");
            }
            return Ok(vec![Some(Dim::Unknown); *rank]);
        };
        let dim = |number: &Number| match number {
            Number::Int(-1) => Ok(None),
            Number::Int(size) => match usize::try_from(*size) {
                Ok(size) => Ok(Some(Dim::Fixed(size))),
                Err(_) => refuse!("the new shape has an axis of {size}"),
            },
            Number::Free(symbol) => Ok(Some(Dim::Free(symbol.clone()))),
            Number::Unknown => Ok(Some(Dim::Unknown)),
        };
        value.iter().map(dim).collect()
    }
}

/// The size left over for one axis: `input` divided by the other axes of the target.
fn left_over(input: &Shape, others: &[Dim]) -> Result<Dim, InferError> {
    let mut input: Vec<Dim> = input.dims().to_vec();
    let mut divisor = 1usize;
    for dim in others {
        match dim {
            Dim::Fixed(size) => match divisor.checked_mul(*size) {
                Some(product) => divisor = product,
                None => refuse!("the new shape is too large"),
            },
            Dim::Unknown => return Ok(Dim::Unknown),
            Dim::Free(_) => match input.iter().position(|known| known == dim) {
                Some(index) => {
                    input.remove(index);
                }
                None => return Ok(Dim::Unknown),
            },
        }
    }
    let free: Vec<usize> = (0..input.len()).filter(|i| input[*i].fixed().is_none()).collect();
    let fixed = input.iter().filter_map(Dim::fixed).try_fold(1usize, usize::checked_mul);
    let Some(fixed) = fixed else { refuse!("the input is too large") };
    match free.as_slice() {
        [] if divisor == 0 || fixed % divisor != 0 => {
            refuse!("{fixed} elements cannot be split into parts of {divisor}")
        }
        [] => Ok(Dim::Fixed(fixed / divisor)),
        [only] if fixed == divisor => Ok(input[*only].clone()),
        _ => Ok(Dim::Unknown),
    }
}

impl Operator for Reshape {
    fn arity(&self) -> Arity {
        Arity::between(1, 2)
    }

    fn infer(&self, inputs: Inputs<'_>) -> Result<Vec<Facts>, InferError> {
        let input = inputs.get(0)?;
        let target = self.target(inputs)?;
        if target.iter().filter(|dim| dim.is_none()).count() > 1 {
            refuse!("more than one axis of the new shape is left open");
        }
        let others: Vec<Dim> = target.iter().flatten().cloned().collect();
        let rest = if others.len() < target.len() { Some(left_over(&input.shape, &others)?) } else { None };
        let dims =
            target.into_iter().map(|dim| dim.or_else(|| rest.clone()).unwrap_or(Dim::Unknown)).collect();
        let shape = Shape(dims);
        if let (Some(before), Some(after)) = (input.shape.elements(), shape.elements())
            && before != after
        {
            refuse!("shape {} has {before} elements, the new shape {shape} has {after}", input.shape);
        }
        Ok(vec![Facts::new(input.dtype, shape).with_value(input.value.clone())])
    }

    fn quantization(&self) -> QuantizationRule {
        QuantizationRule::SAME
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dtype::DType;

    fn infer(input: Shape, shape: Vec<ReshapeDim>) -> Result<String, InferError> {
        let input = Facts::new(DType::F32, input);
        Reshape::to(shape).infer(Inputs(&[Some(&input)])).map(|facts| facts[0].shape.to_string())
    }

    #[test]
    fn a_free_batch_is_carried_along() {
        let image = Shape::from([Dim::free("batch"), 4.into(), 3.into()]);
        use ReshapeDim::{Copy, Fixed, Infer};
        assert_eq!(infer(image.clone(), vec![Copy(0), Infer]).unwrap(), "[batch,12]");
        assert_eq!(infer(image.clone(), vec![Infer, Fixed(12)]).unwrap(), "[batch,12]");
        assert_eq!(infer(image.clone(), vec![Infer, Fixed(6)]).unwrap(), "[?,6]");
        assert!(infer(image.clone(), vec![Infer, Infer]).is_err());
        assert!(infer(image, vec![Copy(0), Infer, Fixed(5)]).is_err());
        assert!(infer(Shape::from([2, 3]), vec![Fixed(7)]).is_err());
    }

    #[test]
    fn a_computed_shape_is_used_where_it_is_known() {
        let input = Facts::new(DType::F32, Shape::from([Dim::free("batch"), 2.into(), 2.into()]));
        let value = Some(vec![Number::Free(crate::Symbol::new("batch")), Number::Int(-1)]);
        let shape = Facts::new(DType::I32, Shape::from([2])).with_value(value);
        let outputs = Reshape::default().infer(Inputs(&[Some(&input), Some(&shape)])).unwrap();
        assert_eq!(outputs[0].shape.to_string(), "[batch,4]");
    }
}
