//! Handing out pieces of one slice to several tasks.

use std::marker::PhantomData;
use std::ops::Range;

/// A slice whose pieces several tasks write at the same time.
///
/// It is the base of [`ThreadPool::run_rows`](super::ThreadPool::run_rows) for callers whose pieces are not rows.
pub struct DisjointSlice<'a, T> {
    start: *mut T,
    len: usize,
    lifetime: PhantomData<&'a mut [T]>,
}

// SAFETY: the only access is `piece`, whose contract forbids overlapping pieces; so threads hand
// out distinct `&mut [T]`, which may cross threads when `T: Send`.
unsafe impl<T: Send> Sync for DisjointSlice<'_, T> {}
// SAFETY: as above; it stands for a `&mut [T]`.
unsafe impl<T: Send> Send for DisjointSlice<'_, T> {}

impl<'a, T> DisjointSlice<'a, T> {
    /// Borrows `slice` for as long as pieces may be taken.
    #[must_use]
    pub fn new(slice: &'a mut [T]) -> DisjointSlice<'a, T> {
        DisjointSlice { start: slice.as_mut_ptr(), len: slice.len(), lifetime: PhantomData }
    }

    /// The first element. Whoever writes through it must keep to elements that no other piece
    /// holds, below [`len`](DisjointSlice::len).
    #[must_use]
    pub fn as_ptr(&self) -> *mut T {
        self.start
    }

    /// Number of elements.
    #[must_use]
    // An emptiness test would have no user.
    #[allow(clippy::len_without_is_empty)]
    pub fn len(&self) -> usize {
        self.len
    }

    /// The elements of `range`.
    ///
    /// # Safety
    /// No other piece that overlaps `range` may be alive.
    ///
    /// # Panics
    /// When `range` reaches beyond the slice.
    #[must_use]
    // The caller vouches that pieces do not overlap, which the borrow checker cannot see.
    #[allow(clippy::mut_from_ref)]
    pub unsafe fn piece(&self, range: Range<usize>) -> &mut [T] {
        assert!(range.start <= range.end && range.end <= self.len, "piece outside the slice");
        // SAFETY: in bounds as just checked, alive for 'a, not aliased by the caller's promise.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(range.start), range.end - range.start) }
    }
}
