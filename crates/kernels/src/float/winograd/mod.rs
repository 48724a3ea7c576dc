//! Convolutions with windows of 3x3 and stride 1 by Winograd's minimal filtering.
//!
//! The output is cut into tiles of 2x2 or 4x4 pixels. What a tile sees, 4x4 or 6x6 input pixels, is
//! read as a polynomial in two variables and taken to its values at as many points; so are the
//! filters, once, when they are packed. At each point the values of all input channels are multiplied
//! by those of the filters and added up: a matrix product, where a direct convolution needs 2.25 or 4
//! times as many products. The sums at the points give the outputs of the tile. (A. Lavin and S. Gray,
//! "Fast Algorithms for Convolutional Neural Networks", 2015.)
//!
//! Tiles begin at the top left of each sample, and every step of a tile is a fixed sequence of
//! operations: the bits of a result depend on neither threads nor batch, but on the place in the image.

mod form;
mod input;
mod output;
mod transform;
mod weights;

use std::ops::Range;

pub use form::Form;
pub(crate) use form::time_of_form;
use input::InputTile;
use output::OutputTile;
use transform::MOST_POINTS;

use super::Clamp;
use super::filters::Filters;
use super::packed::{Addend, Output, Packed, Rows};
use super::split::{Split, Work, part};
use super::taps::Image;
use super::tile::{Tiles, tiles};
use super::workspace::with_workspace;
use crate::aligned::Aligned;
use crate::pool::DisjointSlice;
use crate::{Isa, ThreadPool};

/// Floats added to each row of the transformed tensors, so that rows do not fall on the same cache sets.
const SKEW: usize = 16;
/// Tiles that are transformed and multiplied at a time: what they take stays near the processor.
const BLOCK: usize = 28;

/// A convolution in one of Winograd's forms, with its weights transformed and packed.
pub(super) struct Winograd {
    form: Form,
    isa: Isa,
    tiles: &'static Tiles,
    in_channels: usize,
    out_channels: usize,
    /// A matrix of weights for each point.
    weights: Packed,
    bias: Aligned<f32>,
}

/// One call of [`Winograd::run`].
struct Call<'a> {
    image: Image<'a>,
    output: &'a Output<'a>,
    /// Tiles below and beside one another.
    grid: [usize; 2],
    /// Tiles over the whole batch.
    tiles: usize,
}

/// Some tiles at their points: input channels `[point][tile][channel]`, and the same of outputs.
struct Space<'a> {
    tiles: usize,
    inputs: DisjointSlice<'a, f32>,
    outputs: DisjointSlice<'a, f32>,
}

impl Winograd {
    /// Room for the weights, in memory from `memory`, to be [`fill`](Winograd::fill)ed.
    pub(super) fn new(
        isa: Isa,
        form: Form,
        in_channels: usize,
        out_channels: usize,
        memory: impl Fn(usize) -> Aligned<f32>,
    ) -> Winograd {
        let tiles = tiles(isa);
        let [_, side] = form.tile();
        let weights = Packed::several(tiles, side * side, out_channels, in_channels, memory);
        Winograd { form, isa, tiles, in_channels, out_channels, weights, bias: Aligned::zeroed(out_channels) }
    }

    /// Transforms and packs weights, whose order has nine taps, and the bias.
    pub(super) fn fill(&mut self, pool: &ThreadPool, filters: Filters<'_>, bias: Option<&[f32]>) {
        assert_eq!(filters.order.steps(), 9 * self.in_channels, "weights of an output channel");
        match self.form {
            Form::Winograd4 => {
                weights::fill::<6>(self.isa, pool, &mut self.weights, filters, self.in_channels)
            }
            _ => weights::fill::<4>(self.isa, pool, &mut self.weights, filters, self.in_channels),
        }
        match bias {
            Some(bias) => self.bias.copy_from_slice(bias),
            None => self.bias.fill(0.0),
        }
    }

    /// Exchanges the memory of the packed weights for another.
    pub(super) fn exchange(&mut self, memory: &mut Aligned<f32>) {
        self.weights.exchange(memory);
    }

    /// Floats of packed weights.
    pub(super) fn floats(&self) -> usize {
        self.weights.floats()
    }

    /// Computes the whole output of `image`, which has pixels.
    pub(super) fn run(&self, pool: &ThreadPool, image: Image<'_>, output: &Output<'_>) {
        let [side, seen] = self.form.tile();
        let grid = image.output.map(|size| size.div_ceil(side));
        let tiles = image.shape[0] * grid[0] * grid[1];
        let call = Call { image, output, grid, tiles };
        let weights = self.weights.floats();
        let work = Work {
            pixels: tiles,
            most_pixels: self.tiles.pixels,
            panels: self.weights.panels(),
            work_per_pixel: weights,
            floats_per_pixel: self.in_channels * seen * seen,
            weights,
        };
        let split = Split::new(&work, pool.threads());
        if split.shares_pixels() {
            self.run_shared(pool, &call, &split);
        } else {
            pool.run(split.tasks(), &|task| {
                let own = split.pixels(split.task(task).0);
                let blocks = own.len().div_ceil(BLOCK);
                for block in 0..blocks {
                    let tiles = part(own.len(), block, blocks);
                    self.run_block(&call, own.start + tiles.start..own.start + tiles.end);
                }
            });
        }
    }

    /// Computes some tiles, all of this thread's own.
    fn run_block(&self, call: &Call<'_>, tiles: Range<usize>) {
        let panels = 0..self.weights.panels();
        self.with_space(tiles.len(), |space| {
            // SAFETY: the space is this call's own, and no other task has these tiles.
            unsafe {
                self.transform(call, space, tiles.start, 0..tiles.len());
                self.multiply(call, space, tiles.start, 0..tiles.len(), panels);
            }
        });
    }

    /// Computes all tiles: every thread first transforms some of them, then takes some panels of all.
    fn run_shared(&self, pool: &ThreadPool, call: &Call<'_>, split: &Split) {
        self.with_space(call.tiles, |space| {
            let parts = call.tiles.min(split.tasks());
            // SAFETY: parts share no tile.
            pool.run(parts, &|index| unsafe {
                self.transform(call, space, 0, part(call.tiles, index, parts))
            });
            pool.run(split.tasks(), &|task| {
                let (tiles, panels) = split.task(task);
                // SAFETY: tasks of a split share no tile and panel, and all tiles are transformed.
                unsafe { self.multiply(call, space, 0, split.pixels(tiles), panels) };
            });
        });
    }

    fn with_space(&self, tiles: usize, work: impl FnOnce(&Space<'_>)) {
        let [inputs, outputs] = [self.input_pitch(), self.output_pitch()];
        let [_, seen] = self.form.tile();
        let points = seen * seen;
        with_workspace(points * tiles * (inputs + outputs), |space| {
            let (inputs, outputs) = space.split_at_mut(points * tiles * inputs);
            let [inputs, outputs] = [inputs, outputs].map(DisjointSlice::new);
            work(&Space { tiles, inputs, outputs });
        });
    }

    /// Floats from a tile to the next, each row of them beginning on a cache line.
    fn input_pitch(&self) -> usize {
        self.in_channels.next_multiple_of(SKEW) + SKEW
    }

    fn output_pitch(&self) -> usize {
        self.out_channels.next_multiple_of(SKEW) + SKEW
    }

    /// Takes the input of some tiles of a space, whose first is tile `first` of the call, to its points.
    ///
    /// # Safety
    /// No other thread uses these tiles of the space.
    unsafe fn transform(&self, call: &Call<'_>, space: &Space<'_>, first: usize, tiles: Range<usize>) {
        let [side, seen] = self.form.tile();
        let pitch = self.input_pitch();
        let function = input::functions(self.isa)[seen / 2 - 2];
        let mut pixels = [std::ptr::null(); MOST_POINTS * MOST_POINTS];
        let pixels = &mut pixels[..seen * seen];
        assert!(tiles.end <= space.tiles, "tile outside the space");
        for tile in tiles {
            let [sample, row, column] = call.place(first + tile);
            let line = |down| call.image.line(sample, row * side, down);
            call.image.find_patch(column * side, [seen; 2], line, pixels);
            let input = InputTile {
                pixels,
                channels: self.in_channels,
                // SAFETY: inside the space as just checked.
                to: unsafe { space.inputs.as_ptr().add(tile * pitch) },
                step: space.tiles * pitch,
            };
            // SAFETY: `functions` checked the instruction set; the pixels have all channels, and the
            // space a row of them at each point.
            unsafe { function(&input) };
        }
    }

    /// Multiplies some tiles of a space, whose first is tile `first` of the call, by some panels, and
    /// computes the outputs.
    ///
    /// # Safety
    /// The tiles are transformed, and no other thread has these tiles and panels.
    unsafe fn multiply(
        &self,
        call: &Call<'_>,
        space: &Space<'_>,
        first: usize,
        tiles: Range<usize>,
        panels: Range<usize>,
    ) {
        let [inputs, outputs] = [self.input_pitch(), self.output_pitch()];
        assert!(tiles.end <= space.tiles, "tile outside the space");
        let [_, seen] = self.form.tile();
        for point in 0..seen * seen {
            let corner = point * space.tiles + tiles.start;
            // SAFETY: inside the space as just checked.
            let from = unsafe { space.inputs.as_ptr().add(corner * inputs) };
            let rows = Rows { from, pitch: inputs, count: tiles.len() };
            let output = Output {
                data: &space.outputs,
                addend: Addend::Nothing,
                first: corner * outputs,
                pitch: outputs,
                clamp: Clamp::NONE,
                rectifier: None,
            };
            // SAFETY: the rows have all input channels; the rest is handed on.
            unsafe { self.weights.multiply(point, rows, panels.clone(), &output) };
        }
        let [head, last] = [panels.start, panels.end - 1].map(|panel| self.weights.channels(panel));
        let channels = head.start..last.end;
        for tile in tiles {
            // SAFETY: handed on.
            unsafe { self.finish(call, space, first, tile, channels.clone()) };
        }
    }

    /// Computes some channels of the outputs of a tile.
    ///
    /// # Safety
    /// The products of these channels are there, and no other thread has the tile and these channels.
    unsafe fn finish(
        &self,
        call: &Call<'_>,
        space: &Space<'_>,
        first: usize,
        tile: usize,
        channels: Range<usize>,
    ) {
        let [side, seen] = self.form.tile();
        let [height, width] = call.image.output;
        let pitch = self.output_pitch();
        let [sample, row, column] = call.place(first + tile);
        let [y, x] = [row * side, column * side];
        let [rows, columns] = [side.min(height - y), side.min(width - x)];
        let pixel = (sample * height + y) * width + x;
        let (to, addend) = call.output.place(&(pixel..pixel + (rows - 1) * width + columns), &channels);
        let output = OutputTile {
            // SAFETY: inside the space by the caller's promise.
            from: unsafe { space.outputs.as_ptr().add(tile * pitch + channels.start) },
            step: space.tiles * pitch,
            channels: channels.len(),
            bias: self.bias[channels.clone()].as_ptr(),
            output: to,
            addend,
            pitch: self.out_channels,
            row_pitch: width * self.out_channels,
            rows,
            columns,
            clamp: call.output.clamp,
        };
        // SAFETY: `functions` checks the instruction set; rows and columns are inside the output; the
        // rest is the caller's promise.
        unsafe { output::functions(self.isa)[seen / 2 - 2](&output) };
        for row in (0..rows).map(|row| pixel + row * width) {
            // SAFETY: the caller's promise.
            unsafe { call.output.rectify(row..row + columns, channels.clone()) };
        }
    }
}

impl Call<'_> {
    /// Sample, row and column of a tile.
    fn place(&self, tile: usize) -> [usize; 3] {
        let [down, across] = self.grid;
        [tile / across / down, tile / across % down, tile % across]
    }
}

#[cfg(test)]
mod tests;
