//! Depthwise products of 3x3 windows with AVX2 that slide by one: two outputs side by side see two columns
//! of the input in common, which are widened once for both.

use std::arch::x86_64::*;

use super::super::epilogue::Epilogue;
use super::super::gather::{ROOM, SLOTS, Tile};
use super::super::split::Target;
use super::avx2::{BUNDLE, WIDTH, add, words};
use super::channelwise::{Kernel, Operands};
use crate::Window;

/// Taps of a bundle of weights. Those of the first two rows stand one above the other. The third row is taken
/// by two columns: `[6, 7]` and `[8]` for the left output of two (or for one alone), and, of the same inputs,
/// `[6]` at the second column, `[7, 8]` at the next two, for the right one.
const BUNDLES: [[Option<usize>; BUNDLE]; 7] = [
    [Some(0), Some(3)],
    [Some(1), Some(4)],
    [Some(2), Some(5)],
    [Some(6), Some(7)],
    [Some(8), None],
    [None, Some(6)],
    [Some(7), Some(8)],
];

/// Weights of a block of channels for one bundle, and for all.
const BUNDLE_WEIGHTS: usize = WIDTH * BUNDLE;
const BLOCK_WEIGHTS: usize = BUNDLES.len() * BUNDLE_WEIGHTS;

/// Each tap, and that of the next output which sees the same pixel if the two stand side by side.
const SHARED: [(usize, usize); 6] = [(1, 0), (2, 1), (4, 3), (5, 4), (7, 6), (8, 7)];

/// Sums of 16 channels of two outputs.
pub(in super::super) struct Adjacent;

/// Whether this is the kernel for a window.
pub(super) fn suits(window: &Window) -> bool {
    window.kernel == [3, 3] && window.stride[1] == 1 && window.dilation[1] == 1
}

impl Kernel for Adjacent {
    type Weight = i16;
    const WIDTH: usize = WIDTH;
    const BUNDLE: usize = BUNDLE;

    fn channel(lane: usize, _packed: bool) -> usize {
        lane
    }

    fn bundles(_taps: usize) -> Vec<Vec<Option<usize>>> {
        BUNDLES.iter().map(|bundle| bundle.to_vec()).collect()
    }

    unsafe fn tile<E: Epilogue>(
        tile: &Tile,
        operands: &Operands<i16>,
        epilogue: &E,
        target: &Target<E::Out>,
    ) {
        // SAFETY: the caller's promise.
        unsafe { tile_of(tile, operands, epilogue, target) }
    }
}

/// # Safety
/// As for [`Kernel::tile`].
#[target_feature(enable = "avx2")]
unsafe fn tile_of<E: Epilogue>(tile: &Tile, operands: &Operands<i16>, epilogue: &E, target: &Target<E::Out>) {
    let shares = |row: usize| {
        let same = |(tap, next): (usize, usize)| tile.pointers[tap][row] == tile.pointers[next][row + 1];
        row + 1 < tile.rows && SHARED.into_iter().all(same)
    };
    let shares: [bool; SLOTS] = std::array::from_fn(shares);
    for (block, weights) in operands.weights.chunks_exact(BLOCK_WEIGHTS).enumerate() {
        let first = block * WIDTH;
        let channels = (operands.channels - first).min(WIDTH);
        let initial = operands.initial[first..][..WIDTH].as_ptr().cast::<__m256i>();
        for row in (0..tile.rows).step_by(2) {
            let (next, both) = ((row + 1).min(tile.rows - 1), row + 1 < tile.rows);
            // SAFETY: there are sixteen initial sums; `channels` bytes are readable from channel `first` on, as
            // the caller promises, and only we write them.
            unsafe {
                let initial = [_mm256_loadu_si256(initial), _mm256_loadu_si256(initial.add(1))];
                let inputs = Inputs { pointers: tile.pointers, first, channels };
                let sums = if shares[row] {
                    inputs.two(row, weights, initial)
                } else {
                    [inputs.one(row, weights, initial), inputs.one(next, weights, initial)]
                };
                let out = [row, next].map(|row| target.at(tile.pixel + row, first, channels));
                epilogue.two([tile.samples[row], tile.samples[next]], first, sums, channels, out, both);
            }
        }
    }
}

/// A block of channels of a tile's pixels.
struct Inputs<'a> {
    pointers: &'a [[*const u8; ROOM]],
    first: usize,
    channels: usize,
}

impl Inputs<'_> {
    /// Two taps as words, each of an output.
    ///
    /// # Safety
    /// The channels must be readable at all pointers, and AVX2 be there.
    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn words(&self, taps: [(usize, usize); 2]) -> [__m256i; 2] {
        // SAFETY: the caller's promise.
        unsafe {
            let [a, b] = taps.map(|(tap, row)| self.pointers[tap][row].add(self.first));
            words(a, b, self.channels)
        }
    }

    /// The sums of one output.
    ///
    /// # Safety
    /// As for [`Inputs::words`].
    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn one(&self, row: usize, weights: &[i16], initial: [__m256i; 2]) -> [__m256i; 2] {
        let mut sums = initial;
        for (taps, weights) in BUNDLES.iter().zip(weights.chunks_exact(BUNDLE_WEIGHTS)).take(5) {
            let [a, b] = taps.map(|tap| (tap.unwrap_or(0), row));
            // SAFETY: the caller's promise.
            add(&mut sums, unsafe { self.words([a, b]) }, weights);
        }
        sums
    }

    /// The sums of an output and of the next, which stands to its right.
    ///
    /// # Safety
    /// As for [`Inputs::words`].
    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn two(&self, row: usize, weights: &[i16], initial: [__m256i; 2]) -> [[__m256i; 2]; 2] {
        let weights: [&[i16]; 7] = std::array::from_fn(|bundle| &weights[bundle * BUNDLE_WEIGHTS..]);
        let [mut left, mut right] = [initial, initial];
        let next = row + 1;
        // SAFETY: the caller's promise.
        unsafe {
            add(&mut left, self.words([(0, row), (3, row)]), weights[0]);
            for (column, above) in [(1, [(1, row), (4, row)]), (2, [(2, row), (5, row)])] {
                let words = self.words(above);
                add(&mut left, words, weights[column]);
                add(&mut right, words, weights[column - 1]);
            }
            add(&mut right, self.words([(2, next), (5, next)]), weights[2]);
            let words = self.words([(6, row), (7, row)]);
            add(&mut left, words, weights[3]);
            add(&mut right, words, weights[5]);
            let words = self.words([(8, row), (8, next)]);
            add(&mut left, words, weights[4]);
            add(&mut right, words, weights[6]);
        }
        [left, right]
    }
}
