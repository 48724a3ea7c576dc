//! Average pooling of 16-bit numbers.

use super::requantize::round_away;
use crate::elementwise::number::Ordered;
use crate::pooling::{Fold, pool};
use crate::{Isa, ThreadPool, Window};

/// The mean of each window's taps inside the input (padding does not count), exact and rounded half
/// away from zero, held within `clamp`. Input and output share their scale. A window that lies wholly
/// in the padding gives 0. Equal to LiteRT in every value.
///
/// `input_shape` is `[batch, height, width, channels]`.
///
/// # Panics
/// When a length does not fit `input_shape` and `window`.
pub fn average_pool(
    isa: Isa,
    threads: &ThreadPool,
    window: &Window,
    input_shape: [usize; 4],
    input: &[i16],
    clamp: [i16; 2],
    output: &mut [i16],
) {
    pool(isa, threads, window, input_shape, input, Mean { clamp }, output);
}

#[derive(Clone, Copy)]
struct Mean {
    clamp: [i16; 2],
}

impl Fold<i16> for Mean {
    type State = i64;
    const START: i64 = 0;

    #[inline(always)]
    fn add(state: i64, tap: i16) -> i64 {
        state + i64::from(tap)
    }

    #[inline(always)]
    fn join(a: i64, b: i64) -> i64 {
        a + b
    }

    #[inline(always)]
    fn finish(self, states: &[i64], taps: usize, output: &mut [i16]) {
        let taps = taps.max(1) as f64;
        for (o, &state) in output.iter_mut().zip(states) {
            // A quotient is a tie only if it is one exactly: others are too far away to be rounded
            // to one.
            *o = (round_away(state as f64 / taps) as i16).within(self.clamp);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reference::pooling::windows;

    #[test]
    fn means_round_half_away_from_zero_on_every_level() {
        let shape = [2, 9, 7, 19];
        let input: Vec<i16> = (0..shape.iter().product::<usize>() as u32)
            .map(|i| (i.wrapping_mul(2_654_435_761) >> 16) as i16)
            .collect();
        for (kernel, stride, pad) in [([2, 2], [2, 2], 0), ([3, 3], [1, 2], 1), ([9, 7], [1, 1], 0)] {
            let window =
                Window { kernel, stride, pad_before: [pad; 2], pad_after: [pad; 2], ..Window::POINT };
            let expected = windows(&window, shape, &input, |taps| {
                let sum: i64 = taps.iter().map(|&tap| i64::from(tap)).sum();
                let (magnitude, taps) = (sum.abs(), taps.len() as i64);
                (((magnitude + taps / 2) / taps * sum.signum()) as i16).clamp(-9000, 20_000)
            });
            for isa in Isa::available_levels() {
                let mut output = vec![7; expected.len()];
                let clamp = [-9000, 20_000];
                average_pool(isa, &ThreadPool::new(2), &window, shape, &input, clamp, &mut output);
                assert_eq!(output, expected, "{isa}");
            }
        }
    }
}
