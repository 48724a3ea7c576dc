//! The part of HDF5 that Keras files use, over the `hdf5-pure` crate: the only module that knows it.

mod new;

use std::ops::Range;

use bytes::Bytes;
use half::{bf16, f16};
use hdf5_pure::{AttrValue, Datatype, DatatypeByteOrder, File, FormatError as SourceError, Layout, Source};
use litesmith_graph::{DType, Data};

use crate::error::FormatError;

pub(super) use new::NewHdf5;

/// Most bytes that an array may unpack to, as a multiple of the file's size: deflated weights that
/// are mostly zero shrink to a thousandth, honest ones rarely below a sixtieth.
const MOST_EXPANSION: usize = 64;
/// Bytes that any array may have, however small the file is.
const ALWAYS_ALLOWED: usize = 1 << 26;

/// An HDF5 file in memory.
pub(super) struct Hdf5 {
    file: File,
    bytes: Bytes,
}

/// Deepest nesting of groups that is walked through.
const DEEPEST: usize = 32;
/// Most groups that are walked through; files can hold groups in more than one place.
const MOST_GROUPS: usize = 1 << 16;

/// An array of a weight file.
#[derive(Clone, Debug)]
pub struct Array {
    /// Type of the elements of `data`.
    pub dtype: DType,
    /// Length of each axis.
    pub shape: Vec<usize>,
    /// The elements; half and brain floats are widened to single precision.
    pub data: Data,
}

/// How numbers are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Element {
    Plain(DType),
    Half,
    Brain,
}

impl Element {
    fn size(self) -> usize {
        match self {
            Element::Plain(dtype) => dtype.bits().unwrap_or(8) / 8,
            Element::Half | Element::Brain => 2,
        }
    }
}

/// Where an array lies in the file, as one run of little-endian elements.
pub(super) struct Place {
    pub range: Range<usize>,
    pub element: Element,
    pub shape: Vec<usize>,
}

struct Shared(Bytes);

impl Source for Shared {
    fn len(&self) -> u64 {
        self.0.len() as u64
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), SourceError> {
        let part = usize::try_from(offset)
            .ok()
            .and_then(|start| self.0.get(start..start.checked_add(buffer.len())?));
        match part {
            Some(part) => buffer.copy_from_slice(part),
            None => {
                let expected = (offset as usize).saturating_add(buffer.len());
                return Err(SourceError::UnexpectedEof { expected, available: self.0.len() });
            }
        }
        Ok(())
    }
}

/// Where the file says that it ends: the end-of-file address of its superblock (HDF5 File Format
/// Specification 3.0, section II.A), for the usual case of eight-byte addresses.
fn declared_end(bytes: &[u8]) -> Option<u64> {
    let place = match (*bytes.get(8)?, bytes.get(13), bytes.get(9)) {
        (0, Some(8), _) => 40,
        (1, Some(8), _) => 44,
        (2 | 3, _, Some(8)) => 28,
        _ => return None,
    };
    let address = bytes.get(place..place + 8)?;
    Some(u64::from_le_bytes(address.try_into().ok()?))
}

fn broken(path: &str, reason: impl std::fmt::Display) -> FormatError {
    FormatError::broken(format!("HDF5 object '{path}'"), reason.to_string())
}

impl Hdf5 {
    /// Opens a file.
    ///
    /// # Errors
    /// If it is no HDF5 file.
    pub fn open(bytes: Bytes) -> Result<Hdf5, FormatError> {
        let file = File::from_source(Shared(bytes.clone())).map_err(|error| broken("/", error))?;
        match declared_end(&bytes) {
            Some(end) if end > bytes.len() as u64 => {
                let length = bytes.len();
                Err(broken("/", format!("the file ends after {length} of {end} bytes: it is cut short")))
            }
            _ => Ok(Hdf5 { file, bytes }),
        }
    }

    /// Whether there is a group of this path.
    pub fn has_group(&self, path: &str) -> bool {
        self.file.group(path).is_ok()
    }

    /// Whether there is an array of this path.
    pub fn has_array(&self, path: &str) -> bool {
        self.file.dataset(path).is_ok()
    }

    /// A text attribute of a group.
    ///
    /// # Errors
    /// If the group is missing or the attribute is no text.
    pub fn text(&self, group: &str, name: &str) -> Result<Option<String>, FormatError> {
        match self.attribute(group, name)? {
            None => Ok(None),
            Some(value) => match value.as_str() {
                Some(text) => Ok(Some(text.to_owned())),
                None => Err(broken(group, format!("attribute '{name}' is no text"))),
            },
        }
    }

    /// A list of texts, which Keras splits into `name0`, `name1`, … when it is long.
    ///
    /// # Errors
    /// If the group is missing, there is no such attribute, or it is no list of texts.
    pub fn texts(&self, group: &str, name: &str) -> Result<Vec<String>, FormatError> {
        let list = |value: &AttrValue| -> Result<Vec<String>, FormatError> {
            match value.as_strings() {
                Some(texts) => Ok(texts.to_vec()),
                // An empty list is written as an array of numbers.
                None if value.to_i64s().is_some_and(|numbers| numbers.is_empty()) => Ok(Vec::new()),
                None if matches!(value, AttrValue::F64Array(numbers) if numbers.is_empty()) => Ok(Vec::new()),
                None => Err(broken(group, format!("attribute '{name}' is no list of texts"))),
            }
        };
        if let Some(value) = self.attribute(group, name)? {
            return list(&value);
        }
        let mut texts = Vec::new();
        let mut part = 0usize;
        while let Some(value) = self.attribute(group, &format!("{name}{part}"))? {
            texts.extend(list(&value)?);
            part += 1;
        }
        if part == 0 {
            return Err(broken(group, format!("attribute '{name}' is missing")));
        }
        Ok(texts)
    }

    fn attribute(&self, group: &str, name: &str) -> Result<Option<AttrValue>, FormatError> {
        let group_error = |error| broken(group, error);
        let mut attributes = self.file.group(group).map_err(group_error)?.attrs().map_err(group_error)?;
        Ok(attributes.remove(name))
    }

    /// Reads an array. One that lies in the file as it is wanted is not copied.
    ///
    /// # Errors
    /// If it is missing, not numeric, not stored as the file claims, or too large to be honest.
    pub fn array(&self, path: &str) -> Result<Array, FormatError> {
        let dataset = self.file.dataset(path).map_err(|error| broken(path, error))?;
        let (element, big_endian) = self.element(path, &dataset)?;
        let shape = shape(path, &dataset)?;
        let length = byte_length(path, &shape, element)?;
        let bytes = match self.run(path, &dataset, length)? {
            Some(range) => self.bytes.slice(range),
            None => {
                let most = self.bytes.len().saturating_mul(MOST_EXPANSION).saturating_add(ALWAYS_ALLOWED);
                if length > most {
                    return Err(broken(path, format!("{length} bytes cannot come out of this file")));
                }
                Bytes::from(dataset.read_raw().map_err(|error| broken(path, error))?)
            }
        };
        if bytes.len() != length {
            return Err(broken(path, format!("it has {} bytes for shape {shape:?}", bytes.len())));
        }
        let bytes = if big_endian { reversed(&bytes, element.size()) } else { bytes };
        let (dtype, data) = match element {
            Element::Plain(dtype) => (dtype, Data::new(bytes)),
            Element::Half => (DType::F32, widened(&bytes, |bits| f16::from_bits(bits).to_f32())),
            Element::Brain => (DType::F32, widened(&bytes, |bits| bf16::from_bits(bits).to_f32())),
        };
        Ok(Array { dtype, shape, data })
    }

    /// Type and shape of an array, as [`Hdf5::array`] gives them.
    ///
    /// # Errors
    /// If it is missing or not numeric.
    pub fn form(&self, path: &str) -> Result<(DType, Vec<usize>), FormatError> {
        let dataset = self.file.dataset(path).map_err(|error| broken(path, error))?;
        let dtype = match self.element(path, &dataset)?.0 {
            Element::Plain(dtype) => dtype,
            Element::Half | Element::Brain => DType::F32,
        };
        Ok((dtype, shape(path, &dataset)?))
    }

    /// The paths of all arrays in a group and in the groups in it.
    ///
    /// # Errors
    /// If a group is damaged, or groups are nested deeper than in any model.
    pub fn arrays_below(&self, group: &str) -> Result<Vec<String>, FormatError> {
        let mut found = Vec::new();
        let mut open = vec![(group.to_owned(), 0)];
        let mut count = 0;
        while let Some((path, depth)) = open.pop() {
            count += 1;
            if depth > DEEPEST || count > MOST_GROUPS {
                return Err(broken(&path, "it has more groups, or deeper ones, than any model"));
            }
            let group = self.file.group(&path).map_err(|error| broken(&path, error))?;
            let inside = |names: Vec<String>| names.into_iter().map(|name| format!("{path}/{name}"));
            found.extend(inside(group.datasets().map_err(|error| broken(&path, error))?));
            let groups = inside(group.groups().map_err(|error| broken(&path, error))?);
            open.extend(groups.map(|group| (group, depth + 1)));
        }
        Ok(found)
    }

    /// Where an array lies, if it is one run of little-endian numbers; `None` if it is stored in
    /// pieces, packed, or big-endian.
    ///
    /// # Errors
    /// As [`Hdf5::array`].
    pub fn place(&self, path: &str) -> Result<Option<Place>, FormatError> {
        let dataset = self.file.dataset(path).map_err(|error| broken(path, error))?;
        let (element, big_endian) = self.element(path, &dataset)?;
        let shape = shape(path, &dataset)?;
        let length = byte_length(path, &shape, element)?;
        let range = if big_endian { None } else { self.run(path, &dataset, length)? };
        Ok(range.map(|range| Place { range, element, shape }))
    }

    fn run(
        &self,
        path: &str,
        dataset: &hdf5_pure::Dataset,
        length: usize,
    ) -> Result<Option<Range<usize>>, FormatError> {
        let layout = dataset.layout().map_err(|error| broken(path, error))?;
        let Layout::Contiguous { address: Some(address), .. } = layout else { return Ok(None) };
        let start = usize::try_from(address).ok();
        match start.and_then(|start| Some(start..start.checked_add(length)?)) {
            Some(range) if range.end <= self.bytes.len() => Ok(Some(range)),
            _ => Err(broken(path, "its elements lie beyond the end of the file")),
        }
    }

    fn element(&self, path: &str, dataset: &hdf5_pure::Dataset) -> Result<(Element, bool), FormatError> {
        let error = |error| broken(path, error);
        let datatype = dataset.datatype().map_err(error)?;
        let (element, order) = match &datatype {
            Datatype::FloatingPoint { size, byte_order, layout } => {
                let element = match (size, layout.exponent_size) {
                    (2, 5) => Element::Half,
                    (2, 8) => Element::Brain,
                    (4, 8) => Element::Plain(DType::F32),
                    (8, 11) => Element::Plain(DType::F64),
                    _ => return Err(broken(path, format!("numbers of type {datatype} are not known"))),
                };
                (element, *byte_order)
            }
            Datatype::FixedPoint { size, byte_order, layout } => {
                let dtype = match (size, layout.signed) {
                    (1, true) => DType::I8,
                    (2, true) => DType::I16,
                    (4, true) => DType::I32,
                    (8, true) => DType::I64,
                    (1, false) => DType::U8,
                    (2, false) => DType::U16,
                    (4, false) => DType::U32,
                    (8, false) => DType::U64,
                    _ => return Err(broken(path, format!("integers of type {datatype} are not known"))),
                };
                (Element::Plain(dtype), *byte_order)
            }
            // h5py has no type for brain floats: Keras writes them as opaque pairs of bytes.
            Datatype::Opaque { size: 2, .. } => (Element::Brain, DatatypeByteOrder::LittleEndian),
            _ => return Err(broken(path, format!("elements of type {datatype} are no numbers"))),
        };
        match order {
            DatatypeByteOrder::LittleEndian => Ok((element, false)),
            DatatypeByteOrder::BigEndian => Ok((element, true)),
            DatatypeByteOrder::Vax => Err(broken(path, "VAX numbers are not known")),
        }
    }
}

fn shape(path: &str, dataset: &hdf5_pure::Dataset) -> Result<Vec<usize>, FormatError> {
    let shape = dataset.shape().map_err(|error| broken(path, error))?;
    shape
        .iter()
        .map(|size| usize::try_from(*size).map_err(|_| broken(path, format!("an axis has size {size}"))))
        .collect()
}

fn byte_length(path: &str, shape: &[usize], element: Element) -> Result<usize, FormatError> {
    shape
        .iter()
        .try_fold(element.size(), |product, size| product.checked_mul(*size))
        .ok_or_else(|| broken(path, format!("shape {shape:?} is too large")))
}

fn reversed(bytes: &[u8], size: usize) -> Bytes {
    bytes.chunks_exact(size).flat_map(|element| element.iter().rev().copied()).collect()
}

fn widened(bytes: &[u8], convert: impl Fn(u16) -> f32) -> Data {
    let pairs = bytes.chunks_exact(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]]));
    Data::from_vec(pairs.map(convert).collect::<Vec<f32>>())
}
