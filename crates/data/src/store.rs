//! Arrays whose first axis counts samples, in memory or still in their file.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use crate::array::byte_length;
use crate::buffer::Buffer;
use crate::{Array, DataError, ElementType};

/// Type, shape and byte order of an array as a file declares them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) dtype: ElementType,
    /// All axes, the samples first.
    pub(crate) shape: Vec<usize>,
    pub(crate) big_endian: bool,
    pub(crate) fortran_order: bool,
}

/// An array of samples that can be read piece by piece.
#[derive(Debug)]
pub(crate) struct Stored {
    pub(crate) dtype: ElementType,
    pub(crate) samples: usize,
    /// The shape of one sample.
    pub(crate) shape: Vec<usize>,
    big_endian: bool,
    sample_bytes: usize,
    place: Place,
}

enum Place {
    Memory(Buffer),
    File { file: Mutex<File>, path: PathBuf, offset: u64 },
}

impl std::fmt::Debug for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Memory(bytes) => write!(f, "{} bytes in memory", bytes.len()),
            Self::File { path, offset, .. } => write!(f, "{} from {offset}", path.display()),
        }
    }
}

impl Header {
    /// The bytes that the array has, if they can be counted and there is an axis of samples.
    ///
    /// # Errors
    /// [`DataError::Broken`] for `path` if the product of the shape overflows.
    pub(crate) fn bytes(&self, path: &Path) -> Result<usize, DataError> {
        byte_length(self.dtype, &self.shape)
            .filter(|&bytes| isize::try_from(bytes).is_ok())
            .ok_or_else(|| DataError::broken(path, "the declared shape overflows"))
    }
}

impl Stored {
    /// An array that lies in `bytes`, as many as the header declares.
    pub(crate) fn in_memory(header: Header, bytes: Buffer, path: &Path) -> Result<Self, DataError> {
        let bytes = if header.fortran_order && header.shape.len() > 1 {
            from_fortran_order(&header, &bytes)?
        } else {
            bytes
        };
        Self::new(header, Place::Memory(bytes), path)
    }

    /// An array that starts at `offset` of `file`, which holds as many bytes as the header declares.
    pub(crate) fn in_file(header: Header, file: File, path: &Path, offset: u64) -> Result<Self, DataError> {
        let place = Place::File { file: Mutex::new(file), path: path.to_owned(), offset };
        Self::new(header, place, path)
    }

    fn new(header: Header, place: Place, path: &Path) -> Result<Self, DataError> {
        let bytes = header.bytes(path)?;
        let Some((&samples, shape)) = header.shape.split_first() else {
            return Err(DataError::broken(path, "a single value, but the first axis must count samples"));
        };
        if bytes == 0 {
            let what = format!("an array of shape {}", crate::error::shape_text(&header.shape));
            return Err(DataError::Empty { path: path.to_owned(), what });
        }
        Ok(Self {
            dtype: header.dtype,
            samples,
            shape: shape.to_vec(),
            big_endian: header.big_endian,
            sample_bytes: bytes / samples,
            place,
        })
    }

    /// The samples at `indices`, which are below `samples`, in that order.
    pub(crate) fn gather(&self, indices: &[usize]) -> Result<Array, DataError> {
        let size = indices.len().checked_mul(self.sample_bytes).ok_or_else(|| DataError::TooLarge {
            what: "a batch".to_owned(),
            bytes: u64::MAX,
            limit: usize::MAX as u64,
        })?;
        let mut data = Buffer::zeroed(size, "a batch")?;
        let mut rest = data.bytes_mut();
        let mut indices_left = indices;
        while let Some(&first) = indices_left.first() {
            let run = indices_left.iter().zip(first..).take_while(|(index, next)| *index == next).count();
            let (piece, after) = rest.split_at_mut(run * self.sample_bytes);
            self.read(first, piece)?;
            rest = after;
            indices_left = &indices_left[run..];
        }
        to_native(data.bytes_mut(), self.dtype, self.big_endian);
        let shape = [&[indices.len()], self.shape.as_slice()].concat();
        Array::from_buffer(self.dtype, shape, data)
    }

    /// All samples.
    pub(crate) fn whole(&self) -> Result<Array, DataError> {
        self.gather(&(0..self.samples).collect::<Vec<_>>())
    }

    fn read(&self, first: usize, piece: &mut [u8]) -> Result<(), DataError> {
        let start = first * self.sample_bytes;
        match &self.place {
            Place::Memory(bytes) => {
                piece.copy_from_slice(&bytes.bytes()[start..start + piece.len()]);
                Ok(())
            }
            Place::File { file, path, offset } => {
                let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
                file.seek(SeekFrom::Start(offset + start as u64))
                    .and_then(|_| file.read_exact(piece))
                    .map_err(|error| DataError::reading(path, error))
            }
        }
    }
}

/// Little-endian elements, and booleans that are 0 or 1.
fn to_native(bytes: &mut [u8], dtype: ElementType, big_endian: bool) {
    if big_endian && dtype.size() > 1 {
        bytes.chunks_exact_mut(dtype.size()).for_each(<[u8]>::reverse);
    }
    if dtype == ElementType::Bool {
        bytes.iter_mut().for_each(|byte| *byte = (*byte != 0).into());
    }
}

/// The elements in C order (last axis fastest) from Fortran order (first axis fastest).
fn from_fortran_order(header: &Header, bytes: &Buffer) -> Result<Buffer, DataError> {
    let size = header.dtype.size();
    let shape = &header.shape;
    let mut strides = vec![size; shape.len()];
    for axis in 1..shape.len() {
        strides[axis] = strides[axis - 1] * shape[axis - 1];
    }
    let mut out = Buffer::zeroed(bytes.len(), "an array in Fortran order")?;
    let from = bytes.bytes();
    let mut index = vec![0; shape.len()];
    let mut source = 0;
    for element in out.bytes_mut().chunks_exact_mut(size) {
        element.copy_from_slice(&from[source..source + size]);
        for axis in (0..shape.len()).rev() {
            index[axis] += 1;
            source += strides[axis];
            if index[axis] < shape[axis] {
                break;
            }
            source -= strides[axis] * shape[axis];
            index[axis] = 0;
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(dtype: ElementType, shape: &[usize]) -> Header {
        Header { dtype, shape: shape.to_vec(), big_endian: false, fortran_order: false }
    }

    #[test]
    fn memory_and_file_give_the_same_samples() {
        let path = tempfile::NamedTempFile::new().unwrap();
        let values: Vec<u16> = (0..20).collect();
        let bytes: &[u8] = bytemuck::cast_slice(&values);
        std::fs::write(path.path(), [&[9, 9, 9], bytes].concat()).unwrap();
        let header = header(ElementType::U16, &[10, 2]);
        let file = File::open(path.path()).unwrap();
        let filed = Stored::in_file(header.clone(), file, path.path(), 3).unwrap();
        let held = Stored::in_memory(header, Buffer::from_bytes(bytes), path.path()).unwrap();
        for stored in [filed, held] {
            let array = stored.gather(&[3, 4, 5, 0, 9]).unwrap();
            assert_eq!(array.shape(), [5, 2]);
            assert_eq!(array.as_slice::<u16>(), Some([6, 7, 8, 9, 10, 11, 0, 1, 18, 19].as_slice()));
            assert_eq!(stored.whole().unwrap().as_slice::<u16>(), Some(values.as_slice()));
        }
    }

    #[test]
    fn byte_order_and_axis_order_are_mended() {
        let big: Vec<u8> = [0_i16, 3, 1, 4, 2, 5].iter().flat_map(|v| v.to_be_bytes()).collect();
        let header = Header { big_endian: true, fortran_order: true, ..header(ElementType::I16, &[2, 3]) };
        let stored = Stored::in_memory(header, Buffer::from_bytes(&big), Path::new("x")).unwrap();
        assert_eq!(stored.whole().unwrap().as_slice::<i16>(), Some([0, 1, 2, 3, 4, 5].as_slice()));
    }

    #[test]
    fn no_samples_and_no_axis_are_errors() {
        let of = |shape: &[usize], bytes: &[u8]| {
            Stored::in_memory(header(ElementType::U8, shape), Buffer::from_bytes(bytes), Path::new("x")).err()
        };
        assert!(matches!(of(&[0, 3], &[]), Some(DataError::Empty { .. })));
        assert!(matches!(of(&[3, 0], &[]), Some(DataError::Empty { .. })));
        assert!(matches!(of(&[], &[1]), Some(DataError::Broken { .. })));
    }
}
