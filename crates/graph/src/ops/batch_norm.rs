use serde::{Deserialize, Serialize};

use crate::operator::{Arity, Facts, InferError, Inputs, Operator, QuantizationRule, refuse};

/// Batch normalization over the last axis with fixed statistics: inputs `x`, gamma, beta, mean,
/// variance; gamma and beta may be left out. `(x - mean) / sqrt(variance + epsilon) * gamma + beta`
/// (Ioffe and Szegedy 2015). A high-level operator: TFLite has none.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BatchNorm {
    /// Added to the variance.
    pub epsilon: f32,
    /// Share of the old running statistics kept by a training step.
    pub momentum: f32,
}

impl Default for BatchNorm {
    fn default() -> BatchNorm {
        BatchNorm { epsilon: 1e-3, momentum: 0.99 }
    }
}

impl Operator for BatchNorm {
    fn arity(&self) -> Arity {
        Arity::exactly(5)
    }

    fn infer(&self, inputs: Inputs<'_>) -> Result<Vec<Facts>, InferError> {
        let input = inputs.get(0)?;
        let Some(channels) = input.shape.last() else { refuse!("the input is a scalar") };
        for (index, name) in ["gamma", "beta", "mean", "variance"].into_iter().enumerate() {
            let facts = if index < 2 { inputs.optional(index + 1) } else { Some(inputs.get(index + 1)?) };
            if let Some(facts) = facts {
                match facts.shape.dims() {
                    [dim] if dim.unify(channels).is_some() => {}
                    _ => refuse!("{name} has shape {}, the input has {channels} channels", facts.shape),
                }
            }
        }
        Ok(vec![Facts::new(input.dtype, input.shape.clone())])
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
    fn statistics_must_fit_the_channels() {
        let x = Facts::new(DType::F32, Shape::from([1, 4, 4, 3]));
        let (good, bad) =
            (Facts::new(DType::F32, Shape::from([3])), Facts::new(DType::F32, Shape::from([4])));
        let infer =
            |mean| BatchNorm::default().infer(Inputs(&[Some(&x), None, None, Some(mean), Some(&good)]));
        assert_eq!(infer(&good).unwrap()[0].shape, x.shape);
        assert!(infer(&bad).is_err());
    }
}
