//! Ranges and straight-through gradients, one element at a time.

use crate::elementwise::number::Float;
use crate::fake_quantize::Grid;
use crate::gradient::fake_quantize::Range;

/// The range of each channel; the channel of element `i` is `i / inner % channels`.
#[must_use]
pub fn ranges<T: Float>(channels: usize, inner: usize, input: &[T]) -> Vec<Range<T>> {
    let mut ranges = vec![Range { min: T::HIGHEST, max: T::LOWEST }; channels];
    for (i, &x) in input.iter().enumerate() {
        let range = &mut ranges[i / inner % channels];
        *range = Range { min: range.min.smaller(x), max: range.max.larger(x) };
    }
    ranges
}

/// The output's gradient where the input lies on the grid's range.
#[must_use]
pub fn gradient<T: Float>(grid: &Grid<T>, input: &[T], output_gradient: &[T]) -> Vec<T> {
    let value = |(i, (&x, &d)): (usize, (&T, &T))| {
        let channel = i / grid.inner % grid.scales.len();
        let [low, high] = grid.range.map(|bound| {
            T::of(f64::from(bound) - f64::from(grid.zero_points[channel])).times(grid.scales[channel])
        });
        if x >= low && x <= high { d } else { T::ZERO }
    };
    input.iter().zip(output_gradient).enumerate().map(value).collect()
}
