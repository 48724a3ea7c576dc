//! Versions of ONNX's operators.

use litesmith_graph::{DType, Model};

use crate::error::FormatError;

/// The version of ONNX's operators that is written where nothing is asked for and nothing needs more.
pub(super) const DEFAULT: u32 = 13;
/// The newest version that is written.
const NEWEST: u32 = 28;
/// The first version that has 16-bit quantization.
const WITH_INT16: u32 = 21;

/// A version of the operators, and what asked for more than the default one.
pub(super) struct Opset {
    pub version: u32,
    pub reason: Option<&'static str>,
}

/// The version that is asked for, or the lowest that can say what the model has.
pub(super) fn choose(model: &Model, asked: Option<u32>) -> Result<Opset, FormatError> {
    match asked {
        Some(version) if (DEFAULT..=NEWEST).contains(&version) => Ok(Opset { version, reason: None }),
        Some(version) => Err(FormatError::Opset { asked: version, least: DEFAULT, most: NEWEST }),
        None if has_int16(model) => {
            Ok(Opset { version: WITH_INT16, reason: Some("16-bit quantization needs it") })
        }
        None => Ok(Opset { version: DEFAULT, reason: None }),
    }
}

fn has_int16(model: &Model) -> bool {
    let tensors = model.graphs.iter().flat_map(|graph| &graph.tensors);
    tensors.into_iter().any(|tensor| tensor.dtype == DType::I16 && tensor.quantization.is_some())
}

/// The version of the file format that came with a version of the operators.
pub(super) fn ir_version(opset: u32) -> i64 {
    match opset {
        ..=14 => 7,
        15..=18 => 8,
        19..=20 => 9,
        21..=22 => 10,
        23 => 11,
        24 => 12,
        25..=27 => 13,
        _ => 14,
    }
}
