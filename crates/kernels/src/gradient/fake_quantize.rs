//! What quantization-aware training learns and passes: ranges of tensors, the grids that they give,
//! and the straight-through gradient.

use crate::elementwise::TASK_ELEMENTS;
use crate::elementwise::number::Float;
use crate::fake_quantize::{Grid, Steps};
use crate::multiversion::multiversion;
use crate::{Isa, ThreadPool};

/// Smallest and largest number of a tensor or channel.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Range<T> {
    /// The smallest.
    pub min: T,
    /// The largest.
    pub max: T,
}

impl<T: Float> Range<T> {
    /// What holds no number.
    const NOTHING: Range<T> = Range { min: T::HIGHEST, max: T::LOWEST };

    /// The range of both.
    #[must_use]
    pub fn join(self, other: Range<T>) -> Range<T> {
        Range { min: self.min.smaller(other.min), max: self.max.larger(other.max) }
    }

    /// The range with 0 in it, as every quantized range must have it.
    #[must_use]
    pub fn with_zero(self) -> Range<T> {
        Range { min: self.min.smaller(T::ZERO), max: self.max.larger(T::ZERO) }
    }

    /// The range made equally wide on both sides of 0, as weights have it.
    #[must_use]
    pub fn symmetric(self) -> Range<T> {
        let widest = self.min.magnitude().larger(self.max.magnitude());
        Range { min: T::ZERO.minus(widest), max: widest }
    }

    /// Scale and zero point of the `bits`-bit grid nearest to this range, which must have 0 in it:
    /// the scale is the width over the number of steps and the zero point the nearest integer to
    /// where 0 falls, ties away from zero (TensorFlow's `FakeQuantWithMinMaxVars` calls the range
    /// that results the nudged one). Integers run from `-2^(bits - 1)`, or one above if `narrow`, to
    /// `2^(bits - 1) - 1`.
    ///
    /// `None` for a range without width or with a bound that is not finite, which no grid fits.
    #[must_use]
    fn nudged(self, bits: Bits) -> Option<(T, i32)> {
        let [low, high] = bits.unsigned();
        let width = self.max.minus(self.min);
        let scale = width.over(T::of(f64::from(high - low)));
        // Written so that what is no number gives nothing.
        let fits = scale > T::ZERO && width < T::HIGHEST;
        fits.then(|| {
            let wanted = T::of(f64::from(low)).minus(self.min.over(scale));
            let held = wanted.within([T::of(f64::from(low)), T::of(f64::from(high))]);
            let zero = (held.plus(T::of(0.5)).floor().double()) as i32;
            (scale, zero - bits.offset())
        })
    }
}

/// The integers of a grid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bits {
    /// How many bits: 2 to 16.
    pub count: u32,
    /// Whether the lowest integer is left out, so that as many lie below 0 as above.
    pub narrow: bool,
}

impl Bits {
    /// 0, or 1 if narrow, to `2^count - 1`.
    fn unsigned(self) -> [i32; 2] {
        assert!((2..=16).contains(&self.count), "a grid has 2 to 16 bits, not {}", self.count);
        [i32::from(self.narrow), (1 << self.count) - 1]
    }

    fn offset(self) -> i32 {
        1 << (self.count - 1)
    }
}

/// The grid whose channels have these ranges, for [`fake_quantize`](crate::fake_quantize::fake_quantize)
/// and [`gradient`]: TensorFlow's nudged ranges, the integers counted from `-2^(bits - 1)`.
///
/// `inner` is the number of elements behind the channel axis. A range without width, such as that of
/// a tensor of zeros, gets scale 1 and zero point 0, which leaves zeros as they are.
///
/// # Panics
/// When the number of bits is not among 2 to 16.
#[must_use]
pub fn grid<T: Float>(ranges: &[Range<T>], bits: Bits, inner: usize) -> Grid<T> {
    let (scales, zero_points) = ranges.iter().map(|range| range.nudged(bits).unwrap_or((T::ONE, 0))).unzip();
    let range = bits.unsigned().map(|bound| bound - bits.offset());
    Grid { scales, zero_points, range, inner }
}

/// The range of each channel, where the channel of element `i` is `i / inner % ranges.len()` (one
/// range: of the whole tensor). NaN anywhere makes NaN; a channel without elements gets infinity and
/// minus infinity.
///
/// # Panics
/// When there is no range, or the input is no whole number of `ranges.len() * inner` elements
/// (of one range: never).
pub fn ranges<T: Float>(isa: Isa, pool: &ThreadPool, inner: usize, input: &[T], ranges: &mut [Range<T>]) {
    assert!(!ranges.is_empty(), "there must be a channel");
    let channels = ranges.len();
    if channels == 1 {
        // In parts that depend on the length alone; but of minima every order gives the same.
        let parts = input.len().div_ceil(TASK_ELEMENTS).max(1);
        let mut partial = vec![Range::NOTHING; parts];
        let per_task = pool.rows_per_task(parts, 1);
        pool.run_rows(&mut partial, 1, per_task, |first, partial| {
            for (part, range) in (first..).zip(partial) {
                let end = input.len().min((part + 1) * TASK_ELEMENTS);
                *range = range_of_line(isa, &input[part * TASK_ELEMENTS..end]);
            }
        });
        ranges[0] = partial.into_iter().fold(Range::NOTHING, Range::join);
        return;
    }
    let slab = channels * inner;
    assert!(slab > 0 && input.len().is_multiple_of(slab), "the input must be whole channels");
    let per_task = pool.rows_per_task(channels, TASK_ELEMENTS.div_ceil((input.len() / channels).max(1)));
    pool.run_rows(ranges, 1, per_task, |first, ranges| {
        ranges.fill(Range::NOTHING);
        for slab in input.chunks_exact(slab) {
            if inner == 1 {
                join_ranges(isa, &slab[first..][..ranges.len()], ranges);
                continue;
            }
            let lines = slab[first * inner..].chunks_exact(inner);
            for (range, line) in ranges.iter_mut().zip(lines) {
                *range = range.join(range_of_line(isa, line));
            }
        }
    });
}

multiversion! {
    fn range_of_line[T: Float](line: &[T]) -> Range<T> {
        const LANES: usize = 32;
        let (mut low, mut high) = ([T::HIGHEST; LANES], [T::LOWEST; LANES]);
        let (whole, rest) = line.as_chunks::<LANES>();
        for elements in whole {
            for i in 0..LANES {
                low[i] = low[i].smaller(elements[i]);
                high[i] = high[i].larger(elements[i]);
            }
        }
        for ((low, high), &x) in low.iter_mut().zip(&mut high).zip(rest) {
            (*low, *high) = (low.smaller(x), high.larger(x));
        }
        let lanes = low.into_iter().zip(high).map(|(min, max)| Range { min, max });
        lanes.fold(Range::NOTHING, Range::join)
    }
}

multiversion! {
    fn join_ranges[T: Float](row: &[T], ranges: &mut [Range<T>]) {
        for (range, &x) in ranges.iter_mut().zip(row) {
            *range = Range { min: range.min.smaller(x), max: range.max.larger(x) };
        }
    }
}

/// The straight-through gradient of [`fake_quantize`](crate::fake_quantize::fake_quantize): that of
/// the output where the input lies within the smallest and the largest number of its channel's grid,
/// bounds counted in, and 0 elsewhere.
///
/// # Panics
/// When the lengths differ, or the grid has no scale, another number of zero points or `inner` 0.
pub fn gradient<T: Float>(
    isa: Isa,
    pool: &ThreadPool,
    grid: &Grid<T>,
    input: &[T],
    output_gradient: &[T],
    input_gradient: &mut [T],
) {
    let len = input.len();
    assert!(
        output_gradient.len() == len && input_gradient.len() == len,
        "tensors must have equally many elements"
    );
    assert!(!grid.scales.is_empty() && grid.inner > 0, "there must be a channel");
    assert_eq!(grid.scales.len(), grid.zero_points.len(), "a zero point for each scale");
    let bounds: Vec<[T; 2]> = Steps::of(grid).iter().map(Steps::span).collect();
    let inner = if bounds.len() == 1 { len.max(1) } else { grid.inner };
    let rows = pool.rows_per_task(len, TASK_ELEMENTS);
    pool.run_rows(input_gradient, 1, rows, |first, mut piece| {
        let (mut at, end) = (first, first + piece.len());
        while at < end {
            let run = if inner == 1 { end - at } else { (inner - at % inner).min(end - at) };
            let (line, rest) = piece.split_at_mut(run);
            let (x, d) = (&input[at..at + run], &output_gradient[at..at + run]);
            if inner == 1 {
                pass_channels(isa, x, d, &bounds, at % bounds.len(), line);
            } else {
                pass_line(isa, x, d, bounds[at / inner % bounds.len()], line);
            }
            (at, piece) = (at + run, rest);
        }
    });
}

/// `d` where `x` lies within the bounds.
#[inline(always)]
fn passed<T: Float>(x: T, d: T, [low, high]: [T; 2]) -> T {
    let above = if x >= low { d } else { T::ZERO };
    if x <= high { above } else { T::ZERO }
}

multiversion! {
    fn pass_line[T: Float](x: &[T], d: &[T], bounds: [T; 2], output: &mut [T]) {
        for ((o, &x), &d) in output.iter_mut().zip(x).zip(d) {
            *o = passed(x, d, bounds);
        }
    }
}

multiversion! {
    /// Of channels next to each other, the first of which is number `first`.
    fn pass_channels[T: Float](x: &[T], d: &[T], bounds: &[[T; 2]], first: usize, output: &mut [T]) {
        let channels = bounds.iter().cycle().skip(first);
        for (((o, &x), &d), &bounds) in output.iter_mut().zip(x).zip(d).zip(channels) {
            *o = passed(x, d, bounds);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake_quantize::fake_quantize;
    use crate::reference::gradient::fake_quantize as reference;

    fn numbers(len: usize) -> Vec<f32> {
        (0..len).map(|i| ((i * 7919 % 1009) as f32 - 400.0) * 0.013).collect()
    }

    fn double(x: &[f32]) -> Vec<f64> {
        x.iter().map(|&x| f64::from(x)).collect()
    }

    #[test]
    fn ranges_and_gradients_follow_the_plain_loops() {
        for (outer, channels, inner) in [(1, 1, 100_000), (3, 5, 7), (2000, 37, 1), (1, 64, 576), (9, 1, 3)] {
            let x = numbers(outer * channels * inner);
            let d: Vec<f32> = x.iter().map(|x| 1.0 - x).collect();
            let expected = reference::ranges(channels, inner, &double(&x));
            for isa in Isa::available_levels() {
                for threads in [1, 3] {
                    let pool = ThreadPool::new(threads);
                    let mut found = vec![Range { min: 7.0, max: 7.0 }; channels];
                    ranges(isa, &pool, inner, &x, &mut found);
                    let wide = |r: &Range<f32>| Range { min: f64::from(r.min), max: f64::from(r.max) };
                    assert_eq!(found.iter().map(wide).collect::<Vec<_>>(), expected);
                    // Ranges that cut some elements off.
                    let half = |r: &Range<f32>| Range { min: r.min * 0.5, max: r.max * 0.5 }.with_zero();
                    let cut: Vec<_> = found.iter().map(half).collect();
                    let grid = grid(&cut, Bits { count: 8, narrow: false }, inner);
                    let mut dx = vec![7.0; x.len()];
                    gradient(isa, &pool, &grid, &x, &d, &mut dx);
                    assert_eq!(dx, reference::gradient(&grid, &x, &d));
                }
            }
        }
    }

    #[test]
    fn grids_are_those_of_tensorflow() {
        // What tf.quantization.fake_quant_with_min_max_vars makes of these bounds.
        let cases = [
            ((-6.0, 6.0), 8, false, (12.0 / 255.0, 0)),
            ((0.0, 6.0), 8, false, (6.0 / 255.0, -128)),
            ((-0.1, 6.0), 8, false, (6.1 / 255.0, -124)),
            ((-1.0, 1.0), 8, true, (2.0 / 254.0, 0)),
            ((-1.0, 1.0), 4, true, (2.0 / 14.0, 0)),
            ((-1.0, 0.0), 2, false, (1.0 / 3.0, 1)),
            ((-0.5, 0.5), 16, true, (1.0 / 65534.0, 0)),
        ];
        for ((min, max), count, narrow, (scale, zero)) in cases {
            let grid = grid(&[Range { min, max }], Bits { count, narrow }, 1);
            assert!((grid.scales[0] / scale - 1.0f64).abs() < 1e-12, "{min} {max}");
            assert_eq!(grid.zero_points, [zero], "{min} {max} {count}");
            let lowest = -(1 << (count - 1)) + i32::from(narrow);
            assert_eq!(grid.range, [lowest, (1 << (count - 1)) - 1]);
        }
    }

    #[test]
    fn weights_have_symmetric_ranges() {
        let range = Range { min: -0.3f32, max: 0.2 }.symmetric();
        assert_eq!(range, Range { min: -0.3, max: 0.3 });
        assert_eq!(Range { min: 0.5f32, max: 2.0 }.with_zero(), Range { min: 0.0, max: 2.0 });
    }

    #[test]
    fn zeros_stay_zeros_and_pass_their_gradient() {
        let grid = grid(&[Range { min: 0.0f32, max: 0.0 }], Bits { count: 8, narrow: false }, 1);
        let (pool, mut y, mut dx) = (ThreadPool::new(1), [7.0; 2], [7.0; 2]);
        fake_quantize(Isa::detect(), &pool, &grid, &[0.0, 0.0], &mut y);
        gradient(Isa::detect(), &pool, &grid, &[0.0, 0.0], &[3.0, -2.0], &mut dx);
        assert_eq!((y, dx), ([0.0; 2], [3.0, -2.0]));
    }

    #[test]
    fn not_a_number_shows_in_the_range() {
        let mut found = [Range { min: 0.0f32, max: 0.0 }];
        ranges(Isa::detect(), &ThreadPool::new(1), 1, &[1.0, f32::NAN, 2.0], &mut found);
        assert!(found[0].min.is_nan() && found[0].max.is_nan());
    }
}
