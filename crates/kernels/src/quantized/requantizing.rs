//! Sums of products with dynamically quantized samples, turned into real numbers and at once into
//! bytes, where the range of the results is known beforehand.

#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::*;

use super::dynamic::SampleQuantization;
use super::epilogue::{Epilogue, Finish, at_least, at_most};
#[cfg(target_arch = "x86_64")]
use super::epilogue::{bytes_of_two, store_pair, store_quad, store_two};
use super::rescaler::SampleRescaling;
#[cfg(target_arch = "x86_64")]
use super::rescaler::held_sixteen;

/// Sums of one sample, free of the zero point's share, to bytes.
pub(super) struct Requantizing<'a> {
    rescaling: &'a SampleRescaling<'a>,
    quantization: SampleQuantization,
    /// Whether the layer's bounds must be looked at; the range of bytes may do it for them.
    #[cfg_attr(not(target_arch = "x86_64"), expect(dead_code, reason = "vectors of x86 alone read it"))]
    bounded: bool,
}

/// Steps from which on the conversion to integers may leave the 32 bits.
const MANY: f32 = (1 << 30) as f32;

impl<'a> Requantizing<'a> {
    /// Results, before they are held to the layer's bounds, lie within `raw`, which is finite;
    /// afterwards they have the range that `quantization` is for.
    pub(super) fn new(
        rescaling: &'a SampleRescaling<'a>,
        quantization: SampleQuantization,
        raw: [f32; 2],
    ) -> Requantizing<'a> {
        let clamp = rescaling.layer.clamp;
        // A value below a bound of zero, the zero point being 0, becomes 0 all the same. One above
        // the upper bound becomes 255, as the bound does, which is the largest value then.
        let from_zero = quantization.zero_point == 0;
        let low = raw[0] >= clamp.min || from_zero && clamp.min == 0.0;
        let high = raw[1] <= clamp.max || from_zero && raw[1] * quantization.factor < MANY;
        Requantizing { rescaling, quantization, bounded: !(low && high) }
    }
}

impl Finish for Requantizing<'_> {
    type Sum = i32;
    type Out = u8;

    #[inline(always)]
    fn row(&self, _sample: usize, lane: usize, sums: &[i32], out: &mut [u8]) {
        for (index, (out, &sum)) in out.iter_mut().zip(sums).enumerate() {
            let value = self.rescaling.value(lane + index, sum);
            *out = self.quantization.byte(self.rescaling.layer.clamp.apply(value));
        }
    }
}

#[cfg(target_arch = "x86_64")]
impl Requantizing<'_> {
    /// 16 lanes of results as words in steps from the zero point, in the order in which a pack of two vectors leaves
    /// them.
    ///
    /// # Safety
    /// AVX2 must be there and 16 lanes from `lane` on.
    #[inline(always)]
    unsafe fn sixteen_words(&self, sums: [__m256i; 2], lane: usize) -> __m256i {
        // SAFETY: the caller's promise.
        unsafe {
            let mut values = self.rescaling.sixteen(lane, sums);
            if self.bounded {
                values = held_sixteen(self.rescaling.layer.clamp, values);
            }
            let factor = _mm256_set1_ps(self.quantization.factor);
            // Within the range, steps are at most 255 but for their rounding.
            let low = _mm256_cvtps_epi32(_mm256_mul_ps(values[0], factor));
            let high = _mm256_cvtps_epi32(_mm256_mul_ps(values[1], factor));
            let words = _mm256_packs_epi32(low, high);
            _mm256_adds_epi16(words, _mm256_set1_epi16(self.quantization.zero_point.into()))
        }
    }

    /// 32 lanes of results as words in steps from the zero point, which mix within 128 bits.
    ///
    /// # Safety
    /// AVX-512 F and BW must be there and 16 lanes from each of `lanes` on.
    #[inline(always)]
    unsafe fn words(&self, sums: [__m512i; 2], lanes: [usize; 2]) -> __m512i {
        // SAFETY: the caller's promise.
        unsafe {
            let words = _mm512_packs_epi32(self.steps(sums[0], lanes[0]), self.steps(sums[1], lanes[1]));
            _mm512_adds_epi16(words, _mm512_set1_epi16(self.quantization.zero_point.into()))
        }
    }

    /// # Safety
    /// As for [`Requantizing::words`].
    #[inline(always)]
    unsafe fn steps(&self, sums: __m512i, lane: usize) -> __m512i {
        // SAFETY: the caller's promise.
        unsafe {
            let mut values = self.rescaling.values(lane, sums);
            if self.bounded {
                let clamp = self.rescaling.layer.clamp;
                values = _mm512_max_ps(_mm512_set1_ps(clamp.min), values);
                values = _mm512_min_ps(_mm512_set1_ps(clamp.max), values);
            }
            // Within the range, steps are at most 255 but for their rounding.
            _mm512_cvtps_epi32(_mm512_mul_ps(values, _mm512_set1_ps(self.quantization.factor)))
        }
    }
}

impl Epilogue for Requantizing<'_> {
    const PACKED: bool = false;

    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    unsafe fn two(
        &self,
        _samples: [usize; 2],
        lane: usize,
        sums: [[__m256i; 2]; 2],
        channels: usize,
        out: [*mut u8; 2],
        both: bool,
    ) {
        // SAFETY: the caller has the instructions, the lanes and the room.
        unsafe {
            let words = [self.sixteen_words(sums[0], lane), self.sixteen_words(sums[1], lane)];
            store_two(bytes_of_two(words), channels, out, both);
        }
    }

    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    unsafe fn pair(
        &self,
        _samples: [usize; 2],
        lane: usize,
        sums: [[__m512i; 2]; 2],
        channels: usize,
        out: [*mut u8; 2],
        both: bool,
    ) {
        // SAFETY: the caller has the instructions, the lanes and the room.
        unsafe {
            let lanes = [lane, lane + 16];
            let bytes = _mm512_packus_epi16(self.words(sums[0], lanes), self.words(sums[1], lanes));
            // Each 128 bits hold four channels of the first vector and four of the second, of the
            // first pixel and then of the second.
            let order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
            let bytes = _mm512_permutexvar_epi32(order, bytes);
            store_pair(bytes, channels, out, both);
        }
    }

    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    unsafe fn quad(
        &self,
        _samples: &[usize],
        lane: usize,
        sums: [__m512i; 4],
        channels: usize,
        out: *mut u8,
        pitch: usize,
        count: usize,
    ) {
        // SAFETY: the caller has the instructions, the lanes and the room.
        unsafe {
            let lanes = [lane; 2];
            let words = [self.words([sums[0], sums[1]], lanes), self.words([sums[2], sums[3]], lanes)];
            // The four pixels alternate by 4 channels.
            let order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
            let bytes = _mm512_permutexvar_epi32(order, _mm512_packus_epi16(words[0], words[1]));
            store_quad(bytes, channels, out, pitch, count);
        }
    }
}

impl SampleQuantization {
    /// The byte of a value.
    #[inline(always)]
    pub(super) fn byte(self, value: f32) -> u8 {
        let zero_point = f32::from(self.zero_point);
        let steps = at_least(at_most(value * self.factor, 255.0 - zero_point), -zero_point);
        (super::epilogue::round_small(steps) + i32::from(self.zero_point)) as u8
    }
}
