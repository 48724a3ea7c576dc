use serde::{Deserialize, Serialize};

use crate::operator::{
    Arity, Facts, InferError, Inputs, Operator, OutputRule, QuantizationRule, WeightsRule, refuse,
};
use crate::ops::window::{output_size, reach};
use crate::ops::{Activation, Padding};
use crate::shape::Shape;

/// 2-D convolution: `[batch, height, width, in]` and weights `[out, kernel height, kernel width,
/// in / groups]` give `[batch, height', width', out]`. The bias `[out]` may be left out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Conv2D {
    /// Vertical and horizontal step between outputs.
    pub stride: [usize; 2],
    /// Vertical and horizontal step between taps.
    pub dilation: [usize; 2],
    /// What lies beyond the border.
    pub padding: Padding,
    /// Number of groups that channels are split into; each output sees the inputs of its group.
    pub groups: usize,
    /// Applied to the result.
    pub activation: Activation,
}

impl Default for Conv2D {
    fn default() -> Conv2D {
        Conv2D {
            stride: [1; 2],
            dilation: [1; 2],
            padding: Padding::Valid,
            groups: 1,
            activation: Activation::None,
        }
    }
}

impl Operator for Conv2D {
    fn arity(&self) -> Arity {
        Arity::between(2, 3)
    }

    fn infer(&self, inputs: Inputs<'_>) -> Result<Vec<Facts>, InferError> {
        let image = inputs.dims(0, 4)?;
        let weights = inputs.dims(1, 4)?;
        let [Some(out), Some(height), Some(width), Some(depth)] = [0, 1, 2, 3].map(|i| weights[i].fixed())
        else {
            refuse!("the shape of the weights must be fixed");
        };
        if self.groups == 0 || out % self.groups != 0 {
            refuse!("{out} output channels cannot be split into {} groups", self.groups);
        }
        if let Some(channels) = image[3].fixed()
            && depth.checked_mul(self.groups) != Some(channels)
        {
            refuse!("the input has {channels} channels, the weights take {depth} in {} groups", self.groups);
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
            let out = weights.shape.dims().first().and_then(|d| d.fixed()).unwrap_or(1).max(1) as u64;
            weights.shape.elements_per_sample() / out
        });
        outputs.first().map_or(0, |output| output.shape.elements_per_sample().saturating_mul(taps))
    }

    fn quantization(&self) -> QuantizationRule {
        let weights = Some(WeightsRule { input: 1, axis: 0, bias: 2 });
        QuantizationRule { output: OutputRule::Observed, weights, int8: true, int16: true }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dtype::DType;
    use crate::shape::Dim;

    #[test]
    fn shapes_and_macs() {
        let image = Facts::new(DType::F32, Shape::from([Dim::free("batch"), 8.into(), 8.into(), 4.into()]));
        let weights = Facts::new(DType::F32, Shape::from([6, 3, 3, 2]));
        let conv = Conv2D { stride: [2, 2], padding: Padding::Same, groups: 2, ..Conv2D::default() };
        let inputs = [Some(&image), Some(&weights), None];
        let outputs = conv.infer(Inputs(&inputs)).unwrap();
        assert_eq!(outputs[0].shape.to_string(), "[batch,4,4,6]");
        assert_eq!(conv.macs(Inputs(&inputs), &outputs), 4 * 4 * 6 * 18);
        assert!(Conv2D::default().infer(Inputs(&inputs)).is_err());
    }
}
