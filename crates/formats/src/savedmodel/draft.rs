//! Flows while they are made: nodes as the file has them, variables as handles, and what turns out to
//! be needless still among them.

use std::collections::{BTreeMap, BTreeSet};

use super::decode;
use super::flow::{Flow, FlowInput, FlowNode, FlowOutput, Value};
use super::proto::{AttrValue, Attribute, NodeDef};
use super::resources::Resources;
use super::tensor;
use crate::error::{FormatError, Unsupported};

/// A flow that is being made.
#[derive(Default)]
pub(super) struct DraftFlow<'a> {
    pub name: String,
    pub inputs: Vec<FlowInput>,
    pub nodes: Vec<Draft<'a>>,
    pub outputs: Vec<(String, Slot)>,
}

/// A node of one.
pub(super) struct Draft<'a> {
    pub name: String,
    pub source: Source<'a>,
    pub inputs: Vec<Slot>,
    pub branches: Vec<DraftFlow<'a>>,
}

/// What a node is in the file.
#[derive(Clone, Copy)]
pub(super) struct Source<'a> {
    pub node: &'a NodeDef,
    /// Attributes of the call that it runs in.
    pub parameters: &'a BTreeMap<String, AttrValue>,
}

/// What stands for a tensor or a handle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Slot {
    /// The flow's input of this number.
    Input(usize),
    /// An output of a node that stands before.
    Node { node: usize, output: usize },
    /// The handle of a variable.
    Handle(usize),
    /// The value of a variable.
    Variable(usize),
    /// Nothing: a `Switch` sent its input the other way.
    Dead,
    /// What a `Switch` gives whose way depends on the inputs.
    Conditional,
}

impl<'a> DraftFlow<'a> {
    /// Whole numbers that are known of a tensor without running anything; `depth` bounds how far is
    /// looked.
    pub fn constant(nodes: &[Draft<'a>], slot: Slot, depth: usize) -> Option<i64> {
        let Slot::Node { node, output: 0 } = slot else { return None };
        let draft = &nodes[node];
        if draft.source.node.op == "Const" {
            return scalar(draft.source.node);
        }
        let depth = depth.checked_sub(1)?;
        let operand = |index: usize| Self::constant(nodes, *draft.inputs.get(index)?, depth);
        let holds = match draft.source.node.op.as_str() {
            "LogicalNot" => operand(0)? == 0,
            "LogicalAnd" => match (operand(0), operand(1)) {
                (Some(0), _) | (_, Some(0)) => false,
                (left, right) => left.zip(right).map(|_| true)?,
            },
            "LogicalOr" => match (operand(0), operand(1)) {
                (Some(left), _) if left != 0 => true,
                (_, Some(right)) if right != 0 => true,
                (left, right) => left.zip(right).map(|_| false)?,
            },
            "Equal" => operand(0)? == operand(1)?,
            "NotEqual" => operand(0)? != operand(1)?,
            "Less" => operand(0)? < operand(1)?,
            "LessEqual" => operand(0)? <= operand(1)?,
            "Greater" => operand(0)? > operand(1)?,
            "GreaterEqual" => operand(0)? >= operand(1)?,
            _ => return None,
        };
        Some(i64::from(holds))
    }

    /// The flow without what its outputs do not need, its attributes decoded and its variables read.
    /// `bytes_left` is how many bytes constants may still take that the file does not have.
    ///
    /// # Errors
    /// If an attribute or variable is damaged or not supported, or the program changes a variable that
    /// the flow needs.
    pub fn finish(
        self,
        resources: &mut Resources<'a>,
        changed: &BTreeSet<usize>,
        bytes_left: &mut usize,
    ) -> Result<Flow, FormatError> {
        let mut needed = vec![false; self.nodes.len()];
        let ask = |needed: &mut Vec<bool>, slot: &Slot| {
            if let Slot::Node { node, .. } = slot {
                needed[*node] = true;
            }
        };
        self.outputs.iter().for_each(|(_, slot)| ask(&mut needed, slot));
        for (place, draft) in self.nodes.iter().enumerate().rev() {
            if needed[place] {
                draft.inputs.iter().for_each(|slot| ask(&mut needed, slot));
            }
        }
        let mut places = vec![0; self.nodes.len()];
        let value = |places: &[usize], resources: &mut Resources<'a>, slot: Slot, reader: &str, op: &str| {
            match slot {
                Slot::Input(number) => Ok(Value::Input(number)),
                Slot::Node { node, output } => Ok(Value::Node { node: places[node], output }),
                Slot::Handle(handle) | Slot::Variable(handle) => {
                    if changed.contains(&handle) {
                        return Err(resources.changed(handle));
                    }
                    resources.variable(handle).map(Value::Variable)
                }
                Slot::Dead => Err(FormatError::broken(format!("node '{reader}'"), "nothing ever reaches it")),
                Slot::Conditional => Err(refuse(
                    reader,
                    op,
                    "a Switch sends data to it one way or the other, depending on the inputs; save the model with \
                 TensorFlow 2, or with the switch fixed",
                )),
            }
        };
        let mut nodes = Vec::new();
        for (place, draft) in self.nodes.into_iter().enumerate() {
            if !needed[place] {
                continue;
            }
            let node = draft.source.node;
            let inputs = draft.inputs.iter();
            let inputs = inputs.map(|slot| value(&places, resources, *slot, &draft.name, &node.op));
            let inputs = inputs.collect::<Result<_, _>>()?;
            for attribute in node.attributes.values() {
                if let Some(Attribute::Tensor(constant)) = &attribute.value {
                    let left = bytes_left.checked_sub(tensor::unpacked(constant));
                    let reason = "constants of one value take more memory than is sane";
                    *bytes_left =
                        left.ok_or_else(|| FormatError::broken(format!("node '{}'", draft.name), reason))?;
                }
            }
            let attributes = decode::attributes(node, &draft.name, draft.source.parameters)?;
            let branches =
                draft.branches.into_iter().map(|branch| branch.finish(resources, changed, bytes_left));
            let branches = branches.collect::<Result<_, _>>()?;
            places[place] = nodes.len();
            nodes.push(FlowNode { name: draft.name, op: node.op.clone(), attributes, inputs, branches });
        }
        let mut outputs = Vec::with_capacity(self.outputs.len());
        for (name, slot) in self.outputs {
            let value = value(&places, resources, slot, &name, "output")?;
            outputs.push(FlowOutput { name, value });
        }
        Ok(Flow { name: self.name, inputs: self.inputs, nodes, outputs })
    }
}

/// The one whole number that a constant is.
fn scalar(node: &NodeDef) -> Option<i64> {
    let Some(Attribute::Tensor(proto)) = node.attributes.get("value").and_then(|value| value.value.as_ref())
    else {
        return None;
    };
    let is_scalar = proto.shape.as_ref().is_none_or(|shape| shape.axes.is_empty() && !shape.unknown_rank);
    let constant = tensor::decode(proto, "").ok().filter(|_| is_scalar)?;
    constant.data.integers(constant.dtype)?.first().copied()
}

/// That an operation is not supported.
pub(super) fn refuse(layer: &str, operator: &str, reason: &str) -> FormatError {
    FormatError::Unsupported(vec![Unsupported {
        layer: layer.to_owned(),
        operator: operator.to_owned(),
        reason: reason.to_owned(),
    }])
}
