//! What training must keep to go on later as if nothing had happened.
//!
//! ```text
//! "LSTRAIN1"  length of the header, u64  header, JSON  numbers, f32, little endian
//! ```
//!
//! The numbers are those of every parameter that a step reads, in the model's order, then the optimizer's
//! slots, then, where they are kept, the parameters as they were behind the best epoch. The bytes behind them
//! are those of the caller.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::error::TrainError;
use crate::fit::Position;
use crate::optimizer::Progress;
use crate::trainer::Trainer;

const MAGIC: &[u8; 8] = b"LSTRAIN1";

/// A moment of training.
pub struct Checkpoint<'a> {
    /// Where it stands.
    pub position: &'a Position,
    /// The weights, and what the optimizer keeps.
    pub trainer: &'a Trainer,
}

/// Why a checkpoint cannot be gone on from.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum CheckpointError {
    /// It is cut off, or no checkpoint.
    #[error("the checkpoint is broken: {0}")]
    Broken(String),
    /// It is of another training.
    #[error("the checkpoint is of another training: {0}")]
    Other(String),
}

#[derive(Serialize, Deserialize)]
struct Header {
    /// What must be the same: the model, the data, the settings.
    training: String,
    position: Position,
    optimizer: Progress,
    /// Number of elements of each parameter.
    parameters: Vec<usize>,
    /// Parameter, name and number of elements of each slot.
    slots: Vec<(String, String, usize)>,
    /// Whether the best weights so far follow.
    best: bool,
    /// Number of the caller's bytes.
    #[serde(default)]
    extra: usize,
}

impl Checkpoint<'_> {
    /// As bytes; `training` names what must be the same for [`restore`] to accept them, `extra` is given back
    /// by it.
    #[must_use]
    pub fn to_bytes(&self, training: &str, extra: &[u8]) -> Vec<u8> {
        let optimizer = self.trainer.optimizer();
        let header = Header {
            training: training.to_owned(),
            position: self.position.clone(),
            optimizer: optimizer.progress(),
            parameters: self.trainer.numbers().map(<[f32]>::len).collect(),
            slots: optimizer
                .slots()
                .map(|slot| (slot.parameter.to_owned(), slot.name.to_owned(), slot.values.len()))
                .collect(),
            best: self.position.best.is_some(),
            extra: extra.len(),
        };
        // Maps with keys that are no text, which JSON lacks, are not among its fields.
        let header = serde_json::to_vec(&header).unwrap_or_default();
        let mut bytes = MAGIC.to_vec();
        bytes.extend((header.len() as u64).to_le_bytes());
        bytes.extend(header);
        let best = self.position.best.iter().flatten().map(Vec::as_slice);
        for numbers in self.trainer.numbers().chain(optimizer.slots().map(|slot| slot.values)).chain(best) {
            numbers.iter().for_each(|number| bytes.extend(number.to_le_bytes()));
        }
        bytes.extend(extra);
        bytes
    }
}

/// Brings a trainer, made anew from the same model and settings, to where a checkpoint stands. Returns with it
/// the bytes that its maker has added.
///
/// # Errors
/// If the bytes are no whole checkpoint, or one of another training.
pub fn restore(
    trainer: &mut Trainer,
    bytes: &[u8],
    training: &str,
) -> Result<(Position, Vec<u8>), TrainError> {
    let broken = |what: &str| CheckpointError::Broken(what.to_owned());
    let rest = bytes.strip_prefix(MAGIC).ok_or_else(|| broken("it does not begin as one"))?;
    let (length, rest) = rest.split_first_chunk::<8>().ok_or_else(|| broken("it is cut off"))?;
    let length = usize::try_from(u64::from_le_bytes(*length)).map_err(|_| broken("it is cut off"))?;
    let (header, numbers) = rest.split_at_checked(length).ok_or_else(|| broken("it is cut off"))?;
    let header: Header =
        serde_json::from_slice(header).map_err(|error| CheckpointError::Broken(error.to_string()))?;
    if header.training != training {
        let reason = format!("it is of {}, this is {training}", header.training);
        return Err(CheckpointError::Other(reason).into());
    }
    let own: Vec<usize> = trainer.numbers().map(<[f32]>::len).collect();
    if own != header.parameters {
        return Err(CheckpointError::Other("its weights have other sizes".to_owned()).into());
    }
    let (numbers, extra) = numbers
        .len()
        .checked_sub(header.extra)
        .and_then(|middle| numbers.split_at_checked(middle))
        .ok_or_else(|| broken("it is cut off"))?;
    let mut numbers = numbers.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes));
    let mut take = |count: usize| -> Result<Vec<f32>, CheckpointError> {
        // What is taken is no more than there is.
        let taken: Vec<f32> = numbers.by_ref().take(count).collect();
        if taken.len() == count { Ok(taken) } else { Err(broken("it is cut off")) }
    };
    let parameters = own.iter().map(|count| take(*count)).collect::<Result<Vec<_>, _>>()?;
    let mut slots = Vec::with_capacity(header.slots.len());
    for (parameter, name, count) in header.slots {
        slots.push((parameter, name, take(count)?));
    }
    let best = header.best.then(|| own.iter().map(|count| take(*count)).collect::<Result<Vec<_>, _>>());
    let best = best.transpose()?;
    trainer.optimizer_mut().restore(&header.optimizer, |parameter, name| {
        let slot = slots.iter().find(|(owner, slot, _)| owner == parameter && slot == name);
        slot.map(|(.., values)| values.as_slice())
    })?;
    trainer.numbers_mut().zip(parameters).for_each(|(own, values)| *own = values);
    Ok((Position { best, ..header.position }, extra.to_vec()))
}
