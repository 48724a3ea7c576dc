//! Memory asked for before it is read.

/// Bytes of a cache line.
const LINE: usize = 64;

/// Asks for all cache lines of a slice that will be read soon: what is read in many short pieces, far from
/// one another, the processor does not foresee.
#[inline]
pub(crate) fn prefetch<T>(slice: &[T]) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        let start = slice.as_ptr().cast::<i8>();
        for offset in (0..size_of_val(slice)).step_by(LINE) {
            // SAFETY: a hint changes nothing, whatever the address.
            unsafe { _mm_prefetch::<_MM_HINT_T0>(start.wrapping_add(offset)) };
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (slice, LINE);
}
