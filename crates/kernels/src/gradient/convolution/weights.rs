//! The gradient of a convolution's weights: for each tap a product of two matrices over all pixels,
//! `gradient[o, tap, i] = sum of output_gradient[pixel, o] * input[pixel seen through the tap, i]`.
//!
//! Pixels pass in blocks. Of a block, a task copies the channels that it needs of both tensors into panels:
//! narrow ones of one of them, whose numbers are multiplied one by one, and wide ones, two registers of
//! channels, of the other. A tile of sums, one narrow panel by one wide panel, stays in registers while the
//! pixels of the block pass. Which tensor is cut into wide panels is a matter of which fills registers
//! better; where it is the output's gradient the sums come out transposed.
//!
//! Of few input channels (the first layer of a net), a row of taps is treated like a tap with as many times
//! more channels: their inputs lie side by side.
//!
//! Tasks are tiles of sums and, where these are too few, large sections of the pixels, whose sums are added
//! up at the end; sections depend on the shape alone.

mod copies;
mod pixels;

use std::ops::Range;

use super::geometry::{Geometry, Run, Segment};
use super::tile::{Functions, Tile, functions};
use super::{Scratch, grow};
use crate::float::assert_convolution;
use crate::float::split::part;
use crate::float::workspace::with_workspace;
use crate::pool::DisjointSlice;
use crate::{Isa, ThreadPool, Window};

/// Most channels of either tensor that a task has, and fewer to make more tasks.
const MOST_CHANNELS: usize = 256;
const FEW_CHANNELS: usize = 128;
/// Tasks to aim at.
const TASKS: usize = 16;
/// Output pixels of a section, at least, if there are several.
const SECTION: usize = 1568;
/// Fewer input channels are read by rows of taps.
const FEW_INPUTS: usize = 8;

/// The gradient of a convolution with respect to its weights, for one shape.
pub struct WeightsGradient {
    functions: &'static Functions,
    geometry: Geometry,
    /// Batch, height and width of the input; of a window of one tap, all pixels are one line.
    shape: [usize; 3],
    groups: usize,
    /// Channels of input and output.
    channels: [usize; 2],
    /// Taps, or rows of taps, that are computed one by one: vertical and horizontal.
    taps: [usize; 2],
    /// Sums for each of these taps and output channel of a group.
    depth: usize,
    /// Whether wide panels are of the output's gradient, and sums transposed.
    transposed: bool,
    narrow: Panels,
    wide: Panels,
    /// Parts of the work: of narrow panels, wide panels, taps and blocks.
    parts: [usize; 4],
}

/// How channels of a group are cut into panels.
struct Panels {
    channels: usize,
    /// Channels of a panel; the last may have fewer.
    width: usize,
    count: usize,
    /// Floats of a pixel in a panel: whole registers.
    pitch: usize,
}

impl Panels {
    fn new(channels: usize, width: usize, lanes: usize) -> Panels {
        Panels { channels, width, count: channels.div_ceil(width), pitch: width.next_multiple_of(lanes) }
    }

    /// The channels of some panels.
    fn channels(&self, panels: &Range<usize>) -> Range<usize> {
        panels.start * self.width..(panels.end * self.width).min(self.channels)
    }
}

/// What a task computes.
struct Task {
    group: usize,
    narrow: Range<usize>,
    wide: Range<usize>,
    taps: Range<usize>,
    blocks: Range<usize>,
    /// Which section the blocks are.
    section: usize,
}

impl WeightsGradient {
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
    ) -> WeightsGradient {
        assert_convolution(&window, groups, channels);
        let functions = functions(isa);
        let [inputs, outputs] = channels.map(|channels| channels / groups);
        let padded = groups == 1 && inputs < FEW_INPUTS && window.kernel[1] > 1 && window.dilation[1] == 1;
        let shape = if window == Window::POINT { [1, 1, shape.iter().product()] } else { shape };
        let geometry = Geometry::new(&window, shape, padded);
        let [down, across] = window.kernel;
        let (taps, depth) = if padded { ([down, 1], across * inputs) } else { ([down, across], inputs) };

        let filled = |channels: usize| channels as f64 / channels.next_multiple_of(functions.lanes) as f64;
        let transposed = padded || filled(outputs) > 1.05 * filled(depth);
        let [few, many] = if transposed { [depth, outputs] } else { [outputs, depth] };
        let narrow = Panels::new(few, few.div_ceil(few.div_ceil(functions.most)), functions.lanes);
        let wide = Panels::new(many, 2 * functions.lanes, functions.lanes);

        let most = |panels: &Panels, most: usize| panels.channels.div_ceil(most).min(panels.count);
        let mut parts = [most(&narrow, MOST_CHANNELS), most(&wide, MOST_CHANNELS), 1, 1];
        let tasks = |parts: &[usize; 4]| groups * parts.iter().product::<usize>();
        let pixels: usize = shape[0] * geometry.output.iter().product::<usize>();
        parts[3] = (pixels / SECTION).clamp(1, TASKS.div_ceil(tasks(&parts)));
        if tasks(&parts) < TASKS {
            parts[0] = most(&narrow, FEW_CHANNELS);
        }
        if tasks(&parts) < TASKS {
            parts[1] = most(&wide, FEW_CHANNELS);
        }
        if tasks(&parts) < TASKS {
            parts[2] = taps[0];
        }
        parts[3] = parts[3].min(geometry.blocks.len().max(1));
        WeightsGradient {
            functions,
            geometry,
            shape,
            groups,
            channels,
            taps,
            depth,
            transposed,
            narrow,
            wide,
            parts,
        }
    }

    /// Computes the gradient of the weights, `[output channels, kernel height, kernel width, input channels /
    /// groups]`, and of the bias if there is one, from the input and the gradient of the output.
    ///
    /// # Panics
    /// When a slice has another length.
    pub fn run(
        &self,
        pool: &ThreadPool,
        input: &[f32],
        output_gradient: &[f32],
        scratch: &mut Scratch,
        gradient: &mut [f32],
        bias: Option<&mut [f32]>,
    ) {
        let [inputs, outputs] = self.channels;
        let pixels: usize = self.shape.iter().product();
        assert_eq!(input.len(), pixels * inputs, "length of the input");
        let expected = self.shape[0] * self.geometry.output.iter().product::<usize>() * outputs;
        assert_eq!(output_gradient.len(), expected, "length of the output gradient");
        let steps = self.taps[0] * self.taps[1] * self.depth;
        assert_eq!(gradient.len(), outputs * steps, "number of weights");
        assert!(bias.as_ref().is_none_or(|bias| bias.len() == outputs), "number of biases");
        if self.geometry.blocks.is_empty() {
            gradient.fill(0.0);
            return bias.into_iter().for_each(|bias| bias.fill(0.0));
        }
        let (sections, len) = (self.parts[3], gradient.len());
        let own = if sections == 1 && !self.transposed { 0 } else { sections * len };
        let biases = if bias.is_some() { sections * outputs } else { 0 };
        grow(&mut scratch.parts, own + biases);
        let (parts, of_bias) = scratch.parts[..own + biases].split_at_mut(own);
        let sums = DisjointSlice::new(if own == 0 { &mut *gradient } else { &mut *parts });
        let of_bias = DisjointSlice::new(of_bias);
        self.run_tasks(pool, input, output_gradient, &sums, &of_bias);
        let parts = &scratch.parts[..own + biases];
        if let Some(bias) = bias {
            for (section, part) in parts[own..].chunks_exact(outputs).enumerate() {
                add(bias, part.iter(), section > 0);
            }
        }
        if own > 0 {
            self.finish(pool, &parts[..own], gradient);
        }
    }

    /// Adds up the sums of all sections, and brings them into the order of the weights.
    pub(in crate::gradient) fn finish(&self, pool: &ThreadPool, parts: &[f32], gradient: &mut [f32]) {
        let steps = self.taps[0] * self.taps[1] * self.depth;
        let (outputs, len) = (self.channels[1], gradient.len());
        let rows = pool.rows_per_task(outputs, (16 * 1024usize).div_ceil(steps));
        let per_group = outputs / self.groups;
        pool.run_rows(gradient, steps, rows, |first, piece| {
            for (channel, row) in (first..).zip(piece.chunks_exact_mut(steps)) {
                for (section, part) in parts.chunks_exact(len).enumerate() {
                    if self.transposed {
                        let (group, column) = (channel / per_group, channel % per_group);
                        let part = &part[group * steps * per_group + column..];
                        add(row, part.iter().step_by(per_group), section > 0);
                    } else {
                        add(row, part[channel * steps..][..steps].iter(), section > 0);
                    }
                }
            }
        });
    }

    /// Computes the sums of all sections, and those of the output's gradient for the bias if there is room.
    fn run_tasks(
        &self,
        pool: &ThreadPool,
        input: &[f32],
        gradient: &[f32],
        sums: &DisjointSlice<'_, f32>,
        biases: &DisjointSlice<'_, f32>,
    ) {
        let [narrow, wide, taps, blocks] = self.parts;
        pool.run(self.groups * self.parts.iter().product::<usize>(), &|index| {
            let (index, section) = (index / blocks, index % blocks);
            let (index, of_taps) = (index / taps, index % taps);
            let (index, of_wide) = (index / wide, index % wide);
            let (group, of_narrow) = (index / narrow, index % narrow);
            let per_row = self.taps[1];
            let rows = part(self.taps[0], of_taps, taps);
            let task = Task {
                group,
                narrow: part(self.narrow.count, of_narrow, narrow),
                wide: part(self.wide.count, of_wide, wide),
                taps: rows.start * per_row..rows.end * per_row,
                blocks: part(self.geometry.blocks.len(), section, blocks),
                section,
            };
            // Of all tasks that copy the same of the output's gradient, one adds it up.
            let of_inputs = if self.transposed { of_narrow } else { of_wide };
            let add_up = biases.len() > 0 && of_inputs == 0 && of_taps == 0;
            self.run_task(&task, input, gradient, sums, add_up.then_some(biases));
        });
    }

    fn run_task(
        &self,
        task: &Task,
        input: &[f32],
        gradient: &[f32],
        sums: &DisjointSlice<'_, f32>,
        biases: Option<&DisjointSlice<'_, f32>>,
    ) {
        let [of_input, of_output] = self.geometry.most_pixels();
        let [narrow_pixels, wide_pixels] =
            if self.transposed { [of_input, of_output] } else { [of_output, of_input] };
        let (narrow_panel, wide_panel) = (narrow_pixels * self.narrow.pitch, wide_pixels * self.wide.pitch);
        let narrow_len = if self.geometry.padded {
            (narrow_pixels * self.channels[0]).next_multiple_of(self.wide.pitch)
        } else {
            narrow_panel * task.narrow.len()
        };
        let (panels, range) =
            if self.transposed { (&self.wide, &task.wide) } else { (&self.narrow, &task.narrow) };
        let wide_len = wide_panel * task.wide.len();
        with_workspace(narrow_len + wide_len + range.len() * panels.pitch, |space| {
            let (narrow, space) = space.split_at_mut(narrow_len);
            let (wide, totals) = space.split_at_mut(wide_len);
            let mut runs = Vec::new();
            let blocks = &self.geometry.blocks[task.blocks.clone()];
            for (number, block) in blocks.iter().enumerate() {
                totals.fill(0.0);
                let mut own = if biases.is_some() { Some(&mut *totals) } else { None };
                if self.transposed {
                    self.copy_outputs(block, task, gradient, (wide, wide_panel), &mut own);
                } else {
                    self.copy_outputs(block, task, gradient, (narrow, narrow_panel), &mut own);
                }
                if self.geometry.padded {
                    self.copy_lines(block, input, narrow);
                } else if self.transposed {
                    self.copy_inputs(block, task, input, (narrow, narrow_panel));
                } else {
                    self.copy_inputs(block, task, input, (wide, wide_panel));
                }
                if let Some(biases) = biases {
                    let channels = panels.channels(range);
                    let first =
                        task.section * self.channels[1] + task.group * panels.channels + channels.start;
                    // SAFETY: no other task of this section adds these channels up.
                    let to = unsafe { biases.piece(first..first + channels.len()) };
                    let pieces = to.chunks_mut(panels.width).zip(totals.chunks_exact(panels.pitch));
                    pieces.for_each(|(to, from)| add(to, from.iter(), number > 0));
                }
                let mut ahead = self.ahead(blocks.get(number + 1), task, input, gradient);
                for tap in task.taps.clone() {
                    self.geometry.find_runs(block, [tap / self.taps[1], tap % self.taps[1]], &mut runs);
                    let panels = [(&*narrow, narrow_panel), (&*wide, wide_panel)];
                    self.multiply(task, tap, number > 0, &runs, panels, &mut ahead, sums);
                }
            }
        });
    }

    /// Where the cache lines lie that a task will copy of the next block: for each line of a pixel the place
    /// in the first pixel, and how far it is to the next pixel.
    fn ahead<'a>(
        &'a self,
        block: Option<&Vec<Segment>>,
        task: &Task,
        input: &'a [f32],
        gradient: &'a [f32],
    ) -> impl Iterator<Item = (*const f32, usize)> + use<'a> {
        const LINE: usize = 16;
        let [_, height, width] = self.shape;
        let [out_height, out_width] = self.geometry.output;
        let [inputs, outputs] = self.channels;
        let ranges = [self.narrow.channels(&task.narrow), self.wide.channels(&task.wide)];
        let [of_inputs, of_outputs] =
            if self.transposed { [0, 1] } else { [1, 0] }.map(|i| ranges[i].clone());
        let segment = block.and_then(|block| block.first());
        let lines = |tensor: &'a [f32], pixel: usize, apart: usize, channels: Range<usize>| {
            let first = tensor.as_ptr().wrapping_add(pixel + channels.start);
            (0..channels.len()).step_by(LINE).map(move |line| (first.wrapping_add(line), apart))
        };
        let found = segment.map(|segment| {
            let row = segment.sample * out_height + segment.rows.start;
            let pixel = row * out_width + segment.columns.start;
            let skip = task.group * outputs / self.groups;
            let channels = of_outputs.start + skip..of_outputs.end + skip;
            let of_gradient = lines(gradient, pixel * outputs, outputs, channels);
            let row = segment.sample * height + segment.seen_rows[0];
            let pixel = row * width + if self.geometry.padded { 0 } else { segment.seen_columns[0] };
            let skip = task.group * inputs / self.groups;
            let few =
                if self.geometry.padded { 0..inputs } else { of_inputs.start + skip..of_inputs.end + skip };
            // Of rows that are left out nothing is asked for: what lies behind the first row is another.
            let few = if self.geometry.rows.step() == 1 { few } else { 0..0 };
            of_gradient.chain(lines(input, pixel * inputs, inputs * self.geometry.columns.step(), few))
        });
        found.into_iter().flatten()
    }

    /// Adds the products of a block and a tap to the sums, or begins them.
    // What is multiplied, where, and whether to add.
    #[allow(clippy::too_many_arguments)]
    fn multiply(
        &self,
        task: &Task,
        tap: usize,
        add: bool,
        runs: &[Run],
        [(narrow, narrow_panel), (wide, wide_panel)]: [(&[f32], usize); 2],
        ahead: &mut impl Iterator<Item = (*const f32, usize)>,
        sums: &DisjointSlice<'_, f32>,
    ) {
        let outputs = self.channels[1] / self.groups;
        let taps = self.taps[0] * self.taps[1];
        let len = self.channels[1] * taps * self.depth;
        let first = task.section * len + task.group * outputs * taps * self.depth;
        let advance = self.geometry.advance();
        let [narrow_advance, wide_advance] = if self.transposed { [advance, 1] } else { [1, advance] };
        let narrow_pixel = if self.geometry.padded { self.channels[0] } else { self.narrow.pitch };
        for wide_index in task.wide.clone() {
            let lanes = self.wide.channels(&(wide_index..wide_index + 1));
            for narrow_index in task.narrow.clone() {
                let numbers = self.narrow.channels(&(narrow_index..narrow_index + 1));
                let (at, pitch) = if self.transposed {
                    ((tap * self.depth + numbers.start) * outputs + lanes.start, outputs)
                } else {
                    ((numbers.start * taps + tap) * self.depth + lanes.start, taps * self.depth)
                };
                let at = first + at;
                assert!(
                    at + (numbers.len() - 1) * pitch + lanes.len() <= sums.len(),
                    "tile outside the sums"
                );
                let narrow = if self.geometry.padded {
                    &narrow[numbers.start..]
                } else {
                    &narrow[(narrow_index - task.narrow.start) * narrow_panel..]
                };
                let (ahead, ahead_step) = ahead.next().unwrap_or((narrow.as_ptr(), 0));
                let tile = Tile {
                    runs,
                    narrow_is_input: self.transposed,
                    narrow: narrow.as_ptr(),
                    narrow_pixel,
                    narrow_step: narrow_pixel * narrow_advance,
                    wide: wide[(wide_index - task.wide.start) * wide_panel..].as_ptr(),
                    wide_pixel: self.wide.pitch,
                    wide_step: self.wide.pitch * wide_advance,
                    // SAFETY: inside the sums as just checked.
                    sums: unsafe { sums.as_ptr().add(at) },
                    pitch,
                    lanes: lanes.len(),
                    add,
                    ahead,
                    ahead_step,
                };
                // SAFETY: `functions` checked the instruction set; all pixels of the block were copied; no
                // other task has these sums.
                unsafe { self.functions.tile(numbers.len(), lanes.len())(&tile) };
            }
        }
    }
}

/// Writes numbers, or adds them.
fn add<'a>(to: &mut [f32], from: impl Iterator<Item = &'a f32>, add: bool) {
    if add {
        to.iter_mut().zip(from).for_each(|(to, from)| *to += from);
    } else {
        to.iter_mut().zip(from).for_each(|(to, from)| *to = *from);
    }
}
