//! The product at the heart of quantized convolutions: packed weights, and the walk over tiles of
//! pixels and panels of output channels.
//!
//! An instruction set brings a [`Kernel`]; everything else is shared.

#[cfg(target_arch = "x86_64")]
mod avx2;
mod portable;
#[cfg(target_arch = "x86_64")]
mod vnni;

use std::ops::Range;

use bytemuck::Pod;

use crate::{Isa, ThreadPool};

use super::epilogue::Epilogue;
use super::filter::Filter;
use super::gather::{Cursor, Geometry, STEP, Source, Tile};
use super::split::{Grid, Target, Work, share};
use crate::aligned::Aligned;

/// Weights of panels that are worked through before the next pixels are looked at: a part of the
/// second-level cache.
const BLOCK_BYTES: usize = 256 << 10;

/// Some output channels of one group, side by side in the kernel's vectors.
pub(super) struct Panel {
    group: usize,
    /// The first output channel, and how many there are (at most `width`).
    channel: usize,
    channels: usize,
    /// The first lane in arrays by lane.
    lane: usize,
    /// Lanes of this panel.
    width: usize,
    /// Where its weights start.
    weights: usize,
}

/// What tiles are computed from, besides the input.
pub(super) struct Operands<'a, W> {
    weights: &'a [W],
    /// What sums start from, by lane.
    initial: &'a [i32],
    /// Steps of [`STEP`] input channels at each tap.
    steps: usize,
}

/// How one instruction set multiplies.
pub(super) trait Kernel {
    /// The form in which weights are kept.
    type Weight: Pod + From<i8> + Send + Sync;

    /// Most pixels of a tile.
    const ROWS: usize;

    /// Lanes of a panel that is to hold `channels` channels, or the first of them.
    fn width(channels: usize) -> usize;

    /// Which channel of the panel a lane holds.
    fn channel(lane: usize, width: usize, packed: bool) -> usize;

    /// Where the weight of a lane for input `input` (below [`STEP`]) stands within one step of a
    /// panel, which has `STEP * width` weights.
    fn position(input: usize, lane: usize, width: usize) -> usize;

    /// Computes all panels (of one group) for the tile's pixels.
    ///
    /// # Safety
    /// The instruction set must be there. The tile's pointers must be readable for [`STEP`] `*
    /// steps` bytes each and stand for the panels' group; panels, operands, epilogue and target
    /// must belong together, and no one else may write these panels of these pixels meanwhile.
    unsafe fn tile<E: Epilogue>(
        tile: &Tile,
        panels: &[Panel],
        operands: &Operands<Self::Weight>,
        epilogue: &E,
        target: &Target<E::Out>,
    );
}

/// A product for the best kernel of an instruction set.
pub(super) enum Product {
    Portable(Packed<portable::Portable>),
    #[cfg(target_arch = "x86_64")]
    Avx2(Packed<avx2::Avx2>),
    #[cfg(target_arch = "x86_64")]
    Vnni(Packed<vnni::Vnni>),
}

/// Calls a method of the packed product, whatever its kernel.
macro_rules! with_packed {
    ($product:expr, $packed:ident => $body:expr) => {
        match $product {
            Product::Portable($packed) => $body,
            #[cfg(target_arch = "x86_64")]
            Product::Avx2($packed) => $body,
            #[cfg(target_arch = "x86_64")]
            Product::Vnni($packed) => $body,
        }
    };
}

impl Product {
    /// Packs a filter for outputs that an epilogue with this [`Epilogue::PACKED`] makes.
    pub(super) fn new(isa: Isa, filter: &Filter, packed: bool) -> Product {
        filter.check();
        assert!(isa.available(), "this machine cannot run '{isa}'");
        match isa {
            #[cfg(target_arch = "x86_64")]
            Isa::Vnni | Isa::Amx => Product::Vnni(Packed::new(filter, packed)),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 | Isa::AvxVnni | Isa::Avx512 => Product::Avx2(Packed::new(filter, packed)),
            _ => Product::Portable(Packed::new(filter, packed)),
        }
    }

    /// The taps it reads.
    pub(super) fn geometry(&self) -> &Geometry {
        with_packed!(self, packed => &packed.geometry)
    }

    /// The output channel at each lane.
    pub(super) fn lanes(&self) -> &[Option<usize>] {
        with_packed!(self, packed => &packed.lanes)
    }

    /// Computes all outputs: for each channel `initial` (by lane) plus the products, through the
    /// epilogue.
    pub(super) fn run<E: Epilogue>(
        &self,
        pool: &ThreadPool,
        source: &Source,
        initial: &[i32],
        epilogue: &E,
        output: &mut [E::Out],
    ) {
        with_packed!(self, packed => packed.run(pool, source, initial, epilogue, output));
    }
}

/// The weights of a product, packed for one kernel.
pub(super) struct Packed<K: Kernel> {
    geometry: Geometry,
    /// Input and output channels of one group.
    group_in: usize,
    out_channels: usize,
    steps: usize,
    panels: Vec<Panel>,
    lanes: Vec<Option<usize>>,
    weights: Aligned<K::Weight>,
}

impl<K: Kernel> Packed<K> {
    fn new(filter: &Filter, packed: bool) -> Packed<K> {
        let geometry = Geometry::of_product(filter);
        let (run, steps, taps) = (geometry.run(), geometry.read() / STEP, geometry.slots());
        let (mut panels, mut lanes) = (Vec::new(), Vec::new());
        for group in 0..filter.groups {
            let end = (group + 1) * filter.group_out();
            let mut channel = group * filter.group_out();
            while channel < end {
                let width = K::width(end - channel);
                let channels = width.min(end - channel);
                let (lane, weights) = (lanes.len(), lanes.len() * taps * steps * STEP);
                panels.push(Panel { group, channel, channels, lane, width, weights });
                let place = |lane| K::channel(lane, width, packed);
                lanes.extend((0..width).map(|l| (place(l) < channels).then(|| channel + place(l))));
                channel += channels;
            }
        }
        let mut weights = Aligned::zeroed(lanes.len() * taps * steps * STEP);
        for panel in &panels {
            let lanes = &lanes[panel.lane..][..panel.width];
            let weights = &mut weights[panel.weights..][..panel.width * taps * steps * STEP];
            for (tap, input) in (0..taps).flat_map(|tap| (0..run).map(move |input| (tap, input))) {
                let step = (tap * steps + input / STEP) * STEP * panel.width;
                for (lane, channel) in lanes.iter().enumerate() {
                    let Some(channel) = *channel else { continue };
                    // A long tap is several taps of the filter, one after the other as there.
                    let weight = filter.weight(channel, tap * run + input);
                    weights[step + K::position(input % STEP, lane, panel.width)] = weight.into();
                }
            }
        }
        let (group_in, out_channels) = (filter.group_in(), filter.out_channels);
        Packed { geometry, group_in, out_channels, steps, panels, lanes, weights }
    }

    fn run<E: Epilogue>(
        &self,
        pool: &ThreadPool,
        source: &Source,
        initial: &[i32],
        epilogue: &E,
        output: &mut [E::Out],
    ) {
        let pixels = source.pixels();
        assert_eq!(Some(output.len()), pixels.checked_mul(self.out_channels), "length of the output");
        assert_eq!(initial.len(), self.lanes.len(), "initial sums");
        if pixels == 0 {
            return;
        }
        let target = Target::new(output, self.out_channels);
        let operands = Operands { weights: &self.weights, initial, steps: self.steps };
        let work = Work {
            pixels,
            rows: K::ROWS,
            panels: self.panels.len(),
            weights: size_of_val(&self.weights[..]),
            products: pixels.saturating_mul(self.weights.len()),
        };
        let grid = Grid::new(&work, pool.threads());
        pool.run(grid.tasks(), &|task| {
            let (pixels, panels) = grid.part(task);
            self.part(source, pixels, panels, &operands, epilogue, &target);
        });
    }

    /// Computes some panels of some pixels. Parts that run at the same time must not overlap.
    fn part<E: Epilogue>(
        &self,
        source: &Source,
        pixels: Range<usize>,
        mut panels: Range<usize>,
        operands: &Operands<K::Weight>,
        epilogue: &E,
        target: &Target<E::Out>,
    ) {
        let mut cursor = Cursor::new(source);
        let tiles = pixels.len().div_ceil(K::ROWS);
        while !panels.is_empty() {
            let block = self.block(&panels);
            panels.start += block.len();
            cursor.seek(pixels.start);
            for index in 0..tiles {
                let rows = share(pixels.len(), tiles, index).len();
                let tile = cursor.gather(rows, block[0].group * self.group_in);
                // SAFETY: the product was made for an instruction set that is there; `gather`
                // points at readable bytes for the block's group; lanes were counted in `run` and
                // made together with the panels; parts do not overlap.
                unsafe { K::tile(&tile, block, operands, epilogue, target) };
            }
        }
    }

    /// The first panels of a range that share a group and fit a block.
    fn block(&self, panels: &Range<usize>) -> &[Panel] {
        let panels = &self.panels[panels.clone()];
        let (group, start) = (panels[0].group, panels[0].weights);
        let panel_weights = self.geometry.slots() * self.steps * STEP;
        let end = |panel: &Panel| panel.weights + panel.width * panel_weights;
        let fits = |panel: &&Panel| {
            panel.group == group && (end(panel) - start) * size_of::<K::Weight>() <= BLOCK_BYTES
        };
        let count = panels.iter().take_while(fits).count();
        &panels[..count.max(1)]
    }
}
