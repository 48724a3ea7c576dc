//! Scaling of sums that are in AVX-512 registers.

use std::arch::x86_64::*;

use super::{Constants, Requantizer};

impl Requantizer {
    /// The words of 32 channels in their natural order, from sums in the order of
    /// [`packed_channel`](crate::quantized::epilogue::packed_channel).
    ///
    /// # Safety
    /// 32 lanes must exist from `lane` on.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    pub(in super::super) unsafe fn wide(&self, lane: usize, sums: [[__m512i; 2]; 2]) -> __m512i {
        // SAFETY: as the caller promises.
        let halves = unsafe { [self.scaled(lane, sums[0]), self.scaled(lane + 16, sums[1])] };
        let words = _mm512_packs_epi32(halves[0], halves[1]);
        let words = _mm512_max_epi16(words, _mm512_set1_epi16(self.min));
        _mm512_min_epi16(words, _mm512_set1_epi16(self.max))
    }

    /// The words of 16 channels, which stand in their natural order.
    ///
    /// # Safety
    /// 16 lanes must exist from `lane` on.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    pub(in super::super) unsafe fn narrow(&self, lane: usize, sums: [__m512i; 2]) -> __m256i {
        // SAFETY: as the caller promises.
        let words = _mm512_cvtsepi32_epi16(unsafe { self.scaled(lane, sums) });
        let words = _mm256_max_epi16(words, _mm256_set1_epi16(self.min));
        _mm256_min_epi16(words, _mm256_set1_epi16(self.max))
    }

    /// 16 scaled and rounded sums, saturated to 32 bits.
    ///
    /// # Safety
    /// 16 lanes must exist from `lane` on.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    unsafe fn scaled(&self, lane: usize, sums: [__m512i; 2]) -> __m512i {
        match &self.constants {
            Constants::Reduced { multipliers, halves, shifts } => {
                let half = |sum: __m512i, lane: usize| {
                    // SAFETY: the lanes exist.
                    let [multiplier, half, shift] = [multipliers, halves, shifts]
                        .map(|constants| unsafe { _mm512_loadu_si512(constants.as_ptr().add(lane).cast()) });
                    let product = _mm512_add_epi64(_mm512_mullo_epi64(sum, multiplier), half);
                    _mm512_cvtsepi64_epi32(_mm512_srav_epi64(product, shift))
                };
                join(half(sums[0], lane), half(sums[1], lane + 8))
            }
            Constants::Real(scales) => {
                let bounds = [self.min, self.max].map(|bound| _mm512_set1_pd(bound.into()));
                let half = |sum: __m512i, lane: usize| {
                    // SAFETY: the lanes exist.
                    let scale = unsafe { _mm512_loadu_pd(scales.as_ptr().add(lane)) };
                    let steps = _mm512_mul_pd(_mm512_cvtepi64_pd(sum), scale);
                    // The bounds are integers, so they may come before the rounding.
                    let steps = _mm512_min_pd(_mm512_max_pd(steps, bounds[0]), bounds[1]);
                    let sign = _mm512_and_pd(steps, _mm512_set1_pd(-0.0));
                    let nearly_half = _mm512_or_pd(sign, _mm512_set1_pd(super::NEARLY_HALF));
                    _mm512_cvttpd_epi32(_mm512_add_pd(steps, nearly_half))
                };
                join(half(sums[0], lane), half(sums[1], lane + 8))
            }
            Constants::Doubling(_) => unreachable!("the rule has no kernels of this level"),
        }
    }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn join(low: __m256i, high: __m256i) -> __m512i {
    _mm512_inserti64x4::<1>(_mm512_castsi256_si512(low), high)
}

/// 16 sums of 32 bits added to totals of 64.
///
/// # Safety
/// 16 totals must be readable.
#[inline]
#[target_feature(enable = "avx512f")]
pub(in super::super) unsafe fn widened(totals: *const i64, sums: __m512i) -> [__m512i; 2] {
    // SAFETY: as the caller promises.
    let totals = unsafe { [_mm512_loadu_si512(totals.cast()), _mm512_loadu_si512(totals.add(8).cast())] };
    let parts = [_mm512_castsi512_si256(sums), _mm512_extracti64x4_epi64::<1>(sums)];
    [0, 1].map(|half| _mm512_add_epi64(totals[half], _mm512_cvtepi32_epi64(parts[half])))
}
