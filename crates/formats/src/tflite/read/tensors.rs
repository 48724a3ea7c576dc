//! Reading of tensors: type, shape, elements, quantization.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use litesmith_graph::{DType, Data, Dim, Quantization, Scales, Shape, Tensor, TensorKind};
use smallvec::SmallVec;

use super::graph::Context;
use super::sparsity::read_sparsity;
use super::{display_name, unsupported};
use crate::error::FormatError;
use crate::tflite::flatbuffer::Scalar;
use crate::tflite::flatbuffer::reader::Table;
use crate::tflite::schema;

/// Most axes of a tensor. Operators of TFLite take eight at most.
pub(super) const MOST_AXES: usize = 32;

/// What a subgraph does with a tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// It is given by whoever runs the model.
    Input,
    /// It is given by the operator that runs the subgraph, with type and shape.
    Argument,
    /// An operator computes it.
    Produced,
    /// Neither.
    Other,
}

/// Reads a tensor. What cannot be represented is added to the context's list.
pub(super) fn read_tensor(
    context: &mut Context<'_>,
    table: &Table<'_>,
    role: Role,
) -> Result<Tensor, FormatError> {
    let name = table.text(schema::tensor::NAME)?;
    let broken = |reason: String| FormatError::broken(format!("tensor '{}'", display_name(&name)), reason);
    let mut refuse = |reason: String| {
        context.refused.push(unsupported(&display_name(&name), "tensor", reason));
    };
    let code: i8 = table.scalar(schema::tensor::TYPE, 0)?;
    let dtype = schema::dtype(code).unwrap_or_else(|| {
        refuse(format!("element type {} is not supported", schema::type_name(code)));
        DType::Resource
    });
    if table.scalar(schema::tensor::EXTERNAL_BUFFER, 0u32)? != 0 {
        refuse("its elements are in another file".into());
    }
    let shape = read_shape(table).map_err(|error| error.or_broken(broken))?;
    let has_rank = table.scalar(schema::tensor::HAS_RANK, false)?;
    if role == Role::Input && !has_rank && !table.has(schema::tensor::SHAPE)? {
        refuse("the number of its axes is not known".into());
    }
    let quantization = match read_quantization(table, dtype, &shape, &mut context.zeros)? {
        Ok(quantization) => quantization,
        Err(Problem::Unsupported(reason)) => {
            refuse(reason);
            None
        }
        Err(Problem::Broken(reason)) => return Err(broken(reason)),
    };
    let buffer: u32 = table.scalar(schema::tensor::BUFFER, 0)?;
    let Some(bytes) = context.buffers.get(buffer as usize).cloned() else {
        return Err(broken(format!("buffer {buffer} does not exist")));
    };
    let sparsity = match table.table(schema::tensor::SPARSITY)? {
        Some(sparsity) if !bytes.is_empty() => {
            Some(Box::new(read_sparsity(&sparsity, &shape, dtype, bytes.len())?.map_err(broken)?))
        }
        _ => None,
    };
    let kind = kind_of(bytes, role, &shape);
    let variable = table.scalar(schema::tensor::IS_VARIABLE, false)?;
    if variable && kind == TensorKind::Activation && role == Role::Other {
        context.refused.push(unsupported(
            &display_name(&name),
            "tensor",
            "variables that survive from run to run are not supported yet",
        ));
    }
    if matches!(role, Role::Input | Role::Argument) && kind != TensorKind::Input {
        return Err(broken("it is an input, but has elements".into()));
    }
    Ok(Tensor { name, dtype, shape, kind, quantization, sparsity })
}

/// Where a tensor's elements come from. One without any element needs no origin.
fn kind_of(bytes: Bytes, role: Role, shape: &Shape) -> TensorKind {
    match role {
        _ if !bytes.is_empty() => TensorKind::Constant(Data::new(bytes)),
        Role::Input | Role::Argument => TensorKind::Input,
        Role::Other if shape.elements() == Some(0) => TensorKind::Constant(Data::default()),
        _ => TensorKind::Activation,
    }
}

/// Why a part of a tensor cannot be read.
pub(super) enum Problem {
    Unsupported(String),
    Broken(String),
}

enum ShapeError {
    File(FormatError),
    Broken(String),
}

impl From<FormatError> for ShapeError {
    fn from(error: FormatError) -> ShapeError {
        ShapeError::File(error)
    }
}

impl ShapeError {
    fn or_broken(self, broken: impl Fn(String) -> FormatError) -> FormatError {
        match self {
            ShapeError::File(error) => error,
            ShapeError::Broken(reason) => broken(reason),
        }
    }
}

/// The stated shape; axes of unknown size are unknown here and named later where they are inputs'.
fn read_shape(table: &Table<'_>) -> Result<Shape, ShapeError> {
    let sizes: SmallVec<[i32; 4]> = table.numbers(schema::tensor::SHAPE)?.unwrap_or_default();
    if sizes.len() > MOST_AXES {
        return Err(ShapeError::Broken(format!("it has {} axes", sizes.len())));
    }
    let signature: SmallVec<[i32; 4]> = table.numbers(schema::tensor::SHAPE_SIGNATURE)?.unwrap_or_default();
    // Runtimes use the signature only to tell which axes are free, and ignore one that does not fit.
    let free = |axis: usize| signature.len() == sizes.len() && signature[axis] == -1;
    let dim = |(axis, size): (usize, &i32)| match usize::try_from(*size) {
        _ if *size == -1 || free(axis) => Ok(Dim::Unknown),
        Ok(size) => Ok(Dim::Fixed(size)),
        Err(_) => Err(ShapeError::Broken(format!("an axis has size {size}"))),
    };
    sizes.iter().enumerate().map(dim).collect()
}

/// The quantization of a tensor, held to the rules by which TFLite loads files.
fn read_quantization(
    table: &Table<'_>,
    dtype: DType,
    shape: &Shape,
    zeros: &mut Zeros,
) -> Result<Result<Option<Quantization>, Problem>, FormatError> {
    let Some(table) = table.table(schema::tensor::QUANTIZATION)? else { return Ok(Ok(None)) };
    let details: u8 = table.scalar(schema::quantization::DETAILS_TYPE, 0)?;
    if details != 0 {
        let reason = "blockwise, multi-axis and custom quantization are not supported";
        return Ok(Err(Problem::Unsupported(reason.into())));
    }
    let scales = Scales::of_bytes(table.bytes_of_numbers::<f32>(schema::quantization::SCALE)?);
    // Scales of other types are left over from before a conversion and mean nothing.
    if scales.is_empty() || !dtype.is_integer() {
        return Ok(Ok(None));
    }
    let zero_points = ZeroPoints::of_bytes(&table.bytes_of_numbers::<i64>(schema::quantization::ZERO_POINT)?);
    let axis: i32 = table.scalar(schema::quantization::QUANTIZED_DIMENSION, 0)?;
    Ok(quantization(scales, &zero_points, axis, dtype, shape, zeros).map_err(Problem::Broken))
}

/// The zero points in a file. Those of per-channel tensors are all 0 and not kept one by one.
struct ZeroPoints {
    count: usize,
    /// All of them, if any is not 0.
    others: SmallVec<[i64; 1]>,
}

impl ZeroPoints {
    /// The little-endian numbers in these bytes.
    fn of_bytes(bytes: &[u8]) -> ZeroPoints {
        let count = bytes.len() / i64::SIZE;
        let zero = bytes.iter().fold(0, |bits, byte| bits | byte) == 0;
        ZeroPoints { count, others: if zero { SmallVec::new() } else { i64::read_all(bytes) } }
    }
}

/// Zero points that are all 0, which tensors with as many channels share.
#[derive(Default)]
pub(super) struct Zeros(HashMap<usize, Arc<[i32]>>);

impl Zeros {
    fn of(&mut self, count: usize) -> Arc<[i32]> {
        self.0.entry(count).or_insert_with(|| vec![0; count].into()).clone()
    }
}

fn quantization(
    scales: Scales,
    zero_points: &ZeroPoints,
    axis: i32,
    dtype: DType,
    shape: &Shape,
    zeros: &mut Zeros,
) -> Result<Option<Quantization>, String> {
    let ZeroPoints { count, ref others } = *zero_points;
    if scales.len() != count {
        return Err(format!("it has {} scales and {count} zero points", scales.len()));
    }
    if *scales == [0.0] {
        return Ok(None);
    }
    let (low, high) = match dtype {
        DType::I4 => (-8, 7),
        DType::I8 => (-128, 127),
        DType::U8 => (0, 255),
        DType::I16 => (-32_768, 32_767),
        DType::U16 => (0, 65_535),
        _ => (i64::from(i32::MIN), i64::from(i32::MAX)),
    };
    if let Some(point) = others.iter().find(|point| !(low..=high).contains(point)) {
        return Err(format!("zero point {point} is no {dtype}"));
    }
    let zero_points =
        if others.is_empty() { zeros.of(count) } else { others.iter().map(|point| *point as i32).collect() };
    if count == 1 {
        return Ok(Some(Quantization { scales, zero_points, axis: None }));
    }
    match usize::try_from(axis) {
        Ok(axis) if axis < shape.rank() => Ok(Some(Quantization { scales, zero_points, axis: Some(axis) })),
        _ => Err(format!("its quantized dimension {axis} does not exist")),
    }
}
