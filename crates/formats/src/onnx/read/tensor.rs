//! Constants: the elements of `TensorProto`.

use bytes::Bytes;
use half::{bf16, f16};
use litesmith_graph::{DType, Data};

use super::external::External;
use crate::error::FormatError;
use crate::onnx::proto::{EXTERNAL, TensorProto};

/// Most axes of a constant.
const MOST_AXES: usize = 16;

/// Numbers of types that become other ones when they are read.
const BFLOAT16: i32 = 16;
const UINT4: i32 = 21;

/// A constant as it is read.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Constant {
    /// Type of its elements: half precision has become single precision.
    pub dtype: DType,
    /// Its shape.
    pub shape: Vec<usize>,
    /// Its elements.
    pub data: Data,
}

/// What is wrong with a constant.
#[derive(Debug)]
pub(super) enum Fault {
    /// It is of a type that is not supported, or stands where nothing is read.
    Unsupported(String),
    /// The file contradicts itself.
    Error(FormatError),
}

impl From<FormatError> for Fault {
    fn from(error: FormatError) -> Fault {
        Fault::Error(error)
    }
}

/// The element type with ONNX's number.
///
/// # Errors
/// Its name and what to do, where it is not supported.
pub(super) fn dtype_of(number: i32) -> Result<DType, String> {
    let name = match number {
        1 => return Ok(DType::F32),
        2 => return Ok(DType::U8),
        3 => return Ok(DType::I8),
        4 => return Ok(DType::U16),
        5 => return Ok(DType::I16),
        6 => return Ok(DType::I32),
        7 => return Ok(DType::I64),
        9 => return Ok(DType::Bool),
        10 => return Ok(DType::F16),
        11 => return Ok(DType::F64),
        12 => return Ok(DType::U32),
        13 => return Ok(DType::U64),
        22 => return Ok(DType::I4),
        8 => "text",
        14 | 15 => "complex numbers",
        BFLOAT16 => "bfloat16",
        17..=20 | 24 => "8-bit floating-point numbers",
        UINT4 => "unsigned 4-bit integers",
        23 => "4-bit floating-point numbers",
        25 | 26 => "2-bit integers",
        other => {
            return Err(format!("element type {other} is not known; save the model with types that are"));
        }
    };
    Err(format!("{name} are not supported; convert the model to float32 or to 8-bit integers"))
}

/// Reads a constant; `place` says where it stands.
pub(super) fn decode(proto: &TensorProto, external: &External, place: &str) -> Result<Constant, Fault> {
    let shape = sizes(&proto.dims, place)?;
    let elements = shape.iter().try_fold(1usize, |product, size| product.checked_mul(*size));
    let elements = elements.ok_or_else(|| FormatError::broken(place, "its shape is too large"))?;
    if proto.segment.is_some() {
        return Err(Fault::Unsupported("it stands in pieces, which is not supported; save it whole".into()));
    }
    let number = proto.data_type.unwrap_or(0);
    let widened = matches!(number, BFLOAT16 | UINT4);
    let dtype = if widened { DType::F32 } else { dtype_of(number).map_err(Fault::Unsupported)? };
    let stored = match number {
        BFLOAT16 => elements.checked_mul(2),
        UINT4 => Some(elements.div_ceil(2)),
        _ => dtype.bytes(elements),
    };
    let stored = stored.ok_or_else(|| FormatError::broken(place, "its shape is too large"))?;
    let raw = if proto.data_location == Some(EXTERNAL) {
        Some(external.read(&proto.external_data, stored, place)?)
    } else {
        proto.raw_data.clone().filter(|raw| !raw.is_empty())
    };
    let bytes = match raw {
        Some(raw) => raw,
        None => typed(proto, number, dtype, elements, place)?,
    };
    if bytes.len() != stored {
        let reason = format!("it has {} bytes instead of {stored} for shape {shape:?}", bytes.len());
        return Err(FormatError::broken(place, reason).into());
    }
    Ok(widen(number, dtype, shape, elements, bytes))
}

/// Sizes of axes.
fn sizes(dims: &[i64], place: &str) -> Result<Vec<usize>, FormatError> {
    if dims.len() > MOST_AXES {
        return Err(FormatError::broken(place, format!("it has {} axes", dims.len())));
    }
    let size = |size: &i64| {
        usize::try_from(*size).map_err(|_| FormatError::broken(place, format!("an axis has size {size}")))
    };
    dims.iter().map(size).collect()
}

/// Elements that stand in fields of their own, as bytes.
fn typed(
    proto: &TensorProto,
    number: i32,
    dtype: DType,
    elements: usize,
    place: &str,
) -> Result<Bytes, FormatError> {
    let wrong = |found: usize| {
        let reason = format!("it has {found} elements instead of {elements} for shape {:?}", proto.dims);
        FormatError::broken(place, reason)
    };
    let narrow = &proto.int32_data;
    if number == BFLOAT16 {
        let words: Vec<u16> = narrow.iter().map(|x| *x as u16).collect();
        return if words.len() == elements { Ok(bytes_of(words)) } else { Err(wrong(words.len())) };
    }
    // Two elements of four bits are one number.
    if number == UINT4 || dtype == DType::I4 {
        let bytes: Vec<u8> = narrow.iter().map(|x| *x as u8).collect();
        return if bytes.len() == elements.div_ceil(2) { Ok(bytes.into()) } else { Err(wrong(bytes.len())) };
    }
    let (found, bytes) = match dtype {
        DType::F32 => (proto.float_data.len(), bytes_of(proto.float_data.clone())),
        DType::F64 => (proto.double_data.len(), bytes_of(proto.double_data.clone())),
        DType::I64 => (proto.int64_data.len(), bytes_of(proto.int64_data.clone())),
        DType::U64 => (proto.uint64_data.len(), bytes_of(proto.uint64_data.clone())),
        DType::U32 => {
            let words: Vec<u32> = proto.uint64_data.iter().map(|x| *x as u32).collect();
            (words.len(), bytes_of(words))
        }
        DType::I32 => (narrow.len(), bytes_of(narrow.clone())),
        DType::I16 | DType::U16 | DType::F16 => {
            let words: Vec<u16> = narrow.iter().map(|x| *x as u16).collect();
            (words.len(), bytes_of(words))
        }
        DType::Bool => (narrow.len(), narrow.iter().map(|x| u8::from(*x != 0)).collect::<Vec<u8>>().into()),
        _ => (narrow.len(), narrow.iter().map(|x| *x as u8).collect::<Vec<u8>>().into()),
    };
    if found == elements { Ok(bytes) } else { Err(wrong(found)) }
}

fn bytes_of<T: bytemuck::NoUninit>(elements: Vec<T>) -> Bytes {
    Data::from_vec(elements).shared()
}

/// Types that the graph has not, or that nothing computes with, as wider ones; truth values as 0 and 1.
fn widen(number: i32, dtype: DType, shape: Vec<usize>, elements: usize, bytes: Bytes) -> Constant {
    let data = Data::new(bytes);
    let (dtype, data) = match (number, dtype) {
        (BFLOAT16, _) => {
            let values = data.elements::<u16>();
            (DType::F32, Data::from_vec(values.iter().map(|x| bf16::from_bits(*x).to_f32()).collect()))
        }
        (UINT4, _) => {
            let halves = data.bytes().iter().flat_map(|byte| [byte & 15, byte >> 4]);
            (DType::U8, Data::from_vec(halves.take(elements).collect()))
        }
        (_, DType::F16) => {
            let values = data.elements::<f16>();
            (DType::F32, Data::from_vec(values.iter().map(|x| x.to_f32()).collect()))
        }
        (_, DType::Bool) if data.bytes().iter().any(|byte| *byte > 1) => {
            (DType::Bool, Data::from_vec(data.bytes().iter().map(|byte| u8::from(*byte != 0)).collect()))
        }
        (_, dtype) => (dtype, data),
    };
    Constant { dtype, shape, data }
}
