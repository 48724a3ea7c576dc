//! Depthwise products with vectors along the channels: packed weights and the walk over pixels.

use std::borrow::Borrow;

use bytemuck::Pod;

use crate::{Isa, ThreadPool};

use super::super::epilogue::Epilogue;
use super::super::filter::Filter;
use super::super::gather::{Cursor, Geometry, SLOTS, Source, Tile};
use super::super::lane::Lane;
use super::super::split::{Grid, MANY_WEIGHTS, Target, Work, share};
#[cfg(target_arch = "aarch64")]
use super::neon;
use super::portable;
#[cfg(target_arch = "x86_64")]
use super::sliding::{self, Sliding};
#[cfg(target_arch = "x86_64")]
use super::{avx2, vnni};
use crate::aligned::Aligned;
use crate::prefetch::prefetch;

/// What tiles are computed from, besides the input.
pub(in super::super) struct Operands<'a, W> {
    /// By block of [`Kernel::WIDTH`] channels and bundle of [`Kernel::BUNDLE`] taps.
    pub(super) weights: &'a [W],
    /// What sums start from, by lane.
    pub(super) initial: &'a [i32],
    pub(super) channels: usize,
}

/// How one instruction set multiplies channel by channel.
pub(in super::super) trait Kernel {
    /// The form in which weights are kept.
    type Weight: Pod + From<i8> + Send + Sync;

    /// Channels worked on together.
    const WIDTH: usize;

    /// Taps worked on together.
    const BUNDLE: usize;

    /// Which channel of its block a lane holds.
    fn channel(lane: usize, packed: bool) -> usize;

    /// Puts the weights of a bundle in their places: `taps` has those of all lanes at each.
    fn put(taps: &[&[i8]], out: &mut [Self::Weight]) {
        put_lane_by_lane(taps, out);
    }

    /// Computes all channels of the tile's pixels.
    ///
    /// Weights stand in the order `[block][bundle][lane][tap of the bundle]`.
    ///
    /// # Safety
    /// The instruction set must be there; all channels must be readable at the tile's pointers,
    /// which are whole bundles; operands, epilogue and target must belong together, and no one else
    /// may write these pixels meanwhile.
    unsafe fn tile<E: Epilogue>(
        tile: &Tile,
        operands: &Operands<Self::Weight>,
        epilogue: &E,
        target: &Target<E::Out>,
    );
}

/// A channel-by-channel product for the best kernel of an instruction set.
pub(in super::super) enum Channelwise {
    Portable(Packed<portable::Portable>),
    #[cfg(target_arch = "aarch64")]
    Neon(Packed<neon::Neon>),
    #[cfg(target_arch = "x86_64")]
    Avx2(Packed<avx2::Avx2>),
    #[cfg(target_arch = "x86_64")]
    Vnni(Packed<vnni::Vnni>),
    #[cfg(target_arch = "x86_64")]
    SlidingAvx2(Sliding<sliding::Avx2>),
    #[cfg(target_arch = "x86_64")]
    SlidingVnni(Sliding<sliding::Vnni>),
}

/// Calls a method of the packed product, whatever its kernel.
macro_rules! with_packed {
    ($product:expr, $packed:ident => $body:expr) => {
        match $product {
            Channelwise::Portable($packed) => $body,
            #[cfg(target_arch = "aarch64")]
            Channelwise::Neon($packed) => $body,
            #[cfg(target_arch = "x86_64")]
            Channelwise::Avx2($packed) => $body,
            #[cfg(target_arch = "x86_64")]
            Channelwise::Vnni($packed) => $body,
            #[cfg(target_arch = "x86_64")]
            Channelwise::SlidingAvx2($packed) => $body,
            #[cfg(target_arch = "x86_64")]
            Channelwise::SlidingVnni($packed) => $body,
        }
    };
}

impl Channelwise {
    /// Packs a depthwise filter with one output channel to an input channel, for outputs that an
    /// epilogue with this [`Epilogue::PACKED`] makes.
    pub(in super::super) fn new(isa: Isa, filter: &Filter, packed: bool) -> Channelwise {
        filter.check();
        assert!(isa.available(), "this machine cannot run '{isa}'");
        match isa {
            #[cfg(target_arch = "x86_64")]
            Isa::Vnni | Isa::Amx if sliding::suits(&filter.window) => {
                Channelwise::SlidingVnni(Sliding::new(filter, packed))
            }
            #[cfg(target_arch = "x86_64")]
            Isa::Vnni | Isa::Amx => Channelwise::Vnni(Packed::new(filter, packed)),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 | Isa::AvxVnni | Isa::Avx512 if sliding::suits(&filter.window) => {
                Channelwise::SlidingAvx2(Sliding::new(filter, packed))
            }
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 | Isa::AvxVnni | Isa::Avx512 => Channelwise::Avx2(Packed::new(filter, packed)),
            #[cfg(target_arch = "aarch64")]
            Isa::Neon | Isa::NeonDot => Channelwise::Neon(Packed::new(filter, packed)),
            _ => Channelwise::Portable(Packed::new(filter, packed)),
        }
    }

    /// The taps it reads.
    pub(in super::super) fn geometry(&self) -> &Geometry {
        with_packed!(self, packed => packed.geometry())
    }

    /// The output channel at each lane.
    pub(in super::super) fn lanes(&self) -> &[Lane] {
        with_packed!(self, packed => packed.lanes())
    }

    /// Computes all outputs: for each channel `initial` (by lane) plus the products, through the
    /// epilogue.
    pub(in super::super) fn run<E: Epilogue + Sync>(
        &self,
        pool: &ThreadPool,
        source: &Source,
        initial: &[i32],
        epilogue: &E,
        output: &mut [E::Out],
    ) {
        self.run_each::<E, &E>(pool, source, initial, || epilogue, output);
    }

    /// The same, where each task has an epilogue of its own, which is dropped when the task ends.
    pub(in super::super) fn run_each<E: Epilogue, B: Borrow<E>>(
        &self,
        pool: &ThreadPool,
        source: &Source,
        initial: &[i32],
        begin: impl Fn() -> B + Sync,
        output: &mut [E::Out],
    ) {
        with_packed!(self, packed => packed.run_each::<E, B>(pool, source, initial, begin, output));
    }
}

/// Most taps that one instruction multiplies.
const MOST_TAPS: usize = 4;

/// The weights of a block of channels, by tap and lane; those of lanes without a channel are zero.
#[derive(Clone, Copy)]
pub(super) struct Block<'a> {
    weights: &'a [i8],
    /// From one tap to the next.
    pitch: usize,
    /// What stands where there is no tap.
    nothing: &'a [i8],
}

impl Block<'_> {
    /// The weights of all lanes at the first `count` taps of a bundle; `tap` says which these are.
    #[inline(always)]
    pub(super) fn bundle(&self, count: usize, tap: impl Fn(usize) -> Option<usize>) -> [&[i8]; MOST_TAPS] {
        let mut bundle = [self.nothing; MOST_TAPS];
        for (index, weights) in bundle[..count].iter_mut().enumerate() {
            if let Some(tap) = tap(index) {
                *weights = &self.weights[tap * self.pitch..][..self.nothing.len()];
            }
        }
        bundle
    }
}

/// Puts weights in the order `[lane][tap]`.
pub(super) fn put_lane_by_lane<W: From<i8>>(taps: &[&[i8]], out: &mut [W]) {
    for (index, lanes) in taps.iter().enumerate() {
        for (own, weight) in out.chunks_exact_mut(taps.len()).zip(*lanes) {
            own[index] = (*weight).into();
        }
    }
}

/// Calls `put` with the weights of one block of channels after the other; `order` says which channel of a block a lane
/// holds.
pub(super) fn each_block(filter: &Filter, order: &[usize], mut put: impl FnMut(Block)) {
    let (lanes, channels) = (order.len(), filter.out_channels);
    let in_order = order.iter().enumerate().all(|(lane, channel)| lane == *channel);
    let nothing = &vec![0; lanes];
    let mut by_lane = vec![0; filter.depth() * lanes];
    prefetch(filter.weights);
    // Packed weights are longer: those of a block are written before the next one's.
    for first in (0..channels).step_by(lanes) {
        let own = first..channels.min(first + lanes);
        if in_order && own.len() == lanes {
            put(Block { weights: &filter.weights[first..], pitch: channels, nothing });
            continue;
        }
        let taps = filter.weights.chunks_exact(channels).map(|of_tap| &of_tap[own.clone()]);
        for (by_lane, of_tap) in by_lane.chunks_exact_mut(lanes).zip(taps) {
            for (weight, channel) in by_lane.iter_mut().zip(order) {
                *weight = of_tap.get(*channel).copied().unwrap_or(0);
            }
        }
        put(Block { weights: &by_lane, pitch: lanes, nothing });
    }
}

/// The weights of a depthwise filter, packed for one kernel.
pub(in super::super) struct Packed<K: Kernel> {
    geometry: Geometry,
    channels: usize,
    lanes: Aligned<Lane>,
    weights: Aligned<K::Weight>,
}

impl<K: Kernel> Packed<K> {
    fn new(filter: &Filter, packed: bool) -> Packed<K> {
        let channels = filter.out_channels;
        let geometry = Geometry::of_channels(filter.window, channels, K::BUNDLE);
        let place = |lane: usize| lane / K::WIDTH * K::WIDTH + K::channel(lane % K::WIDTH, packed);
        let lanes = (0..channels.next_multiple_of(K::WIDTH)).map(|lane| Lane::new(place(lane), channels));
        let lanes = Aligned::lasting_from(lanes);
        let order: Vec<usize> = (0..K::WIDTH).map(|lane| K::channel(lane, packed)).collect();
        let mut weights = Aligned::lasting(lanes.len() * geometry.slots());
        let taps = filter.depth();
        let mut bundles = weights.chunks_exact_mut(K::WIDTH * K::BUNDLE);
        each_block(filter, &order, |block| {
            for (first, bundle) in (0..taps).step_by(K::BUNDLE).zip(&mut bundles) {
                let tap = |index| Some(first + index).filter(|tap| *tap < taps);
                K::put(&block.bundle(K::BUNDLE, tap)[..K::BUNDLE], bundle);
            }
        });
        Packed { geometry, channels, lanes, weights }
    }

    fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    fn lanes(&self) -> &[Lane] {
        &self.lanes
    }

    fn run_each<E: Epilogue, B: Borrow<E>>(
        &self,
        pool: &ThreadPool,
        source: &Source,
        initial: &[i32],
        begin: impl Fn() -> B + Sync,
        output: &mut [E::Out],
    ) {
        let pixels = source.pixels();
        assert_eq!(Some(output.len()), pixels.checked_mul(self.channels), "length of the output");
        assert_eq!(initial.len(), self.lanes.len(), "initial sums");
        if pixels == 0 {
            return;
        }
        let target = Target::new(output, self.channels);
        let operands = Operands { weights: &self.weights, initial, channels: self.channels };
        let products = pixels.saturating_mul(self.weights.len() * COST);
        let work = Work {
            pixels,
            rows: ROWS,
            unit: 1,
            panels: 1,
            weights: self.weights.len(),
            many_weights: MANY_WEIGHTS,
            products,
        };
        let grid = Grid::new(&work, pool.threads());
        pool.run(grid.tasks(), &|task| {
            let (pixels, _) = grid.part(task);
            let epilogue = begin();
            let mut cursor = Cursor::new(source);
            cursor.seek(pixels.start);
            let tiles = pixels.len().div_ceil(ROWS);
            for index in 0..tiles {
                let tile = cursor.gather(share(pixels.len(), tiles, index).len(), 0);
                // SAFETY: the kernel was chosen for an instruction set that is there; `gather`
                // points at whole bundles of pixels with all their channels; lanes were counted and
                // made together with the weights; tasks have different pixels.
                unsafe { K::tile(&tile, &operands, epilogue.borrow(), &target) };
            }
        });
    }
}

/// Pixels of a tile: all that the pointers have room for.
const ROWS: usize = SLOTS;

/// How much more a multiply-accumulate costs here than in a product over channels, roughly.
const COST: usize = 4;
