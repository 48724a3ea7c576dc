//! Convolutions of bytes with windows of 3x3 and stride 1 by Winograd's minimal filtering, exactly.
//!
//! The output is cut into tiles of 2x2 or 4x4 pixels. What a tile sees, 4x4 or 6x6 input pixels, is
//! taken to as many points, and so are the filters, once, when they are packed. At each point the values
//! of all input channels are multiplied by those of the filters and added up; the sums at the points give
//! the outputs. That takes 2.25 or 4 times fewer products than a direct convolution, of words instead of
//! bytes: worth it where products of words are not much slower than exact products of bytes. (A. Lavin and S. Gray,
//! "Fast Algorithms for Convolutional Neural Networks", 2015.)
//!
//! No rounding is involved. All transforms have integer factors ([`transform`]), which leaves each sum
//! multiplied by 4, or by 576 at most; words hold all transformed inputs and weights; and what comes
//! after them is arithmetic modulo 2^32, in which odd factors can be divided out. So a result is exact
//! where its sum, times the power of two in the factor, fits 32 bits: [`exact`] looks at the
//! weights to make sure.

mod avx2;
mod form;
mod transform;
mod vnni;
mod weights;

use std::borrow::Borrow;
use std::ops::Range;

pub(super) use form::{best, best_share, exact};

use super::epilogue::Epilogue;
use super::filter::Filter;
use super::gather::{Geometry, STEP, Source};
use super::lane::Lane;
use super::split::{Target, share};
use crate::aligned::Aligned;
use crate::float::Form;
use crate::float::workspace::with_workspace;
use crate::pool::DisjointSlice;
use crate::{Isa, ThreadPool};
use avx2::{InputTile, OutputTile};
use transform::MOST_POINTS;

/// Channels of a panel of outputs, and of a chunk of inputs.
const WIDTH: usize = 16;

/// Words of the inputs of tiles that are worked on at a time: half of the second-level cache.
const BLOCK: usize = 256 << 10;

/// Words between the inputs of two points, so that those of one tile do not fall on the same cache sets.
const SKEW: usize = 32;

/// Words of a cache line.
const LINE: usize = 32;

/// Tasks for each thread where panels are dealt out.
const TASKS_PER_THREAD: usize = 2;

/// A convolution in one of Winograd's forms, with its weights transformed and packed.
pub(super) struct Winograd {
    form: Form,
    product: Product,
    geometry: Geometry,
    pad_before: [usize; 2],
    in_channels: usize,
    out_channels: usize,
    lanes: Aligned<Lane>,
    /// `[panel][point][pair of inputs][lane][2]`.
    weights: Aligned<i16>,
}

/// Some tiles at a point and the weights of a panel there.
struct Factors {
    /// `[chunk][tile][16]`, and how many chunks (at least 1); on an address that 32 divides.
    inputs: *const i16,
    chunks: usize,
    /// `[pair of inputs][lane][2]`, on such an address too.
    weights: *const i16,
    /// Where the sums of the first tile go, [`WIDTH`] of each, and how far the next tile's are.
    sums: *mut i32,
    pitch: usize,
    /// Weights that will be needed next, and how many cache lines of them to fetch for each chunk.
    ahead: *const i16,
    ahead_lines: usize,
}

impl Factors {
    /// Fetches what belongs to a chunk.
    #[inline(always)]
    fn fetch_ahead(&self, chunk: usize) {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        for line in chunk * self.ahead_lines..(chunk + 1) * self.ahead_lines {
            // SAFETY: a hint, which may name any address.
            unsafe { _mm_prefetch::<_MM_HINT_T0>(self.ahead.wrapping_add(line * LINE).cast()) };
        }
    }
}

/// How tiles are multiplied at a point: see [`avx2::product`].
#[derive(Clone, Copy)]
struct Product {
    /// Whether there are the registers of AVX-512.
    wide: bool,
    most_rows: usize,
    run: unsafe fn(&Factors, usize),
}

impl Product {
    /// That of an instruction set, AVX2 or more, which the machine must have.
    fn of(isa: Isa) -> Product {
        assert!(isa >= Isa::Avx2 && isa.available(), "this machine cannot run '{isa}'");
        if isa >= Isa::Vnni {
            Product { wide: true, most_rows: vnni::MOST_ROWS, run: vnni::product }
        } else {
            Product { wide: false, most_rows: avx2::MOST_ROWS, run: avx2::product }
        }
    }

    /// The groups in which so many tiles are multiplied.
    fn groups(self, tiles: usize) -> impl Iterator<Item = Range<usize>> {
        let groups = tiles.div_ceil(self.most_rows);
        (0..groups).map(move |group| share(tiles, groups, group))
    }

    /// The group of a tile.
    fn group(self, tile: usize, tiles: usize) -> Range<usize> {
        let groups = tiles.div_ceil(self.most_rows);
        // The last that begins at the tile or before.
        share(tiles, groups, ((tile + 1) * groups - 1) / tiles)
    }
}

/// One call of [`Winograd::run_each`].
struct Call<'a, E: Epilogue> {
    source: &'a Source<'a>,
    initial: &'a [i32],
    target: Target<'a, E::Out>,
    /// Tiles below and beside one another.
    grid: [usize; 2],
}

/// Some tiles at their points, and the sums of a panel with them.
struct Space<'a> {
    /// The first tile, counted over the whole batch, and how many there are.
    first: usize,
    tiles: usize,
    /// `[point][group of tiles][chunk of inputs][tile of the group][input]`.
    inputs: DisjointSlice<'a, f32>,
}

impl Winograd {
    /// Packs a filter, which must be [exact] in this form.
    pub(super) fn new(isa: Isa, form: Form, filter: &Filter) -> Winograd {
        debug_assert_eq!(exact(form, filter, filter.weight_sums_and_largest().1), form, "not exact");
        let panels = filter.out_channels.div_ceil(WIDTH);
        Winograd {
            form,
            product: Product::of(isa),
            geometry: Geometry::of_product(filter, 1, STEP),
            pad_before: filter.window.pad_before,
            in_channels: filter.in_channels,
            out_channels: filter.out_channels,
            lanes: Aligned::lasting_from(
                (0..panels * WIDTH).map(|lane| Lane::new(lane, filter.out_channels)),
            ),
            weights: weights::pack(form, filter),
        }
    }

    /// The taps it reads.
    pub(super) fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    /// The output channel at each lane.
    pub(super) fn lanes(&self) -> &[Lane] {
        &self.lanes
    }

    /// Computes all outputs: for each channel `initial` (by lane) plus the products, through the
    /// epilogue that each task begins with.
    pub(super) fn run_each<E: Epilogue, B: Borrow<E>>(
        &self,
        pool: &ThreadPool,
        source: &Source,
        initial: &[i32],
        begin: impl Fn() -> B + Sync,
        output: &mut [E::Out],
    ) {
        assert_eq!(initial.len(), self.lanes.len(), "initial sums");
        let count = source.pixels().checked_mul(self.out_channels);
        assert_eq!(Some(output.len()), count, "length of the output");
        if output.is_empty() {
            return;
        }
        let [side, _] = self.form.tile();
        let [height, width] = source.output();
        let grid = [height, width].map(|size| size.div_ceil(side));
        let tiles = source.pixels() / (height * width) * grid[0] * grid[1];
        let call = &Call::<E> { source, initial, target: Target::new(output, self.out_channels), grid };
        let (blocks, threads) = ((tiles * self.tile_words()).div_ceil(BLOCK), pool.threads());
        let panels = self.lanes.len() / WIDTH;
        if 2 * blocks > threads {
            let blocks = blocks.next_multiple_of(threads).min(tiles);
            pool.run(blocks, &|block| {
                let own = share(tiles, blocks, block);
                self.with_space(own, 1, |space, sums| {
                    // SAFETY: the space is this call's own, and no other task has these tiles.
                    unsafe {
                        self.transform(call, space, 0..space.tiles);
                        self.multiply(call, space, sums.as_ptr(), 0..panels, begin().borrow());
                    }
                });
            });
            return;
        }
        // Few tiles: every thread first transforms some of them, then takes some panels of all.
        let (parts, tasks) = (tiles.min(threads), panels.min(TASKS_PER_THREAD * threads));
        self.with_space(0..tiles, tasks, |space, sums| {
            // SAFETY: parts share no tile.
            pool.run(parts, &|part| unsafe { self.transform(call, space, share(tiles, parts, part)) });
            pool.run(tasks, &|task| {
                let sums = sums.as_ptr().wrapping_add(task * self.sums_of(tiles));
                // SAFETY: tasks share no panel and have sums of their own; all tiles are transformed.
                unsafe { self.multiply(call, space, sums, share(panels, tasks, task), begin().borrow()) };
            });
        });
    }

    /// Points of a tile.
    fn points(&self) -> usize {
        let [_, seen] = self.form.tile();
        seen * seen
    }

    /// Words of the inputs of a tile at all points.
    fn tile_words(&self) -> usize {
        self.points() * self.in_channels
    }

    /// Words from a point's inputs to the next.
    fn point_words(&self, tiles: usize) -> usize {
        tiles * self.in_channels + SKEW
    }

    /// Sums of a panel with some tiles.
    fn sums_of(&self, tiles: usize) -> usize {
        self.points() * tiles * WIDTH
    }

    /// Calls `work` with room for the inputs of some tiles and the sums of `tasks` tasks.
    fn with_space(
        &self,
        own: Range<usize>,
        tasks: usize,
        work: impl FnOnce(&Space<'_>, DisjointSlice<'_, f32>),
    ) {
        let tiles = own.len();
        let inputs = (self.points() * self.point_words(tiles)) / 2;
        with_workspace(inputs + tasks * self.sums_of(tiles), |space| {
            let (inputs, sums) = space.split_at_mut(inputs);
            let inputs = DisjointSlice::new(inputs);
            work(&Space { first: own.start, tiles, inputs }, DisjointSlice::new(sums));
        });
    }

    /// Takes the input of some tiles of a space to its points.
    ///
    /// # Safety
    /// AVX2 must be there, and no other thread use these tiles of the space.
    unsafe fn transform<E: Epilogue>(&self, call: &Call<'_, E>, space: &Space<'_>, tiles: Range<usize>) {
        let [_, seen] = self.form.tile();
        let mut pixels = [std::ptr::null(); MOST_POINTS * MOST_POINTS];
        let (step, words) = (self.point_words(space.tiles), space.inputs.as_ptr().cast::<i16>());
        for tile in tiles {
            let group = self.product.group(tile, space.tiles);
            self.look(call, space.first + tile, &mut pixels);
            let input = InputTile {
                pixels: &pixels[..seen * seen],
                channels: self.in_channels,
                to: words.wrapping_add(group.start * self.in_channels + (tile - group.start) * WIDTH),
                step,
                chunk_step: group.len() * WIDTH,
            };
            // SAFETY: the pixels can be read, and the tile has room at each point of the space.
            unsafe {
                match self.form {
                    Form::Winograd4 => avx2::input::<6>(&input),
                    _ => avx2::input::<4>(&input),
                }
            }
        }
    }

    /// Points at the pixels that a tile sees; those outside the image are in the border.
    fn look<E: Epilogue>(&self, call: &Call<'_, E>, tile: usize, pixels: &mut [*const u8]) {
        let [side, seen] = self.form.tile();
        let ([sample, row, column], [height, width]) = (call.place(tile), call.source.size());
        let (input, borders) = (call.source.input(), call.source.borders());
        let first = if borders.len() == self.geometry.read() { 0 } else { sample * self.geometry.read() };
        let border = &borders[first..][..self.in_channels];
        for y in 0..seen {
            // Before the image these wrap around, far beyond its end.
            let line = (row * side + y).wrapping_sub(self.pad_before[0]);
            for x in 0..seen {
                let place = (column * side + x).wrapping_sub(self.pad_before[1]);
                pixels[y * seen + x] = if line < height && place < width {
                    let pixel = (sample * height + line) * width + place;
                    input[pixel * self.in_channels..][..self.in_channels].as_ptr()
                } else {
                    border.as_ptr()
                };
            }
        }
    }

    /// Multiplies the tiles of a space by some panels and computes the outputs.
    ///
    /// # Safety
    /// AVX2 must be there, all tiles be transformed, no other thread have these panels of these tiles,
    /// and there must be room for [`Winograd::sums_of`] all tiles at `sums`.
    unsafe fn multiply<E: Epilogue>(
        &self,
        call: &Call<'_, E>,
        space: &Space<'_>,
        sums: *mut f32,
        panels: Range<usize>,
        epilogue: &E,
    ) {
        let (points, channels) = (self.points(), self.in_channels);
        let (step, words) = (self.point_words(space.tiles), space.inputs.as_ptr().cast::<i16>().cast_const());
        let sums = sums.cast::<i32>();
        for panel in panels {
            for point in 0..points {
                let size = WIDTH * channels;
                let weights = self.weights[(panel * points + point) * size..][..size].as_ptr();
                // Each group fetches its share of the next point's weights.
                let groups = space.tiles.div_ceil(self.product.most_rows);
                for (index, group) in self.product.groups(space.tiles).enumerate() {
                    let factors = Factors {
                        inputs: words.wrapping_add(point * step + group.start * channels),
                        chunks: channels / WIDTH,
                        weights,
                        sums: sums.wrapping_add((group.start * points + point) * WIDTH),
                        pitch: points * WIDTH,
                        ahead: weights.wrapping_add(size + size / LINE * index / groups * LINE),
                        ahead_lines: (WIDTH * WIDTH / LINE).div_ceil(groups),
                    };
                    // SAFETY: inputs and weights have all channels, and the sums of a tile room for all
                    // points.
                    unsafe { (self.product.run)(&factors, group.len()) };
                }
            }
            for tile in 0..space.tiles {
                // SAFETY: the sums at all points were just written; the rest is the caller's promise.
                unsafe {
                    let sums = sums.wrapping_add(tile * points * WIDTH).cast_const();
                    self.finish(call, space.first + tile, panel, sums, epilogue);
                }
            }
        }
    }

    /// Computes the outputs of a tile and a panel.
    ///
    /// # Safety
    /// AVX2 must be there, the sums of all points stand at `sums`, and no other thread have the tile and
    /// the panel.
    unsafe fn finish<E: Epilogue>(
        &self,
        call: &Call<'_, E>,
        tile: usize,
        panel: usize,
        sums: *const i32,
        epilogue: &E,
    ) {
        let [side, _] = self.form.tile();
        let ([sample, row, column], [height, width]) = (call.place(tile), call.source.output());
        let [y, x] = [row * side, column * side];
        let channel = panel * WIDTH;
        let channels = WIDTH.min(self.out_channels - channel);
        let output = OutputTile {
            sums,
            initial: call.initial[channel..][..WIDTH].as_ptr(),
            sample,
            lane: channel,
            channels,
            to: call.target.at((sample * height + y) * width + x, channel, channels),
            pitch: self.out_channels,
            row_pitch: width * self.out_channels,
            rows: side.min(height - y),
            columns: side.min(width - x),
        };
        // SAFETY: rows and columns are inside the output; the rest is the caller's promise.
        unsafe {
            match (self.form, self.product.wide) {
                (Form::Winograd4, true) => vnni::output::<6, E>(&output, epilogue),
                (Form::Winograd4, false) => avx2::output::<6, E>(&output, epilogue),
                (_, true) => vnni::output::<4, E>(&output, epilogue),
                (_, false) => avx2::output::<4, E>(&output, epilogue),
            }
        }
    }
}

impl<E: Epilogue> Call<'_, E> {
    /// Sample, row and column of a tile.
    fn place(&self, tile: usize) -> [usize; 3] {
        let [down, across] = self.grid;
        [tile / across / down, tile / across % down, tile % across]
    }
}

#[cfg(test)]
mod tests;
