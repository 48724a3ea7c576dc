//! Products on AVX-512 VNNI, whose `vpdpwssd` multiplies and adds words.

use std::arch::x86_64::*;

use super::{Factors, WIDTH};

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
