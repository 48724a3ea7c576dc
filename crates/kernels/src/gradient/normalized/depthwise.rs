//! Depthwise convolutions between normalizations. Rows that neighbouring rows of the output see are written
//! once, into a ring of as many rows as are seen at a time.

use std::ops::Range;

use super::point::LayerGradients;
use super::{Blocks, Gathered, Gathering, Received, Source, add_in_order, piece_of};
use crate::float::workspace::with_workspace;
use crate::float::{Clamp, Depthwise, RowGradient, rows};
use crate::gradient::convolution::Scratch;
use crate::gradient::depthwise::{Geometry, InputGradient, gather_row};
use crate::pool::DisjointSlice;
use crate::{Isa, ThreadPool, Window};

/// Rows of the output that are computed at a time.
const ROWS: usize = 2;

/// Rows of one sample at a time that are written where they are read, or read where they are.
struct Ring<'m> {
    space: &'m mut [f32],
    line: usize,
    slots: usize,
    sample: usize,
    /// The row behind the last that is there.
    ready: usize,
}

impl<'m> Ring<'m> {
    fn new(space: &'m mut [f32], line: usize) -> Ring<'m> {
        let slots = space.len() / line;
        Ring { space, line, slots, sample: usize::MAX, ready: 0 }
    }

    /// Makes sure that these rows of a sample are there, at most as many as there are places. Rows ask for
    /// no less than the rows before.
    fn fill(&mut self, sample: usize, rows: Range<usize>, write: impl Fn(usize, &mut [f32])) {
        if self.sample != sample {
            (self.sample, self.ready) = (sample, 0);
        }
        for row in rows.start.max(self.ready)..rows.end {
            write(row, &mut self.space[row % self.slots * self.line..][..self.line]);
        }
        self.ready = self.ready.max(rows.end);
    }

    fn lines(&self) -> Lines<'_> {
        Lines { space: self.space, line: self.line, slots: self.slots }
    }
}

/// Rows of one sample: all of them, or those of a ring.
#[derive(Clone, Copy)]
struct Lines<'a> {
    space: &'a [f32],
    line: usize,
    slots: usize,
}

impl<'a> Lines<'a> {
    /// All rows of a sample.
    fn of(tensor: &'a [f32], sample: usize, height: usize, line: usize) -> Lines<'a> {
        Lines { space: &tensor[sample * height * line..][..height * line], line, slots: usize::MAX }
    }

    fn row(&self, row: usize) -> &'a [f32] {
        &self.space[row % self.slots * self.line..][..self.line]
    }
}

/// Sizes of a layer of one shape.
#[derive(Clone, Copy)]
struct Sizes {
    batch: usize,
    input: [usize; 2],
    output: [usize; 2],
    /// Floats of a row of the input and of the output.
    line: usize,
    out_line: usize,
    channels: usize,
    /// Pieces of the output, of [`Sizes::each`] rows but the last of a sample.
    per_sample: usize,
    each: usize,
}

impl Sizes {
    fn new(window: &Window, [batch, height, width]: [usize; 3], channels: usize, each: usize) -> Sizes {
        let input = [height, width];
        let output = window.output(input);
        let [line, out_line] = [width, output[1]].map(|width| width * channels);
        Sizes { batch, input, output, line, out_line, channels, per_sample: output[0].div_ceil(each), each }
    }

    /// The sample and the rows of a piece.
    fn piece(&self, index: usize) -> (usize, Range<usize>) {
        let (sample, first) = (index / self.per_sample, index % self.per_sample * self.each);
        (sample, first..self.output[0].min(first + self.each))
    }

    fn blocks(&self) -> Blocks {
        Blocks::new(self.batch * self.per_sample, self.each * (self.line + self.out_line), 1)
    }

    /// Pixels of the output in some pieces.
    fn pixels(&self, pieces: Range<usize>) -> usize {
        pieces.map(|piece| self.piece(piece).1.len()).sum::<usize>() * self.output[1]
    }

    /// Most rows that a piece asks for.
    fn most(&self, rows: impl Fn(Range<usize>) -> Range<usize>) -> usize {
        (0..self.per_sample).map(|piece| rows(self.piece(piece).1).len()).max().unwrap_or(0)
    }
}

/// The forward pass.
pub struct DepthwiseForward {
    isa: Isa,
    sizes: Sizes,
    kernel: Depthwise,
}

impl DepthwiseForward {
    /// For a window over inputs of `shape` = batch, height, width; `None` if it is not computed in patches
    /// of rows: only windows of 3x3 and 5x5 of stride 1 and 2 are.
    ///
    /// # Panics
    /// As [`Depthwise::new`].
    #[must_use]
    pub fn new(isa: Isa, window: Window, shape: [usize; 3], channels: usize) -> Option<DepthwiseForward> {
        let zeros = vec![0.0; window.taps() * channels];
        let kernel = Depthwise::new(isa, window, channels, 1, &zeros, None, Clamp::NONE);
        let sizes = Sizes::new(&window, shape, channels, ROWS);
        kernel.rows(sizes.input).filter(|_| sizes.output.iter().all(|size| *size > 0))?;
        Some(DepthwiseForward { isa, sizes, kernel })
    }

    /// Computes the output from weights `[1, height, width, channels]` and a bias (`None` for zeros), and
    /// gathers what is asked for of it.
    ///
    /// # Panics
    /// When a slice has another length.
    // A source, two operands and two results.
    #[allow(clippy::too_many_arguments)]
    pub fn run(
        &mut self,
        pool: &ThreadPool,
        source: &Source<'_>,
        weights: &[f32],
        bias: Option<&[f32]>,
        output: &mut [f32],
        gathered: Gathered<'_>,
    ) {
        self.kernel.repack(pool, weights, bias);
        let (isa, sizes) = (self.isa, self.sizes);
        let Sizes { line, out_line, channels, .. } = sizes;
        assert_eq!(source.len(), sizes.batch * sizes.input[0] * line, "length of the input");
        assert_eq!(output.len(), sizes.batch * sizes.output[0] * out_line, "length of the output");
        let Some(kernel) = self.kernel.rows(sizes.input) else { return };
        let slots = sizes.most(|rows| kernel.seen(&rows));
        let blocks = sizes.blocks();
        let mut gathering = Gathering::new(blocks.count, channels, gathered.extremes.is_some());
        let len = gathering.len;
        let (partials, output) = (DisjointSlice::new(&mut gathering.partials), DisjointSlice::new(output));
        pool.run(blocks.count, &|block| {
            // SAFETY: each block has a piece of its own.
            let partial = unsafe { piece_of(&partials, block, len) };
            with_workspace(slots * line, |space| {
                let mut ring = Ring::new(space, line);
                let mut before = 0;
                for piece in blocks.rows(block) {
                    let (sample, rows) = sizes.piece(piece);
                    let first = (sample * sizes.output[0] + rows.start) * out_line;
                    // SAFETY: pieces do not overlap.
                    let y = unsafe { output.piece(first..first + rows.len() * out_line) };
                    let height = sizes.input[0];
                    let lines = match source {
                        Source::Plain(input) => Lines::of(input, sample, height, line),
                        Source::Normalized(normalized) => {
                            let from = |row: usize| (sample * height + row) * line;
                            let write =
                                |row, to: &mut [f32]| normalized.write(from(row)..from(row) + line, to);
                            ring.fill(sample, kernel.seen(&rows), write);
                            ring.lines()
                        }
                    };
                    kernel.run(rows, |row| lines.row(row), y);
                    Gathering::take(isa, channels, partial, before, y);
                    before += y.len() / channels;
                }
            });
        });
        gathering.finish(isa, |block| sizes.pixels(blocks.rows(block)), gathered);
    }
}

/// The backward pass.
pub struct DepthwiseBackward {
    isa: Isa,
    sizes: Sizes,
    stride: usize,
    geometry: Geometry,
    by_input: InputGradient,
    by_weights: RowGradient,
    taps: [usize; 2],
}

impl DepthwiseBackward {
    /// As [`DepthwiseForward::new`].
    ///
    /// # Panics
    /// As there.
    #[must_use]
    pub fn new(isa: Isa, window: Window, shape: [usize; 3], channels: usize) -> Option<DepthwiseBackward> {
        let zeros = vec![0.0; window.taps() * channels];
        let [_, height, width] = shape;
        let stride = window.stride[0];
        let each = if stride == 1 { ROWS } else { 1 };
        let sizes = Sizes::new(&window, shape, channels, each);
        let by_input = InputGradient::new(isa, window, channels, 1, &zeros);
        let rows = by_input.parts().0.is_none_or(|kernel| kernel.rows(sizes.output).is_some());
        let fits = rows && window.dilation == [1; 2] && sizes.output.iter().all(|size| *size > 0);
        fits.then(|| DepthwiseBackward {
            isa,
            sizes,
            stride,
            geometry: Geometry::new(&window, [height, width], channels, 1),
            by_input,
            by_weights: RowGradient::new(isa, &window, [height, width], channels),
            taps: window.kernel,
        })
    }

    /// The rows of the input that belong to some rows of the output: each to one, the last to all that are
    /// left.
    fn own(&self, rows: &Range<usize>) -> Range<usize> {
        let [height, _] = self.sizes.input;
        let end = if rows.end == self.sizes.output[0] { height } else { height.min(rows.end * self.stride) };
        end.min(rows.start * self.stride)..end
    }

    /// The rows of the output whose gradients are read for some rows of it and those of the input that
    /// belong to them.
    fn received(&self, rows: &Range<usize>) -> Range<usize> {
        let all = || self.own(rows).flat_map(|row| self.geometry.rows.of(row)).map(|(row, _)| *row);
        let first = all().min().map_or(rows.start, |first| first.min(rows.start));
        first..all().max().map_or(rows.end, |last| rows.end.max(last + 1))
    }

    /// The rows of the input that some rows of the output see.
    fn seen(&self, rows: &Range<usize>) -> Range<usize> {
        rows::seen(|y, tap| self.by_weights.seen(y, tap), self.taps[0], rows)
    }

    /// Computes gradients from what the layer read, the gradient of its output and its weights. That of the
    /// bias is none that it knows.
    ///
    /// # Panics
    /// When a slice has another length, or the gradient of a bias is wanted.
    pub fn run(
        &mut self,
        pool: &ThreadPool,
        source: &Source<'_>,
        received: &Received<'_>,
        weights: &[f32],
        scratch: &mut Scratch,
        gradients: LayerGradients<'_>,
    ) {
        self.by_input.repack(pool, weights);
        let Sizes { batch, input, output, line, out_line, channels, .. } = self.sizes;
        assert_eq!(source.len(), batch * input[0] * line, "length of the input");
        assert_eq!(received.len(), batch * output[0] * out_line, "length of the output's gradient");
        assert!(gradients.bias.is_none(), "a bias before a normalization has no gradient");
        gradients.check(source);
        let blocks = self.sizes.blocks();
        let wanted = |wanted: bool, len: usize| if wanted { blocks.count * len } else { 0 };
        let lens = [
            wanted(gradients.weights.is_some(), self.taps[0] * self.taps[1] * channels),
            wanted(gradients.sums.is_some(), 2 * channels),
        ];
        let mut memory = scratch.take_parts(lens[0] + lens[1]);
        let (of_weights, of_sums) = memory[..lens[0] + lens[1]].split_at_mut(lens[0]);
        of_weights.fill(0.0);
        of_sums.fill(0.0);
        {
            let partials = [&mut *of_weights, &mut *of_sums].map(DisjointSlice::new);
            let mut nothing: [f32; 0] = [];
            let wanted = gradients.input.is_some();
            let gradient = DisjointSlice::new(gradients.input.unwrap_or(&mut nothing));
            assert!(!wanted || gradient.len() == source.len(), "length of the input's gradient");
            let slots = [
                self.sizes.most(|rows| self.seen(&rows)) * line,
                self.sizes.most(|rows| self.received(&rows)) * out_line,
            ];
            let pass = Pass { layer: self, source, received };
            pool.run(blocks.count, &|block| {
                with_workspace(slots[0] + slots[1], |space| {
                    let (seen, own) = space.split_at_mut(slots[0]);
                    let mut rings = [Ring::new(seen, line), Ring::new(own, out_line)];
                    let mut points = Vec::new();
                    for piece in blocks.rows(block) {
                        let gradient = wanted.then_some(&gradient);
                        pass.run(piece, block, &mut rings, &mut points, &partials, gradient);
                    }
                });
            });
        }
        if let Some(gradient) = gradients.weights {
            add_in_order(self.isa, of_weights, gradient);
        }
        if let Some(sums) = gradients.sums {
            add_in_order(self.isa, of_sums, sums);
        }
        scratch.return_parts(memory);
    }

    /// The gradients of some rows of the input, from rows of the output's gradient.
    fn input_rows(&self, rows: Range<usize>, d: Lines<'_>, gradient: &mut [f32]) {
        match self.by_input.parts() {
            (Some(kernel), _) => {
                if let Some(kernel) = kernel.rows(self.sizes.output) {
                    kernel.run(rows, |row| d.row(row), gradient);
                }
            }
            (None, weights) => {
                for (row, to) in rows.zip(gradient.chunks_exact_mut(self.sizes.line)) {
                    gather_row(self.isa, &self.geometry, row, weights, |row| d.row(row), to);
                }
            }
        }
    }
}

/// One pass over all rows.
struct Pass<'a> {
    layer: &'a DepthwiseBackward,
    source: &'a Source<'a>,
    received: &'a Received<'a>,
}

impl Pass<'_> {
    /// Does what belongs to one piece of the output. Partial results are those of the weights and of the
    /// sums.
    fn run(
        &self,
        piece: usize,
        block: usize,
        [seen, own]: &mut [Ring<'_>; 2],
        points: &mut Vec<*const f32>,
        partials: &[DisjointSlice<'_, f32>; 2],
        gradient: Option<&DisjointSlice<'_, f32>>,
    ) {
        let Pass { layer, source, received } = *self;
        let Sizes { input, output, line, out_line, channels, .. } = layer.sizes;
        let (sample, rows) = layer.sizes.piece(piece);
        let d = match received {
            Received::Plain(d) => Lines::of(d, sample, output[0], out_line),
            Received::Normalized(through) => {
                let from = |row: usize| (sample * output[0] + row) * out_line;
                let write = |row, to: &mut [f32]| through.write(from(row)..from(row) + out_line, to);
                own.fill(sample, layer.received(&rows), write);
                own.lines()
            }
        };
        let from = |row: usize| (sample * input[0] + row) * line;
        let [of_weights, of_sums] = partials;
        if of_weights.len() > 0 {
            let x = match source {
                Source::Plain(x) => Lines::of(x, sample, input[0], line),
                Source::Normalized(normalized) => {
                    let write = |row, to: &mut [f32]| normalized.write(from(row)..from(row) + line, to);
                    seen.fill(sample, layer.seen(&rows), write);
                    seen.lines()
                }
            };
            // SAFETY: each block has a piece of its own.
            let sums = unsafe { piece_of(of_weights, block, layer.taps[0] * layer.taps[1] * channels) };
            for y in rows.clone() {
                layer.by_weights.add(y, |row| x.row(row), d.row(y), points, sums);
            }
        }
        let Some(gradient) = gradient else { return };
        let rows = layer.own(&rows);
        let range = from(rows.start)..from(rows.end);
        // SAFETY: each row of the input belongs to one piece.
        let piece = unsafe { gradient.piece(range.clone()) };
        layer.input_rows(rows, d, piece);
        if let (Source::Normalized(normalized), true) = (source, of_sums.len() > 0) {
            // SAFETY: as above.
            normalized.add_sums(range, piece, unsafe { piece_of(of_sums, block, 2 * channels) });
        }
    }
}
