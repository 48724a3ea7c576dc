use serde::{Deserialize, Serialize};

use crate::operator::{
    Arity, Facts, InferError, Inputs, Operator, OutputRule, QuantizationRule, WeightsRule, refuse,
};
use crate::ops::window::{output_size, reach, sizes_from_value};
use crate::ops::{Activation, Padding};

/// Transposed 2-D convolution, the gradient of [`Conv2D`](crate::ops::Conv2D) by its input. Inputs:
/// the output's shape as four `i32`, weights `[out, kernel height, kernel width, in]`, the image
/// `[batch, height, width, in]`, and a bias `[out]` that may be left out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TransposeConv2D {
    /// Vertical and horizontal step between what neighbouring inputs write to.
    pub stride: [usize; 2],
    /// The padding that the convolution from output to input has; never explicit.
    pub padding: Padding,
    /// Applied to the result.
    pub activation: Activation,
}

impl Default for TransposeConv2D {
    fn default() -> TransposeConv2D {
        TransposeConv2D { stride: [1; 2], padding: Padding::Valid, activation: Activation::None }
    }
}

impl Operator for TransposeConv2D {
    fn arity(&self) -> Arity {
        Arity::between(3, 4)
    }

    fn infer(&self, inputs: Inputs<'_>) -> Result<Vec<Facts>, InferError> {
        let (weights, image) = (inputs.dims(1, 4)?, inputs.dims(2, 4)?);
        let [Some(out), Some(height), Some(width), Some(depth)] = [0, 1, 2, 3].map(|i| weights[i].fixed())
        else {
            refuse!("the shape of the weights must be fixed");
        };
        if image[3].fixed().is_some_and(|channels| channels != depth) {
            refuse!("the input has {} channels, the weights take {depth}", image[3]);
        }
        if let Some(bias) = inputs.optional(3)
            && bias.shape.elements() != Some(out)
        {
            refuse!("the bias has shape {}, there are {out} output channels", bias.shape);
        }
        if matches!(self.padding, Padding::Explicit { .. }) {
            refuse!("explicit padding has no meaning here");
        }
        let shape = sizes_from_value(inputs, 0, 4)?;
        let dims = shape.dims();
        if dims[3].unify(&out.into()).is_none() || dims[0].unify(&image[0]).is_none() {
            refuse!("the output's shape {shape} does not fit {out} channels and a batch of {}", image[0]);
        }
        let back = output_size(&dims[1..3], reach([height, width], [1; 2])?, self.stride, self.padding)?;
        if back[0].unify(&image[1]).is_none() || back[1].unify(&image[2]).is_none() {
            refuse!("the output's shape {shape} does not lead back to {}", inputs.get(2)?.shape);
        }
        let mut shape = shape;
        shape.0[0] = image[0].clone();
        shape.0[3] = out.into();
        Ok(vec![Facts::new(inputs.get(2)?.dtype, shape)])
    }

    fn macs(&self, inputs: Inputs<'_>, _outputs: &[Facts]) -> u64 {
        let (Some(weights), Some(image)) = (inputs.optional(1), inputs.optional(2)) else { return 0 };
        let depth = weights.shape.last().and_then(|depth| depth.fixed()).unwrap_or(1).max(1) as u64;
        image.shape.elements_per_sample().saturating_mul(weights.shape.elements_per_sample() / depth)
    }

    fn quantization(&self) -> QuantizationRule {
        let weights = Some(WeightsRule { input: 1, axis: 0, bias: 3 });
        QuantizationRule { output: OutputRule::Observed, weights, int8: true, int16: true }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dtype::DType;
    use crate::operator::Number;
    use crate::shape::{Dim, Shape};

    fn infer(size: [i64; 2]) -> Result<String, InferError> {
        let value =
            vec![Number::Free(crate::Symbol::new("batch")), Number::Int(size[0]), Number::Int(size[1])];
        let value = value.into_iter().chain([Number::Int(5)]).collect();
        let shape = Facts::new(DType::I32, Shape::from([4])).with_value(Some(value));
        let image = Facts::new(DType::F32, Shape::from([Dim::free("batch"), 4.into(), 4.into(), 3.into()]));
        let weights = Facts::new(DType::F32, Shape::from([5, 3, 3, 3]));
        let op = TransposeConv2D { stride: [2, 2], padding: Padding::Same, ..Default::default() };
        let inputs = [Some(&shape), Some(&weights), Some(&image)];
        op.infer(Inputs(&inputs)).map(|facts| facts[0].shape.to_string())
    }

    #[test]
    fn the_output_must_lead_back_to_the_input() {
        assert_eq!(infer([8, 7]).unwrap(), "[batch,8,7,5]");
        assert!(infer([9, 8]).is_err());
    }
}
