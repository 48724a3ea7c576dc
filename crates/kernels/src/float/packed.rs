//! Weights in the order in which tiles read them, and the loops over tiles and panels.

use super::Clamp;
use super::aligned::Aligned;
use super::split::Split;
use super::taps::Taps;
use super::tile::{Tile, Tiles};
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
    data: Aligned,
    taps: usize,
    depth: usize,
}

/// Where results go.
pub(super) struct Output<'a> {
    pub(super) data: &'a DisjointSlice<'a, f32>,
    /// Where channel 0 of pixel 0 is.
    pub(super) first: usize,
    /// Floats from a pixel to the next.
    pub(super) pitch: usize,
    pub(super) clamp: Clamp,
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
        Packed { tiles, panels, data: Aligned::zeros(start), taps, depth }
    }

    /// Packs `weight(output channel, step)`, the steps counted over taps and depth, and the bias.
    pub(super) fn fill(&mut self, bias: Option<&[f32]>, weight: impl Fn(usize, usize) -> f32) {
        let rows = 1 + self.taps * self.depth;
        for panel in &self.panels {
            let lanes = panel.registers * self.tiles.lanes;
            let (packed_bias, packed) = self.data[panel.start..][..rows * lanes].split_at_mut(lanes);
            if let Some(bias) = bias {
                packed_bias[..panel.channels].copy_from_slice(&bias[panel.first..][..panel.channels]);
            }
            for (step, packed) in packed.chunks_exact_mut(lanes).enumerate() {
                for (lane, packed) in packed[..panel.channels].iter_mut().enumerate() {
                    *packed = weight(panel.first + lane, step);
                }
            }
        }
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
        let largest = (1 + self.taps * self.depth) * 2 * self.tiles.lanes * size_of::<f32>();
        for panels in self.panels[panels].chunks((RESIDENT / largest).max(1)) {
            for pixels in tiles.clone().map(|index| split.tile(index)) {
                let pointers = taps.find(pixels.start, pixels.len());
                for panel in panels {
                    let first = output.first + pixels.start * output.pitch + panel.first;
                    let end = first + (pixels.len() - 1) * output.pitch + panel.channels;
                    assert!(end <= output.data.len(), "tile outside the output");
                    let tile = Tile {
                        pointers,
                        taps: self.taps,
                        skip: panel.skip,
                        depth: self.depth,
                        panel: self.data[panel.start..].as_ptr(),
                        // SAFETY: inside the output as just checked.
                        output: unsafe { output.data.as_ptr().add(first) },
                        pitch: output.pitch,
                        channels: panel.channels,
                        clamp: output.clamp,
                    };
                    let function = self.tiles.functions[panel.registers - 1][pixels.len() - 1];
                    // SAFETY: `Tiles::of` checked the instruction set; the panel was packed for
                    // these taps, this depth and these registers; the rest is the caller's promise.
                    unsafe { function(&tile) };
                }
            }
        }
    }
}
