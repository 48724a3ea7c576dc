//! A buffer of floats that starts on a cache line.

use std::ops::{Deref, DerefMut};

/// Floats in a cache line.
const LINE: usize = 16;

#[repr(C, align(64))]
#[derive(Clone, Copy)]
struct Line([f32; LINE]);

/// Floats that start on a cache line, so that a vector register's worth of them at a multiple of
/// 16 never lies across two lines.
pub(super) struct Aligned {
    lines: Vec<Line>,
    len: usize,
}

impl Aligned {
    /// `len` zeros.
    pub(super) fn zeros(len: usize) -> Aligned {
        Aligned { lines: vec![Line([0.0; LINE]); len.div_ceil(LINE)], len }
    }
}

impl Deref for Aligned {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        // SAFETY: the lines are `len` floats or more, one after the other, all initialized.
        unsafe { std::slice::from_raw_parts(self.lines.as_ptr().cast(), self.len) }
    }
}

impl DerefMut for Aligned {
    fn deref_mut(&mut self) -> &mut [f32] {
        // SAFETY: as in `deref`; the borrow is exclusive.
        unsafe { std::slice::from_raw_parts_mut(self.lines.as_mut_ptr().cast(), self.len) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn starts_on_a_line_and_holds_what_was_written() {
        for len in [0, 1, 16, 33] {
            let mut floats = Aligned::zeros(len);
            assert_eq!(floats.as_ptr() as usize % 64, 0);
            floats.iter_mut().enumerate().for_each(|(i, f)| *f = i as f32);
            assert_eq!(floats.len(), len);
            assert!(floats.iter().enumerate().all(|(i, f)| *f == i as f32));
        }
    }
}
