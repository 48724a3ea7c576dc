//! One call of a signature as a flow of TensorFlow operations: functions inlined, variables apart,
//! control edges gone.

use litesmith_graph::{DType, Data};

use super::attributes::Attributes;

/// What a signature, or a branch of a conditional or loop, computes.
#[derive(Clone, Debug, Default)]
pub(super) struct Flow {
    /// Its name: the signature's key, or the function's name.
    pub name: String,
    /// What it is called with, in order.
    pub inputs: Vec<FlowInput>,
    /// Its operations, each behind those that it reads.
    pub nodes: Vec<FlowNode>,
    /// What it gives back, in order.
    pub outputs: Vec<FlowOutput>,
}

/// One argument.
#[derive(Clone, Debug)]
pub(super) struct FlowInput {
    /// The signature's name of it.
    pub name: String,
    /// Type of its elements.
    pub dtype: DType,
    /// Its axes where their number is known, each with its size where that is known.
    pub shape: Option<Vec<Option<usize>>>,
}

/// One result.
#[derive(Clone, Debug)]
pub(super) struct FlowOutput {
    /// The signature's name of it.
    pub name: String,
    /// What it is.
    pub value: Value,
}

/// One operation.
#[derive(Clone, Debug)]
pub(super) struct FlowNode {
    /// Its name, with the names of the calls around it before it, separated by `/`.
    pub name: String,
    /// The operation's name, such as `Conv2D`.
    pub op: String,
    /// Its attributes.
    pub attributes: Attributes,
    /// What it reads, without control edges.
    pub inputs: Vec<Value>,
    /// The flows that it runs: `If` then and else, `While` condition and body; else none.
    pub branches: Vec<Flow>,
}

/// Where an operation's input comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Value {
    /// The flow's input of this number.
    Input(usize),
    /// An output of a node that stands before.
    Node {
        /// The node's place in the flow.
        node: usize,
        /// Which of its outputs.
        output: usize,
    },
    /// The value of the variable of this number.
    Variable(usize),
}

/// A frozen variable.
#[derive(Clone, Debug)]
pub(super) struct Variable {
    /// Its name.
    pub name: String,
    /// Type of its elements.
    pub dtype: DType,
    /// Its shape.
    pub shape: Vec<usize>,
    /// Its elements in row-major order, little endian.
    pub data: Data,
    /// Whether the source trains it.
    pub trainable: bool,
}
