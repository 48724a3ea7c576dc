//! Memory that a kernel needs while it runs, kept by each thread for the next kernel: fresh memory would
//! have to be cleared, and on most systems fetched page by page.

use std::cell::Cell;

use crate::aligned::Aligned;

/// Most floats that a thread keeps.
const MOST_KEPT: usize = 1 << 20;

thread_local! {
    static KEPT: Cell<Option<Aligned<f32>>> = const { Cell::new(None) };
}

/// Calls `work` with `len` floats that start on a cache line and hold any numbers.
pub(crate) fn with_workspace<R>(len: usize, work: impl FnOnce(&mut [f32]) -> R) -> R {
    let kept = KEPT.take().filter(|kept| kept.len() >= len);
    let mut space = kept.unwrap_or_else(|| Aligned::zeroed(len));
    let result = work(&mut space[..len]);
    if space.len() <= MOST_KEPT {
        KEPT.set(Some(space));
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_comes_back_unless_it_is_large() {
        let place = |len| with_workspace(len, |space| (space.as_ptr() as usize, space.len()));
        let (first, _) = place(1000);
        assert_eq!(place(10), (first, 10));
        let inner = with_workspace(1000, |outer| (outer.as_ptr() as usize, place(1000).0));
        assert_ne!(inner.0, inner.1);
        place(MOST_KEPT + 1);
        assert!(KEPT.take().is_none_or(|kept| kept.len() <= MOST_KEPT));
    }
}
