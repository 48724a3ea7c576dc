//! Transposed convolution (the gradient of a convolution by its input), channels last.
//!
//! Input pixel `i` adds to the outputs `i * stride - crop + k` for each place `k` of the kernel. So the
//! outputs fall into `stride` residues along each axis, and those of one residue see every
//! `stride`-th place of the kernel, turned round: an ordinary dense convolution of step 1 with a part
//! of the kernel. Each part is computed by the kernels of ordinary convolutions, parts alike with few
//! output channels as one, and the results are put between each other. No output is written twice,
//! nothing is multiplied by inserted zeros, and results depend on threads and batch no more than those
//! of convolutions do.

mod conv;
#[cfg(test)]
mod tests;

pub(crate) use conv::of_each;
pub use conv::{Convolution, HybridTransposeConv2d, QuantizedTransposeConv2d, TransposeConv2d, Transposed};

use crate::float::Clamp;
use crate::window::plane;
use crate::{ThreadPool, Window};

/// The geometry of a transposed convolution. Every pair is `[vertical, horizontal]`; of volumes,
/// every triple is `[depth, height, width]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TransposeWindow<const AXES: usize = 2> {
    /// Size of the kernel, at least 1 along each axis.
    pub kernel: [usize; AXES],
    /// Outputs from what one input adds to, to what its neighbour adds to; at least 1.
    pub stride: [usize; AXES],
    /// How much of the whole result is cut off before the output.
    pub crop: [usize; AXES],
    /// How much output there is from where the last input's would begin without cropping; at least
    /// 1.
    pub tail: [usize; AXES],
}

impl<const AXES: usize> TransposeWindow<AXES> {
    /// Size of the output for an input of this size.
    #[must_use]
    pub fn output(&self, input: [usize; AXES]) -> [usize; AXES] {
        std::array::from_fn(|axis| match input[axis] {
            0 => 0,
            size => (size - 1) * self.stride[axis] + self.tail[axis],
        })
    }

    /// Number of places of the kernel.
    #[must_use]
    pub fn taps(&self) -> usize {
        self.kernel.iter().product()
    }

    /// Refuses geometry whose index arithmetic could overflow, or that has no meaning.
    fn assert_sound(&self) {
        let TransposeWindow { kernel, stride, crop, tail } = self;
        let positive = [kernel, stride, tail].into_iter().flatten().all(|number| *number > 0);
        assert!(positive, "kernel sizes, strides and tails must be positive");
        let all = [kernel, stride, crop, tail];
        assert!(all.into_iter().flatten().all(|number| *number < 1 << 24), "window out of range");
    }
}

impl TransposeWindow<3> {
    /// What it is along height and width.
    pub(crate) fn plane(&self) -> TransposeWindow {
        TransposeWindow {
            kernel: plane(self.kernel),
            stride: plane(self.stride),
            crop: plane(self.crop),
            tail: plane(self.tail),
        }
    }
}

/// A pixel that is nothing but bias.
pub(crate) fn background(clamp: Clamp, out_channels: usize, bias: Option<&[f32]>) -> Vec<f32> {
    (0..out_channels).map(|channel| clamp.apply(bias.map_or(0.0, |bias| bias[channel]))).collect()
}

/// The outputs along one axis that the same places of the kernel reach.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Residue {
    /// The first place of the kernel; the others follow in steps of the stride.
    place: usize,
    /// Number of places.
    pub(crate) taps: usize,
    /// The first output; the others follow in steps of the stride.
    first: usize,
    /// Number of outputs beyond one for each input, which one output is taken from.
    extra: usize,
    /// Outputs of the convolution that come before the first.
    skip: usize,
    pad_before: usize,
    pad_after: usize,
}

impl Residue {
    /// The residues along an axis that any place of the kernel reaches.
    pub(crate) fn all(kernel: usize, stride: usize, crop: usize, tail: usize) -> Vec<Residue> {
        let residue = |place: usize| {
            let taps = (kernel - place).div_ceil(stride);
            // The first output at or behind the cropped part that has this residue.
            let first = (place + stride - crop % stride) % stride;
            // The input that meets the first place of the kernel there.
            let meets = (first + crop - place) / stride;
            let pad_before = (taps - 1).saturating_sub(meets);
            let skip = meets.saturating_sub(taps - 1);
            let extra = (tail + stride - 1).saturating_sub(first) / stride;
            let pad_after = (extra + skip + taps).saturating_sub(2 + pad_before);
            Residue { place, taps, first, extra, skip, pad_before, pad_after }
        };
        (0..kernel.min(stride)).map(residue).collect()
    }

    /// Number of outputs for this many inputs.
    fn outputs(&self, inputs: usize) -> usize {
        (inputs + self.extra).saturating_sub(1)
    }

    /// The place of the kernel that tap `tap` of the part is, with this stride.
    pub(crate) fn place(&self, tap: usize, stride: usize) -> usize {
        self.place + (self.taps - 1 - tap) * stride
    }
}

/// Output channels of which several parts have room in a vector.
const FEW_CHANNELS: usize = 16;

/// The window of the part of two residues.
fn dense(vertical: &Residue, horizontal: &Residue) -> Window {
    Window {
        kernel: [vertical.taps, horizontal.taps],
        pad_before: [vertical.pad_before, horizontal.pad_before],
        pad_after: [vertical.pad_after, horizontal.pad_after],
        ..Window::POINT
    }
}

/// A transposed convolution whose parts are convolutions of type `C` with results of type `T`.
pub(crate) struct Parts<C, T> {
    window: TransposeWindow,
    out_channels: usize,
    /// Vertical and horizontal residues.
    residues: [Vec<Residue>; 2],
    /// The part of each pair of residues, those of the first vertical one first; or all of them as one, each with its
    /// output channels behind those of the part before.
    parts: Vec<(Window, C)>,
    /// How many parts are one.
    joined: usize,
    /// A pixel of the output that no place of the kernel reaches.
    background: Vec<T>,
}

impl<C: Sync, T: Copy + Send + Sync> Parts<C, T> {
    /// Takes weights `[out_channels, kernel height, kernel width, in_channels]` apart. `make` packs an
    /// ordinary convolution with weights of the same layout, and so many times the output channels.
    pub(crate) fn new<W: Copy>(
        window: TransposeWindow,
        [in_channels, out_channels]: [usize; 2],
        weights: &[W],
        background: Vec<T>,
        mut make: impl FnMut(Window, usize, &[W]) -> C,
    ) -> Parts<C, T> {
        window.assert_sound();
        assert!(in_channels > 0 && out_channels > 0, "a convolution needs channels");
        assert_eq!(weights.len(), out_channels * window.taps() * in_channels, "number of weights");
        let residues: [Vec<Residue>; 2] = std::array::from_fn(|axis| {
            let TransposeWindow { kernel, stride, crop, tail } = window;
            Residue::all(kernel[axis], stride[axis], crop[axis], tail[axis])
        });
        let mut own: Vec<(Window, Vec<W>)> = Vec::new();
        for vertical in &residues[0] {
            for horizontal in &residues[1] {
                let places = (0..out_channels).flat_map(|channel| {
                    (0..vertical.taps * horizontal.taps).map(move |tap| {
                        let row = vertical.place(tap / horizontal.taps, window.stride[0]);
                        let column = horizontal.place(tap % horizontal.taps, window.stride[1]);
                        (channel * window.kernel[0] + row) * window.kernel[1] + column
                    })
                });
                let weights =
                    places.flat_map(|place| &weights[place * in_channels..][..in_channels]).copied();
                own.push((dense(vertical, horizontal), weights.collect()));
            }
        }
        let alike = own.iter().all(|(window, _)| *window == own[0].0);
        let joined = if alike && out_channels < FEW_CHANNELS { own.len() } else { 1 };
        let part = |parts: &[(Window, Vec<W>)]| {
            let weights: Vec<W> = parts.iter().flat_map(|(_, weights)| weights).copied().collect();
            (parts[0].0, make(parts[0].0, parts.len(), &weights))
        };
        let parts = own.chunks(joined).map(part).collect();
        Parts { window, out_channels, residues, parts, joined, background }
    }

    /// Number of elements that [`run`](Parts::run) needs as scratch memory for an input of `shape` =
    /// batch, height, width.
    pub(crate) fn scratch(&self, shape: [usize; 3]) -> usize {
        if self.direct([shape[1], shape[2]]) {
            return 0;
        }
        self.parts.iter().map(|(dense, _)| self.part_len(dense, shape)).sum()
    }

    fn part_len(&self, dense: &Window, [batch, height, width]: [usize; 3]) -> usize {
        let [height, width] = dense.output([height, width]);
        batch * height * width * self.out_channels * self.joined
    }

    /// Whether the only part is the output.
    fn direct(&self, input: [usize; 2]) -> bool {
        let [(dense, _)] = self.parts.as_slice() else { return false };
        let whole = |residue: &Residue| residue.skip == 0;
        self.window.stride == [1; 2]
            && self.residues.iter().flatten().all(whole)
            && dense.output(input) == self.window.output(input)
    }

    /// Computes the output `[batch, output height, output width, out_channels]`. `convolve` computes
    /// one part, for the same input.
    pub(crate) fn run(
        &self,
        pool: &ThreadPool,
        shape: [usize; 3],
        scratch: &mut [T],
        output: &mut [T],
        mut convolve: impl FnMut(&C, &mut [T]),
    ) {
        let [batch, height, width] = shape;
        let [out_height, out_width] = self.window.output([height, width]);
        let expected = batch * out_height * out_width * self.out_channels;
        assert_eq!(output.len(), expected, "length of the output");
        if output.is_empty() {
            return;
        }
        if self.direct([height, width]) {
            return convolve(&self.parts[0].1, output);
        }
        let mut rest = scratch;
        let mut results = Vec::with_capacity(self.parts.len());
        for (dense, part) in &self.parts {
            let (result, others) = rest.split_at_mut(self.part_len(dense, shape));
            convolve(part, result);
            results.push(&*result);
            rest = others;
        }
        let line = out_width * self.out_channels;
        let rows = pool.rows_per_task(batch * out_height, (16 * 1024usize).div_ceil(line));
        pool.run_rows(output, line, rows, |first, piece| {
            for (row, line) in (first..).zip(piece.chunks_exact_mut(line)) {
                self.weave(shape, &results, row, line);
            }
        });
    }

    /// Puts a row of the output together, `row` counted over the whole batch.
    fn weave(&self, [_, height, width]: [usize; 3], results: &[&[T]], row: usize, line: &mut [T]) {
        let (channels, [stride, step]) = (self.out_channels, self.window.stride);
        let [vertical, horizontal] = &self.residues;
        let out_height = self.window.output([height, width])[0];
        let (sample, y) = (row / out_height, row % out_height);
        let own = vertical.iter().position(|residue| residue.first == y % stride);
        if own.is_none() || horizontal.len() < step {
            for pixel in line.chunks_exact_mut(channels) {
                pixel.copy_from_slice(&self.background);
            }
        }
        let Some(own) = own else { return };
        for (index, residue) in horizontal.iter().enumerate() {
            let number = own * horizontal.len() + index;
            let (part, first) = (number / self.joined, number % self.joined * channels);
            let [rows, columns] = self.parts[part].0.output([height, width]);
            let from = (sample * rows + y / stride + vertical[own].skip) * columns + residue.skip;
            let pitch = channels * self.joined;
            let from = &results[part][from * pitch..][..residue.outputs(width) * pitch];
            let pixels = from.chunks_exact(pitch).map(|pixel| &pixel[first..][..channels]);
            copy_spread(pixels, channels, step, &mut line[..], residue.first);
        }
    }
}

/// Copies pixels of `channels` elements to every `step`-th pixel of a line, beginning at `first`.
pub(crate) fn copy_spread<'a, T: Copy + 'a>(
    pixels: impl ExactSizeIterator<Item = &'a [T]>,
    channels: usize,
    step: usize,
    line: &mut [T],
    first: usize,
) {
    if pixels.len() == 0 {
        return;
    }
    let places = line[first * channels..].chunks_mut(step * channels);
    if let 1..=4 = channels {
        // Calls of a copying function would take longer than what they copy.
        for (pixel, to) in pixels.zip(places) {
            for (x, to) in pixel.iter().zip(to) {
                *to = *x;
            }
        }
        return;
    }
    for (pixel, to) in pixels.zip(places) {
        to[..channels].copy_from_slice(pixel);
    }
}
