use serde::{Deserialize, Serialize};

use crate::op::Op;
use crate::operator::{Arity, Facts, InferError, Inputs, Operator, QuantizationRule, refuse};

/// The gradient of one number, the loss, with respect to some inputs of an operator, by the chain
/// rule (a vector-Jacobian product). Only models that are trained have it; no format can hold it.
///
/// Inputs: those of `of`, then its outputs, then the loss' gradients with respect to those outputs.
/// What the rule does not need is left out, but an input whose gradient is asked for: its shape is
/// that of the gradient.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Gradient {
    /// The operator that is differentiated.
    pub of: Box<Op>,
    /// The inputs of `of`, by index, whose gradients are the outputs, in order.
    pub inputs: Vec<usize>,
}

impl Default for Gradient {
    fn default() -> Gradient {
        Gradient { of: Box::new(Op::Identity(super::Identity::default())), inputs: vec![0] }
    }
}

impl Gradient {
    /// Number of outputs of the operator that is differentiated.
    #[must_use]
    pub fn results(&self) -> usize {
        self.of.arity().outputs.0
    }

    /// Number of inputs of the operator that is differentiated, of all that the gradient takes.
    ///
    /// # Errors
    /// If there are too few.
    pub fn arguments(&self, inputs: usize) -> Result<usize, InferError> {
        match inputs.checked_sub(2 * self.results()) {
            Some(arguments) => Ok(arguments),
            None => refuse!("{inputs} inputs are too few for a gradient of {}", self.of.name()),
        }
    }
}

impl Gradient {
    /// Whether the elements of an input are looked at, of so many; of others the shape alone counts.
    #[must_use]
    pub fn reads(&self, input: usize, inputs: usize) -> bool {
        let Ok(arguments) = self.arguments(inputs) else { return true };
        if input >= arguments + self.results() {
            return true;
        }
        let result = input >= arguments;
        match &*self.of {
            // A product needs the other factor.
            Op::Conv2D(_) | Op::DepthwiseConv2D(_) | Op::FullyConnected(_) => {
                !result && input < 2 && !self.inputs.contains(&input)
            }
            Op::Unary(op) => result == op.kind.differentiates_by_result(),
            Op::Softmax(_) => result,
            Op::Pool2D(op) => op.kind == super::PoolKind::Max,
            Op::Resize(_) => false,
            Op::DropoutTraining(_) | Op::Gather(_) => input == 1,
            Op::BatchNorm(_) => !result && input != 2,
            // Where an activation cut off is computed anew, from the normalized input.
            Op::BatchNormTraining(op) => match input {
                2 => !op.activation.is_none(),
                3 => false,
                _ => true,
            },
            Op::FakeQuantTraining(_) => input == 0 || input == arguments + 1,
            _ => true,
        }
    }
}

impl Operator for Gradient {
    fn arity(&self) -> Arity {
        Arity { inputs: (2, usize::MAX), outputs: (1, usize::MAX) }
    }

    fn infer(&self, inputs: Inputs<'_>) -> Result<Vec<Facts>, InferError> {
        let arguments = self.arguments(inputs.len())?;
        let gradient = |index: &usize| {
            if *index >= arguments {
                refuse!("input {index} of {arguments} is none of {}", self.of.name());
            }
            let input = inputs.get(*index)?;
            Ok(Facts::new(input.dtype, input.shape.clone()))
        };
        self.inputs.iter().map(gradient).collect()
    }

    fn macs(&self, inputs: Inputs<'_>, _outputs: &[Facts]) -> u64 {
        let Ok(arguments) = self.arguments(inputs.len()) else { return 0 };
        let own = Inputs(&inputs.0[..arguments]);
        // A weighted sum has as many products for each operand as it has itself.
        self.of.infer(own).map_or(0, |outputs| self.of.macs(own, &outputs) * self.inputs.len() as u64)
    }

    fn quantization(&self) -> QuantizationRule {
        QuantizationRule::FLOAT_ONLY
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dtype::DType;
    use crate::ops::Conv2D;
    use crate::shape::Shape;

    #[test]
    fn gradients_have_the_shapes_of_the_inputs() {
        let facts = |shape: &[usize]| Facts::new(DType::F32, Shape::fixed(shape));
        let (x, w, dy) = (facts(&[2, 8, 8, 3]), facts(&[5, 3, 3, 3]), facts(&[2, 8, 8, 5]));
        let op = Gradient { of: Box::new(Conv2D::default().into()), inputs: vec![0, 1] };
        let inputs = [Some(&x), Some(&w), None, None, Some(&dy)];
        let outputs = op.infer(Inputs(&inputs)).unwrap();
        assert_eq!([&outputs[0].shape, &outputs[1].shape], [&x.shape, &w.shape]);
        assert!(op.infer(Inputs(&inputs[..1])).is_err());
        let wrong = Gradient { inputs: vec![3], ..op };
        assert!(wrong.infer(Inputs(&inputs)).is_err());
    }
}
