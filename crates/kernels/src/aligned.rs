//! Slices that start on a cache line.

use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;

use bytemuck::{AnyBitPattern, NoUninit, Pod, Zeroable};

use crate::pages::Pages;

/// One cache line.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Line([u8; 64]);

// SAFETY: an array of bytes: every bit pattern, zero too, is a value.
unsafe impl Zeroable for Line {}
// SAFETY: as above, and 64 bytes with an alignment of 64 have no padding.
unsafe impl Pod for Line {}

/// Bytes from which on what lasts is cut from maps.
const PAGES_FROM: usize = 1 << 10;

/// A slice whose first element starts a cache line, so that no full vector of it crosses one.
pub(crate) struct Aligned<T> {
    /// The first element: loops that read a few of them do not ask each time where the memory is from.
    start: NonNull<T>,
    len: usize,
    /// What `start` points into.
    _memory: Memory,
}

// SAFETY: the memory belongs to this value alone and is read and written as its references allow.
unsafe impl<T: Send> Send for Aligned<T> {}
// SAFETY: as above.
unsafe impl<T: Sync> Sync for Aligned<T> {}

enum Memory {
    Lines { _lines: Vec<Line> },
    Pages { _pages: Pages },
}

impl<T: Pod> Aligned<T> {
    /// `len` elements of zero.
    pub(crate) fn zeroed(len: usize) -> Aligned<T> {
        const { assert!(align_of::<T>() <= align_of::<Line>()) };
        let mut lines: Vec<Line> = bytemuck::zeroed_vec((len * size_of::<T>()).div_ceil(size_of::<Line>()));
        let start = NonNull::from(&mut lines[..]).cast();
        Aligned { start, len, _memory: Memory::Lines { _lines: lines } }
    }

    /// `len` elements of zero for packed weights and what goes with them, which are written once, at once, and stay.
    pub(crate) fn lasting(len: usize) -> Aligned<T> {
        let bytes = (len * size_of::<T>()).next_multiple_of(size_of::<Line>());
        match (bytes >= PAGES_FROM).then(|| Pages::zeroed(bytes)).flatten() {
            Some(mut pages) => {
                let lines: &mut [Line] = bytemuck::cast_slice_mut(pages.bytes_mut());
                let start = NonNull::from(lines).cast();
                Aligned { start, len, _memory: Memory::Pages { _pages: pages } }
            }
            None => Aligned::zeroed(len),
        }
    }

    /// Elements that [last](Aligned::lasting).
    pub(crate) fn lasting_from(items: impl ExactSizeIterator<Item = T>) -> Aligned<T> {
        let mut aligned = Aligned::lasting(items.len());
        aligned.iter_mut().zip(items).for_each(|(place, item)| *place = item);
        aligned
    }
}

impl<T: Pod> FromIterator<T> for Aligned<T> {
    fn from_iter<I: IntoIterator<Item = T>>(items: I) -> Aligned<T> {
        let items: Vec<T> = items.into_iter().collect();
        let mut aligned = Aligned::zeroed(items.len());
        aligned.copy_from_slice(&items);
        aligned
    }
}

impl<T: AnyBitPattern> Deref for Aligned<T> {
    type Target = [T];

    #[inline]
    fn deref(&self) -> &[T] {
        // SAFETY: the memory has room for `len` elements, starts at a line, which is aligned for them, was
        // zero at first, and any bytes are elements.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }
}

impl<T: AnyBitPattern + NoUninit> DerefMut for Aligned<T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: as above, and elements have no bytes that are not written.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.len) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices_start_on_a_line_and_hold_what_was_written() {
        let make: [fn(usize) -> Aligned<f32>; 2] = [Aligned::zeroed, Aligned::lasting];
        for (len, make) in
            [0, 1, 16, 33, 40_001, 1_500_000].into_iter().flat_map(|len| make.map(|m| (len, m)))
        {
            let mut floats = make(len);
            assert!(floats.iter().all(|f| *f == 0.0));
            assert_eq!(floats.as_ptr() as usize % 64, 0);
            floats.iter_mut().enumerate().for_each(|(i, f)| *f = i as f32);
            assert_eq!(floats.len(), len);
            assert!(floats.iter().enumerate().all(|(i, f)| *f == i as f32));
        }
    }
}
