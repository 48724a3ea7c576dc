//! An expanding convolution, a depthwise one and a projecting one in a single pass over the image.
//!
//! What the first makes is several times as large as what goes in and out, and each part of it is
//! read only by the rows of the depthwise convolution around it. So a task keeps just those rows, in
//! a ring that stays in its second-level cache, instead of sending all of them through memory.

use std::ops::Range;
use std::sync::Arc;

use super::depthwise::Depthwise;
use super::depthwise::patch::ROWS;
use super::direct::Direct;
use super::packed::{Addend, Output};
use super::rectifier::Rectifier;
use super::split::part;
use super::taps::{Image, Taps, spread};
use super::{Clamp, Conv2d, volume};
use crate::pool::DisjointSlice;
use crate::{ThreadPool, Window};

/// Scratch memory begins on a cache line for each task.
const LINE: usize = 16;

/// Up to three convolutions of which each alone reads what the one before it makes. The bits are
/// those of the separate kernels.
pub struct Block {
    expand: Arc<Conv2d>,
    depthwise: Arc<Depthwise>,
    project: Option<Arc<Conv2d>>,
    /// What follows the first two, in so far as there is another behind them.
    rectifiers: [Option<Arc<Rectifier>>; 2],
}

impl Block {
    /// A convolution, with what follows it, and the depthwise one behind that, if it has as many output as
    /// input channels and a window of 3x3 or 5x5 of stride 1 or 2.
    #[must_use]
    pub fn new(
        expand: &Arc<Conv2d>,
        rectifier: Option<&Arc<Rectifier>>,
        depthwise: &Arc<Depthwise>,
    ) -> Option<Block> {
        let (single, _) = depthwise.patches()?;
        // A row of the ring cannot be had from forms that compute squares, nor from copied taps.
        let in_place = !expand.direct()?.reading.collide(&expand.window, expand.in_channels);
        let fits = expand.out_channels == single.channels && in_place;
        let (expand, depthwise) = (Arc::clone(expand), Arc::clone(depthwise));
        let rectifiers = [rectifier.cloned(), None];
        fits.then_some(Block { expand, depthwise, project: None, rectifiers })
    }

    /// The two, with what follows them, and the convolution behind that, if it has a window of one tap and
    /// there is none yet.
    #[must_use]
    pub fn with_projection(
        &self,
        rectifier: Option<&Arc<Rectifier>>,
        project: &Arc<Conv2d>,
    ) -> Option<Block> {
        project.direct()?;
        let reads = project.window == Window::POINT && project.in_channels == self.expand.out_channels;
        let [expand, project] = [&self.expand, project].map(Arc::clone);
        let depthwise = Arc::clone(&self.depthwise);
        let rectifiers = [self.rectifiers[0].clone(), rectifier.cloned()];
        (reads && self.project.is_none()).then_some(Block {
            expand,
            depthwise,
            project: Some(project),
            rectifiers,
        })
    }

    /// Whether there is a convolution behind the depthwise one.
    #[must_use]
    pub fn projects(&self) -> bool {
        self.project.is_some()
    }

    /// Whether one of the convolutions leaves zeros of its weights out.
    #[must_use]
    pub fn is_sparse(&self) -> bool {
        self.expand.is_sparse() || self.project.as_ref().is_some_and(|project| project.is_sparse())
    }

    /// Whether an input of `shape` = batch, height, width is computed faster than by the separate
    /// kernels: when what is expanded outgrows the second-level cache, when each row of it takes at most
    /// twice as many weights as it has numbers, and when few of its rows are computed twice, by the threads
    /// on both sides of a border.
    #[must_use]
    pub fn pays(&self, shape: [usize; 3], threads: usize) -> bool {
        const LEAST_BYTES: usize = 512 << 10;
        const MOST_WEIGHTS: usize = 2;
        let Some((single, _)) = self.depthwise.patches() else { return false };
        let weights = self.expand.direct().map_or(0, Direct::floats);
        let lines = Lines::new(self, shape);
        let [height, _] = lines.expanded;
        let per_sample = lines.line.saturating_mul(height);
        let shared = single.window.kernel[0].saturating_sub(single.window.stride[0]);
        let tasks = threads.min(lines.units);
        let twice = shared * tasks.saturating_sub(1);
        per_sample.saturating_mul(size_of::<f32>()) >= LEAST_BYTES
            && weights <= lines.line.saturating_mul(MOST_WEIGHTS)
            && twice.saturating_mul(10) <= height.saturating_mul(shape[0])
    }

    /// Floats of scratch memory for an input of `shape` = batch, height, width on this many threads.
    #[must_use]
    pub fn scratch(&self, shape: [usize; 3], threads: usize) -> usize {
        let lines = Lines::new(self, shape);
        volume(&[lines.floats, threads.min(lines.units).max(1)])
    }

    /// Computes the whole output from an input of `shape` = batch, height, width (and the input
    /// channels of the first convolution). `addend` has the output's shape; the sum is held to the
    /// bounds beside it, instead of the last convolution's own. `rectifier` follows the last of all.
    ///
    /// # Panics
    /// When `input`, `addend` or `output` has another length, when there is an addend and no last
    /// convolution, when there are slopes for another number of channels, or when `scratch` is shorter than
    /// [`Block::scratch`] says for the pool's threads.
    // As for one convolution, and the scratch memory.
    #[allow(clippy::too_many_arguments)]
    pub fn run(
        &self,
        pool: &ThreadPool,
        input: &[f32],
        shape: [usize; 3],
        addend: Option<(&[f32], Clamp)>,
        rectifier: Option<&Rectifier>,
        scratch: &mut [f32],
        output: &mut [f32],
    ) {
        let lines = Lines::new(self, shape);
        let channels = self.project.as_ref().map_or(self.expand.out_channels, |project| project.out_channels);
        let [batch, ..] = shape;
        assert_eq!(input.len(), volume(&[volume(&shape), self.expand.in_channels]), "length of the input");
        assert_eq!(
            output.len(),
            volume(&[batch, lines.out[0], lines.out[1], channels]),
            "length of the output"
        );
        assert!(addend.is_none_or(|(addend, _)| addend.len() == output.len()), "length of the addend");
        assert!(addend.is_none() || self.project.is_some(), "nothing to add to");
        assert!(scratch.len() >= self.scratch(shape, pool.threads()), "length of the scratch memory");
        if output.is_empty() {
            return;
        }
        assert!(rectifier.is_none_or(|slopes| slopes.channels() == channels), "slopes for other channels");
        let (scratch, data) = (DisjointSlice::new(scratch), DisjointSlice::new(output));
        let output = self.output(addend, rectifier, &data);
        let tasks = pool.threads().min(lines.units);
        pool.run(tasks, &|task| {
            // SAFETY: each task has a piece of its own.
            let scratch = unsafe { scratch.piece(task * lines.floats..(task + 1) * lines.floats) };
            let units = part(lines.units, task, tasks);
            // SAFETY: the units of the tasks do not overlap.
            unsafe { self.run_units(&lines, input, shape, units, scratch, &output) };
        });
    }

    /// Where the last convolution's results go.
    fn output<'a>(
        &self,
        addend: Option<(&'a [f32], Clamp)>,
        rectifier: Option<&'a Rectifier>,
        data: &'a DisjointSlice<'a, f32>,
    ) -> Output<'a> {
        let Some(project) = &self.project else {
            let Some((single, _)) = self.depthwise.patches() else { unreachable!("a block has patches") };
            return single.output(data, rectifier);
        };
        let (addend, clamp) = match addend {
            Some((addend, clamp)) => (Addend::Tensor(addend), clamp),
            None => (Addend::Nothing, project.clamp),
        };
        Output { data, addend, first: 0, pitch: project.out_channels, clamp, rectifier }
    }

    /// Computes some units, [`ROWS`] rows of the output each, the last of a sample maybe fewer.
    ///
    /// # Safety
    /// No other thread writes the output rows of these units; all lengths have been checked.
    // What `run` was given, taken apart by task.
    #[allow(clippy::too_many_arguments)]
    unsafe fn run_units(
        &self,
        lines: &Lines,
        input: &[f32],
        shape: [usize; 3],
        units: Range<usize>,
        scratch: &mut [f32],
        output: &Output<'_>,
    ) {
        let (Some((single, functions)), Some(expand)) = (self.depthwise.patches(), self.expand.direct())
        else {
            return;
        };
        let (ring, between) = scratch.split_at_mut(lines.slots * lines.line);
        let (ring, between) = (DisjointSlice::new(ring), DisjointSlice::new(between));
        let between = single.output(&between, self.rectifiers[1].as_deref());
        let [out_height, out_width] = lines.out;
        let image = Image {
            data: &[],
            shape: [1, lines.expanded[0], lines.expanded[1]],
            channels: single.channels,
            window: single.window,
            output: lines.out,
            zeros: &single.zeros,
        };
        let mut taps = Taps::new(self.expand.image(input, shape), expand.reading, expand.most_pixels());
        let pointers = vec![std::ptr::null(); if self.projects() { ROWS * out_width } else { 0 }];
        let mut last = Last { pointers };
        let per_sample = out_height.div_ceil(ROWS);
        let mut ready = (0, 0);
        for unit in units {
            let (sample, y) = (unit / per_sample, unit % per_sample * ROWS);
            let rows = ROWS.min(out_height - y);
            let seen = (rows - 1) * single.window.stride[0] + single.window.kernel[0];
            // Rows that the units before have left in the ring need not be computed again.
            let first = (0..seen).find_map(|row| image.row(y, row));
            let end = (0..seen).rev().find_map(|row| image.row(y, row)).map_or(0, |row| row + 1);
            let done = if ready.0 == sample { ready.1 } else { 0 };
            for row in first.unwrap_or(end).max(done)..end {
                // SAFETY: the ring is this task's alone.
                unsafe { self.expand_row(expand, lines, &mut taps, [sample, row], &ring) };
            }
            ready = (sample, end.max(done));

            let line = |row| {
                let slot = image.row(y, row)? % lines.slots;
                // SAFETY: nothing writes to the ring while this is in use.
                Some(unsafe { &*ring.piece(slot * lines.line..(slot + 1) * lines.line) })
            };
            let pixels = (sample * out_height + y) * out_width..(sample * out_height + y + rows) * out_width;
            // SAFETY: the rows of the ring are whole; this task alone writes its output.
            unsafe {
                match &self.project {
                    None => single.run_rows(functions, &image, rows, line, pixels.start, output),
                    Some(project) => {
                        single.run_rows(functions, &image, rows, line, 0, &between);
                        last.run(project, between.data, pixels, output);
                    }
                }
            }
        }
    }

    /// Computes row `row` of the first convolution's output into the ring.
    ///
    /// # Safety
    /// No other thread uses the ring.
    unsafe fn expand_row(
        &self,
        direct: &Direct,
        lines: &Lines,
        taps: &mut Taps<'_>,
        [sample, row]: [usize; 2],
        ring: &DisjointSlice<'_, f32>,
    ) {
        let Conv2d { out_channels, clamp, .. } = &*self.expand;
        let [height, width] = lines.expanded;
        let tiles = width.div_ceil(direct.most_pixels());
        let output = Output {
            data: ring,
            addend: Addend::Nothing,
            first: row % lines.slots * lines.line,
            pitch: *out_channels,
            clamp: *clamp,
            rectifier: self.rectifiers[0].as_deref(),
        };
        for tile in 0..tiles {
            let columns = part(width, tile, tiles);
            let pointers = taps.find((sample * height + row) * width + columns.start, columns.len());
            // SAFETY: the taps are those of the columns, as packed; the ring is the caller's.
            unsafe { direct.run_pixels(pointers, columns, &output) };
        }
    }
}

/// Where the projecting convolution of a block reads.
struct Last {
    pointers: Vec<*const f32>,
}

impl Last {
    /// Computes the output's `pixels` from as many pixels in `between`.
    ///
    /// # Safety
    /// No other thread writes these pixels of the output or writes to `between`.
    unsafe fn run(
        &mut self,
        project: &Conv2d,
        between: &DisjointSlice<'_, f32>,
        pixels: Range<usize>,
        output: &Output<'_>,
    ) {
        let (channels, Some(direct)) = (project.in_channels, project.direct()) else { return };
        // SAFETY: the caller's promise.
        let from: &[f32] = unsafe { between.piece(0..pixels.len() * channels) };
        spread(&mut self.pointers[..pixels.len()], from, [0, 1, 1], channels);
        let tiles = pixels.len().div_ceil(direct.most_pixels());
        for tile in 0..tiles {
            let part = part(pixels.len(), tile, tiles);
            let pointers = self.pointers[part.start..].as_ptr();
            let part = pixels.start + part.start..pixels.start + part.end;
            // SAFETY: there is a pointer to all channels of each pixel; the rest is promised.
            unsafe { direct.run_pixels(pointers, part, output) };
        }
    }
}

/// Sizes of a block's parts for one shape of input.
struct Lines {
    /// Height and width of the first convolution's output.
    expanded: [usize; 2],
    /// Height and width of the output.
    out: [usize; 2],
    /// Rows of the ring, and floats in each.
    slots: usize,
    line: usize,
    /// Floats of scratch memory of one task.
    floats: usize,
    /// Pieces of the output that tasks consist of: [`ROWS`] rows each.
    units: usize,
}

impl Lines {
    fn new(block: &Block, [batch, height, width]: [usize; 3]) -> Lines {
        let Some((single, _)) = block.depthwise.patches() else { unreachable!("a block has patches") };
        let expanded = block.expand.window.output([height, width]);
        let out = single.window.output(expanded);
        let slots = (ROWS - 1) * single.window.stride[0] + single.window.kernel[0];
        let line = volume(&[expanded[1], single.channels]);
        let between = if block.project.is_some() { volume(&[ROWS, out[1], single.channels]) } else { 0 };
        let floats = (volume(&[slots, line]) + between).next_multiple_of(LINE);
        Lines { expanded, out, slots, line, floats, units: batch * out[0].div_ceil(ROWS) }
    }
}
