use serde::{Deserialize, Serialize};

use crate::operator::{Arity, Facts, InferError, Inputs, Operator, QuantizationRule, WeightsRule, refuse};
use crate::ops::window::volume_size;
use crate::ops::{Activation, Padding};
use crate::shape::Shape;

/// 3-D convolution: `[batch, depth, height, width, in]` and weights `[kernel depth, kernel height,
/// kernel width, in, out]` give `[batch, depth', height', width', out]`. The bias `[out]` may be left
/// out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Conv3D {
    /// Step between outputs along depth, height and width.
    pub stride: [usize; 3],
    /// Step between taps.
    pub dilation: [usize; 3],
    /// What lies beyond the border; never explicit.
    pub padding: Padding,
    /// Applied to the result.
    pub activation: Activation,
}

impl Default for Conv3D {
    fn default() -> Conv3D {
        Conv3D { stride: [1; 3], dilation: [1; 3], padding: Padding::Valid, activation: Activation::None }
    }
}

impl Operator for Conv3D {
    fn arity(&self) -> Arity {
        Arity::between(2, 3)
    }

    fn infer(&self, inputs: Inputs<'_>) -> Result<Vec<Facts>, InferError> {
        let (volume, weights) = (inputs.dims(0, 5)?, inputs.dims(1, 5)?);
        let [Some(depth), Some(height), Some(width), Some(channels), Some(out)] =
            [0, 1, 2, 3, 4].map(|i| weights[i].fixed())
        else {
            refuse!("the shape of the weights must be fixed");
        };
        if volume[4].unify(&channels.into()).is_none() {
            refuse!("the input has {} channels, the weights take {channels}", volume[4]);
        }
        if let Some(bias) = inputs.optional(2)
            && bias.shape.elements() != Some(out)
        {
            refuse!("the bias has shape {}, there are {out} output channels", bias.shape);
        }
        let kernel = [depth, height, width];
        let [d, h, w] = volume_size(&volume[1..4], kernel, self.dilation, self.stride, self.padding)?;
        let shape = Shape::from([volume[0].clone(), d, h, w, out.into()]);
        Ok(vec![Facts::new(inputs.get(0)?.dtype, shape)])
    }

    fn macs(&self, inputs: Inputs<'_>, outputs: &[Facts]) -> u64 {
        let taps = inputs.optional(1).map_or(0, |weights| {
            let out = weights.shape.last().and_then(|out| out.fixed()).unwrap_or(1).max(1) as u64;
            weights.shape.elements_per_sample() / out
        });
        outputs.first().map_or(0, |output| output.shape.elements_per_sample().saturating_mul(taps))
    }

    fn quantization(&self) -> QuantizationRule {
        let weights = Some(WeightsRule { input: 1, axis: 4, bias: 2 });
        QuantizationRule { weights, ..QuantizationRule::FLOAT_ONLY }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dtype::DType;

    #[test]
    fn shapes_and_macs() {
        let volume = Facts::new(DType::F32, Shape::from([1, 4, 8, 8, 2]));
        let weights = Facts::new(DType::F32, Shape::from([3, 3, 3, 2, 6]));
        let conv = Conv3D { stride: [1, 2, 2], padding: Padding::Same, ..Conv3D::default() };
        let inputs = [Some(&volume), Some(&weights)];
        let outputs = conv.infer(Inputs(&inputs)).unwrap();
        assert_eq!(outputs[0].shape.to_string(), "[1,4,4,4,6]");
        assert_eq!(conv.macs(Inputs(&inputs), &outputs), 4 * 4 * 4 * 6 * 54);
        assert!(Conv3D { dilation: [2, 1, 1], ..Conv3D::default() }.infer(Inputs(&inputs)).is_err());
    }
}
