//! Types, shapes and constants as TensorFlow spells them.

use bytes::Bytes;
use half::{bf16, f16};
use litesmith_graph::{DType, Data};

use super::attributes::{Constant, PartialShape};
use super::proto::{ShapeProto, TensorProto};
use crate::error::FormatError;

/// Most bytes that a constant may have which repeats one value, whatever its shape says.
const MOST_REPEATED: usize = 1 << 28;

/// Most axes of a shape (`TensorShape::MaxDimensions` in TensorFlow).
const MOST_AXES: usize = 254;

/// How elements are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Element {
    Plain(DType),
    Brain,
    /// A kind of value that no tensor here can hold, with TensorFlow's name of it.
    Other(&'static str),
}

impl Element {
    /// The element type of a `DataType` number (types.proto); numbers above 100 are references to
    /// variables of the type 100 below.
    ///
    /// # Errors
    /// If there is no such type.
    pub fn of(number: i32, place: &str) -> Result<Element, FormatError> {
        let plain = if (101..200).contains(&number) { number - 100 } else { number };
        Ok(match plain {
            1 => Element::Plain(DType::F32),
            2 => Element::Plain(DType::F64),
            3 => Element::Plain(DType::I32),
            4 => Element::Plain(DType::U8),
            5 => Element::Plain(DType::I16),
            6 => Element::Plain(DType::I8),
            7 => Element::Plain(DType::Text),
            8 => Element::Other("complex64"),
            9 => Element::Plain(DType::I64),
            10 => Element::Plain(DType::Bool),
            11 => Element::Other("qint8"),
            12 => Element::Other("quint8"),
            13 => Element::Other("qint32"),
            14 => Element::Brain,
            15 => Element::Other("qint16"),
            16 => Element::Other("quint16"),
            17 => Element::Plain(DType::U16),
            18 => Element::Other("complex128"),
            19 => Element::Plain(DType::F16),
            // A list of tensors (variant) has no bytes either.
            20 | 21 => Element::Plain(DType::Resource),
            22 => Element::Plain(DType::U32),
            23 => Element::Plain(DType::U64),
            24..=28 => Element::Other("float8"),
            29 | 30 => Element::Other("int4"),
            _ => return Err(FormatError::broken(place, format!("type {number} does not exist"))),
        })
    }

    /// The type of a tensor of such elements, or why there is none.
    pub fn dtype(self) -> Result<DType, String> {
        match self {
            Element::Plain(dtype) => Ok(dtype),
            Element::Brain => Ok(DType::F32),
            Element::Other(name) => Err(format!("tensors of type {name} are not supported")),
        }
    }

    /// Bytes of one stored element.
    fn size(self) -> Option<usize> {
        match self {
            Element::Plain(dtype) => dtype.bytes(1),
            Element::Brain => Some(2),
            Element::Other(_) => None,
        }
    }

    /// A tensor of these bytes, which are checked to be as many as the shape needs.
    ///
    /// # Errors
    /// If the length is another, or elements have no bytes.
    pub fn tensor(self, shape: Vec<usize>, bytes: Bytes, place: &str) -> Result<Constant, FormatError> {
        let length = self.size().zip(elements(&shape)).and_then(|(size, count)| size.checked_mul(count));
        if length != Some(bytes.len()) {
            let reason = format!("{} bytes do not make a tensor of shape {shape:?}", bytes.len());
            return Err(FormatError::broken(place, reason));
        }
        let dtype = self.dtype().map_err(|reason| FormatError::broken(place, reason))?;
        let data = match self {
            Element::Brain => {
                let pairs = bytes.as_chunks::<2>().0.iter();
                Data::from_vec(pairs.map(|pair| bf16::from_le_bytes(*pair).to_f32()).collect::<Vec<_>>())
            }
            _ => Data::new(bytes),
        };
        Ok(Constant { dtype, shape, data })
    }
}

/// Number of elements of a shape; `None` on overflow.
pub(super) fn elements(shape: &[usize]) -> Option<usize> {
    shape.iter().try_fold(1usize, |product, size| product.checked_mul(*size))
}

/// The axes of a shape.
///
/// # Errors
/// If an axis is negative (but for -1, which is not known), or there are too many.
pub(super) fn sizes(shape: &ShapeProto, place: &str) -> Result<PartialShape, FormatError> {
    if shape.unknown_rank {
        return Ok(None);
    }
    if shape.axes.len() > MOST_AXES {
        return Err(FormatError::broken(place, format!("a shape has {} axes", shape.axes.len())));
    }
    let size = |size: i64| match size {
        -1 => Ok(None),
        size => match u32::try_from(size) {
            Ok(size) => Ok(Some(size as usize)),
            Err(_) => Err(FormatError::broken(place, format!("an axis of size {size} cannot be"))),
        },
    };
    Ok(Some(shape.axes.iter().map(|axis| size(axis.size)).collect::<Result<_, _>>()?))
}

/// The axes of a shape all of whose sizes must be known.
///
/// # Errors
/// Those of [`sizes`]; also if one is not known.
pub(super) fn fixed(shape: Option<&ShapeProto>, place: &str) -> Result<Vec<usize>, FormatError> {
    let sizes = shape.map_or(Ok(Some(Vec::new())), |shape| sizes(shape, place))?;
    let all: Option<Vec<usize>> = sizes.and_then(|sizes| sizes.into_iter().collect());
    all.ok_or_else(|| FormatError::broken(place, "the shape of a stored tensor is not known"))
}

/// Bytes that a constant takes beyond those that the file has of it: those of a repeated value.
pub(super) fn unpacked(proto: &TensorProto) -> usize {
    if !proto.content.is_empty() {
        return 0;
    }
    let size = Element::of(proto.dtype, "").ok().and_then(Element::size).unwrap_or(1);
    let count = fixed(proto.shape.as_ref(), "").ok().and_then(|shape| elements(&shape));
    count.and_then(|count| count.checked_mul(size)).unwrap_or(usize::MAX)
}

/// Decodes a constant. One whose bytes lie in the file as they are is not copied.
///
/// # Errors
/// If its bytes or values are not what its shape says, or its type has no bytes.
pub(super) fn decode(proto: &TensorProto, place: &str) -> Result<Constant, FormatError> {
    let element = Element::of(proto.dtype, place)?;
    let shape = fixed(proto.shape.as_ref(), place)?;
    if !proto.content.is_empty() {
        return element.tensor(shape, proto.content.clone(), place);
    }
    let count = elements(&shape).unwrap_or(usize::MAX);
    let count = match element.size().and_then(|size| size.checked_mul(count)) {
        Some(bytes) if bytes <= MOST_REPEATED => count,
        Some(bytes) => return Err(FormatError::broken(place, format!("it has none of its {bytes} bytes"))),
        None => {
            return Err(FormatError::broken(place, "its type has no elements of fixed size, or too many"));
        }
    };
    let data = match element {
        Element::Plain(DType::F32) => repeat(&proto.floats, count, |x| *x),
        Element::Plain(DType::F64) => repeat(&proto.doubles, count, |x| *x),
        Element::Plain(DType::F16) => repeat(&proto.halves, count, |x| f16::from_bits(*x as u16)),
        Element::Brain => repeat(&proto.halves, count, |x| bf16::from_bits(*x as u16).to_f32()),
        Element::Plain(DType::I8) => repeat(&proto.ints, count, |x| *x as i8),
        Element::Plain(DType::U8) => repeat(&proto.ints, count, |x| *x as u8),
        Element::Plain(DType::I16) => repeat(&proto.ints, count, |x| *x as i16),
        Element::Plain(DType::U16) => repeat(&proto.ints, count, |x| *x as u16),
        Element::Plain(DType::I32) => repeat(&proto.ints, count, |x| *x),
        Element::Plain(DType::U32) => repeat(&proto.uints, count, |x| *x),
        Element::Plain(DType::I64) => repeat(&proto.longs, count, |x| *x),
        Element::Plain(DType::U64) => repeat(&proto.ulongs, count, |x| *x),
        Element::Plain(DType::Bool) => repeat(&proto.bools, count, |x| u8::from(*x)),
        _ => return Err(FormatError::broken(place, "its type has no bytes")),
    };
    let dtype = element.dtype().map_err(|reason| FormatError::broken(place, reason))?;
    Ok(Constant { dtype, shape, data })
}

/// `count` elements: the values, the last of them again and again, zero where there is none
/// (`TensorProto` in tensor.proto).
fn repeat<S, T: Copy + Default + bytemuck::NoUninit>(
    values: &[S],
    count: usize,
    convert: impl Fn(&S) -> T,
) -> Data {
    let mut elements: Vec<T> = values.iter().take(count).map(&convert).collect();
    let last = elements.last().copied().unwrap_or_default();
    elements.resize(count, last);
    Data::from_vec(elements)
}
