use serde::{Deserialize, Serialize};

use crate::operator::{
    Arity, Facts, InferError, Inputs, Operator, OutputRule, QuantizationRule, WeightsRule, refuse,
};
use crate::ops::window::{output_size, reach};
use crate::ops::{Activation, Padding};
use crate::shape::Shape;

/// 2-D convolution of each channel by itself: `[batch, height, width, in]` and weights `[1, kernel
/// height, kernel width, in * multiplier]` give `[batch, height', width', in * multiplier]`, where
/// output channel `c * multiplier + m` sees input channel `c`. The bias may be left out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DepthwiseConv2D {
    /// Vertical and horizontal step between outputs.
    pub stride: [usize; 2],
    /// Vertical and horizontal step between taps.
    pub dilation: [usize; 2],
    /// What lies beyond the border.
    pub padding: Padding,
    /// Output channels per input channel.
    pub multiplier: usize,
    /// Applied to the result.
    pub activation: Activation,
}

impl Default for DepthwiseConv2D {
    fn default() -> DepthwiseConv2D {
        DepthwiseConv2D {
            stride: [1; 2],
            dilation: [1; 2],
            padding: Padding::Valid,
            multiplier: 1,
            activation: Activation::None,
        }
    }
}

impl Operator for DepthwiseConv2D {
    fn arity(&self) -> Arity {
        Arity::between(2, 3)
    }

    fn infer(&self, inputs: Inputs<'_>) -> Result<Vec<Facts>, InferError> {
        let image = inputs.dims(0, 4)?;
        let weights = inputs.dims(1, 4)?;
        let [Some(1), Some(height), Some(width), Some(out)] = [0, 1, 2, 3].map(|i| weights[i].fixed()) else {
            refuse!("the weights must have a fixed shape [1, height, width, channels]");
        };
        if let Some(channels) = image[3].fixed()
            && channels.checked_mul(self.multiplier) != Some(out)
        {
            refuse!("{channels} channels with multiplier {} do not give {out}", self.multiplier);
        }
        if let Some(bias) = inputs.optional(2)
            && bias.shape.elements() != Some(out)
        {
            refuse!("the bias has shape {}, there are {out} output channels", bias.shape);
        }
        let reach = reach([height, width], self.dilation)?;
        let [h, w] = output_size(&image[1..3], reach, self.stride, self.padding)?;
        Ok(vec![Facts::new(inputs.get(0)?.dtype, Shape::from([image[0].clone(), h, w, out.into()]))])
    }

    fn macs(&self, inputs: Inputs<'_>, outputs: &[Facts]) -> u64 {
        let taps = inputs.optional(1).map_or(0, |weights| {
            let out = weights.shape.last().and_then(|d| d.fixed()).unwrap_or(1).max(1) as u64;
            weights.shape.elements_per_sample() / out
        });
        outputs.first().map_or(0, |output| output.shape.elements_per_sample().saturating_mul(taps))
    }

    fn quantization(&self) -> QuantizationRule {
        let weights = Some(WeightsRule { input: 1, axis: 3, bias: 2 });
        QuantizationRule { output: OutputRule::Observed, weights, int8: true, int16: true }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dtype::DType;

    #[test]
    fn the_multiplier_widens_the_output() {
        let image = Facts::new(DType::F32, Shape::from([1, 8, 8, 4]));
        let weights = Facts::new(DType::F32, Shape::from([1, 3, 3, 8]));
        let conv = DepthwiseConv2D { multiplier: 2, ..DepthwiseConv2D::default() };
        let inputs = [Some(&image), Some(&weights)];
        let outputs = conv.infer(Inputs(&inputs)).unwrap();
        assert_eq!(outputs[0].shape, Shape::from([1, 6, 6, 8]));
        assert_eq!(conv.macs(Inputs(&inputs), &outputs), 6 * 6 * 8 * 9);
        assert!(DepthwiseConv2D::default().infer(Inputs(&inputs)).is_err());
    }
}
