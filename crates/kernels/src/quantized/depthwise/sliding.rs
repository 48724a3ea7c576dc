//! Depthwise products for windows that slide by one pixel or by two: each column of the input is brought
//! into the order of the products once for all outputs that see it.
//!
//! Rows of the input are taken in *bundles* of as many as one instruction multiplies: two words with AVX2,
//! four bytes with AVX-512 VNNI. The rows that the bundles hold beyond those of one window make further
//! rows of the output: the weights of a row of the output stand at the rows of the input that it sees,
//! among zeros. So four rows of the input make two rows of the output of a 3x3 window, eight rows four of
//! a 5x5 window.

mod avx2;
mod band;
mod vnni;

use std::borrow::Borrow;
use std::ops::Range;

use bytemuck::Pod;

use crate::{ThreadPool, Window};

use super::super::epilogue::Epilogue;
use super::super::filter::Filter;
use super::super::gather::{Geometry, Source};
use super::super::lane::Lane;
use super::super::split::{Grid, MANY_WEIGHTS, Target, Work};
use super::channelwise::{each_block, put_lane_by_lane};
use crate::aligned::Aligned;
use band::{Band, border_lines};

pub(in super::super) use avx2::Avx2;
pub(in super::super) use vnni::Vnni;

/// Largest kernel.
const LARGEST: usize = 8;

/// How one instruction set makes sums of columns.
pub(in super::super) trait Kernel: Sized {
    /// The form in which weights are kept.
    type Weight: Pod + From<i8> + Send + Sync;

    /// Channels of a block, which are worked on together.
    const WIDTH: usize;

    /// Rows of the input that are multiplied at once.
    const BUNDLE: usize;

    /// The channel at a lane.
    fn place(lane: usize, packed: bool) -> usize;

    /// Puts the weights of a bundle in their places: `rows` has those of all lanes at each.
    fn put(rows: &[&[i8]], out: &mut [Self::Weight]) {
        put_lane_by_lane(rows, out);
    }

    /// Makes the outputs of a band in some blocks of channels; `initial` are the sums to start from, of
    /// all lanes.
    ///
    /// # Safety
    /// The instruction set must be there; band, sums, epilogue and target must be those of the layer; no
    /// one else may write these outputs meanwhile.
    unsafe fn blocks<E: Epilogue>(
        layer: &Sliding<Self>,
        band: &Band,
        blocks: Range<usize>,
        initial: &[i32],
        epilogue: &E,
        target: &Target<E::Out>,
    );
}

/// The weights of a depthwise filter, packed.
pub(in super::super) struct Sliding<K: Kernel> {
    geometry: Geometry,
    window: Window,
    channels: usize,
    /// Bundles of a column, and rows of the output made of them (1, 2 or 4).
    bundles: usize,
    rows: usize,
    lanes: Aligned<Lane>,
    /// `[block][horizontal tap][bundle][row of the output][lane][row of the bundle]`.
    weights: Aligned<K::Weight>,
}

/// Whether there is a kernel here for a window.
pub(super) fn suits(window: &Window) -> bool {
    let [height, width] = window.kernel;
    let slides = window.stride.iter().all(|&stride| stride <= 2) && window.dilation == [1, 1];
    slides && height.min(width) > 2 && height.max(width) <= LARGEST
}

impl<K: Kernel> Sliding<K> {
    /// Packs a filter whose window [`suits`], for outputs that an epilogue with this
    /// [`Epilogue::PACKED`] makes.
    pub(super) fn new(filter: &Filter, packed: bool) -> Sliding<K> {
        let (channels, window) = (filter.out_channels, filter.window);
        let [height, width] = window.kernel;
        let lanes = 0..channels.next_multiple_of(K::WIDTH);
        let lanes = Aligned::lasting_from(lanes.map(|lane| Lane::new(K::place(lane, packed), channels)));
        let bundles = height.div_ceil(K::BUNDLE);
        let rows = match (bundles * K::BUNDLE - height) / window.stride[0] + 1 {
            1 => 1,
            2 | 3 => 2,
            _ => 4,
        };
        let order: Vec<usize> = (0..K::WIDTH).map(|lane| K::place(lane, packed)).collect();
        let of_bundle = K::WIDTH * K::BUNDLE;
        let mut weights = Aligned::lasting(lanes.len() / K::WIDTH * width * bundles * rows * of_bundle);
        let mut places = weights.chunks_exact_mut(rows * of_bundle);
        each_block(filter, &order, |block| {
            let bundles = (0..width).flat_map(|x| (0..bundles).map(move |bundle| (x, bundle * K::BUNDLE)));
            for ((x, first), places) in bundles.zip(&mut places) {
                for (row, place) in places.chunks_exact_mut(of_bundle).enumerate() {
                    let tap = |index: usize| {
                        let y = (first + index).checked_sub(row * window.stride[0])?;
                        (y < height).then_some(y * width + x)
                    };
                    K::put(&block.bundle(K::BUNDLE, tap)[..K::BUNDLE], place);
                }
            }
        });
        let geometry = Geometry::of_channels(window, channels, 1);
        Sliding { geometry, window, channels, bundles, rows, lanes, weights }
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
        let pixels = source.pixels();
        assert_eq!(Some(output.len()), pixels.checked_mul(self.channels), "length of the output");
        assert_eq!(initial.len(), self.lanes.len(), "initial sums");
        if pixels == 0 {
            return;
        }
        let [height, width] = source.output();
        let (bands, blocks) = (height.div_ceil(self.rows), self.lanes.len() / K::WIDTH);
        let target = Target::new(output, self.channels);
        let products = pixels.saturating_mul(self.weights.len());
        let all = pixels / (height * width) * bands * blocks;
        let work = Work {
            pixels: all,
            rows: 1,
            unit: 1,
            panels: 1,
            weights: self.weights.len(),
            many_weights: MANY_WEIGHTS,
            products,
        };
        let grid = Grid::new(&work, pool.threads());
        let borders = border_lines(source, self.channels);
        pool.run(grid.tasks(), &|task| {
            let epilogue = begin();
            let epilogue = epilogue.borrow();
            let parts = grid.part(task).0;
            for band in parts.start / blocks..parts.end.div_ceil(blocks) {
                let (first, end) = (band * blocks, (band + 1) * blocks);
                let parts = parts.start.max(first) - first..parts.end.min(end) - first;
                let band = Band::new(self, source, &borders, band / bands, band % bands);
                // SAFETY: made only where the instruction set is there; the band is one of the layer's;
                // lanes were counted above; tasks have different blocks of bands.
                unsafe { K::blocks(self, &band, parts, initial, epilogue, &target) };
            }
        });
    }

    /// Weights of one block of channels, and the sums that it starts from.
    fn operands<'a>(&'a self, initial: &'a [i32], block: usize) -> Operands<'a, K::Weight> {
        let count = self.window.kernel[1] * self.bundles * self.rows * K::WIDTH * K::BUNDLE;
        Operands {
            weights: &self.weights[block * count..][..count],
            initial: &initial[block * K::WIDTH..][..K::WIDTH],
        }
    }
}

/// What the sums of one block of channels are computed from, besides the input.
struct Operands<'a, W> {
    weights: &'a [W],
    /// What they start from, by lane.
    initial: &'a [i32],
}
