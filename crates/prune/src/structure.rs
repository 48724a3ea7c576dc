//! What of a layer's weights is pruned together.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::PruneError;

/// What of a layer's weights is pruned together. Weights are seen as `[out, taps, in]`: output channels, places
/// in the kernel, input channels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Structure {
    /// Each weight by itself.
    #[default]
    Unstructured,
    /// Blocks of `rows` output channels and `columns` input channels at one place in the kernel; smaller ones at
    /// the border. TensorFlow's `block_size` of a Dense layer names them the other way round, `[in, out]`.
    Blocks {
        /// Output channels.
        rows: usize,
        /// Input channels.
        columns: usize,
        /// How large a block is.
        pooling: Pooling,
    },
    /// Of each `of` consecutive input channels `keep` stay.
    NOfM {
        /// How many stay.
        keep: usize,
        /// Of how many.
        of: usize,
    },
}

/// How large a block is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Pooling {
    /// The mean of its magnitudes.
    #[default]
    Average,
    /// The largest of its magnitudes.
    Max,
}

impl Structure {
    /// The share that is pruned whatever else is asked for.
    #[must_use]
    pub fn fixed_sparsity(self) -> Option<f32> {
        match self {
            Structure::NOfM { keep, of } => Some(1.0 - keep as f32 / of as f32),
            Structure::Unstructured | Structure::Blocks { .. } => None,
        }
    }
}

impl FromStr for Structure {
    type Err = PruneError;

    fn from_str(text: &str) -> Result<Structure, PruneError> {
        parse(text).ok_or_else(|| {
            let forms = "unstructured, block:16x4 (output x input channels), block:16x4:max or 2:4";
            PruneError::Setting(format!("'{text}' is no structure; there are {forms}"))
        })
    }
}

fn parse(text: &str) -> Option<Structure> {
    let number = |text: &str| text.parse::<usize>().ok().filter(|number| (1..=1 << 16).contains(number));
    if text == "unstructured" {
        return Some(Structure::Unstructured);
    }
    if let Some(block) = text.strip_prefix("block:") {
        let (size, pooling) = match block.split_once(':') {
            None | Some((_, "average")) => (block.split(':').next()?, Pooling::Average),
            Some((size, "max")) => (size, Pooling::Max),
            Some(_) => return None,
        };
        let (rows, columns) = size.split_once('x')?;
        return Some(Structure::Blocks { rows: number(rows)?, columns: number(columns)?, pooling });
    }
    let (keep, of) = text.split_once(':')?;
    let (keep, of) = (number(keep)?, number(of)?);
    (keep < of).then_some(Structure::NOfM { keep, of })
}

impl fmt::Display for Structure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Structure::Unstructured => f.write_str("unstructured"),
            Structure::Blocks { rows, columns, pooling } => {
                let pooling = if *pooling == Pooling::Max { ":max" } else { "" };
                write!(f, "block:{rows}x{columns}{pooling}")
            }
            Structure::NOfM { keep, of } => write!(f, "{keep}:{of}"),
        }
    }
}

impl TryFrom<String> for Structure {
    type Error = PruneError;

    fn try_from(text: String) -> Result<Structure, PruneError> {
        text.parse()
    }
}

impl From<Structure> for String {
    fn from(structure: Structure) -> String {
        structure.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_printed_is_read() {
        for text in ["unstructured", "block:16x4", "block:1x8:max", "2:4", "1:8"] {
            assert_eq!(text.parse::<Structure>().unwrap().to_string(), text);
        }
        let average = "block:16x4:average".parse::<Structure>().unwrap();
        assert_eq!(average, Structure::Blocks { rows: 16, columns: 4, pooling: Pooling::Average });
        for text in ["", "block", "block:4", "block:0x4", "block:4x4:median", "4:2", "4:4", "0:4", "channels"]
        {
            assert!(text.parse::<Structure>().is_err(), "{text}");
        }
        assert_eq!("1:4".parse::<Structure>().unwrap().fixed_sparsity(), Some(0.75));
    }
}
