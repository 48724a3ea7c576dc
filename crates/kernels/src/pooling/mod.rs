//! Max and average pooling over `[batch, height, width, channels]`.
//!
//! Both fold a window's rows first (long vectors: whole rows of the input), then its columns. That
//! is the order of summation of float averages.

mod average;
mod max;
mod span;

pub use average::{average_pool, average_pool_quantized};
pub use max::max_pool;

use crate::multiversion::multiversion;
use crate::reduce::groups::Groups;
use crate::{Isa, ThreadPool, Window};
use span::Span;

/// How the taps of a window become one value.
pub(crate) trait Fold<T: Copy>: Copy + Sync {
    /// What is carried from tap to tap.
    type State: Copy;
    /// The state before any tap.
    const START: Self::State;
    /// Takes in a tap.
    fn add(state: Self::State, tap: T) -> Self::State;
    /// Joins the states of two sets of taps.
    fn join(a: Self::State, b: Self::State) -> Self::State;
    /// The values of windows of `taps` taps, none of which lies in the padding.
    fn finish(self, states: &[Self::State], taps: usize, output: &mut [T]);
}

/// Elements that windows see which are worth a task of their own.
const TASK_TAPS: usize = 32 * 1024;

#[derive(Clone, Copy)]
struct Geometry<'a> {
    window: &'a Window,
    height: usize,
    width: usize,
    channels: usize,
    output: [usize; 2],
}

/// Runs a pooling: checks the lengths and splits the output's rows over the threads.
pub(crate) fn pool<T: Copy + Send + Sync, F: Fold<T>>(
    isa: Isa,
    threads: &ThreadPool,
    window: &Window,
    [batch, height, width, channels]: [usize; 4],
    input: &[T],
    fold: F,
    output: &mut [T],
) {
    let [output_height, output_width] = window.output([height, width]);
    assert_eq!(input.len(), batch * height * width * channels, "the input must have its shape's length");
    assert_eq!(
        output.len(),
        batch * output_height * output_width * channels,
        "the output must have the length that the window gives"
    );
    let geometry = Geometry { window, height, width, channels, output: [output_height, output_width] };
    let row_len = output_width * channels;
    let work_per_row = (row_len * window.taps()).max(1);
    let rows = threads.rows_per_task(batch * output_height, TASK_TAPS.div_ceil(work_per_row));
    threads.run_rows(output, row_len, rows, |first, piece| {
        pool_rows(isa, geometry, input, first, fold, piece);
    });
}

multiversion! {
    fn pool_rows[T: Copy, F: Fold<T>](
        geometry: Geometry<'_>,
        input: &[T],
        first_row: usize,
        fold: F,
        output: &mut [T],
    ) {
        let Geometry { window, height, width, channels, output: [output_height, output_width] } = geometry;
        let row_len = width * channels;
        let spans: Vec<Span> = (0..output_width).map(|x| Span::new(window, 1, width, x)).collect();
        // A window of few channels is joined as if it had more: what lies behind its last one is not kept.
        let few = channels < Groups::NARROW;
        let mut columns = vec![F::START; row_len + if few { Groups::NARROW } else { 0 }];
        for (row, output) in (first_row..).zip(output.chunks_exact_mut(output_width * channels)) {
            let (image, y) = (row / output_height, row % output_height);
            let rows = Span::new(window, 0, height, y);
            let start = (image * height + rows.first) * row_len;
            fold_rows::<T, F>(&input[start..], rows.step * row_len, rows.taps, &mut columns[..row_len]);
            for (span, output) in spans.iter().zip(output.chunks_exact_mut(channels)) {
                if few {
                    let columns = &columns[span.first * channels..];
                    let (step, taps) = (span.step * channels, [rows.taps, span.taps]);
                    pool_group::<T, F, { Groups::NARROW }>(columns, step, taps, fold, 0, output);
                    continue;
                }
                for group in Groups::new(0, channels) {
                    let output = &mut output[group.outputs];
                    let columns = &columns[span.first * channels + group.start..];
                    let step = span.step * channels;
                    let taps = [rows.taps, span.taps];
                    match group.width {
                        Groups::WIDE => {
                            pool_group::<T, F, { Groups::WIDE }>(columns, step, taps, fold, group.skip, output);
                        }
                        _ => pool_group::<T, F, { Groups::NARROW }>(columns, step, taps, fold, group.skip, output),
                    }
                }
            }
        }
    }
}

/// Columns that are folded at a time, in registers.
const COLUMNS: usize = 64;

/// Folds rows of the input that begin `step` apart, from its beginning on.
#[inline(always)]
fn fold_rows<T: Copy, F: Fold<T>>(input: &[T], step: usize, taps: usize, columns: &mut [F::State]) {
    let mut first = 0;
    let mut chunks = columns.chunks_exact_mut(COLUMNS);
    for columns in &mut chunks {
        let mut states = [F::START; COLUMNS];
        for tap in 0..taps {
            let row = &input[tap * step + first..][..COLUMNS];
            for (state, &value) in states.iter_mut().zip(row) {
                *state = F::add(*state, value);
            }
        }
        columns.copy_from_slice(&states);
        first += COLUMNS;
    }
    for (index, column) in (first..).zip(chunks.into_remainder()) {
        *column = (0..taps).fold(F::START, |state, tap| F::add(state, input[tap * step + index]));
    }
}

/// Joins the columns that one window sees, `step` apart, for some channels, and leaves out the
/// first `skip` of them.
#[inline(always)]
fn pool_group<T: Copy, F: Fold<T>, const WIDTH: usize>(
    columns: &[F::State],
    step: usize,
    taps: [usize; 2],
    fold: F,
    skip: usize,
    output: &mut [T],
) {
    let mut states = [F::START; WIDTH];
    for tap in 0..taps[1] {
        let column = &columns[tap * step..][..WIDTH];
        for (state, &more) in states.iter_mut().zip(column) {
            *state = F::join(*state, more);
        }
    }
    fold.finish(&states[skip..], taps[0] * taps[1], output);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reference::pooling::windows;
    use proptest::prelude::*;

    fn window() -> impl Strategy<Value = Window> {
        (any::<[u8; 2]>(), any::<[u8; 2]>(), any::<[u8; 2]>(), any::<[u8; 4]>()).prop_map(
            |(kernel, stride, dilation, pad)| {
                let kernel = kernel.map(|k| usize::from(k % 4) + 1);
                let dilation = dilation.map(|d| usize::from(d % 2) + 1);
                // Less padding than the window reaches, so that every window sees the input.
                let pads: [usize; 4] = std::array::from_fn(|i| usize::from(pad[i]) % kernel[i % 2]);
                Window {
                    kernel,
                    stride: stride.map(|s| usize::from(s % 3) + 1),
                    dilation,
                    pad_before: [pads[0], pads[1]],
                    pad_after: [pads[2], pads[3]],
                }
            },
        )
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

        #[test]
        fn every_level_agrees_with_the_plain_loop(
            window in window(),
            shape in (1usize..3, 7usize..14, 7usize..14, 1usize..70),
            seed in any::<u32>(),
        ) {
            let shape = [shape.0, shape.1, shape.2, shape.3];
            let elements = shape.iter().product::<usize>() as u32;
            let bytes: Vec<u8> = (0..elements).map(|i| (i.wrapping_add(seed).wrapping_mul(2_654_435_761) >> 24) as u8).collect();
            let floats: Vec<f32> = bytes.iter().map(|&x| f32::from(x) * 0.1 - 9.0).collect();

            let largest = windows(&window, shape, &bytes, |taps| (*taps.iter().max().unwrap()).clamp(9, 250));
            let largest_float = windows(&window, shape, &floats, |taps| taps.iter().copied().fold(-7.0, f32::max));
            let mean = windows(&window, shape, &bytes, |taps| {
                let sum: f64 = taps.iter().map(|&x| f64::from(x) - 128.0).sum();
                ((sum / taps.len() as f64).round() + 128.0) as u8
            });
            let mean_float = windows(&window, shape, &floats, |taps| {
                taps.iter().map(|&x| f64::from(x)).sum::<f64>() / taps.len() as f64
            });
            let mut first: Option<Vec<f32>> = None;
            for isa in Isa::available_levels() {
                let threads = ThreadPool::new(2);
                let mut output = vec![0; largest.len()];
                max_pool(isa, &threads, &window, shape, &bytes, [9, 250], &mut output);
                prop_assert_eq!(&output, &largest);
                average_pool_quantized(isa, &threads, &window, shape, &bytes, [0, 255], &mut output);
                prop_assert_eq!(&output, &mean);
                let mut output = vec![0.0; largest.len()];
                max_pool(isa, &threads, &window, shape, &floats, [-7.0, f32::INFINITY], &mut output);
                prop_assert_eq!(&output, &largest_float);
                average_pool(isa, &threads, &window, shape, &floats, [f32::NEG_INFINITY, f32::INFINITY], &mut output);
                prop_assert!(output.iter().zip(&mean_float).all(|(&a, &b)| (f64::from(a) - b).abs() < 1e-5));
                // The same bits on every level.
                prop_assert_eq!(&output, first.get_or_insert_with(|| output.clone()));
            }
        }
    }

    #[test]
    fn averages_over_very_many_taps_stay_exact() {
        let window = Window { kernel: [300, 300], ..Window::POINT };
        let input: Vec<u8> = (0..90_000u32).map(|i| (i % 251) as u8).collect();
        let sum: i64 = input.iter().map(|&x| i64::from(x) - 128).sum();
        let expected = ((sum as f64 / 90_000.0).round() + 128.0) as u8;
        let mut output = [0];
        let shape = [1, 300, 300, 1];
        average_pool_quantized(
            Isa::detect(),
            &ThreadPool::new(1),
            &window,
            shape,
            &input,
            [0, 255],
            &mut output,
        );
        assert_eq!(output, [expected]);
    }

    #[test]
    fn windows_that_see_only_padding_have_defined_results() {
        let window = Window { pad_before: [2, 3], pad_after: [1, 2], ..Window::POINT };
        let shape = [1, 1, 1, 17];
        let (len, centre) = (4 * 6 * 17, (2 * 6 + 3) * 17);
        for isa in Isa::available_levels() {
            let threads = ThreadPool::new(1);
            let mut output = vec![7; len];
            max_pool(isa, &threads, &window, shape, &[200; 17], [3, 250], &mut output);
            assert!((0..len).all(|i| output[i] == if (centre..centre + 17).contains(&i) { 200 } else { 3 }));
            let mut output = vec![7.0; len];
            let unclamped = [f32::NEG_INFINITY, f32::INFINITY];
            average_pool(isa, &threads, &window, shape, &[2.5; 17], unclamped, &mut output);
            assert!(
                (0..len).all(|i| output[i] == if (centre..centre + 17).contains(&i) { 2.5 } else { 0.0 })
            );
        }
    }
}
