//! Convolutions to few output channels: registers hold pixels side by side instead of channels, of which most
//! lanes would be empty.
//!
//! Each row of the input is turned once into planes, the pixels of one channel after those of another, which
//! stay near the processor while the rows that see them are computed. An output is the chain of products that
//! it is in a [`tile`](super::tile), so that its bits do not tell which of the two has computed it.

use std::ops::Range;

use super::filters::Filters;
use super::lanes::{Lanes, for_each_isa, table_by_isa};
use super::packed::Output;
use super::taps::Image;
use super::workspace::with_workspace;
use super::{Clamp, volume};
use crate::aligned::Aligned;
use crate::pool::DisjointSlice;
use crate::{Isa, ThreadPool, Window};

/// Most output channels.
const MOST_OUTPUTS: usize = 4;
/// Pixels of a row from which on registers are full.
const LEAST_PIXELS: usize = 16;
/// Pixels that are taken for a row where each output sees one pixel alone, and most input channels then.
const LINE: usize = 256;
const MOST_OF_POINT: usize = 128;
/// Products that are worth a task of their own.
const TASK_PRODUCTS: usize = 100_000;
/// Floats of a cache line.
const CACHE_LINE: usize = 16;

/// Weights for pixels side by side.
pub(super) struct Planes {
    functions: &'static Functions,
    in_channels: usize,
    out_channels: usize,
    /// `[taps][input channels][output channels]`.
    weights: Aligned<f32>,
    bias: Aligned<f32>,
}

impl Planes {
    /// Room for the weights of a convolution that can be computed so, all zero.
    pub(super) fn new(isa: Isa, window: &Window, groups: usize, channels: [usize; 2]) -> Option<Planes> {
        let [in_channels, out_channels] = channels;
        Planes::fits(window, groups, channels).then(|| Planes {
            functions: functions(isa),
            in_channels,
            out_channels,
            weights: Aligned::zeroed(volume(&[window.taps(), in_channels, out_channels])),
            bias: Aligned::zeroed(out_channels),
        })
    }

    /// Whether a convolution can be computed so. Of one tap it is not where there are many channels to turn,
    /// each of which is read once.
    fn fits(window: &Window, groups: usize, [in_channels, out_channels]: [usize; 2]) -> bool {
        let few = window.taps() > 1 || in_channels <= MOST_OF_POINT;
        groups == 1 && out_channels <= MOST_OUTPUTS && window.stride[1] == 1 && few
    }

    /// Whether a convolution with more than one tap is computed so over images of this width.
    pub(super) fn takes(window: &Window, groups: usize, channels: [usize; 2], width: usize) -> bool {
        Planes::fits(window, groups, channels) && width >= LEAST_PIXELS
    }

    /// Packs weights and the bias.
    pub(super) fn fill(&mut self, isa: Isa, filters: Filters<'_>, bias: Option<&[f32]>) {
        filters.pack(isa, [0, self.out_channels], self.out_channels, &mut self.weights);
        match bias {
            Some(bias) => self.bias.copy_from_slice(bias),
            None => self.bias.fill(0.0),
        }
    }

    /// Whether registers would be full.
    pub(super) fn suits(&self, image: &Image<'_>) -> bool {
        Rows::of(image).width >= LEAST_PIXELS
    }

    /// Computes the whole output of `image`.
    pub(super) fn run(&self, pool: &ThreadPool, image: &Image<'_>, output: &Output<'_>) {
        let rows = Rows::of(image);
        let products = (rows.out_width * self.weights.len()).max(1);
        let per_task = pool.rows_per_task(rows.all, TASK_PRODUCTS.div_ceil(products));
        pool.run(rows.all.div_ceil(per_task), &|task| {
            let own = task * per_task..rows.all.min((task + 1) * per_task);
            // SAFETY: tasks share no row.
            unsafe { self.run_rows(image, &rows, own, output) };
        });
    }

    /// Computes some rows of the output, counted over the batch.
    ///
    /// # Safety
    /// No other thread writes them.
    unsafe fn run_rows(&self, image: &Image<'_>, rows: &Rows, own: Range<usize>, output: &Output<'_>) {
        let Window { kernel: [down, _], stride: [stride, _], dilation, .. } = image.window;
        let outputs = self.out_channels;
        let (function, chunk) = (self.functions.by_outputs[outputs - 1], self.functions.chunk(outputs));
        let ring = Ring::new(rows, &image.window, self.in_channels, chunk);
        // With a sum the bounds are those of the sum.
        let clamp = if output.adds() { Clamp::NONE } else { output.clamp };
        with_workspace(ring.floats + outputs * chunk, |space| {
            let (turned, sums) = space.split_at_mut(ring.floats);
            if image.window.pad_before != [0; 2] || image.window.pad_after != [0; 2] {
                turned.fill(0.0);
            }
            let turned = DisjointSlice::new(turned);
            let mut held = vec![usize::MAX; ring.slots];
            let mut lines = vec![Line { from: std::ptr::null(), apart: 0 }; down];
            for (sample, y) in own.map(|row| (row / rows.per_sample, row % rows.per_sample)) {
                for (tap, line) in lines.iter_mut().enumerate() {
                    let place = (y * stride + tap * dilation[0]).checked_sub(image.window.pad_before[0]);
                    let row = place.filter(|row| *row < rows.height).map(|row| sample * rows.height + row);
                    let start = row.map_or(ring.zeros(), |row| ring.start(row));
                    if let Some(row) = row.filter(|row| held[row % ring.slots] != *row) {
                        held[row % ring.slots] = row;
                        // SAFETY: nothing reads this row of the ring before it is whole.
                        let planes = unsafe { turned.piece(start..start + ring.row) };
                        self.turn(&image.data[rows.pixels(row, self.in_channels)], ring.first, planes);
                    }
                    let apart = if row.is_some() { ring.pitch } else { 0 };
                    // SAFETY: the place is in the ring.
                    *line = Line { from: unsafe { turned.as_ptr().add(start) }, apart };
                }
                let (first, count) = rows.outputs(sample * rows.per_sample + y);
                for x in (0..count).step_by(chunk) {
                    let strip = Strip {
                        lines: &lines,
                        across: image.window.kernel[1],
                        dilation: dilation[1],
                        channels: self.in_channels,
                        weights: self.weights.as_ptr(),
                        bias: self.bias.as_ptr(),
                        first: x,
                        sums: sums.as_mut_ptr(),
                        clamp,
                    };
                    // SAFETY: `functions` checked the instruction set. Planes reach as far as the taps of a
                    // whole chunk; there are as many weights as taps, and room for a chunk of sums.
                    unsafe { function(&strip) };
                    let pixels = first + x..first + count.min(x + chunk);
                    // SAFETY: handed on.
                    unsafe { store(sums, chunk, outputs, pixels, output) };
                }
            }
        });
    }

    /// Turns the pixels of a row into planes, as far apart as there is room for.
    fn turn(&self, pixels: &[f32], first: usize, planes: &mut [f32]) {
        let (channels, lanes) = (self.in_channels, self.functions.lanes);
        let pitch = planes.len() / channels;
        let count = pixels.len() / channels;
        let whole = count / lanes * lanes;
        for x in (0..whole).step_by(lanes) {
            let turn = Turn {
                pixels: pixels[x * channels..][..lanes * channels].as_ptr(),
                channels,
                to: planes[first + x..][..(channels - 1) * pitch + lanes].as_mut_ptr(),
                pitch,
            };
            // SAFETY: `functions` checked the instruction set; the pixels are there, and room for them.
            unsafe { (self.functions.turn)(&turn) };
        }
        for (x, pixel) in (whole..).zip(pixels[whole * channels..].chunks_exact(channels)) {
            pixel
                .iter()
                .enumerate()
                .for_each(|(channel, value)| planes[channel * pitch + first + x] = *value);
        }
    }
}

/// Brings the sums of some pixels, `[output channels][chunk]`, to their places.
///
/// # Safety
/// No other thread writes these pixels.
unsafe fn store(sums: &[f32], chunk: usize, outputs: usize, pixels: Range<usize>, output: &Output<'_>) {
    let (to, addend) = output.place(&pixels, &(0..outputs));
    assert_eq!(output.pitch, outputs, "pixels have these channels alone");
    let floats = pixels.len() * outputs;
    if output.adds() {
        for at in 0..floats {
            let sum = sums[at % outputs * chunk + at / outputs];
            // SAFETY: inside the output, and the addend, as `place` has checked.
            unsafe { *to.add(at) = output.clamp.apply(sum + *addend.add(at)) };
        }
    } else {
        // SAFETY: inside the output as `place` has checked, and this thread's alone.
        let to = unsafe { std::slice::from_raw_parts_mut(to, floats) };
        match outputs {
            1 => to.copy_from_slice(&sums[..floats]),
            2 => interleave::<2>(sums, chunk, to),
            3 => interleave::<3>(sums, chunk, to),
            _ => interleave::<MOST_OUTPUTS>(sums, chunk, to),
        }
    }
    // SAFETY: the caller's promise.
    unsafe { output.rectify(pixels, 0..outputs) };
}

/// Writes the sums of `O` channels in turn.
fn interleave<const O: usize>(sums: &[f32], chunk: usize, to: &mut [f32]) {
    let rows: [&[f32]; O] = std::array::from_fn(|output| &sums[output * chunk..][..chunk]);
    for (pixel, to) in to.chunks_exact_mut(O).enumerate() {
        for (to, row) in to.iter_mut().zip(rows) {
            *to = row[pixel];
        }
    }
}

/// The rows of an input and an output. Where each output sees one pixel alone, all pixels of the batch are cut
/// into rows of equal length, the last of them maybe shorter.
struct Rows {
    /// Rows of the output in a sample, and in all.
    per_sample: usize,
    all: usize,
    /// Height and width of the input, and width of the output.
    height: usize,
    width: usize,
    out_width: usize,
    /// Pixels of the whole input and output.
    ends: [usize; 2],
}

impl Rows {
    fn of(image: &Image<'_>) -> Rows {
        let ([batch, height, width], [out_height, out_width]) = (image.shape, image.output);
        let pixels = batch * height * width;
        if image.window == Window::POINT {
            let width = LINE.min(pixels).max(1);
            let all = pixels.div_ceil(width);
            let ends = [pixels; 2];
            return Rows { per_sample: all, all, height: all, width, out_width: width, ends };
        }
        let all = batch * out_height;
        let ends = [pixels, all * out_width];
        Rows { per_sample: out_height, all, height, width, out_width, ends }
    }

    /// The floats of an input row, counted over the batch.
    fn pixels(&self, row: usize, channels: usize) -> Range<usize> {
        row * self.width * channels..((row + 1) * self.width).min(self.ends[0]) * channels
    }

    /// The first pixel of an output row, counted over the batch, and how many there are.
    fn outputs(&self, row: usize) -> (usize, usize) {
        let first = row * self.out_width;
        (first, self.out_width.min(self.ends[1] - first))
    }
}

/// Where turned rows are: as many as an output row sees from its first to its last, and a row of zeros.
struct Ring {
    slots: usize,
    /// Floats from a plane to the next, and where its first pixel is.
    pitch: usize,
    first: usize,
    /// Floats of a turned row, and of all.
    row: usize,
    floats: usize,
}

impl Ring {
    fn new(rows: &Rows, window: &Window, channels: usize, chunk: usize) -> Ring {
        let [slots, reach] = [0, 1].map(|axis| (window.kernel[axis] - 1) * window.dilation[axis] + 1);
        let first = window.pad_before[1];
        let seen = rows.out_width.next_multiple_of(chunk) + reach - 1;
        let pitch = seen.max(first + rows.width).next_multiple_of(CACHE_LINE);
        let row = volume(&[channels, pitch]);
        Ring { slots, pitch, first, row, floats: volume(&[slots, row]) + pitch }
    }

    /// Where an input row, counted over the batch, is.
    fn start(&self, row: usize) -> usize {
        row % self.slots * self.row
    }

    fn zeros(&self) -> usize {
        self.slots * self.row
    }
}

/// A turned row.
#[derive(Clone, Copy)]
struct Line {
    /// The first column that the first output sees, of the first channel.
    from: *const f32,
    /// Floats from a channel to the next.
    apart: usize,
}

/// What one call computes: some pixels of a row, side by side.
struct Strip<'a> {
    /// One for each row of the window.
    lines: &'a [Line],
    /// Columns of the window, and how far they are apart.
    across: usize,
    dilation: usize,
    channels: usize,
    weights: *const f32,
    bias: *const f32,
    /// The first pixel.
    first: usize,
    /// Where the sums go: `[output channels][chunk]`.
    sums: *mut f32,
    clamp: Clamp,
}

/// What one call turns: as many pixels as a register holds.
struct Turn {
    pixels: *const f32,
    channels: usize,
    to: *mut f32,
    pitch: usize,
}

/// The functions of one instruction set.
struct Functions {
    /// Floats in a register.
    lanes: usize,
    /// For 1, 2, ... [`MOST_OUTPUTS`] output channels.
    by_outputs: [unsafe fn(&Strip<'_>); MOST_OUTPUTS],
    turn: unsafe fn(&Turn),
}

impl Functions {
    /// Pixels that one call computes.
    fn chunk(&self, outputs: usize) -> usize {
        vectors(outputs) * self.lanes
    }
}

/// Registers of pixels for so many output channels: their sums, and what is multiplied, fit the register file.
const fn vectors(outputs: usize) -> usize {
    if outputs <= 2 { 4 } else { 2 }
}

for_each_isa!(
    /// The sums of a strip of `V` registers of pixels for `O` output channels.
    ///
    /// # Safety
    /// The processor has the instruction set; every line has all channels as far as the taps of a whole chunk
    /// reach, and there are all weights and room for the sums.
    unsafe fn strip<const V: usize, const O: usize>(argument: &super::Strip<'_>) = strip;
    /// A register of pixels turned.
    ///
    /// # Safety
    /// The processor has the instruction set, and pixels and room for them are there.
    unsafe fn turn<>(argument: &super::Turn) = turn
);

macro_rules! functions {
    ($lanes:ty, $isa:ident) => {
        Functions {
            lanes: <$lanes>::COUNT,
            by_outputs: [
                $isa::strip::<{ vectors(1) }, 1>,
                $isa::strip::<{ vectors(2) }, 2>,
                $isa::strip::<{ vectors(3) }, 3>,
                $isa::strip::<{ vectors(4) }, 4>,
            ],
            turn: $isa::turn,
        }
    };
}

table_by_isa!(
    /// The functions for an instruction set, which the machine must have.
    fn functions -> Functions = functions
);

#[inline(always)]
unsafe fn strip<L: Lanes, const V: usize, const O: usize>(strip: &Strip<'_>) {
    let Clamp { min, max } = strip.clamp;
    // SAFETY: of every access: in bounds by the caller's promise.
    unsafe {
        let mut acc = [[L::zero(); O]; V];
        for sums in &mut acc {
            for (output, sum) in sums.iter_mut().enumerate() {
                *sum = L::splat(*strip.bias.add(output));
            }
        }
        let mut weights = strip.weights;
        for line in strip.lines {
            for column in 0..strip.across {
                let mut from = line.from.add(strip.first + column * strip.dilation);
                for _ in 0..strip.channels {
                    let mut w = [L::zero(); O];
                    for (output, w) in w.iter_mut().enumerate() {
                        *w = L::splat(*weights.add(output));
                    }
                    for (vector, sums) in acc.iter_mut().enumerate() {
                        let x = L::load(from.add(vector * L::COUNT));
                        for (sum, w) in sums.iter_mut().zip(w) {
                            *sum = sum.add_product(x, w);
                        }
                    }
                    weights = weights.add(O);
                    from = from.wrapping_add(line.apart);
                }
            }
        }
        for (vector, sums) in acc.into_iter().enumerate() {
            for (output, sum) in sums.into_iter().enumerate() {
                sum.clamp(min, max).store(strip.sums.add((output * V + vector) * L::COUNT));
            }
        }
    }
}

#[inline(always)]
unsafe fn turn<L: Lanes>(turn: &Turn) {
    let mut rows = [std::ptr::null(); CACHE_LINE];
    for (pixel, row) in rows.iter_mut().take(L::COUNT).enumerate() {
        *row = turn.pixels.wrapping_add(pixel * turn.channels);
    }
    // SAFETY: handed on.
    unsafe { L::turn(rows.as_ptr(), 0, turn.channels, turn.to, turn.pitch) };
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cases::{for_cases, machines};
    use crate::float::tests::{clamps, numbers};
    use crate::float::{Conv2d, Form, Rectifier};

    /// Columns of a matrix `[count][outputs]`.
    fn columns(data: &[f32], outputs: usize, kept: usize) -> Vec<f32> {
        data.chunks_exact(outputs).flat_map(|row| &row[..kept]).copied().collect()
    }

    /// Against the same channels beside others, which stand in tiles.
    #[test]
    fn few_outputs_have_the_bits_that_they_have_among_others() {
        const AMONG: usize = MOST_OUTPUTS + 3;
        let windows = (
            [1usize..5, 1usize..5],
            1usize..4,
            [1usize..3, 1usize..3],
            [[0usize..3, 0usize..3], [0usize..3, 0usize..3]],
        );
        let sizes = (1usize..4, [1usize..9, 10usize..70], 1usize..20, 1usize..MOST_OUTPUTS + 1);
        for_cases(
            60,
            (sizes, windows, clamps()),
            |((batch, [height, width], inputs, outputs), window, clamp)| {
                let (kernel, stride, dilation, [pad_before, pad_after]) = window;
                let window = Window { kernel, stride: [stride, 1], dilation, pad_before, pad_after };
                let shape = [batch, height, width];
                let pixels: usize = batch * window.output([height, width]).iter().product::<usize>();
                let input = numbers(batch * height * width * inputs, 1);
                let weights = numbers(AMONG * window.taps() * inputs, 2);
                let (bias, addend) = (numbers(AMONG, 3), numbers(pixels * AMONG, 4));
                let own = columns(&addend, AMONG, outputs);
                for (isa, pool) in machines() {
                    let conv = |count: usize| {
                        let weights = &weights[..count * window.taps() * inputs];
                        Conv2d::new(isa, window, 1, inputs, count, weights, Some(&bias[..count]), clamp)
                    };
                    let (few, among) = (conv(outputs), conv(AMONG));
                    let [mut all, mut got] = [AMONG, outputs].map(|count| vec![f32::NAN; pixels * count]);
                    let check = |got: &[f32], all: &[f32]| {
                        let expected = columns(all, AMONG, outputs);
                        let equal = got.iter().zip(&expected).all(|(a, b)| a.to_bits() == b.to_bits());
                        assert!(equal && got.len() == expected.len(), "{isa} {shape:?} {inputs} {window:?}");
                    };
                    among.run(&pool, &input, shape, &mut all);
                    few.run(&pool, &input, shape, &mut got);
                    check(&got, &all);
                    among.run_sum(&pool, &input, shape, Some(&addend), Clamp::RELU6, &mut all);
                    few.run_sum(&pool, &input, shape, Some(&own), Clamp::RELU6, &mut got);
                    check(&got, &all);
                    let slopes = |count: usize| Rectifier::new(isa, &numbers(AMONG, 5)[..count]);
                    among.run_rectified(&pool, &input, shape, None, Some(&slopes(AMONG)), &mut all);
                    few.run_rectified(&pool, &input, shape, None, Some(&slopes(outputs)), &mut got);
                    check(&got, &all);
                }
            },
        );
    }

    #[test]
    fn few_outputs_of_wide_images_are_computed_so() {
        let three = Window { kernel: [3; 2], pad_before: [1; 2], pad_after: [1; 2], ..Window::POINT };
        let takes = |window: Window, groups, channels, width| Planes::takes(&window, groups, channels, width);
        assert!(takes(three, 1, [8, 1], 16) && takes(three, 1, [512, MOST_OUTPUTS], 256));
        assert!(takes(Window::POINT, 1, [MOST_OF_POINT, 2], 64));
        assert!(!takes(three, 1, [8, 1], 15) && !takes(three, 1, [8, MOST_OUTPUTS + 1], 64));
        assert!(!takes(three, 2, [8, 2], 64) && !takes(Window { stride: [1, 2], ..three }, 1, [8, 1], 64));
        assert!(!takes(Window::POINT, 1, [MOST_OF_POINT + 1, 2], 64));
        let form = |outputs| Form::best(&three, 1, 64, outputs, [64; 2]);
        assert!(form(MOST_OUTPUTS) == Form::Direct && form(64) != Form::Direct);
    }

    /// Rows of dense layers are pixels of one line, and the last line may be short.
    #[test]
    fn many_rows_of_a_dense_layer_have_the_bits_of_each_alone() {
        let (inputs, rows) = (37, 2 * LINE + 21);
        let (input, weights) = (numbers(rows * inputs, 1), numbers(2 * inputs, 2));
        for (isa, pool) in machines() {
            let dense = Conv2d::dense(isa, inputs, 2, &weights, None, Clamp::NONE);
            let [mut together, mut alone] = [0, 1].map(|_| vec![f32::NAN; 2 * rows]);
            dense.run(&pool, &input, [rows, 1, 1], &mut together);
            for (x, y) in input.chunks_exact(inputs).zip(alone.chunks_exact_mut(2)) {
                dense.run(&pool, x, [1, 1, 1], y);
            }
            assert!(together == alone, "{isa}");
        }
    }
}
