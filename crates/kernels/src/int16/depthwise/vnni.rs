//! Depthwise products with AVX-512 VNNI: the words of two taps are interleaved, so that `vpdpwssd`
//! multiplies both by their weights and adds the products to a 32-bit lane.

use std::arch::x86_64::*;

use super::{Channelwise, WIDTH};
use crate::int16::product::PAIRS;
use crate::int16::requantize::avx512::widened;
use crate::quantized::gather::Tile;
use crate::quantized::split::Target;

/// Computes all channels of the tile's pixels.
///
/// # Safety
/// The instructions must be there; the tile must come from the layer's geometry, and no one else may
/// write its pixels meanwhile.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
pub(super) unsafe fn compute(tile: &Tile, layer: &Channelwise, target: &Target<i16>) {
    let pairs = tile.pointers.as_chunks::<2>().0;
    for (block, weights) in layer.weights.chunks_exact(tile.pointers.len()).enumerate() {
        let first = block * WIDTH;
        let count = WIDTH.min(layer.channels - first);
        let mask = u32::MAX >> (WIDTH - count);
        let weights = weights.as_chunks::<2>().0;
        for row in 0..tile.rows {
            let mut totals = layer.initial[block];
            // SAFETY: the pixels' channels are readable from their pointers on, and the output's
            // can be written; vectors have 32 words.
            unsafe {
                let mut sums = [_mm512_setzero_si512(); 2];
                for (round, (pairs, weights)) in pairs.chunks(PAIRS).zip(weights.chunks(PAIRS)).enumerate() {
                    if round > 0 {
                        for (totals, sum) in totals.as_chunks_mut::<16>().0.iter_mut().zip(sums) {
                            let [low, high] = widened(totals.as_ptr(), sum);
                            _mm512_storeu_si512(totals.as_mut_ptr().cast(), low);
                            _mm512_storeu_si512(totals.as_mut_ptr().add(8).cast(), high);
                        }
                        sums = [_mm512_setzero_si512(); 2];
                    }
                    for (pointers, weights) in pairs.iter().zip(weights) {
                        let at = [0, 1].map(|tap| pointers[tap][row].cast::<i16>().wrapping_add(first));
                        let words =
                            [_mm512_maskz_loadu_epi16(mask, at[0]), _mm512_maskz_loadu_epi16(mask, at[1])];
                        let low = _mm512_unpacklo_epi16(words[0], words[1]);
                        let high = _mm512_unpackhi_epi16(words[0], words[1]);
                        let weights = [
                            _mm512_loadu_si512(weights[0].as_ptr().cast()),
                            _mm512_loadu_si512(weights[1].as_ptr().cast()),
                        ];
                        sums[0] = _mm512_dpwssd_epi32(sums[0], low, weights[0]);
                        sums[1] = _mm512_dpwssd_epi32(sums[1], high, weights[1]);
                    }
                }
                let sums = [widened(totals.as_ptr(), sums[0]), widened(totals.as_ptr().add(16), sums[1])];
                let out = target.at(tile.pixel + row, first, count);
                _mm512_mask_storeu_epi16(out, mask, layer.requantizer.wide(first, sums));
            }
        }
    }
}
