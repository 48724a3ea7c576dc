//! The three steps on AVX2: inputs to their points, products, sums to outputs.

#![expect(clippy::needless_range_loop, reason = "several small arrays are looked at by one row or column")]

use std::arch::x86_64::*;

use super::transform::{MOST_OUTPUTS, MOST_POINTS, NINTH, shift};
use super::{Factors, WIDTH};
use crate::quantized::epilogue::Epilogue;
use crate::quantized::product::avx2::{HALF, add_word_chunks};

/// Most tiles that are multiplied together.
pub(super) const MOST_ROWS: usize = HALF;

/// What one call of [`input`] transforms.
pub(super) struct InputTile<'a> {
    /// Pointers to all channels of the pixels that the tile sees, row by row.
    pub(super) pixels: &'a [*const u8],
    /// A multiple of [`WIDTH`].
    pub(super) channels: usize,
    /// Where the first chunk of the first point goes, on an address that 32 divides.
    pub(super) to: *mut i16,
    /// Words from a point to the next, and from a chunk of channels to the next: multiples of 16.
    pub(super) step: usize,
    pub(super) chunk_step: usize,
}

/// Takes a tile to its `N` points along each side.
///
/// # Safety
/// AVX2 must be there, and the tile's pointers be good for what it says.
#[target_feature(enable = "avx2")]
pub(super) unsafe fn input<const N: usize>(tile: &InputTile<'_>) {
    assert_eq!(tile.pixels.len(), N * N, "pixels that a tile sees");
    let pixels = tile.pixels;
    for chunk in 0..tile.channels / WIDTH {
        let mut rows = [[_mm256_setzero_si256(); MOST_POINTS]; MOST_POINTS];
        for y in 0..N {
            let mut line = [_mm256_setzero_si256(); MOST_POINTS];
            for x in 0..N {
                // SAFETY: all channels of the pixel can be read.
                let bytes = unsafe { _mm_loadu_si128(pixels[y * N + x].add(chunk * WIDTH).cast()) };
                line[x] = _mm256_cvtepu8_epi16(bytes);
            }
            rows[y] = inputs::<N>(line);
        }
        for x in 0..N {
            let column = inputs::<N>(std::array::from_fn(|y| rows[y][x]));
            for y in 0..N {
                let to = tile.to.wrapping_add((y * N + x) * tile.step + chunk * tile.chunk_step);
                // SAFETY: there is room at each point, as the caller promises.
                unsafe { _mm256_store_si256(to.cast(), column[y]) };
            }
        }
    }
}

/// `N` inputs along one side to their points.
#[inline]
#[target_feature(enable = "avx2")]
fn inputs<const N: usize>(d: [__m256i; MOST_POINTS]) -> [__m256i; MOST_POINTS] {
    let (add, sub) = (|a, b| _mm256_add_epi16(a, b), |a, b| _mm256_sub_epi16(a, b));
    if N == 4 {
        let none = _mm256_setzero_si256();
        return [sub(d[0], d[2]), add(d[1], d[2]), sub(d[2], d[1]), sub(d[1], d[3]), none, none];
    }
    let four = |a| _mm256_slli_epi16::<2>(a);
    // 4 - 5 x^2 + x^4 and its like, sharing what the points +x and -x have in common.
    let [even, odd] = [sub(d[4], four(d[2])), sub(d[3], four(d[1]))];
    let (even_2, half) = (sub(d[4], d[2]), sub(d[3], d[1]));
    let odd_2 = add(half, half);
    [
        add(four(sub(d[0], d[2])), even_2),
        add(even, odd),
        sub(even, odd),
        add(even_2, odd_2),
        sub(even_2, odd_2),
        sub(sub(d[5], d[3]), four(half)),
    ]
}

/// Multiplies `rows` (1 to [`MOST_ROWS`]) tiles at one point by a panel.
///
/// # Safety
/// AVX2 must be there, and the factors be good for what they say.
#[target_feature(enable = "avx2")]
pub(super) unsafe fn product(factors: &Factors, rows: usize) {
    // SAFETY: the caller's promise.
    unsafe {
        match rows {
            1 => product_of::<1>(factors),
            2 => product_of::<2>(factors),
            3 => product_of::<3>(factors),
            4 => product_of::<4>(factors),
            5 => product_of::<5>(factors),
            _ => product_of::<6>(factors),
        }
    }
}

/// # Safety
/// As for [`product`], for `R` tiles.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn product_of<const R: usize>(factors: &Factors) {
    let mut sums = [[_mm256_setzero_si256(); 2]; HALF];
    // SAFETY: the caller's promise.
    unsafe {
        for chunk in 0..factors.chunks {
            factors.fetch_ahead(chunk);
            let inputs = factors.inputs.add(chunk * R * WIDTH);
            let weights = factors.weights.add(chunk * WIDTH * WIDTH);
            add_word_chunks::<R>(&mut sums, inputs.cast(), weights.cast(), 1);
        }
        for (row, sums) in sums.iter().enumerate().take(R) {
            let to = factors.sums.add(row * factors.pitch).cast::<__m256i>();
            _mm256_storeu_si256(to, sums[0]);
            _mm256_storeu_si256(to.add(1), sums[1]);
        }
    }
}

/// What one call of [`output`] computes: a tile's outputs of [`WIDTH`] channels or fewer.
pub(super) struct OutputTile<T> {
    /// The sums, `[point][lane]`.
    pub(super) sums: *const i32,
    /// What is added to them, by lane.
    pub(super) initial: *const i32,
    pub(super) sample: usize,
    /// The first lane, and how many hold channels.
    pub(super) lane: usize,
    pub(super) channels: usize,
    /// The first channel of the first pixel.
    pub(super) to: *mut T,
    /// Elements from a pixel to the next, and from a row to the next.
    pub(super) pitch: usize,
    pub(super) row_pitch: usize,
    /// Rows and columns of the tile that lie inside the output.
    pub(super) rows: usize,
    pub(super) columns: usize,
}

/// Takes the sums at the `N` points along each side back to outputs.
///
/// # Safety
/// AVX2 must be there, and the tile's pointers be good for what it says.
#[target_feature(enable = "avx2")]
pub(super) unsafe fn output<const N: usize, E: Epilogue>(tile: &OutputTile<E::Out>, epilogue: &E) {
    let mut results = [[[_mm256_setzero_si256(); 2]; MOST_OUTPUTS]; MOST_OUTPUTS];
    for half in 0..2 {
        let mut columns = [[_mm256_setzero_si256(); MOST_OUTPUTS]; MOST_POINTS];
        // SAFETY: there are sums at all points, and initial sums, for 16 lanes.
        let initial = unsafe {
            for x in 0..N {
                let mut sums = [_mm256_setzero_si256(); MOST_POINTS];
                for y in 0..N {
                    sums[y] = _mm256_loadu_si256(tile.sums.add((y * N + x) * WIDTH + 8 * half).cast());
                }
                columns[x] = outputs::<N>(sums);
            }
            _mm256_loadu_si256(tile.initial.add(8 * half).cast())
        };
        for y in 0..N - 2 {
            let row = outputs::<N>(std::array::from_fn(|x| columns[x][y]));
            for x in 0..N - 2 {
                results[y][x][half] = _mm256_add_epi32(divided::<N>(row[x], y, x), initial);
            }
        }
    }
    for y in 0..tile.rows {
        for x in (0..tile.columns).step_by(2) {
            let next = (x + 1).min(tile.columns - 1);
            let outs = [x, next].map(|x| tile.to.wrapping_add(y * tile.row_pitch + x * tile.pitch));
            let sums = [results[y][x], results[y][next]];
            // SAFETY: the caller has the instructions, the lanes and the pixels.
            unsafe {
                epilogue.two([tile.sample; 2], tile.lane, sums, tile.channels, outs, x + 1 < tile.columns);
            }
        }
    }
}

/// The sums at `N` points along one side to outputs, still [multiplied](super::transform).
#[inline]
#[target_feature(enable = "avx2")]
fn outputs<const N: usize>(m: [__m256i; MOST_POINTS]) -> [__m256i; MOST_OUTPUTS] {
    let (add, sub) = (|a, b| _mm256_add_epi32(a, b), |a, b| _mm256_sub_epi32(a, b));
    let [sum, difference] = [add(m[1], m[2]), sub(m[1], m[2])];
    if N == 4 {
        let none = _mm256_setzero_si256();
        return [add(m[0], sum), sub(difference, m[3]), none, none];
    }
    let [sum_2, difference_2] = [add(m[3], m[4]), sub(m[3], m[4])];
    [
        add(m[0], add(_mm256_slli_epi32::<2>(sum), sum_2)),
        add(add(difference, difference), difference_2),
        add(sum, sum_2),
        add(add(difference, m[5]), add(difference_2, difference_2)),
    ]
}

/// Divides by what the sums of this row and column are multiplied by.
#[inline]
#[target_feature(enable = "avx2")]
fn divided<const N: usize>(value: __m256i, row: usize, column: usize) -> __m256i {
    let value = if N == 4 { value } else { _mm256_mullo_epi32(value, _mm256_set1_epi32(NINTH)) };
    _mm256_sra_epi32(value, _mm_cvtsi32_si128(shift(N, row, column)))
}
