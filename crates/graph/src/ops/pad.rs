use serde::{Deserialize, Serialize};

use crate::operator::{Arity, Facts, InferError, Inputs, Number, Operator, QuantizationRule, refuse};
use crate::shape::{Dim, Dims, Shape};

/// More elements before and after each axis. Where a second input (two integers for each axis) is
/// given, it says how many, and the attribute stays empty.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Pad {
    /// Number of elements added before and after each axis.
    pub amounts: Vec<[usize; 2]>,
    /// What the new elements are.
    pub mode: PadMode,
}

/// What padding consists of.
#[derive(Clone, Copy, Debug, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PadMode {
    /// Zero (the zero point of a quantized tensor).
    #[default]
    Zero,
    /// This real number.
    Value(f32),
    /// The input mirrored, its border element not repeated.
    Reflect,
    /// The input mirrored, its border element repeated.
    Symmetric,
}

impl Pad {
    /// How many elements are added before and after each axis; `None` where that is not known yet.
    ///
    /// # Errors
    /// If there are not two for each axis of the input, or one is negative.
    pub fn amounts(&self, inputs: Inputs<'_>) -> Result<Option<Vec<[usize; 2]>>, InferError> {
        let input = inputs.get(0)?;
        let rank = input.shape.rank();
        match (inputs.len(), self.amounts.len()) {
            (1, given) if given == rank => return Ok(Some(self.amounts.clone())),
            (2, 0) => {}
            (_, given) => refuse!("{given} paddings are given for shape {}", input.shape),
        }
        let mut amounts = Vec::new();
        for pair in inputs.numbers(1, 2 * rank)?.as_chunks::<2>().0 {
            let [Number::Int(before), Number::Int(after)] = pair else { return Ok(None) };
            match (usize::try_from(*before), usize::try_from(*after)) {
                (Ok(before), Ok(after)) => amounts.push([before, after]),
                _ => refuse!("an axis is padded by {before} and {after}"),
            }
        }
        Ok(Some(amounts))
    }
}

impl Operator for Pad {
    fn arity(&self) -> Arity {
        Arity::between(1, 2)
    }

    fn infer(&self, inputs: Inputs<'_>) -> Result<Vec<Facts>, InferError> {
        let input = inputs.get(0)?;
        let Some(amounts) = self.amounts(inputs)? else {
            return Ok(vec![Facts::new(input.dtype, Shape::unknown(input.shape.rank()))]);
        };
        let mut dims = Dims::new();
        for (dim, [before, after]) in input.shape.dims().iter().zip(&amounts) {
            let most = match (self.mode, dim) {
                (PadMode::Reflect, Dim::Fixed(size)) => size.saturating_sub(1),
                (PadMode::Symmetric, Dim::Fixed(size)) => *size,
                _ => usize::MAX,
            };
            if before.max(after) > &most {
                refuse!("an axis of {dim} cannot be mirrored by {before} and {after}");
            }
            dims.push(match dim {
                dim if *before == 0 && *after == 0 => dim.clone(),
                Dim::Fixed(size) => match size.checked_add(*before).and_then(|s| s.checked_add(*after)) {
                    Some(padded) => Dim::Fixed(padded),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dtype::DType;

    #[test]
    fn sizes_grow_and_mirrors_have_limits() {
        let input = Facts::new(DType::F32, Shape::from([Dim::free("batch"), 3.into()]));
        let infer = |amounts: [[usize; 2]; 2], mode| {
            let op = Pad { amounts: amounts.to_vec(), mode };
            op.infer(Inputs(&[Some(&input)])).map(|facts| facts[0].shape.to_string())
        };
        assert_eq!(infer([[0, 0], [1, 2]], PadMode::Zero).unwrap(), "[batch,6]");
        assert_eq!(infer([[0, 0], [2, 0]], PadMode::Reflect).unwrap(), "[batch,5]");
        assert!(infer([[0, 0], [3, 0]], PadMode::Reflect).is_err());
        assert!(infer([[0, 0], [usize::MAX - 1, 1]], PadMode::Zero).is_err());
    }
}
