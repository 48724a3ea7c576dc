//! Gradients of depthwise convolutions, channels last.
//!
//! Weights and their gradients are `[1, kernel height, kernel width, in_channels * multiplier]`, as
//! [`Depthwise`] takes them.

use super::contributions::Contributions;
use crate::float::{Clamp, Depthwise, Gather, assert_sound, volume, weight_gradient};
use crate::multiversion::multiversion;
use crate::{Isa, ThreadPool, Window};

/// Multiply-adds that are worth a task of their own.
const TASK_WORK: usize = 100_000;

/// Most blocks of rows that the general weight gradient is summed in.
const MOST_BLOCKS: usize = 16;

/// The gradient of a depthwise convolution with respect to its input, for weights that change.
pub struct InputGradient {
    isa: Isa,
    window: Window,
    in_channels: usize,
    multiplier: usize,
    method: Method,
}

enum Method {
    /// A stride of 1: a depthwise convolution of the output's gradient with the weights turned by
    /// half a turn.
    Turned { kernel: Box<Depthwise>, weights: Vec<f32> },
    /// Every input pixel gathers from the output pixels that saw it.
    Direct { weights: Vec<f32> },
}

impl InputGradient {
    /// For the convolution of `window` with `weights` over `in_channels` channels, each of which
    /// `multiplier` output channels see.
    ///
    /// # Panics
    /// As [`Depthwise::new`].
    #[must_use]
    pub fn new(
        isa: Isa,
        window: Window,
        in_channels: usize,
        multiplier: usize,
        weights: &[f32],
    ) -> InputGradient {
        assert!(isa.available(), "this machine cannot run '{isa}'");
        assert!(in_channels > 0 && multiplier > 0, "a depthwise convolution needs channels");
        assert_sound(&window);
        let taps = volume(&[window.kernel[0], window.kernel[1], in_channels, multiplier]);
        assert_eq!(weights.len(), taps, "number of weights");
        let method = match turned(&window).filter(|_| multiplier == 1) {
            Some(window) => {
                let weights = vec![0.0; weights.len()];
                let kernel = Depthwise::new(isa, window, in_channels, 1, &weights, None, Clamp::NONE);
                Method::Turned { kernel: Box::new(kernel), weights }
            }
            None => Method::Direct { weights: vec![0.0; weights.len()] },
        };
        let mut gradient = InputGradient { isa, window, in_channels, multiplier, method };
        gradient.repack(&ThreadPool::new(1), weights);
        gradient
    }

    /// Takes other weights of the same shape, without allocating.
    ///
    /// # Panics
    /// When `weights` has another length.
    pub fn repack(&mut self, pool: &ThreadPool, weights: &[f32]) {
        match &mut self.method {
            Method::Turned { kernel, weights: turned } => {
                assert_eq!(weights.len(), turned.len(), "number of weights");
                let taps = turned.chunks_exact_mut(self.in_channels).rev();
                taps.zip(weights.chunks_exact(self.in_channels))
                    .for_each(|(to, tap)| to.copy_from_slice(tap));
                kernel.repack(pool, turned, None);
            }
            Method::Direct { weights: own } => {
                assert_eq!(weights.len(), own.len(), "number of weights");
                own.copy_from_slice(weights);
            }
        }
    }

    /// The kernel that computes it, and the weights that it gathers by where there is none.
    pub(super) fn parts(&self) -> (Option<&Depthwise>, &[f32]) {
        match &self.method {
            Method::Turned { kernel, weights } => (Some(kernel), weights),
            Method::Direct { weights } => (None, weights),
        }
    }

    /// Computes the whole gradient of an input of `shape` = batch, height, width (and `in_channels`)
    /// from that of the output.
    ///
    /// # Panics
    /// When a length does not fit.
    pub fn run(
        &self,
        pool: &ThreadPool,
        shape: [usize; 3],
        output_gradient: &[f32],
        input_gradient: &mut [f32],
    ) {
        let InputGradient { isa, ref window, in_channels, multiplier, .. } = *self;
        let [batch, height, width] = shape;
        let output = window.output([height, width]);
        let outputs = volume(&[batch, output[0], output[1], in_channels, multiplier]);
        assert_eq!(output_gradient.len(), outputs, "length of the output's gradient");
        let inputs = volume(&[batch, height, width, in_channels]);
        assert_eq!(input_gradient.len(), inputs, "length of the input's gradient");
        if outputs == 0 {
            input_gradient.fill(0.0);
            return;
        }
        match &self.method {
            Method::Turned { kernel, .. } => {
                kernel.run(pool, output_gradient, [batch, output[0], output[1]], input_gradient);
            }
            Method::Direct { weights } => {
                let geometry = Geometry::new(window, [height, width], in_channels, multiplier);
                let row_len = width * in_channels;
                let work = (row_len * multiplier * window.taps()).max(1);
                let per_task = pool.rows_per_task(batch * height, TASK_WORK.div_ceil(work));
                pool.run_rows(input_gradient, row_len, per_task, |first, piece| {
                    gather_rows(isa, &geometry, first, weights, output_gradient, piece);
                });
            }
        }
    }
}

/// The window of the convolution that takes the gradient of the output to that of the input, if there
/// is one: of stride 1, where no padding reaches beyond the window.
fn turned(window: &Window) -> Option<Window> {
    let reach = |axis: usize| (window.kernel[axis] - 1) * window.dilation[axis];
    let pad = |pads: [usize; 2]| Some([reach(0).checked_sub(pads[0])?, reach(1).checked_sub(pads[1])?]);
    let (pad_before, pad_after) = (pad(window.pad_before)?, pad(window.pad_after)?);
    (window.stride == [1; 2]).then_some(Window { pad_before, pad_after, ..*window })
}

/// What all rows have in common.
pub(super) struct Geometry {
    height: usize,
    width: usize,
    output: [usize; 2],
    taps_per_row: usize,
    channels: usize,
    multiplier: usize,
    pub(super) rows: Contributions<usize>,
    columns: Contributions<usize>,
}

impl Geometry {
    /// For images of this height and width.
    pub(super) fn new(
        window: &Window,
        [height, width]: [usize; 2],
        channels: usize,
        multiplier: usize,
    ) -> Geometry {
        let output = window.output([height, width]);
        Geometry {
            height,
            width,
            output,
            taps_per_row: window.kernel[1],
            channels,
            multiplier,
            rows: Contributions::of_window(window, 0, [height, output[0]]),
            columns: Contributions::of_window(window, 1, [width, output[1]]),
        }
    }
}

/// The gradients of the input rows from `first` on.
fn gather_rows(
    isa: Isa,
    geometry: &Geometry,
    first: usize,
    weights: &[f32],
    gradient: &[f32],
    input_gradient: &mut [f32],
) {
    let &Geometry { height, width, output: [out_height, out_width], channels, multiplier, .. } = geometry;
    let line = out_width * channels * multiplier;
    for (row, to) in (first..).zip(input_gradient.chunks_exact_mut(width * channels)) {
        let lines = |out_row| &gradient[(row / height * out_height + out_row) * line..][..line];
        gather_row(isa, geometry, row % height, weights, lines, to);
    }
}

/// The gradient of row `row` of the input of one sample. `lines` gives the gradients of rows of the output.
pub(super) fn gather_row<'l>(
    isa: Isa,
    geometry: &Geometry,
    row: usize,
    weights: &[f32],
    lines: impl Fn(usize) -> &'l [f32],
    input_gradient: &mut [f32],
) {
    let &Geometry { channels, multiplier, .. } = geometry;
    let gather = Gather::new(isa);
    let outputs = channels * multiplier;
    // The gradients and the weights of the output pixels that saw a pixel.
    let mut terms: Vec<[&[f32]; 2]> = Vec::new();
    for (x, to) in input_gradient.chunks_exact_mut(channels).enumerate() {
        terms.clear();
        for &(out_row, tap_row) in geometry.rows.of(row) {
            let line = lines(out_row);
            for &(out_column, tap_column) in geometry.columns.of(x) {
                let tap = tap_row * geometry.taps_per_row + tap_column;
                let d = &line[out_column * outputs..][..outputs];
                terms.push([d, &weights[tap * outputs..][..outputs]]);
            }
        }
        if multiplier == 1 {
            gather.run(&terms, to);
        } else {
            gather_multiple(&terms, multiplier, to);
        }
    }
}

/// All channels of a pixel that `multiplier` output channels each see.
fn gather_multiple(terms: &[[&[f32]; 2]], multiplier: usize, output: &mut [f32]) {
    output.fill(0.0);
    for [d, w] in terms {
        let groups = d.chunks_exact(multiplier).zip(w.chunks_exact(multiplier));
        for (o, (d, w)) in output.iter_mut().zip(groups) {
            *o += d.iter().zip(w).map(|(d, w)| d * w).sum::<f32>();
        }
    }
}

/// The gradient of a depthwise convolution with respect to its weights, for an input of `shape` =
/// batch, height, width (and `in_channels`).
///
/// # Panics
/// When the machine lacks `isa`, or a length does not fit.
// Nine plain facts.
#[allow(clippy::too_many_arguments)]
pub fn weights(
    isa: Isa,
    pool: &ThreadPool,
    window: &Window,
    shape: [usize; 3],
    in_channels: usize,
    multiplier: usize,
    input: &[f32],
    output_gradient: &[f32],
    gradient: &mut [f32],
) {
    if multiplier == 1 {
        weight_gradient(isa, pool, window, shape, in_channels, input, output_gradient, gradient);
        return;
    }
    assert_sound(window);
    let [batch, height, width] = shape;
    let [out_height, out_width] = window.output([height, width]);
    assert_eq!(input.len(), volume(&[batch, height, width, in_channels]), "length of the input");
    let outputs = volume(&[batch, out_height, out_width, in_channels, multiplier]);
    assert_eq!(output_gradient.len(), outputs, "length of the output's gradient");
    let channels = volume(&[in_channels, multiplier]);
    assert_eq!(gradient.len(), volume(&[window.taps(), channels]), "number of weights");
    gradient.fill(0.0);
    let rows = batch * out_height;
    let each = rows.div_ceil(MOST_BLOCKS).max(1);
    let mut partials = vec![0.0; rows.div_ceil(each) * gradient.len()];
    pool.run_rows(&mut partials, gradient.len().max(1), 1, |block, sums| {
        for row in block * each..rows.min((block + 1) * each) {
            let d = &output_gradient[row * out_width * channels..][..out_width * channels];
            let sample = &input[row / out_height * height * width * in_channels..];
            let input = &sample[..height * width * in_channels];
            add_row(isa, window, [height, width, row % out_height], multiplier, input, d, sums);
        }
    });
    for partial in partials.chunks_exact(gradient.len().max(1)) {
        gradient.iter_mut().zip(partial).for_each(|(sum, x)| *sum += x);
    }
}

multiversion! {
    /// Adds what an output row of a sample contributes; `place` is the input's height and width and the
    /// row's number.
    fn add_row(
        window: &Window,
        place: [usize; 3],
        multiplier: usize,
        input: &[f32],
        d: &[f32],
        sums: &mut [f32],
    ) {
        let channels = sums.len() / window.taps();
        let in_channels = channels / multiplier;
        for (tap, sums) in sums.chunks_exact_mut(channels).enumerate() {
            let tap = [tap / window.kernel[1], tap % window.kernel[1]];
            for (x, d) in d.chunks_exact(channels).enumerate() {
                let seen = |axis: usize, at: usize| {
                    (at * window.stride[axis] + tap[axis] * window.dilation[axis])
                        .checked_sub(window.pad_before[axis])
                        .filter(|at| *at < place[axis])
                };
                let (Some(row), Some(column)) = (seen(0, place[2]), seen(1, x)) else { continue };
                let pixel = &input[(row * place[1] + column) * in_channels..][..in_channels];
                let groups = sums.chunks_exact_mut(multiplier).zip(d.chunks_exact(multiplier));
                for (&x, (sums, d)) in pixel.iter().zip(groups) {
                    for (sum, &d) in sums.iter_mut().zip(d) {
                        *sum += x * d;
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
