//! An operator of a file with what is known of its inputs: what decoding works on.

use bytes::Bytes;
use litesmith_graph::operator::Facts;
use litesmith_graph::ops::{Activation, Padding};
use litesmith_graph::{DType, Data, Graph, Tensor, TensorId, TensorKind};

use super::OperatorCode;
use crate::error::FormatError;
use crate::tflite::flatbuffer::Scalar;
use crate::tflite::flatbuffer::reader::Table;
use crate::tflite::schema;

/// Most elements of a constant that stands for attributes.
const MOST_ATTRIBUTES: usize = 4096;

/// Why an operator cannot be read.
pub(super) enum Refusal {
    /// The model has no way to say it.
    Unsupported(String),
    /// The file contradicts itself.
    File(FormatError),
}

impl From<FormatError> for Refusal {
    fn from(error: FormatError) -> Refusal {
        Refusal::File(error)
    }
}

/// A refusal because the model has no way to say it.
pub(super) fn unsupported<T>(reason: impl Into<String>) -> Result<T, Refusal> {
    Err(Refusal::Unsupported(reason.into()))
}

/// An operator of a file.
pub(super) struct Call<'a> {
    /// The name of its first output.
    pub name: &'a str,
    pub code: &'a OperatorCode,
    pub table: Table<'a>,
    pub inputs: &'a [Option<TensorId>],
    pub outputs: &'a [TensorId],
    pub graph: &'a Graph,
    /// What is known of every tensor that stands before this operator.
    pub facts: &'a [Facts],
}

/// The options of an operator. All are at the schema's defaults where the table is missing.
pub(super) struct Options<'a>(Option<Table<'a>>);

impl Options<'_> {
    pub fn get<T: Scalar>(&self, slot: usize, default: T) -> Result<T, Refusal> {
        Ok(self.0.as_ref().map_or(Ok(default), |table| table.scalar(slot, default))?)
    }

    /// A 32-bit number; 0 by default.
    pub fn int(&self, slot: usize) -> Result<i32, Refusal> {
        self.get(slot, 0)
    }

    /// A truth value; false by default.
    pub fn flag(&self, slot: usize) -> Result<bool, Refusal> {
        self.get(slot, false)
    }

    pub fn numbers(&self, slot: usize) -> Result<Option<Vec<i32>>, Refusal> {
        Ok(self.0.as_ref().map_or(Ok(None), |table| table.numbers(slot))?)
    }

    pub fn has(&self, slot: usize) -> Result<bool, Refusal> {
        Ok(self.0.as_ref().map_or(Ok(false), |table| table.has(slot))?)
    }

    /// A bit mask.
    pub fn mask(&self, slot: usize) -> Result<u32, Refusal> {
        Ok(self.int(slot)?.cast_unsigned())
    }

    pub fn activation(&self, slot: usize) -> Result<Activation, Refusal> {
        let code: i8 = self.get(slot, 0)?;
        match schema::activation(code) {
            Some(activation) => Ok(activation),
            None => unsupported(format!("its fused activation {code} is not supported")),
        }
    }
}

impl<'a> Call<'a> {
    /// Says that the file is broken at this operator.
    pub fn broken(&self, reason: impl Into<String>) -> Refusal {
        Refusal::File(FormatError::broken(format!("operator '{}'", self.name), reason))
    }

    /// The options, if they are of this kind.
    pub fn options(&self, kind: schema::UnionType) -> Result<Options<'a>, Refusal> {
        let found: u8 = self.table.scalar(schema::operator::BUILTIN_OPTIONS_TYPE, 0)?;
        if found != kind {
            return Ok(Options(None));
        }
        Ok(Options(self.table.table(schema::operator::BUILTIN_OPTIONS)?))
    }

    /// Checks the number of inputs.
    pub fn takes(&self, count: usize) -> Result<(), Refusal> {
        if self.inputs.len() == count {
            return Ok(());
        }
        Err(self.broken(format!("it has {} inputs, not {count}", self.inputs.len())))
    }

    /// An input that must be there.
    pub fn input(&self, index: usize) -> Result<TensorId, Refusal> {
        let input = self.inputs.get(index).copied().flatten();
        input.ok_or_else(|| self.broken(format!("input {index} is missing")))
    }

    pub fn tensor(&self, index: usize) -> Result<&'a Tensor, Refusal> {
        Ok(&self.graph[self.input(index)?])
    }

    pub fn facts(&self, index: usize) -> Result<&'a Facts, Refusal> {
        Ok(&self.facts[self.input(index)?.index()])
    }

    /// The first output.
    pub fn output(&self) -> Result<&'a Tensor, Refusal> {
        match self.outputs.first() {
            Some(output) => Ok(&self.graph[*output]),
            None => Err(self.broken("it has no output")),
        }
    }

    /// The elements of an input that is constant.
    pub fn constant(&self, index: usize) -> Result<Option<&'a Data>, Refusal> {
        Ok(match &self.tensor(index)?.kind {
            TensorKind::Constant(data) => Some(data),
            _ => None,
        })
    }

    /// The bytes that a custom operator takes for its options.
    pub fn custom_options(&self) -> Result<Bytes, Refusal> {
        use schema::operator as slot;
        let small = self.table.bytes(slot::CUSTOM_OPTIONS)?.unwrap_or_default();
        let offset: u64 = self.table.scalar(slot::LARGE_CUSTOM_OPTIONS_OFFSET, 0)?;
        match offset {
            0 | 1 => Ok(small),
            offset => {
                let size = self.table.scalar(slot::LARGE_CUSTOM_OPTIONS_SIZE, 0)?;
                Ok(self.table.file().slice(offset, size)?)
            }
        }
    }

    /// Whether the integers of an input are known: it is a constant, or follows from fixed shapes.
    pub fn knows(&self, index: usize) -> Result<bool, Refusal> {
        Ok(self.constant(index)?.is_some() || self.facts(index)?.integers().is_some())
    }

    /// The integers of an input that stands for attributes: a constant, or one that follows from
    /// fixed shapes. `what` names them in errors.
    pub fn integers(&self, index: usize, what: &str) -> Result<Vec<i64>, Refusal> {
        let tensor = self.tensor(index)?;
        let integers = matches!(tensor.dtype, DType::I16 | DType::I32 | DType::I64);
        if !integers || tensor.quantization.is_some() || tensor.sparsity.is_some() {
            return unsupported(format!("its {what} is {}", tensor.dtype));
        }
        let found = match self.constant(index)? {
            Some(data) if data.len() > MOST_ATTRIBUTES * 8 => {
                return unsupported(format!("its {what} has {} bytes", data.len()));
            }
            Some(data) => data.integers(tensor.dtype),
            None => self.facts(index)?.integers(),
        };
        match found {
            Some(integers) => Ok(integers),
            None => unsupported(format!(
                "its {what} (input {index}) is computed while the model runs, only a constant is supported"
            )),
        }
    }

    /// The one integer of an input.
    pub fn integer(&self, index: usize, what: &str) -> Result<i32, Refusal> {
        match self.integers(index, what)?.as_slice() {
            [integer] => self.narrow(*integer, what),
            integers => Err(self.broken(format!("its {what} has {} elements", integers.len()))),
        }
    }

    /// The integers of an input as sizes, none negative.
    pub fn sizes(&self, index: usize, what: &str) -> Result<Vec<usize>, Refusal> {
        self.integers(index, what)?.into_iter().map(|size| self.size(size, what)).collect()
    }

    /// An integer as a size.
    pub fn size(&self, size: impl Into<i64>, what: &str) -> Result<usize, Refusal> {
        let size = size.into();
        usize::try_from(size).map_err(|_| self.broken(format!("its {what} is {size}")))
    }

    /// The integers of an input as 32-bit ones.
    pub fn narrow_integers(&self, index: usize, what: &str) -> Result<Vec<i32>, Refusal> {
        self.integers(index, what)?.into_iter().map(|integer| self.narrow(integer, what)).collect()
    }

    fn narrow(&self, integer: i64, what: &str) -> Result<i32, Refusal> {
        i32::try_from(integer).map_err(|_| self.broken(format!("its {what} is {integer}")))
    }

    /// Height and width from two options.
    pub fn pair(
        &self,
        options: &Options<'_>,
        height: usize,
        width: usize,
        default: i32,
        what: &str,
    ) -> Result<[usize; 2], Refusal> {
        let height = self.size(options.get(height, default)?, what)?;
        Ok([height, self.size(options.get(width, default)?, what)?])
    }

    /// Depth, height and width from three options.
    pub fn triple(
        &self,
        options: &Options<'_>,
        slots: [usize; 3],
        default: i32,
        what: &str,
    ) -> Result<[usize; 3], Refusal> {
        let [depth, height, width] = slots;
        let depth = self.size(options.get(depth, default)?, what)?;
        let [height, width] = self.pair(options, height, width, default, what)?;
        Ok([depth, height, width])
    }

    pub fn padding(&self, options: &Options<'_>, slot: usize) -> Result<Padding, Refusal> {
        match options.get(slot, schema::PADDING_SAME)? {
            schema::PADDING_SAME => Ok(Padding::Same),
            schema::PADDING_VALID => Ok(Padding::Valid),
            code => Err(self.broken(format!("its padding is {code}"))),
        }
    }
}
