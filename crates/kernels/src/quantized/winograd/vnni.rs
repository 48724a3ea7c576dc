//! Products on AVX-512 VNNI, whose `vpdpwssd` multiplies and adds words, and sums to outputs in its
//! registers.

#![expect(clippy::needless_range_loop, reason = "several small arrays are looked at by one row or column")]

use std::arch::x86_64::*;

use super::avx2::OutputTile;
use super::transform::{MOST_OUTPUTS, MOST_POINTS, NINTH, shift};
use super::{Factors, WIDTH};
use crate::quantized::epilogue::Epilogue;

/// Most tiles that are multiplied together.
pub(super) const MOST_ROWS: usize = 12;

/// As [`super::avx2::product`], for up to [`MOST_ROWS`] tiles.
///
/// # Safety
/// As there, and AVX-512 F and VNNI must be there.
#[target_feature(enable = "avx512f,avx512vnni")]
pub(super) unsafe fn product(factors: &Factors, rows: usize) {
    // SAFETY: the caller's promise.
    unsafe {
        match rows {
            1 => product_of::<1>(factors),
            2 => product_of::<2>(factors),
            3 => product_of::<3>(factors),
            4 => product_of::<4>(factors),
            5 => product_of::<5>(factors),
            6 => product_of::<6>(factors),
            7 => product_of::<7>(factors),
            8 => product_of::<8>(factors),
            9 => product_of::<9>(factors),
            10 => product_of::<10>(factors),
            11 => product_of::<11>(factors),
            _ => product_of::<MOST_ROWS>(factors),
        }
    }
}

/// # Safety
/// As for [`product`], for `R` tiles.
#[inline]
#[target_feature(enable = "avx512f,avx512vnni")]
unsafe fn product_of<const R: usize>(factors: &Factors) {
    let (mut inputs, mut weights) = (factors.inputs, factors.weights);
    let mut sums = [_mm512_setzero_si512(); R];
    // SAFETY: there are as many chunks of inputs and weights, and room for the sums.
    unsafe {
        for chunk in 0..factors.chunks {
            factors.fetch_ahead(chunk);
            for pair in 0..WIDTH / 2 {
                let own = _mm512_loadu_si512(weights.add(pair * 2 * WIDTH).cast());
                for (row, sum) in sums.iter_mut().enumerate() {
                    let two = inputs.add(row * WIDTH + 2 * pair).cast::<i32>().read();
                    *sum = _mm512_dpwssd_epi32(*sum, own, _mm512_set1_epi32(two));
                }
            }
            inputs = inputs.add(R * WIDTH);
            weights = weights.add(WIDTH * WIDTH);
        }
        for (row, sum) in sums.into_iter().enumerate() {
            _mm512_storeu_si512(factors.sums.add(row * factors.pitch).cast(), sum);
        }
    }
}

/// As [`super::avx2::output`], with all lanes in one register.
///
/// # Safety
/// As there, and AVX-512 F, BW, DQ, VL and VNNI must be there.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
pub(super) unsafe fn output<const N: usize, E: Epilogue>(tile: &OutputTile<E::Out>, epilogue: &E) {
    let mut columns = [[_mm512_setzero_si512(); MOST_OUTPUTS]; MOST_POINTS];
    // SAFETY: there are sums at all points, and initial sums, for 16 lanes.
    let initial = unsafe {
        for x in 0..N {
            let mut sums = [_mm512_setzero_si512(); MOST_POINTS];
            for y in 0..N {
                sums[y] = _mm512_loadu_si512(tile.sums.add((y * N + x) * WIDTH).cast());
            }
            columns[x] = outputs::<N>(sums);
        }
        _mm512_loadu_si512(tile.initial.cast())
    };
    let samples = [tile.sample; MOST_OUTPUTS];
    for y in 0..tile.rows.min(N - 2) {
        let row = outputs::<N>(std::array::from_fn(|x| columns[x][y]));
        let mut results = [_mm512_setzero_si512(); MOST_OUTPUTS];
        for x in 0..N - 2 {
            results[x] = _mm512_add_epi32(divided::<N>(row[x], y, x), initial);
        }
        let to = tile.to.wrapping_add(y * tile.row_pitch);
        // SAFETY: the caller has the instructions, the lanes and the pixels.
        unsafe {
            epilogue.quad(&samples, tile.lane, results, tile.channels, to, tile.pitch, tile.columns);
        }
    }
}

/// The sums at `N` points along one side to outputs, still [multiplied](super::transform).
#[inline]
#[target_feature(enable = "avx512f")]
fn outputs<const N: usize>(m: [__m512i; MOST_POINTS]) -> [__m512i; MOST_OUTPUTS] {
    let (add, sub) = (|a, b| _mm512_add_epi32(a, b), |a, b| _mm512_sub_epi32(a, b));
    let [sum, difference] = [add(m[1], m[2]), sub(m[1], m[2])];
    if N == 4 {
        let none = _mm512_setzero_si512();
        return [add(m[0], sum), sub(difference, m[3]), none, none];
    }
    let [sum_2, difference_2] = [add(m[3], m[4]), sub(m[3], m[4])];
    [
        add(m[0], add(_mm512_slli_epi32::<2>(sum), sum_2)),
        add(add(difference, difference), difference_2),
        add(sum, sum_2),
        add(add(difference, m[5]), add(difference_2, difference_2)),
    ]
}

/// Divides by what the sums of this row and column are multiplied by.
#[inline]
#[target_feature(enable = "avx512f")]
fn divided<const N: usize>(value: __m512i, row: usize, column: usize) -> __m512i {
    let value = if N == 4 { value } else { _mm512_mullo_epi32(value, _mm512_set1_epi32(NINTH)) };
    _mm512_sra_epi32(value, _mm_cvtsi32_si128(shift(N, row, column)))
}
