//! The gradient of a convolution's input.
//!
//! Input pixel `p` was read through tap `k` by the output `(p + padding - k * dilation) / stride`, if that
//! is whole and exists. So the inputs fall into `stride` residues along each axis, and those of one residue
//! are an ordinary convolution of the output's gradient with every `stride`-th tap, turned round, in which
//! input and output channels are exchanged. With a stride of 1 that is all; other strides compute one
//! convolution for each pair of residues and put the results between each other, with zeros where no output
//! ever looked.

use super::{Scratch, with_memory};
use crate::aligned::Aligned;
use crate::float::filters::{Filters, Order};
use crate::float::{Clamp, Conv2d, Form, assert_convolution};
use crate::transposed::copy_spread;
use crate::{Isa, ThreadPool, Window};

/// The gradient of a convolution with respect to its input, for one shape.
pub struct InputGradient {
    /// Batch, height and width of the input, and height and width of the output.
    shape: [usize; 3],
    output: [usize; 2],
    /// Channels of input and output.
    channels: [usize; 2],
    weights: usize,
    stride: [usize; 2],
    /// Vertical and horizontal residues that some tap reaches.
    residues: [Vec<Residue>; 2],
    /// A convolution for each pair of residues, those of the first vertical one first.
    parts: Vec<Part>,
}

/// The convolution that computes one pair of residues.
struct Part {
    conv: Conv2d,
    order: Order,
    /// Length of the result.
    len: usize,
}

/// Inputs along one axis that the same taps read.
#[derive(Debug)]
struct Residue {
    /// The first of them; the others follow in steps of the stride.
    first: usize,
    count: usize,
    /// The taps in the order in which the convolution has them, so far apart. `None`: a place between
    /// taps.
    taps: Vec<Option<usize>>,
    dilation: usize,
    /// Padding of the convolution.
    before: usize,
    after: usize,
}

impl Residue {
    /// The residues along `axis` for so many inputs and outputs.
    fn all(window: &Window, axis: usize, inputs: usize, outputs: usize) -> Vec<Residue> {
        let stride = window.stride[axis];
        (0..stride).filter_map(|residue| Residue::new(window, axis, residue, inputs, outputs)).collect()
    }

    /// What inputs `p` with `p + padding = residue` modulo stride are, if there are any that a tap reads.
    fn new(window: &Window, axis: usize, residue: usize, inputs: usize, outputs: usize) -> Option<Residue> {
        let at = |pair: [usize; 2]| pair[axis];
        let (kernel, stride, dilation, padding) =
            (at(window.kernel), at(window.stride), at(window.dilation), at(window.pad_before));
        let reach = (kernel - 1) * dilation;
        let first = (residue + stride - padding % stride) % stride;
        if residue > reach || first >= inputs {
            return None;
        }
        let count = (inputs - 1 - first) / stride + 1;
        // The output that sees the first of them through the first place, and the padding that makes
        // this so: negative numbers are outputs that no input of this residue sees.
        let output = (first + padding - residue) / stride;
        let paddings = |places: usize| {
            let before = places as isize - 1 - output as isize;
            (before, (count + places) as isize - 1 - outputs as isize - before)
        };
        let (before, after) = paddings(reach + 1);
        if stride == 1 && before >= 0 && after >= 0 {
            let taps = (0..kernel).rev().map(Some).collect();
            return Some(Residue {
                first,
                count,
                taps,
                dilation,
                before: before as usize,
                after: after as usize,
            });
        }
        let places = (reach - residue) / stride + 1;
        let (before, after) = paddings(places);
        let tap = |place: usize| {
            let place = residue + place * stride;
            place.is_multiple_of(dilation).then_some(place / dilation)
        };
        // Instead of negative padding, places without a tap.
        let spare = |padding: isize| std::iter::repeat_n(None, padding.min(0).unsigned_abs());
        let taps: Vec<_> = spare(before).chain((0..places).rev().map(tap)).chain(spare(after)).collect();
        let [before, after] = [before, after].map(|padding| padding.max(0) as usize);
        taps.iter().any(Option::is_some).then_some(Residue { first, count, taps, dilation: 1, before, after })
    }
}

impl InputGradient {
    /// For a convolution of `groups` groups on an input of `shape` = batch, height, width, with channels
    /// `[input, output]`.
    ///
    /// # Panics
    /// When the machine lacks `isa`, when `groups` does not divide both numbers of channels, when a number
    /// of channels, a kernel size, stride or dilation is 0, or when a number of the window is 2^24 or more.
    #[must_use]
    pub fn new(
        isa: Isa,
        window: Window,
        groups: usize,
        channels: [usize; 2],
        shape: [usize; 3],
    ) -> InputGradient {
        let [inputs, outputs] = channels;
        assert_convolution(&window, groups, channels);
        let [batch, height, width] = shape;
        let output = window.output([height, width]);
        let seen = output.iter().all(|size| *size > 0);
        let residues: [Vec<Residue>; 2] = std::array::from_fn(|axis| {
            if seen { Residue::all(&window, axis, shape[axis + 1], output[axis]) } else { Vec::new() }
        });
        let mut parts = Vec::new();
        for vertical in &residues[0] {
            for horizontal in &residues[1] {
                let dense = Window {
                    kernel: [vertical.taps.len(), horizontal.taps.len()],
                    stride: [1; 2],
                    dilation: [vertical.dilation, horizontal.dilation],
                    pad_before: [vertical.before, horizontal.before],
                    pad_after: [vertical.after, horizontal.after],
                };
                let tap = |row: Option<usize>, column: Option<usize>| Some(row? * window.kernel[1] + column?);
                let taps = vertical
                    .taps
                    .iter()
                    .flat_map(|row| horizontal.taps.iter().map(|column| tap(*row, *column)));
                let order = Order::turned(inputs / groups, taps.collect(), window.taps(), outputs / groups);
                let form =
                    Form::best_repacked(&dense, groups, outputs, inputs, [batch, output[0], output[1]]);
                let conv = Conv2d::hollow(form, isa, dense, groups, outputs, inputs, Clamp::NONE, |_| {
                    Aligned::zeroed(0)
                });
                parts.push(Part { conv, order, len: batch * vertical.count * horizontal.count * inputs });
            }
        }
        let weights = outputs * window.taps() * (inputs / groups);
        InputGradient { shape, output, channels, weights, stride: window.stride, residues, parts }
    }

    /// Computes the gradient of the input, `[batch, height, width, input channels]`, from the weights
    /// `[output channels, kernel height, kernel width, input channels / groups]` and the gradient of the
    /// output.
    ///
    /// # Panics
    /// When a slice has another length.
    pub fn run(
        &mut self,
        pool: &ThreadPool,
        weights: &[f32],
        output_gradient: &[f32],
        scratch: &mut Scratch,
        gradient: &mut [f32],
    ) {
        let [batch, height, width] = self.shape;
        let [inputs, outputs] = self.channels;
        let shape = [batch, self.output[0], self.output[1]];
        assert_eq!(weights.len(), self.weights, "number of weights");
        let pixels: usize = shape.iter().product();
        assert_eq!(output_gradient.len(), pixels * outputs, "length of the output gradient");
        assert_eq!(gradient.len(), batch * height * width * inputs, "length of the input gradient");
        if self.parts.is_empty() || gradient.is_empty() {
            return gradient.fill(0.0);
        }
        let convolve = |part: &mut Part, scratch: &mut Scratch, result: &mut [f32]| {
            with_memory(&mut part.conv, scratch, |conv| {
                conv.pack(pool, Filters { data: weights, order: &part.order });
                conv.run(pool, output_gradient, shape, result);
            });
        };
        if self.parts[0].len == gradient.len() {
            return convolve(&mut self.parts[0], scratch, gradient);
        }
        let mut memory = scratch.take_parts(self.parts.iter().map(|part| part.len).sum());
        let mut rest = &mut memory[..];
        let mut results = Vec::with_capacity(self.parts.len());
        for part in &mut self.parts {
            let (result, others) = rest.split_at_mut(part.len);
            convolve(part, scratch, result);
            results.push(&*result);
            rest = others;
        }
        let line = width * inputs;
        let rows = pool.rows_per_task(batch * height, (16 * 1024usize).div_ceil(line));
        pool.run_rows(gradient, line, rows, |first, piece| {
            for (row, line) in (first..).zip(piece.chunks_exact_mut(line)) {
                self.weave(&results, row, line);
            }
        });
        scratch.return_parts(memory);
    }

    /// Calls `work` with the convolution that the gradient of a convolution of single pixels is, packed.
    ///
    /// # Panics
    /// When `weights` has another length, or the window has several taps or strides.
    pub(in crate::gradient) fn with_packed(
        &mut self,
        pool: &ThreadPool,
        weights: &[f32],
        scratch: &mut Scratch,
        work: impl FnOnce(&Conv2d),
    ) {
        assert_eq!(weights.len(), self.weights, "number of weights");
        let [part] = &mut self.parts[..] else { panic!("a gradient that is one convolution") };
        with_memory(&mut part.conv, scratch, |conv| {
            conv.pack(pool, Filters { data: weights, order: &part.order });
            work(conv);
        });
    }

    /// Puts a row of the gradient together, `row` counted over the whole batch.
    fn weave(&self, results: &[&[f32]], row: usize, line: &mut [f32]) {
        let ([_, height, _], [channels, _], [stride, step]) = (self.shape, self.channels, self.stride);
        let [vertical, horizontal] = &self.residues;
        let (sample, y) = (row / height, row % height);
        let own = vertical.iter().position(|residue| residue.first == y % stride);
        if own.is_none() || horizontal.len() < step {
            line.fill(0.0);
        }
        let Some(own) = own else { return };
        for (index, residue) in horizontal.iter().enumerate() {
            let from = (sample * vertical[own].count + y / stride) * residue.count * channels;
            let from = &results[own * horizontal.len() + index][from..][..residue.count * channels];
            copy_spread(from.chunks_exact(channels), channels, step, line, residue.first);
        }
    }
}
