//! Panels of output channels with a list of the steps at which they have weights.

use std::ops::Range;

use crate::aligned::Aligned;
use crate::float::filters::Filters;
use crate::float::lanes::{Lanes, MOST_PIXELS, for_each_isa, for_each_pixel, table_by_isa};
use crate::float::packed::{Output, RESIDENT};
use crate::float::split::Split;
use crate::float::taps::Taps;
use crate::float::tile::{AHEAD, Tile, Width, finish, load_registers, row};
use crate::pool::DisjointSlice;
use crate::sparse::cost::LANES;
use crate::{Isa, ThreadPool};

/// What one call of a tile function computes.
struct Listed {
    /// Its panel holds the bias and the weights of the steps that are listed.
    tile: Tile,
    steps: *const Step,
    count: usize,
}

/// A step at which some weight is not zero.
#[derive(Clone, Copy)]
struct Step {
    tap: u32,
    /// The float at the tap's pointer.
    at: u32,
}

/// A function for tiles of a fixed number of pixels.
///
/// # Safety
/// The processor has the instruction set and the tile's pointers are good for what it says.
type ListedFn = unsafe fn(&Listed);

/// The functions of one instruction set.
struct Functions {
    /// Channels of one register, and of a panel.
    lanes: [usize; 2],
    /// For panels of one register and whole ones, for 1, 2, ... pixels.
    of_pixels: [&'static [ListedFn]; 2],
}

impl Functions {
    /// Whether a panel of so many channels is a whole one.
    fn is_whole(&self, channels: usize) -> bool {
        channels > self.lanes[0]
    }

    /// Lanes of a panel of so many channels.
    fn lanes_of(&self, channels: usize) -> usize {
        self.lanes[usize::from(self.is_whole(channels))]
    }
}

for_each_isa!(
    /// A tile of `P` pixels and [`Width`] `W`.
    ///
    /// # Safety
    /// The processor has the instruction set and the tile's pointers are good for what it says.
    unsafe fn listed<const P: usize, const W: usize>(argument: &super::Listed) = listed
);

macro_rules! functions {
    ($lanes:ty, portable) => { functions!($lanes, portable: 1 2 3 4) };
    ($lanes:ty, avx2) => { functions!($lanes, avx2: 1 2 3 4 5 6) };
    ($lanes:ty, avx512) => { functions!($lanes, avx512: 1 2 3 4 5 6 7 8 9 10 11 12 13 14) };
    ($lanes:ty, neon) => { functions!($lanes, neon: 1 2 3 4 5 6 7 8 9 10 11 12) };
    ($lanes:ty, $isa:ident: $($pixels:literal)*) => {
        Functions {
            lanes: [<$lanes>::COUNT, row::<$lanes>(width::<$lanes>())],
            of_pixels: [
                &[$($isa::listed::<$pixels, { Width::One as usize }>),*],
                &[$($isa::listed::<$pixels, { width::<$lanes>() }>),*],
            ],
        }
    };
}

table_by_isa!(
    /// The functions for an instruction set.
    ///
    /// # Panics
    /// When the machine does not have it.
    fn functions -> Functions = functions
);

/// The width of whole panels: two registers where those hold no more than [`LANES`].
const fn width<L: Lanes>() -> usize {
    if 2 * L::COUNT <= LANES { Width::Two as usize } else { Width::One as usize }
}

/// `P` pixels times the registers of width `W`.
#[inline(always)]
unsafe fn listed<L: Lanes, const P: usize, const W: usize>(listed: &Listed) {
    let (tile, row) = (&listed.tile, row::<L>(W));
    // SAFETY: of every access: in bounds by the caller's promise about the tile. Prefetched
    // addresses may lie anywhere.
    unsafe {
        let mut weights = tile.panel;
        let mut acc = [load_registers::<L, W>(weights); MOST_PIXELS];
        weights = weights.add(row);
        // Where results go may still be in memory.
        for ahead in [tile.output.cast_const(), tile.addend] {
            if !ahead.is_null() {
                for_each_pixel!(i < P, {
                    L::prefetch_far(ahead.wrapping_add(i * tile.pitch));
                });
            }
        }
        for step in 0..listed.count {
            let Step { tap, at } = *listed.steps.add(step);
            let pointers = tile.pointers.add(tap as usize * P);
            let w = load_registers::<L, W>(weights);
            L::prefetch(weights.wrapping_add(AHEAD));
            weights = weights.add(row);
            for_each_pixel!(i < P, {
                let x = *pointers.add(i);
                if W == Width::One as usize {
                    acc[i][0] = L::add_scaled(acc[i][0], x, at as usize, w[0]);
                } else {
                    acc[i] = L::add_scaled_pair(acc[i], x, at as usize, w);
                }
            });
        }
        finish::<L, P, W>(tile, &acc);
    }
}

/// Output channels that one tile function computes.
struct Panel {
    /// Where it begins in the packed weights.
    start: usize,
    /// Its part of the list of steps.
    steps: Range<usize>,
    /// The output channels.
    channels: Range<usize>,
}

/// Weights of one panel before they stand beside the others.
#[derive(Default)]
struct Kept {
    weights: Vec<f32>,
    steps: Vec<Step>,
}

/// Packed weights: panel after panel of `[1 + steps of the panel][lanes]`, where the first row is the bias.
/// Lanes behind the last channel are zero.
pub(in crate::float) struct Blocks {
    functions: &'static Functions,
    out_channels: usize,
    taps: usize,
    depth: usize,
    panels: Vec<Panel>,
    data: Aligned<f32>,
    steps: Vec<Step>,
}

impl Blocks {
    /// For `taps` taps of `depth` floats each, with all weights zero.
    pub(in crate::float) fn new(isa: Isa, out_channels: usize, taps: usize, depth: usize) -> Blocks {
        let (functions, data) = (functions(isa), Aligned::zeroed(0));
        Blocks { functions, out_channels, taps, depth, panels: Vec::new(), data, steps: Vec::new() }
    }

    /// Packs weights and the bias.
    pub(in crate::float) fn fill(
        &mut self,
        isa: Isa,
        pool: &ThreadPool,
        filters: Filters<'_>,
        bias: Option<&[f32]>,
    ) {
        assert_eq!(filters.order.steps(), self.taps * self.depth, "weights of an output channel");
        let [_, lanes] = self.functions.lanes;
        let count = self.out_channels.div_ceil(lanes);
        let channels = |panel: usize| panel * lanes..self.out_channels.min((panel + 1) * lanes);
        let mut kept: Vec<Kept> = (0..count).map(|_| Kept::default()).collect();
        let parts = DisjointSlice::new(&mut kept);
        pool.run(count, &|panel| {
            let channels = channels(panel);
            let bias = bias.map(|bias| &bias[channels.clone()]);
            // SAFETY: each task has its own panel.
            unsafe { parts.piece(panel..panel + 1)[0] = self.keep(isa, filters, channels, bias) };
        });
        let total = |len: fn(&Kept) -> usize| kept.iter().map(len).sum::<usize>();
        self.data = Aligned::lasting(total(|kept| kept.weights.len()));
        self.steps = Vec::with_capacity(total(|kept| kept.steps.len()));
        self.panels.clear();
        let mut start = 0;
        for (panel, kept) in kept.into_iter().enumerate() {
            let steps = self.steps.len()..self.steps.len() + kept.steps.len();
            self.panels.push(Panel { start, steps, channels: channels(panel) });
            self.data[start..start + kept.weights.len()].copy_from_slice(&kept.weights);
            start += kept.weights.len();
            self.steps.extend(kept.steps);
        }
    }

    /// The weights of some channels at all steps where one of them is not zero.
    fn keep(&self, isa: Isa, filters: Filters<'_>, channels: Range<usize>, bias: Option<&[f32]>) -> Kept {
        let lanes = self.functions.lanes_of(channels.len());
        let mut all = Aligned::zeroed(self.taps * self.depth * lanes);
        filters.pack(isa, [channels.start, channels.len()], lanes, &mut all);
        let mut kept = Kept { weights: vec![0.0; lanes], ..Kept::default() };
        if let Some(bias) = bias {
            kept.weights[..bias.len()].copy_from_slice(bias);
        }
        for (step, row) in all.chunks_exact(lanes).enumerate() {
            if row.iter().any(|weight| *weight != 0.0) {
                let (tap, at) = ((step / self.depth) as u32, (step % self.depth) as u32);
                kept.weights.extend_from_slice(row);
                kept.steps.push(Step { tap, at });
            }
        }
        kept
    }

    /// Most pixels in a tile.
    pub(in crate::float) fn most_pixels(&self) -> usize {
        self.functions.of_pixels[0].len()
    }

    /// Number of panels.
    pub(in crate::float) fn panels(&self) -> usize {
        self.panels.len()
    }

    /// Floats of all panels.
    pub(in crate::float) fn floats(&self) -> usize {
        self.data.len()
    }

    /// Computes one task of `split`, which has this many panels.
    ///
    /// # Safety
    /// No other thread writes the pixels and channels of this task; `taps` points, for each of
    /// the pixels of the split, to as many taps with as many floats as it was made for.
    pub(in crate::float) unsafe fn run(
        &self,
        taps: &mut Taps<'_>,
        split: &Split,
        task: usize,
        output: &Output<'_>,
    ) {
        let (tiles, panels) = split.task(task);
        let tiles_per_block = (taps.block() / self.most_pixels()).max(1);
        for start in tiles.clone().step_by(tiles_per_block) {
            let tiles = start..tiles.end.min(start.saturating_add(tiles_per_block));
            taps.enter(split.pixels(tiles.clone()));
            let mut rest = panels.clone();
            while !rest.is_empty() {
                let group = self.resident(rest.clone());
                rest.start = group.end;
                for tile in tiles.clone() {
                    let pixels = split.pixels(tile..tile + 1);
                    let pointers = taps.find(pixels.start, pixels.len());
                    // SAFETY: handed on.
                    unsafe { self.run_tile(pointers, pixels, group.clone(), output) };
                }
            }
        }
    }

    /// The first of some panels, at least one, whose weights stay in the second-level cache while pixels
    /// pass by.
    fn resident(&self, panels: Range<usize>) -> Range<usize> {
        let most = self.panels[panels.start].start + RESIDENT / size_of::<f32>();
        let fits = |panel: &usize| self.end(*panel) <= most;
        let count = panels.clone().take_while(fits).count();
        panels.start..panels.start + count.max(1)
    }

    /// Where the weights of a panel end.
    fn end(&self, panel: usize) -> usize {
        self.panels.get(panel + 1).map_or(self.data.len(), |next| next.start)
    }

    /// Computes all channels of one tile.
    ///
    /// # Safety
    /// As [`Blocks::run`]; the pointers are those of the pixels, at most
    /// [`most_pixels`](Blocks::most_pixels) of them.
    pub(in crate::float) unsafe fn run_pixels(
        &self,
        pointers: *const *const f32,
        pixels: Range<usize>,
        output: &Output<'_>,
    ) {
        // SAFETY: handed on.
        unsafe { self.run_tile(pointers, pixels, 0..self.panels.len(), output) };
    }

    /// Computes one tile for some panels.
    ///
    /// # Safety
    /// As [`Blocks::run_pixels`].
    unsafe fn run_tile(
        &self,
        pointers: *const *const f32,
        pixels: Range<usize>,
        panels: Range<usize>,
        output: &Output<'_>,
    ) {
        for panel in &self.panels[panels] {
            let whole = self.functions.is_whole(panel.channels.len());
            let function = self.functions.of_pixels[usize::from(whole)][pixels.len() - 1];
            let (to, addend) = output.place(&pixels, &panel.channels);
            let (slopes, bounds) = output.slopes(panel.channels.start);
            let tile = Tile {
                pointers,
                taps: self.taps,
                skip: 0,
                depth: self.depth,
                panel: self.data[panel.start..].as_ptr(),
                output: to,
                addend,
                pitch: output.pitch,
                channels: panel.channels.len(),
                clamp: output.clamp,
                slopes,
                bounds,
                // Few steps could not ask for much.
                ahead: std::ptr::null(),
                ahead_step: 0,
            };
            let steps = &self.steps[panel.steps.clone()];
            let listed = Listed { tile, steps: steps.as_ptr(), count: steps.len() };
            // SAFETY: `functions` checked the instruction set; the panel was packed for these taps and this
            // depth, below which all listed steps are; the rest is the caller's promise.
            unsafe { function(&listed) };
        }
    }
}
