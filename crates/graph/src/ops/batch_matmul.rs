use serde::{Deserialize, Serialize};

use crate::operator::{Arity, Facts, InferError, Inputs, Operator, QuantizationRule, refuse};
use crate::shape::Shape;

/// Matrix product of the last two axes, the others broadcast.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BatchMatMul {
    /// Whether the first operand is transposed before use.
    pub adjoint_a: bool,
    /// Whether the second operand is transposed before use.
    pub adjoint_b: bool,
    /// Whether dynamic-range kernels quantize the input with a zero point.
    pub asymmetric_quantize_inputs: bool,
}

impl Operator for BatchMatMul {
    fn arity(&self) -> Arity {
        Arity::exactly(2)
    }

    fn infer(&self, inputs: Inputs<'_>) -> Result<Vec<Facts>, InferError> {
        let (a, b) = (inputs.get(0)?, inputs.get(1)?);
        if a.shape.rank() < 2 || b.shape.rank() < 2 {
            refuse!("operands {} and {} must have at least two dimensions", a.shape, b.shape);
        }
        let matrix = |facts: &Facts, adjoint: bool| {
            let (batch, matrix) = facts.shape.dims().split_at(facts.shape.rank() - 2);
            let (rows, columns) = if adjoint { (&matrix[1], &matrix[0]) } else { (&matrix[0], &matrix[1]) };
            (Shape(batch.into()), rows.clone(), columns.clone())
        };
        let (batch_a, rows, inner_a) = matrix(a, self.adjoint_a);
        let (batch_b, inner_b, columns) = matrix(b, self.adjoint_b);
        let batch = batch_a.broadcast(&batch_b);
        let (Some(mut batch), Some(_)) = (batch, inner_a.unify(&inner_b)) else {
            refuse!("operands {} and {} do not fit", a.shape, b.shape);
        };
        batch.0.extend([rows, columns]);
        Ok(vec![Facts::new(a.dtype, batch)])
    }

    fn macs(&self, inputs: Inputs<'_>, outputs: &[Facts]) -> u64 {
        let inner = inputs.optional(0).and_then(|a| {
            let dims = a.shape.dims();
            dims.get(dims.len().checked_sub(if self.adjoint_a { 2 } else { 1 })?)?.fixed()
        });
        outputs
            .first()
            .map_or(0, |out| out.shape.elements_per_sample().saturating_mul(inner.unwrap_or(1) as u64))
    }

    fn quantization(&self) -> QuantizationRule {
        QuantizationRule::OBSERVED
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dtype::DType;

    #[test]
    fn batches_broadcast() {
        let a = Facts::new(DType::F32, Shape::from([4, 1, 5, 3]));
        let b = Facts::new(DType::F32, Shape::from([2, 7, 3]));
        let op = BatchMatMul { adjoint_b: true, ..Default::default() };
        let inputs = [Some(&a), Some(&b)];
        let outputs = op.infer(Inputs(&inputs)).unwrap();
        assert_eq!(outputs[0].shape, Shape::from([4, 2, 5, 7]));
        assert_eq!(op.macs(Inputs(&inputs), &outputs), 4 * 2 * 5 * 7 * 3);
        assert!(BatchMatMul::default().infer(Inputs(&inputs)).is_err());
    }
}
