//! Bytes that can be looked at as any element type.

use std::io::{self, Read};
use std::sync::Arc;

use bytemuck::Pod;

use crate::DataError;

/// Owned bytes aligned to 8, the largest element's alignment. Clones share them until one is changed.
#[derive(Clone, Default, PartialEq)]
pub(crate) struct Buffer {
    words: Arc<Vec<u64>>,
    len: usize,
}

/// First step of [`Buffer::read`]: what an untrusted length may cost before a byte has been seen.
const FIRST_STEP: usize = 1 << 20;

impl Buffer {
    /// `len` zero bytes, or [`DataError::TooLarge`] for `what` if the machine cannot give them.
    pub(crate) fn zeroed(len: usize, what: &str) -> Result<Self, DataError> {
        let mut buffer = Self::default();
        buffer.grow(len).map_err(|_| DataError::TooLarge {
            what: what.to_owned(),
            bytes: len as u64,
            limit: 0,
        })?;
        Ok(buffer)
    }

    pub(crate) fn from_bytes(bytes: &[u8]) -> Self {
        let mut words = vec![0; bytes.len().div_ceil(8)];
        bytemuck::cast_slice_mut(&mut words)[..bytes.len()].copy_from_slice(bytes);
        Self { words: Arc::new(words), len: bytes.len() }
    }

    /// Exactly `len` bytes from `reader`. Memory grows with what really arrives, so a lying length
    /// costs nothing.
    pub(crate) fn read(reader: &mut impl Read, len: usize) -> io::Result<Self> {
        let mut buffer = Self::default();
        while buffer.len < len {
            let start = buffer.len;
            let step = (len - start).min(start.max(FIRST_STEP));
            buffer.grow(start + step).map_err(|_| io::Error::from(io::ErrorKind::OutOfMemory))?;
            reader.read_exact(&mut buffer.bytes_mut()[start..])?;
        }
        Ok(buffer)
    }

    fn grow(&mut self, len: usize) -> Result<(), std::collections::TryReserveError> {
        let words = Arc::make_mut(&mut self.words);
        words.try_reserve_exact(len.div_ceil(8) - words.len())?;
        words.resize(len.div_ceil(8), 0);
        self.len = len;
        Ok(())
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &bytemuck::cast_slice(self.words.as_slice())[..self.len]
    }

    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        &mut bytemuck::cast_slice_mut(Arc::make_mut(&mut self.words).as_mut_slice())[..self.len]
    }

    /// The whole elements of type `T`; a rest shorter than an element is left out.
    pub(crate) fn elements<T: Pod>(&self) -> &[T] {
        bytemuck::cast_slice(whole(self.bytes(), size_of::<T>()))
    }

    pub(crate) fn elements_mut<T: Pod>(&mut self) -> &mut [T] {
        let size = size_of::<T>();
        let bytes = self.bytes_mut();
        let len = bytes.len() - bytes.len() % size;
        bytemuck::cast_slice_mut(&mut bytes[..len])
    }
}

fn whole(bytes: &[u8], size: usize) -> &[u8] {
    &bytes[..bytes.len() - bytes.len() % size]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_exactly_and_in_steps() {
        let bytes: Vec<u8> = (0..3 * FIRST_STEP + 5).map(|i| i as u8).collect();
        let buffer = Buffer::read(&mut bytes.as_slice(), bytes.len()).unwrap();
        assert_eq!(buffer.bytes(), bytes);
        let short = Buffer::read(&mut &bytes[..10], usize::MAX);
        assert_eq!(short.err().map(|e| e.kind()), Some(io::ErrorKind::UnexpectedEof));
    }

    #[test]
    fn elements_are_views() {
        let mut buffer = Buffer::from_bytes(&[1, 0, 0, 0, 2, 0, 0, 0, 9]);
        assert_eq!(buffer.elements::<u32>(), [1, 2]);
        buffer.elements_mut::<u32>()[1] = 7;
        assert_eq!(buffer.bytes(), [1, 0, 0, 0, 7, 0, 0, 0, 9]);
    }

    #[test]
    fn a_clone_does_not_see_changes() {
        let mut buffer = Buffer::from_bytes(&[1, 2]);
        let clone = buffer.clone();
        buffer.bytes_mut()[0] = 9;
        assert_eq!((buffer.bytes(), clone.bytes()), ([9, 2].as_slice(), [1, 2].as_slice()));
    }

    #[test]
    fn an_impossible_size_is_an_error() {
        let error = Buffer::zeroed(usize::MAX - 8, "a batch").err().unwrap();
        assert!(matches!(error, DataError::TooLarge { .. }), "{error}");
    }
}
