use serde::{Deserialize, Serialize};

use crate::operator::{Arity, Facts, InferError, Inputs, Operator, QuantizationRule, refuse};

/// Real numbers rounded to the grid of integers that fits a range found while training (Jacob et al.
/// 2018); the gradient passes where the number is in the range. Inputs `x` and, for
/// [`RangeRule::MovingAverage`], the range so far, `[2]`. Outputs the rounded tensor and the range
/// that it was rounded by: least and largest numbers, `[2]`, or `[2, channels]` along an axis. Only
/// models that are trained have it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FakeQuantTraining {
    /// Bits of the integers.
    pub bits: u32,
    /// Whether the lowest integer is left out.
    pub narrow_range: bool,
    /// Whether the range reaches as far below 0 as above.
    pub symmetric: bool,
    /// The axis whose indices have a range each; none: one range for all.
    pub axis: Option<usize>,
    /// Where the range comes from.
    pub range: RangeRule,
}

/// Where the range of a [`FakeQuantTraining`] comes from.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RangeRule {
    /// The tensor's own.
    Own,
    /// `old * decay + own * (1 - decay)`, the tensor's own being extended to hold 0.
    MovingAverage {
        /// Share of the old one.
        decay: f32,
    },
    /// The one that is given.
    Given,
}

impl Default for FakeQuantTraining {
    fn default() -> FakeQuantTraining {
        let (narrow_range, symmetric, axis, range) = (false, false, None, RangeRule::Own);
        FakeQuantTraining { bits: 8, narrow_range, symmetric, axis, range }
    }
}

impl Operator for FakeQuantTraining {
    fn arity(&self) -> Arity {
        Arity { inputs: (1, 2), outputs: (2, 2) }
    }

    fn infer(&self, inputs: Inputs<'_>) -> Result<Vec<Facts>, InferError> {
        let input = inputs.get(0)?;
        if !(2..=16).contains(&self.bits) {
            refuse!("{} bits are not supported, 2 to 16 are", self.bits);
        }
        let mut range = crate::Shape::from([2]);
        if let Some(axis) = self.axis {
            match input.shape.dims().get(axis) {
                Some(dim) => range.0.push(dim.clone()),
                None => refuse!("axis {axis} does not exist in {} dimensions", input.shape.rank()),
            }
        }
        if self.range != RangeRule::Own {
            let given = &inputs.get(1)?.shape;
            if given.unify(&range).is_none() {
                refuse!("the range has shape {given} instead of {range}");
            }
        }
        Ok(vec![Facts::new(input.dtype, input.shape.clone()), Facts::new(input.dtype, range)])
    }

    fn quantization(&self) -> QuantizationRule {
        QuantizationRule::FLOAT_ONLY
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dtype::DType;
    use crate::shape::Shape;

    #[test]
    fn ranges_go_along_an_axis() {
        let x = Facts::new(DType::F32, Shape::from([4, 3, 3, 2]));
        let op = FakeQuantTraining { axis: Some(0), ..Default::default() };
        assert_eq!(op.infer(Inputs(&[Some(&x)])).unwrap()[1].shape, Shape::from([2, 4]));
        let average =
            FakeQuantTraining { range: RangeRule::MovingAverage { decay: 0.9 }, ..Default::default() };
        assert!(average.infer(Inputs(&[Some(&x)])).is_err());
        assert!(FakeQuantTraining { bits: 1, ..Default::default() }.infer(Inputs(&[Some(&x)])).is_err());
    }
}
