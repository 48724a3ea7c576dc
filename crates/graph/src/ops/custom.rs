use serde::{Deserialize, Serialize};

use crate::dtype::DType;
use crate::operator::{Arity, Facts, InferError, Inputs, Operator, QuantizationRule, refuse};
use crate::shape::Shape;

/// An operator that only its name and options are known of; both are kept. It can be written again
/// but not run.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Custom {
    /// The name that the file gives it.
    pub name: String,
    /// Its options as they stand in the file.
    pub options: Vec<u8>,
    /// Its version.
    pub version: i32,
    /// Types of its outputs.
    pub output_types: Vec<DType>,
    /// Shapes of its outputs as the file states them; -1 where a size is not known.
    pub output_shapes: Vec<Vec<i64>>,
}

impl Operator for Custom {
    fn arity(&self) -> Arity {
        Arity { inputs: (0, usize::MAX), outputs: (0, usize::MAX) }
    }

    fn infer(&self, _inputs: Inputs<'_>) -> Result<Vec<Facts>, InferError> {
        if self.output_types.len() != self.output_shapes.len() {
            refuse!("{} types and {} shapes of outputs", self.output_types.len(), self.output_shapes.len());
        }
        let dim =
            |size: &i64| usize::try_from(*size).map_or(crate::shape::Dim::Unknown, crate::shape::Dim::Fixed);
        let facts =
            |(dtype, shape): (&DType, &Vec<i64>)| Facts::new(*dtype, Shape(shape.iter().map(dim).collect()));
        Ok(self.output_types.iter().zip(&self.output_shapes).map(facts).collect())
    }

    fn quantization(&self) -> QuantizationRule {
        QuantizationRule::FLOAT_ONLY
    }
}
