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

use std::ops::Range;

use super::geometry::{Geometry, Run, Segment};
use super::tile::{Copy, Functions, Tile, functions};
use super::{Scratch, bias_gradient, grow};
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
    isa: Isa,
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
            isa,
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
    // Two inputs, two outputs and where to compute.
    #[allow(clippy::too_many_arguments)]
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
        if let Some(bias) = bias {
            assert_eq!(bias.len(), outputs, "number of biases");
            bias_gradient(self.isa, pool, output_gradient, scratch, bias);
        }
        if self.geometry.blocks.is_empty() {
            return gradient.fill(0.0);
        }
        let sections = self.parts[3];
        if sections == 1 && !self.transposed {
            return self.run_tasks(pool, input, output_gradient, &DisjointSlice::new(gradient));
        }
        grow(&mut scratch.parts, sections * gradient.len());
        let parts = &mut scratch.parts[..sections * gradient.len()];
        self.run_tasks(pool, input, output_gradient, &DisjointSlice::new(parts));
        let (len, parts) = (gradient.len(), &*parts);
        let rows = pool.rows_per_task(outputs, (16 * 1024usize).div_ceil(steps));
        let per_group = outputs / self.groups;
        pool.run_rows(gradient, steps, rows, |first, piece| {
            for (channel, row) in (first..).zip(piece.chunks_exact_mut(steps)) {
                for section in 0..sections {
                    let part = &parts[section * len..][..len];
                    if self.transposed {
                        let (group, column) = (channel / per_group, channel % per_group);
                        let part = &part[group * steps * per_group + column..];
                        let part = part.iter().step_by(per_group);
                        add(row, part, section > 0);
                    } else {
                        add(row, part[channel * steps..][..steps].iter(), section > 0);
                    }
                }
            }
        });
    }

    fn run_tasks(&self, pool: &ThreadPool, input: &[f32], gradient: &[f32], sums: &DisjointSlice<'_, f32>) {
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
            self.run_task(&task, input, gradient, sums);
        });
    }

    fn run_task(&self, task: &Task, input: &[f32], gradient: &[f32], sums: &DisjointSlice<'_, f32>) {
        let [of_input, of_output] = self.geometry.most_pixels();
        let [narrow_pixels, wide_pixels] =
            if self.transposed { [of_input, of_output] } else { [of_output, of_input] };
        let (narrow_panel, wide_panel) = (narrow_pixels * self.narrow.pitch, wide_pixels * self.wide.pitch);
        let narrow_len = if self.geometry.padded {
            (narrow_pixels * self.channels[0]).next_multiple_of(self.wide.pitch)
        } else {
            narrow_panel * task.narrow.len()
        };
        with_workspace(narrow_len + wide_panel * task.wide.len(), |space| {
            let (narrow, wide) = space.split_at_mut(narrow_len);
            let mut runs = Vec::new();
            for (number, block) in self.geometry.blocks[task.blocks.clone()].iter().enumerate() {
                if self.geometry.padded {
                    self.copy_lines(block, input, narrow);
                    self.copy_outputs(block, task.group, &self.wide, &task.wide, gradient, wide, wide_panel);
                } else if self.transposed {
                    self.copy_inputs(
                        block,
                        task.group,
                        &self.narrow,
                        &task.narrow,
                        input,
                        narrow,
                        narrow_panel,
                    );
                    self.copy_outputs(block, task.group, &self.wide, &task.wide, gradient, wide, wide_panel);
                } else {
                    self.copy_outputs(
                        block,
                        task.group,
                        &self.narrow,
                        &task.narrow,
                        gradient,
                        narrow,
                        narrow_panel,
                    );
                    self.copy_inputs(block, task.group, &self.wide, &task.wide, input, wide, wide_panel);
                }
                for tap in task.taps.clone() {
                    self.geometry.find_runs(block, [tap / self.taps[1], tap % self.taps[1]], &mut runs);
                    self.multiply(
                        task,
                        tap,
                        number > 0,
                        &runs,
                        (narrow, narrow_panel),
                        (wide, wide_panel),
                        sums,
                    );
                }
            }
        });
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
        (narrow, narrow_panel): (&[f32], usize),
        (wide, wide_panel): (&[f32], usize),
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
                };
                // SAFETY: `functions` checked the instruction set; all pixels of the block were copied; no
                // other task has these sums.
                unsafe { self.functions.tile(numbers.len(), lanes.len())(&tile) };
            }
        }
    }

    /// Copies what a block sees of some channels of the input.
    // One tensor, what of it, and where to.
    #[allow(clippy::too_many_arguments)]
    fn copy_inputs(
        &self,
        block: &[Segment],
        group: usize,
        panels: &Panels,
        range: &Range<usize>,
        input: &[f32],
        to: &mut [f32],
        panel: usize,
    ) {
        let [_, height, width] = self.shape;
        let channels = panels.channels(range);
        let skip = group * panels.channels + channels.start;
        let [down, across] = [self.geometry.rows.step(), self.geometry.columns.step()];
        for segment in block {
            let ([top, rows], [left, columns]) = (segment.seen_rows, segment.seen_columns);
            for row in 0..rows {
                let pixel = (segment.sample * height + top + row * down) * width + left;
                let from = &input[pixel * self.channels[0] + skip..];
                let to = &mut to[(segment.input + row * columns) * panels.pitch..];
                self.copy(from, across * self.channels[0], columns, channels.len(), panels, to, panel);
            }
        }
    }

    /// Copies some channels of the output's gradient of a block.
    // As above.
    #[allow(clippy::too_many_arguments)]
    fn copy_outputs(
        &self,
        block: &[Segment],
        group: usize,
        panels: &Panels,
        range: &Range<usize>,
        gradient: &[f32],
        to: &mut [f32],
        panel: usize,
    ) {
        let [height, width] = self.geometry.output;
        let channels = panels.channels(range);
        let skip = group * panels.channels + channels.start;
        for segment in block {
            let columns = segment.columns.len();
            for (row, y) in segment.rows.clone().enumerate() {
                let pixel = (segment.sample * height + y) * width + segment.columns.start;
                let from = &gradient[pixel * self.channels[1] + skip..];
                let to = &mut to[(segment.output + row * columns) * panels.pitch..];
                self.copy(from, self.channels[1], columns, channels.len(), panels, to, panel);
            }
        }
    }

    // As above.
    #[allow(clippy::too_many_arguments)]
    fn copy(
        &self,
        from: &[f32],
        apart: usize,
        pixels: usize,
        channels: usize,
        panels: &Panels,
        to: &mut [f32],
        panel: usize,
    ) {
        if pixels == 0 {
            return;
        }
        let (width, pitch) = (panels.width, panels.pitch);
        assert!((pixels - 1) * apart + channels <= from.len(), "pixels outside the tensor");
        let last = (channels.div_ceil(width) - 1) * panel;
        assert!(last + pixels * pitch <= to.len(), "pixels outside the panels");
        let (from, to) = (from.as_ptr(), to.as_mut_ptr());
        let copy = Copy { from, apart, pixels, channels, width, to, panel };
        // SAFETY: `functions` checked the instruction set; bounds were just checked.
        unsafe { self.functions.copy(pitch / self.functions.lanes)(&copy) };
    }

    /// Copies the input rows that a block sees with their padding.
    fn copy_lines(&self, block: &[Segment], input: &[f32], to: &mut [f32]) {
        let [_, height, width] = self.shape;
        let (channels, padding, down) =
            (self.channels[0], self.geometry.columns.padding, self.geometry.rows.step());
        for segment in block {
            let ([top, rows], [left, columns]) = (segment.seen_rows, segment.seen_columns);
            // Columns of the padded line before the image, and of the image.
            let before = padding.saturating_sub(left).min(columns);
            let first = (left + before).saturating_sub(padding).min(width);
            let count = (width - first).min(columns - before);
            for row in 0..rows {
                let line = &input[(segment.sample * height + top + row * down) * width * channels..];
                let to = &mut to[(segment.input + row * columns) * channels..][..columns * channels];
                let (zeros, to) = to.split_at_mut(before * channels);
                let (to, more) = to.split_at_mut(count * channels);
                zeros.fill(0.0);
                to.copy_from_slice(&line[first * channels..][..count * channels]);
                more.fill(0.0);
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
