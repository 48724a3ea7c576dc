//! Operations that together are one operator: batch normalization, layer normalization, activations.
//!
//! The last operation of a pattern is put in the place of all: it gets one of the names below, which no
//! file can hold, and reads what the pattern starts from. What it read before stays for other readers,
//! or is read by nobody and left out.

mod activations;
mod normalization;
mod pattern;

use crate::savedmodel::attributes::Attributes;
use crate::savedmodel::flow::{Flow, Value, Variable};
use pattern::View;

/// First letter of the names of recognized operations.
pub(super) const MARK: char = '~';
/// `[x, gamma, beta, mean, variance]`, the second and third as the flags `scale` and `center` say.
pub(super) const BATCH_NORM: &str = "~BatchNorm";
/// `[x, gamma, beta]`, the second and third as the flags `scale` and `center` say.
pub(super) const LAYER_NORM: &str = "~LayerNorm";
/// Each vector along the last axis divided by its length.
pub(super) const UNIT_NORM: &str = "~UnitNorm";
/// `x` where positive, else `alpha * x`, of `[x, alpha]`.
pub(super) const PRELU: &str = "~Prelu";
/// `x * sigmoid(x)`.
pub(super) const SILU: &str = "~Silu";
/// `relu6(x + 3) / 6`.
pub(super) const HARD_SIGMOID: &str = "~HardSigmoid";
/// `x * relu6(x + 3) / 6`.
pub(super) const HARD_SWISH: &str = "~HardSwish";
/// By the error function.
pub(super) const GELU: &str = "~Gelu";
/// By the approximation with the hyperbolic tangent.
pub(super) const GELU_APPROXIMATE: &str = "~GeluApproximate";

/// One operation in the place of several.
struct Recognized {
    op: &'static str,
    inputs: Vec<Value>,
    attributes: Attributes,
}

impl Recognized {
    fn plain(op: &'static str, inputs: Vec<Value>) -> Recognized {
        Recognized { op, inputs, attributes: Attributes::default() }
    }
}

/// Finds all patterns of a flow and of the flows inside.
pub(super) fn apply(flow: &mut Flow, variables: &[Variable]) {
    for index in 0..flow.nodes.len() {
        flow.nodes[index].branches.iter_mut().for_each(|branch| apply(branch, variables));
        let view = View { flow, variables };
        let found = match flow.nodes[index].op.as_str() {
            "Mul" | "RealDiv" => activations::product(&view, index),
            "AddV2" | "Add" | "Sub" => {
                normalization::sum(&view, index).or_else(|| activations::sum(&view, index))
            }
            _ => None,
        };
        if let Some(Recognized { op, inputs, attributes }) = found {
            let node = &mut flow.nodes[index];
            node.op = op.to_owned();
            node.inputs = inputs;
            node.attributes = attributes;
        }
    }
}
