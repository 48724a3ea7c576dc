//! Gradients of max and average pooling over `[batch, height, width, channels]`.

use super::contributions::Contributions;
use super::weighted::Weighted;
use crate::elementwise::number::Float;
use crate::multiversion::multiversion;
use crate::pool::DisjointSlice;
use crate::{Isa, ThreadPool, Window};

/// Elements that are worth a task of their own.
const TASK_ELEMENTS: usize = 16 * 1024;

/// The gradient of [`max_pool`](crate::pooling::max_pool): each window's goes to its first largest
/// tap from the top left to the bottom right. A window that sees only padding has no effect.
///
/// `input_shape` is `[batch, height, width, channels]`.
///
/// # Panics
/// When a length does not fit `input_shape` and `window`.
pub fn max_pool<T: Float>(
    isa: Isa,
    pool: &ThreadPool,
    window: &Window,
    input_shape: [usize; 4],
    input: &[T],
    output_gradient: &[T],
    input_gradient: &mut [T],
) {
    let [batch, height, width, channels] = input_shape;
    let [output_height, output_width] = window.output([height, width]);
    assert_eq!(input.len(), batch * height * width * channels, "length of the input");
    assert_eq!(input_gradient.len(), input.len(), "length of the input's gradient");
    let outputs = batch * output_height * output_width * channels;
    assert_eq!(output_gradient.len(), outputs, "length of the output's gradient");
    if input.is_empty() {
        return;
    }
    let geometry = Geometry {
        window,
        input: [height, width],
        output: [output_height, output_width],
        channels,
        rows: Contributions::of_window(window, 0, [height, output_height]),
        columns: Contributions::of_window(window, 1, [width, output_width]),
    };
    let row_len = width * channels;
    // The windows at the seams of parts are looked at twice, so parts are long beside a window.
    let worthwhile = (height * row_len / TASK_ELEMENTS).max(1);
    let parts = (height / (4 * window.kernel[0] * window.dilation[0])).clamp(1, worthwhile);
    let each = height.div_ceil(parts);
    let pieces = DisjointSlice::new(input_gradient);
    let per_sample = height.div_ceil(each);
    pool.run(batch * per_sample, &|task| {
        let (sample, first) = (task / per_sample, task % per_sample * each);
        let rows = first..height.min(first + each);
        let start = sample * height + rows.start;
        // SAFETY: the rows of two tasks do not overlap.
        let piece = unsafe { pieces.piece(start * row_len..(start + rows.len()) * row_len) };
        let input = &input[sample * height * row_len..][..height * row_len];
        let line = output_width * channels;
        let gradient = &output_gradient[sample * output_height * line..][..output_height * line];
        max_rows(isa, &geometry, rows.start, input, gradient, piece);
    });
}

/// What the rows of a max pooling have in common.
struct Geometry<'a> {
    window: &'a Window,
    /// Height and width.
    input: [usize; 2],
    output: [usize; 2],
    channels: usize,
    rows: Contributions<usize>,
    columns: Contributions<usize>,
}

/// No tap: the window sees only padding.
const NONE: u32 = u32::MAX;

multiversion! {
    /// The gradients of the input rows from `first` on, of one sample.
    fn max_rows[T: Float](
        geometry: &Geometry<'_>,
        first: usize,
        input: &[T],
        gradient: &[T],
        input_gradient: &mut [T],
    ) {
        let Geometry { window, input: [_, width], output, channels, .. } = *geometry;
        let [output_height, output_width] = output;
        let line = output_width * channels;
        // The taps that the windows of the output rows before `found` chose, in a ring of as many rows
        // as can see one input row.
        let reach = (window.kernel[0] - 1) * window.dilation[0];
        let ring = (reach / window.stride[0] + 2).min(output_height);
        let mut chosen = vec![NONE; ring * line];
        let mut largest = vec![T::ZERO; channels];
        let mut columns =
            Columns { largest: vec![T::ZERO; width * channels], tap_rows: vec![0; width * channels] };
        let mut found = (first + window.pad_before[0]).saturating_sub(reach) / window.stride[0];
        for (y, pixels) in (first..).zip(input_gradient.chunks_exact_mut(width * channels)) {
            pixels.fill(T::ZERO);
            for &(row, tap_row) in geometry.rows.of(y) {
                while found <= row {
                    let chosen = &mut chosen[found % ring * line..][..line];
                    choose(geometry, found, input, &mut columns, &mut largest, chosen);
                    found += 1;
                }
                let chosen = &chosen[row % ring * line..][..line];
                let gradient = &gradient[row * line..][..line];
                for (x, pixel) in pixels.chunks_exact_mut(channels).enumerate() {
                    for &(column, tap_column) in geometry.columns.of(x) {
                        let tap = (tap_row * window.kernel[1] + tap_column) as u32;
                        let chosen = &chosen[column * channels..][..channels];
                        let gradient = &gradient[column * channels..][..channels];
                        for ((o, &d), &chosen) in pixel.iter_mut().zip(gradient).zip(chosen) {
                            *o = o.plus(if chosen == tap { d } else { T::ZERO });
                        }
                    }
                }
            }
        }
    }
}

/// Space for what [`choose`] finds down the columns of a row of windows.
struct Columns<T> {
    /// The largest element of each column.
    largest: Vec<T>,
    /// The row of taps where it is first.
    tap_rows: Vec<u32>,
}

/// The numbers of the first largest taps of the windows of an output row: first down the columns, then
/// across them, where of equal ones the tap that comes first counts.
#[inline(always)]
fn choose<T: Float>(
    geometry: &Geometry<'_>,
    row: usize,
    input: &[T],
    columns: &mut Columns<T>,
    largest: &mut [T],
    chosen: &mut [u32],
) {
    let Geometry { window, input: [height, width], channels, .. } = *geometry;
    let inside =
        |at: usize, axis: usize, len: usize| at.checked_sub(window.pad_before[axis]).filter(|at| *at < len);
    let rows = (0..window.kernel[0]).filter_map(|tap| {
        let at = inside(row * window.stride[0] + tap * window.dilation[0], 0, height)?;
        Some((tap as u32, &input[at * width * channels..][..width * channels]))
    });
    let mut seen = false;
    for (tap, line) in rows {
        if !seen {
            columns.largest.copy_from_slice(line);
            columns.tap_rows.fill(tap);
            seen = true;
            continue;
        }
        for ((largest, row), &x) in columns.largest.iter_mut().zip(&mut columns.tap_rows).zip(line) {
            let more = x > *largest;
            *largest = if more { x } else { *largest };
            *row = if more { tap } else { *row };
        }
    }
    chosen.fill(NONE);
    if !seen {
        return;
    }
    let taps_per_row = window.kernel[1] as u32;
    for (column, chosen) in chosen.chunks_exact_mut(channels).enumerate() {
        largest.fill(T::LOWEST);
        for tap in 0..window.kernel[1] {
            let at = inside(column * window.stride[1] + tap * window.dilation[1], 1, width);
            let Some(at) = at else { continue };
            let own = columns.largest[at * channels..][..channels].iter();
            let rows = &columns.tap_rows[at * channels..][..channels];
            for ((largest, chosen), (&x, &row)) in largest.iter_mut().zip(&mut *chosen).zip(own.zip(rows)) {
                let number = row * taps_per_row + tap as u32;
                let more = (x > *largest) | ((x == *largest) & (number < *chosen));
                *largest = if more { x } else { *largest };
                *chosen = if more { number } else { *chosen };
            }
        }
    }
}

/// The gradient of [`average_pool`](crate::pooling::average_pool): each window's goes in equal parts
/// to its taps inside the input.
///
/// `input_shape` is `[batch, height, width, channels]`.
///
/// # Panics
/// When a length does not fit `input_shape` and `window`.
pub fn average_pool<T: Float>(
    isa: Isa,
    pool: &ThreadPool,
    window: &Window,
    input_shape: [usize; 4],
    output_gradient: &[T],
    input_gradient: &mut [T],
) {
    let [_, height, width, _] = input_shape;
    let output = window.output([height, width]);
    Weighted {
        input: input_shape,
        output,
        rows: averages(window, 0, [height, output[0]]),
        columns: averages(window, 1, [width, output[1]]),
    }
    .transpose(isa, pool, output_gradient, input_gradient);
}

/// Along an axis each tap inside the input counts 1 over their number.
fn averages<T: Float>(window: &Window, axis: usize, [len, outputs]: [usize; 2]) -> Contributions<T> {
    let taps = Contributions::of_window(window, axis, [len, outputs]);
    let mut inside = vec![0usize; outputs];
    (0..len).flat_map(|input| taps.of(input)).for_each(|&(output, _)| inside[output] += 1);
    let triples = (0..len).flat_map(|input| taps.of(input).iter().map(move |&(output, _)| (input, output)));
    let weighed = triples.map(|(input, output)| (input, output, T::of(1.0 / inside[output] as f64)));
    Contributions::new(len, weighed.collect())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::cases::for_cases;
    use crate::reference::gradient::pooling as reference;

    fn windows() -> impl Strategy<Value = Window> {
        (any::<[u8; 2]>(), any::<[u8; 2]>(), any::<[u8; 2]>(), any::<[u8; 4]>()).prop_map(
            |(kernel, stride, dilation, pad)| {
                let kernel = kernel.map(|k| usize::from(k % 4) + 1);
                let pads: [usize; 4] = std::array::from_fn(|i| usize::from(pad[i]) % kernel[i % 2]);
                Window {
                    kernel,
                    stride: stride.map(|s| usize::from(s % 3) + 1),
                    dilation: dilation.map(|d| usize::from(d % 2) + 1),
                    pad_before: [pads[0], pads[1]],
                    pad_after: [pads[2], pads[3]],
                }
            },
        )
    }

    fn numbers(len: usize, seed: u32) -> Vec<f32> {
        // Few different values, so that windows have several largest taps.
        (0..len as u32)
            .map(|i| (i.wrapping_add(seed).wrapping_mul(2_654_435_761) >> 27) as f32 * 0.25 - 3.0)
            .collect()
    }

    #[test]
    fn gradients_follow_the_plain_loops() {
        let shapes = (1usize..3, 7usize..40, 7usize..14, 1usize..40);
        for_cases(40, (windows(), shapes, any::<u32>()), |(window, shape, seed)| {
            let shape = [shape.0, shape.1, shape.2, shape.3];
            let input = numbers(shape.iter().product(), seed);
            let [height, width] = window.output([shape[1], shape[2]]);
            let d = numbers(shape[0] * height * width * shape[3], seed ^ 77);
            let double = |x: &[f32]| -> Vec<f64> { x.iter().map(|&x| f64::from(x)).collect() };
            let largest = reference::max_pool(&window, shape, &double(&input), &double(&d));
            let average = reference::average_pool(&window, shape, &double(&d));
            for isa in Isa::available_levels() {
                for threads in [1, 3] {
                    let pool = ThreadPool::new(threads);
                    let mut output = vec![7.0; input.len()];
                    max_pool(isa, &pool, &window, shape, &input, &d, &mut output);
                    // Quarters add up exactly.
                    assert_eq!(double(&output), largest, "{window:?} {shape:?}");
                    average_pool(isa, &pool, &window, shape, &d, &mut output);
                    assert!(output.iter().zip(&average).all(|(&o, &e)| (f64::from(o) - e).abs() < 1e-5));
                }
            }
        });
    }

    #[test]
    fn of_equal_taps_the_first_gets_all() {
        let window = Window { kernel: [2, 2], stride: [2, 2], ..Window::POINT };
        let mut output = [7.0; 4];
        let pool = ThreadPool::new(1);
        max_pool(Isa::detect(), &pool, &window, [1, 2, 2, 1], &[1.0, 2.0, 2.0, 2.0], &[5.0], &mut output);
        assert_eq!(output, [0.0, 5.0, 0.0, 0.0]);
    }

    #[test]
    fn windows_of_padding_have_no_effect() {
        let window = Window { pad_before: [1, 1], ..Window::POINT };
        let mut output = [7.0];
        let pool = ThreadPool::new(1);
        max_pool(Isa::detect(), &pool, &window, [1, 1, 1, 1], &[3.0], &[1.0, 2.0, 4.0, 8.0], &mut output);
        assert_eq!(output, [8.0]);
        average_pool(Isa::detect(), &pool, &window, [1, 1, 1, 1], &[1.0, 2.0, 4.0, 8.0], &mut output);
        assert_eq!(output, [8.0]);
    }
}
