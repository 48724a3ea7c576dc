//! Depthwise products with AVX-512 VNNI for windows that slide by one pixel or by two: each column of
//! the input is brought into the order of the products once for all outputs that see it.
//!
//! Rows of the input are taken by four (a *quad*), so that `vpdpbusd` multiplies four rows of a
//! channel at once. The rows that the quads hold beyond those of one window make further rows of the
//! output: the weights of a row of the output stand at the rows of the input that it sees, among
//! zeros. So one quad makes two rows of the output of a 3x3 window from four rows of the input, two
//! quads make four of a 5x5 window from eight.

mod buffer;
mod columns;
mod registers;

use std::borrow::Borrow;
use std::ops::Range;

use crate::{ThreadPool, Window};

use super::super::epilogue::Epilogue;
use super::super::filter::Filter;
use super::super::gather::{Geometry, Source};
use super::super::split::{Grid, Target, Work};
use super::vnni::{BUNDLE, WIDTH, interleave, place};
use crate::aligned::Aligned;
use buffer::Buffered;
use columns::{Band, Block, border_lines};
use registers::{ByOne, ByTwo, TAPS};

/// Largest kernel, which two quads hold.
const LARGEST: usize = 2 * BUNDLE;

/// The weights of a depthwise filter, packed.
pub(in super::super) struct Sliding {
    geometry: Geometry,
    window: Window,
    channels: usize,
    /// Quads of a column, and rows of the output made of them (1, 2 or 4).
    quads: usize,
    rows: usize,
    lanes: Vec<Option<usize>>,
    /// `[block][horizontal tap][quad][row of the output][lane][row of the quad]`.
    weights: Aligned<i8>,
}

impl Sliding {
    /// Whether this is the kernel for a window.
    pub(super) fn suits(window: &Window) -> bool {
        let [height, width] = window.kernel;
        let slides = window.stride.iter().all(|&stride| stride <= 2) && window.dilation == [1, 1];
        slides && height.min(width) > 2 && height.max(width) <= LARGEST
    }

    pub(super) fn new(filter: &Filter, packed: bool) -> Sliding {
        let (channels, window) = (filter.out_channels, filter.window);
        let [height, width] = window.kernel;
        let lanes: Vec<_> = (0..channels.next_multiple_of(WIDTH))
            .map(|lane| Some(place(lane, packed)).filter(|&channel| channel < channels))
            .collect();
        let quads = height.div_ceil(BUNDLE);
        let rows = match (quads * BUNDLE - height) / window.stride[0] + 1 {
            1 => 1,
            2 | 3 => 2,
            _ => 4,
        };
        let mut weights = Aligned::zeroed(lanes.len() * width * quads * rows * BUNDLE);
        for (tap, row) in (0..filter.depth()).flat_map(|tap| (0..rows).map(move |row| (tap, row))) {
            let down = row * window.stride[0] + tap / width;
            for (block, lanes) in lanes.chunks_exact(WIDTH).enumerate() {
                let quad = (block * width + tap % width) * quads + down / BUNDLE;
                let bundles = weights[(quad * rows + row) * WIDTH * BUNDLE..].chunks_exact_mut(BUNDLE);
                for (bundle, channel) in bundles.zip(lanes) {
                    bundle[down % BUNDLE] = channel.map_or(0, |channel| filter.weight(channel, tap));
                }
            }
        }
        let geometry = Geometry::of_channels(window, channels, 1);
        Sliding { geometry, window, channels, quads, rows, lanes, weights }
    }

    /// The taps it reads.
    pub(super) fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    /// The output channel at each lane.
    pub(super) fn lanes(&self) -> &[Option<usize>] {
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
        let (bands, blocks) = (height.div_ceil(self.rows), self.lanes.len() / WIDTH);
        let target = Target::new(output, self.channels);
        let products = pixels.saturating_mul(self.weights.len());
        let all = pixels / (height * width) * bands * blocks;
        let work = Work { pixels: all, rows: 1, unit: 1, panels: 1, weights: self.weights.len(), products };
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
                unsafe {
                    match (self.window.kernel, self.window.stride) {
                        ([TAPS, TAPS], [1, 1]) => {
                            self.blocks::<ByOne, E>(&band, parts, initial, epilogue, &target)
                        }
                        ([TAPS, TAPS], [2, 2]) => {
                            self.blocks::<ByTwo, E>(&band, parts, initial, epilogue, &target)
                        }
                        _ => self.blocks::<Buffered, E>(&band, parts, initial, epilogue, &target),
                    }
                }
            }
        });
    }

    /// Some blocks of channels of a band.
    ///
    /// # Safety
    /// As for [`Way::sums`], the band with `initial` for all its lanes.
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx512vbmi")]
    unsafe fn blocks<W: Way, E: Epilogue>(
        &self,
        band: &Band,
        blocks: Range<usize>,
        initial: &[i32],
        epilogue: &E,
        target: &Target<E::Out>,
    ) {
        let tables = &const { [interleave(false), interleave(true)] }[usize::from(E::PACKED)];
        let block_weights = self.window.kernel[1] * self.quads * self.rows * WIDTH * BUNDLE;
        for index in blocks {
            let first = index * WIDTH;
            let block = Block::new(first, (self.channels - first).min(WIDTH), tables);
            let operands = Operands {
                weights: &self.weights[index * block_weights..][..block_weights],
                initial: &initial[first..][..WIDTH],
            };
            // SAFETY: the caller's promise.
            unsafe {
                if block.channels == WIDTH {
                    W::sums::<true, E>(self, band, &block, &operands, epilogue, target);
                } else {
                    W::sums::<false, E>(self, band, &block, &operands, epilogue, target);
                }
            }
        }
    }
}

/// What the sums of one block of channels are computed from, besides the input.
struct Operands<'a> {
    weights: &'a [i8],
    /// What they start from, by lane.
    initial: &'a [i32],
}

/// A way to come from columns to sums.
trait Way {
    /// Makes the outputs of a band in one block of channels; `FULL` says that it has all 32.
    ///
    /// # Safety
    /// AVX-512 VNNI and VBMI must be there; band, block and operands must be those of the layer, whose
    /// window this way suits; no one else may write these outputs meanwhile.
    unsafe fn sums<const FULL: bool, E: Epilogue>(
        layer: &Sliding,
        band: &Band,
        block: &Block,
        operands: &Operands,
        epilogue: &E,
        target: &Target<E::Out>,
    );
}
