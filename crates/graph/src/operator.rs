//! What every operator says of itself: arity, shapes, cost, and how it is quantized.

use thiserror::Error;

use crate::dtype::DType;
use crate::shape::{Dim, Shape, Symbol};

/// Why a node does not fit its inputs.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{0}")]
pub struct InferError(pub String);

/// Returns an [`InferError`] made by `format!`.
macro_rules! refuse {
    ($($message:tt)*) => {
        return Err($crate::operator::InferError(format!($($message)*)))
    };
}
pub(crate) use refuse;

/// One element of a small integer tensor, as far as it is known before the model runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Number {
    /// Its value.
    Int(i64),
    /// The size of a free dimension.
    Free(Symbol),
    /// Not known.
    Unknown,
}

impl From<&Dim> for Number {
    fn from(dim: &Dim) -> Number {
        match dim {
            Dim::Fixed(size) => i64::try_from(*size).map_or(Number::Unknown, Number::Int),
            Dim::Free(symbol) => Number::Free(symbol.clone()),
            Dim::Unknown => Number::Unknown,
        }
    }
}

/// What is known of a tensor before the model runs.
#[derive(Clone, Debug, PartialEq)]
pub struct Facts {
    /// Type of its elements.
    pub dtype: DType,
    /// Its shape.
    pub shape: Shape,
    /// Its elements in row-major order, if they are few integers: shapes are computed with them.
    pub value: Option<Vec<Number>>,
}

impl Facts {
    /// Facts without a known value.
    #[must_use]
    pub fn new(dtype: DType, shape: Shape) -> Facts {
        Facts { dtype, shape, value: None }
    }

    /// The same facts with this value.
    #[must_use]
    pub fn with_value(mut self, value: Option<Vec<Number>>) -> Facts {
        self.value = value;
        self
    }

    /// All elements as integers, if every one is known.
    #[must_use]
    pub fn integers(&self) -> Option<Vec<i64>> {
        let known = |number: &Number| if let Number::Int(value) = number { Some(*value) } else { None };
        self.value.as_ref()?.iter().map(known).collect()
    }
}

/// The facts of a node's inputs.
#[derive(Clone, Copy, Debug)]
pub struct Inputs<'a>(pub &'a [Option<&'a Facts>]);

impl<'a> Inputs<'a> {
    /// Number of inputs, those left out counted in.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// An input that may be left out.
    #[must_use]
    pub fn optional(&self, index: usize) -> Option<&'a Facts> {
        self.0.get(index).copied().flatten()
    }

    /// An input that must be there.
    ///
    /// # Errors
    /// If it is left out.
    pub fn get(&self, index: usize) -> Result<&'a Facts, InferError> {
        self.optional(index).ok_or_else(|| InferError(format!("input {index} is missing")))
    }

    /// The axes of an input that must have `rank` of them.
    ///
    /// # Errors
    /// If it is left out or has another rank.
    pub fn dims(&self, index: usize, rank: usize) -> Result<&'a [Dim], InferError> {
        let shape = &self.get(index)?.shape;
        if shape.rank() != rank {
            refuse!("input {index} must have {rank} dimensions, its shape is {shape}");
        }
        Ok(shape.dims())
    }

    /// The elements, as far as they are known, of an input that must be a vector (or a matrix in
    /// row-major order) of `count` integers.
    ///
    /// # Errors
    /// If it is left out, is no integers or has another number of elements.
    pub fn numbers(&self, index: usize, count: usize) -> Result<Vec<Number>, InferError> {
        let facts = self.get(index)?;
        let integers = matches!(facts.dtype, DType::I32 | DType::I64);
        let elements = facts.shape.elements();
        if !integers || elements.is_some_and(|elements| elements != count) {
            refuse!("input {index} must be {count} integers, it is {}{}", facts.dtype, facts.shape);
        }
        match &facts.value {
            Some(value) if value.len() == count => Ok(value.clone()),
            _ => Ok(vec![Number::Unknown; count]),
        }
    }

    /// The inputs that are there.
    pub fn present(&self) -> impl Iterator<Item = &'a Facts> + '_ {
        self.0.iter().copied().flatten()
    }
}

/// How many inputs and outputs an operator takes: least and most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arity {
    /// Least and most inputs.
    pub inputs: (usize, usize),
    /// Least and most outputs.
    pub outputs: (usize, usize),
}

impl Arity {
    /// Exactly `inputs` inputs and one output.
    #[must_use]
    pub const fn exactly(inputs: usize) -> Arity {
        Arity { inputs: (inputs, inputs), outputs: (1, 1) }
    }

    /// Between `least` and `most` inputs and one output.
    #[must_use]
    pub const fn between(least: usize, most: usize) -> Arity {
        Arity { inputs: (least, most), outputs: (1, 1) }
    }

    /// At least one input and one output.
    pub const VARIADIC: Arity = Arity::between(1, usize::MAX);
}

/// Where the quantization parameters of an operator's outputs come from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum OutputRule {
    /// From the observed range of each output.
    Observed,
    /// Always the same, because the function's range is.
    Fixed {
        /// Scale for 8 bits.
        scale: f32,
        /// Zero point for int8.
        zero_point: i32,
        /// Scale for 16 bits (zero point 0).
        scale16: f32,
    },
    /// Those of the first input: elements are only moved or selected.
    SameAsInput,
    /// Outputs and all inputs share one set, and the output's range wins.
    Shared,
    /// Outputs are no real numbers (indices, shapes, booleans): they are never quantized.
    Untouched,
}

/// Which input holds the weights that are quantized for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WeightsRule {
    /// Index of the weights among the inputs.
    pub input: usize,
    /// Their axis of output channels: per-channel scales go along it.
    pub axis: usize,
    /// Index of the bias among the inputs.
    pub bias: usize,
}

/// Bits of integer activations; weights have 8 beside both.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Width {
    /// int8, asymmetric.
    Eight,
    /// int16, symmetric.
    Sixteen,
}

impl Width {
    /// Type of the activations.
    #[must_use]
    pub fn dtype(self) -> DType {
        match self {
            Width::Eight => DType::I8,
            Width::Sixteen => DType::I16,
        }
    }
}

/// How an operator is quantized.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct QuantizationRule {
    /// Where the outputs' parameters come from.
    pub output: OutputRule,
    /// The weights, if the operator has some.
    pub weights: Option<WeightsRule>,
    /// Whether an int8 kernel exists in TFLite.
    pub int8: bool,
    /// Whether an int16 (activations) kernel exists in TFLite.
    pub int16: bool,
}

impl QuantizationRule {
    /// 8- and 16-bit kernels, outputs by their own range.
    pub const OBSERVED: QuantizationRule =
        QuantizationRule { output: OutputRule::Observed, weights: None, int8: true, int16: true };
    /// 8- and 16-bit kernels, elements only moved.
    pub const SAME: QuantizationRule =
        QuantizationRule { output: OutputRule::SameAsInput, weights: None, int8: true, int16: true };
    /// 8- and 16-bit kernels, inputs and output alike.
    pub const SHARED: QuantizationRule =
        QuantizationRule { output: OutputRule::Shared, weights: None, int8: true, int16: true };
    /// Outputs are no real numbers.
    pub const UNTOUCHED: QuantizationRule =
        QuantizationRule { output: OutputRule::Untouched, weights: None, int8: true, int16: true };
    /// There is no integer kernel.
    pub const FLOAT_ONLY: QuantizationRule =
        QuantizationRule { output: OutputRule::Observed, weights: None, int8: false, int16: false };

    /// Whether TFLite has a kernel for activations of this width.
    #[must_use]
    pub const fn has_kernel(&self, width: Width) -> bool {
        match width {
            Width::Eight => self.int8,
            Width::Sixteen => self.int16,
        }
    }

    /// The same rule without a 16-bit kernel.
    #[must_use]
    pub const fn without_int16(mut self) -> QuantizationRule {
        self.int16 = false;
        self
    }
}

/// What every operator says of itself.
pub trait Operator {
    /// How many inputs and outputs it takes.
    fn arity(&self) -> Arity;

    /// Types, shapes and small integer values of its outputs.
    ///
    /// # Errors
    /// If the inputs do not fit the operator; the message says which and why.
    fn infer(&self, inputs: Inputs<'_>) -> Result<Vec<Facts>, InferError>;

    /// Multiply-accumulates for one sample (axes of unknown size count once).
    fn macs(&self, _inputs: Inputs<'_>, _outputs: &[Facts]) -> u64 {
        0
    }

    /// How it is quantized.
    fn quantization(&self) -> QuantizationRule;

    /// Whether it must stay although nobody reads its outputs.
    fn has_effect(&self) -> bool {
        false
    }
}
