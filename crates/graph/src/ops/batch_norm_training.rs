use serde::{Deserialize, Serialize};

use super::Activation;
use crate::operator::{Arity, Facts, InferError, Inputs, Operator, QuantizationRule, refuse};

/// Batch normalization over the last axis with the statistics of the batch itself (Ioffe and Szegedy
/// 2015): inputs `x`, gamma, beta; gamma and beta may be left out. Outputs the normalized tensor, and
/// mean and variance (of the batch as a population) of each channel. Only models that are trained
/// have it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BatchNormTraining {
    /// Added to the variance.
    pub epsilon: f32,
    /// Clamp of the normalized tensor.
    pub activation: Activation,
}

impl Default for BatchNormTraining {
    fn default() -> BatchNormTraining {
        BatchNormTraining { epsilon: 1e-3, activation: Activation::None }
    }
}

impl Operator for BatchNormTraining {
    fn arity(&self) -> Arity {
        Arity { inputs: (3, 3), outputs: (3, 3) }
    }

    fn infer(&self, inputs: Inputs<'_>) -> Result<Vec<Facts>, InferError> {
        let input = inputs.get(0)?;
        let Some(channels) = input.shape.last() else { refuse!("the input is a scalar") };
        for (index, name) in [(1, "gamma"), (2, "beta")] {
            if let Some(facts) = inputs.optional(index)
                && !matches!(facts.shape.dims(), [dim] if dim.unify(channels).is_some())
            {
                refuse!("{name} has shape {}, the input has {channels} channels", facts.shape);
            }
        }
        let statistic = Facts::new(input.dtype, crate::Shape::from([channels.clone()]));
        Ok(vec![Facts::new(input.dtype, input.shape.clone()), statistic.clone(), statistic])
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
    fn statistics_are_per_channel() {
        let x = Facts::new(DType::F32, Shape::from([1, 4, 4, 3]));
        let outputs = BatchNormTraining::default().infer(Inputs(&[Some(&x), None, None])).unwrap();
        assert_eq!(outputs[0].shape, x.shape);
        assert_eq!(outputs[1].shape, Shape::from([3]));
        let wrong = Facts::new(DType::F32, Shape::from([4]));
        assert!(BatchNormTraining::default().infer(Inputs(&[Some(&x), Some(&wrong), None])).is_err());
    }
}
