use serde::{Deserialize, Serialize};

use crate::operator::Number;
use crate::operator::{Arity, Facts, InferError, Inputs, Operator, QuantizationRule};
use crate::ops::resolve_axis;
use crate::shape::{Dim, Dims, Shape};

/// Mean, sum, … over some axes.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Reduce {
    /// What is computed.
    pub kind: ReduceKind,
    /// The axes that are reduced; negative ones count from the end. Empty: none.
    pub axes: Vec<i32>,
    /// Whether reduced axes stay with size 1.
    pub keep_dims: bool,
}

/// What a reduction computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReduceKind {
    /// The mean.
    #[default]
    Mean,
    /// The sum.
    Sum,
    /// The largest value.
    Max,
    /// The smallest value.
    Min,
    /// The product.
    Prod,
}

impl Reduce {
    /// The axes as ascending indices below `rank`, each once.
    ///
    /// # Errors
    /// If an axis does not exist.
    pub fn resolved_axes(&self, rank: usize) -> Result<Vec<usize>, InferError> {
        let mut axes =
            self.axes.iter().map(|axis| resolve_axis(*axis, rank)).collect::<Result<Vec<_>, _>>()?;
        axes.sort_unstable();
        axes.dedup();
        Ok(axes)
    }
}

impl Operator for Reduce {
    fn arity(&self) -> Arity {
        Arity::exactly(1)
    }

    fn infer(&self, inputs: Inputs<'_>) -> Result<Vec<Facts>, InferError> {
        let input = inputs.get(0)?;
        let axes = self.resolved_axes(input.shape.rank())?;
        let mut dims = Dims::new();
        for (axis, dim) in input.shape.dims().iter().enumerate() {
            match axes.contains(&axis) {
                true if self.keep_dims => dims.push(Dim::Fixed(1)),
                true => {}
                false => dims.push(dim.clone()),
            }
        }
        let product = || input.integers()?.into_iter().try_fold(1i64, i64::checked_mul);
        let whole = self.kind == ReduceKind::Prod && axes.len() == input.shape.rank();
        let value = if whole { product().map(|product| vec![Number::Int(product)]) } else { None };
        Ok(vec![Facts::new(input.dtype, Shape(dims)).with_value(value)])
    }

    fn quantization(&self) -> QuantizationRule {
        match self.kind {
            ReduceKind::Mean | ReduceKind::Sum | ReduceKind::Prod => QuantizationRule::OBSERVED,
            ReduceKind::Max | ReduceKind::Min => QuantizationRule::SAME,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dtype::DType;

    #[test]
    fn axes_go_or_stay_as_one() {
        let input = Facts::new(DType::F32, Shape::from([Dim::free("batch"), 7.into(), 7.into(), 5.into()]));
        let shape = |keep_dims| {
            let op = Reduce { axes: vec![1, -2], keep_dims, ..Default::default() };
            op.infer(Inputs(&[Some(&input)])).map(|facts| facts[0].shape.to_string())
        };
        assert_eq!(shape(false).unwrap(), "[batch,5]");
        assert_eq!(shape(true).unwrap(), "[batch,1,1,5]");
        assert!(Reduce { axes: vec![4], ..Default::default() }.infer(Inputs(&[Some(&input)])).is_err());
    }
}
