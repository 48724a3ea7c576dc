//! Masks, as Keras hands them on beside the tensors: which steps of a sequence count, one truth value
//! for each.
//!
//! A layer is called with the masks that the layers before it left, or with one that the call names.
//! Keras' layers without `supports_masking` drop masks without a word, and so do operator nodes.

use litesmith_graph::TensorId;
use litesmith_graph::ops::{Logical, LogicalKind};
use serde_json::Value;

use crate::emit::Emit;
use crate::keras::config::{Built, Version, unsupported};
use crate::keras::scope::{Operand, Scope};

/// Which mask the output of a layer carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Masks {
    /// None.
    Stop,
    /// That of its input.
    Pass,
    /// What the masks of its inputs make together.
    Merge,
    /// What the builder says.
    Own,
}

impl Scope<'_> {
    /// The mask of an input: the one that the call names, or what the layers before it left.
    pub fn mask(&self, input: TensorId) -> Built<Option<TensorId>> {
        match &self.mask {
            Some(Operand::Tensor(mask)) => Ok(Some(*mask)),
            Some(_) => unsupported!("a mask that is not one tensor is not supported"),
            None => Ok(self.target.masks.get(&input).copied()),
        }
    }

    /// The masks of several inputs that the layer takes as a list.
    pub fn masks(&self, inputs: &[TensorId]) -> Built<Vec<Option<TensorId>>> {
        let Some(mask) = &self.mask else {
            return Ok(inputs.iter().map(|input| self.target.masks.get(input).copied()).collect());
        };
        let Operand::List(masks) = mask else {
            unsupported!("a mask that is no list is not supported for several inputs");
        };
        let one = |mask: &Operand| match mask {
            Operand::Tensor(mask) => Ok(Some(*mask)),
            Operand::Value(Value::Null) => Ok(None),
            _ => unsupported!("a mask that is no tensor is not supported"),
        };
        masks.iter().map(one).collect()
    }

    /// Says which mask a tensor carries.
    pub fn set_mask(&mut self, tensor: TensorId, mask: Option<TensorId>) {
        match mask {
            Some(mask) => self.target.masks.insert(tensor, mask),
            None => self.target.masks.remove(&tensor),
        };
    }

    /// The mask that a tensor carries, whatever the call says.
    pub fn carried_mask(&self, tensor: TensorId) -> Option<TensorId> {
        self.target.masks.get(&tensor).copied()
    }

    /// Gives the outputs of a layer their masks; `built` are those that its builder gave.
    pub fn hand_on(&mut self, masks: Masks, built: &[TensorId], outputs: &[TensorId]) -> Built<()> {
        let inputs = self.tensors();
        let mask = match masks {
            Masks::Stop => return Ok(()),
            Masks::Own => {
                for (output, built) in outputs.iter().zip(built) {
                    let mask = self.carried_mask(*built);
                    self.set_mask(*output, mask);
                }
                return Ok(());
            }
            Masks::Pass => match inputs.first() {
                Some(input) => self.mask(*input)?,
                None => None,
            },
            Masks::Merge => self.merged_mask(&inputs)?,
        };
        outputs.iter().for_each(|output| self.set_mask(*output, mask));
        Ok(())
    }

    /// Keras 3 keeps a step that counts in one of the inputs, if all of them have masks; Keras 2 one
    /// that counts in each input that has a mask.
    fn merged_mask(&mut self, inputs: &[TensorId]) -> Built<Option<TensorId>> {
        let masks = self.masks(inputs)?;
        let known: Vec<TensorId> = masks.iter().flatten().copied().collect();
        let kind = match self.version {
            Version::Keras3 if known.len() < masks.len() => return Ok(None),
            Version::Keras3 => LogicalKind::Or,
            Version::Keras2 => LogicalKind::And,
        };
        let Some((first, others)) = known.split_first() else { return Ok(None) };
        let mut merged = *first;
        for other in others.iter().filter(|other| *other != first) {
            merged = self.emit(Logical { kind }, &[merged, *other])?;
        }
        Ok(Some(merged))
    }
}
