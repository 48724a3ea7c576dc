//! Bytes that start on a cache line, so that every element type can be seen in them.

/// Bytes in a cache line: what offsets in the arena are multiples of.
pub(crate) const LINE: usize = 64;

/// Zero-initialized bytes that start on a cache line.
pub(crate) struct Buffer {
    words: Box<[u64]>,
    start: usize,
    len: usize,
}

impl Buffer {
    /// `len` zeros; `None` if the system does not give them.
    pub(crate) fn zeroed(len: usize) -> Option<Buffer> {
        let words = len.checked_add(LINE)?.div_ceil(size_of::<u64>());
        let words: Box<[u64]> = bytemuck::try_zeroed_slice_box(words).ok()?;
        let start = words.as_ptr().addr().wrapping_neg() % LINE;
        Some(Buffer { words, start, len })
    }

    /// The bytes.
    pub(crate) fn bytes(&self) -> &[u8] {
        &bytemuck::cast_slice(&self.words)[self.start..][..self.len]
    }

    /// The bytes, to be written.
    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        &mut bytemuck::cast_slice_mut(&mut self.words)[self.start..][..self.len]
    }

    /// Number of bytes.
    pub(crate) fn len(&self) -> usize {
        self.len
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_start_on_a_line() {
        for len in [0, 1, 63, 64, 1000] {
            let mut buffer = Buffer::zeroed(len).unwrap();
            assert_eq!(buffer.bytes().as_ptr().addr() % LINE, 0);
            assert_eq!(buffer.bytes_mut().len(), len);
        }
        assert!(Buffer::zeroed(usize::MAX).is_none());
    }
}
