//! Weights in the order in which tiles read them, and the loops over tiles and panels.

use std::ops::Range;

use super::Clamp;
use super::lanes::MOST_PIXELS;
use super::split::{Split, part};
use super::taps::Taps;
use super::tile::{Tile, Tiles};
use crate::aligned::Aligned;
use crate::pool::DisjointSlice;

/// Bytes of weights that stay in the second-level cache while the pixels pass by.
const RESIDENT: usize = 256 << 10;

/// Output channels that one tile function computes: as many as one or two registers hold.
struct Panel {
    /// Where it begins in the packed weights.
    start: usize,
    /// The first input channel it reads.
    skip: usize,
    /// The first output channel.
    first: usize,
    /// Output channels in it.
    channels: usize,
    /// Registers: 1 or 2.
    registers: usize,
}

/// Packed weights: panel after panel of `[1 + taps * depth][lanes]`, where the first row is the
/// bias. Lanes behind the last channel of a group are zero.
pub(super) struct Packed {
    tiles: &'static Tiles,
    panels: Vec<Panel>,
    data: Aligned<f32>,
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
    /// zero. Group `g` reads the floats `g * depth..` of each of the `taps` taps.
    pub(super) fn new(
        tiles: &'static Tiles,
        groups: usize,
        out_per_group: usize,
        taps: usize,
        depth: usize,
    ) -> Packed {
        let mut panels = Vec::new();
        let mut start = 0;
        for group in 0..groups {
            for done in (0..out_per_group).step_by(2 * tiles.lanes) {
                let channels = (out_per_group - done).min(2 * tiles.lanes);
                let registers = channels.div_ceil(tiles.lanes);
                let first = group * out_per_group + done;
                panels.push(Panel { start, skip: group * depth, first, channels, registers });
                start += (1 + taps * depth) * registers * tiles.lanes;
            }
        }
        Packed { tiles, panels, data: Aligned::zeroed(start), taps, depth }
    }

    /// Packs weights `[output channel][taps][depth]` and the bias.
    pub(super) fn fill(&mut self, weights: &[f32], bias: Option<&[f32]>) {
        /// Steps whose rows of lanes stay in the first-level cache while all lanes are filled in.
        const STEPS: usize = 64;
        let steps = self.taps * self.depth;
        for panel in &self.panels {
            let lanes = panel.registers * self.tiles.lanes;
            let (packed_bias, packed) = self.data[panel.start..][..(1 + steps) * lanes].split_at_mut(lanes);
            if let Some(bias) = bias {
                packed_bias[..panel.channels].copy_from_slice(&bias[panel.first..][..panel.channels]);
            }
            let weights = &weights[panel.first * steps..][..panel.channels * steps];
            for (block, packed) in packed.chunks_mut(STEPS * lanes).enumerate() {
                for (lane, weights) in weights.chunks_exact(steps).enumerate() {
                    let weights = &weights[block * STEPS..];
                    for (packed, weight) in packed.chunks_exact_mut(lanes).zip(weights) {
                        packed[lane] = *weight;
                    }
                }
            }
        }
    }

    /// Packs some columns of a matrix, its rows being the steps, `pitch` floats apart. The slice
    /// begins with the first of the columns.
    pub(super) fn fill_columns(&mut self, matrix: &[f32], pitch: usize) {
        let steps = self.taps * self.depth;
        for panel in &self.panels {
            let lanes = panel.registers * self.tiles.lanes;
            let packed = &mut self.data[panel.start + lanes..][..steps * lanes];
            for (packed, row) in packed.chunks_exact_mut(lanes).zip(matrix.chunks(pitch)) {
                packed[..panel.channels].copy_from_slice(&row[panel.first..][..panel.channels]);
            }
        }
    }

    /// The weights of a panel, `[taps * depth][lanes]`, to be filled in.
    pub(super) fn weights(&mut self, panel: usize) -> &mut [f32] {
        let lanes = self.lanes(panel);
        &mut self.data[self.panels[panel].start + lanes..][..self.taps * self.depth * lanes]
    }

    /// Lanes of a panel.
    pub(super) fn lanes(&self, panel: usize) -> usize {
        self.panels[panel].registers * self.tiles.lanes
    }

    /// Output channels of a panel.
    pub(super) fn channels(&self, panel: usize) -> Range<usize> {
        let Panel { first, channels, .. } = self.panels[panel];
        first..first + channels
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
            for panels in panels.chunks((RESIDENT / largest).max(1)) {
                for tile in tiles.clone() {
                    let pixels = split.pixels(tile..tile + 1);
                    let pointers = taps.find(pixels.start, pixels.len());
                    for panel in panels {
                        // SAFETY: handed on.
                        unsafe { self.run_tile(pointers, pixels.clone(), panel, output) };
                    }
                }
            }
        }
    }

    /// Multiplies rows by some panels, where there is one tap. Rows of the output are those of the
    /// matrix.
    ///
    /// # Safety
    /// Rows have as many floats as all groups read; no other thread writes the rows and channels of the
    /// output.
    pub(super) unsafe fn multiply(&self, rows: Rows, panels: Range<usize>, output: &Output<'_>) {
        debug_assert_eq!(self.taps, 1);
        let tiles = rows.count.div_ceil(self.tiles.pixels);
        for panel in &self.panels[panels] {
            for tile in 0..tiles {
                let own = part(rows.count, tile, tiles);
                let mut pointers = [std::ptr::null(); MOST_PIXELS];
                for (pointer, row) in pointers.iter_mut().zip(own.clone()) {
                    *pointer = rows.from.wrapping_add(row * rows.pitch);
                }
                // SAFETY: handed on.
                unsafe { self.run_tile(pointers.as_ptr(), own, panel, output) };
            }
        }
    }

    /// Computes one tile for one panel.
    ///
    /// # Safety
    /// As [`Packed::run`]; the pointers are those of the pixels.
    #[inline(always)]
    unsafe fn run_tile(
        &self,
        pointers: *const *const f32,
        pixels: Range<usize>,
        panel: &Panel,
        output: &Output<'_>,
    ) {
        let first = output.first + pixels.start * output.pitch + panel.first;
        let end = first + (pixels.len() - 1) * output.pitch + panel.channels;
        assert!(end <= output.data.len(), "tile outside the output");
        // SAFETY: inside the output as just checked.
        let to = unsafe { output.data.as_ptr().add(first) };
        let tile = Tile {
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
        };
        let function = self.tiles.functions[panel.registers - 1][pixels.len() - 1];
        // SAFETY: `tile::tiles` checked the instruction set; the panel was packed for these taps,
        // this depth and these registers; the rest is the caller's promise.
        unsafe { function(&tile) };
    }
}
