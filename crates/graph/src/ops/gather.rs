use serde::{Deserialize, Serialize};

use crate::dtype::DType;
use crate::operator::Number;
use crate::operator::{Arity, Facts, InferError, Inputs, Operator, QuantizationRule, refuse};
use crate::ops::resolve_axis;
use crate::shape::{Dims, Shape};

/// Slices of the first input along an axis, chosen by the integers of the second.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Gather {
    /// The axis; a negative one counts from the end.
    pub axis: i32,
    /// Number of leading axes that both inputs share.
    pub batch_dims: usize,
}

impl Operator for Gather {
    fn arity(&self) -> Arity {
        Arity::exactly(2)
    }

    fn infer(&self, inputs: Inputs<'_>) -> Result<Vec<Facts>, InferError> {
        let (table, indices) = (inputs.get(0)?, inputs.get(1)?);
        if !matches!(indices.dtype, DType::I16 | DType::I32 | DType::I64) {
            refuse!("indices are {}, not integers", indices.dtype);
        }
        let axis = resolve_axis(self.axis, table.shape.rank())?;
        let batch = self.batch_dims;
        if batch > axis || batch > indices.shape.rank() {
            refuse!("{batch} shared axes do not fit axis {axis} and indices of shape {}", indices.shape);
        }
        let mut dims = Dims::from(&table.shape.0[..axis]);
        for (own, other) in dims.iter_mut().zip(&indices.shape.0[..batch]) {
            match own.unify(other) {
                Some(dim) => *own = dim,
                None => refuse!("shapes {} and {} differ in a shared axis", table.shape, indices.shape),
            }
        }
        dims.extend(indices.shape.0[batch..].iter().cloned());
        dims.extend(table.shape.0[axis + 1..].iter().cloned());
        let pick = |index: i64| {
            let value = table.value.as_ref()?;
            let index = if index < 0 { index + value.len() as i64 } else { index };
            value.get(usize::try_from(index).ok()?).cloned()
        };
        let value = match indices.integers() {
            Some(indices) if table.shape.rank() == 1 => {
                indices.into_iter().map(pick).collect::<Option<Vec<Number>>>()
            }
            _ => None,
        };
        Ok(vec![Facts::new(table.dtype, Shape(dims)).with_value(value)])
    }

    fn quantization(&self) -> QuantizationRule {
        QuantizationRule::SAME
    }
}
