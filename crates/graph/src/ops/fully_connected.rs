use serde::{Deserialize, Serialize};

use crate::operator::{
    Arity, Facts, InferError, Inputs, Operator, OutputRule, QuantizationRule, WeightsRule, refuse,
};
use crate::ops::Activation;
use crate::shape::{Dim, Dims, Shape};

/// Matrix product with weights `[out, in]`, plus a bias `[out]` that may be left out. The input is
/// taken as rows of `in` elements.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FullyConnected {
    /// Whether the output keeps the input's leading axes; else it is `[rows, out]`.
    pub keep_num_dims: bool,
    /// Whether dynamic-range kernels quantize the input with a zero point.
    pub asymmetric_quantize_inputs: bool,
    /// Applied to the result.
    pub activation: Activation,
}

impl Operator for FullyConnected {
    fn arity(&self) -> Arity {
        Arity::between(2, 3)
    }

    fn infer(&self, inputs: Inputs<'_>) -> Result<Vec<Facts>, InferError> {
        let input = inputs.get(0)?;
        let weights = inputs.dims(1, 2)?;
        let (Some(out), Some(depth)) = (weights[0].fixed(), weights[1].fixed()) else {
            refuse!("the shape of the weights must be fixed");
        };
        if let Some(bias) = inputs.optional(2)
            && bias.shape.elements() != Some(out)
        {
            refuse!("the bias has shape {}, there are {out} outputs", bias.shape);
        }
        let (leading, last) = match input.shape.dims() {
            [] => refuse!("the input is a scalar"),
            [leading @ .., last] => (leading, last),
        };
        let mut dims = Dims::from(leading);
        if self.keep_num_dims || last.fixed() == Some(depth) {
            if last.unify(&Dim::Fixed(depth)).is_none() {
                refuse!("the input has shape {}, the weights take {depth} elements", input.shape);
            }
            if !self.keep_num_dims && dims.len() != 1 {
                dims = Dims::from_iter([product(leading)]);
            }
        } else {
            dims = Dims::from_iter([rows(&input.shape, depth)?]);
        }
        dims.push(out.into());
        Ok(vec![Facts::new(input.dtype, Shape(dims))])
    }

    fn macs(&self, inputs: Inputs<'_>, outputs: &[Facts]) -> u64 {
        let depth = inputs.optional(1).and_then(|w| w.shape.last().and_then(Dim::fixed)).unwrap_or(0);
        outputs.first().map_or(0, |output| output.shape.elements_per_sample().saturating_mul(depth as u64))
    }

    fn quantization(&self) -> QuantizationRule {
        let weights = Some(WeightsRule { input: 1, axis: 0, bias: 2 });
        QuantizationRule { output: OutputRule::Observed, weights, int8: true, int16: true }
    }
}

fn product(dims: &[Dim]) -> Dim {
    match dims {
        [dim] => dim.clone(),
        _ => Shape(dims.into()).elements().map_or(Dim::Unknown, Dim::Fixed),
    }
}

fn rows(shape: &Shape, depth: usize) -> Result<Dim, InferError> {
    let Some(elements) = shape.elements() else { return Ok(Dim::Unknown) };
    if depth == 0 || elements % depth != 0 {
        refuse!("the input has shape {shape}, the weights take {depth} elements");
    }
    Ok(Dim::Fixed(elements / depth))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dtype::DType;

    fn output(op: &FullyConnected, input: Shape) -> Result<String, InferError> {
        let input = Facts::new(DType::F32, input);
        let weights = Facts::new(DType::F32, Shape::from([10, 6]));
        op.infer(Inputs(&[Some(&input), Some(&weights)])).map(|facts| facts[0].shape.to_string())
    }

    #[test]
    fn rows_are_kept_or_merged() {
        let keep = FullyConnected { keep_num_dims: true, ..Default::default() };
        assert_eq!(
            output(&keep, Shape::from([Dim::free("batch"), 4.into(), 6.into()])).unwrap(),
            "[batch,4,10]"
        );
        let merge = FullyConnected::default();
        assert_eq!(output(&merge, Shape::from([Dim::free("batch"), 6.into()])).unwrap(), "[batch,10]");
        assert_eq!(output(&merge, Shape::from([2, 4, 6])).unwrap(), "[8,10]");
        assert_eq!(output(&merge, Shape::from([2, 3, 2])).unwrap(), "[2,10]");
        assert!(output(&merge, Shape::from([5])).is_err());
        assert!(output(&keep, Shape::from([2, 5])).is_err());
    }
}
