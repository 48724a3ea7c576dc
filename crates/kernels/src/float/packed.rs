//! Weights in the order in which tiles read them, and the loops over tiles and panels.

use std::ops::Range;

use super::Clamp;
use super::filters::Filters;
use super::lanes::MOST_PIXELS;
use super::rectifier::Rectifier;
use super::split::{Split, part};
use super::taps::Taps;
use super::tile::{STREAMS, Tile, Tiles, Width};
use crate::aligned::Aligned;
use crate::pool::DisjointSlice;
use crate::{Isa, ThreadPool};

/// Bytes of weights that stay in the second-level cache while the pixels pass by.
pub(super) const RESIDENT: usize = 320 << 10;
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
    /// Floats of all panels of one matrix, and number of matrices.
    floats_of_one: usize,
    matrices: usize,
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
    /// What follows the bounds.
    pub(super) rectifier: Option<&'a Rectifier>,
}

impl Output<'_> {
    /// Whether something is added.
    pub(super) fn adds(&self) -> bool {
        !matches!(self.addend, Addend::Nothing)
    }

    /// Rectifies some channels of some pixels that have been stored.
    ///
    /// # Safety
    /// No other thread uses them.
    #[inline]
    pub(super) unsafe fn rectify(&self, pixels: Range<usize>, channels: Range<usize>) {
        if let Some(rectifier) = self.rectifier {
            // SAFETY: handed on.
            unsafe { rectifier.run(self.data, self.first, pixels, channels) };
        }
    }

    /// The slopes from this channel on, null for none, and the bounds behind them.
    #[inline(always)]
    pub(super) fn slopes(&self, channel: usize) -> (*const f32, Clamp) {
        self.rectifier.map_or((std::ptr::null(), Clamp::NONE), |rectifier| rectifier.from(channel))
    }

    /// Where the first of some channels of some pixels goes, and what is added to it: null for nothing.
    ///
    /// # Panics
    /// When they are not all inside the output.
    #[inline(always)]
    pub(super) fn place(&self, pixels: &Range<usize>, channels: &Range<usize>) -> (*mut f32, *const f32) {
        let first = self.first + pixels.start * self.pitch + channels.start;
        let end = first + (pixels.len() - 1) * self.pitch + channels.len();
        assert!(end <= self.data.len(), "tile outside the output");
        // SAFETY: inside the output as just checked.
        let to = unsafe { self.data.as_ptr().add(first) };
        let addend = match self.addend {
            Addend::Nothing => std::ptr::null(),
            Addend::Tensor(tensor) => tensor[first..end].as_ptr(),
            Addend::Output => to,
        };
        (to, addend)
    }
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
        Packed { tiles, panels, data: memory(start), floats_of_one: start, matrices: 1, taps, depth }
    }

    /// Panels for `count` matrices of `depth` rows and `channels` columns, all zero, behind one another in
    /// one piece of memory.
    pub(super) fn several(
        tiles: &'static Tiles,
        count: usize,
        channels: usize,
        depth: usize,
        memory: impl Fn(usize) -> Aligned<f32>,
    ) -> Packed {
        let one = Packed::new(tiles, 1, channels, 1, depth, |floats| memory(count * floats));
        Packed { matrices: count, ..one }
    }

    /// Packs weights, whose order has as many taps times channels, and the bias.
    pub(super) fn fill(&mut self, isa: Isa, pool: &ThreadPool, filters: Filters<'_>, bias: Option<&[f32]>) {
        let steps = self.taps * self.depth;
        assert_eq!(filters.order.steps(), steps, "weights of an output channel");
        assert!(self.data.len() >= self.floats(), "memory for packed weights");
        let (panels, lanes_of_one) = (&self.panels, self.tiles.lanes);
        let data = DisjointSlice::new(&mut self.data);
        pool.run(panels.len(), &|index| {
            let panel = &panels[index];
            let lanes = panel.width.channels(lanes_of_one);
            // SAFETY: panels do not overlap.
            let own = unsafe { data.piece(panel.start..panel.start + (1 + steps) * lanes) };
            let (packed_bias, packed) = own.split_at_mut(lanes);
            packed_bias.fill(0.0);
            if let Some(bias) = bias {
                packed_bias[..panel.channels].copy_from_slice(&bias[panel.first..][..panel.channels]);
            }
            filters.pack(isa, [panel.first, panel.channels], lanes, packed);
        });
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

    /// Where the weights of a panel begin in the first of [`several`](Packed::several) matrices, and how
    /// many floats it is from there to the next matrix.
    pub(super) fn place(&self, panel: usize) -> [usize; 2] {
        [self.panels[panel].start + self.lanes(panel), self.floats_of_one]
    }

    /// All packed numbers.
    pub(super) fn data(&mut self) -> &mut [f32] {
        let floats = self.floats();
        &mut self.data[..floats]
    }

    /// Exchanges the memory of the packed numbers for another. Before it is multiplied by, it must hold
    /// at least as many [`floats`](Packed::floats).
    pub(super) fn exchange(&mut self, memory: &mut Aligned<f32>) {
        std::mem::swap(&mut self.data, memory);
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

    /// Floats of all panels of all matrices.
    pub(super) fn floats(&self) -> usize {
        self.matrices * self.floats_of_one
    }

    /// Computes one task of `split`, which has this many panels.
    ///
    /// # Safety
    /// No other thread writes the pixels and channels of this task; `taps` points, for each of
    /// the pixels of the split, to this many taps with as many floats as all groups read.
    pub(super) unsafe fn run(&self, taps: &mut Taps<'_>, split: &Split, task: usize, output: &Output<'_>) {
        assert!(self.data.len() >= self.floats(), "weights were not packed");
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
            let groups = panels.len().div_ceil((RESIDENT / largest).max(1));
            for group in 0..groups {
                let panels = &panels[part(panels.len(), group, groups)];
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
        assert!(self.data.len() >= self.floats(), "weights were not packed");
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
        // What the next tile reads and where its results go is asked for: both may still be in memory.
        let steps = self.taps * self.depth;
        let whole = panels.len() == self.panels.len();
        let results = pixels.len() * output.pitch;
        let next = output.data.as_ptr().wrapping_add(output.first + pixels.end * output.pitch).cast_const();
        for (index, panel) in panels.iter().enumerate() {
            let ahead = match index {
                // SAFETY: there is a pointer for each pixel.
                0 if self.taps == 1 => unsafe { self.next_inputs(pointers, pixels.len()) },
                _ if whole => {
                    let share = index * results / panels.len();
                    (next.wrapping_add(share), results.div_ceil(panels.len() * steps))
                }
                _ => (next, 0),
            };
            let tile = self.tile(pointers, &pixels, panel, output, ahead);
            let function = self.tiles.function(panel.width, pixels.len());
            // SAFETY: `tile::tiles` checked the instruction set; the panel was packed for these
            // taps, this depth and this width; the rest is the caller's promise.
            unsafe { function(&tile) };
        }
    }

    /// Where the pixels behind a tile of the only tap lie, and how far it is from one step to the next until
    /// as many have been passed, if pixels follow each other.
    ///
    /// # Safety
    /// There are as many pointers.
    #[inline(always)]
    unsafe fn next_inputs(&self, pointers: *const *const f32, pixels: usize) -> (*const f32, usize) {
        // SAFETY: the caller's promise.
        let [first, last] = unsafe { [*pointers, *pointers.add(pixels - 1)] };
        let follow = first.wrapping_add((pixels - 1) * self.depth) == last;
        (last.wrapping_add(self.depth), if follow { pixels } else { 0 })
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
        let (to, addend) = output.place(pixels, &(panel.first..panel.first + panel.channels));
        let (slopes, bounds) = output.slopes(panel.first);
        Tile {
            pointers,
            taps: self.taps,
            skip: panel.skip,
            depth: self.depth,
            panel: self.data[panel.start..].as_ptr(),
            output: to,
            addend,
            pitch: output.pitch,
            channels: panel.channels,
            clamp: output.clamp,
            slopes,
            bounds,
            ahead,
            ahead_step,
        }
    }
}
