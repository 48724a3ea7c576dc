use serde::{Deserialize, Serialize};

use crate::operator::{Arity, Facts, InferError, Inputs, Operator, QuantizationRule, WeightsRule, refuse};
use crate::ops::window::{sizes_from_value, volume_size};
use crate::ops::{Activation, Padding};

/// Transposed 3-D convolution, the gradient of [`Conv3D`](crate::ops::Conv3D) by its input. Inputs:
/// the output's shape as five `i32`, weights `[kernel depth, kernel height, kernel width, out, in]`,
/// the volume `[batch, depth, height, width, in]`, and a bias `[out]` that may be left out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TransposeConv3D {
    /// Step along depth, height and width between what neighbouring inputs write to.
    pub stride: [usize; 3],
    /// The padding that the convolution from output to input has; never explicit.
    pub padding: Padding,
    /// Applied to the result.
    pub activation: Activation,
}

impl Default for TransposeConv3D {
    fn default() -> TransposeConv3D {
        TransposeConv3D { stride: [1; 3], padding: Padding::Valid, activation: Activation::None }
    }
}

impl Operator for TransposeConv3D {
    fn arity(&self) -> Arity {
        Arity::between(3, 4)
    }

    fn infer(&self, inputs: Inputs<'_>) -> Result<Vec<Facts>, InferError> {
        let (weights, volume) = (inputs.dims(1, 5)?, inputs.dims(2, 5)?);
        let [Some(depth), Some(height), Some(width), Some(out), Some(channels)] =
            [0, 1, 2, 3, 4].map(|i| weights[i].fixed())
        else {
            refuse!("the shape of the weights must be fixed");
        };
        if volume[4].unify(&channels.into()).is_none() {
            refuse!("the input has {} channels, the weights take {channels}", volume[4]);
        }
        if let Some(bias) = inputs.optional(3)
            && bias.shape.elements() != Some(out)
        {
            refuse!("the bias has shape {}, there are {out} output channels", bias.shape);
        }
        let mut shape = sizes_from_value(inputs, 0, 5)?;
        let dims = shape.dims();
        if dims[4].unify(&out.into()).is_none() || dims[0].unify(&volume[0]).is_none() {
            refuse!("the output's shape {shape} does not fit {out} channels and a batch of {}", volume[0]);
        }
        let back = volume_size(&dims[1..4], [depth, height, width], [1; 3], self.stride, self.padding)?;
        if back.iter().zip(&volume[1..4]).any(|(back, own)| back.unify(own).is_none()) {
            refuse!("the output's shape {shape} does not lead back to {}", inputs.get(2)?.shape);
        }
        shape.0[0] = volume[0].clone();
        shape.0[4] = out.into();
        Ok(vec![Facts::new(inputs.get(2)?.dtype, shape)])
    }

    fn macs(&self, inputs: Inputs<'_>, _outputs: &[Facts]) -> u64 {
        let (Some(weights), Some(volume)) = (inputs.optional(1), inputs.optional(2)) else { return 0 };
        let channels = weights.shape.last().and_then(|size| size.fixed()).unwrap_or(1).max(1) as u64;
        volume.shape.elements_per_sample().saturating_mul(weights.shape.elements_per_sample() / channels)
    }

    fn quantization(&self) -> QuantizationRule {
        let weights = Some(WeightsRule { input: 1, axis: 3, bias: 3 });
        QuantizationRule { weights, ..QuantizationRule::FLOAT_ONLY }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dtype::DType;
    use crate::operator::Number;
    use crate::shape::Shape;

    #[test]
    fn the_output_must_lead_back_to_the_input() {
        let volume = Facts::new(DType::F32, Shape::from([1, 2, 3, 3, 4]));
        let weights = Facts::new(DType::F32, Shape::from([3, 3, 3, 5, 4]));
        let op = TransposeConv3D { stride: [2; 3], padding: Padding::Same, ..Default::default() };
        let infer = |depth: i64| {
            let value = [1, depth, 6, 6, 5].map(Number::Int).to_vec();
            let shape = Facts::new(DType::I32, Shape::from([5])).with_value(Some(value));
            op.infer(Inputs(&[Some(&shape), Some(&weights), Some(&volume)]))
        };
        assert_eq!(infer(4).unwrap()[0].shape.to_string(), "[1,4,6,6,5]");
        assert!(infer(5).is_err());
    }
}
