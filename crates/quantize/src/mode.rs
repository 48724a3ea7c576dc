//! What a model is quantized to.

use std::fmt;

use litesmith_graph::Width;

use crate::observer::Observer;
use crate::repair::Repair;

/// Which numbers become integers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mode {
    /// Weights become int8; activations are quantized while the model runs.
    Dynamic,
    /// Weights become half precision.
    Float16,
    /// Weights and activations become int8 wherever there is an integer kernel.
    Int8,
    /// As `Int8`, and everything must become integer.
    Int8Only,
    /// Activations become int16 and weights int8 wherever there is such a kernel.
    Int16x8,
}

impl Mode {
    /// The bits that activations get, in modes where they become integers for good.
    #[must_use]
    pub fn width(self) -> Option<Width> {
        match self {
            Mode::Dynamic | Mode::Float16 => None,
            Mode::Int8 | Mode::Int8Only => Some(Width::Eight),
            Mode::Int16x8 => Some(Width::Sixteen),
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Mode::Dynamic => "dynamic",
            Mode::Float16 => "float16",
            Mode::Int8 => "int8",
            Mode::Int8Only => "int8-only",
            Mode::Int16x8 => "int16x8",
        })
    }
}

/// Type of the model's real-valued inputs or outputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum InterfaceType {
    /// Real numbers; the model quantizes and dequantizes by itself.
    Float32,
    /// Signed integers, quantized by the caller.
    Int8,
    /// Unsigned integers, quantized by the caller.
    Uint8,
    /// 16-bit integers, quantized by the caller.
    Int16,
}

/// Which range of an activation counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum Ranges {
    /// The one it really has.
    #[default]
    Exact,
    /// The one that TensorFlow's calibrator sees, which reads some tensors after an operator has
    /// overwritten them in place.
    Tensorflow,
}

/// How to quantize.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Options {
    /// Which numbers become integers.
    pub mode: Mode,
    /// How the range of an activation is found where the recipe says nothing else.
    pub observer: Observer,
    /// Which range of an activation counts.
    pub ranges: Ranges,
    /// What is done against the error of quantization, where the recipe says nothing else.
    pub repair: Repair,
    /// Type of real-valued inputs (integer modes only).
    pub inputs: InterfaceType,
    /// Type of real-valued outputs (integer modes only).
    pub outputs: InterfaceType,
}

impl Options {
    /// The mode with exact ranges and the interface that it usually has: integers for
    /// [`Mode::Int8Only`], real numbers otherwise.
    #[must_use]
    pub fn new(mode: Mode) -> Options {
        let interface = if mode == Mode::Int8Only { InterfaceType::Int8 } else { InterfaceType::Float32 };
        Options {
            mode,
            observer: Observer::MinMax,
            ranges: Ranges::Exact,
            repair: Repair::Default,
            inputs: interface,
            outputs: interface,
        }
    }
}
