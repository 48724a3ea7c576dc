//! Writing of operators: the options and operands of each.

mod arithmetic;
mod constants;
mod layers;
mod movement;
mod operands;
mod options;

use litesmith_graph::operator::Facts;
use litesmith_graph::{DType, Graph, Node, Op, Tensor, TensorId};

use crate::tflite::names::builtin;
use crate::tflite::schema::Builtin;
use options::Options;

/// A node with what is known of its tensors.
pub(super) struct Site<'a> {
    pub graph: &'a Graph,
    pub node: &'a Node,
    pub facts: &'a [Facts],
}

/// An operator as the file will have it.
pub(super) struct Encoded {
    pub builtin: Builtin,
    pub options: Option<Options>,
    pub operands: Vec<Operand>,
}

/// An input of an operator.
pub(super) enum Operand {
    Tensor(TensorId),
    Absent,
    /// A constant that stands for attributes.
    Constant(Constant),
}

/// A constant that stands for attributes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Constant {
    pub name: &'static str,
    pub dtype: DType,
    pub shape: Vec<usize>,
    pub bytes: Vec<u8>,
    /// Bits of the scales, and the zero point of all of them. Several go along the first axis.
    pub quantization: Option<(Vec<u32>, i32)>,
}

impl Site<'_> {
    pub fn tensor(&self, input: usize) -> Option<&Tensor> {
        self.node.inputs.get(input).copied().flatten().map(|id| &self.graph[id])
    }

    pub fn facts(&self, input: usize) -> Option<&Facts> {
        self.node.inputs.get(input).copied().flatten().map(|id| &self.facts[id.index()])
    }

    /// The element type of an input.
    pub fn input_type(&self, input: usize) -> Option<DType> {
        self.facts(input).map(|facts| facts.dtype)
    }

    /// The first output.
    pub fn output(&self) -> Option<&Tensor> {
        self.node.outputs.first().map(|id| &self.graph[*id])
    }

    /// The inputs as they are, with those behind the last one that is there left out.
    fn operands(&self) -> Vec<Operand> {
        let mut operands: Vec<Operand> =
            self.node.inputs.iter().map(|input| input.map_or(Operand::Absent, Operand::Tensor)).collect();
        while let Some(Operand::Absent) = operands.last() {
            operands.pop();
        }
        operands
    }

    /// All inputs, and constants behind them.
    fn operands_and<const N: usize>(&self, constants: [Constant; N]) -> Vec<Operand> {
        let mut operands = self.operands();
        operands.extend(constants.map(Operand::Constant));
        operands
    }
}

/// What a node is in a file.
///
/// # Errors
/// The reason why TFLite has no such operator.
pub(super) fn encode(site: &Site<'_>) -> Result<Encoded, String> {
    if let (Op::Identity(_), Some(true)) = (&site.node.op, site.tensor(0).map(|own| own.sparsity.is_some())) {
        // A sparse constant as it was before its zeros were left out.
        return Ok(Encoded { builtin: Builtin::DENSIFY, options: None, operands: site.operands() });
    }
    let Some(builtin) = builtin(&site.node.op) else {
        return Err("TFLite has no such operator: legalize the model first".into());
    };
    // Truth values have reductions of their own.
    let builtin = match builtin {
        Builtin::REDUCE_MAX if site.input_type(0) == Some(DType::Bool) => Builtin::REDUCE_ANY,
        Builtin::REDUCE_MIN if site.input_type(0) == Some(DType::Bool) => Builtin::REDUCE_ALL,
        other => other,
    };
    let options = options::of(site)?;
    let operands = operands::of(site)?;
    Ok(Encoded { builtin, options, operands })
}
