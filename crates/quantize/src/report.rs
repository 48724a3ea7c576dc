//! What became of each operator.

use std::fmt;

use serde::Serialize;

/// The numbers that an operator works on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// Single precision.
    Float32,
    /// Half-precision weights, single-precision arithmetic.
    Float16,
    /// int8 weights, activations quantized while the model runs.
    Dynamic,
    /// int8 weights and activations.
    Int8,
    /// int8 weights, int16 activations.
    Int16x8,
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Precision::Float32 => "float32",
            Precision::Float16 => "float16",
            Precision::Dynamic => "dynamic",
            Precision::Int8 => "int8",
            Precision::Int16x8 => "int16x8",
        })
    }
}

/// What became of one operator.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Outcome {
    /// Name of its layer.
    pub layer: String,
    /// TFLite name of the operator.
    pub operator: String,
    /// What it works on.
    pub precision: Precision,
    /// Why it stayed float, if it did.
    pub reason: Option<String>,
}

/// What became of all operators.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize)]
pub struct Report {
    /// One entry for each operator of the float model, in order.
    pub outcomes: Vec<Outcome>,
    /// Number of operators whose weights and biases were repaired.
    pub repaired: usize,
    /// Number of operators that were left as they were, as the model came no nearer to the real one by
    /// their repair.
    pub left: usize,
    /// Number of operators whose repair was asked for, but of whose inputs too little is known.
    pub unrepaired: usize,
}

impl Report {
    /// Those that stayed float.
    pub fn float(&self) -> impl Iterator<Item = &Outcome> {
        self.outcomes.iter().filter(|outcome| outcome.precision == Precision::Float32)
    }
}
