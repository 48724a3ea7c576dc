//! Sums of columns with AVX2, which multiplies two rows of a channel at once (`vpmaddwd`, exactly): the
//! columns that neighbouring outputs see are interleaved and widened into a buffer first, then taken from
//! there for several outputs at a time.

use std::arch::x86_64::*;
use std::mem::MaybeUninit;
use std::ops::Range;

use super::super::super::epilogue::Epilogue;
use super::super::super::split::Target;
use super::super::avx2::{BUNDLE, WIDTH, interleave, put_pairs};
use super::band::Band;
use super::{Kernel, Sliding};

type Operands<'a> = super::Operands<'a, i16>;

/// Outputs along a row that are made at once, at most: with eight sums of eight channels in registers,
/// columns and weights are loaded half as often as they are used.
const GROUP: usize = 4;

/// Vectors of a buffer, which fill half of the first-level cache.
const VECTORS: usize = 512;

/// Bytes of the input, of all channels, that stay in the cache beside the buffer while one block of
/// channels after the other is taken from them.
const INPUT: usize = 16 << 10;

/// Columns that are worth filling a buffer, however many bytes they have.
const COLUMNS: usize = 32;

/// Sums of 16 channels, two rows at a time.
pub(in super::super::super) struct Avx2;

impl Kernel for Avx2 {
    type Weight = i16;
    const WIDTH: usize = WIDTH;
    const BUNDLE: usize = BUNDLE;

    fn place(lane: usize, _packed: bool) -> usize {
        lane
    }

    fn put(rows: &[&[i8]], out: &mut [i16]) {
        put_pairs(rows, out);
    }

    unsafe fn blocks<E: Epilogue>(
        layer: &Sliding<Avx2>,
        band: &Band,
        blocks: Range<usize>,
        initial: &[i32],
        epilogue: &E,
        target: &Target<E::Out>,
    ) {
        let mut buffer = Buffer([MaybeUninit::uninit(); VECTORS]);
        let most = Buffer::outputs(layer, band.outputs);
        for start in (0..band.outputs).step_by(most) {
            let outputs = most.min(band.outputs - start);
            for index in blocks.clone() {
                let first = index * WIDTH;
                let channels = (layer.channels - first).min(WIDTH);
                let part = Part { band, start, outputs, first, channels };
                let operands = layer.operands(initial, index);
                // SAFETY: the caller's promise; the columns of so many outputs fit the buffer.
                unsafe {
                    if channels == WIDTH {
                        part_of::<true, E>(layer, &mut buffer, &part, &operands, epilogue, target);
                    } else {
                        part_of::<false, E>(layer, &mut buffer, &part, &operands, epilogue, target);
                    }
                }
            }
        }
    }
}

/// Makes the outputs of a part; `FULL` says that its block has all 16 channels.
///
/// # Safety
/// As for [`Kernel::blocks`]; the columns of the part must fit the buffer.
#[target_feature(enable = "avx2")]
unsafe fn part_of<const FULL: bool, E: Epilogue>(
    layer: &Sliding<Avx2>,
    buffer: &mut Buffer,
    part: &Part,
    operands: &Operands,
    epilogue: &E,
    target: &Target<E::Out>,
) {
    // SAFETY: the caller's promise.
    unsafe {
        buffer.fill::<FULL>(layer, part);
        match part.band.rows {
            1 => finish::<1, GROUP, FULL, E>(layer, buffer, part, operands, epilogue, target),
            _ => finish::<2, { GROUP / 2 }, FULL, E>(layer, buffer, part, operands, epilogue, target),
        }
    }
}

/// Some neighbouring outputs of the rows of a band, in one block of channels.
struct Part<'a> {
    band: &'a Band,
    /// First output of each row, and their number.
    start: usize,
    outputs: usize,
    /// First channel, and their number.
    first: usize,
    channels: usize,
}

impl Part<'_> {
    /// The number of channels, which the compiler knows if the block is `FULL`.
    #[inline(always)]
    fn channels_of<const FULL: bool>(&self) -> usize {
        if FULL { WIDTH } else { self.channels }
    }
}

/// Columns as words: `[column][bundle][vector of 8 channels]`.
#[repr(align(64))]
struct Buffer([MaybeUninit<__m256i>; VECTORS]);

impl Buffer {
    /// Of how many outputs, in whole groups, it holds the columns at a time, where rows have `all`.
    fn outputs(layer: &Sliding<Avx2>, all: usize) -> usize {
        let [stride, taps] = [layer.window.stride[1], layer.window.kernel[1]];
        let cached = INPUT / (layer.bundles * BUNDLE * layer.channels);
        let columns = cached.max(COLUMNS).min(VECTORS / (2 * layer.bundles));
        let most = ((columns - taps) / stride + 1) / GROUP * GROUP;
        all.div_ceil(all.div_ceil(most)).next_multiple_of(GROUP)
    }

    /// Writes the columns that the outputs see, made up to whole groups. Columns outside the image are
    /// border.
    ///
    /// # Safety
    /// AVX2 must be there, the band must be one of the layer's and the channels a block of it: all 16 if
    /// `FULL`.
    #[target_feature(enable = "avx2")]
    unsafe fn fill<const FULL: bool>(&mut self, layer: &Sliding<Avx2>, part: &Part) {
        let [stride, taps] = [layer.window.stride[1], layer.window.kernel[1]];
        let (band, step) = (part.band, 2 * layer.bundles);
        let count = (part.outputs.next_multiple_of(GROUP) - 1) * stride + taps;
        assert!(count * step <= VECTORS, "a part larger than the buffer");
        let left = (part.start * stride) as isize + band.left;
        let inside = band.inside(left, count);
        let channels = part.channels_of::<FULL>();
        let start = part.first.wrapping_add_signed((left + inside.start as isize) * band.pitch as isize);
        for bundle in 0..layer.bundles {
            let to = self.0[2 * bundle..].as_mut_ptr().cast::<__m256i>();
            let [above, below] = band.bundle(bundle);
            // SAFETY: `count` columns fit the buffer; rows can be read inside the image, and the border's
            // pixel anywhere.
            unsafe {
                let border = band.border.add(part.first);
                let outside = interleave([border, border], channels);
                for column in (0..inside.start).chain(inside.end..count) {
                    store(to.add(step * column), outside);
                }
                let mut offset = start;
                for column in inside.clone() {
                    let pair = [above.wrapping_add(offset), below.wrapping_add(offset)];
                    store(to.add(step * column), interleave(pair, channels));
                    offset = offset.wrapping_add(band.pitch);
                }
            }
        }
    }
}

/// # Safety
/// AVX2 must be there, and two vectors writable.
#[inline(always)]
unsafe fn store(to: *mut __m256i, words: [__m256i; 2]) {
    // SAFETY: as the caller promises.
    unsafe {
        _mm256_store_si256(to, words[0]);
        _mm256_store_si256(to.add(1), words[1]);
    }
}

/// Makes the outputs of a part, `R` rows (all of the band) and `C` columns (an even divisor of [`GROUP`]) at
/// a time.
///
/// # Safety
/// As for [`Kernel::blocks`]; the buffer holds the part's columns, and weights and sums are those of its
/// block.
#[target_feature(enable = "avx2")]
unsafe fn finish<const R: usize, const C: usize, const FULL: bool, E: Epilogue>(
    layer: &Sliding<Avx2>,
    buffer: &Buffer,
    part: &Part,
    operands: &Operands,
    epilogue: &E,
    target: &Target<E::Out>,
) {
    let (band, step) = (part.band, 2 * layer.window.stride[1] * layer.bundles);
    let (weights, initial) = (operands.weights.as_ptr(), operands.initial.as_ptr().cast::<__m256i>());
    let taps = layer.window.kernel[1] * layer.bundles;
    let channels = part.channels_of::<FULL>();
    for x in (0..part.outputs).step_by(C) {
        // SAFETY: the caller's promise.
        unsafe {
            let initial = [_mm256_loadu_si256(initial), _mm256_loadu_si256(initial.add(1))];
            let mut sums = [[initial; C]; R];
            let columns = buffer.0.as_ptr().cast::<__m256i>().add(step * x);
            for tap in 0..taps {
                let weights = weights.cast::<__m256i>().add(2 * tap * layer.rows);
                for vector in 0..2 {
                    let weights: [_; R] = load_each(weights.add(vector), 2);
                    let columns: [_; C] = load_each(columns.add(2 * tap + vector), step);
                    add_products(&mut sums, vector, columns, weights);
                }
            }
            for (row, sums) in sums.iter().enumerate() {
                for (column, sums) in sums.chunks_exact(2).enumerate() {
                    let column = x + 2 * column;
                    if column < part.outputs {
                        let both = column + 1 < part.outputs;
                        let pixel = band.pixel + row * band.outputs + part.start + column;
                        let out = [
                            target.at(pixel, part.first, channels),
                            target.at(pixel + usize::from(both), part.first, channels),
                        ];
                        let samples = [band.sample; 2];
                        epilogue.two(samples, part.first, [sums[0], sums[1]], channels, out, both);
                    }
                }
            }
        }
    }
}

/// Loads `COUNT` vectors, `step` vectors apart.
///
/// # Safety
/// AVX2 must be there, and the vectors readable.
#[inline(always)]
unsafe fn load_each<const COUNT: usize>(from: *const __m256i, step: usize) -> [__m256i; COUNT] {
    // SAFETY: the caller's promise.
    unsafe {
        let mut vectors = [_mm256_setzero_si256(); COUNT];
        for (index, vector) in vectors.iter_mut().enumerate() {
            *vector = _mm256_load_si256(from.add(step * index));
        }
        vectors
    }
}

/// Adds the products of columns and of weights of each row to one vector of the sums.
///
/// # Safety
/// AVX2 must be there.
#[inline(always)]
unsafe fn add_products<const R: usize, const C: usize>(
    sums: &mut [[[__m256i; 2]; C]; R],
    vector: usize,
    columns: [__m256i; C],
    weights: [__m256i; R],
) {
    for (sums, weights) in sums.iter_mut().zip(weights) {
        for (sum, column) in sums.iter_mut().zip(columns) {
            // SAFETY: the caller has the instructions.
            unsafe { sum[vector] = _mm256_add_epi32(sum[vector], _mm256_madd_epi16(column, weights)) };
        }
    }
}
