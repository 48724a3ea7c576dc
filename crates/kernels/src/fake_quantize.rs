//! Rounding real numbers to the grid that integers would have, without leaving real numbers: what
//! quantization-aware training simulates.

use crate::elementwise::TASK_ELEMENTS;
use crate::elementwise::number::Float;
use crate::multiversion::multiversion;
use crate::{Isa, ThreadPool};

/// The grids of a tensor's channels.
#[derive(Clone, Debug, PartialEq)]
pub struct Grid<T> {
    /// The step of each channel; one for a whole tensor. Finite and above 0.
    pub scales: Vec<T>,
    /// The integer that stands for 0, for each scale.
    pub zero_points: Vec<i32>,
    /// Smallest and largest integer.
    pub range: [i32; 2],
    /// Number of elements behind the channel axis: the channel of element `i` is
    /// `i / inner % scales.len()`.
    pub inner: usize,
}

/// `(clamp(round(x * (1 / scale)) + zero point, range) - zero point) * scale`, ties to even: the
/// number that [`quantize`](crate::convert::quantize) and
/// [`dequantize`](crate::convert::dequantize) make of `x`. What is no number becomes the lowest.
///
/// # Panics
/// When the lengths differ, or the grid has no scale, another number of zero points or `inner` 0.
pub fn fake_quantize<T: Float>(isa: Isa, pool: &ThreadPool, grid: &Grid<T>, input: &[T], output: &mut [T]) {
    assert_eq!(input.len(), output.len(), "input and output must have equally many elements");
    assert!(!grid.scales.is_empty() && grid.inner > 0, "there must be a channel");
    assert_eq!(grid.scales.len(), grid.zero_points.len(), "a zero point for each scale");
    let steps = Steps::of(grid);
    let inner = if steps.len() == 1 { input.len().max(1) } else { grid.inner };
    let rows = pool.rows_per_task(output.len(), TASK_ELEMENTS);
    pool.run_rows(output, 1, rows, |first, mut piece| {
        let mut at = first;
        while !piece.is_empty() {
            let run = (inner - at % inner).min(piece.len());
            let (line, rest) = piece.split_at_mut(run);
            round_line(isa, &input[at..at + run], steps[at / inner % steps.len()], line);
            (at, piece) = (at + run, rest);
        }
    });
}

/// One channel's grid, counted in steps from its zero point.
#[derive(Clone, Copy)]
pub(crate) struct Steps<T> {
    pub(crate) scale: T,
    pub(crate) inverse: T,
    pub(crate) range: [T; 2],
}

impl<T: Float> Steps<T> {
    /// Those of each channel of a grid.
    pub(crate) fn of(grid: &Grid<T>) -> Vec<Steps<T>> {
        let channels = grid.scales.iter().zip(&grid.zero_points);
        let steps = |(&scale, &zero): (&T, &i32)| {
            let bound = |limit: i32| T::of(f64::from(limit) - f64::from(zero));
            Steps { scale, inverse: T::ONE.over(scale), range: grid.range.map(bound) }
        };
        channels.map(steps).collect()
    }

    /// The smallest and the largest number of the grid.
    pub(crate) fn span(&self) -> [T; 2] {
        self.range.map(|steps| steps.times(self.scale))
    }

    #[inline(always)]
    fn round(self, x: T) -> T {
        let Steps { scale, inverse, range: [low, high] } = self;
        let wanted = x.times(inverse).round_even();
        // Written so that what is no number becomes the lowest.
        let raised = if wanted > low { wanted } else { low };
        (if raised < high { raised } else { high }).times(scale)
    }
}

multiversion! {
    fn round_line[T: Float](input: &[T], steps: Steps<T>, output: &mut [T]) {
        for (o, &x) in output.iter_mut().zip(input) {
            *o = steps.round(x);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::convert::{dequantize, quantize};
    use crate::elementwise::Affine;

    #[test]
    fn numbers_are_those_that_quantizing_and_dequantizing_gives() {
        let pool = ThreadPool::new(2);
        let input: Vec<f32> = (0..40_000).map(|i| i as f32 * 0.0037 - 50.0).chain([f32::NAN, 1e30]).collect();
        let affine = Affine::new(0.043, 131);
        let (mut bytes, mut expected) = (vec![0; input.len()], vec![0.0; input.len()]);
        quantize(Isa::Portable, &pool, &input, affine, &mut bytes);
        dequantize(Isa::Portable, &pool, &bytes, affine.scale, affine.zero_point, &mut expected);
        let grid = Grid { scales: vec![0.043], zero_points: vec![3], range: [-128, 127], inner: 1 };
        for isa in Isa::available_levels() {
            let mut output = vec![0.0; input.len()];
            fake_quantize(isa, &pool, &grid, &input, &mut output);
            assert_eq!(output, expected, "{isa}");
        }
    }

    #[test]
    fn channels_have_their_own_grid() {
        let grid = Grid { scales: vec![1.0, 0.5], zero_points: vec![0, 1], range: [-3, 3], inner: 2 };
        let mut output = [0.0; 6];
        let input = [0.4, 9.0, 0.4, 9.0, -9.0, 1.5];
        fake_quantize(Isa::Portable, &ThreadPool::new(1), &grid, &input, &mut output);
        assert_eq!(output, [0.0, 3.0, 0.5, 1.0, -3.0, 2.0]);
    }
}
