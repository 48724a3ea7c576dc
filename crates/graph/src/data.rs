//! The bytes of constant tensors, shared and cheap to clone.

use std::borrow::Cow;
use std::fmt;

use bytemuck::{AnyBitPattern, NoUninit};
use bytes::Bytes;
use half::f16;

use crate::dtype::DType;

/// Little-endian elements in row-major order: a slice of a buffer or of a memory map.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Data(Bytes);

impl Data {
    /// Wraps bytes; nothing is copied.
    #[must_use]
    pub fn new(bytes: Bytes) -> Data {
        Data(bytes)
    }

    /// Takes ownership of elements.
    #[must_use]
    pub fn from_vec<T: NoUninit>(elements: Vec<T>) -> Data {
        match bytemuck::allocation::try_cast_vec::<T, u8>(elements) {
            Ok(bytes) => Data(bytes.into()),
            Err((_, elements)) => Data(Bytes::copy_from_slice(bytemuck::cast_slice(&elements))),
        }
    }

    /// The bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// The bytes as a shared slice.
    #[must_use]
    pub fn shared(&self) -> Bytes {
        self.0.clone()
    }

    /// Number of bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is no byte.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The elements as `T`, borrowed where the bytes happen to be aligned, copied where not. Bytes
    /// beyond the last whole element are left out.
    #[must_use]
    pub fn elements<T: AnyBitPattern + NoUninit>(&self) -> Cow<'_, [T]> {
        let size = size_of::<T>().max(1);
        let whole = &self.0[..self.0.len() / size * size];
        match bytemuck::try_cast_slice(whole) {
            Ok(slice) => Cow::Borrowed(slice),
            Err(_) => Cow::Owned(bytemuck::pod_collect_to_vec(whole)),
        }
    }

    /// Changes elements in place. Bytes that others share, or that are not aligned, are copied first; those
    /// beyond the last whole element are dropped.
    pub fn change<T: AnyBitPattern + NoUninit>(&mut self, change: impl FnOnce(&mut [T])) {
        let mut bytes = match std::mem::take(&mut self.0).try_into_mut() {
            Ok(bytes) => bytes,
            Err(shared) => bytes::BytesMut::from(shared.as_ref()),
        };
        match bytemuck::try_cast_slice_mut(&mut bytes) {
            Ok(elements) => change(elements),
            Err(_) => {
                let mut elements = Data(bytes.freeze()).elements::<T>().into_owned();
                change(&mut elements);
                *self = Data::from_vec(elements);
                return;
            }
        }
        self.0 = bytes.freeze();
    }

    /// Floating-point elements (`F16`, `F32` or `F64`) as single precision; `None` for other types.
    #[must_use]
    pub fn floats(&self, dtype: DType) -> Option<Cow<'_, [f32]>> {
        match dtype {
            DType::F32 => Some(self.elements()),
            DType::F16 => Some(Cow::Owned(self.elements::<f16>().iter().map(|x| x.to_f32()).collect())),
            DType::F64 => Some(Cow::Owned(self.elements::<f64>().iter().map(|x| *x as f32).collect())),
            _ => None,
        }
    }

    /// Integer (or boolean) elements, widened; `None` for other types.
    #[must_use]
    pub fn integers(&self, dtype: DType) -> Option<Vec<i64>> {
        Some(match dtype {
            DType::I4 => {
                self.0.iter().flat_map(|b| [(*b as i8) << 4 >> 4, (*b as i8) >> 4]).map(i64::from).collect()
            }
            DType::I8 => self.0.iter().map(|x| i64::from(*x as i8)).collect(),
            DType::U8 | DType::Bool => self.0.iter().map(|x| i64::from(*x)).collect(),
            DType::I16 => self.elements::<i16>().iter().map(|x| i64::from(*x)).collect(),
            DType::U16 => self.elements::<u16>().iter().map(|x| i64::from(*x)).collect(),
            DType::I32 => self.elements::<i32>().iter().map(|x| i64::from(*x)).collect(),
            DType::U32 => self.elements::<u32>().iter().map(|x| i64::from(*x)).collect(),
            DType::I64 => self.elements::<i64>().to_vec(),
            DType::U64 => self.elements::<u64>().iter().map(|x| *x as i64).collect(),
            _ => return None,
        })
    }
}

impl fmt::Debug for Data {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Data({} bytes)", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unaligned_bytes_are_read() {
        let mut bytes = vec![0u8];
        bytes.extend_from_slice(&1.5f32.to_le_bytes());
        let data = Data::new(Bytes::from(bytes).slice(1..));
        assert_eq!(data.elements::<f32>().as_ref(), [1.5]);
    }

    #[test]
    fn a_change_does_not_reach_those_who_share() {
        let mut data = Data::from_vec(vec![1.5f32, 2.0]);
        let shared = data.clone();
        data.change(|elements: &mut [f32]| elements[1] = 3.0);
        assert_eq!(data.elements::<f32>().as_ref(), [1.5, 3.0]);
        assert_eq!(shared.elements::<f32>().as_ref(), [1.5, 2.0]);
        let mut unaligned = Data::new(Bytes::from(vec![0u8, 1, 2, 3, 4]).slice(1..));
        unaligned.change(|elements: &mut [u16]| elements[0] = 0x0605);
        assert_eq!(unaligned.bytes(), [5, 6, 3, 4]);
    }

    #[test]
    fn integers_widen() {
        assert_eq!(Data::from_vec(vec![-1i32, 7]).integers(DType::I32), Some(vec![-1, 7]));
        assert_eq!(Data::from_vec(vec![0xF1u8]).integers(DType::I4), Some(vec![1, -1]));
        assert_eq!(Data::from_vec(vec![1.0f32]).integers(DType::F32), None);
    }
}
