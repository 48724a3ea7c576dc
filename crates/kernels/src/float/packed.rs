//! Weights in the order in which tiles read them, and the loops over tiles and panels.

use std::ops::Range;

use super::Clamp;
use super::lanes::MOST_PIXELS;
use super::side_by_side::side_by_side;
use super::split::{Split, part};
use super::taps::Taps;
use super::tile::{STREAMS, Tile, Tiles, Width};
use crate::Isa;
use crate::aligned::Aligned;
use crate::pool::DisjointSlice;

/// Bytes of weights that stay in the second-level cache while the pixels pass by.
const RESIDENT: usize = 256 << 10;
/// Tiles of pixels whose inputs stay in that cache while the weights pass by.
const FEW_TILES: usize = 6;

/// Output channels that one tile function computes.
struct Panel {
    /// Where it begins in the packed weights.
    start: usize,
    /// The first input channel it reads.
    skip: usize,
    /// The first output channel.
    first: usize,
    /// Output channels in it.
    channels: usize,
    width: Width,
}

/// Packed weights: panel after panel of `[1 + taps * depth][lanes]`, where the first row is the
/// bias. Lanes behind the last channel of a group are zero.
pub(super) struct Packed {
    tiles: &'static Tiles,
    panels: Vec<Panel>,
    data: Aligned<f32>,
    /// Floats of all panels of one matrix.
    floats_of_one: usize,
    taps: usize,
    depth: usize,
}

/// What is added to the sums before they are clamped.
#[derive(Clone, Copy)]
pub(super) enum Addend<'a> {
    Nothing,
    /// A tensor of the output's shape.
    Tensor(&'a [f32]),
    /// What the output holds.
    Output,
}

/// Where results go.
pub(super) struct Output<'a> {
    pub(super) data: &'a DisjointSlice<'a, f32>,
    pub(super) addend: Addend<'a>,
    /// Where channel 0 of pixel 0 is.
    pub(super) first: usize,
    /// Floats from a pixel to the next.
    pub(super) pitch: usize,
    pub(super) clamp: Clamp,
}

/// Pixels of one tap that lie one after the other, as rows of a matrix do.
#[derive(Clone, Copy)]
pub(super) struct Rows {
    pub(super) from: *const f32,
    /// Floats from a row to the next.
    pub(super) pitch: usize,
    pub(super) count: usize,
}

impl Packed {
    /// Panels for `groups` groups of `out_per_group` output channels, with all weights and biases
    /// zero, in memory from `memory`. Group `g` reads the floats `g * depth..` of each of the `taps` taps.
    pub(super) fn new(
        tiles: &'static Tiles,
        groups: usize,
        out_per_group: usize,
        taps: usize,
        depth: usize,
        memory: impl Fn(usize) -> Aligned<f32>,
    ) -> Packed {
        let mut panels = Vec::new();
        let mut start = 0;
        for group in 0..groups {
            let mut done = 0;
            while done < out_per_group {
                let width = tiles.width(out_per_group - done);
                let channels = (out_per_group - done).min(width.channels(tiles.lanes));
                let first = group * out_per_group + done;
                panels.push(Panel { start, skip: group * depth, first, channels, width });
                start += (1 + taps * depth) * width.channels(tiles.lanes);
                done += channels;
            }
        }
        Packed { tiles, panels, data: memory(start), floats_of_one: start, taps, depth }
    }

    /// Panels for `count` matrices of `depth` rows and `channels` columns, all zero, behind one another in
    /// one piece of memory.
    pub(super) fn several(tiles: &'static Tiles, count: usize, channels: usize, depth: usize) -> Packed {
        Packed::new(tiles, 1, channels, 1, depth, |floats| Aligned::lasting(count * floats))
    }

    /// Packs weights `[output channel][taps][depth]` and the bias.
    pub(super) fn fill(&mut self, isa: Isa, weights: &[f32], bias: Option<&[f32]>) {
        let steps = self.taps * self.depth;
        for panel in &self.panels {
            let lanes = panel.width.channels(self.tiles.lanes);
            let (packed_bias, packed) = self.data[panel.start..][..(1 + steps) * lanes].split_at_mut(lanes);
            if let Some(bias) = bias {
                packed_bias[..panel.channels].copy_from_slice(&bias[panel.first..][..panel.channels]);
            }
            let row = |channel: usize| &weights[(panel.first + channel) * steps..][..steps];
            side_by_side(isa, [panel.channels, steps], row, packed, lanes);
        }
    }

    /// Packs some columns of a matrix, its rows being the steps, `pitch` floats apart. The slice
    /// begins with the first of the columns.
    pub(super) fn fill_columns(&mut self, matrix: &[f32], pitch: usize) {
        let steps = self.taps * self.depth;
        for panel in &self.panels {
            let lanes = panel.width.channels(self.tiles.lanes);
            let packed = &mut self.data[panel.start + lanes..][..steps * lanes];
            for (packed, row) in packed.chunks_exact_mut(lanes).zip(matrix.chunks(pitch)) {
                packed[..panel.channels].copy_from_slice(&row[panel.first..][..panel.channels]);
            }
        }
    }

    /// The weights of a panel, `[taps * depth][lanes]` of each matrix, to be filled in.
    pub(super) fn weights(&mut self, panel: usize) -> impl Iterator<Item = &mut [f32]> {
        let lanes = self.lanes(panel);
        let (start, floats) = (self.panels[panel].start + lanes, self.taps * self.depth * lanes);
        self.data.chunks_exact_mut(self.floats_of_one).map(move |one| &mut one[start..][..floats])
    }

    /// Lanes of a panel.
    pub(super) fn lanes(&self, panel: usize) -> usize {
        self.panels[panel].width.channels(self.tiles.lanes)
    }

    /// Output channels of a panel.
    pub(super) fn channels(&self, panel: usize) -> Range<usize> {
        let Panel { first, channels, .. } = self.panels[panel];
        first..first + channels
    }

    /// Most pixels in a tile.
    pub(super) fn most_pixels(&self) -> usize {
        self.tiles.pixels
    }

    /// Number of panels.
    pub(super) fn panels(&self) -> usize {
        self.panels.len()
    }

    /// Floats of all panels.
    pub(super) fn floats(&self) -> usize {
        self.data.len()
    }

    /// Computes one task of `split`, which has this many panels.
    ///
    /// # Safety
    /// No other thread writes the pixels and channels of this task; `taps` points, for each of
    /// the pixels of the split, to this many taps with as many floats as all groups read.
    pub(super) unsafe fn run(&self, taps: &mut Taps<'_>, split: &Split, task: usize, output: &Output<'_>) {
        let (tiles, panels) = split.task(task);
        let panels = &self.panels[panels];
        let largest = (1 + self.taps * self.depth) * 2 * self.tiles.lanes * size_of::<f32>();
        let tiles_per_block = (taps.block() / self.tiles.pixels).max(1);
        for start in tiles.clone().step_by(tiles_per_block) {
            let tiles = start..tiles.end.min(start.saturating_add(tiles_per_block));
            taps.enter(split.pixels(tiles.clone()));
            if tiles.len() <= FEW_TILES {
                // SAFETY: handed on.
                unsafe { self.run_few(taps, split, tiles, panels, output) };
                continue;
            }
            for panels in panels.chunks((RESIDENT / largest).max(1)) {
                for tile in tiles.clone() {
                    let pixels = split.pixels(tile..tile + 1);
                    let pointers = taps.find(pixels.start, pixels.len());
                    // SAFETY: handed on.
                    unsafe { self.run_tile(pointers, pixels, panels, output) };
                }
            }
        }
    }

    /// Multiplies rows by some panels of matrix `index` of [`several`](Packed::several). Rows of the output
    /// are those of `rows`.
    ///
    /// # Safety
    /// Rows have as many floats as all groups read; no other thread writes the rows and channels of the
    /// output.
    pub(super) unsafe fn multiply(
        &self,
        index: usize,
        rows: Rows,
        panels: Range<usize>,
        output: &Output<'_>,
    ) {
        debug_assert_eq!(self.taps, 1);
        let tiles = rows.count.div_ceil(self.tiles.pixels);
        for panel in &self.panels[panels] {
            let row = panel.width.channels(self.tiles.lanes);
            for tile in 0..tiles {
                let own = part(rows.count, tile, tiles);
                let mut pointers = [std::ptr::null(); MOST_PIXELS];
                for (pointer, row) in pointers.iter_mut().zip(own.clone()) {
                    *pointer = rows.from.wrapping_add(row * rows.pitch);
                }
                let here = self.data[index * self.floats_of_one + panel.start..].as_ptr();
                let floats = (1 + self.depth) * row;
                let ahead = (here.wrapping_add(floats + tile * floats / tiles), row.div_ceil(tiles));
                let tile = Tile { panel: here, ..self.tile(pointers.as_ptr(), &own, panel, output, ahead) };
                // SAFETY: as in `run_tile`; each matrix has the same panels.
                unsafe { self.tiles.function(panel.width, own.len())(&tile) };
            }
        }
    }

    /// Computes some panels of few tiles, panel by panel: while the tiles read one panel, parts of the
    /// next are asked for, so that weights come from memory all the time.
    ///
    /// # Safety
    /// As [`Packed::run`].
    unsafe fn run_few(
        &self,
        taps: &mut Taps<'_>,
        split: &Split,
        tiles: Range<usize>,
        panels: &[Panel],
        output: &Output<'_>,
    ) {
        let alike = |a: &Panel, b: &Panel| a.width == Width::Two && b.width == Width::Two && a.skip == b.skip;
        for group in panels.chunk_by(alike) {
            if split.pixels(tiles.clone()).len() == 1 && group[0].width == Width::Two {
                // SAFETY: handed on.
                unsafe { self.run_one(taps, split.pixels(tiles.clone()).start, group, output) };
                continue;
            }
            for panel in group {
                let row = panel.width.channels(self.tiles.lanes);
                let floats = (1 + self.taps * self.depth) * row;
                for (index, tile) in tiles.clone().enumerate() {
                    let pixels = split.pixels(tile..tile + 1);
                    let pointers = taps.find(pixels.start, pixels.len());
                    let ahead = panel.start + floats + index * floats / tiles.len();
                    let ahead = (self.data.as_ptr().wrapping_add(ahead), row.div_ceil(tiles.len()));
                    let tile = self.tile(pointers, &pixels, panel, output, ahead);
                    // SAFETY: handed on.
                    unsafe { self.tiles.function(panel.width, pixels.len())(&tile) };
                }
            }
        }
    }

    /// Computes panels of two registers that read the same floats, several at a time, for one pixel.
    ///
    /// # Safety
    /// As [`Packed::run`].
    unsafe fn run_one(&self, taps: &mut Taps<'_>, pixel: usize, panels: &[Panel], output: &Output<'_>) {
        let pointers = taps.find(pixel, 1);
        let calls = panels.len().div_ceil(STREAMS);
        for call in 0..calls {
            let panels = &panels[part(panels.len(), call, calls)];
            let tile = |i: usize| {
                let panel = &panels[i.min(panels.len() - 1)];
                self.tile(pointers, &(pixel..pixel + 1), panel, output, (std::ptr::null(), 0))
            };
            let tiles: [Tile; STREAMS] = std::array::from_fn(tile);
            // SAFETY: as in `run_tile`; there is a tile for each panel.
            unsafe { self.tiles.streams(panels.len())(&tiles) };
        }
    }

    /// Computes all channels of one tile.
    ///
    /// # Safety
    /// As [`Packed::run`]; the pointers are those of the pixels, at most
    /// [`most_pixels`](Packed::most_pixels) of them.
    pub(super) unsafe fn run_pixels(
        &self,
        pointers: *const *const f32,
        pixels: Range<usize>,
        output: &Output<'_>,
    ) {
        // SAFETY: handed on.
        unsafe { self.run_tile(pointers, pixels, &self.panels, output) };
    }

    /// Computes one tile for some panels.
    ///
    /// # Safety
    /// As [`Packed::run`]; the pointers are those of the pixels.
    #[inline]
    unsafe fn run_tile(
        &self,
        pointers: *const *const f32,
        pixels: Range<usize>,
        panels: &[Panel],
        output: &Output<'_>,
    ) {
        for panel in panels {
            let here = self.data[panel.start..].as_ptr();
            let tile = self.tile(pointers, &pixels, panel, output, (here, 0));
            let function = self.tiles.function(panel.width, pixels.len());
            // SAFETY: `tile::tiles` checked the instruction set; the panel was packed for these
            // taps, this depth and this width; the rest is the caller's promise.
            unsafe { function(&tile) };
        }
    }

    /// What a tile function has to know for one panel.
    #[inline(always)]
    fn tile(
        &self,
        pointers: *const *const f32,
        pixels: &Range<usize>,
        panel: &Panel,
        output: &Output<'_>,
        (ahead, ahead_step): (*const f32, usize),
    ) -> Tile {
        let first = output.first + pixels.start * output.pitch + panel.first;
        let end = first + (pixels.len() - 1) * output.pitch + panel.channels;
        assert!(end <= output.data.len(), "tile outside the output");
        // SAFETY: inside the output as just checked.
        let to = unsafe { output.data.as_ptr().add(first) };
        Tile {
            pointers,
            taps: self.taps,
            skip: panel.skip,
            depth: self.depth,
            panel: self.data[panel.start..].as_ptr(),
            output: to,
            addend: match output.addend {
                Addend::Nothing => std::ptr::null(),
                Addend::Tensor(tensor) => tensor[first..end].as_ptr(),
                Addend::Output => to,
            },
            pitch: output.pitch,
            channels: panel.channels,
            clamp: output.clamp,
            ahead,
            ahead_step,
        }
    }
}
