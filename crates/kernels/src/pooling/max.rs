//! Max pooling, of floats and of quantized bytes alike.

use super::{Fold, pool};
use crate::elementwise::number::Ordered;
use crate::{Isa, ThreadPool, Window};

/// The largest tap of each window, held within `clamp` (the range of a fused activation); padding
/// does not count.
///
/// `input_shape` is `[batch, height, width, channels]`. Input and output of a quantized pooling
/// share their scale and zero point.
///
/// # Panics
/// When a length does not fit `input_shape` and `window`.
pub fn max_pool<T: Ordered>(
    isa: Isa,
    threads: &ThreadPool,
    window: &Window,
    input_shape: [usize; 4],
    input: &[T],
    clamp: [T; 2],
    output: &mut [T],
) {
    pool(isa, threads, window, input_shape, input, Largest { clamp }, output);
}

#[derive(Clone, Copy)]
struct Largest<T> {
    clamp: [T; 2],
}

impl<T: Ordered> Fold<T> for Largest<T> {
    type State = T;
    const START: T = T::LOWEST;

    #[inline(always)]
    fn add(state: T, tap: T) -> T {
        state.larger(tap)
    }

    #[inline(always)]
    fn join(a: T, b: T) -> T {
        a.larger(b)
    }

    #[inline(always)]
    fn finish(self, states: &[T], _: usize, output: &mut [T]) {
        for (o, &state) in output.iter_mut().zip(states) {
            *o = state.within(self.clamp);
        }
    }
}
