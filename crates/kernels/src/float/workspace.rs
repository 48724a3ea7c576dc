//! Memory that a kernel needs while it runs, kept by each thread for the next kernel: fresh memory would
//! have to be cleared, and on most systems fetched page by page.

use std::cell::RefCell;

use crate::aligned::Aligned;

/// Most floats that a thread keeps.
const MOST_KEPT: usize = 1 << 20;

thread_local! {
    static KEPT: RefCell<Vec<Aligned<f32>>> = const { RefCell::new(Vec::new()) };
}

/// Calls `work` with `len` floats that start on a cache line and hold any numbers. Such calls may stand in
/// each other.
pub(crate) fn with_workspace<R>(len: usize, work: impl FnOnce(&mut [f32]) -> R) -> R {
    let kept = KEPT.with_borrow_mut(|kept| {
        let fits = kept.iter().rposition(|space| space.len() >= len);
        fits.map(|place| kept.remove(place)).or_else(|| {
            // Too small for what is done here: it makes room for one that is large enough.
            kept.pop();
            None
        })
    });
    let mut space = kept.unwrap_or_else(|| Aligned::zeroed(len));
    let result = work(&mut space[..len]);
    if space.len() <= MOST_KEPT {
        KEPT.with_borrow_mut(|kept| kept.push(space));
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
        let nested = || with_workspace(1000, |outer| (outer.as_ptr() as usize, place(1000).0));
        let inner = nested();
        assert_ne!(inner.0, inner.1);
        let again = nested();
        assert!(inner == again || inner == (again.1, again.0), "both are kept");
        place(MOST_KEPT + 1);
        assert!(KEPT.take().iter().all(|kept| kept.len() <= MOST_KEPT));
    }
}
