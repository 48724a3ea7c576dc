//! Slices that start on a cache line.

use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};

use bytemuck::{AnyBitPattern, NoUninit, Pod, Zeroable};

use crate::large_pages;

/// One cache line.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Line([u8; 64]);

// SAFETY: an array of bytes: every bit pattern, zero too, is a value.
unsafe impl Zeroable for Line {}
// SAFETY: as above, and 64 bytes with an alignment of 64 have no padding.
unsafe impl Pod for Line {}

/// A slice whose first element starts a cache line, so that no full vector of it crosses one.
pub(crate) struct Aligned<T> {
    lines: Vec<Line>,
    len: usize,
    element: PhantomData<T>,
}

impl<T: Pod> Aligned<T> {
    /// `len` elements of zero.
    pub(crate) fn zeroed(len: usize) -> Aligned<T> {
        let count = (len * size_of::<T>()).div_ceil(size_of::<Line>());
        let mut lines = Vec::with_capacity(count);
        large_pages::ask_for(&mut lines);
        lines.resize(count, Line::zeroed());
        Aligned { lines, len, element: PhantomData }
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

    fn deref(&self) -> &[T] {
        &bytemuck::cast_slice(&self.lines)[..self.len]
    }
}

impl<T: AnyBitPattern + NoUninit> DerefMut for Aligned<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        &mut bytemuck::cast_slice_mut(&mut self.lines)[..self.len]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices_start_on_a_line_and_hold_what_was_written() {
        for len in [0, 1, 16, 33, 1 << 20] {
            let mut floats = Aligned::<f32>::zeroed(len);
            assert_eq!(floats.as_ptr() as usize % 64, 0);
            floats.iter_mut().enumerate().for_each(|(i, f)| *f = i as f32);
            assert_eq!(floats.len(), len);
            assert!(floats.iter().enumerate().all(|(i, f)| *f == i as f32));
        }
    }
}
